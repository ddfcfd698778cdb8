"""A campaign's lift: who counts as treated, which metrics are compared, and when no lift is read."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import polars as pl
import pytest

from segmentation_assets.measurement.intervals import difference_of_proportions
from segmentation_assets.measurement.lift import RESULT_SCHEMA, LiftSpec, campaign_lift, hold_out_lift
from segmentation_assets.measurement.looks import Look
from segmentation_assets.measurement.tables import COLUMN_NOTES, TABLE_TYPES


def group(arm: str, customers: int, buyers: int, margin: float = 10.0, **columns: Any) -> pl.DataFrame:
    """Customers of one arm of whom the first `buyers` bought, for margins that differ a little."""
    bought = np.arange(customers) < buyers
    return pl.DataFrame(
        {
            "customer_id": [f"{arm}{number}" for number in range(customers)],
            "arm": [arm] * customers,
            "is_buyer": bought,
            "orders": bought.astype(np.int64),
            "margin": np.where(bought, margin + np.arange(customers) % 7, 0.0),
            **columns,
        }
    )


def row(results: pl.DataFrame, metric: str, arm: str = "treated") -> dict[str, Any]:
    return results.filter((pl.col("metric") == metric) & (pl.col("arm") == arm)).row(0, named=True)


SPEC = LiftSpec("C1", control_share=0.1)
CROWD = pl.concat([group("treated", 9_000, 450), group("control", 1_000, 30)])


def test_the_buying_rates_are_compared_by_newcombe_and_only_the_fixed_metric_is_primary() -> None:
    results = campaign_lift(CROWD, SPEC)
    assert results.schema == pl.Schema(dict(RESULT_SCHEMA))
    expected = difference_of_proportions(450, 9_000, 30, 1_000)
    found = row(results, "buyers")
    for name in ("effect", "low", "high", "relative_low", "relative_high", "p_value", "standard_error"):
        assert found[name] == pytest.approx(getattr(expected, name), abs=1e-9), name
    assert (found["treated_value"], found["control_value"], found["relative_effect"]) == pytest.approx(
        (0.05, 0.03, 2 / 3)
    )
    assert found["low"] > 0
    assert (found["method"], found["is_experiment"]) == ("Newcombe hybrid score interval", True)
    assert results.filter("is_primary")["metric"].to_list() == ["buyers"]
    assert results["metric"].to_list() == ["buyers", "orders", "margin"]


def test_bounced_and_unsent_customers_stay_treated() -> None:
    # A third bounced, and none of them bought: counting only the delivered would show .0375, half as much again.
    treated = group("treated", 9_000, 225, is_delivered=np.arange(9_000) < 6_000, is_bounced=np.arange(9_000) >= 6_000)
    results = campaign_lift(pl.concat([treated, group("control", 1_000, 25)], how="diagonal"), SPEC)
    assert row(results, "buyers")["treated_customers"] == 9_000
    assert row(results, "buyers")["effect"] == 0.0
    assert row(results, "delivered")["treated_value"] == pytest.approx(2 / 3, abs=1e-9)
    assert row(results, "bounces")["treated_value"] == pytest.approx(1 / 3, abs=1e-9)


def test_rates_of_the_treated_alone_have_an_interval_of_their_own_and_no_effect() -> None:
    number = np.arange(9_000)
    treated = group(
        "treated", 9_000, 450, is_delivered=number < 8_000, is_opened=number < 2_000, is_clicked=number < 300,
        is_unsubscribed=number < 16, is_complained=number < 0, is_bounced=number >= 8_900,
    )  # fmt: skip
    results = campaign_lift(pl.concat([treated, group("control", 1_000, 30)], how="diagonal"), SPEC)
    rates = {
        metric: (found["treated_value"], found["treated_customers"])
        for metric in ("delivered", "opens", "clicks", "click_to_open", "unsubscribes", "complaints", "bounces")
        for found in [row(results, metric)]
    }
    assert rates == {
        "delivered": (pytest.approx(8 / 9), 9_000), "opens": (0.25, 8_000), "clicks": (0.0375, 8_000),
        "click_to_open": (0.15, 2_000), "unsubscribes": (0.002, 8_000), "complaints": (0.0, 8_000),
        "bounces": (pytest.approx(100 / 9_000), 9_000),
    }  # fmt: skip
    for metric in rates:
        found = row(results, metric)
        assert (found["effect"], found["control_value"], found["p_value"]) == (None, None, None)
        assert found["low"] <= found["treated_value"] < found["high"]
    assert row(results, "opens")["note"].startswith("Unreliable: mail programs open messages by themselves")
    assert row(results, "clicks")["note"] == "Human clicks. Of 8,000 delivered."


@pytest.mark.parametrize(("buyers", "is_shown"), [(299, False), (300, True)])
def test_a_margin_interval_needs_300_control_buyers(buyers: int, is_shown: bool) -> None:
    customers = pl.concat([group("treated", 9_000, 3_000), group("control", 1_000, buyers)])
    found = row(campaign_lift(customers, SPEC), "margin")
    assert (found["effect"] is not None) is is_shown
    assert found["control_value"] > 0
    if not is_shown:
        assert found["method"] == "none: too few buyers"
        assert found["note"] == (
            "No interval: 299 buyers in the control group, and under 300 the interval of a mean of margin can miss the "
            "truth too often."
        )


def test_a_hundred_orders_of_a_few_do_not_need_300() -> None:
    found = row(campaign_lift(CROWD, SPEC), "orders")
    assert found["effect"] == pytest.approx(0.02, abs=1e-9)
    few = pl.concat([group("treated", 9_000, 450), group("control", 1_000, 19)])
    assert row(campaign_lift(few, SPEC), "orders")["effect"] is None
    harmed = pl.concat([group("treated", 9_000, 19), group("control", 1_000, 30)])
    assert row(campaign_lift(harmed, SPEC), "orders")["note"].startswith("No interval: 19 buyers in the treated group")


def test_groups_of_the_wrong_size_alarm_and_then_no_lift_is_read() -> None:
    lost = pl.concat([group("treated", 9_000, 450), group("control", 800, 30)])
    results = campaign_lift(lost, SPEC)
    assert results["effect"].null_count() == results.height
    assert results["low"].null_count() == results.height
    assert "so no lift is read. Check the assignment." in row(results, "buyers")["note"]
    assert row(results, "buyers")["method"] == "none: sample-ratio mismatch"
    assert row(campaign_lift(lost, LiftSpec("C1")), "buyers")["effect"] is not None  # no planned share, no check


def test_a_control_without_a_buyer_is_an_answer_where_orders_of_both_were_counted() -> None:
    spec = dataclasses.replace(SPEC, is_counted_alike=True)
    found = row(campaign_lift(pl.concat([group("treated", 900, 45), group("control", 100, 0)]), spec), "buyers")
    assert found["effect"] == 0.05
    assert found["low"] < 0.05 < found["high"]


def test_conversions_credited_to_the_message_are_no_lift() -> None:
    # Those left out cannot respond to a message they never got: 0 of 1,000 beside 5 % is bookkeeping, not an effect.
    found = row(campaign_lift(pl.concat([group("treated", 9_000, 450), group("control", 1_000, 0)]), SPEC), "buyers")
    assert (found["effect"], found["control_value"]) == (None, 0.0)
    assert found["note"] == (
        "None of 1,000 left out bought anything: count the orders of both groups, not responses to the message, which "
        "those left out cannot give."
    )
    # Four expected and none found is chance, five are not.
    few = pl.concat([group("treated", 9_000, 36), group("control", 1_000, 0)])
    assert row(campaign_lift(few, SPEC), "buyers")["effect"] == pytest.approx(0.004)
    five = pl.concat([group("treated", 9_000, 45), group("control", 1_000, 0)])
    assert row(campaign_lift(five, SPEC), "buyers")["method"] == "none: outcomes of the treated alone"


def test_without_anybody_left_out_the_rates_are_shown_and_no_effect() -> None:
    found = row(campaign_lift(group("treated", 100, 5), LiftSpec("C1")), "buyers")
    assert (found["treated_value"], found["control_customers"], found["effect"], found["low"]) == (0.05, 0, None, None)
    assert found["note"] == "Nobody was left out, so what the campaign caused cannot be known."


def test_without_a_random_control_a_difference_is_an_association_and_never_called_lift() -> None:
    results = campaign_lift(CROWD, LiftSpec("K1", is_experiment=False, control_share=0.5))
    found = row(results, "buyers")
    assert (found["is_experiment"], found["effect"]) == (False, pytest.approx(0.02))
    assert found["note"].startswith("Association only: nobody was left out at random")
    assert not any("lift" in note.lower() for note in results["note"])


def test_an_a_a_trial_is_labelled_and_has_no_rates_of_messages() -> None:
    customers = CROWD.with_columns(is_delivered=pl.lit(value=False))
    results = campaign_lift(customers, LiftSpec("C1", is_aa=True, control_share=0.1))
    assert results["metric"].to_list() == ["buyers", "orders", "margin"]
    assert results["is_aa"].all()
    assert "A/A trial: nobody was written to" in row(results, "buyers")["note"]


def test_the_global_hold_out_is_no_part_of_a_campaigns_control() -> None:
    with_hold_out = pl.concat([CROWD, group("hold_out", 500, 500)])
    assert campaign_lift(with_hold_out, SPEC).equals(campaign_lift(CROWD, SPEC))


def test_the_hold_out_is_compared_with_everybody_else_written_to_or_not() -> None:
    shop = pl.concat([group("treated", 4_000, 300), group("control", 500, 25), group("none", 4_500, 125),
                      group("hold_out", 1_000, 40)])  # fmt: skip
    found = row(hold_out_lift(shop, LiftSpec("all campaigns", control_share=0.1)), "buyers")
    assert (found["treated_customers"], found["control_customers"]) == (9_000, 1_000)
    assert found["effect"] == pytest.approx(450 / 9_000 - 0.04)


def test_several_arms_are_each_compared_with_the_same_control() -> None:
    customers = pl.concat([group("mens", 500, 50), group("womens", 500, 30), group("control", 500, 20)])
    results = campaign_lift(customers, LiftSpec("C1"))
    assert row(results, "buyers", "mens")["effect"] == pytest.approx(0.06)
    assert row(results, "buyers", "womens")["effect"] == pytest.approx(0.02)
    assert "One of 2 arms beside the same control" in row(results, "buyers", "mens")["note"]


def test_a_control_who_got_the_message_stays_a_control_and_is_counted() -> None:
    reached = CROWD.with_columns(is_delivered=pl.col("customer_id").is_in(["control1", "control2", "treated1"]))
    found = row(campaign_lift(reached, SPEC), "buyers")
    assert found["control_customers"] == 1_000
    assert "2 of those left out got the message all the same" in found["note"]


def test_an_early_look_is_labelled_widened_and_has_no_p_value() -> None:
    plain = row(campaign_lift(CROWD, SPEC), "buyers")
    early = row(campaign_lift(CROWD, LiftSpec("C1", look=Look(2, 0.5))), "buyers")
    assert early["note"].startswith("Early look 2, at 50% of the window")
    assert (early["is_early_look"], early["p_value"], early["effect"]) == (True, None, plain["effect"])
    assert early["low"] < plain["low"]
    assert early["high"] > plain["high"]
    late = row(campaign_lift(CROWD, LiftSpec("C1", look=Look(2))), "buyers")
    assert late["note"].startswith("Read 2 times before the window ended")
    assert early["low"] < late["low"] < plain["low"]
    assert (late["p_value"], late["p_greater"]) == (None, None)  # a p-value holds for one reading, also at the end


def test_rates_read_early_are_less_sure_too() -> None:
    customers = CROWD.with_columns(is_clicked=pl.col("is_buyer"))
    plain, early = (
        row(campaign_lift(customers, LiftSpec("C1", look=look)), "clicks") for look in (Look(), Look(1, 0.5))
    )
    assert early["low"] < plain["low"] < plain["high"] < early["high"]


def test_unknown_flags_count_as_no_and_unknown_amounts_as_nothing() -> None:
    unknown = CROWD.with_columns(
        is_buyer=pl.when("is_buyer").then(pl.lit(value=True)), margin=pl.when("is_buyer").then("margin")
    )
    assert campaign_lift(unknown, SPEC).equals(campaign_lift(CROWD, SPEC))


def test_the_order_of_rows_changes_no_figure() -> None:
    big = pl.concat([group("treated", 9_000, 3_000), group("control", 1_000, 320)])
    assert campaign_lift(big.sample(fraction=1, shuffle=True, seed=1), SPEC).equals(campaign_lift(big, SPEC))


def test_a_customer_twice_and_one_without_an_arm_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"^Campaign C1: 1 customers have more than one row\. Sum their orders up first\.$"
    ):
        campaign_lift(pl.concat([CROWD, CROWD.head(1)]), SPEC)
    message = r"^Campaign C1: a customer has no arm\. Say who was left out, and who was not\.$"
    with pytest.raises(ValueError, match=message):
        campaign_lift(CROWD.with_columns(arm=pl.lit(None, dtype=pl.String)), SPEC)
    with pytest.raises(ValueError, match=message):
        campaign_lift(CROWD.drop("arm"), SPEC)


def test_nobody_at_all_is_a_table_without_rows() -> None:
    results = campaign_lift(CROWD.clear(), SPEC)
    assert (results.height, results.schema) == (0, pl.Schema(dict(RESULT_SCHEMA)))


def test_every_column_of_every_table_has_a_meaning() -> None:
    inherited = {"campaign_id", "treated_customers", "control_customers"}
    for table, types in TABLE_TYPES.items():
        assert set(types) - set(COLUMN_NOTES[table]) <= inherited, table
    promised = ["campaign_id", "arm", "metric", "treated_customers", "control_customers", "treated_value",
                "control_value", "effect", "low", "high", "is_experiment"]  # fmt: skip
    assert list(TABLE_TYPES["results/campaign_results"])[: len(promised)] == promised
