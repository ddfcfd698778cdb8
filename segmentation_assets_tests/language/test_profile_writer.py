"""What the embedded writer of profiles promises: grounded, varied, honest about what is not known."""

from __future__ import annotations

import datetime as dt
import math
from itertools import pairwise

import duckdb
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmentation_assets.language.facts import Fact, FactBook, FactKind
from segmentation_assets.language.grounding import ungrounded
from segmentation_assets.language.profile_writer import (
    PROFILE_FACT_NOTES,
    PROFILE_FACT_TYPES,
    PROFILE_NOTES,
    PROFILE_TYPES,
    GroundingError,
    ProfileAnswer,
    facts_frame,
    profile_answer,
    profile_templates,
    profiles_frame,
    write_profiles,
)
from segmentation_assets.language.rendering import render
from segmentation_assets.language.segment_facts import Offer, SegmentFacts, gather_segment_facts
from segmentation_assets.language.strategy_writer import (
    STRATEGY_NOTES,
    STRATEGY_TYPES,
    StrategyAnswer,
    strategies_frame,
    strategy_answer,
)
from segmentation_assets.language.task import Outcome

SUMMARY = {
    "axis": pl.String(), "segment_id": pl.String(), "name": pl.String(), "customers": pl.Int64(),
    "customer_share": pl.Float64(), "reachable_customers": pl.Int64(), "revenue_amount": pl.Float64(),
    "revenue_share": pl.Float64(), "median_recency_days": pl.Float64(), "median_order_count": pl.Float64(),
    "median_monetary_amount": pl.Float64(), "mean_average_order_amount": pl.Float64(),
}  # fmt: skip
METRICS = {
    "axis": pl.String(), "segment_id": pl.String(), "metric": pl.String(), "mean": pl.Float64(),
    "median": pl.Float64(), "overall_mean": pl.Float64(), "overall_median": pl.Float64(),
}  # fmt: skip
DRIVERS = {
    "axis": pl.String(), "segment_id": pl.String(), "rank": pl.Int64(), "feature": pl.String(),
    "segment_mean": pl.Float64(), "overall_mean": pl.Float64(), "standardised_difference": pl.Float64(),
    "sentence": pl.String(),
}  # fmt: skip
MIX = {
    "axis": pl.String(), "segment_id": pl.String(), "dimension": pl.String(), "value": pl.String(),
    "customers": pl.Int64(), "line_count": pl.Int64(), "net_amount": pl.Float64(), "line_share": pl.Float64(),
    "overall_share": pl.Float64(),
}  # fmt: skip
SITUATIONS = {"S1": "loyal", "S2": "lapsing", "S3": "new", "S4": "lapsing"}


def _summary(*rows: tuple[object, ...]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=SUMMARY, orient="row")


