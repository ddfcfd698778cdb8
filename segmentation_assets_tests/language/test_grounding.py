"""What a text may say: values by reference, and nothing else."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segmentation_assets.language.facts import DeltaUnit, Fact, FactBook, FactError, FactKind, clean_name
from segmentation_assets.language.grounding import (
    Finding,
    text_findings,
    ungrounded,
    ungrounded_rendered,
    without_facts,
)
from segmentation_assets.language.rendering import UnknownFactError, find_renderings, render

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


SEGMENT = FactBook(
    (
        Fact("customers", FactKind.COUNT, 3412, subject="stage S1"),
        Fact("reachable", FactKind.COUNT, 1900, subject="stage S1"),
        Fact("customer_share", FactKind.SHARE, 0.21, subject="stage S1"),
        Fact("revenue_share", FactKind.SHARE, 0.55, subject="stage S1"),
        Fact("revenue", FactKind.MONEY, 900_000, subject="stage S1"),
        Fact("spend", FactKind.MONEY, 410, subject="stage S1"),
        Fact("spend_shop", FactKind.MONEY, 140, subject="stage S1"),
        Fact("spend_gap", FactKind.DELTA, 1.9, subject="stage S1"),
        Fact("basket", FactKind.MONEY, 41.5, subject="stage S1"),
        Fact("basket_gap", FactKind.DELTA, -0.12, subject="stage S1"),
        Fact("recency", FactKind.DAYS, 18, subject="stage S1"),
        Fact("pause", FactKind.DAYS, 28, subject="stage S1"),
        Fact("orders", FactKind.COUNT, 11, subject="stage S1"),
        Fact("discount", FactKind.SHARE, 0.034, subject="stage S1"),
        Fact("returns", FactKind.SHARE, 0.06, subject="stage S1"),
        Fact("size_rank", FactKind.RANK, 2, subject="stage S1", of=5),
        Fact("category1", FactKind.NAME, "Coffee", subject="stage S1"),
        Fact("category2", FactKind.NAME, "Tea", subject="stage S1"),
        Fact("category1_share", FactKind.SHARE, 0.61, subject="stage S1"),
        Fact("category2_share", FactKind.SHARE, 0.14, subject="stage S1"),
        Fact("customers_change", FactKind.DELTA, 112, unit=DeltaUnit.COUNT, subject="stage S1"),
    )
)


def _both(template: str, rule: str) -> None:
    """The rule speaks of the template and of the text it renders to."""
    assert rule in {finding.rule for finding in ungrounded(template, SEGMENT, "stage S1")}, template
    assert ungrounded_rendered(render(template, SEGMENT), SEGMENT, "stage S1"), template


@pytest.mark.parametrize(
    "template",
    [
        "They bring {{recency}} of the revenue.",
        "{{spend}} customers are here.",
        "€{{customer_share}} each.",
        "{{customers}} days have passed.",
        "{{orders}} percent of them.",
        "It was {{discount}} ago.",
        "They spent {{recency}} in all.",
        "They come back every {{basket}}.",
        "An order comes to {{basket}}, {{spend}} what others do.",
        "They ordered {{customer_share}} so far.",
        "{{spend_gap}} of the revenue is theirs.",
    ],
)
def test_words_beside_a_figure_must_fit_its_unit(template: str) -> None:
    _both(template, "wrong_unit")


@pytest.mark.parametrize(
    "template",
    [
        "The typical customer spent {{basket}} in all.",
        "They last bought {{pause}} ago.",
        "They bring {{returns}} of the revenue.",
        "{{reachable}} customers, {{customer_share}} of all.",
        "{{orders}} customers are here.",
        "The shop's typical customer spends {{spend}}.",
        "They have spent {{spend_shop}} since they joined.",
        "Beside {{category1}} they buy {{category2}} ({{category1_share}} of lines).",
        "An order comes to {{basket}}, {{spend_gap|above}} the shop's usual basket.",
        "They are {{customers_change}} in this group of customers.",
    ],
)
def test_a_fact_in_a_place_that_speaks_of_another_is_found(template: str) -> None:
    _both(template, "wrong_key")


@pytest.mark.parametrize(
    "template",
    [
        "{{reachable}} of the {{customers}} customers can be reached by e-mail.",
        "Typically {{spend}} in all, and {{basket}} per order.",
        "They have spent {{spend}}, against {{spend_shop}} for the shop's typical customer.",
        "{{category1_share}} of their lines are {{category1}}, and {{category2_share}} are {{category2}}.",
        "What sets them apart: {{spend}}.",
        "With {{discount}} saved on the usual price they have learned to wait.",
        "{{customers_change|more}} customers than in the last run.",
        "Make up a parcel, and see below for more.",
        "The {{size_rank|largest}} segments by number of customers.",
    ],
)
def test_free_wording_without_a_contradiction_passes_in_both_forms(template: str) -> None:
    assert ungrounded(template, SEGMENT, "stage S1") == []
    assert ungrounded_rendered(render(template, SEGMENT), SEGMENT, "stage S1") == []


def test_findings_are_sentences_that_name_what_is_wrong() -> None:
    assert ungrounded("They spent {{basket}} in all.", SEGMENT) == [
        Finding("wrong_key", "{{basket}} is basket; the words beside it speak of list_price or price or spend.")
    ]
    assert ungrounded("They bring {{recency}} of the revenue.", SEGMENT) == [
        Finding("wrong_unit", "{{recency}} is a number of days; the words beside it say a part of the revenue.")
    ]


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("They spend €410.00, 12% above the shop's typical basket.", "wrong_direction"),
        ("They are the largest group by size: 2nd of 5.", "wrong_rank"),
        ("They are the largest group.", "rank_without_fact"),
        ("Their spend of €410.00 is growing.", "direction_without_fact"),
        ("They are 13,412 customers.", "digit"),
        ("They are 412 customers.", "digit"),
        ("They ordered 11% of it.", "digit"),
        ("They ordered once.", "number_word"),
        ("Some ½ of them left.", "digit"),
        ("A third of them left.", "number_word"),
        ("The second-largest of them.", "number_word"),
        ("A tenfold rise.", "number_word"),
    ],
)
def test_what_a_rendered_text_may_not_say(text: str, rule: str) -> None:
    assert rule in {finding.rule for finding in ungrounded_rendered(text, SEGMENT, "stage S1")}


def test_a_scaffold_unfolds_without_being_a_number() -> None:
    assert ungrounded_rendered("A scaffold unfolds in manifold ways.", SEGMENT) == []


def test_a_direction_word_beside_a_delta_is_judged_by_that_delta_alone() -> None:
    rules = {f.rule for f in ungrounded("Baskets are {{basket_gap|size}} above, spend {{spend_gap|above}}.", SEGMENT)}
    assert rules == {"wrong_direction"}


def test_a_figure_of_another_segment_in_a_rendered_text_is_found() -> None:
    book = SEGMENT.extended([Fact("s2.customers", FactKind.COUNT, 77, subject="stage S2")])
    rules = {finding.rule for finding in ungrounded_rendered("They are 77 customers.", book, "stage S1")}
    assert rules == {"wrong_subject"}
    assert ungrounded_rendered("They are 77 customers.", book) == []


def test_a_rendering_counts_only_where_it_stands_alone() -> None:
    book = FactBook((Fact("orders", FactKind.COUNT, 12), Fact("share", FactKind.SHARE, 0.12)))
    assert without_facts("12 and 112 and 12.5 and 12% and €12", book) == "◆ and 112 and 12.5 and ◆ and €12"
    assert [span.start for span in find_renderings("12% of 12", book)] == [0, 7]


def test_making_up_a_share_is_no_rise() -> None:
    book = FactBook((Fact("share", FactKind.SHARE, 0.29), Fact("gap", FactKind.DELTA, 0.29)))
    assert ungrounded_rendered("Coffee makes up 29% of their lines.", book) == []
    assert [span.start for span in find_renderings("It went up 29%.", book)] == [8]


def test_a_rendering_at_the_start_of_a_sentence_may_have_a_capital() -> None:
    book = FactBook((Fact("share", FactKind.SHARE, 0.0004),))
    assert ungrounded_rendered("Under 0.1% of them.", book) == []


def _field(text: str, **options: int) -> list[Finding]:
    return text_findings("who", text, SEGMENT, "stage S1", **{"longest": 300, **options})


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        ("", Finding("empty", "who: there is no text.")),
        ("  \n", Finding("empty", "who: there is no text.")),
        ("Keep.", Finding("too_short", "who: 5 characters; write at least 10.")),
        ("Keep them. " * 40, Finding("too_long", "who: 439 characters; keep it under 300.")),
        (
            "Die Kunden kaufen gern und sie sind nicht teuer für uns.",
            Finding("not_english", "who: write in English."),
        ),
        (
            "Ils achètent souvent avec nous et ils sont dans la boutique.",
            Finding("not_english", "who: write in English."),
        ),
        ("Они покупают часто, и мы рады.", Finding("not_english", "who: write in English.")),
        (
            "Keep them warm now. Keep them warm now. Keep them warm now.",
            Finding("repetition", "who: 'keep them warm now' again and again: say it a single time."),
        ),
        ("They buy buy buy buy buy.", Finding("repetition", "who: 'buy' again and again: say it a single time.")),
        ("They are {{nobody}} here.", Finding("unknown_fact", "who: {{nobody}}: there is no such fact.")),
        ("See https://example.org now.", Finding("link", "who: 'https://example.org': links are set by the layout.")),
        (
            "They like <script>it</script>.",
            Finding("markup", "who: angle brackets: text is plain, the layout is ours."),
        ),
    ],
)
def test_a_text_field_is_judged_with_its_place(text: str, finding: Finding) -> None:
    assert finding in _field(text, shortest=10)


def test_length_is_that_of_the_text_with_its_facts_written_out() -> None:
    assert _field("{{customers}}", longest=5) == []
    assert [finding.rule for finding in _field("{{revenue}}", longest=5)] == ["too_long"]


def test_ten_thousand_words_of_repetition_are_told_in_few_findings() -> None:
    findings = _field("the best customers of the shop " * 2_000)
    assert {finding.rule for finding in findings} == {"too_long", "repetition"}


@given(st.text(max_size=400))
def test_any_text_can_be_judged(text: str) -> None:
    for finding in text_findings("who", text, SEGMENT, "stage S1", longest=200):
        assert finding.detail.startswith("who: ")
    ungrounded_rendered(text, SEGMENT, "stage S1")


def test_the_two_that_something_lies_between_are_no_figure_and_others_are() -> None:
    book = FactBook((Fact("pause", FactKind.DAYS, 40),))
    assert not ungrounded("Between two visits {{pause}} go by.", book)
    found = ungrounded("They come two times.", book)
    assert [(finding.rule, finding.detail[:5]) for finding in found] == [("number_word", "'two'")]


@pytest.mark.parametrize(
    ("template", "beside"),
    [
        ("Weekends hold {{weekend}} of orders, {{response_gap|more}} than usual.", "weekend"),
        ("E-mail reaches {{reachable}} of {{customers}} ({{response}}).", "customers"),
        ("Now {{price1}} (before: {{list_price2}}).", "price1"),
    ],
)
def test_a_figure_that_stands_as_if_of_another_is_found_by_its_key(template: str, beside: str) -> None:
    book = FactBook(
        (
            Fact("weekend", FactKind.SHARE, 0.3), Fact("weekend_gap", FactKind.DELTA, 0.05, unit=DeltaUnit.POINTS),
            Fact("response", FactKind.SHARE, 0.2), Fact("response_gap", FactKind.DELTA, 0.04, unit=DeltaUnit.POINTS),
            Fact("reachable", FactKind.COUNT, 300), Fact("customers", FactKind.COUNT, 400),
            Fact("reachable_share", FactKind.SHARE, 0.75), Fact("price1", FactKind.MONEY, 9.0),
            Fact("list_price1", FactKind.MONEY, 10.0), Fact("list_price2", FactKind.MONEY, 20.0),
        )
    )  # fmt: skip
    found = [finding for finding in ungrounded(template, book) if finding.rule == "wrong_key"]
    assert any(finding.detail.endswith(f"it stands as if of {beside}.") for finding in found)
    right = template.replace("response_gap", "weekend_gap").replace("({{response}})", "({{reachable_share}})")
    assert not ungrounded(right.replace("list_price2", "list_price1"), book)
