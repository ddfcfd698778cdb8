"""The Monday page: a decision with its figures and doubts, and a plain reason where there is none."""

from __future__ import annotations

import re
from datetime import date
from html.parser import HTMLParser

import polars as pl

from segmentation_assets.merchandising.plan import BY_ACTIVITY, BY_TASTE, empty_table, table_schema
from segmentation_assets.messaging.drafts import DRAFT_TYPES
from segmentation_assets.studio.monday_brief import (
    BriefModel,
    Line,
    Section,
    build_brief,
    render_html,
    render_text,
    trust_section,
    words_section,
)

AS_OF = date(2024, 6, 30)


def _summary(shift: int = 0) -> pl.DataFrame:
    rows = [
        ("stage", "S0", "Never bought", 1500, 800, 0.0), ("stage", "S1", "Loyal", 2100 + shift, 1400, 900_000.0),
        ("stage", "S2", "Lapsing", 6400 - shift, 3412, 730_000.0), ("taste", "T0", "Unknown", 3600, 1612, 60_000.0),
        ("taste", "T1", "Coffee", 3900, 2600, 900_000.0), ("taste", "T2", "Garden & Home", 2500, 1400, 670_000.0),
    ]  # fmt: skip
    return pl.DataFrame(
        [(*row[:5], row[5], row[5] / 1_630_000, row[3] / 10_000) for row in rows],
        schema=["axis", "segment_id", "name", "customers", "reachable_customers", "revenue_amount", "revenue_share",
                "customer_share"],
        orient="row",
    )  # fmt: skip


def _brief_row(group: str, taste: str, name: str, discount: float, **changes: object) -> dict[str, object]:
    return {
        "brief_id": f"20240630-{taste}-{group}", "name": name, "objective": "Win back customers who are overdue.",
        "audience": "1,204 reachable of 2,300 in Lapsing with the taste Coffee.", "taste_segment_id": taste,
        "stage_segment_ids": "S2" if group == "lapsing" else "S1", "product_ids": "P1,P2", "offer": "x",
        "discount_share": discount, "starts_on": date(2024, 7, 1), "valid_until": date(2024, 7, 14),
        "audience_customers": 2300, "reachable_customers": 1204, "expected_buyers": 31.0,
        "expected_margin_amount": 412.5, "low_margin_amount": 240.0, "high_margin_amount": 610.0,
        "control_customers": 120, "control_cost_amount": 41.25, "smallest_detectable_effect": 0.021, **changes,
    }  # fmt: skip