def _shop() -> dict[str, pl.DataFrame]:
    """A small shop: three stages of its own, a twin of one, two tastes, and the two segments outside."""
    return {
        "summary": _summary(
            ("stage", "S0", "Never bought", 1500, 0.15, 800, 0.0, 0.0, None, None, None, None),
            ("stage", "S1", "Loyal", 2100, 0.21, 1400, 900_000.0, 0.55, 18.0, 11.0, 410.0, 41.5),
            ("stage", "S2", "Lapsing", 3400, 0.34, 2100, 500_000.0, 0.31, 210.0, 4.0, 130.0, 34.0),
            ("stage", "S3", "New", 2000, 0.20, 900, 150_000.0, 0.09, 35.0, 1.0, 44.0, 44.0),
            ("stage", "S4", "Drifting", 1000, 0.10, 400, 80_000.0, 0.05, 190.0, 2.0, 70.0, 36.0),
            ("taste", "T0", "Unknown", 3600, 0.36, 2000, 60_000.0, 0.04, 80.0, 1.0, 30.0, 30.0),
            ("taste", "T1", "Coffee", 3900, 0.39, 2600, 900_000.0, 0.55, 61.0, 5.0, 190.0, 37.0),
            ("taste", "T2", "Garden", 2500, 0.25, 1600, 700_000.0, 0.41, 66.0, 5.0, 188.0, 38.0),
        ),
        "metrics": pl.DataFrame(
            [
                ("stage", "S1", "recency_days", 22.0, 18.0, 95.0, 60.0),
                ("stage", "S1", "order_count", 12.1, 11.0, 4.4, 4.0),
                ("stage", "S1", "monetary_amount", 480.0, 410.0, 180.0, 140.0),
                ("stage", "S1", "discount_share", 0.02, 0.01, 0.07, 0.04),
                ("stage", "S1", "days_between_orders", 31.0, 28.0, 60.0, 55.0),
                ("stage", "S2", "recency_days", 230.0, 210.0, 95.0, 60.0),
                ("stage", "S2", "order_count", 4.6, 4.0, 4.4, 4.0),
                ("stage", "S2", "discount_share", 0.11, 0.08, 0.07, 0.04),
                ("stage", "S2", "return_share", 0.09, 0.05, 0.05, 0.02),
                ("stage", "S3", "average_order_amount", 44.0, 40.0, 38.0, 35.0),
                ("taste", "T1", "price_level", 1.16, 1.1, 1.0, 1.0),
                ("taste", "T2", "spring_share", 0.42, 0.4, 0.25, 0.2),
                ("taste", "T2", "weekend_share", 0.41, 0.4, 0.28, 0.25),
            ],
            schema=METRICS,
            orient="row",
        ),
        "drivers": pl.DataFrame(
            [
                ("stage", "S1", 1, "order_count", 12.1, 4.4, 1.8, ""),
                ("stage", "S1", 2, "discount_share", 0.02, 0.07, -0.7, ""),
                ("stage", "S1", 3, "weekend_share", 0.3, 0.28, 0.1, ""),
                ("stage", "S2", 1, "recency_days", 230.0, 95.0, 1.4, ""),
                ("stage", "S2", 2, "discount_share", 0.11, 0.07, 0.5, ""),
                ("taste", "T1", 1, "category=Coffee", 0.61, 0.22, 1.9, ""),
                ("taste", "T2", 1, "category=Garden", 0.58, 0.2, 1.8, ""),
            ],
            schema=DRIVERS,
            orient="row",
        ),
        "mix": pl.DataFrame(
            [
                ("taste", "T1", "category", "Coffee", 3000, 9000, 1.0, 0.61, 0.22),
                ("taste", "T1", "category", "Tea", 1500, 1900, 1.0, 0.14, 0.09),
                ("taste", "T1", "category", "Pregnancy", 900, 1500, 1.0, 0.10, 0.02),
                ("taste", "T1", "channel", "web", 3000, 12000, 1.0, 0.72, 0.6),
                ("taste", "T2", "category", "Garden", 2000, 8000, 1.0, 0.58, 0.20),
                ("taste", "T2", "category", "Tools", 800, 1200, 1.0, 0.12, 0.07),
                ("stage", "S1", "category", "Coffee", 1000, 5000, 1.0, 0.34, 0.22),
                ("stage", "S1", "brand", "Nordlys", 900, 3000, 1.0, 0.21, 0.12),
            ],
            schema=MIX,
            orient="row",
        ),
    }


def _gather(**changes: object) -> list[SegmentFacts]:
    given = {
        **_shop(),
        "situations": SITUATIONS,
        "verdicts": {"stage": "constructive", "taste": "reproducible"},
        "stabilities": {"stage": 0.71, "taste": 0.93},
        "offers": {("stage", "S1"): Offer("House Blend"), ("stage", "S2"): Offer("House Blend", 0.15)},
        "sensitive_categories": ("pregnancy",),
        **changes,
    }
    return gather_segment_facts(**given)  # type: ignore[arg-type]  # the keys are the function's own parameters


def _profile(frame: pl.DataFrame, segment_id: str) -> dict[str, str]:
    return frame.filter(pl.col("segment_id") == segment_id).to_dicts()[0]


def test_every_segment_has_one_complete_profile_with_the_declared_columns() -> None:
    profiles = write_profiles(_gather())
    assert profiles.columns == list(PROFILE_TYPES)
    assert profiles.height == 8
    assert profiles.select("axis", "segment_id").is_unique().all()
    texts = profiles.select(pl.col(pl.String)).drop("edited_fields")
    assert all(value and value.strip() for row in texts.rows() for value in row)
    assert "{{" not in "".join("".join(row) for row in texts.rows())


