"""A text that a person typed becomes a template again, so that it stays right when the numbers move."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmentation_assets.language.facts import DeltaUnit, Fact, FactBook, FactKind
from segmentation_assets.language.grounding import Finding
from segmentation_assets.language.rendering import forms_of, render
from segmentation_assets.language.retemplate import to_template

BOOK = FactBook(
    (
        Fact("customers", FactKind.COUNT, 3412),
        Fact("orders", FactKind.COUNT, 4),
        Fact("events", FactKind.COUNT, 4),
        Fact("spend", FactKind.MONEY, 41.5),
        Fact("basket", FactKind.MONEY, 41.5),
        Fact("price1", FactKind.MONEY, 1234.5),
        Fact("recency", FactKind.DAYS, 18),
        Fact("spend_gap", FactKind.DELTA, -0.12),
        Fact("revenue_share", FactKind.SHARE, 0.12),
        Fact("returns", FactKind.SHARE, 0.1204),
        Fact("size_rank", FactKind.RANK, 2, of=5),
        Fact("valid_until", FactKind.DATE, date(2024, 7, 14)),
        Fact("category1", FactKind.NAME, "Coffee"),
    )
)


@pytest.mark.parametrize(
    ("text", "template"),
    [
        ("We have 3,412 customers.", "We have {{customers}} customers."),
        ("They ordered 4 times.", "They ordered {{orders|times}}."),
        ("They looked at products 4 times.", "They looked at products {{events|times}}."),
        ("They spent €41.50 in all.", "They spent {{spend}} in all."),
        ("€41.50 per order.", "{{basket}} per order."),
        ("It costs €1,234.50.", "It costs {{price1|exact}}."),
        ("Spend is 12% below the shop's.", "Spend is {{spend_gap|above}} the shop's."),
        ("2nd largest of 5 segments.", "{{size_rank|largest}} segments."),
        (
            "Until 14 July, for Coffee and coffee.",
            "Until {{valid_until|short}}, for {{category1}} and {{category1|lower}}.",
        ),
        ("Keep them warm, once and for all.", "Keep them warm, once and for all."),
        ("We have {{customers}} of them.", "We have {{customers}} of them."),
    ],
)
def test_figures_and_names_go_back_to_the_facts_that_their_words_fit(text: str, template: str) -> None:
    assert to_template(text, BOOK) == (template, [])


def test_where_facts_are_written_alike_the_hint_wins_in_its_own_order() -> None:
    hint = "{{basket}} each, {{spend}} later"
    assert to_template("€41.50 each, €41.50 later", BOOK, hint)[0] == hint
    assert to_template("Only €41.50, they say", BOOK, "{{basket}}")[0] == "Only {{basket}}, they say"


def test_alike_in_writing_but_not_in_value_is_said() -> None:
    template, findings = to_template("It is 12%.", BOOK)
    assert template == "It is {{revenue_share}}."
    assert findings == [
        Finding(
            "ambiguous_figure",
            "'12%' can be {{revenue_share}}, {{returns}}, {{spend_gap}}; {{revenue_share}} was taken.",
        )
    ]
    assert to_template("It is 12%.", BOOK, "Now {{returns}}.") == ("It is {{returns}}.", [])


def test_a_figure_that_is_no_fact_is_found_with_the_nearest_facts() -> None:
    template, findings = to_template("We have 3,413 customers and a dozen friends.", BOOK)
    assert template == "We have 3,413 customers and a dozen friends."
    assert findings[0] == Finding(
        "unknown_figure",
        "'3,413' is no fact here; the nearest facts are {{customers}} = 3,412, {{price1}} = €1,234, "
        "{{spend}} = €41.50.",
    )
    assert findings[1].rule == "unknown_figure" and "dozen" in findings[1].detail
    assert to_template("9 of them", FactBook())[1] == [
        Finding("unknown_figure", "'9' is no fact here; there are no facts of figures.")
    ]


def test_an_unknown_placeholder_is_found_and_kept() -> None:
    assert to_template("We have {{people}}.", BOOK) == (
        "We have {{people}}.",
        [Finding("unknown_fact", "{{people}}: there is no such fact.")],
    )


def test_the_template_follows_the_numbers_when_they_move() -> None:
    template, _ = to_template("3,412 customers spend 12% below the shop's figure.", BOOK)
    moved = FactBook((Fact("customers", FactKind.COUNT, 4000), Fact("spend_gap", FactKind.DELTA, 0.03)))
    assert render(template, moved) == "4,000 customers spend 3% above the shop's figure."


_names = st.text(st.characters(whitelist_categories=("Lu", "Ll")), min_size=1, max_size=8)
_facts = st.lists(
    st.one_of(
        st.tuples(st.just(FactKind.COUNT), st.integers(0, 30)),
        st.tuples(st.just(FactKind.MONEY), st.floats(0, 2000)),
        st.tuples(st.just(FactKind.SHARE), st.floats(0, 1)),
        st.tuples(st.just(FactKind.DAYS), st.integers(0, 40)),
        st.tuples(st.just(FactKind.DELTA), st.floats(-2, 2)),
        st.tuples(st.just(FactKind.RANK), st.integers(1, 5)),
        st.tuples(st.just(FactKind.NAME), _names),
        st.tuples(st.just(FactKind.DATE), st.dates(date(2000, 1, 1), date(2030, 1, 1))),
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=150, deadline=None)
@given(data=st.data(), values=_facts, unit=st.sampled_from(list(DeltaUnit)))
def test_a_text_survives_the_way_to_a_template_and_back(
    data: st.DataObject, values: list[tuple[FactKind, float | str | date]], unit: DeltaUnit
) -> None:
    facts = FactBook(
        tuple(
            Fact(f"fact{place}", kind, value, of=5 if kind is FactKind.RANK else None, unit=unit)
            for place, (kind, value) in enumerate(values)
        )
    )
    pieces = []
    for _ in range(data.draw(st.integers(0, 5))):
        fact = data.draw(st.sampled_from(facts.facts))
        form = data.draw(st.sampled_from(["", *sorted(forms_of(fact.kind))]))
        pieces.append(
            data.draw(st.sampled_from(["", " ", " of ", ", they spent ", ". Only ", "€", "-", " customers "]))
        )
        pieces.append(f"{{{{{fact.key}{'|' + form if form else ''}}}}}")
    template = "".join(pieces)
    text = render(template, facts)
    assert render(to_template(text, facts, template)[0], facts) == text
    assert render(to_template(text, facts)[0], facts) == text


@given(st.text(st.characters(whitelist_categories=("Ll", "Zs", "Po"), blacklist_characters="{}"), max_size=80))
def test_a_text_without_figures_or_names_is_unchanged(text: str) -> None:
    facts = FactBook((Fact("customers", FactKind.COUNT, 3412), Fact("spend", FactKind.MONEY, 41.5)))
    assert to_template(text, facts)[0] == text
