"""Prompts as files that a marketer can read and change: `prompts/NAME.md`, with `rules.md` before every one.

A file has a first line `version: N`, a part `# System` and a part `# User`. The version that goes into the ledger is
that number and a hash of the words, so that changed words are another request even where the number was forgotten.
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from pathlib import Path

from segmentation_assets.language.task import Prompt

FOLDER = Path(__file__).parent / "prompts"
_FILE = re.compile(r"\Aversion: (\d+)\n+# System\n(.*?)\n# User\n(.*)\Z", re.DOTALL)


class PromptError(ValueError):
    """A prompt file is missing or has another form than it must; the message names the file."""


@lru_cache(maxsize=32)
def load_prompt(name: str, folder: Path = FOLDER) -> Prompt:
    """The prompt of `name`. PromptError when its file is not there or not of the form above."""
    path = folder / f"{name}.md"
    if not path.is_file():
        there = ", ".join(sorted(other.stem for other in folder.glob("*.md") if other.stem != "rules"))
        raise PromptError(f"There is no prompt {path.name} in {folder.name}/; there are {there or 'none'}.")
    found = _FILE.match(path.read_text(encoding="utf-8"))
    if found is None:
        raise PromptError(f"{folder.name}/{path.name}: begin with `version: 1`, then a part `# System` and `# User`.")
    rules = (folder / "rules.md").read_text(encoding="utf-8").strip()
    system, user = f"{rules}\n\n{found[2].strip()}", found[3].strip()
    words = hashlib.sha256(f"{system}\n{user}".encode()).hexdigest()[:8]
    return Prompt(name, f"{found[1]}-{words}", system, user)
