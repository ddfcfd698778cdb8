"""Naming segments: short, unique, words only, and nothing that the segment's own facts do not bear out."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from segmentation_assets.language.facts import DeltaUnit, Fact, FactBook, FactKind
from segmentation_assets.language.messages import messages_of
from segmentation_assets.language.task import Task
from segmentation_assets.language.tasks.names import (
    NamesAnswer,
    NamingFacts,
    SegmentName,
    gather_naming_facts,
    names_task,
)
from segmentation_assets.segmentation.naming import RESERVED_NAMES


def _segment(segment_id: str, fallback: str, *goods: str, customers: int = 900) -> NamingFacts:
    subject = f"taste {segment_id}"
    facts = [Fact("customers", FactKind.COUNT, customers, subject=subject, customers=customers)]
    for place, name in enumerate(goods, start=1):
        facts.append(Fact(f"category{place}", FactKind.NAME, name, subject=subject, customers=customers))
        facts.append(
            Fact(
                f"category{place}_gap", FactKind.DELTA, 0.2, subject=subject, customers=customers, unit=DeltaUnit.POINTS
            )
        )
    return NamingFacts(segment_id, customers, FactBook(tuple(facts)), fallback)


SEGMENTS = (
    _segment("T1", "Coffee & Tea", "Coffee & Tea", "Kitchen & Dining"),
    _segment("T2", "Garden", "Garden"),
    _segment("T3", "Mixed baskets"),
)


def _task() -> Task[NamesAnswer]:
    return names_task("Taste", SEGMENTS, ("Lapsing", "Steady regulars"), RESERVED_NAMES, vocabulary=("Angling",))


def _answer(first: str = "Slow brewers", **others: str) -> NamesAnswer:
    names = {"T1": first, "T2": "Garden people", "T3": "Browsers of all shelves", **others}
    return NamesAnswer(names=[SegmentName(segment_id=place, name=name) for place, name in names.items()])


def _found(answer: NamesAnswer) -> list[tuple[str, str]]:
    return [(finding.rule, finding.detail) for finding in _task().check(answer)]


def test_the_schema_lists_the_ids_that_need_a_name() -> None:
    answer_type = _task().answer_type
    schema = answer_type.model_json_schema()
    assert schema["$defs"]["SegmentName"]["properties"]["segment_id"]["enum"] == ["T1", "T2", "T3"]
    with pytest.raises(ValidationError):
        answer_type(names=[{"segment_id": "T9", "name": "Nobody"}])


@pytest.mark.parametrize(
    "name", ["Slow brewers", "Coffee lovers", "Tea and kitchen", "Kitchen & coffee", "L'heure du thé"]
)
def test_a_fitting_name_is_accepted(name: str) -> None:
    assert _found(_answer(name)) == []


@pytest.mark.parametrize(
    ("name", "finding"),
    [
        ("Lapsing", ("name_taken", "name of T1: 'Lapsing' is taken by another segment; find another.")),
        ("champions", ("name_taken", "name of T1: 'champions' is reserved; find another.")),
        ("No", ("length", "name of T1: 2 characters; a name has 3 to 40.")),
        ("People who like to brew slowly in the early morning",
         ("length", "name of T1: 51 characters; a name has 3 to 40.")),
        ("Brew club 7", ("digit", "name of T1: '7' is not from a fact: name the fact with {{key}}.")),
        ("{{category1}}",
         ("not_words", "name of T1: '{}' is no part of a name: use words, spaces and & - ' , · only.")),
        ("Brewers <b>", ("not_words", "name of T1: '<>' is no part of a name: use words, spaces and & - ' , · only.")),
        ("Garden folk", ("not_their_goods", "name of T1: 'garden' is not what sets these customers apart (their goods: "
                         "Coffee & Tea, Kitchen & Dining).")),
        ("Wine circle", ("not_their_goods", "name of T1: 'wine' is not what sets these customers apart (their goods: "
                         "Coffee & Tea, Kitchen & Dining).")),
        ("Anglings", ("not_their_goods", "name of T1: 'anglings' is not what sets these customers apart (their goods: "
                      "Coffee & Tea, Kitchen & Dining).")),
        ("Quiet Regulars", ("copied_example", "name of T1: 'Quiet Regulars' is the example's; find another.")),
        ("Best brewers", ("superlative", "name of T1: 'Best': a name outlives the ranking it was true of.")),
        ("Married brewers",
         ("protected_attribute", "name of T1: 'Married': describe what people buy, not who they are.")),
        ("Pregnancy brew", ("sensitive_subject",
                            "name of T1: 'Pregnancy': sensitive subjects stay out of names and copy.")),
    ],
)  # fmt: skip
def test_an_unfit_name_is_found_with_its_segment(name: str, finding: tuple[str, str]) -> None:
    assert finding in _found(_answer(name))


@pytest.mark.parametrize("name", ["Twenty brewers", "Growing brewers", "Brew at www.example.com", "Largest brewers"])
def test_figures_directions_links_and_ranks_have_no_place_in_a_name(name: str) -> None:
    assert _found(_answer(name))


def test_names_differ_from_each_other_whatever_their_case() -> None:
    rules = _found(_answer("Slow brewers", T3="slow  BREWERS"))
    assert ("name_twice", "name of T1: 'Slow brewers' is given twice; names must differ.") in rules


def test_each_segment_gets_exactly_one_name() -> None:
    one = SegmentName(segment_id="T1", name="Slow brewers")
    other = SegmentName(segment_id="T8", name="Strangers")
    assert _found(NamesAnswer(names=[one, one, other])) == [
        ("missing_name", "names: there is none for T2, T3."),
        ("unknown_segment", "names: T8 was not asked for."),
        ("segment_twice", "names: T1 is named twice; give one name each."),
        ("name_twice", "name of T1: 'Slow brewers' is given twice; names must differ."),
    ]


def test_a_segment_without_goods_of_its_own_is_called_by_none() -> None:
    assert _found(_answer(T3="Coffee friends"))[0][1].endswith("(their goods: none).")


def test_the_rule_s_name_stands_as_it_is() -> None:
    odd = _segment("T1", "Books 2 Go", "Books 2 Go")
    task = names_task("Taste", [odd], (), ())
    assert task.check(task.fallback()) == []
    assert task.check(NamesAnswer(names=[SegmentName(segment_id="T1", name="Books 3 Go")])) != []


def test_what_cannot_be_asked_is_refused_with_a_sentence() -> None:
    with pytest.raises(ValueError, match=r"^Taste: no segment needs a name\.$"):
        names_task("Taste", [], (), ())
    for segments, taken in (((SEGMENTS[0], SEGMENTS[0]), ()), (SEGMENTS, ("GARDEN",))):
        with pytest.raises(ValueError, match=r"^Taste: ids and the rule's names must be free and given once"):
            names_task("Taste", segments, taken, ())


FACTS = {"axis": pl.String, "segment_id": pl.String, "fact": pl.String, "value": pl.Float64, "overall": pl.Float64}


def _frame(customers: float = 900.0) -> pl.DataFrame:
    return pl.DataFrame(
        [
            ("taste", "T1", "customers", customers, 5000.0),
            ("taste", "T1", "share_of_lines category=Coffee", 0.4, 0.1),
            ("taste", "T1", "share_of_lines category=Garden", 0.05, 0.3),
            ("taste", "T1", "share_of_lines category=(other)", 0.3, 0.1),
            ("taste", "T1", "share_of_lines category=Maternity", 0.3, 0.1),
            ("taste", "T1", "median_average_order_amount", 60.0, 40.0),
            ("taste", "T1", "mean_discount_share", 0.02, 0.08),
            ("taste", "T1", "median_order_count", 4.0, 4.0),
            ("taste", "T1", "median_Visits per month!", 8.0, 2.0),
            ("taste", "T1", "median_visits_per_month", 3.0, 2.0),
            ("taste", "T2", "customers", 49.0, 5000.0),
        ],
        schema=FACTS,
        orient="row",
    )


def test_facts_are_what_sets_a_segment_apart_and_a_small_one_is_left_out() -> None:
    (found,) = gather_naming_facts(
        "taste", _frame(), {"T1": "Coffee", "T2": "Few"}, sensitive_categories=("maternity",)
    )
    book = found.book
    assert (found.segment_id, found.customers, found.fallback) == ("T1", 900, "Coffee")
    assert book.text("category1") == "Coffee" and not book.has("category2")
    assert book.number("basket_gap") == pytest.approx(0.5)
    assert book.number("discount_gap") == pytest.approx(-0.06)
    assert book.number("visits_per_month_gap") == pytest.approx(3.0)
    assert not book.has("orders")
    assert {fact.customers for fact in book} == {900}


def test_a_small_segment_handed_in_all_the_same_is_sent_to_nobody() -> None:
    task = names_task("Taste", [*SEGMENTS, _segment("T4", "Few", "Angling", customers=49)], (), ())
    assert task.customers == 49
    assert "Angling" not in messages_of(task, 50)[1]["content"]


def test_the_request_is_bounded_whatever_the_shop_s_size() -> None:
    taken = [f"Group {place}" for place in range(500)]
    sent = [
        messages_of(names_task("Taste", gather_naming_facts("taste", _frame(size), {"T1": "Coffee"}), taken, ()), 50)
        for size in (1000.0, 1_000_000.0)
    ]
    assert sent[0][1]["content"].count("\n") == sent[1][1]["content"].count("\n")
    assert sent[0][1]["content"].count("{{taken") == 30
    assert sum(len(message["content"]) for message in sent[0]) < 6_500


@settings(max_examples=60, deadline=None)
@given(
    names=st.lists(
        st.text(min_size=1, max_size=60).filter(str.strip),
        min_size=1,
        max_size=6,
        unique_by=lambda name: name.casefold(),
    ),
    goods=st.lists(st.text(min_size=1, max_size=20).filter(str.strip), max_size=2),
)
def test_the_fallback_passes_its_own_check_whatever_the_names(names: list[str], goods: list[str]) -> None:
    if len({" ".join(name.split()).casefold() for name in names}) < len(names):
        return
    segments = [_segment(f"T{place}", " ".join(name.split()), *goods) for place, name in enumerate(names, start=1)]
    task = names_task("Taste", segments, (), ())
    assert task.check(task.fallback()) == []
