"""What a text may say: values by reference, and nothing else."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segmentation_assets.language.facts import DeltaUnit, Fact, FactBook, FactError, FactKind, clean_name
from segmentation_assets.language.grounding import ungrounded, ungrounded_rendered
from segmentation_assets.language.rendering import UnknownFactError, render

BOOK = FactBook(
    (
        Fact("customers", FactKind.COUNT, 3412, subject="stage S1", customers=3412),
        Fact("spend", FactKind.MONEY, 41.5, subject="stage S1"),
        Fact("spend_gap", FactKind.DELTA, -0.12, subject="stage S1"),
        Fact("size_rank", FactKind.RANK, 2, subject="stage S1", of=5),
        Fact("top_rank", FactKind.RANK, 1, subject="stage S1", of=5),
        Fact("share", FactKind.SHARE, 0.042, subject="stage S1"),
        Fact("recency", FactKind.DAYS, 18, subject="stage S1"),
        Fact("moved", FactKind.DELTA, 12, unit=DeltaUnit.COUNT, subject="stage S1"),
        Fact("valid_until", FactKind.DATE, date(2024, 7, 14)),
        Fact("stock", FactKind.COUNT, 7),
        Fact("product", FactKind.NAME, "Grinder 3000", subject="stage S1"),
    )
)


def _rules(text: str, **options: str) -> set[str]:
    return {finding.rule for finding in ungrounded(text, BOOK, **options)}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{customers}}", "3,412"),
        ("{{spend}}", "€41.50"),
        ("{{share}}", "4.2%"),
        ("{{recency}}", "18 days"),
        ("{{spend_gap|above}}", "12% below"),
        ("{{spend_gap}}", "-12%"),
        ("{{moved|grew}}", "grew by 12"),
        ("{{size_rank}}", "2nd of 5"),
        ("{{size_rank|highest}}", "2nd highest of 5"),
        ("{{top_rank|highest}}", "highest of 5"),
        ("{{valid_until}}", "14 July 2024"),
    ],
)
def test_each_kind_is_written_in_its_own_unit(template: str, text: str) -> None:
    assert render(template, BOOK) == text


def test_money_takes_the_source_s_currency() -> None:
    assert render("{{spend}}", BOOK, "USD") == "$41.50"
    assert render("{{spend}}", BOOK, "CHF") == "CHF 41.50"
    assert render("{{spend}}", FactBook(BOOK.facts, "JPY")) == "¥42"


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("They are {{size}} people.", "unknown_fact"),
        ("They spend {{spend|above}}.", "unknown_form"),
        ("They are 3412 people.", "digit"),
        ("They are ٣ people.", "digit"),
        ("A dozen... or dozens of them.", "number_word"),
        ("Twice the usual.", "number_word"),
        ("Half of them left.", "number_word"),
        ("One in every group of ten.", "number_word"),
        ("They spend more than others.", "direction_without_fact"),
        ("Their spend is above the shop's: {{spend_gap}}.", "wrong_direction"),
        ("The highest spend of all.", "rank_without_fact"),
        ("The largest group: {{size_rank}}.", "wrong_rank"),
        ("Hello {{name", "unfilled_placeholder"),
        ("TODO write this", "unfilled_placeholder"),
        ("Hurry, they are leaving.", "unsupported_urgency"),
        ("Flash sale today.", "unsupported_urgency"),
        ("Only a few left.", "unsupported_urgency"),
        ("Results are guaranteed.", "banned_claim"),
        ("BUY THIS now", "shouting"),
        ("Great!!", "shouting"),
        ("See www.example.com for more.", "link"),
        ("Write to a@example.com.", "address"),
        ("<b>bold</b>", "markup"),
        ("A gift for married couples.", "protected_attribute"),
        ("For women who care.", "protected_attribute"),
        ("Because you are pregnant.", "sensitive_subject"),
    ],
)
def test_what_no_fact_carries_is_found_by_its_rule(text: str, rule: str) -> None:
    assert rule in _rules(text)


@pytest.mark.parametrize(
    "text",
    [
        "{{customers}} customers spend {{spend}}, {{spend_gap|above}} the shop's figure.",
        "Their spend is lower than the shop's by {{spend_gap|size}}.",
        "The highest spend of all segments ({{top_rank}}).",
        "At first glance a small group; they bought {{product}} and came back.",
        "Last chance to get it, until {{valid_until}}.",
        "Only {{stock}} left.",
        "No one is forgotten; this offers something for everyone.",
    ],
)
def test_a_correct_text_raises_no_alarm(text: str) -> None:
    assert ungrounded(text, BOOK) == []


def test_a_fact_of_another_segment_is_found() -> None:
    assert _rules("They are {{customers}}.", subject="stage S2") == {"wrong_subject"}
    assert _rules("They are {{customers}} until {{valid_until}}.", subject="stage S1") == set()


def test_figures_in_a_rendered_text_must_be_renderings_of_its_facts() -> None:
    good = render("{{customers}} customers like {{product}} and spend {{spend}}.", BOOK)
    assert ungrounded_rendered(good, BOOK) == []
    assert {f.rule for f in ungrounded_rendered(good.replace("3,412", "3,413"), BOOK)} == {"digit"}
    assert {f.rule for f in ungrounded_rendered(good + " Twice as nice.", BOOK)} == {"number_word"}


def test_rendering_an_unknown_fact_is_an_error() -> None:
    with pytest.raises(UnknownFactError, match="size"):
        render("{{size}}", BOOK)


def test_a_fact_of_the_wrong_kind_is_refused() -> None:
    with pytest.raises(FactError, match=r"spend: '12' is no money"):
        Fact("spend", FactKind.MONEY, "12")
    with pytest.raises(FactError, match="rank"):
        Fact("place", FactKind.RANK, 7, of=5)
    with pytest.raises(FactError, match="twice"):
        FactBook((Fact("a", FactKind.COUNT, 1), Fact("a", FactKind.COUNT, 2)))


@given(st.text(max_size=200))
def test_names_from_the_data_come_out_harmless(text: str) -> None:
    name = clean_name(text)
    assert len(name) <= 80
    assert not set(name) & set("{}[]<>|\n\r\u2028\u202e")
    assert name == name.strip()


def test_instructions_in_a_name_cannot_open_a_placeholder_or_a_link() -> None:
    assert clean_name("{{customers}} <b>x</b> https://example.com/a a@example.com") == "customers b x /b"
