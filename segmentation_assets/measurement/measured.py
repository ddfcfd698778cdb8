"""Campaigns as the warehouse holds them, measured: from results.campaign_customers to the tables of results.

What belongs here: which columns of which campaign can be compared, and the verdict where there is nothing to compare.
What does not: how an effect is estimated (`lift`), broken down (`breakdown`), pooled (`pooled`), judged (`decision`).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import polars as pl

from segmentation_assets.measurement.breakdown import LEAST_CUSTOMERS, SEGMENT_SCHEMA, breakdown
from segmentation_assets.measurement.decision import decide
from segmentation_assets.measurement.lift import (
    RESULT_SCHEMA,
    LiftSpec,
    PrimaryMetric,
    assignment_check,
    campaign_lift,
    hold_out_lift,
)
from segmentation_assets.measurement.looks import Look
from segmentation_assets.measurement.pooled import POOLED_SCHEMA, pool_campaigns

SENT, PAST = "sent", "past"
NOT_STARTED, NO_RESULT = "not started", "no result"
#: Segments are those of the plan: an order in the window moves a customer to another one, so that today's would tell
#: buyers apart from others, not kinds of customers. Of past campaigns the plan is not known, and today's taste, which
#: moves least, stands in with a note.
DIMENSIONS = ("taste", "stage", "recency_before", "product", "variant")

#: Columns of results.campaign_customers by the name that `lift` knows them under.
_RENAMED = {
    "order_count": "orders", "margin_amount": "margin", "net_amount": "revenue", "taste_segment_id": "taste",
    "stage_segment_id": "stage", "product_id": "product",
}  # fmt: skip
_KEPT = (
    "customer_id", "arm", "variant", "is_buyer", "order_count", "net_amount", "margin_amount", "is_delivered",
    "is_opened", "is_clicked", "is_unsubscribed", "is_complained", "is_bounced", "taste_segment_id",
    "stage_segment_id", "recency_before", "product_id",
)  # fmt: skip
_GROWING = " The period grows with every campaign: the interval holds for one reading, on a day chosen beforehand."
_TODAYS = " Tastes are those of today, not of the campaign's day: orders since may have moved buyers to another."
_OUTCOMES = ("is_buyer", "orders", "margin", "revenue")


@dataclass(frozen=True)
class MeasuredCampaign:
    """A row of results.measured_campaigns, with how often its result was read before the window had ended."""

    campaign_id: str
    name: str | None
    origin: str
    started_at: dt.datetime
    window_ends_at: dt.datetime
    elapsed_share: float
    is_experiment: bool
    is_aa: bool
    primary_metric: str | None
    control_share: float | None
    hold_out_share: float | None
    treated_customers: int
    control_customers: int
    hold_out_customers: int
    sent_customers: int
    early_looks: int = 0

    def spec(self, primary_metric: str) -> LiftSpec:
        """How it is measured; `primary_metric` is the setting's, for campaigns that declared none."""
        return LiftSpec(
            self.campaign_id,
            primary_metric=cast("PrimaryMetric", self.primary_metric or primary_metric),
            is_experiment=self.is_experiment,
            is_aa=self.is_aa,
            control_share=self.control_share,
            is_counted_alike=True,  # results.campaign_customers counts orders of both
            look=Look(max(self.early_looks, int(self.is_running)), self.elapsed_share),
        )

    @property
    def is_running(self) -> bool:
        """Whether its window has begun and not ended."""
        return 0 < self.elapsed_share < 1


@dataclass(frozen=True)
class CampaignMeasure:
    """Rows of results.campaign_results and results.segment_results, and the one of results.campaign_verdicts."""

    results: pl.DataFrame
    segments: pl.DataFrame
    verdict: Mapping[str, Any]


def outcomes_of(customers: pl.DataFrame, *, has_orders: bool) -> pl.DataFrame:
    """Rows of results.campaign_customers as `lift` takes them.

    What the source does not record for the campaign (all null) is left out, and so are all outcomes of a source
    without orders: nobody bought there as far as anybody knows, which is not the same as nobody bought.
    """
    known = [name for name in _KEPT if name in customers.columns and customers[name].null_count() < customers.height]
    kept = customers.select(known).rename({name: new for name, new in _RENAMED.items() if name in known})
    return kept if has_orders else kept.drop([name for name in _OUTCOMES if name in kept.columns])


