"""The page of three components: one file that asks nothing of the network, shows segments and no customers."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import polars as pl
import pytest

from segmentation_assets.studio.projection_page import projection_page

NAMES = {"S1": "Loyal & big", "S2": "Lapsing </script><script>alert(1)</script>", "S10": ""}


def points() -> pl.DataFrame:
    return pl.DataFrame(
        {
            "axis": ["stage"] * 4, "point": [1, 2, 3, 4], "segment_id": ["S10", "S1", "S2", "S1"],
            "x": [0.123456, 1.0, 2.0, 3.0], "y": [0.0, 1.5, 2.5, 3.5], "z": [9.0, 8.0, 7.0, 6.0],
        }
    )  # fmt: skip


def traces(page: str) -> list[dict]:
    """What the page asks Plotly to draw."""
    start = page.index("[", page.rindex("Plotly.newPlot("))
    return json.JSONDecoder().raw_decode(page[start:])[0]


class Elements(HTMLParser):
    """The elements of a page with their attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


@pytest.fixture(scope="module")
def page() -> str:
    return projection_page(points(), (0.41, 0.2, 0.1), NAMES, "Stage <segments>")


def test_each_segment_is_one_colour_with_its_name_in_the_order_of_its_number(page: str) -> None:
    drawn = traces(page)
    assert [trace["name"] for trace in drawn] == [
        "S1 Loyal &amp; big",
        "S2 Lapsing &lt;/script&gt;&lt;script&gt;alert(1)&lt;/script&gt;",
        "S10",
    ]
    assert len({trace["marker"]["color"] for trace in drawn}) == 3
    assert {trace["type"] for trace in drawn} == {"scatter3d"}
    assert (drawn[0]["x"], drawn[0]["y"], drawn[0]["z"]) == ([1.0, 3.0], [1.5, 3.5], [8.0, 6.0])
    assert drawn[2]["x"] == [0.123]


def test_pointing_at_a_customer_tells_the_segment_only(page: str) -> None:
    for trace in traces(page):
        assert trace["hovertemplate"] == "%{fullData.name}<extra></extra>"
        assert not {"text", "customdata", "ids", "hovertext"} & trace.keys()


def test_nothing_is_loaded_from_or_sent_to_anywhere(page: str) -> None:
    elements = Elements()
    elements.feed(page)
    assert not [tag for tag, _ in elements.found if tag in {"link", "img", "iframe", "object", "form"}]
    assert not [attributes for _, attributes in elements.found if "src" in attributes or "href" in attributes]
    policies = [
        attributes["content"] for tag, attributes in elements.found if tag == "meta" and "http-equiv" in attributes
    ]
    assert policies == [
        "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
    ]
    assert re.search(r'"showSendToCloud":\s*false', page)


def test_texts_of_the_data_cannot_break_out_of_the_page(page: str) -> None:
    assert "<script>alert" not in page
    assert "<title>Stage &lt;segments&gt;</title>" in page


def test_the_reader_is_told_how_much_of_the_variance_is_seen(page: str) -> None:
    assert "4 customers, drawn at random, on three principal components that hold 71 % of the variance" in page
    assert '"third component (10 %)"' in page
    assert "A picture, not evidence" in page


def test_the_same_points_give_the_same_page(page: str) -> None:
    assert projection_page(points(), (0.41, 0.2, 0.1), NAMES, "Stage <segments>") == page


def test_an_axis_without_segments_has_a_page_that_says_so() -> None:
    empty = projection_page(points().clear(), (0.0, 0.0, 0.0), {}, "Taste segments")
    assert "There is nothing to show: the axis has no segments." in empty
    assert len(empty) < 5_000


def test_points_of_two_axes_are_refused() -> None:
    both = points().with_columns(axis=pl.Series(["taste", "stage", "stage", "stage"]))
    with pytest.raises(ValueError, match="one axis") as caught:
        projection_page(both, (0.4, 0.2, 0.1), NAMES, "Segments")
    assert str(caught.value) == "A projection page shows one axis; the points are of stage, taste. Filter them first."
