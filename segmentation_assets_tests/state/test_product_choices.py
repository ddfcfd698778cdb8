"""What a marketer chooses is kept, the newest choice of a product is in force, and nothing is overwritten."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from segmentation_assets.state.choices import (
    ChoiceError,
    all_choices,
    check_choice,
    choices_in_force,
    choose_products,
    clear_choices,
)
from segmentation_assets.state.store import StateStore, open_state

MONDAY = dt.datetime(2026, 6, 29, 9, 30)
TUESDAY = dt.datetime(2026, 6, 30, 9, 30)
SHARE = "A discount is at least 0 and below 1, and 0.15 is fifteen percent; the one given"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[StateStore]:
    with open_state(tmp_path / "state.sqlite") as opened:
        yield opened


def choose(
    store: StateStore, *ids: str, discount: float | None = None, size: int | None = None, at: dt.datetime = MONDAY
) -> list[int]:
    return [choice.choice_id for choice in choose_products(store, ids, discount, size, chosen_at=at)]


def in_force(store: StateStore) -> dict[str, tuple[float | None, int | None]]:
    return {choice.product_id: (choice.discount_share, choice.audience_customers) for choice in choices_in_force(store)}


def test_a_choice_is_there_when_the_store_is_opened_again(tmp_path: Path) -> None:
    with open_state(tmp_path / "state.sqlite") as store:
        kept = choose_products(store, ["P2", " P1 "], 0.15, 2000, chosen_at=MONDAY)
    with open_state(tmp_path / "state.sqlite") as store:
        assert choices_in_force(store) == kept
    assert [choice.product_id for choice in kept] == ["P1", "P2"]
    assert {(choice.discount_share, choice.audience_customers, choice.chosen_at) for choice in kept} == {
        (0.15, 2000, MONDAY)
    }


def test_choosing_again_replaces_the_choice_of_that_product_alone_and_keeps_the_old_one_listed(
    store: StateStore,
) -> None:
    first, other = choose(store, "P1", "P2", discount=0.15)
    (second,) = choose(store, "P1", size=500, at=TUESDAY)
    assert in_force(store) == {"P1": (None, 500), "P2": (0.15, None)}
    assert [(choice.choice_id, choice.is_active, choice.discount_share) for choice in all_choices(store)] == [
        (first, False, 0.15), (other, True, 0.15), (second, True, None),
    ]  # fmt: skip


def test_the_same_choice_again_is_the_same_choice(store: StateStore) -> None:
    first = choose(store, "P1", discount=0.15)
    assert choose(store, "P1", discount=0.15, at=TUESDAY) == first
    assert len(all_choices(store)) == 1
    assert choose(store, "P1", discount=0.0) != choose(store, "P1")  # no discount is a choice, none given is not


def test_clearing_takes_back_the_products_named_and_all_without_a_name(store: StateStore) -> None:
    choose(store, "P3", "P1", "P2")
    cleared = clear_choices(store, ["P2"])
    assert [(choice.product_id, choice.is_active) for choice in cleared] == [("P2", False)]
    assert list(in_force(store)) == ["P1", "P3"]
    assert [choice.product_id for choice in clear_choices(store)] == ["P1", "P3"]
    assert in_force(store) == {} and clear_choices(store) == []
    assert len(all_choices(store)) == 3


def test_ids_are_sorted_as_text(store: StateStore) -> None:
    for product_id in ("p1", "P9", "Ä1", "P10"):
        choose(store, product_id)
    assert list(in_force(store)) == ["P10", "P9", "p1", "Ä1"]


def test_a_time_with_a_zone_is_kept_as_utc(store: StateStore) -> None:
    choose(store, "P1", at=dt.datetime(2026, 6, 29, 11, 30, tzinfo=dt.timezone(dt.timedelta(hours=2))))
    assert all_choices(store)[0].chosen_at == MONDAY


@pytest.mark.parametrize(
    ("ids", "discount", "size", "told"),
    [
        ([], None, None, "No product is named. `segmentation products list` shows those that may be chosen."),
        (["P1", "P2", " P1"], None, None, "Product P1 is named twice; name it once."),
        ([" "], None, None, "A product's id has 1 to 200 characters; this one has 0."),
        (["x" * 201], None, None, "A product's id has 1 to 200 characters; this one has 201."),
        (["a\x1b[31m"], None, None, "A product's id holds the character U+001B, which cannot be printed."),
        (["P1"], 1.0, None, f"{SHARE} is 1."),
        (["P1"], 15.0, None, f"{SHARE} is 15."),
        (["P1"], -0.1, None, f"{SHARE} is -0.1."),
        (["P1"], float("nan"), None, f"{SHARE} is nan."),
        (["P1"], None, 0, "An audience has 1 to 1,000,000,000 customers; the one given has 0."),
        (["P1"], None, 10**9 + 1, "An audience has 1 to 1,000,000,000 customers; the one given has 1,000,000,001."),
    ],
)  # fmt: skip
def test_a_choice_that_cannot_be_kept_is_refused_and_changes_nothing(
    store: StateStore, ids: list[str], discount: float | None, size: int | None, told: str
) -> None:
    choose(store, "P1", discount=0.2)
    with pytest.raises(ChoiceError) as caught:
        choose_products(store, ids, discount, size, chosen_at=MONDAY)
    assert str(caught.value) == told
    assert in_force(store) == {"P1": (0.2, None)}


def test_the_bounds_themselves_are_kept(store: StateStore) -> None:
    check_choice(0.0, 1)
    choose(store, "x" * 200, discount=0.999, size=10**9)
    assert in_force(store) == {"x" * 200: (0.999, 10**9)}


@pytest.mark.parametrize(
    ("held", "named", "told"),
    [
        ((), ["P9"], "P9 is not among the products chosen; there are none."),
        (("P1",), ["P9"], "P9 is not among the products chosen; there is P1."),
        (("P1", "P2"), ["P1", "P9", "P8"], "P8, P9 are not among the products chosen; there are P1, P2."),
        (
            tuple(f"P{n:02d}" for n in range(14)), ["P9"],
            "P9 is not among the products chosen; there are P00, P01, P02, P03, P04, P05, P06, P07, P08, P09, P10, P11 "
            "and 2 more.",
        ),
        (("P1",), ["P1", "P1"], "Product P1 is named twice; name it once."),
    ],
)  # fmt: skip
def test_clearing_what_is_not_chosen_is_a_sentence_and_clears_nothing(
    store: StateStore, held: tuple[str, ...], named: list[str], told: str
) -> None:
    if held:
        choose(store, *held)
    with pytest.raises(ChoiceError) as caught:
        clear_choices(store, named)
    assert str(caught.value) == told
    assert tuple(in_force(store)) == held


def test_the_store_itself_refuses_a_discount_and_a_size_that_cannot_be(store: StateStore) -> None:
    row = "insert into product_choices (product_id, discount_share, audience_customers, is_active, chosen_at) values "
    for values in ("('P1', 1.0, null, 1, '2026-06-29')", "('P1', -0.1, null, 1, '2026-06-29')",
                   "('P1', null, 0, 1, '2026-06-29')"):  # fmt: skip
        with pytest.raises(IntegrityError), store.session(write=True) as session:
            session.execute(text(row + values))
    with store.session(write=True) as session:
        session.execute(text(row + "('P1', null, null, 1, '2026-06-29 09:30:00.000000')"))
    assert in_force(store) == {"P1": (None, None)}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StateStore]:
    """A store for many examples, each of which begins by clearing it."""
    with open_state(tmp_path_factory.mktemp("shared") / "state.sqlite") as opened:
        yield opened


STEPS = st.one_of(
    st.tuples(st.just("choose"), st.sets(st.sampled_from("abc"), min_size=1), st.sampled_from([None, 0.0, 0.2])),
    st.tuples(st.just("clear"), st.sets(st.sampled_from("abc"))),
)


@given(steps=st.lists(STEPS, max_size=8))
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_in_force_is_what_was_chosen_last_and_not_cleared(
    shared: StateStore, steps: list[tuple[str, set[str], Any] | tuple[str, set[str]]]
) -> None:
    clear_choices(shared)
    kept = len(all_choices(shared))
    expected: dict[str, float | None] = {}
    for step in steps:
        if len(step) == 3:
            changed = {name for name in step[1] if expected.get(name, "none") != step[2]}
            kept += len(changed)
            choose(shared, *step[1], discount=step[2])
            expected.update(dict.fromkeys(step[1], step[2]))
        elif step[1] <= set(expected):
            clear_choices(shared, sorted(step[1]))
            expected = {name: held for name, held in expected.items() if step[1] and name not in step[1]}
        else:
            with pytest.raises(ChoiceError):
                clear_choices(shared, sorted(step[1]))
        assert {name: discount for name, (discount, _) in in_force(shared).items()} == expected
    assert len(all_choices(shared)) == kept


def test_people_who_choose_at_once_leave_one_choice_in_force(store: StateStore) -> None:
    def write(who: int) -> None:
        for number in range(8):
            choose(store, "P1", f"P{who + 2}", size=10 * who + number + 1)

    with ThreadPoolExecutor(4) as people:
        list(people.map(write, range(4)))
    active = [choice.product_id for choice in all_choices(store) if choice.is_active]
    assert sorted(active) == ["P1", "P2", "P3", "P4", "P5"]
    assert len(all_choices(store)) == 64