def test_figures_are_the_warehouse_s_own() -> None:
    loyal = _profile(write_profiles(_gather()), "S1")
    assert "2,100 customers, 21% of all, who bring 55% of the revenue" in loyal["who"]
    assert "ordered 11 times, spent €410.00 in all and last bought 18 days ago" in loyal["who"]
    assert "34 percentage points above their share of customers" in loyal["who"]
    assert loyal["best_offer"] == "Early access to House Blend, at full price."


def test_segments_in_different_situations_are_not_written_from_one_form() -> None:
    profiles = write_profiles(_gather())
    for column in ("who", "objective", "message", "do_not"):
        stages = profiles.filter(pl.col("axis") == "stage")[column]
        assert stages.n_unique() >= 4, column
    assert _profile(profiles, "S2")["objective"] != _profile(profiles, "S4")["objective"]


def test_the_same_facts_give_the_same_text() -> None:
    assert write_profiles(_gather()).equals(write_profiles(_gather()))


def test_reductions_are_mentioned_by_the_direction_the_facts_have() -> None:
    profiles = write_profiles(_gather())
    assert "5 percentage points below" in _profile(profiles, "S1")["what"]
    assert "4 percentage points above" in _profile(profiles, "S2")["what"]
    assert "send back" in _profile(profiles, "S2")["do_not"]
    assert "send back" not in _profile(profiles, "S1")["do_not"]


def test_sensitive_categories_are_in_no_text_and_no_name() -> None:
    summary = _shop()["summary"].with_columns(
        pl.when(pl.col("segment_id") == "T1").then(pl.lit("Pregnancy & Coffee")).otherwise("name").alias("name")
    )
    profiles = write_profiles(_gather(summary=summary))
    assert "regnancy" not in "".join(str(value) for row in profiles.rows() for value in row)
    assert _profile(profiles, "T1")["name"] == "Coffee (T1)"


def test_names_are_unique_across_axes() -> None:
    summary = _shop()["summary"].with_columns(pl.lit("Coffee").alias("name"))
    names = write_profiles(_gather(summary=summary))["name"]
    assert names.str.to_lowercase().n_unique() == len(names)


def test_a_source_without_orders_says_what_is_not_known_and_invents_nothing() -> None:
    summary = _summary(("stage", "S1", "One", 400, 0.4, 0, None, None, None, None, None, None))
    empty = {name: _shop()[name].clear() for name in ("metrics", "drivers", "mix")}
    profiles = write_profiles(_gather(summary=summary, situations={}, offers=None, **empty))
    profile = _profile(profiles, "S1")
    assert "when they bought is not in the data" in profile["who"]
    assert "What they buy is not in the data" in profile["what"]
    assert "E-mail reaches nobody here" in profile["how"]
    assert profile["top_categories"] == "unknown"
    assert "Revenue" not in profile["who"] and "revenue" not in profile["who"]


def test_a_segment_under_the_minimum_cell_is_described_by_its_size_alone() -> None:
    summary = _summary(
        ("stage", "S1", "Few", 30, 0.03, 12, 9_000.0, 0.2, 18.0, 11.0, 410.0, 41.5),
        ("stage", "S2", "Many", 970, 0.97, 500, 90_000.0, 0.8, 80.0, 3.0, 110.0, 41.5),
    )
    segments = _gather(summary=summary)
    small = next(segment for segment in segments if segment.segment_id == "S1")
    assert not small.book.has("spend") and not small.book.has("recency") and not small.book.has("revenue")
    profile = _profile(write_profiles(segments), "S1")
    assert "410" not in "".join(str(value) for value in profile.values())
    assert profile["confidence_sentence"].startswith("Weak: 30 customers")


def test_an_empty_segment_outside_the_clustering_still_has_a_profile() -> None:
    summary = _summary(("taste", "T0", "Unknown", 0, 0.0, 0, 0.0, 0.0, None, None, None, None))
    assert _profile(write_profiles(_gather(summary=summary)), "T0")["who"].startswith("Nobody")


def test_change_is_told_against_the_run_before_and_a_first_run_says_so() -> None:
    before = _shop()["summary"].with_columns(pl.col("customers") - 112)
    assert _profile(write_profiles(_gather()), "S1")["change_since_last"].startswith("First run")
    changed = _profile(write_profiles(_gather(previous=before)), "S1")["change_since_last"]
    assert changed.startswith("112 more customers than in the last run")
    gone = before.filter(pl.col("segment_id") != "S1")
    assert _profile(write_profiles(_gather(previous=gone)), "S1")["change_since_last"] == "New since the last run."


