"""What a draft promises: two honest variants per brief, and a lint that finds each fault by its rule."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from datetime import date, datetime

import duckdb
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmentation_assets.language.answer_facts import COUNTS
from segmentation_assets.language.facts import Fact, FactBook, FactKind
from segmentation_assets.language.task import Outcome, Task
from segmentation_assets.merchandising.plan import STAGE_GROUPS, table_schema
from segmentation_assets.messaging.copy_task import BriefFacts, EmailAnswer, embedded_email
from segmentation_assets.messaging.critique import CritiqueAnswer
from segmentation_assets.messaging.drafts import (
    DRAFT_FACT_NOTES,
    DRAFT_FACT_TYPES,
    DRAFT_NOTES,
    DRAFT_TYPES,
    A,
    DraftError,
    Edits,
    ask_embedded,
    brief_facts,
    brief_facts_of,
    build_drafts,
    critique_tasks,
    draft_facts_frame,
    draft_templates,
    drafts_frame,
    rewrites,
    stage_group_of,
    write_drafts,
)
from segmentation_assets.messaging.lint import Draft, lint_draft, read_html
from segmentation_assets.messaging.message_lint import contrast
from segmentation_assets.warehouse.sql_models import SQL_ROOT, load_model

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


@pytest.mark.parametrize(
    ("brief_id", "group"),
    [
        ("20240630-T2-never-bought", "never_bought"), ("20240630-T2-loyal-adults", "loyal"),
        ("20240630-T2-loyal-at-12_5-off", "loyal"), ("20240630-T2-never-bought-at-20-off-adults", "never_bought"),
        ("20240630-T2-anything", "unknown"),
    ],
)  # fmt: skip
def test_the_stage_group_is_read_from_the_brief_s_id(brief_id: str, group: str) -> None:
    assert stage_group_of(brief_id, STAGE_GROUPS) == group


def test_the_offer_of_a_draft_is_its_brief_s() -> None:
    lapsing, loyal = _drafts("lapsing", 0.15)["body_text"][0], _drafts("loyal", 0.0)["body_text"][0]
    assert "The prices you see include your 15% off, until 14 July 2024." in lapsing
    assert (
        "15% off each of these until 14 July 2024. The prices shown include it."
        in _drafts("lapsing", 0.15)["body_text"][1]
    )
    assert "- House Blend 250 g: €10.20" in lapsing and "€925.65" in lapsing
    assert "%" not in loyal and "- House Blend 250 g: €12.00" in loyal
    assert "€1,089.00" in loyal


@pytest.mark.parametrize("group", STAGE_GROUPS)
@pytest.mark.parametrize("discount", [0.0, 0.125])
def test_the_copy_of_every_stage_group_passes_lint(group: str, discount: float) -> None:
    drafts = _drafts(group, discount)
    assert drafts.height == 2
    assert drafts["subject"].str.len_chars().max() <= 45
    assert drafts["written_by"].to_list() == ["embedded"] * 2 and not drafts["is_degraded"].any()
    assert all(text.startswith("Ready to be read by a person. ") for text in drafts["critique"])
    assert drafts["edited_fields"].to_list() == ["", ""] and drafts["edited_at"].null_count() == 2


@settings(max_examples=30, deadline=None)
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


def test_a_category_is_named_only_when_all_the_goods_are_of_it() -> None:
    mixed = _promotable().with_columns(category=pl.Series(["Coffee", "Kitchen"]))
    for promotable, is_named in ((_promotable(), True), (mixed, False)):
        assert ("category" in brief_facts(_brief("loyal", 0.0), promotable.to_dicts(), "EUR", ())) is is_named


def test_names_are_escaped_in_html() -> None:
    html = _drafts(names=('Salt & Pepper "mill"', "O'Neil's"))["body_html"][0]
    assert "Salt &amp; Pepper &#34;mill&#34;" in html


def test_html_has_what_mail_programs_need() -> None:
    html = _drafts()["body_html"][0]
    reader = read_html(html)
    assert reader.language == "en" and reader.title and reader.has_dark_mode and not reader.images_without_alt
    assert len(html.encode()) < 102_000
    assert set(reader.links) == {
        "[[campaign_url]]", "[[unsubscribe_url]]", "[[product_url_1]]", "[[product_url_2]]",
    }  # fmt: skip
    assert html.count('src="[[pixel_url]]"') == 1 and html.count("[[next_products]]") == 1
    assert "http" not in html  # nothing is loaded from elsewhere


def test_text_contrasts_with_its_ground_in_light_and_dark() -> None:
    html = _drafts()["body_html"][0]
    for ink, ground in (
        ("#1f2933", "#ffffff"), ("#4a5560", "#f3f4f2"), ("#ffffff", "#0b5d4b"), ("#f2f4f6", "#1d232a"),
        ("#b6c0ca", "#14181d"),
    ):  # fmt: skip
        assert ink in html and ground in html
        assert contrast(ink, ground) >= 4.5


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
        ("body_text", "[[greeting|Hello]]", "[[greeting]]", "missing_fallback"),
        ("body_text", "[[first_name|there]]", "[[birth_date|x]]", "unknown_merge_field"),
        ("body_text", "[[next_products]]", "", "link_mismatch"),
        ("body_html", "[[next_products]]", "", "link_mismatch"),
        ("body_html", "[[product_url_2]]", "[[product_url_1]]", "link_mismatch"),
        ("body_text", "Best wishes,", "[[pixel_url]]", "misplaced_merge_field"),
        ("body_html", "Best wishes,", "[[pixel_url]]", "misplaced_merge_field"),
        ("preheader", None, "For [[next_products]]", "misplaced_merge_field"),
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


def _facts_of(*rows: dict[str, object]) -> list[BriefFacts]:
    return brief_facts_of(_briefs(*rows), _promotable(), stage_groups=STAGE_GROUPS, currency="EUR")


def _engagement(**stages: tuple[int, ...]) -> pl.DataFrame:
    rows = [
        {"axis": "stage", "segment_id": name, **dict(zip(COUNTS, row, strict=True))} for name, row in stages.items()
    ]
    taste = {"axis": "taste", "segment_id": "S1", **dict.fromkeys(COUNTS, 9)}
    return pl.DataFrame([*rows, taste])


def test_a_brief_knows_how_its_stages_together_answered_and_only_what_may_be_sent() -> None:
    stages = _engagement(
        S1=(2000, 1000, 1000, 1000, 1000, 100, 500, 0), S2=(2000, 1000, 1000, 3000, 1000, 200, 500, 0),
        S3=(6000, 3000, 3000, 3000, 3000, 900, 30, 0),
    )  # fmt: skip
    both = {**_brief("lapsing", 0.0), "stage_segment_ids": "S1,S2"}

    def answers(engagement: pl.DataFrame | None, brief: dict[str, object] = both) -> FactBook:
        (found,) = brief_facts_of(
            _briefs(brief), _promotable(), stage_groups=STAGE_GROUPS, currency="EUR", engagement=engagement
        )
        return found.answers

    book = answers(stages)
    assert book.number("clicked") == pytest.approx(0.15)
    assert book.number("clicked_shop") == pytest.approx(0.24)
    assert book.number("messages") == pytest.approx(2.0)
    assert "fatigued" not in book  # the shop's less theirs is 30 customers
    assert len(answers(None)) == 0
    assert len(answers(stages, {**both, "stage_segment_ids": "S1,S9"})) == 0  # nothing is known of one of them


def test_drafts_to_a_tired_stage_end_with_the_way_out() -> None:
    tired = _engagement(
        S1=(2000, 1000, 1000, 9000, 1000, 100, 500, 0), S2=(2000, 1000, 1000, 1000, 1000, 100, 100, 0)
    )  # fmt: skip
    briefs = brief_facts_of(
        _briefs({**_brief("active", 0.0), "stage_segment_ids": "S1"}), _promotable(), stage_groups=STAGE_GROUPS,
        currency="EUR", engagement=tired,
    )  # fmt: skip
    frame, _ = write_drafts(briefs, ask_embedded)
    assert all("the link at the end" in text.lower() for text in frame["body_text"])
    assert not any("the link at the end" in text.lower() for text in _drafts()["body_text"][:2])


DRAFT_ID = "20240630-T1-lapsing-A"
MORNING, EVENING = datetime(2024, 7, 1, 9, 30), datetime(2024, 7, 1, 18, 0)


def _with_edits(edits: Edits, discount: float = 0.15) -> tuple[dict[str, object], list[str]]:
    frame, set_aside = write_drafts(_facts_of(_brief("lapsing", discount)), ask_embedded, edits)
    return frame.row(0, named=True), set_aside


def test_a_person_s_words_win_and_are_shown_with_the_time() -> None:
    row, set_aside = _with_edits(
        {DRAFT_ID: {"subject": ("Your {{product1}}, {{discount}} off", MORNING), "closing": ("See you.", EVENING)}}
    )
    assert set_aside == []
    assert row["subject"] == "Your House Blend 250 g, 15% off"
    assert "See you." in str(row["body_text"]) and "See you." in str(row["body_html"])
    assert row["edited_fields"] == "subject,closing" and row["edited_at"] == EVENING
    assert row["written_by"] == "embedded" and str(row["critique"]).startswith("Before a person's edit: ")


def test_an_edit_is_rendered_again_when_the_numbers_move() -> None:
    edits = {DRAFT_ID: {"subject": ("{{discount}} off for you", MORNING)}}
    assert [_with_edits(edits, discount)[0]["subject"] for discount in (0.15, 0.25)] == [
        "15% off for you", "25% off for you",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("field", "template", "reason"),
    [
        ("subject", "Your {{margin}}", "{{margin}}: there is no such fact."),
        ("subject", "Hurry, come in", "'Hurry': say until when instead, from the fact valid_until."),
        ("opening", "All 40 of them.", "'40' is not from a fact: name the fact with {{key}}."),
        ("closing", "Leave: [[unsubscribe_url]]", "[[unsubscribe_url]] is set by the layout."),
        ("closing", "Dear [[last_name|x]]", "[[last_name]]: known are campaign_url, first_name, greeting, "
         "next_products, pixel_url, postal_address, product_url_1, product_url_2, product_url_3, product_url_4, "
         "product_url_5, product_url_6, shop_name, unsubscribe_url."),
        ("closing", "Also: [[next_products]]", "body_text: [[next_products]] stands 2 times; once at most. "
         "body_html: [[next_products]] stands 2 times; once at most."),
        ("closing", "See [[product_url_1]]", "'1' is not from a fact: name the fact with {{key}}."),
        ("subject", "[[greeting|Hello]] you", "subject: [[greeting]] has no place in a line of its own."),
        ("call_to_action", "Come back and look at them again",
         "call_to_action: 32 characters with the facts put in; keep it between 2 and 30."),
        ("body_text", "Hello.", "a draft has no such field; there are subject, preheader, opening, offer, closing, "
         "call_to_action."),
    ],
)  # fmt: skip
def test_an_edit_that_does_not_pass_is_set_aside_with_its_reason(field: str, template: str, reason: str) -> None:
    row, set_aside = _with_edits({DRAFT_ID: {field: (template, MORNING)}})
    assert set_aside == [f"The edit of draft {DRAFT_ID}, {field}, is set aside: {reason}"]
    assert row == _with_edits({})[0]


def test_an_edit_whose_fact_is_gone_is_set_aside_and_the_other_one_stays() -> None:
    edits = {DRAFT_ID: {"subject": ("{{discount}} off for you", MORNING), "closing": ("Bye.", MORNING)}}
    row, set_aside = _with_edits(edits, discount=0.0)
    assert set_aside == [
        f"The edit of draft {DRAFT_ID}, subject, is set aside: {{{{discount}}}}: there is no such fact."
    ]
    assert row["edited_fields"] == "closing"


def test_an_edit_may_not_make_both_subjects_the_same() -> None:
    other = draft_templates(Outcome(embedded_email(_facts_of(_brief("lapsing", 0.15))[0])), "B")["subject"]
    _, set_aside = _with_edits({DRAFT_ID: {"subject": (other, MORNING)}})
    assert set_aside == [f"The edit of draft {DRAFT_ID}, subject, is set aside: the other variant has this subject."]


def test_edits_of_drafts_that_are_over_are_named_once() -> None:
    edits = {f"20240531-T{number}-loyal-A": {"subject": ("Hello", MORNING)} for number in range(1, 6)}
    assert _with_edits(edits)[1] == [
        "Edits of drafts that are not planned any more are kept and not used: 20240531-T1-loyal-A, "
        "20240531-T2-loyal-A, 20240531-T3-loyal-A, ...."
    ]


def test_the_templates_of_a_draft_are_what_an_edit_starts_from() -> None:
    (brief,) = _facts_of(_brief("lapsing", 0.15))
    templates = draft_templates(Outcome(embedded_email(brief)), "A")
    assert list(templates) == ["subject", "preheader", "opening", "offer", "closing", "call_to_action"]
    row, set_aside = _with_edits({DRAFT_ID: {field: (template, MORNING) for field, template in templates.items()}})
    assert set_aside == [] and row["subject"] == _with_edits({})[0]["subject"]


class _Model:
    """Answers as a model would, by task: `copies` for e-mails in turn, `verdicts` by draft for critiques in turn."""

    def __init__(self, copies: Sequence[Outcome[EmailAnswer]], verdicts: Sequence[CritiqueAnswer]) -> None:
        self.copies, self.verdicts, self.asked = list(copies), list(verdicts), []  # type: ignore[var-annotated]

    def __call__(self, tasks: Sequence[Task[A]]) -> list[Outcome[A]]:
        self.asked += tasks
        return [
            self.copies.pop(0) if task.name == "email" else Outcome(self.verdicts.pop(0), "m")  # type: ignore[misc]
            for task in tasks
        ]


SEND = CritiqueAnswer(verdict="send", problems=(), strength="Clear.")
REWRITE = CritiqueAnswer(verdict="rewrite", problems=("Shorten the opening.",), strength="Warm.")


def _by(answer: EmailAnswer, subject: str, writer: str = "m", **outcome: object) -> Outcome[EmailAnswer]:
    changed = answer.model_copy(update={"a": answer.a.model_copy(update={"subject": subject})})
    return Outcome(changed, writer, **outcome)  # type: ignore[arg-type]


def test_copy_a_critic_rejects_is_written_once_more_and_judged_again() -> None:
    briefs = _facts_of(_brief("loyal", 0.0), _brief("lapsing", 0.15))
    loyal, lapsing = map(embedded_email, briefs)
    ask = _Model(
        [_by(loyal, "Loyal one"), _by(lapsing, "Lapsing one"), _by(lapsing, "Lapsing anew")],
        [SEND, SEND, REWRITE, SEND, SEND, SEND],
    )
    frame, set_aside = write_drafts(briefs, ask)
    assert set_aside == [] and ask.copies == [] and ask.verdicts == []
    assert frame["subject"].to_list()[::2] == ["Loyal one", "Lapsing anew"]
    assert frame["written_by"].unique().to_list() == ["m"]
    assert frame["critique"].to_list() == ["Ready to be read by a person. Clear."] * 4
    assert [task.name for task in ask.asked] == ["email"] * 2 + ["critique"] * 4 + ["email"] + ["critique"] * 2
    assert "Variant a: Shorten the opening." in str(ask.asked[6].blocks)


@pytest.mark.parametrize("outcome", [{"is_degraded": True, "writer": "embedded"}, {"is_degraded": True}])
def test_a_rewrite_that_failed_leaves_the_first_copy(outcome: dict[str, object]) -> None:
    briefs = _facts_of(_brief("lapsing", 0.15))
    answer = embedded_email(briefs[0])
    ask = _Model([_by(answer, "The first"), _by(answer, "The new", **outcome)], [REWRITE, SEND])  # type: ignore[arg-type]
    frame, _ = write_drafts(briefs, ask)
    assert frame["subject"][0] == "The first" and not frame["is_degraded"].any()
    assert frame["critique"][0] == "Better written anew. Warm. Shorten the opening."


def test_the_embedded_writer_is_not_asked_twice() -> None:
    briefs = _facts_of(_brief("lapsing", 0.15))
    answers = [Outcome(embedded_email(briefs[0]), is_degraded=True)]
    assert rewrites(briefs, answers, [Outcome(REWRITE), Outcome(REWRITE)]) == []
    assert len(critique_tasks(briefs, answers)) == 2
    assert drafts_frame(briefs, answers)[0]["is_degraded"].to_list() == [True, True]
    assert drafts_frame(briefs, answers)[0]["critique"].to_list() == ["", ""]


def test_a_draft_that_breaks_a_rule_is_not_written() -> None:
    briefs = _facts_of(_brief("lapsing", 0.15))
    with pytest.raises(DraftError) as error:
        drafts_frame(briefs, [_by(embedded_email(briefs[0]), "Hurry up now")])
    assert str(error.value) == (
        f"Draft {DRAFT_ID}: unsupported_urgency: subject: 'Hurry': say until when instead, from the fact valid_until."
    )


def test_lists_that_do_not_fit_and_products_that_are_gone_are_refused() -> None:
    briefs = _facts_of(_brief("lapsing", 0.15))
    with pytest.raises(ValueError, match=r"^1 critiques for 1 briefs: give two per brief, or none\.$"):
        drafts_frame(briefs, [Outcome(embedded_email(briefs[0]))], [Outcome(SEND)])
    with pytest.raises(ValueError, match="no such product: materialise both together") as error:
        _facts_of(_brief("lapsing", 0.15, "P1,P8,P9"))
    assert str(error.value).startswith("Brief 20240630-T1-lapsing offers P8, P9, and")


def test_the_facts_of_a_draft_are_a_table() -> None:
    frame = draft_facts_frame(_facts_of(_brief("lapsing", 0.15)))
    assert frame.columns == list(DRAFT_FACT_TYPES) == list(DRAFT_FACT_NOTES)
    assert list(DRAFT_TYPES)[-5:] == list(DRAFT_NOTES)[-5:]
    by_key = {row["key"]: row for row in frame.to_dicts()}
    assert by_key["price1"]["value"] == "€10.20" and by_key["price1"]["number"] == 10.2
    assert by_key["list_price2"]["renderings"] == "€1,089 | €1,089.00"
    assert by_key["valid_until"]["value_on"] == UNTIL and by_key["valid_until"]["number"] is None
    assert by_key["valid_until"]["renderings"] == "14 July 2024 | 14 July"
    assert draft_facts_frame([]).columns == list(DRAFT_FACT_TYPES)


@settings(max_examples=15, deadline=None)
@given(
    names=st.tuples(st.text("ab 0123456789.,%€[]|:-½²", max_size=30), st.text(max_size=60)),
    category=st.text("ab 0123456789.,%", max_size=20),
    discount=st.sampled_from([0.0, 0.125]),
    price=st.floats(0.01, 1e6),
)
def test_every_figure_of_a_draft_is_a_fact_of_its_brief(
    names: tuple[str, str], category: str, discount: float, price: float
) -> None:
    promotable = _promotable(names, category).with_columns(list_price=pl.lit(price))
    briefs = brief_facts_of(_briefs(_brief("lapsing", discount)), promotable, stage_groups=STAGE_GROUPS, currency="USD")
    with duckdb.connect() as con:
        con.execute("create schema campaigns")
        for name, frame in {"email_drafts": write_drafts(briefs, ask_embedded)[0],
                            "draft_facts": draft_facts_frame(briefs)}.items():  # fmt: skip
            con.register("frame", frame)
            con.execute(f"create table campaigns.{name} as from frame")
        check = load_model(SQL_ROOT / "checks" / "campaigns" / "draft_facts" / "figures_are_facts.sql")
        assert con.execute(check.query).fetchall() == []