def _inputs(**changes: object) -> dict[str, object]:
    briefs = pl.DataFrame(
        [
            _brief_row("loyal", "T1", "Early access · Coffee", 0.0, expected_margin_amount=1460.0,
                       low_margin_amount=1180.0, high_margin_amount=1790.0, expected_buyers=120.0),
            _brief_row("lapsing", "T1", "Win back · Coffee", 0.15),
        ],
        schema=table_schema("campaigns/briefs"),
    )  # fmt: skip
    drafts = pl.DataFrame(
        [
            {"brief_id": row, "variant": variant, "subject": f"{variant} for <{row}>"}
            for row in briefs["brief_id"]
            for variant in "AB"
        ]
    )
    matches = pl.DataFrame(
        [
            ("P1", "T1", "S1", True, 0.05, 0.04, BY_TASTE), ("P2", "T1", "S1", True, 0.05, 0.04, BY_TASTE),
            ("P1", "T1", "S2", False, 0.02, 0.03, BY_TASTE), ("P2", "T1", "S2", False, 0.02, 0.02, BY_TASTE),
        ],
        schema=["product_id", "taste_segment_id", "stage_segment_ids", "beats_baseline", "matched_score",
                "baseline_score", "scored_by"],
        orient="row",
    )  # fmt: skip
    promotable = pl.DataFrame(
        [
            ("P1", "House Blend <b>250 g</b>", True, False, False, "Good."),
            ("P2", "Hand Mill", True, False, False, "Good."), ("P3", "Old Mug", False, False, False, "Discontinued."),
            ("P4", "Dear Pot", False, False, False, "Margin of 4% is low."),
        ],
        schema=["product_id", "name", "is_promotable", "is_sensitive", "is_chosen", "reason"], orient="row",
    )  # fmt: skip
    summary = _summary()
    profiles = summary.with_columns(
        do_not=pl.lit("Do not flood them in their first weeks: a single good suggestion is enough."),
    )
    return {
        "title": "Corner Roastery", "as_of": AS_OF, "currency": "EUR", "summary": summary, "profiles": profiles,
        "briefs": briefs, "drafts": drafts, "matches": matches, "promotable": promotable,
        "capabilities": pl.DataFrame(
            [("matching", True, "fine"), ("reviews", False, "The source has no reviews table.")],
            schema=["capability", "is_on", "reason"], orient="row",
        ),
        "accounting": pl.DataFrame(
            [("orders", 40_000, 39_800, 200, 31), ("customers", 10_000, 9_990, 10, 5), ("reviews", 0, 0, 0, 0)],
            schema=["table_name", "raw_rows", "clean_rows", "rejected_rows", "repaired_rows"], orient="row",
        ),
        "verdicts": {"stage": "constructive", "taste": "natural"},
        "previous_summary": _summary(-112), "previous_as_of": date(2024, 6, 23),
        **changes,
    }  # fmt: skip


def _model(**changes: object) -> BriefModel:
    return build_brief(**_inputs(**changes))  # type: ignore[arg-type]  # the keys are the function's own parameters


def _nothing_to_offer() -> dict[str, object]:
    return {
        "briefs": empty_table("campaigns/briefs"),
        "drafts": pl.DataFrame(schema=dict.fromkeys(DRAFT_TYPES, pl.String())),
        "matches": empty_table("campaigns/product_segment_matches"),
        "promotable": empty_table("campaigns/promotable_products"),
    }


def test_a_move_says_what_to_whom_until_when_and_how_sure() -> None:
    first, second = _model().moves
    assert first.sentence.startswith(
        "Offer House Blend b 250 g /b and 1 more at full price to 1,204 reachable Loyal · Coffee customers"
    )
    assert "until 14 July 2024" in first.sentence
    assert first.expected == "€1,460" and first.interval == "€1,180 to €1,790, from about 120 purchases"
    assert first.evidence == (
        "Each of the products sells better to the customers of these stages matched with it than to as many of the "
        "most active."
    )
    assert not first.caution
    assert "at 15% off" in second.sentence
    assert "do this for its objective, not its rate" in second.caution and not second.evidence
    assert second.control == (
        "120 customers are held out so that the effect can be measured: that costs €41.25 of margin at most."
    )
    assert "With 120 held out, only a lift of 82% or more" in second.detectable
    assert "a hint, not as proof" in second.detectable
    html, text = render_html(_model()), render_text(_model())
    assert second.control in html and second.control in text


def test_a_move_does_not_claim_a_better_rate_than_was_found() -> None:
    matches = _inputs()["matches"]
    assert isinstance(matches, pl.DataFrame)
    half = matches.with_columns(beats_baseline=pl.col("product_id") == "P1")
    assert _model(matches=half).moves[0].evidence.startswith("1 of 2 of the products sells better")
    close = matches.with_columns(beats_baseline=False)
    assert "too close to call" in _model(matches=close).moves[0].caution
    assert "buy these as often or more" in _model(matches=close).moves[1].caution
    simple = close.with_columns(scored_by=pl.lit(BY_ACTIVITY))
    assert _model(matches=simple).moves[0].caution == (
        "On days held back, matching by taste did no better than simpler rules, so these customers are chosen by one: "
        "most active."
    )
    assert not any(move.evidence for move in _model(matches=simple).moves)


