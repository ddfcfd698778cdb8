"""Segments are judged by what came after, beside simple rules, and it is said in a sentence when they lose."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from segmentation_assets.segmentation.usefulness import (
    USEFULNESS_SCHEMA,
    Usefulness,
    Verdict,
    category_usefulness,
    correlation_metric,
    explained_metric,
    favourite_categories,
    judge,
    mean_metric,
    spend_usefulness,
    verdict,
)

RULE = "RFM groups"
FAVOURITE = "favourite category"


def _ids(n: int) -> pl.Series:
    return pl.Series("customer_id", [f"c{number:06d}" for number in range(n)])


def _groups(labels: np.ndarray) -> pl.DataFrame:
    return pl.DataFrame({"customer_id": _ids(len(labels)), "group": labels.astype(str)})


def _spend(amounts: np.ndarray) -> pl.DataFrame:
    return pl.DataFrame({"customer_id": _ids(len(amounts)), "next_amount": amounts})


def _world(seed: int, n: int = 4_000) -> tuple[np.random.Generator, np.ndarray, np.ndarray]:
    """Four kinds of customers who spend 10, 30, 60 and 100 on average, half of them nothing: kinds and spend."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, 4, n)
    amounts = np.array([10.0, 30.0, 60.0, 100.0])[kind] * 2 * (rng.random(n) < 0.5) * rng.uniform(0.8, 1.2, n)
    return rng, kind, amounts


def _estimate(found: Usefulness, method: str, metric: str) -> float:
    return float(
        found.frame.row(by_predicate=(pl.col("method") == method) & (pl.col("metric") == metric), named=True)[
            "estimate"
        ]
    )


def test_groups_that_decide_the_spend_explain_what_they_decide_and_no_more() -> None:
    rng, kind, amounts = _world(1)
    means = np.array([amounts[kind == group].mean() for group in range(4)])
    possible = 1 - ((amounts - means[kind]) ** 2).sum() / ((amounts - amounts.mean()) ** 2).sum()
    found = spend_usefulness(_spend(amounts), _groups(kind), {RULE: _groups(rng.integers(0, 4, len(kind)))}, 1)
    assert found.frame.schema == pl.Schema(USEFULNESS_SCHEMA)
    assert found.customers == 4_000
    assert _estimate(found, "segments", "spend_r2") == pytest.approx(possible, abs=0.02)
    assert _estimate(found, RULE, "spend_r2") == pytest.approx(0.0, abs=0.005)
    assert verdict(found.frame).is_better
    gap = _estimate(found, "segments", "spend_r2") - _estimate(found, RULE, "spend_r2")
    assert _estimate(found, f"segments minus {RULE}", "spend_r2") == pytest.approx(gap, abs=2e-6)


def test_many_small_groups_cannot_win_by_remembering_their_members() -> None:
    rng, _, amounts = _world(2, 2_000)
    alone = np.arange(2_000) // 2
    inside = np.array([amounts[alone == group].mean() for group in alone])
    assert 1 - ((amounts - inside) ** 2).sum() / ((amounts - amounts.mean()) ** 2).sum() > 0.4
    found = spend_usefulness(_spend(amounts), _groups(alone), {RULE: _groups(rng.integers(0, 5, 2_000))}, 1)
    assert _estimate(found, "segments", "spend_r2") < 0
    assert not verdict(found.frame).is_better


def test_one_huge_order_does_not_decide() -> None:
    rng, kind, amounts = _world(3)
    rule = {RULE: _groups(rng.integers(0, 4, len(kind)))}
    quiet = _estimate(spend_usefulness(_spend(amounts), _groups(kind), rule, 1), "segments", "spend_r2")
    amounts[17] = 1e7
    assert _estimate(
        spend_usefulness(_spend(amounts), _groups(kind), rule, 1), "segments", "spend_r2"
    ) == pytest.approx(quiet, abs=0.01)


def test_the_order_of_the_rows_changes_nothing() -> None:
    rng, kind, amounts = _world(4, 1_500)
    rule = _groups(rng.integers(0, 4, len(kind)))
    first = spend_usefulness(_spend(amounts), _groups(kind), {RULE: rule}, 1)
    shuffled = [frame.sample(fraction=1.0, shuffle=True, seed=5) for frame in (_spend(amounts), _groups(kind), rule)]
    second = spend_usefulness(shuffled[0], shuffled[1], {RULE: shuffled[2]}, 1)
    assert first.frame.equals(second.frame)


