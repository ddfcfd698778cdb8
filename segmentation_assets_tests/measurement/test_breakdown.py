"""Where a campaign worked: shrunk, adjusted, exploratory."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmentation_assets.measurement.breakdown import SEGMENT_SCHEMA, breakdown, fisher, holm, shrink
from segmentation_assets.measurement.intervals import difference_of_proportions
from segmentation_assets.measurement.lift import LiftSpec
from segmentation_assets.measurement.looks import Look
from segmentation_assets_tests.measurement.test_lift import group

SPEC = LiftSpec("C1")


def levels(arm: str, counts: dict[str, tuple[int, int]], **columns: object) -> pl.DataFrame:
    """Customers of one arm in tastes: taste -> (buyers, customers)."""
    return pl.concat(
        [
            group(arm, customers, buyers, taste=taste, **columns).with_columns(
                customer_id=pl.lit(taste) + pl.col("customer_id")
            )
            for taste, (buyers, customers) in counts.items()
        ]
    )


CROWD = pl.concat(
    [levels("treated", {"T1": (120, 900), "T2": (45, 900), "T3": (40, 900)}),
     levels("control", {"T1": (5, 100), "T2": (5, 100), "T3": (5, 100)})]
)  # fmt: skip


def test_each_level_is_compared_with_its_own_control_shrunk_and_labelled_exploratory() -> None:
    found = breakdown(CROWD, SPEC, ["taste"])
    assert found.schema == pl.Schema(dict(SEGMENT_SCHEMA))
    assert found["level"].to_list() == ["T1", "T2", "T3"]
    first = found.row(0, named=True)
    own = difference_of_proportions(120, 900, 5, 100)
    assert (first["effect"], first["low"], first["high"]) == pytest.approx((own.effect, own.low, own.high))
    whole = 205 / 2_700 - 0.05
    assert whole < first["shrunk_effect"] < first["effect"]
    assert first["shrunk_low"] < first["shrunk_effect"] < first["shrunk_high"]
    assert first["p_value"] == pytest.approx(float(fisher(120, 900, 5, 100)), abs=1e-9)
    assert first["p_holm"] == pytest.approx(3 * first["p_value"], abs=1e-8)
    assert all(note.startswith("Exploratory: one of many looks") for note in found["note"])


def test_subject_arms_share_the_control_and_are_compared_with_each_other() -> None:
    number = np.arange(1_000)
    arms = [
        group("treated", 1_000, buyers, variant=[name] * 1_000, is_clicked=number < clicks).with_columns(
            customer_id=pl.lit(name) + pl.col("customer_id")
        )
        for name, buyers, clicks in (("A", 30, 100), ("B", 50, 90))
    ]
    treated = pl.concat(arms)
    found = breakdown(pl.concat([treated, group("control", 200, 4)], how="diagonal"), SPEC)
    by_level = {(row["dimension"], row["level"], row["metric"]): row for row in found.iter_rows(named=True)}
    assert by_level["variant", "A", "buyers"]["control_customers"] == 200
    assert by_level["variant", "B", "buyers"]["control_customers"] == 200
    between = by_level["subject", "B against A", "buyers"]
    assert (between["treated_value"], between["control_value"], between["effect"]) == pytest.approx((0.05, 0.03, 0.02))
    assert by_level["subject", "B against A", "clicks"]["effect"] == pytest.approx(-0.01)
    assert between["p_holm"] >= between["p_value"]


def test_levels_under_50_customers_are_shown_together_and_unknown_ones_left_out() -> None:
    small = pl.concat([CROWD, levels("treated", {"T4": (3, 25), "T5": (1, 24)}), levels("control", {"T4": (0, 6)})])
    found = breakdown(small, SPEC, ["taste"])
    assert found["level"].to_list() == ["T1", "T2", "T3", "(other)"]
    assert found.row(3, named=True)["treated_customers"] == 49
    # Together, written to or not, they are 50 or more: then a level stands by itself.
    just = pl.concat([CROWD, levels("treated", {"T4": (3, 44), "T5": (1, 44)}),
                      levels("control", {"T4": (0, 6), "T5": (0, 5)})])  # fmt: skip
    assert breakdown(just, SPEC, ["taste"])["level"].to_list() == ["T1", "T2", "T3", "T4", "(other)"]
    unknown = CROWD.with_columns(taste=pl.when(pl.col("taste") != "T3").then("taste"))
    assert breakdown(unknown, SPEC, ["taste"])["level"].to_list() == ["T1", "T2"]


def test_without_control_or_with_groups_of_the_wrong_size_there_is_no_breakdown() -> None:
    assert breakdown(CROWD.filter(pl.col("arm") == "treated"), SPEC).is_empty()
    assert breakdown(CROWD, LiftSpec("C1", control_share=0.3)).is_empty()
    assert breakdown(CROWD.drop("taste"), SPEC).is_empty()
    credited = CROWD.with_columns(is_buyer=pl.col("is_buyer") & (pl.col("arm") == "treated"))
    assert breakdown(credited, SPEC).is_empty()


@pytest.mark.parametrize(("look", "words"), [(Look(1, 0.5), "Early look 1"), (Look(2), "Read 2 times")])
def test_levels_and_subjects_read_early_have_wider_intervals_and_no_p_values(look: Look, words: str) -> None:
    crowd = CROWD.with_columns(variant=pl.when(pl.col("arm") == "treated").then(
        pl.when(pl.int_range(pl.len()) % 2 == 0).then(pl.lit("A")).otherwise(pl.lit("B"))))  # fmt: skip
    plain, found = (breakdown(crowd, LiftSpec("C1", look=each)) for each in (Look(), look))
    assert found.height == 6
    assert found["p_holm"].null_count() == found["p_value"].null_count() == 6
    assert (found["high"] - found["low"] > plain["high"] - plain["low"]).all()
    shrunk = found.filter(pl.col("shrunk_high").is_not_null())
    before = plain.filter(pl.col("shrunk_high").is_not_null())
    assert (shrunk["shrunk_high"] - shrunk["shrunk_low"] > before["shrunk_high"] - before["shrunk_low"]).all()
    assert all(words in note for note in found["note"])


def test_levels_of_a_campaign_without_a_random_control_are_associations() -> None:
    found = breakdown(CROWD, LiftSpec("K1", is_experiment=False), ["taste"])
    assert not found["is_experiment"].any()
    assert all(note.endswith("Association only.") for note in found["note"])


def test_small_subject_arms_together_are_compared_with_the_whole_control() -> None:
    arms = [
        group("treated", 20, 2, variant=[name] * 20).with_columns(customer_id=pl.lit(name) + pl.col("customer_id"))
        for name in ("A", "B")
    ]
    found = breakdown(pl.concat([*arms, group("control", 200, 4)], how="diagonal"), SPEC)
    other = found.filter(dimension="variant").row(0, named=True)
    assert (other["level"], other["treated_customers"], other["control_customers"]) == ("(other)", 40, 200)


def test_the_global_hold_out_is_no_part_of_a_breakdown() -> None:
    with_hold_out = pl.concat([CROWD, levels("hold_out", {"T1": (100, 100)})])
    assert breakdown(with_hold_out, LiftSpec("C1", control_share=0.1)).equals(
        breakdown(CROWD, LiftSpec("C1", control_share=0.1))
    )


def test_holms_textbook_example() -> None:
    # .01, .04, .03, .005: sorted and multiplied by 4, 3, 2, 1, and never falling.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([[0.6, 0.9]]) == pytest.approx(np.array([[1.0, 1.0]]))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
@settings(max_examples=50, deadline=None)
def test_an_adjusted_p_value_is_never_smaller_and_keeps_the_order(values: list[float]) -> None:
    adjusted = holm(values)
    assert (adjusted >= np.array(values) - 1e-15).all()
    order = np.argsort(values, kind="stable")
    assert (np.diff(adjusted[order]) >= 0).all()


def test_fishers_tea_party() -> None:
    # Fisher (1935): 3 of 4 cups right, p = .243 one-sided; all right, 1 / 70.
    assert float(fisher(3, 4, 1, 4)) == pytest.approx(2 * 17 / 70)
    assert float(fisher(4, 4, 0, 4)) == pytest.approx(2 / 70)
    assert float(fisher(0, 10, 0, 10)) == 1.0


def test_levels_that_are_alike_move_to_the_campaign_and_one_that_stands_out_hardly() -> None:
    alike, low, high = shrink([0.01, 0.012, 0.008, 0.011], [0.02] * 4, 0.01, 0.01)
    assert np.abs(alike - 0.01).max() < 0.001
    assert (high - low).max() < 2 * 1.96 * 0.02  # shorter than the levels' own
    apart, _, _ = shrink([0.3, 0.0, -0.3, 0.0], [0.01] * 4, 0.0, 0.005)
    assert apart[0] == pytest.approx(0.3, abs=0.01)
    single, _, _ = shrink([0.05], [0.01], 0.05, 0.01)
    assert single[0] == pytest.approx(0.05)


def test_a_shrunk_interval_knows_that_the_campaigns_effect_and_the_spread_are_estimates() -> None:
    effects, errors = [0.05, 0.0, -0.01, 0.0], [0.02] * 4
    _, low, high = shrink(effects, errors, 0.01, 0.01)
    # How far a level is drawn hangs on a spread that nobody knows: the one that stands out is the least sure.
    assert (high - low)[0] == (high - low).max() > 1.1 * (high - low).min()
    _, surer, sure = shrink(effects, errors, 0.01, 1e-9)
    _, unsure, least = shrink(effects, errors, 0.01, 0.05)
    assert ((sure - surer) < (high - low)).all() and ((high - low) < (least - unsure)).all()
    assert (least - unsure).min() > 2 * 1.96 * 0.5 * 0.05
