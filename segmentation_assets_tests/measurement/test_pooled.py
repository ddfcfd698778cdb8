"""Several campaigns together: the pooled effect, and what may not be pooled."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmentation_assets.measurement.lift import LiftSpec, campaign_lift
from segmentation_assets.measurement.looks import Look
from segmentation_assets.measurement.pooled import POOLED_SCHEMA, pool_campaigns, pooled_effect
from segmentation_assets_tests.measurement.test_lift import group


def campaign(name: str, treated: int, control: int, **spec: object) -> pl.DataFrame:
    """A campaign of 900 written to and 300 left out, with so many buyers."""
    customers = pl.concat([group("treated", 900, treated), group("control", 300, control)])
    return campaign_lift(customers, LiftSpec(name, **spec))  # type: ignore[arg-type]


def test_pooling_by_hand() -> None:
    # Weights 1, 1, .25: mean (1 + 3 + .5) / 2.25 = 2; Q = 1 + 1 + 0 = 2 on 2 degrees: no heterogeneity.
    pooled = pooled_effect([1.0, 3.0, 2.0], [1.0, 1.0, 2.0])
    assert float(pooled.fixed_effect) == pytest.approx(2.0)
    assert float(pooled.fixed_high - pooled.fixed_low) == pytest.approx(2 * 1.959964 / 1.5, abs=1e-5)
    assert (float(pooled.heterogeneity_share), float(pooled.between_deviation)) == (0.0, 0.0)
    assert float(pooled.random_high - pooled.random_low) == pytest.approx(2 * 4.302653 / 1.5, abs=1e-5)
    # 0 and 4 with errors of 1: Q = 8 on 1 degree, tau^2 = 7, I^2 = 7/8; Hartung-Knapp: t(1) = 12.706, error 2.
    apart = pooled_effect([0.0, 4.0], [1.0, 1.0])
    assert float(apart.between_deviation) == pytest.approx(7**0.5)
    assert float(apart.heterogeneity_share) == pytest.approx(0.875)
    assert float(apart.random_high) == pytest.approx(2 + 12.706205 * 2, abs=1e-4)


def test_campaigns_none_of_which_shows_an_effect_show_one_together() -> None:
    results = pl.concat([campaign(f"C{number}", 45, 9) for number in range(8)])
    buyers = results.filter(pl.col("metric") == "buyers")
    assert (buyers["low"] < 0).all()
    pooled = pool_campaigns(results)
    assert pooled.schema == pl.Schema(dict(POOLED_SCHEMA))
    fixed = pooled.filter((pl.col("metric") == "buyers") & (pl.col("method") == "fixed")).row(0, named=True)
    assert (fixed["campaigns"], fixed["treated_customers"], fixed["effect"]) == (8, 7_200, pytest.approx(0.02))
    assert 0 < fixed["low"] < fixed["high"]
    assert fixed["relative_effect"] == pytest.approx(2 / 3, abs=1e-6)


def test_associations_trials_and_early_looks_are_not_pooled() -> None:
    results = pl.concat(
        [campaign("C1", 45, 9), campaign("K1", 90, 9, is_experiment=False), campaign("C2", 9, 9, is_aa=True),
         campaign("C3", 90, 9, look=Look(1, 0.5)), campaign("C4", 90, 9, control_share=0.5)]
    )  # fmt: skip
    pooled = pool_campaigns(results).filter(pl.col("metric") == "buyers")
    assert pooled["campaigns"].to_list() == [1, 1]
    assert pooled["note"].to_list() == [
        "One campaign only: this is its own effect.",
        "One campaign says nothing about how campaigns differ, so there is no interval.",
    ]
    assert pooled.row(1, named=True)["low"] is None


def test_pooling_is_labelled_as_one_reading_of_many() -> None:
    pooled = pool_campaigns(pl.concat([campaign("C1", 45, 9), campaign("C2", 45, 9)])).filter(metric="buyers")
    words = "It is read anew with every campaign: the interval holds for one reading, after a number chosen beforehand."
    assert pooled["note"].to_list() == [
        f"Mean effect of these 2 campaigns; holds also when they differ. {words}",
        f"What to expect of campaigns like these (Hartung-Knapp). With 2 campaigns the interval is wide. {words}",
    ]


def test_of_several_arms_the_first_alone_is_pooled_because_they_share_a_control() -> None:
    arms = pl.concat([group("mens", 900, 90), group("womens", 900, 30), group("control", 300, 9)])
    row = pool_campaigns(campaign_lift(arms, LiftSpec("C1"))).filter(metric="buyers", method="fixed").row(0, named=True)
    assert (row["campaigns"], row["treated_customers"], row["effect"]) == (1, 900, pytest.approx(0.07))


def test_weights_do_not_know_the_effect_and_the_interval_does() -> None:
    # Weights 1 and 1/4: half of the interval is 1.96 sqrt(1 * .5^2 + (1/16) * 2^2) / 1.25 with each group's own error.
    pooled = pooled_effect([1.0, 1.0], [1.0, 2.0], own_errors=[0.5, 2.0])
    assert float(pooled.fixed_high - 1.0) == pytest.approx(1.959964 * 0.5**0.5 / 1.25, abs=1e-5)
    # A campaign by itself: rates of its own groups, half a buyer and half a non-buyer added to each.
    row = pool_campaigns(campaign("C1", 90, 3)).filter(metric="buyers", method="fixed").row(0, named=True)
    p, q = 90.5 / 901, 3.5 / 301
    own = (p * (1 - p) / 900 + q * (1 - q) / 300) ** 0.5
    assert row["high"] - row["effect"] == pytest.approx(1.959964 * own, abs=1e-6)


def test_margins_without_an_interval_and_no_campaigns_pool_to_nothing() -> None:
    results = campaign("C1", 45, 9)
    assert pool_campaigns(results)["metric"].unique().to_list() == ["buyers"]
    assert pool_campaigns(results.clear()).schema == pl.Schema(dict(POOLED_SCHEMA))


def test_campaigns_where_nobody_bought_pool_to_no_effect_with_an_interval() -> None:
    pooled = pool_campaigns(pl.concat([campaign("C1", 0, 0), campaign("C2", 0, 0)]))
    fixed = pooled.filter((pl.col("metric") == "buyers") & (pl.col("method") == "fixed")).row(0, named=True)
    assert fixed["effect"] == 0
    assert fixed["low"] < 0 < fixed["high"]
    assert fixed["relative_effect"] is None


@given(st.lists(st.tuples(st.floats(-1, 1), st.floats(0.01, 1)), min_size=1, max_size=10))
@settings(max_examples=50, deadline=None)
def test_a_pooled_effect_lies_among_its_campaigns_and_random_effects_are_never_surer(
    data: list[tuple[float, float]],
) -> None:
    effects, errors = np.array(data).T
    pooled = pooled_effect(effects, errors)
    for found in (pooled.fixed_effect, pooled.random_effect):
        assert effects.min() - 1e-9 <= found <= effects.max() + 1e-9
    assert pooled.random_high - pooled.random_low >= pooled.fixed_high - pooled.fixed_low - 1e-9


def test_no_campaigns_and_an_error_of_0_are_refused() -> None:
    for effects, errors in (([], []), ([1.0], [0.0]), ([np.nan], [1.0])):
        with pytest.raises(ValueError, match=r"^Pooling needs at least one campaign, each with a finite effect"):
            pooled_effect(effects, errors)