def test_the_verdict_and_stability_decide_how_sure_the_profile_is() -> None:
    profiles = write_profiles(_gather())
    assert "treat its edges as soft" in _profile(profiles, "S1")["confidence_sentence"]
    assert "agreement of 93%" in _profile(profiles, "T1")["confidence_sentence"]


@pytest.mark.parametrize(
    ("feature", "told"),
    [
        ("average_spend", "It is a band of average spend alone: that feature by itself tells who is in it."),
        ("category=Coffee", "It is a band of Coffee alone: that feature by itself tells who is in it."),
        ("spend_2023", "It is a band of one feature alone, which the choice of the segments names."),
    ],
)
def test_a_band_of_one_feature_is_called_that(feature: str, told: str) -> None:
    profiles = write_profiles(_gather(one_features={"stage": feature}))
    assert told in _profile(profiles, "S1")["confidence_sentence"]
    assert "It is a band" not in _profile(profiles, "T1")["confidence_sentence"]


def test_an_ungrounded_template_is_refused_with_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    from segmentation_assets.language import profile_writer

    monkeypatch.setitem(profile_writer._FIELDS, "who", lambda segment: "They spend 20 euros, twice the average.")
    with pytest.raises(GroundingError, match=r"Profile of stage S0, who: digit"):
        write_profiles(_gather())


NOON = dt.datetime(2024, 7, 14, 12, 0)
LATER = NOON + dt.timedelta(days=3)


def _outcomes(segments: list[SegmentFacts]) -> list[Outcome[ProfileAnswer]]:
    return [Outcome(profile_answer(segment)) for segment in segments]


def _strategies(segments: list[SegmentFacts]) -> list[Outcome[StrategyAnswer]]:
    return [Outcome(strategy_answer(segment)) for segment in segments]


def test_neighbours_begin_no_text_with_the_same_words() -> None:
    summary = _summary(*(
        ("taste", f"T{place}", f"Taste {place}", 900 + place, 0.15, 600, 9e4, 0.16, 60.0, 4.0, 180.0, 45.0)
        for place in range(1, 7)
    ))  # fmt: skip
    mix = pl.DataFrame(
        [("taste", f"T{place}", "category", name, 700, 2000, 1.0, share, 0.1)
         for place in range(1, 7) for name, share in ((f"Shelf {place}", 0.4), ("Tea", 0.2), ("Books", 0.15))],
        schema=MIX, orient="row",
    )  # fmt: skip
    segments = _gather(summary=summary, mix=mix, metrics=_shop()["metrics"].clear(), drivers=_shop()["drivers"].clear())
    profiles = write_profiles(segments)
    strategies, _ = strategies_frame(segments, _strategies(segments))
    for frame, columns in (
        (profiles, ("who", "what", "how", "objective", "message", "resonance", "do_not")),
        (strategies, ("goal", "approach", "cadence", "measure", "risk")),
    ):
        for column in columns:
            for one, other in pairwise(profile_templates_of(frame[column])):
                assert one[:20] != other[:20], column


def profile_templates_of(texts: pl.Series) -> list[str]:
    """Texts without what the facts put into them: figures and the number in a category's name."""
    return ["".join(letter for letter in text if not letter.isdigit()) for text in texts]


def test_goods_that_do_not_set_a_stage_apart_are_not_said_to() -> None:
    mix = _shop()["mix"].with_columns(
        pl.when(pl.col("segment_id") == "S1").then(0.223).otherwise("line_share").alias("line_share")
    )
    loyal = _profile(write_profiles(_gather(mix=mix)), "S1")
    assert "Coffee" not in loyal["what"] and "Coffee" not in loyal["message"]
    assert "taste segment" in loyal["what"]
    assert "Coffee" in _profile(write_profiles(_gather()), "S1")["what"]


def test_who_wrote_and_whether_it_is_degraded_comes_from_the_outcome() -> None:
    segments = _gather()
    outcomes = [Outcome(profile_answer(segment), "a-model", place == 1) for place, segment in enumerate(segments)]
    frame, _ = profiles_frame(segments, outcomes)
    assert frame["written_by"].unique().to_list() == ["a-model"]
    assert frame.filter("is_degraded")["segment_id"].to_list() == [segments[1].segment_id]
    with pytest.raises(ValueError, match=r"^There are 8 segments and 7 outcomes; give one for each\.$"):
        profiles_frame(segments, outcomes[1:])


