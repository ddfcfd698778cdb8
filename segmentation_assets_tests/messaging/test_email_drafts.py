"""What a draft promises: two honest variants per brief, and a lint that finds each fault by its rule."""

from __future__ import annotations

import dataclasses
import re
from datetime import date

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmentation_assets.language.facts import Fact, FactBook, FactKind
from segmentation_assets.merchandising.plan import STAGE_GROUPS, table_schema
from segmentation_assets.messaging.drafts import DRAFT_TYPES, brief_facts, build_drafts
from segmentation_assets.messaging.lint import Draft, lint_draft, read_html

UNTIL = date(2024, 7, 14)


def _brief(group: str, discount: float, products: str = "P1,P2") -> dict[str, object]:
    return {
        "brief_id": f"20240630-T1-{group.replace('_', '-')}", "name": group, "objective": "x", "audience": "x",
        "taste_segment_id": "T1", "stage_segment_ids": "S1", "product_ids": products, "offer": "x",
        "discount_share": discount, "starts_on": date(2024, 7, 1), "valid_until": UNTIL, "audience_customers": 900,
        "reachable_customers": 500, "expected_buyers": 12.0, "expected_margin_amount": 90.0,
        "low_margin_amount": 50.0, "high_margin_amount": 140.0, "smallest_detectable_effect": 0.02,
    }  # fmt: skip


def _briefs(*rows: dict[str, object]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=table_schema("campaigns/briefs"))


def _promotable(names: tuple[str, str] = ("House Blend 250 g", "Hand Mill"), category: str = "Coffee") -> pl.DataFrame:
    return pl.DataFrame(
        {"product_id": ["P1", "P2"], "name": list(names), "category": [category, category],
         "list_price": [12.0, 1089.0], "unit_cost": [5.0, 400.0]}
    )  # fmt: skip


def _drafts(group: str = "lapsing", discount: float = 0.15, **changes: object) -> pl.DataFrame:
    return build_drafts(
        _briefs(_brief(group, discount)), _promotable(**changes), stage_groups=STAGE_GROUPS, currency="EUR"
    )  # type: ignore[arg-type]  # changes are parameters of _promotable


def _draft(group: str = "lapsing", discount: float = 0.15) -> tuple[Draft, FactBook]:
    row = _drafts(group, discount).to_dicts()[0]
    facts = brief_facts(_brief(group, discount), _promotable().to_dicts(), "EUR", ())
    fields = {field.name for field in dataclasses.fields(Draft)}
    return Draft(**{name: value for name, value in row.items() if name in fields}), facts


def _rules(draft: Draft, facts: FactBook) -> set[str]:
    return {finding.rule for finding in lint_draft(draft, facts)}


def test_every_brief_gets_two_variants_with_the_declared_columns() -> None:
    drafts = build_drafts(
        _briefs(_brief("loyal", 0.0), _brief("lapsing", 0.15)), _promotable(), stage_groups=STAGE_GROUPS, currency="EUR"
    )
    assert drafts.columns == list(DRAFT_TYPES)
    assert drafts["draft_id"].to_list() == [
        "20240630-T1-loyal-A", "20240630-T1-loyal-B", "20240630-T1-lapsing-A", "20240630-T1-lapsing-B",
    ]  # fmt: skip
    assert drafts["subject"].n_unique() == 4 and drafts["body_text"].n_unique() == 4
    assert (drafts["status"] == "draft").all()
    assert build_drafts(_briefs(), _promotable(), stage_groups=STAGE_GROUPS, currency="EUR").columns == list(
        DRAFT_TYPES
    )


def test_the_offer_of_a_draft_is_its_brief_s() -> None:
    lapsing, loyal = _drafts("lapsing", 0.15)["body_text"][0], _drafts("loyal", 0.0)["body_text"][0]
    assert "15% off each of these until 14 July 2024, already taken off above." in lapsing
    assert "- House Blend 250 g: €10.20" in lapsing and "€925.65" in lapsing
    assert "%" not in loyal and "- House Blend 250 g: €12.00" in loyal
    assert "€1,089.00" in loyal


@pytest.mark.parametrize("group", STAGE_GROUPS)
@pytest.mark.parametrize("discount", [0.0, 0.125])
def test_the_copy_of_every_stage_group_passes_lint(group: str, discount: float) -> None:
    drafts = _drafts(group, discount)
    assert drafts.height == 2
    assert drafts["subject"].str.len_chars().max() <= 60


@settings(max_examples=60, deadline=None)
@given(
    names=st.tuples(st.text(min_size=1, max_size=120), st.text(min_size=1, max_size=120)),
    category=st.text(max_size=60),
    group=st.sampled_from(STAGE_GROUPS),
    discount=st.sampled_from([0.0, 0.05, 0.2]),
)
def test_no_name_from_the_data_can_spoil_a_draft(
    names: tuple[str, str], category: str, group: str, discount: float
) -> None:
    assert _drafts(group, discount, names=names, category=category).height == 2


def test_names_are_escaped_in_html() -> None:
    html = _drafts(names=('Salt & Pepper "mill"', "O'Neil's"))["body_html"][0]
    assert "Salt &amp; Pepper &#34;mill&#34;" in html