def measure_campaign(
    customers: pl.DataFrame,
    campaign: MeasuredCampaign,
    *,
    primary_metric: str = "buyers",
    has_orders: bool = True,
    minimum_cell: int = LEAST_CUSTOMERS,
) -> CampaignMeasure:
    """One campaign's rows; `customers` are its rows of results.campaign_customers.

    Segments, products and subjects with fewer customers than `minimum_cell` are shown together.
    """
    empty = pl.DataFrame(schema=dict(RESULT_SCHEMA)), pl.DataFrame(schema=dict(SEGMENT_SCHEMA))
    metric = campaign.primary_metric or primary_metric
    if campaign.elapsed_share <= 0:
        sentence = f"Begins on {campaign.started_at:%Y-%m-%d}, after the last day of the data: nothing to read yet."
        return CampaignMeasure(*empty, _verdict(campaign, metric, NOT_STARTED, sentence))
    if customers.is_empty():
        return CampaignMeasure(*empty, _verdict(campaign, metric, NO_RESULT, "No customer is recorded for it."))
    if campaign.origin == SENT and not campaign.is_aa and campaign.sent_customers == 0 < campaign.treated_customers:
        # Whatever differs then was not caused by a message; pooled, it would only hide what others cause.
        sentence = f"No message left to any of the {campaign.treated_customers:,} treated, so none caused anything."
        return CampaignMeasure(*empty, _verdict(campaign, metric, NO_RESULT, sentence))
    is_past = campaign.origin == PAST
    if is_past:
        customers = customers.with_columns(taste_segment_id="taste_segment_id_today")
    spec, known = campaign.spec(primary_metric), outcomes_of(customers, has_orders=has_orders)
    results = _as_told(campaign_lift(known, spec), campaign, customers)
    segments = breakdown(known, spec, DIMENSIONS, minimum_cell).with_columns(
        note=pl.when((pl.col("dimension") == "taste") & pl.lit(is_past))
        .then(pl.concat_str(pl.col("note"), pl.lit(_TODAYS)))
        .otherwise("note")
    )
    decided = decide(results).to_dicts()
    ratio = assignment_check(known, spec) if spec.is_experiment and spec.control_share is not None else None
    if decided:
        row = decided[0]
        verdict = _verdict(
            campaign, row["metric"], row["decision"], row["sentence"], needed=row["needed_customers"], arm=row["arm"]
        )
    else:
        verdict = _verdict(campaign, metric, NO_RESULT, _why_none(campaign, metric, has_orders=has_orders))
    return CampaignMeasure(
        results, segments, {**verdict, "sample_ratio_p_value": round(ratio.p_value, 9) if ratio else None}
    )


def pooled_results(
    results: pl.DataFrame, hold_out: pl.DataFrame, primary_metric: str = "buyers", *, has_orders: bool = True
) -> pl.DataFrame:
    """Rows of results.pooled_results: campaigns together by scope, and the hold-out where there is one.

    `results` has the rows of results.campaign_results; `hold_out` those of results.hold_out_customers, or none.
    """
    origins = sorted(results["origin"].unique().to_list())
    scopes = [("all", results)]
    if len(origins) > 1:
        scopes += [(str(origin), results.filter(pl.col("origin") == origin)) for origin in origins]
    parts = [pool_campaigns(rows).with_columns(scope=pl.lit(scope)) for scope, rows in scopes]
    if hold_out.height and has_orders:
        compared, share, told = _one_share(hold_out)
        spec = LiftSpec(
            "hold-out", primary_metric=cast("PrimaryMetric", primary_metric), control_share=share, is_counted_alike=True
        )
        found = hold_out_lift(outcomes_of(compared, has_orders=True), spec)
        campaigns = results.filter(pl.col("origin") == SENT)["campaign_id"].n_unique()
        parts.append(
            found.select(
                "metric", "treated_customers", "control_customers", "effect", "low", "high", "control_value",
                "relative_effect", "note",
            ).with_columns(
                scope=pl.lit(SENT), method=pl.lit("hold_out"), campaigns=pl.lit(campaigns, dtype=pl.Int64()),
                note=pl.concat_str(pl.col("note"), pl.lit(told + _GROWING)).str.strip_chars(),
            )
        )  # fmt: skip
    schema = {"scope": pl.String(), **POOLED_SCHEMA}
    found = pl.concat([pl.DataFrame(schema=schema), *parts], how="diagonal")
    return found.select(list(schema)).sort("scope", "metric", "method")