def test_what_became_of_the_products_somebody_chose_is_told() -> None:
    promotable = _inputs()["promotable"]
    assert isinstance(promotable, pl.DataFrame)
    assert _model().chosen == ()
    chosen = promotable.with_columns(is_chosen=pl.col("product_id") != "P3")
    one = _model(promotable=chosen, briefs=pl.DataFrame([_brief_row("loyal", "T1", "Early", 0.0, product_ids="P1")],
                                                        schema=table_schema("campaigns/briefs")))  # fmt: skip
    assert one.chosen == (
        Line("Products chosen by you: House Blend b 250 g /b, Hand Mill and Dear Pot.", "No other product is offered."),
        Line("Chosen, but not offered: Dear Pot.", "Margin of 4% is low."),
        Line(
            "Chosen, but in no campaign this week: Hand Mill.",
            "No audience suits them well enough, or the others earn more.",
        ),
    )
    assert "What became of your choice" in render_html(one) and "Products chosen by you: " in render_text(one)
    assert "What became of your choice" not in render_html(_model())
    many = pl.concat([chosen.head(1).with_columns(product_id=pl.lit(f"P{n}"), name=pl.lit(f"N{n}")) for n in range(8)])
    assert _model(promotable=many).chosen[0].statement == "Products chosen by you: N0, N1, N2, N3, N4 and 3 more."


def test_reviewing_a_move_is_one_command() -> None:
    assert _model().moves[0].review_command == "segmentation drafts show 20240630-T1-loyal"


def test_there_are_at_most_five_moves() -> None:
    many = pl.DataFrame(
        [_brief_row(f"g{place}", "T1", f"Move {place}", 0.1) for place in range(8)],
        schema=table_schema("campaigns/briefs"),
    )
    assert [move.rank for move in _model(briefs=many).moves] == [1, 2, 3, 4, 5]


def test_what_moved_is_told_with_figures_and_a_first_run_says_so() -> None:
    model = _model()
    assert model.moved[0] == Line("Loyal gained 112 customers.", "Now 2,100, 5.6% more since 23 June 2024.")
    assert model.moved[1].statement == "Lapsing lost 112 customers."
    assert _model(previous_summary=None).moved[0].statement == "This is the first run."
    assert _model(previous_summary=_summary()).moved[0].statement == "Nothing moved."
    gone = _summary().filter(pl.col("segment_id") != "T2")
    assert "Garden & Home is new." in [line.statement for line in _model(previous_summary=gone).moved]
    assert "Garden & Home is gone." in [
        line.statement for line in _model(summary=gone, previous_summary=_summary()).moved
    ]


def test_without_a_campaign_the_page_says_why() -> None:
    capabilities = pl.DataFrame(
        {"capability": ["matching"], "is_on": [False], "reason": ["The source has no products."]}
    )
    model = _model(**_nothing_to_offer(), capabilities=capabilities)
    assert model.moves == () and model.no_moves_reason == "The source has no products."
    assert "The source has no products." in render_html(model) and "The source has no products." in render_text(model)
    assert "no products" in _model(**_nothing_to_offer(), capabilities=capabilities.clear()).no_moves_reason


def test_what_not_to_do_and_what_is_not_known_have_their_reasons() -> None:
    model = _model()
    assert model.avoid[0] == Line("Do not promote 2 of 4 products.", "1 below the margin floor, 1 discontinued.")
    statements = {line.statement: line.reason for line in model.unknown}
    assert statements["Off: reviews."] == "The source has no reviews table."
    assert "the control groups will tell" in statements["Whether an e-mail of this week causes a purchase."]
    assert "Where one stage segment ends." in statements and "Where one taste segment ends." not in statements


def test_rows_are_accounted_for_or_the_page_warns() -> None:
    assert "Every one of 50,000 rows is accounted for: 49,790 kept, 210 rejected" in _model().accounting_sentence
    lost = pl.DataFrame(
        {"table_name": ["orders"], "raw_rows": [10], "clean_rows": [8], "rejected_rows": [1], "repaired_rows": [0]}
    )
    assert _model(accounting=lost).accounting_sentence.startswith("Rows are missing in orders")


