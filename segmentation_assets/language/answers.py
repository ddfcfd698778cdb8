"""What every type of answer shares: closed, all fields required, plain types that a JSON schema can say.

Bounds are checked by `Task.check` and not in the schema: servers differ in which they know.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Answer(BaseModel):
    """An answer of a model or of the embedded writer. Texts are templates: figures stand as `{{key}}`."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)
