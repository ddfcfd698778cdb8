"""Names given from outside go to new segments only."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from segmentation_assets.segmentation.fit import IdentifiedAxis, Segment


def test_only_new_segments_take_a_name_from_outside() -> None:
    model: Any = None  # not looked at here
    segments = (Segment("T1", 0, "Old", 10), Segment("T2", 1, "By rule", 9))
    found = IdentifiedAxis(model, segments, (), "new", None, pl.DataFrame(), pl.DataFrame(), ("T2",))
    assert [segment.name for segment in found.named({"T2": "Given"}).segments] == ["Old", "Given"]
    with pytest.raises(ValueError, match="T1 had a name before; a name is changed by a declared rename only"):
        found.named({"T1": "Silent", "T2": "Given"})
