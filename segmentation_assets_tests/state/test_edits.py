"""What people write is kept, the newest is in force, and taking it back brings back the one before."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segmentation_assets.state.edits import (
    KINDS,
    LONGEST_TEXT,
    EditError,
    all_edits,
    edited_drafts,
    edited_segments,
    edits_in_force,
    put_edit,
    undo_edit,
)
from segmentation_assets.state.store import StateStore, open_state

MONDAY = dt.datetime(2026, 6, 29, 9, 30)
TUESDAY = dt.datetime(2026, 6, 30, 9, 30)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[StateStore]:
    with open_state(tmp_path / "state.sqlite") as opened:
        yield opened


def put(store: StateStore, words: str, at: dt.datetime = MONDAY, field: str = "who", item: str = "taste T1") -> int:
    return put_edit(store, "profile", item, field, template=words, typed=words, edited_at=at).edit_id


def test_an_edit_is_there_when_the_store_is_opened_again(tmp_path: Path) -> None:
    with open_state(tmp_path / "state.sqlite") as store:
        kept = put_edit(
            store, "profile", "taste T1", "who", template="{{customers}} people", typed="955 people", edited_at=MONDAY
        )
    with open_state(tmp_path / "state.sqlite") as store:
        assert all_edits(store) == [kept]
        assert edits_in_force(store, "profile") == {"taste T1": {"who": kept}}
        assert kept.edited_at == MONDAY
        assert (kept.template, kept.typed) == ("{{customers}} people", "955 people")


def test_the_newest_edit_of_a_field_is_in_force_and_the_older_ones_stay_listed(store: StateStore) -> None:
    first, second = put(store, "Coffee lovers"), put(store, "Tea lovers", TUESDAY)
    other = put(store, "Write seldom.", field="how")
    in_force = edits_in_force(store, "profile")["taste T1"]
    assert {field: edit.edit_id for field, edit in in_force.items()} == {"how": other, "who": second}
    assert [edit.edit_id for edit in all_edits(store)] == [first, second, other]
    assert edits_in_force(store, "draft") == {}


def test_undoing_brings_back_the_edit_before_and_then_the_writers_own_text(store: StateStore) -> None:
    first, second = put(store, "Coffee lovers"), put(store, "Tea lovers")
    undone, left = undo_edit(store, second)
    assert (undone.edit_id, undone.is_active) == (second, False)
    assert left is not None
    assert left.edit_id == first
    assert edits_in_force(store, "profile")["taste T1"]["who"].typed == "Coffee lovers"
    assert undo_edit(store, first)[1] is None
    assert edits_in_force(store, "profile") == {}
    assert [edit.is_active for edit in all_edits(store)] == [False, False]


def test_undoing_an_older_edit_leaves_the_newest_in_force(store: StateStore) -> None:
    first, second = put(store, "Coffee lovers"), put(store, "Tea lovers")
    left = undo_edit(store, first)[1]
    assert left is not None
    assert left.edit_id == second


def test_the_same_words_again_are_the_same_edit(store: StateStore) -> None:
    first = put(store, "Coffee lovers", MONDAY)
    assert put(store, "  Coffee lovers\n", TUESDAY) == first
    assert len(all_edits(store)) == 1
    second = put(store, "Tea lovers")
    assert put(store, "Coffee lovers") not in {first, second}


def test_writers_get_templates_and_times_by_segment_and_by_draft(store: StateStore) -> None:
    put(store, "Coffee lovers", item="taste T1")
    put(store, "Gone", TUESDAY, field="how", item="stage S2")
    assert edited_segments(store, "profile") == {
        ("stage", "S2"): {"how": ("Gone", TUESDAY)},
        ("taste", "T1"): {"who": ("Coffee lovers", MONDAY)},
    }
    put_edit(store, "draft", "20260630-T2-lapsing-A", "subject", template="Hello", typed="Hello", edited_at=MONDAY)
    assert edited_drafts(store) == {"20260630-T2-lapsing-A": {"subject": ("Hello", MONDAY)}}


def test_a_time_with_a_zone_is_kept_as_utc(store: StateStore) -> None:
    put(store, "Coffee lovers", dt.datetime(2026, 6, 29, 11, 30, tzinfo=dt.timezone(dt.timedelta(hours=2))))
    assert all_edits(store)[0].edited_at == MONDAY


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("", "profile taste T1, who: the text is empty. Undo an edit with `segmentation edit undo`."),
        (" \n ", "profile taste T1, who: the text is empty. Undo an edit with `segmentation edit undo`."),
        ("x" * (LONGEST_TEXT + 1), "profile taste T1, who: the text has 4,001 characters; at most 4,000 are kept."),
        ("a\x00b", "profile taste T1, who: the text holds the character U+0000, which cannot be printed."),
        ("a\x1b[31m", "profile taste T1, who: the text holds the character U+001B, which cannot be printed."),
        ("a\ud800", "profile taste T1, who: the text holds the character U+D800, which cannot be printed."),
    ],
)
def test_a_text_that_cannot_be_kept_is_refused(store: StateStore, words: str, told: str) -> None:
    with pytest.raises(EditError) as caught:
        put(store, words)
    assert str(caught.value) == told
    assert all_edits(store) == []


def test_the_longest_text_is_kept_whole(store: StateStore) -> None:
    put(store, "é" * LONGEST_TEXT)
    assert all_edits(store)[0].typed == "é" * LONGEST_TEXT


def test_an_unknown_kind_and_an_empty_label_are_refused(store: StateStore) -> None:
    with pytest.raises(EditError, match=r"^'brief' is no kind of edit; there are name, profile, strategy, draft\.$"):
        put_edit(store, "brief", "x", "who", template="a", typed="a", edited_at=MONDAY)  # type: ignore[arg-type]
    with pytest.raises(EditError, match=r"^An edit names its item in 1 to 200 characters; this one has 0\.$"):
        put_edit(store, "profile", " ", "who", template="a", typed="a", edited_at=MONDAY)
    with pytest.raises(EditError, match=r"^An edit names its field in 1 to 200 characters; this one has 201\.$"):
        put_edit(store, "profile", "taste T1", "w" * 201, template="a", typed="a", edited_at=MONDAY)


def test_undoing_what_is_not_there_or_was_undone_is_a_sentence(store: StateStore) -> None:
    with pytest.raises(EditError, match=r"^There is no edit 7\. `segmentation edit list` shows those there are\.$"):
        undo_edit(store, 7)
    only = put(store, "Coffee lovers")
    undo_edit(store, only)
    with pytest.raises(EditError, match=r"^Edit 1 \(profile taste T1, who\) was undone before\.$"):
        undo_edit(store, only)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StateStore]:
    """A store for many examples, each on an item of its own."""
    with open_state(tmp_path_factory.mktemp("shared") / "state.sqlite") as opened:
        yield opened


@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("put"), st.sampled_from("ab"), st.sampled_from(["x", "y", "z"])),
            st.tuples(st.just("undo"), st.integers(0, 7)),
        ),
        max_size=10,
    )
)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_in_force_is_always_the_newest_that_was_not_undone(
    shared: StateStore, steps: list[tuple[str, Any, str] | tuple[str, Any]]
) -> None:
    item = f"taste T{len(all_edits(shared)) + 1}"
    expected: list[list[Any]] = []  # id, field, words, whether it is active
    for step in steps:
        if len(step) == 3:
            _, field, words = step
            held = [row for row in expected if row[1] == field and row[3]]
            number = put(shared, words, field=field, item=item)
            if not held or held[-1][2] != words:
                expected.append([number, field, words, True])
        elif step[1] < len(expected):
            row = expected[step[1]]
            if row[3]:
                undo_edit(shared, row[0])
                row[3] = False
            else:
                with pytest.raises(EditError):
                    undo_edit(shared, row[0])
    in_force = {field: words for _, field, words, is_active in expected if is_active}
    found = edits_in_force(shared, "profile").get(item, {})
    assert {field: edit.typed for field, edit in found.items()} == in_force
    assert [edit.edit_id for edit in all_edits(shared) if edit.item == item] == [row[0] for row in expected]


def test_people_who_edit_at_once_lose_nothing(store: StateStore) -> None:
    def write(who: int) -> list[int]:
        return [put(store, f"{who} {number}", field=f"field{who % 2}") for number in range(8)]

    with ThreadPoolExecutor(4) as people:
        ids = [number for written in people.map(write, range(4)) for number in written]
    assert sorted(ids) == [edit.edit_id for edit in all_edits(store)]
    assert len(set(ids)) == 32
    assert list(edits_in_force(store, "profile")["taste T1"]) == ["field0", "field1"]
    assert all(edits_in_force(store, kind) == {} for kind in KINDS if kind != "profile")