def test_a_person_s_text_wins_and_follows_the_figures() -> None:
    edits = {
        ("stage", "S1"): {"who": ("our {{customers}} best friends", NOON), "best_offer": ("A card by post.", LATER)}
    }
    segments = _gather()
    frame, set_aside = profiles_frame(segments, _outcomes(segments), edits)
    loyal = frame.filter(pl.col("segment_id") == "S1").to_dicts()[0]
    assert set_aside == []
    assert loyal["who"] == "our 2,100 best friends"
    assert (loyal["best_offer"], loyal["edited_fields"], loyal["edited_at"]) == (
        "A card by post.",
        "who,best_offer",
        LATER,
    )
    assert loyal["written_by"] == "embedded"
    others = frame.filter(pl.col("segment_id") != "S1")
    assert set(others["edited_fields"]) == {""} and others["edited_at"].null_count() == others.height
    moved = _shop()["summary"].with_columns(pl.when(pl.col("segment_id") == "S1").then(2222).otherwise("customers")
                                            .alias("customers"))  # fmt: skip
    segments = _gather(summary=moved)
    frame, _ = profiles_frame(segments, _outcomes(segments), edits)
    assert frame.filter(pl.col("segment_id") == "S1")["who"][0] == "our 2,222 best friends"


def test_an_edit_that_no_longer_holds_is_set_aside_with_a_sentence() -> None:
    edits = {
        ("stage", "S1"): {
            "who": ("They come {{visits|times}}.", NOON),
            "what": ("Reductions are above the usual: {{discount_gap|size}}.", NOON),
            "title": ("Friends", NOON),
        },
        ("stage", "S9"): {"who": ("Gone.", NOON), "how": ("Gone.", NOON)},
    }
    segments = _gather()
    frame, set_aside = profiles_frame(segments, _outcomes(segments), edits)
    assert frame.equals(write_profiles(segments))
    assert set_aside == [
        "Profile of stage S9: the edit of 'who', 'how' is set aside, there is no such segment now.",
        "Profile of stage S1: the edit of 'who' is set aside until it is written anew: {{visits}}: there is no such "
        "fact.",
        "Profile of stage S1: the edit of 'what' is set aside until it is written anew: 'above': the delta in this "
        "sentence says the opposite.",
        "Profile of stage S1: the edit of 'title' is set aside, there is no such text; there are who, what, how, "
        "objective, message, channel, resonance, do_not, confidence_sentence, change_since_last, best_offer.",
    ]


def test_strategies_take_edits_and_a_stance_stays_one_of_the_known() -> None:
    segments = _gather()
    edits = {
        ("stage", "S1"): {"offer_stance": ("full price", NOON), "risk": ("Boredom.", LATER)},
        ("stage", "S2"): {"offer_stance": ("everything free", NOON)},
    }
    frame, set_aside = strategies_frame(segments, _strategies(segments), edits)
    assert frame.columns == list(STRATEGY_TYPES)
    rows = {row["segment_id"]: row for row in frame.to_dicts()}
    assert (rows["S1"]["offer_stance"], rows["S1"]["risk"]) == ("full price", "Boredom.")
    assert (rows["S1"]["edited_fields"], rows["S1"]["edited_at"]) == ("offer_stance,risk", LATER)
    assert (rows["S2"]["offer_stance"], rows["S2"]["edited_fields"]) == ("reduction", "")
    assert set_aside == [
        "Strategy of stage S2: the edit of 'offer_stance' is set aside, 'everything free' is none of full price, small "
        "thanks, reduction."
    ]


def test_an_ungrounded_answer_is_refused_by_the_table_too() -> None:
    segment = _gather()[1]
    answer = strategy_answer(segment).model_copy(update={"goal": "Win them all by 50%."})
    with pytest.raises(GroundingError, match=r"^Strategy of stage S1, goal: digit"):
        strategies_frame([segment], [Outcome(answer)])


