"""Profiles and strategies of segments: what each text must hold to, and what a writer is told."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from segmentation_assets.language.facts import DeltaUnit, Fact, FactBook, FactKind, clean_name
from segmentation_assets.language.messages import messages_of
from segmentation_assets.language.profile_writer import ProfileAnswer, channel_options, profiles_frame, write_profiles
from segmentation_assets.language.segment_facts import Driver, SegmentFacts
from segmentation_assets.language.strategy_writer import StrategyAnswer, stance_options, strategies_frame
from segmentation_assets.language.task import Outcome
from segmentation_assets.language.tasks.profile import SITUATIONS, facts_to_tell, profile_task
from segmentation_assets.language.tasks.strategy import strategy_task

SUBJECT = "taste T1"


def _fact(key: str, kind: FactKind, value: Any, **extra: Any) -> Fact:
    return Fact(key, kind, value, subject=SUBJECT, customers=extra.pop("customers", 1285), **extra)


def _book(*more: Fact) -> FactBook:
    return FactBook(
        (
            _fact("customers", FactKind.COUNT, 1285),
            _fact("reachable", FactKind.COUNT, 877),
            _fact("customer_share", FactKind.SHARE, 0.13),
            _fact("reachable_share", FactKind.SHARE, 0.68),
            _fact("category1", FactKind.NAME, "Coffee & Tea"),
            _fact("category1_share", FactKind.SHARE, 0.33),
            _fact("category1_gap", FactKind.DELTA, 0.217, unit=DeltaUnit.POINTS),
            _fact("category2", FactKind.NAME, "Kitchen"),
            _fact("category2_share", FactKind.SHARE, 0.16),
            _fact("channel1", FactKind.NAME, "web"),
            _fact("channel1_share", FactKind.SHARE, 0.5),
            _fact("basket", FactKind.MONEY, 61.2),
            _fact("basket_shop", FactKind.MONEY, 60.0),
            _fact("basket_gap", FactKind.DELTA, 0.02),
            *more,
        )
    )


def _segment(**changes: Any) -> SegmentFacts:
    given: dict[str, Any] = {
        "axis": "taste", "segment_id": "T1", "name": "Coffee & Tea", "situation": "taste", "customers": 1285,
        "reachable_customers": 877, "revenue_share": 0.17, "book": _book(), "categories": ("Coffee & Tea", "Kitchen"),
        "drivers": (Driver("weekend_share", 0.8), Driver("category=Coffee", 1.9)), **changes,
    }  # fmt: skip
    return SegmentFacts(**given)


PROFILE = ProfileAnswer(
    who="They are {{customers}} people, and {{category1}} is what they come for.",
    what="{{category1}} takes {{category1_share}} of their lines, {{category1_gap|above}} the shop's share.",
    how="Write before the weekend, when they have time to brew.",
    objective="Sell {{category2}} to those who came for {{category1}}.",
    message="Fresh {{category1}}, and the {{category2}} that belongs to it.",
    channel="E-mail",
    resonance="They chose {{category1}} for {{category1_share}} of their lines already.",
    do_not="Do not send them the catalogue of everything.",
)
STRATEGY = StrategyAnswer(
    goal="Sell {{category2}} to the friends of {{category1}}.",
    approach="A letter on {{category1}}, and {{category2}} in the same picture.",
    cadence="Monthly, and not at all after a season of silence.",
    offer_stance="full price",
    measure="Orders from the {{reachable}} in reach, beside a control group.",
    risk="A taste is a leaning; they may want something else for once.",
)


def _profile_findings(segment: SegmentFacts | None = None, **changes: str) -> list[tuple[str, str]]:
    found = profile_task(segment or _segment()).check(PROFILE.model_copy(update=changes))
    return [(finding.rule, finding.detail) for finding in found]


def _strategy_findings(segment: SegmentFacts | None = None, **changes: str) -> list[tuple[str, str]]:
    found = strategy_task(segment or _segment()).check(STRATEGY.model_copy(update=changes))
    return [(finding.rule, finding.detail) for finding in found]


def test_good_answers_are_accepted_and_stand_in_the_tables() -> None:
    segment = _segment()
    assert _profile_findings() == []
    assert _strategy_findings() == []
    profile, set_aside = profiles_frame([segment], [Outcome(PROFILE, "a-model", False)])
    assert set_aside == []
    assert profile["who"][0] == "They are 1,285 people, and Coffee & Tea is what they come for."
    assert profile["written_by"][0] == "a-model"
    # The program's own sentences are there whoever wrote the others.
    assert profile["confidence_sentence"][0] == write_profiles([segment])["confidence_sentence"][0]
    strategy, _ = strategies_frame([segment], [Outcome(STRATEGY, "a-model", True)])
    assert strategy["measure"][0] == "Orders from the 877 in reach, beside a control group."
    assert strategy["is_degraded"][0]


def test_the_schema_lists_the_channels_and_stances_that_the_data_support() -> None:
    profile = profile_task(_segment()).answer_type
    assert profile.model_json_schema()["properties"]["channel"]["enum"] == ["E-mail", "E-mail, leading to {{channel1}}"]
    with pytest.raises(ValidationError):
        profile(**{**PROFILE.model_dump(), "channel": "Carrier pigeon"})
    strategy = strategy_task(_segment()).answer_type
    assert strategy.model_json_schema()["properties"]["offer_stance"]["enum"] == ["full price", "small thanks"]
    with pytest.raises(ValidationError):
        strategy(**{**STRATEGY.model_dump(), "offer_stance": "reduction"})


@pytest.mark.parametrize(
    ("changes", "options"),
    [
        ({}, ("E-mail", "E-mail, leading to {{channel1}}")),
        ({"reachable_customers": 0}, ("{{channel1}}: e-mail reaches nobody here.", "E-mail, once consent is there.")),
        ({"reachable_customers": 0, "book": FactBook()}, ("E-mail, once consent is there.",)),
        ({"book": FactBook()}, ("E-mail",)),
        ({"book": FactBook((_fact("channel1", FactKind.NAME, "store"), _fact("channel1_share", FactKind.SHARE, 0.7)))},
         ("E-mail, leading to {{channel1}}", "E-mail")),
    ],
)  # fmt: skip
def test_channels_are_those_that_the_data_show(changes: dict[str, Any], options: tuple[str, ...]) -> None:
    assert channel_options(_segment(**changes)) == options


@pytest.mark.parametrize(
    ("situation", "discount", "options"),
    [
        ("loyal", 0.2, ("small thanks", "full price")),
        ("lapsed", 0.2, ("reduction", "small thanks")),
        ("lapsed", 0.0, ("small thanks", "full price")),
        ("lapsed", None, ("small thanks", "full price", "reduction")),
        ("active", 0.1, ("full price", "small thanks", "reduction")),
        ("unknown_taste", None, ("small thanks", "full price")),
    ],
)
def test_a_stance_never_contradicts_the_planned_offer(
    situation: str, discount: float | None, options: tuple[str, ...]
) -> None:
    offer = () if discount is None else (_fact("offer_discount", FactKind.SHARE, discount),)
    assert stance_options(_segment(situation=situation, book=_book(*offer))) == options


@pytest.mark.parametrize(
    ("field", "text", "rule"),
    [
        ("who", "They are {{customers}} people, and nearly 90% of them like it.", "digit"),
        ("who", "They are {{customers}} people, and twenty of them are friends of ours.", "number_word"),
        ("what", "They want {{category9}} and nothing beside it.", "unknown_fact"),
        ("what", "They spend {{basket|above}} on an order here.", "unknown_form"),
        ("how", "Write often, for their interest is growing all the time.", "direction_without_fact"),
        ("objective", "Keep the most valuable customers of the shop.", "rank_without_fact"),
        ("message", "Hurry, this is the last chance to get {{category1}}.", "unsupported_urgency"),
        ("resonance", "We guarantee that {{category1}} finds an ear.", "banned_claim"),
        ("do_not", "Do not write to women about {{category1}}.", "protected_attribute"),
        ("how", "Send them to www.example.com and wait.", "link"),
        ("how", "Ask marketing@example.com for help with it.", "address"),
    ],
)
def test_an_ungrounded_text_is_found_and_named(field: str, text: str, rule: str) -> None:
    found = _profile_findings(**{field: text})
    assert rule in {name for name, _ in found}
    assert all(detail.startswith(f"{field}: ") for _, detail in found)


def test_a_fact_of_another_segment_is_found() -> None:
    other = Fact("spend", FactKind.MONEY, 90, subject="taste T2", customers=900)
    found = _profile_findings(_segment(book=_book(other)), what="In all they spent {{spend}} so far.")
    assert ("wrong_subject", "what: {{spend}} is about taste T2, not taste T1.") in found


def test_who_says_how_many_they_are() -> None:
    assert _profile_findings(who="People who come for {{category1}}.") == [
        ("no_size", "who: say how many they are, with {{customers}} or {{customer_share}}.")
    ]


def test_sizes_that_are_not_sent_are_not_asked_for() -> None:
    book = FactBook(
        tuple(replace(fact, stays=fact.key in {"customers", "customer_share"}) for fact in _book()), currency="EUR"
    )
    assert _profile_findings(_segment(book=book), who="People who come for {{category1}}.") == []


def test_a_message_holds_no_figure_of_the_segment() -> None:
    assert _profile_findings(message="{{customer_share}} of our customers choose {{category1}}, and so do you.") == [
        ("figure_in_message", "message: customer_share is for the team and not for a customer.")
    ]


def test_the_example_of_the_prompt_is_no_answer() -> None:
    assert _profile_findings(message="Light for your desk, and a shade to go with it.") == [
        ("copied_example", "message: 'light for your desk and a' is the example's; write about what is listed.")
    ]
    assert _strategy_findings(risk="The wrong bulb: returns would show.") == [
        ("copied_example", "risk: 'the wrong bulb returns would show' is the example's; write about what is listed.")
    ]


def test_a_channel_that_slipped_through_is_found() -> None:
    assert _profile_findings(channel="Telephone") == [
        ("wrong_choice", "channel: choose one of E-mail; E-mail, leading to {{channel1}}.")
    ]


def test_empty_and_endless_texts_are_found() -> None:
    assert _profile_findings(objective="")
    assert _profile_findings(objective="Sell {{category2}} to those who came for {{category1}}, gently. " * 8)
    assert _strategy_findings(risk=" ")


def test_a_strategy_is_judged_by_a_figure() -> None:
    assert _strategy_findings(measure="Whether everybody is happy with the letters.") == [
        ("no_figure", "measure: name the fact by which success is judged, such as {{reachable}}.")
    ]


def test_a_stance_that_slipped_through_is_found() -> None:
    assert _strategy_findings(offer_stance="reduction") == [
        (
            "wrong_choice",
            "offer_stance: 'reduction' contradicts the planned offer or the way these customers buy; choose one of "
            "full price, small thanks.",
        )
    ]


def test_what_is_hardly_different_from_the_shop_is_not_told() -> None:
    told = [fact.key for fact in facts_to_tell(_segment())]
    assert "basket" in told and "basket_gap" not in told and "basket_shop" not in told
    hardly = _fact("category1_gap", FactKind.DELTA, 0.002, unit=DeltaUnit.POINTS)
    stage = _segment(situation="active", book=FactBook((_fact("category1", FactKind.NAME, "Coffee"), hardly)))
    assert len(facts_to_tell(stage)) == 0


def test_a_small_segment_is_not_sent_and_its_facts_least_of_all() -> None:
    small = _segment(
        customers=49, reachable_customers=20, is_small=True,
        book=FactBook((_fact("customers", FactKind.COUNT, 49, customers=49),
                       _fact("minimum_cell", FactKind.COUNT, 50, customers=49),
                       _fact("category1", FactKind.NAME, "Coffee & Tea", customers=49))),
    )  # fmt: skip
    for task in (profile_task(small), strategy_task(small)):
        assert task.customers == 49
        sent = messages_of(task, 50)[1]["content"]
        assert "49" not in sent and "Coffee" not in sent and "weekends" not in sent


def test_no_fact_about_fewer_than_fifty_people_is_in_a_request() -> None:
    few = _fact("spend", FactKind.MONEY, 777.77, customers=49)
    rest = _fact("recency", FactKind.DAYS, 313, customers=1251)
    for make in (profile_task, strategy_task):
        task = make(_segment(book=_book(few, rest)))
        sent = messages_of(task, 50, 1300)[1]["content"]
        assert "777.77" not in sent and "313" not in sent
        assert "313" in messages_of(task, 50)[1]["content"]


def test_a_request_is_short_and_does_not_grow_with_the_customers() -> None:
    large = _segment(
        customers=1_285_000,
        book=FactBook(tuple(
            replace(fact, customers=1_285_000, value=fact.number * 1000 if fact.kind is FactKind.COUNT else fact.value)
            for fact in _book()
        )),
    )  # fmt: skip
    for make in (profile_task, strategy_task):
        lines = [messages_of(make(segment), 50)[1]["content"].count("\n") for segment in (_segment(), large)]
        assert lines[0] == lines[1]


_SHARES = (
    "customer_share", "reachable_share", "revenue_share", "category1_share", "category2_share", "brand1_share",
    "channel1_share", "discount", "coupon", "returns", "weekend", "response", "price_level", "spring", "winter",
    "stability", "offer_discount",
)  # fmt: skip
_POINTS = (
    "revenue_lean", "category1_gap", "category2_gap", "discount_gap", "coupon_gap", "returns_gap", "weekend_gap",
    "response_gap", "spring_gap", "winter_gap",
)  # fmt: skip
_NAMES = ("category1", "category2", "category3", "brand1", "channel1", "offer_product")
_KINDS: dict[str, tuple[FactKind, DeltaUnit]] = {
    **dict.fromkeys(_SHARES, (FactKind.SHARE, DeltaUnit.RELATIVE)),
    **dict.fromkeys(_POINTS, (FactKind.DELTA, DeltaUnit.POINTS)),
    **dict.fromkeys(("spend_gap", "basket_gap", "price_level_gap"), (FactKind.DELTA, DeltaUnit.RELATIVE)),
    **dict.fromkeys(("recency_gap", "tenure_gap", "pause_gap"), (FactKind.DELTA, DeltaUnit.DAYS)),
    **dict.fromkeys(("recency", "tenure", "pause"), (FactKind.DAYS, DeltaUnit.RELATIVE)),
    **dict.fromkeys(("spend", "basket", "revenue"), (FactKind.MONEY, DeltaUnit.RELATIVE)),
    **dict.fromkeys(("orders", "events", "unreachable"), (FactKind.COUNT, DeltaUnit.RELATIVE)),
    **dict.fromkeys(_NAMES, (FactKind.NAME, DeltaUnit.RELATIVE)),
}


@st.composite
def _odd_segments(draw: st.DrawFn) -> SegmentFacts:
    """Segments with any part of the facts, in any combination, and any situation."""
    customers = draw(st.sampled_from([0, 1, 49, 50, 51, 800, 10**7]))
    reachable = draw(st.sampled_from(sorted({0, customers // 2, customers})))
    facts = [_fact("customers", FactKind.COUNT, customers, customers=customers),
             _fact("reachable", FactKind.COUNT, reachable, customers=customers),
             _fact("minimum_cell", FactKind.COUNT, 50, customers=customers)]  # fmt: skip
    for key in draw(st.lists(st.sampled_from(sorted(_KINDS)), unique=True, max_size=40)):
        kind, unit = _KINDS[key]
        value: Any
        if kind is FactKind.NAME:
            value = clean_name(draw(st.text(max_size=60)))
            if not value:
                continue
        elif kind is FactKind.SHARE:
            value = draw(st.floats(0, 1))
        else:
            value = draw(st.floats(-1 if kind is FactKind.DELTA else 0, 1e4))
        facts.append(_fact(key, kind, value, unit=unit, customers=customers))
    return _segment(
        segment_id=f"T{draw(st.integers(0, 200))}",
        situation=draw(st.sampled_from(sorted(SITUATIONS))),
        customers=customers,
        reachable_customers=reachable,
        is_small=customers < 50,
        turn=draw(st.integers(0, 7)),
        book=FactBook(tuple(replace(fact, subject="any") for fact in facts)),
        verdict=draw(st.sampled_from(["", "natural", "constructive"])),
    )


@settings(max_examples=90, deadline=None)
@given(segment=_odd_segments())
def test_the_fallbacks_pass_their_own_check_whatever_the_facts(segment: SegmentFacts) -> None:
    segment = replace(segment, book=FactBook(tuple(replace(fact, subject=segment.subject) for fact in segment.book)))
    profile, strategy = profile_task(segment), strategy_task(segment)
    assert profile.check(profile.fallback()) == []
    assert strategy.check(strategy.fallback()) == []
    profiles_frame([segment], [Outcome(profile.fallback())])
    strategies_frame([segment], [Outcome(strategy.fallback())])
