"""How customers answered messages, as facts: of whom a share is, what may be sent, and what is said of it."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmentation_assets.language.answer_facts import (
    COUNTS,
    NOTABLE_CLICKS,
    added_up,
    answer_facts,
    clear_gap,
    effect_facts,
)
from segmentation_assets.language.facts import FactBook
from segmentation_assets.language.grounding import ungrounded, ungrounded_rendered
from segmentation_assets.language.profile_writer import profile_templates, write_profiles
from segmentation_assets.language.rendering import render
from segmentation_assets.language.segment_facts import SegmentFacts, gather_segment_facts
from segmentation_assets.language.strategy_writer import strategy_answer
from segmentation_assets.language.tasks.profile import facts_to_tell

CELL = 50
SUMMARY = (
    "axis", "segment_id", "name", "customers", "customer_share", "reachable_customers", "revenue_amount",
    "revenue_share", "median_recency_days", "median_order_count", "median_monetary_amount",
    "mean_average_order_amount",
)  # fmt: skip


def _counts(customers: int, written: int, clicked: int = 0, fatigued: int = 0, refused: int = 0) -> dict[str, int]:
    """A group of which `written` got two messages each, in the last 90 days."""
    return dict(
        zip(COUNTS, (customers, written, written, 2 * written, written, clicked, fatigued, refused), strict=True)
    )


MANY = _counts(4000, 2000, clicked=280, fatigued=600, refused=100)
REST = _counts(6000, 3000, clicked=170, fatigued=200, refused=100)


def _facts(own: Mapping[str, int], *others: Mapping[str, int]) -> FactBook:
    return FactBook(answer_facts(own, [own, *others], "taste T1", CELL))


def test_a_share_is_of_those_written_to_and_stands_beside_everybody_written_to() -> None:
    book = _facts(MANY, REST)
    assert [fact.key for fact in book] == [
        f"{key}{ending}" for key in ("written", "clicked", "fatigued", "unsubscribed", "messages")
        for ending in ("", "_shop", "_gap")
    ]  # fmt: skip
    words = render(
        "{{clicked}} clicked a message in the last year, beside {{clicked_shop}} of all customers; {{written}} were "
        "written to, {{messages}} messages each.", book,
    )  # fmt: skip
    assert words == (
        "14% clicked a message in the last year, beside 9% of all customers; 50% were written to, 2 messages each."
    )
    assert book.number("clicked_gap") == pytest.approx(0.05)
    clicked = book.get("clicked")
    assert clicked is not None and (clicked.customers, clicked.numerator) == (2000, 280)


def test_nobody_written_to_is_no_figure_and_never_a_nought() -> None:
    silent = _counts(4000, 0)
    assert [fact.key for fact in _facts(silent, REST)] == ["written", "written_shop", "written_gap"]
    # A shop that knows of no message at all does not know either that it wrote to nobody.
    assert len(_facts(silent, _counts(6000, 0))) == 0


@pytest.mark.parametrize(("written", "is_there"), [(49, False), (50, True)])
def test_fewer_than_the_cell_written_to_have_no_figure(written: int, is_there: bool) -> None:
    assert ("clicked" in _facts(_counts(4000, written, clicked=written), REST)) is is_there


@pytest.mark.parametrize(
    ("own", "others"),
    [
        (_counts(4000, 2000, clicked=49), (REST,)),  # who clicked
        (_counts(4000, 2000, clicked=1951), (REST,)),  # who did not
        (MANY, (_counts(60, 40, clicked=40),)),  # those outside the segment
        (MANY, (_counts(6000, 3000, clicked=40),)),  # the clickers outside the segment
        (MANY, (_counts(6000, 3000, clicked=2960),)),  # those outside who did not
        (MANY, (REST, _counts(6000, 3000, clicked=30))),  # had as the shop's clickers less the others'
    ],
)
def test_what_would_tell_of_fewer_than_the_cell_is_not_sent(
    own: Mapping[str, int], others: tuple[Mapping[str, int], ...]
) -> None:
    book = _facts(own, *others)
    assert "clicked" in book  # it is for the shop's own people
    sent = book.sendable(CELL, 10_000)
    assert not any(key in sent for key in ("clicked", "clicked_shop", "clicked_gap"))
    assert "clicked" in _facts(MANY, REST).sendable(CELL, 10_000)


@given(st.lists(st.tuples(*[st.integers(0, 400)] * 5), min_size=1, max_size=5))
def test_whatever_the_counts_nothing_sent_is_of_fewer_than_the_cell(drawn: list[tuple[int, ...]]) -> None:
    groups = []
    for sizes in drawn:
        fatigued, clicked, refused, written, customers = sorted(sizes)
        groups.append(_counts(customers, written, clicked, fatigued, refused))
    shop = added_up(groups)
    for own in groups:
        for fact in FactBook(answer_facts(own, groups, "taste T1", CELL)).sendable(CELL, shop["customers"]):
            assert fact.customers is not None and fact.customers >= CELL, fact
            if fact.numerator is not None:
                people = (fact.numerator, fact.customers - fact.numerator)
                assert all(number == 0 or number >= CELL for number in people), fact


def test_a_difference_that_may_be_chance_is_not_acted_on() -> None:
    assert clear_gap(_facts(MANY, REST), "clicked", NOTABLE_CLICKS) == pytest.approx(0.05)
    few = _counts(80, 60, clicked=8)  # 13 % of 60
    assert clear_gap(_facts(few, REST), "clicked", NOTABLE_CLICKS) > 0  # beside 6 %: two errors are 6 points
    near = _facts(few, _counts(6000, 3000, clicked=240))
    assert near.number("clicked_gap") > 0.05
    assert clear_gap(near, "clicked", NOTABLE_CLICKS) == 0  # beside 8 %: two errors are 7 points
    assert clear_gap(FactBook(), "clicked", NOTABLE_CLICKS) == 0


def _campaign(**changes: object) -> dict[str, object]:
    return {
        "axis": "taste", "segment_id": "T1", "campaign_id": "20260601-T1-active", "treated_customers": 900,
        "control_customers": 300, "treated_buyers": 180, "control_buyers": 50, "effect": 0.033, "low": 0.001,
        "high": 0.062, "is_newest": True, **changes,
    }  # fmt: skip


def test_an_effect_comes_with_its_interval_and_with_fifty_people_in_each_arm() -> None:
    facts = effect_facts(_campaign(), "taste T1", CELL)
    assert [(fact.key, fact.number, fact.stays) for fact in facts] == [
        ("effect", 0.033, False), ("effect_low", 0.001, False), ("effect_high", 0.062, False)
    ]  # fmt: skip
    assert effect_facts(_campaign(control_customers=49), "taste T1", CELL) == ()
    assert all(fact.stays for fact in effect_facts(_campaign(control_buyers=49), "taste T1", CELL))
    assert all(fact.stays for fact in effect_facts(_campaign(treated_buyers=851), "taste T1", CELL))


def _gathered(engagement: pl.DataFrame | None, campaigns: pl.DataFrame | None = None) -> list[SegmentFacts]:
    rows = [
        ("taste", f"T{place}", name, 5000, 0.5, 3000, 1e6, 0.5, 40.0, 3.0, 90.0, 30.0)
        for place, name in enumerate(("Unknown", "Coffee", "Tea"))
    ]
    metrics = pl.DataFrame(
        [("taste", "T1", "campaign_response_share", 0.2, 0.2, 0.1, 0.1)], orient="row",
        schema=["axis", "segment_id", "metric", "mean", "median", "overall_mean", "overall_median"],
    )  # fmt: skip
    drivers = {"axis": pl.String, "segment_id": pl.String, "rank": pl.Int64, "feature": pl.String,
               "standardised_difference": pl.Float64}  # fmt: skip
    return gather_segment_facts(
        pl.DataFrame(rows, schema=list(SUMMARY), orient="row"), metrics, pl.DataFrame(schema=drivers), pl.DataFrame(),
        situations={}, engagement=engagement, campaigns=campaigns,
    )  # fmt: skip


def _engagement(*groups: Mapping[str, int]) -> pl.DataFrame:
    return pl.DataFrame([{"axis": "taste", "segment_id": f"T{place}", **row} for place, row in enumerate(groups)])


def test_the_profile_says_how_messages_were_answered_in_words_a_marketer_reads() -> None:
    shop = _engagement(_counts(5000, 0), MANY, _counts(5000, 2500, clicked=110, refused=10))
    found = {row["segment_id"]: row["how"] for row in write_profiles(_gathered(shop)).iter_rows(named=True)}
    assert found["T1"] == (
        "3,000 of them, 60%, can be reached by e-mail. Of those written to in the last year 14% clicked, 5.3 "
        "percentage points more than usual. 30% of those written to have had many messages in a row without a click: "
        "let them rest. Of those ever written to 5% unsubscribed, 2.6 percentage points more than usual: ask less of "
        "them."
    )
    assert found["T2"].endswith(
        "Of those written to in the last year 4.4% clicked a message, beside 8.7% of all customers written to."
    )
    assert "click" not in found["T0"]  # nobody was written to


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(*[st.integers(0, 5000)] * 5), min_size=3, max_size=3),
    st.tuples(*[st.floats(-0.2, 0.2)] * 3),
)
def test_whatever_the_answers_no_text_says_more_than_its_facts(
    drawn: list[tuple[int, ...]], effects: tuple[float, ...]
) -> None:
    groups = []
    for sizes in drawn:
        fatigued, refused, clicked, written, customers = sorted(sizes)
        groups.append(_counts(customers, written, clicked, fatigued, refused))
    low, effect, high = sorted(effects)
    campaigns = pl.DataFrame([_campaign(low=low, effect=effect, high=high)])
    segments = _gathered(_engagement(*groups), campaigns)
    for segment in segments:
        strategy = strategy_answer(segment)
        for text in (*profile_templates(segment).values(), strategy.cadence):
            assert ungrounded(text, segment.book, segment.subject) == [], text
            written_out = render(text, segment.book)
            assert ungrounded_rendered(written_out, segment.book, segment.subject) == [], written_out


def test_what_the_source_calls_answers_is_told_where_no_click_is_known() -> None:
    how = {row["segment_id"]: row["how"] for row in write_profiles(_gathered(None)).iter_rows(named=True)}
    assert how["T1"].endswith("They answered 20% of earlier campaigns, 10 percentage points more than usual.")
    shop = _engagement(_counts(5000, 0), MANY, REST)
    assert "answered" not in profile_templates(_gathered(shop)[1])["how"]


@pytest.mark.parametrize(
    ("low", "effect", "high", "words"),
    [
        (0.001, 0.033, 0.062, "The last campaign measured among them worked: 3.3 percentage points more bought than of "
         "those left out at random, with an interval from +0.1 percentage points to +6.2 percentage points."),
        (-0.05, -0.03, -0.01, "The last campaign measured among them did harm: 3 percentage points fewer bought than "
         "of those left out at random, with an interval from -5 percentage points to -1 percentage point."),
        (-0.01, 0.02, 0.05, "The last campaign measured among them against those left out at random shows no clear "
         "effect: +2 percentage points, with an interval from -1 percentage point to +5 percentage points."),
    ],
)  # fmt: skip
def test_a_measured_effect_is_told_with_its_interval_whatever_it_is(
    low: float, effect: float, high: float, words: str
) -> None:
    campaigns = pl.DataFrame([
        _campaign(low=low, effect=effect, high=high),
        _campaign(campaign_id="20260101-T1-active", effect=0.5, low=0.4, high=0.6, is_newest=False),
    ])  # fmt: skip
    segments = _gathered(None, campaigns)
    how = {row["segment_id"]: row["how"] for row in write_profiles(segments).iter_rows(named=True)}
    assert how["T1"].endswith(words)
    assert "campaign measured" not in how["T2"]


def test_a_tired_segment_is_paused_and_an_unmoved_one_is_spared_by_the_strategy() -> None:
    shop = _engagement(_counts(5000, 0), _counts(4000, 2000, clicked=20, fatigued=500), REST)
    cadence = strategy_answer(_gathered(shop)[1]).cadence
    assert "{{clicked_gap|fewer}} than usual: leave some out." in cadence
    assert cadence.endswith("{{fatigued}} of those written to have had many messages in a row without a click: pause "
                            "for them.")  # fmt: skip


def test_a_writer_is_told_what_is_notable_and_may_say_it_in_its_own_words() -> None:
    segment = _gathered(_engagement(_counts(5000, 0), MANY, REST), pl.DataFrame([_campaign()]))[1]
    told = facts_to_tell(segment)
    assert {"clicked", "clicked_gap", "fatigued", "fatigued_gap", "effect", "effect_low"} <= {fact.key for fact in told}
    # What may be chance is told by our own sentence alone, which says so.
    unclear = facts_to_tell(_gathered(None, pl.DataFrame([_campaign(low=-0.01)]))[1])
    assert not any(fact.key.startswith("effect") for fact in unclear)
    for words in (
        "Messages reach people who act on them: {{clicked}} of those written to clicked, {{clicked_gap|more}} than "
        "elsewhere in the shop.",
        "{{clicked}} clicked a message in the last year, beside {{clicked_shop}} of all customers written to.",
        "{{unsubscribed}} of those ever written to have unsubscribed.",
        "{{written}} were written to in recent months, {{messages}} messages each.",
        "The last campaign was measured against a control group: {{effect|more}} bought.",
    ):
        assert ungrounded(words, segment.book, segment.subject) == [], words


@pytest.mark.parametrize(
    "words",
    [
        "{{clicked}} of all customers bought in the last year.",
        "{{fatigued}} of the revenue comes from them.",
        "They spent {{messages}} in all.",
        "{{unsubscribed}} of their orders carry a coupon.",
        "They clicked {{clicked|more}}.",
    ],
)
def test_a_figure_of_messages_does_not_stand_for_anything_else(words: str) -> None:
    segment = _gathered(_engagement(_counts(5000, 0), MANY, REST))[1]
    assert ungrounded(words, segment.book, segment.subject) != []