def test_every_fact_is_a_row_with_all_its_renderings() -> None:
    segments = _gather()
    frame = facts_frame(segments)
    assert frame.columns == list(PROFILE_FACT_TYPES)
    assert frame.height == sum(len(segment.book) for segment in segments)
    rows = {(row["segment_id"], row["key"]): row for row in frame.to_dicts()}
    gap = rows["S1", "discount_gap"]
    assert (gap["kind"], gap["unit"], gap["number"], gap["value"]) == ("delta", "points", -0.05, "-5 percentage points")
    assert "5 percentage points below" in gap["renderings"].split(" | ")
    assert (rows["S1", "size_rank"]["of"], rows["S1", "category1"]["number"]) == (4, None)
    for segment in segments:
        for text in profile_templates(segment).values():
            rendered = render(text, segment.book)
            for key in (fact.key for fact in segment.book):
                if f"{{{{{key}}}}}" in text:
                    assert rows[segment.segment_id, key]["value"] in rendered


def test_the_columns_are_declared_with_their_meaning_and_fit_the_warehouse() -> None:
    inherited = {"axis", "segment_id", "name", "customers", "reachable_customers", "revenue_share"}
    for types, notes in ((PROFILE_TYPES, PROFILE_NOTES), (STRATEGY_TYPES, STRATEGY_NOTES),
                         (PROFILE_FACT_TYPES, PROFILE_FACT_NOTES)):  # fmt: skip
        assert set(types) - inherited <= set(notes) <= set(types)
        columns = ", ".join(f'"{column}" {sql_type}' for column, sql_type in types.items())
        with duckdb.connect() as con:
            con.execute(f"create table t ({columns})")


_amounts = st.one_of(st.none(), st.floats(0, 1e6, allow_nan=False))
_row = st.tuples(
    st.integers(0, 100_000), st.floats(0, 1), st.floats(0, 1), _amounts, st.one_of(st.none(), st.floats(0, 1)),
    _amounts, _amounts, _amounts, _amounts,
)  # fmt: skip
_metric = st.tuples(
    st.sampled_from(["recency_days", "order_count", "discount_share", "return_share", "weekend_share", "price_level",
                     "winter_share", "campaign_response_share", "days_between_orders", "average_order_amount"]),
    st.floats(0, 1e4), st.floats(0, 1e4), st.floats(0, 1e4), st.floats(0, 1e4),
)  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(_row, min_size=1, max_size=5),
    metrics=st.lists(_metric, max_size=10, unique_by=lambda metric: metric[0]),
    situation=st.sampled_from(["loyal", "active", "new", "lapsing", "lapsed", "unknown"]),
    names=st.lists(st.text(min_size=1, max_size=30), min_size=2, max_size=2),
)
def test_whatever_the_facts_every_text_stays_grounded(
    rows: list[tuple[object, ...]], metrics: list[tuple[object, ...]], situation: str, names: list[str]
) -> None:
    summary = _summary(
        *(
            (axis, f"{prefix}{place}", names[0], customers, share, int(customers * reach), revenue, part, *rest)
            for axis, prefix in (("stage", "S"), ("taste", "T"))
            for place, (customers, share, reach, revenue, part, *rest) in enumerate(rows)
        )
    )
    frame = pl.DataFrame(
        [(axis, f"{prefix}1", *metric) for axis, prefix in (("stage", "S"), ("taste", "T")) for metric in metrics],
        schema=METRICS, orient="row",
    )  # fmt: skip
    mix = pl.DataFrame(
        [("taste", "T1", "category", names[1], 10, 100, 1.0, 0.5, 0.2),
         ("stage", "S1", "channel", names[0], 9, 9, 1.0, 0.8, 0.4)],
        schema=MIX, orient="row",
    )  # fmt: skip
    segments = _gather(
        summary=summary, metrics=frame, mix=mix, situations={f"S{place}": situation for place in range(6)}
    )
    for segment in segments:
        for template in profile_templates(segment).values():
            assert ungrounded(template, segment.book, segment.subject) == []
    assert write_profiles(segments).height == len(segments)


def test_facts_about_few_people_or_a_small_rest_are_not_sendable() -> None:
    book = FactBook(
        (
            Fact("few", FactKind.COUNT, 49, customers=49),
            Fact("enough", FactKind.COUNT, 50, customers=50),
            Fact("nearly_all", FactKind.COUNT, 980, customers=980),
            Fact("shop", FactKind.TEXT, "Roastery"),
        )
    )
    assert [fact.key for fact in book.sendable(50, all_customers=1000)] == ["enough", "shop"]
    assert not math.isfinite(book.number("absent"))
