"""From the rows of a campaign's customers to its results and its verdict."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

from segmentation_assets.measurement.measured import (
    MeasuredCampaign,
    measure_campaign,
    note_looks,
    outcomes_of,
    pooled_results,
)
from segmentation_assets.measurement.tables import COLUMN_NOTES, TABLE_TYPES

CAMPAIGN = MeasuredCampaign(
    "summer", "Summer", "sent", dt.datetime(2026, 7, 1, 9), dt.datetime(2026, 7, 15, 9), elapsed_share=1.0,
    is_experiment=True, is_aa=False, primary_metric="buyers", control_share=0.25, hold_out_share=0.0,
    treated_customers=3_000, control_customers=1_000, hold_out_customers=0, sent_customers=3_000,
)  # fmt: skip


def _customers(treated: int = 3_000, control: int = 1_000, rates: tuple[float, float] = (0.2, 0.1)) -> pl.DataFrame:
    """The first of each arm buy; the rest do not."""
    size = treated + control
    is_treated = np.arange(size) < treated
    place = np.where(is_treated, np.arange(size), np.arange(size) - treated)
    buys = place < np.where(is_treated, treated * rates[0], control * rates[1]).round()
    return pl.DataFrame(
        {
            "campaign_id": ["summer"] * size, "customer_id": [f"c{n:06d}" for n in range(size)],
            "arm": np.where(is_treated, "treated", "control"), "variant": np.where(place % 2 == 0, "A", "B"),
            "product_id": ["P1"] * size, "taste_segment_id": np.where(place % 3 == 0, "T1", "T2"),
            "stage_segment_id": ["S1"] * size,
            "taste_segment_id_today": np.where(buys, "T9", "T1"), "recency_before": ["no order before"] * size,
            "is_buyer": buys, "order_count": buys.astype(int), "net_amount": buys * 20.0, "margin_amount": buys * 8.0,
            "lines_without_cost": np.zeros(size, dtype=int), "is_delivered": is_treated, "is_opened": is_treated & buys,
            "is_clicked": is_treated & buys, "is_unsubscribed": np.zeros(size, dtype=bool),
            "is_complained": np.zeros(size, dtype=bool), "is_bounced": np.zeros(size, dtype=bool),
        }
    ).with_columns(variant=pl.when(pl.col("arm") == "treated").then("variant"))  # fmt: skip


def _row(results: pl.DataFrame, metric: str) -> dict[str, Any]:
    return results.filter(metric=metric).row(0, named=True)


def test_a_clear_effect_is_repeated_with_its_figures() -> None:
    found = measure_campaign(_customers(), CAMPAIGN)
    buyers = _row(found.results, "buyers")
    assert (buyers["treated_value"], buyers["control_value"]) == (0.2, 0.1)
    assert buyers["effect"] == pytest.approx(0.1) and 0 < buyers["low"] < 0.1 < buyers["high"]
    assert found.verdict["decision"] == "repeat"
    assert "20.00% of 3,000" in found.verdict["sentence"]
    assert found.verdict["sample_ratio_p_value"] == 1.0


def test_the_tables_have_exactly_the_declared_columns_and_each_is_described() -> None:
    found = measure_campaign(_customers(), CAMPAIGN)
    pooled = pooled_results(found.results, pl.DataFrame())
    assert found.results.columns == list(TABLE_TYPES["results/campaign_results"])
    assert set(found.verdict) == set(TABLE_TYPES["results/campaign_verdicts"])
    assert {*found.segments.columns, "level_name"} == set(TABLE_TYPES["results/segment_results"])
    assert pooled.columns == list(TABLE_TYPES["results/pooled_results"])
    for table, types in TABLE_TYPES.items():
        assert set(types) == set(COLUMN_NOTES[table]) & set(types), table


def test_segments_are_those_of_the_plan_because_an_order_moves_the_customer() -> None:
    # Whoever bought is of the taste T9 today: compared by it, the campaign would seem to do nothing.
    found = measure_campaign(_customers(), CAMPAIGN).segments
    assert {"taste", "stage", "recency_before", "product", "variant", "subject"} == set(found["dimension"])
    assert found.filter(dimension="taste")["level"].to_list() == ["T1", "T2"]
    assert not any("today" in note for note in found["note"])
    unknown = _customers().with_columns(
        taste_segment_id=pl.lit(None, pl.String()), stage_segment_id=pl.lit(None, pl.String())
    )
    dimensions = set(measure_campaign(unknown, CAMPAIGN).segments["dimension"])  # begun before they were kept
    assert dimensions == {"recency_before", "product", "variant", "subject"}


def test_of_a_past_campaign_todays_taste_stands_in_and_says_so() -> None:
    past = _customers().with_columns(
        taste_segment_id=pl.lit(None, pl.String()), stage_segment_id=pl.lit(None, pl.String())
    )
    found = measure_campaign(past, replace(CAMPAIGN, origin="past", primary_metric=None, control_share=None)).segments
    assert "stage" not in set(found["dimension"])
    tastes = found.filter(dimension="taste")
    assert tastes["level"].to_list() == ["T1", "T9"]
    assert all(note.endswith("Tastes are those of today, not of the campaign's day: orders since may have moved buyers "
                             "to another.") for note in tastes["note"])  # fmt: skip


def test_levels_under_the_settings_minimum_are_shown_together() -> None:
    found = measure_campaign(_customers(), CAMPAIGN, minimum_cell=1_400).segments
    assert found.filter(dimension="taste")["level"].to_list() == ["T2", "(other)"]


def test_a_campaign_that_has_not_begun_has_no_result_and_says_when_it_begins() -> None:
    found = measure_campaign(_customers(), replace(CAMPAIGN, elapsed_share=0.0))
    assert found.results.is_empty() and found.verdict["decision"] == "not started"
    assert found.verdict["sentence"] == "Begins on 2026-07-01, after the last day of the data: nothing to read yet."


def test_a_running_window_is_an_early_look_with_a_wider_interval() -> None:
    early = measure_campaign(_customers(), replace(CAMPAIGN, elapsed_share=0.5, early_looks=2))
    row, ended = _row(early.results, "buyers"), _row(measure_campaign(_customers(), CAMPAIGN).results, "buyers")
    assert row["is_early_look"] and row["low"] < ended["low"] and "Early look 2" in row["note"]
    assert early.verdict["is_early_look"] and early.verdict["early_looks"] == 2


def test_groups_out_of_proportion_show_no_lift() -> None:
    found = measure_campaign(_customers(3_000, 700), replace(CAMPAIGN, control_customers=700))
    assert found.verdict["decision"] == "check the assignment"
    assert found.verdict["sample_ratio_p_value"] < 0.001
    assert _row(found.results, "buyers")["effect"] is None
    assert found.segments.is_empty()


def test_who_is_left_out_of_all_campaigns_is_no_part_of_the_sample_ratio() -> None:
    held = _customers(0, 900).with_columns(arm=pl.lit("hold_out"), customer_id=pl.lit("h") + pl.col("customer_id"))
    found = measure_campaign(pl.concat([_customers(), held]), replace(CAMPAIGN, hold_out_customers=900))
    assert found.verdict["sample_ratio_p_value"] == 1.0
    assert found.verdict["decision"] == "repeat"


def test_without_a_control_nothing_is_compared_and_nothing_is_called_lift() -> None:
    lone = replace(CAMPAIGN, is_experiment=False, control_customers=0, control_share=None)
    found = measure_campaign(_customers(3_000, 0), lone)
    row = _row(found.results, "buyers")
    assert (row["effect"], row["is_experiment"], found.verdict["decision"]) == (None, False, "no control")
    assert pooled_results(found.results, pl.DataFrame()).is_empty()


def test_a_past_campaign_leaves_out_what_its_source_does_not_record() -> None:
    past = _customers().with_columns(is_delivered=pl.lit(None, pl.Boolean()), is_bounced=pl.lit(None, pl.Boolean()))
    found = measure_campaign(past, replace(CAMPAIGN, origin="past", primary_metric=None, control_share=None))
    assert set(found.results["metric"]) == {"buyers", "orders", "margin", "revenue", "opens", "clicks", "click_to_open",
                                            "unsubscribes", "complaints"}  # fmt: skip
    clicks = _row(found.results, "clicks")
    assert clicks["treated_customers"] == 3_000
    assert clicks["note"] == "Clicks. Of 3,000 treated. As the source counts them: robots are not told apart."
    assert _row(found.results, "buyers")["note"] == "The metric was chosen after the campaign."


def test_a_source_without_orders_has_rates_and_says_that_nobody_knows_who_bought() -> None:
    found = measure_campaign(_customers(), CAMPAIGN, has_orders=False)
    assert "buyers" not in set(found.results["metric"]) and "clicks" in set(found.results["metric"])
    assert (found.verdict["decision"], found.verdict["sentence"]) == (
        "no result", "The source has no orders, so what anybody bought in the window is not known."
    )  # fmt: skip


def test_margin_without_costs_is_left_out_and_partly_known_costs_are_counted() -> None:
    unknown = _customers().with_columns(margin_amount=pl.lit(None, pl.Float64()))
    assert "margin" not in outcomes_of(unknown, has_orders=True).columns
    found = measure_campaign(unknown, replace(CAMPAIGN, primary_metric="margin"))
    assert found.verdict["sentence"].startswith("The metric margin is not known of these customers")
    some = measure_campaign(_customers().with_columns(lines_without_cost=pl.lit(2)), CAMPAIGN)
    assert "8,000 lines in the window have no known cost and add no margin." in _row(some.results, "margin")["note"]


def test_messages_that_never_left_are_told_and_their_customers_still_count() -> None:
    found = measure_campaign(_customers(), replace(CAMPAIGN, sent_customers=2_000))
    assert found.verdict["sentence"].endswith("A message left to 2,000 of 3,000 treated; all of them count.")
    assert _row(found.results, "buyers")["treated_customers"] == 3_000


def test_a_campaign_of_which_no_message_left_caused_nothing_and_is_not_pooled() -> None:
    found = measure_campaign(_customers(), replace(CAMPAIGN, sent_customers=0))
    assert found.results.is_empty() and found.segments.is_empty()
    assert (found.verdict["decision"], found.verdict["sentence"]) == (
        "no result", "No message left to any of the 3,000 treated, so none caused anything."
    )  # fmt: skip
    trial = measure_campaign(_customers(), replace(CAMPAIGN, sent_customers=0, is_aa=True))
    assert trial.verdict["decision"] == "A/A: differ"


def test_a_campaign_of_controls_only_has_a_verdict_too() -> None:
    found = measure_campaign(_customers(0, 1_000), replace(CAMPAIGN, treated_customers=0, is_experiment=False))
    assert found.results.is_empty()
    assert found.verdict["sentence"] == "Nobody was assigned to be written to; 1,000 were left out."


def test_scopes_are_pooled_apart_only_where_there_are_both() -> None:
    sent = measure_campaign(_customers(), CAMPAIGN).results
    past = measure_campaign(_customers(), replace(CAMPAIGN, campaign_id="K1", origin="past")).results
    assert set(pooled_results(sent, pl.DataFrame())["scope"]) == {"all"}
    both = pooled_results(pl.concat([sent, past]), pl.DataFrame())
    assert set(both["scope"]) == {"all", "sent", "past"}
    assert both.filter(scope="all", metric="buyers", method="fixed")["campaigns"].item() == 2


def test_the_hold_out_is_everybody_beside_those_left_out_of_all() -> None:
    sent = measure_campaign(_customers(), CAMPAIGN).results
    shop = _customers().select("customer_id", "arm", "is_buyer", "order_count", "net_amount", "margin_amount")
    held = shop.with_columns(arm=pl.col("arm").replace({"control": "hold_out"}))
    row = pooled_results(sent, held).filter(method="hold_out", metric="buyers").row(0, named=True)
    assert (row["treated_customers"], row["control_customers"], row["campaigns"]) == (3_000, 1_000, 1)
    assert row["effect"] == pytest.approx(0.1) and row["low"] < 0.1 < row["high"]
    assert row["note"].startswith("The period grows with every campaign")
    # Nobody knows who bought in a source without orders: that is no effect of 0.
    assert pooled_results(sent.clear(), held, has_orders=False).is_empty()


def _held_out(share: float | None, drawn_at: tuple[float | None, int] | None = None) -> pl.DataFrame:
    """3,000 drawn for campaigns beside 1,000 held out, planned at `share`; so many of them drawn at another one."""
    rows = _customers().select("customer_id", "arm", "is_buyer", "order_count", "net_amount", "margin_amount")
    rows = rows.with_columns(
        arm=pl.col("arm").replace({"control": "hold_out"}), hold_out_share=pl.lit(share, pl.Float64())
    )
    if drawn_at is None:
        return rows
    others = rows.head(drawn_at[1]).with_columns(
        customer_id=pl.lit("x") + pl.col("customer_id"), hold_out_share=pl.lit(drawn_at[0], pl.Float64())
    )
    return pl.concat([rows, others])


def _hold_out_row(hold_out: pl.DataFrame) -> dict[str, Any]:
    sent = measure_campaign(_customers(), CAMPAIGN).results
    return pooled_results(sent, hold_out).filter(method="hold_out", metric="buyers").row(0, named=True)


def test_a_hold_out_of_the_wrong_size_shows_no_effect_and_says_so() -> None:
    assert _hold_out_row(_held_out(0.25))["effect"] == pytest.approx(0.1)
    wrong = _hold_out_row(_held_out(0.2))
    assert (wrong["effect"], wrong["low"], wrong["high"]) == (None, None, None)
    assert wrong["control_value"] == pytest.approx(0.1)
    assert wrong["note"].startswith("Customers per group: 1,000 control (800 expected), 3,000 treated (3,200 expected)")
    assert "so no lift is read. Check the assignment." in wrong["note"]
    assert _hold_out_row(_held_out(None))["effect"] == pytest.approx(0.1)  # nobody kept the share: no check


def test_customers_drawn_at_another_share_are_left_aside_and_counted() -> None:
    # 1,200 came in while .05 was held out, all of them treated here: together the arms would differ by when they came.
    row = _hold_out_row(_held_out(0.25, (0.05, 1_200)))
    assert (row["treated_customers"], row["control_customers"]) == (3_000, 1_000)
    assert row["effect"] == pytest.approx(0.1)
    assert (
        "The share held out was changed: 1,200 customers who were drawn at another one are left aside." in row["note"]
    )
    assert _hold_out_row(_held_out(0.25, (None, 10)))["treated_customers"] == 3_000


def test_reading_again_with_the_same_data_is_the_same_look() -> None:
    first = note_looks({}, ["summer"], dt.date(2026, 7, 5))
    assert note_looks(first, ["summer"], dt.date(2026, 7, 5)) == first == {"summer": ["2026-07-05"]}
    second = note_looks(first, ["summer", "autumn"], dt.date(2026, 7, 6))
    assert second == {"summer": ["2026-07-05", "2026-07-06"], "autumn": ["2026-07-06"]}
    assert note_looks(second, [], dt.date(2026, 8, 1)) == second
