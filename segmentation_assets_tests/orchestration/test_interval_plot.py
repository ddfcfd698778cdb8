"""Estimates with their intervals: what is drawn, and in which order."""

from __future__ import annotations

from typing import Any

import pytest

from segmentation_assets.orchestration import plots

PANEL = ("all purchases", [("matches", 3.5, 3.4, 3.6), ("most active", 2.8, 2.6, 3.1)])


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Figures that are turned to Markdown."""
    seen: list[Any] = []
    real = plots.to_markdown

    def keep(made: Any, caption: str) -> Any:
        seen.append(made)
        return real(made, caption)

    monkeypatch.setattr(plots, "to_markdown", keep)
    return seen


def test_the_first_row_is_on_top_and_every_estimate_is_written_beside_its_interval(drawn: list[Any]) -> None:
    told = plots.intervals([PANEL], caption="Over 90 days.", x_label="lift", marked=1.0)
    assert told.md_str.endswith("Over 90 days.") and "data:image/png;base64," in told.md_str
    (axis,) = drawn[0].axes
    assert [label.get_text() for label in axis.get_yticklabels()] == ["matches", "most active"]
    assert list(axis.get_yticks()) == [1, 0]
    assert [text.get_text().strip() for text in axis.texts] == ["3.50", "2.80"]
    assert [list(line.get_xdata()) for line in axis.lines[::2]][:2] == [[3.4, 3.6], [2.6, 3.1]]


def test_there_is_a_panel_per_question_and_digits_are_as_asked(drawn: list[Any]) -> None:
    panels = [PANEL, ("first", [("matches", 0.2134, 0.2, 0.22)])]
    plots.intervals(panels, caption="", x_label="", number_format="{:.3f}")
    assert [axis.get_title(loc="left") for axis in drawn[0].axes] == ["all purchases", "first"]
    assert drawn[0].axes[1].texts[0].get_text().strip() == "0.213"