def test_only_customers_whom_every_grouping_has_are_judged() -> None:
    _, kind, amounts = _world(5, 1_000)
    known = _groups(kind).with_columns(group=pl.when(pl.int_range(pl.len()) < 700).then("group"))
    found = spend_usefulness(_spend(amounts), known, {RULE: _groups(kind).slice(100)}, 1)
    assert found.customers == 600


@settings(max_examples=10, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10_000), n=st.integers(50, 900))
def test_rank_correlation_is_spearmans_and_r2_is_one_minus_the_ratio_of_errors(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = rng.normal(size=n), rng.integers(0, 5, n).astype(float)
    ranks = [np.argsort(np.argsort(first)).astype(float), pl.Series(second).rank("average").to_numpy()]
    frame = judge(
        {
            "a": [
                correlation_metric("rank", ranks[0], ranks[1]),
                explained_metric("r2", second, 0.5 * second, np.full(n, second.mean())),
            ]
        },
        seed,
    )
    by_metric = {row["metric"]: row for row in frame.iter_rows(named=True)}
    assert by_metric["rank"]["estimate"] == pytest.approx(spearmanr(first, second).statistic, abs=1e-6)
    expected = 1 - ((0.5 * second) ** 2).sum() / ((second - second.mean()) ** 2).sum()
    assert by_metric["r2"]["estimate"] == pytest.approx(expected, abs=1e-6)
    assert all(row["low"] <= row["estimate"] <= row["high"] for row in by_metric.values())


@pytest.mark.parametrize("n", [400, 20_000])
def test_intervals_are_as_wide_as_theory_says(n: int) -> None:
    values = np.random.default_rng(6).exponential(10.0, n)
    row = judge({"a": [mean_metric("mean", values)]}, 7).row(0, named=True)
    expected = 2 * 1.96 * values.std() / np.sqrt(n)
    assert row["high"] - row["low"] == pytest.approx(expected, rel=0.15)
    assert row["low"] < values.mean() < row["high"]


def test_a_column_that_never_varies_correlates_with_nothing() -> None:
    values = np.random.default_rng(7).normal(size=300)
    row = judge({"a": [correlation_metric("rank", np.full(300, 0.1), values)]}, 1).row(0, named=True)
    assert (row["estimate"], row["low"], row["high"]) == (0.0, 0.0, 0.0)


def test_segments_equal_to_the_rule_cannot_be_told_apart_from_it() -> None:
    _, kind, amounts = _world(8)
    found = spend_usefulness(_spend(amounts), _groups(kind), {RULE: _groups(kind)}, 1)
    said = verdict(found.frame)
    figure = _estimate(found, "segments", "spend_r2")
    assert said == Verdict(
        False,
        f"The segments could not be told apart from the RFM groups: the share of the next spend explained is "
        f"{figure:.3f} for the segments and {figure:.3f} for the RFM groups (difference +0.000, 95 % interval +0.000 "
        f"to +0.000).",
    )


def _row(method: str, metric: str, estimate: float, low: float, high: float) -> tuple[str, str, float, float, float]:
    return (method, metric, estimate, low, high)


def _frame(*rows: tuple[str, str, float, float, float]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=USEFULNESS_SCHEMA, orient="row")


_SPEND_ROWS = (
    _row("segments", "spend_r2", 0.2, 0.15, 0.25),
    _row(RULE, "spend_r2", 0.3, 0.25, 0.35),
    _row("segments", "spend_rank_correlation", 0.4, 0.35, 0.45),
    _row(RULE, "spend_rank_correlation", 0.5, 0.45, 0.55),
)


def test_when_the_clusters_lose_it_is_said_in_one_sentence_with_the_numbers() -> None:
    frame = _frame(*_SPEND_ROWS, _row(f"segments minus {RULE}", "spend_r2", -0.1, -0.15, -0.05))
    assert verdict(frame) == Verdict(
        False,
        "The segments lost to the RFM groups: the share of the next spend explained is 0.200 for the segments and "
        "0.300 for the RFM groups (difference -0.100, 95 % interval -0.150 to -0.050).",
    )


def test_to_win_by_one_metric_and_lose_by_another_is_not_better() -> None:
    frame = _frame(
        *_SPEND_ROWS,
        _row(f"segments minus {RULE}", "spend_r2", 0.1, 0.05, 0.15),
        _row(f"segments minus {RULE}", "spend_rank_correlation", -0.1, -0.15, -0.05),
    )
    said = verdict(frame)
    assert not said.is_better
    assert said.sentence.startswith("The segments told more than the RFM groups in one way and less in another: ")
    assert said.sentence.endswith(
        "but the rank correlation with the next spend is 0.400 for the segments and 0.500 for the RFM groups."
    )


def test_of_a_loss_less_is_better_and_the_strongest_rule_is_named() -> None:
    rows = [
        _row(name, "category_log_loss", loss, 0.0, 3.0) for name, loss in (("segments", 2.0), ("a", 2.2), ("b", 2.1))
    ]
    won = [_row("segments minus a", "category_log_loss", -0.2, -0.3, -0.1)]
    frame = _frame(*rows, *won, _row("segments minus b", "category_log_loss", -0.1, -0.15, -0.05))
    assert verdict(frame).is_better
    assert verdict(frame).sentence.startswith("The segments told more than the b: ")
    tied = verdict(_frame(*rows, *won, _row("segments minus b", "category_log_loss", -0.1, -0.3, 0.1)))
    assert not tied.is_better
    assert tied.sentence.startswith("The segments could not be told apart from the b: ")


def test_a_spend_of_zero_in_the_whole_window_and_one_customer_cannot_be_judged() -> None:
    groups = _groups(np.arange(500) % 3)
    nobody = spend_usefulness(_spend(np.zeros(500)), groups, {RULE: groups}, 1)
    assert nobody.frame.is_empty()
    assert nobody.reason == (
        "500 customers could be judged, of whom 0 bought in the window after the cut-off; at least 100 and 30 are "
        "needed."
    )
    assert verdict(nobody.frame, nobody.reason) == Verdict(False, f"It cannot be judged: {nobody.reason}")
    one = spend_usefulness(_spend(np.ones(1)), groups, {RULE: groups}, 1)
    assert one.reason.startswith("1 customers could be judged, of whom 1 bought")
    none = spend_usefulness(_spend(np.ones(0)), groups, {RULE: groups}, 1)
    assert none.reason.startswith("0 customers could be judged")


def test_a_grouping_with_a_customer_twice_or_a_reserved_name_is_refused() -> None:
    _, kind, amounts = _world(9, 300)
    groups = _groups(kind)
    with pytest.raises(ValueError, match=f"{RULE}: a customer is in two groups; a grouping has one row per customer."):
        spend_usefulness(_spend(amounts), groups, {RULE: pl.concat([groups, groups])}, 1)
    with pytest.raises(ValueError, match=r"A rule must not be called segments: that name has its own row\."):
        spend_usefulness(_spend(amounts), groups, {"segments": groups}, 1)
    wide = groups.with_columns(more=pl.lit(1))
    with pytest.raises(ValueError, match="one column of names; found customer_id, group, more"):
        spend_usefulness(_spend(amounts), wide, {RULE: groups}, 1)


def _tastes(seed: int, n: int = 3_000) -> tuple[np.ndarray, pl.DataFrame, np.ndarray]:
    """Three tastes over six categories; the next category follows the taste, the favourite is drawn from it too."""
    rng = np.random.default_rng(seed)
    taste = rng.integers(0, 3, n)
    chances = np.full((3, 6), 0.05)
    for place in range(3):
        chances[place, 2 * place : 2 * place + 2] = 0.4
    drawn = [(rng.random(n)[:, None] > chances[taste].cumsum(axis=1)).sum(axis=1) for _ in range(2)]
    outcomes = pl.DataFrame(
        {"customer_id": _ids(n), "next_category": [f"category {place}" for place in drawn[0].clip(0, 5)]}
    )
    return taste, outcomes, drawn[1].clip(0, 5)


def test_tastes_that_decide_the_next_category_beat_one_remembered_purchase_and_the_overall_shares() -> None:
    taste, outcomes, favourite = _tastes(1)
    found = category_usefulness(outcomes, _groups(taste), {FAVOURITE: _groups(favourite)}, 1)
    entropy = -(2 * 0.4 * np.log(0.4) + 4 * 0.05 * np.log(0.05))
    assert _estimate(found, "segments", "category_log_loss") == pytest.approx(entropy, abs=0.03)
    assert _estimate(found, "overall shares", "category_log_loss") == pytest.approx(np.log(6), abs=0.02)
    assert _estimate(found, "segments", "category_accuracy") == pytest.approx(0.4, abs=0.03)
    assert verdict(found.frame).is_better
    assert "than the favourite category" in verdict(found.frame).sentence


def test_tastes_that_say_nothing_lose_to_the_favourite_category() -> None:
    _, outcomes, favourite = _tastes(2)
    noise = np.random.default_rng(3).integers(0, 3, outcomes.height)
    found = category_usefulness(outcomes, _groups(noise), {FAVOURITE: _groups(favourite)}, 1)
    assert verdict(found.frame).sentence.startswith("The segments lost to the favourite category: ")


def test_a_category_nobody_bought_in_the_learning_half_has_a_finite_loss() -> None:
    taste, outcomes, favourite = _tastes(4, 400)
    rare = outcomes.with_columns(
        next_category=pl.when(pl.int_range(pl.len()) == 7).then(pl.lit("unique")).otherwise("next_category")
    )
    found = category_usefulness(rare, _groups(taste), {FAVOURITE: _groups(favourite)}, 1)
    assert np.isfinite(found.frame["high"].to_numpy()).all()
    assert _estimate(found, "segments", "category_log_loss") < np.log(7)


def test_a_shop_with_ten_thousand_categories_is_judged_by_the_hundred_most_common_ones() -> None:
    n = 12_000
    rng = np.random.default_rng(5)
    place = np.where(rng.random(n) < 0.5, 0, rng.permutation(n) % 10_000)
    outcomes = pl.DataFrame({"customer_id": _ids(n), "next_category": [f"category {value}" for value in place]})
    labels = rng.integers(0, 3, n)
    found = category_usefulness(outcomes, _groups(labels), {FAVOURITE: _groups(labels)}, 1)
    assert _estimate(found, "overall shares", "category_log_loss") < 1.0


def test_too_few_next_purchases_or_one_category_cannot_be_judged() -> None:
    taste, outcomes, favourite = _tastes(6, 99)
    few = category_usefulness(outcomes, _groups(taste), {FAVOURITE: _groups(favourite)}, 1)
    assert few.frame.is_empty()
    assert few.reason == (
        "99 customers could be judged by what they bought in the window after the cut-off, and the number of its known "
        "categories is 6; at least 100 customers and 2 categories are needed."
    )
    nothing = outcomes.with_columns(next_category=pl.lit(None, dtype=pl.String))
    assert "0 customers could be judged" in category_usefulness(nothing, _groups(taste), {}, 1).reason
    one = pl.concat([outcomes, outcomes.with_columns(pl.col("customer_id") + "x")]).with_columns(
        next_category=pl.lit("Tea")
    )
    both = pl.DataFrame({"customer_id": one["customer_id"], "group": ["a"] * one.height})
    assert "categories is 1;" in category_usefulness(one, both, {}, 1).reason


def test_the_favourite_category_is_the_known_one_with_most_lines_then_most_money_then_by_name() -> None:
    shares = pl.DataFrame(
        [
            ("a", "category", "Tea", 2, 5.0), ("a", "category", "Coffee", 2, 9.0), ("a", "category", "unknown", 9, 9.0),
            ("b", "category", "Wine", 1, 5.0), ("b", "category", "Beer", 1, 5.0), ("b", "brand", "Alba", 9, 5.0),
            ("c", "category", "unknown", 3, 5.0),
        ],
        schema=["customer_id", "dimension", "value", "line_count", "net_amount"],
        orient="row",
    )  # fmt: skip
    assert favourite_categories(shares).rows() == [("a", "Coffee"), ("b", "Beer")]