class _Balance(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loads += [value or "" for name, value in attrs if name in {"src", "href"}]
        if tag not in {"meta", "br", "img", "link"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_well_formed_self_contained_and_escapes_what_comes_from_the_data() -> None:
    html = render_html(_model(title="Salt & <Pepper>"))
    parser = _Balance()
    parser.feed(html)
    assert parser.open == [] and parser.loads == []
    assert not re.search(r"https?://|@import|url\(|<script", html)
    assert "Salt &amp; Pepper" in html and "A for &lt;20240630-T1-loyal&gt;" in html
    assert "prefers-color-scheme: dark" in html and "@media print" in html and 'name="viewport"' in html


def test_further_sections_take_their_place_on_the_page() -> None:
    section = Section("What campaigns earned", (Line("Nothing was sent yet.", "So nothing was earned."),))
    assert "What campaigns earned" in render_html(_model(sections=(section,)))


def test_the_short_text_names_the_moves_and_the_command() -> None:
    text = render_text(_model())
    assert text.startswith("Monday brief · Corner Roastery · as of 30 June 2024")
    assert "1. Early access · Coffee" in text and "review: segmentation drafts show 20240630-T1-loyal" in text
    assert "What the data cannot say yet:" in text


def test_how_far_the_segments_can_be_trusted_is_told_from_the_choice_to_the_drift() -> None:
    verdicts = pl.DataFrame(
        {
            "topic": [
                "segment_moves",
                "spend_forecast",
                "stage_usefulness",
                "product_to_audience",
                "customer_to_product",
            ],
            "sentence": [
                "Nobody moved.",
                "It errs by <1.",
                "The RFM groups tell more.",
                "It does: 3.1 against 2.4.",
                "It cannot be judged.",
            ],
        }
    )
    choices = {"taste": "They really fall into 8 groups.", "stage": ""}
    section = trust_section(choices, verdicts, {"taste": "Coffee has shifted."})
    assert section.heading == "How far segments and matches can be trusted"
    assert section.lines == (
        Line("What the taste segments are.", "They really fall into 8 groups."),
        Line("Whether stage segments tell more than the RFM rule.", "The RFM groups tell more."),
        Line("How well spend can be forecast.", "It errs by <1."),
        Line(
            "Whether matching by taste finds more buyers than the most active customers.", "It does: 3.1 against 2.4."
        ),
        Line("Whether each customer's next best products beat the simplest lists.", "It cannot be judged."),
        Line("The taste segments no longer fit today's customers.", "Coffee has shifted."),
    )
    html = render_html(build_brief(**_inputs(sections=[section])))  # type: ignore[arg-type]  # as of _inputs
    assert "It errs by &lt;1." in html


def test_who_wrote_the_words_what_it_cost_and_what_failed_is_told() -> None:
    profiles = pl.DataFrame(
        {
            "written_by": ["small-1", "small-1", "embedded"],
            "is_degraded": [False, False, True],
            "edited_fields": ["", "who", ""],
        }
    )
    section = words_section(profiles, profiles.head(1), (5, 0.034))
    assert section.lines == (
        Line(
            "Profiles and drafts.",
            "3 texts by small-1, 1 text by the embedded writer; 5 calls to a language model, 0.03 US dollars.",
        ),
        Line(
            "What a model was to write and did not.",
            "1 text by the embedded writer instead; language.model_calls says why.",
        ),
        Line("What a person wrote.", "1 text edited by a person; those words stand."),
    )
    alone = words_section(profiles.tail(1).with_columns(is_degraded=False), profiles.head(0), None)
    assert alone.lines == (Line("Profiles and drafts.", "1 text by the embedded writer; no language model was asked."),)
