"""The Sankey of moves: every customer is in a band, small moves are drawn together and counted in the caption."""

from __future__ import annotations

import base64
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmentation_assets.orchestration import plots

NAMES = st.sampled_from(["S1 Loyal", "S2 New", "S3 Lapsing", "S4 Gone"])
FLOWS = st.lists(st.tuples(NAMES, NAMES, st.integers(0, 1_000)), max_size=20)


def test_a_sankey_is_a_picture_with_its_caption() -> None:
    made = plots.sankey([("S1", "S1", 90), ("S1", "S2", 10), ("S2", "S2", 40)], title="Moves", caption="Customers.")
    found = re.fullmatch(r"!\[Customers\.\]\(data:image/png;base64,([^)]+)\)\n\nCustomers\.", str(made.value))
    assert found is not None
    assert base64.b64decode(found.group(1)).startswith(b"\x89PNG")


def test_no_moves_are_a_picture_too() -> None:
    assert "base64" in str(plots.sankey([], title="Moves", caption="Nobody moved.").value)
    assert "base64" in str(plots.sankey([("S1", "S2", 0)], title="Moves", caption="Nobody moved.").value)


def test_small_moves_are_drawn_together_and_counted_in_the_caption() -> None:
    flows = [("S1", "S1", 1_000), ("S1", "S2", 3), ("S1", "S3", 4), ("S2", "S2", 1), ("S2", "S1", 2)]
    drawn = plots._merged(plots._summed(flows))
    assert drawn == {
        ("S1", "S1"): 1_000,
        ("S2", "S2"): 1,  # who stays is never a small move
        ("S2", "S1"): 2,  # a single small move stays itself
        ("S1", plots.SMALL_MOVES): 7,
    }
    caption = str(plots.sankey(flows, title="Moves", caption="Customers.").value).rpartition("\n\n")[2]
    assert caption == "Customers. 2 moves below 0.5% of all, 7 customers together, are drawn as small moves."


@settings(max_examples=60, deadline=None)
@given(flows=FLOWS)
def test_every_customer_is_in_one_band_on_both_sides(flows: list[tuple[str, str, int]]) -> None:
    drawn = plots._merged(plots._summed(flows))
    sources, targets = plots._ends(drawn)
    total = sum(value for _, _, value in flows)
    assert sum(drawn.values()) == sum(sources.values()) == sum(targets.values()) == total
    assert list(sources.values()) == sorted(sources.values(), reverse=True)
    stayers = [name for name in targets if name in sources]
    assert stayers == [name for name in sources if name in targets]  # across from each other
    assert list(targets)[: len(stayers)] == stayers


def test_labels_keep_their_distance() -> None:
    assert plots._apart([1.0, 1.1, 5.0], 1.0) == [1.0, 2.0, 5.0]


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_a_flow_that_is_no_number_of_customers_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="a Sankey needs numbers") as caught:
        plots.sankey([("S1", "S2", value)], title="Moves", caption="")
    assert str(caught.value) == f"The flow from 'S1' to 'S2' is {value!r}; a Sankey needs numbers from 0 on."