def test_html_has_what_mail_programs_need() -> None:
    html = _drafts()["body_html"][0]
    reader = read_html(html)
    assert reader.language == "en" and reader.title and reader.has_dark_mode and not reader.images_without_alt
    assert len(html.encode()) < 102_000
    assert set(reader.links) == {"[[campaign_url]]", "[[unsubscribe_url]]"}
    assert "http" not in html  # nothing is loaded from elsewhere


def _contrast(one: str, other: str) -> float:
    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return sum(weight * value for weight, value in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_text_contrasts_with_its_ground_in_light_and_dark() -> None:
    html = _drafts()["body_html"][0]
    for ink, ground in (
        ("#1f2933", "#ffffff"), ("#4a5560", "#f3f4f2"), ("#ffffff", "#0b5d4b"), ("#f2f4f6", "#1d232a"),
        ("#b6c0ca", "#14181d"),
    ):  # fmt: skip
        assert ink in html and ground in html
        assert _contrast(ink, ground) >= 4.5


def test_hurry_flash_sale_fails_with_its_exact_finding() -> None:
    draft, facts = _draft()
    findings = lint_draft(dataclasses.replace(draft, subject="Hurry! Flash sale!"), facts)
    assert [(finding.rule, finding.detail) for finding in findings] == [
        ("unsupported_urgency", "subject: 'Hurry': say until when instead, from the fact valid_until."),
        ("unsupported_urgency", "subject: 'Flash sale': say until when instead, from the fact valid_until."),
    ]


def test_urgency_is_allowed_where_the_same_field_states_the_real_end_or_stock() -> None:
    draft, facts = _draft()
    assert lint_draft(dataclasses.replace(draft, subject="Last chance until 14 July 2024"), facts) == []
    assert _rules(dataclasses.replace(draft, subject="Last chance until 15 July 2024"), facts) == {
        "unsupported_urgency", "digit",
    }  # fmt: skip
    stocked = facts.extended([Fact("stock_left", FactKind.COUNT, 7)])
    assert lint_draft(dataclasses.replace(draft, subject="Only 7 left of these"), stocked) == []
    assert "unsupported_urgency" in _rules(dataclasses.replace(draft, subject="Only a few left of these"), facts)


@pytest.mark.parametrize(
    ("field", "old", "new", "rule"),
    [
        ("subject", None, "Save {{discount}} today", "unresolved_placeholder"),
        ("subject", None, "Hi", "subject_length"),
        ("subject", None, "x" * 90, "subject_length"),
        ("subject", None, "Save 40% on everything", "digit"),
        ("subject", None, "Now at half the price", "number_word"),
        ("subject", None, "Guaranteed to please", "banned_claim"),
        ("subject", None, "A treat for LADIES", "shouting"),
        ("subject", None, "A treat for ladies", "protected_attribute"),
        ("subject", None, "Now that you are pregnant", "sensitive_subject"),
        ("body_text", "[[first_name|there]]", "[[first_name]]", "missing_fallback"),
        ("body_text", "[[first_name|there]]", "[[birth_date|x]]", "unknown_merge_field"),
        ("body_text", "[[first_name|there]]", "ann@example.com", "address"),
        ("body_text", "[[unsubscribe_url]]", "", "missing_unsubscribe"),
        ("body_html", "[[postal_address]]", "", "missing_postal_address"),
        ("body_text", "[[campaign_url]]", "https://example.com/offer", "link_mismatch"),
        ("body_text", "€10.20", "€9.20", "digit"),
        ("body_text", "€10.20", "€12.00", "fact_mismatch"),
        ("body_html", "€10.20", "<s>€13.00</s> €10.20", "struck_price"),
        ("body_html", "€10.20", '<span style="text-decoration: line-through">€13.00</span> €10.20', "struck_price"),
        ("body_html", ' lang="en"', "", "html_structure"),
        ("body_html", "</body>", '<img src="cid:a"></body>', "html_structure"),
        ("body_html", "</body>", "<script>x</script></body>", "html_structure"),
        ("body_html", "</body>", "<!--" + "x" * 102_000 + "--></body>", "html_size"),
    ],
)
def test_each_fault_is_found_by_its_rule(field: str, old: str | None, new: str, rule: str) -> None:
    draft, facts = _draft()
    before = getattr(draft, field)
    spoiled = new if old is None else before.replace(old, new, 1)
    assert spoiled != before
    assert rule in _rules(dataclasses.replace(draft, **{field: spoiled}), facts)


def test_a_struck_list_price_is_allowed() -> None:
    draft, facts = _draft()
    html = draft.body_html.replace("€10.20", "<s>€12.00</s> €10.20")
    text = draft.body_text.replace("€10.20", "€10.20 (list price €12.00)")
    assert lint_draft(dataclasses.replace(draft, body_html=html, body_text=text), facts) == []


def test_segment_names_and_customers_are_in_no_draft() -> None:
    for text in _drafts()["body_text"]:
        assert not re.search(r"\bT1\b|\bS1\b|@", text)