def _one_share(hold_out: pl.DataFrame) -> tuple[pl.DataFrame, float | None, str]:
    """Those who were drawn at one share, the one most were drawn at; that share, and what to know about the others.

    Where the setting was changed, those who came in earlier were held out at another share and counted for longer: all
    together, the arms would differ by when people came in.
    """
    if "hold_out_share" not in hold_out.columns:
        return hold_out, None, ""
    sizes = hold_out.group_by("hold_out_share").len().sort("len", "hold_out_share", descending=True, nulls_last=True)
    share = sizes["hold_out_share"][0]
    kept = hold_out.filter(pl.col("hold_out_share").eq_missing(pl.lit(share, dtype=pl.Float64())))
    if kept.height == hold_out.height:
        return kept, share, ""
    words = f" The share held out was changed: {hold_out.height - kept.height:,} customers who were drawn at another "
    return kept, share, words + "one are left aside."


def note_looks(kept: Mapping[str, Sequence[str]], running: Iterable[str], as_of: dt.date) -> dict[str, list[str]]:
    """Days on which each campaign was read before its window ended, `as_of` added for those that are `running`.

    Reading again with the same data is the same look.
    """
    looks = {campaign_id: sorted(set(days)) for campaign_id, days in kept.items()}
    for campaign_id in running:
        looks[campaign_id] = sorted({*looks.get(campaign_id, ()), as_of.isoformat()})
    return looks


def _as_told(results: pl.DataFrame, campaign: MeasuredCampaign, customers: pl.DataFrame) -> pl.DataFrame:
    """The rows with name and origin, and with what is particular to this campaign's data in their notes."""
    note = pl.col("note")
    if campaign.origin == PAST:
        is_told = pl.col("metric").is_in(["clicks", "click_to_open"])
        note = pl.when(is_told).then(
            pl.concat_str(note.str.replace("Human clicks.", "Clicks.", literal=True),
                          pl.lit(" As the source counts them: robots are not told apart."))
        ).otherwise(note)  # fmt: skip
        note = (
            pl.when(pl.col("is_primary"))
            .then(pl.concat_str(note, pl.lit(" The metric was chosen after the campaign.")))
            .otherwise(note)
        )
    lines = int(customers["lines_without_cost"].sum()) if "lines_without_cost" in customers.columns else 0
    if lines:
        words = f" {lines:,} lines in the window have no known cost and add no margin."
        note = pl.when(pl.col("metric") == "margin").then(pl.concat_str(note, pl.lit(words))).otherwise(note)
    return results.with_columns(
        note=note.str.strip_chars(), name=pl.lit(campaign.name, dtype=pl.String()), origin=pl.lit(campaign.origin)
    )


def _why_none(campaign: MeasuredCampaign, metric: str, *, has_orders: bool) -> str:
    if not has_orders:
        return "The source has no orders, so what anybody bought in the window is not known."
    if campaign.treated_customers == 0:
        return f"Nobody was assigned to be written to; {campaign.control_customers:,} were left out."
    return f"The metric {metric} is not known of these customers; for margin, products need a unit_cost."


def _verdict(
    campaign: MeasuredCampaign,
    metric: str,
    decision: str,
    sentence: str,
    *,
    needed: int | None = None,
    arm: str = "treated",
) -> dict[str, Any]:
    if not campaign.is_aa and campaign.origin == SENT and 0 < campaign.sent_customers < campaign.treated_customers:
        sent, treated = campaign.sent_customers, campaign.treated_customers
        sentence += f" A message left to {sent:,} of {treated:,} treated; all of them count."
    own = (
        "campaign_id", "name", "origin", "is_experiment", "is_aa", "elapsed_share", "treated_customers",
        "control_customers", "hold_out_customers", "sent_customers", "started_at", "window_ends_at",
    )  # fmt: skip
    return {name: getattr(campaign, name) for name in own} | {
        "arm": arm, "metric": metric, "decision": decision, "sentence": sentence, "needed_customers": needed,
        "is_early_look": campaign.is_running, "early_looks": max(campaign.early_looks, int(campaign.is_running)),
        "sample_ratio_p_value": None,
    }  # fmt: skip
