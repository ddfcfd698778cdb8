"""What a campaign caused: every metric of the treated beside those left out, by intention to treat.

What belongs here: the metrics, and which of them can be compared. What does not: formulas of intervals (`intervals`),
the decision (`decision`), segments and products (`breakdown`), several campaigns together (`pooled`).

By intention to treat: whoever was assigned to be written to is treated, also where the message bounced or never left.
Anything else would compare people who can be reached with people of whom nobody knows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

import polars as pl

from segmentation_assets.measurement.intervals import (
    AmountSums,
    Estimate,
    difference_of_means,
    difference_of_proportions,
    wilson,
)
from segmentation_assets.measurement.looks import Look
from segmentation_assets.measurement.sample_ratio import SampleRatio, sample_ratio

PrimaryMetric: TypeAlias = Literal["buyers", "orders", "margin", "revenue"]

CONTROL, HOLD_OUT = "control", "hold_out"
#: The method where a group has fewer buyers than `LEAST_BUYERS`.
TOO_FEW_BUYERS = "none: too few buyers"
#: Buyers a group needs before an interval of a mean is shown; measured in benchmarks/measurement.py.
LEAST_BUYERS: Mapping[str, int] = MappingProxyType({"orders": 20, "margin": 300, "revenue": 300})

#: Buyers expected among those left out, at the rate of the treated, from which on not a single one is not believed.
_LEAST_EXPECTED = 5.0

#: Columns of `customers`; all but `arm` may be missing, and what needs them is then left out. Nulls count as no and 0.
CUSTOMER_COLUMNS: Mapping[str, str] = MappingProxyType(
    {
        "customer_id": "One row per customer.",
        "arm": "control, hold_out (not of this campaign's comparison), or the name of a treated arm.",
        "variant": "Subject arm, A or B; null for those left out.",
        "is_buyer": "Bought in the window.",
        "orders": "Orders in the window.",
        "margin": "Margin in the window.",
        "revenue": "Revenue in the window.",
        "is_delivered": "The message arrived, as far as anybody reported.",
        "is_opened": "A human open, as far as that can be told.",
        "is_clicked": "A human click.",
        "is_unsubscribed": "Refused further messages.",
        "is_complained": "Reported it as spam.",
        "is_bounced": "It came back.",
        "taste": "Taste segment before the campaign.",
        "stage": "Stage segment before the campaign.",
        "product": "Product the message led with, or would have for those left out.",
    }
)

#: Metric, its flag, the flag it is a share of (None: everybody treated), and what to know about it.
_RATES = (
    ("delivered", "is_delivered", None, ""),
    ("opens", "is_opened", "is_delivered",
     "Unreliable: mail programs open messages by themselves and block pictures. Never an objective."),
    ("clicks", "is_clicked", "is_delivered", "Human clicks."),
    ("click_to_open", "is_clicked", "is_opened", "Unreliable, because opens are. Clicks of those who opened."),
    ("unsubscribes", "is_unsubscribed", "is_delivered", ""),
    ("complaints", "is_complained", "is_delivered", ""),
    ("bounces", "is_bounced", None, ""),
)  # fmt: skip

RESULT_SCHEMA: Mapping[str, Any] = MappingProxyType(
    {
        "campaign_id": pl.String(), "arm": pl.String(), "metric": pl.String(), "treated_customers": pl.Int64(),
        "control_customers": pl.Int64(), "treated_value": pl.Float64(), "control_value": pl.Float64(),
        "effect": pl.Float64(), "low": pl.Float64(), "high": pl.Float64(), "is_experiment": pl.Boolean(),
        "relative_effect": pl.Float64(), "relative_low": pl.Float64(), "relative_high": pl.Float64(),
        "standard_error": pl.Float64(), "p_value": pl.Float64(), "p_greater": pl.Float64(), "method": pl.String(),
        "is_primary": pl.Boolean(), "is_aa": pl.Boolean(), "is_early_look": pl.Boolean(), "note": pl.String(),
    }
)  # fmt: skip


@dataclass(frozen=True)
class LiftSpec:
    """How a campaign is measured; all of it fixed before sending but for `look`.

    `is_experiment`: those left out were drawn at random. `control_share`: their planned share of treated and control,
    for the sample-ratio check; None leaves it out. `is_aa`: nobody was written to. `is_counted_alike`: the outcomes
    were counted from the same records for both groups, so no buyer among those left out is an answer, not a fault.
    """

    campaign_id: str
    primary_metric: PrimaryMetric = "buyers"
    is_experiment: bool = True
    is_aa: bool = False
    control_share: float | None = None
    confidence: float = 0.95
    is_counted_alike: bool = False
    look: Look = field(default_factory=Look)


def campaign_lift(customers: pl.DataFrame, spec: LiftSpec) -> pl.DataFrame:
    """Rows of results.campaign_results (`RESULT_SCHEMA`), one per treated arm and metric.

    `customers` has one row per customer of the campaign (`CUSTOMER_COLUMNS`). Buyers, orders, margin and revenue are
    compared with the control; effect, bounds and p-values are null where that cannot be read, and `note` says why.
    Rates that only the treated can have carry Wilson's interval in `low` and `high` and no effect;
    `treated_customers` is then what they are a share of.

    Raises ValueError for a missing or null arm, and for a customer with two rows.
    """
    customers = checked(customers, spec.campaign_id)
    compared = customers.filter(pl.col("arm") != HOLD_OUT)
    control = compared.filter(pl.col("arm") == CONTROL)
    treated_arms = sorted(arm for arm in compared["arm"].unique().to_list() if arm != CONTROL)
    ratio = assignment_check(compared, spec)
    rows: list[dict[str, Any]] = []
    for arm in treated_arms:
        treated = compared.filter(pl.col("arm") == arm)
        notes = _notes(spec, ratio, control, len(treated_arms))
        for metric in effect_metrics(compared):
            rows.append(_compared(metric, arm, treated, control, spec=spec, notes=notes, is_alarm=ratio.is_alarm))
        if not spec.is_aa:
            rows.extend(_rates(arm, treated, spec))
    frame = pl.DataFrame(rows, schema=dict(RESULT_SCHEMA), orient="row")
    return frame.with_columns(pl.col(pl.Float64).round(9))


def hold_out_lift(customers: pl.DataFrame, spec: LiftSpec) -> pl.DataFrame:
    """What all campaigns together earned: everybody who may be written to beside the global hold-out.

    `customers` has one row per customer of the shop with arm `hold_out` or anything else (written to or not: by
    intention to treat), and the outcomes of the whole period. Returns rows like `campaign_lift`.
    """
    customers = checked(customers, spec.campaign_id)
    is_out = pl.col("arm") == HOLD_OUT
    outcomes = [name for name in ("customer_id", "arm", *_OUTCOMES.values()) if name in customers.columns]
    return campaign_lift(
        customers.select(outcomes).with_columns(
            pl.when(is_out).then(pl.lit(CONTROL)).otherwise(pl.lit("treated")).alias("arm")
        ),
        spec,
    )


def assignment_check(customers: pl.DataFrame, spec: LiftSpec) -> SampleRatio:
    """The sample-ratio check of treated and control; without a planned share, or a control, there is none."""
    control = int((customers["arm"] == CONTROL).sum())
    treated = int((~customers["arm"].is_in([CONTROL, HOLD_OUT])).sum())
    if not spec.is_experiment or spec.control_share is None or not 0 < spec.control_share < 1:
        return sample_ratio({"treated": treated}, {"treated": 1.0})
    return sample_ratio(
        {"treated": treated, CONTROL: control}, {"treated": 1 - spec.control_share, CONTROL: spec.control_share}
    )


_OUTCOMES: Mapping[str, str] = MappingProxyType(
    {"buyers": "is_buyer", "orders": "orders", "margin": "margin", "revenue": "revenue"}
)


def effect_metrics(customers: pl.DataFrame) -> list[str]:
    """Metrics that both the treated and those left out can have, as far as their columns are there."""
    return [metric for metric, column in _OUTCOMES.items() if column in customers.columns]


def estimate_of(metric: str, treated: pl.DataFrame, control: pl.DataFrame, z: float) -> Estimate:
    """The difference of one metric between two groups of at least one customer each."""
    one, zero = treated[_OUTCOMES[metric]], control[_OUTCOMES[metric]]
    if metric == "buyers":
        return difference_of_proportions(int(one.sum()), one.len(), int(zero.sum()), zero.len(), z=z)
    return difference_of_means(
        AmountSums.of(one.to_numpy(), one.len()), AmountSums.of(zero.to_numpy(), zero.len()), z=z
    )


def is_one_sided(treated: pl.Series, control: pl.Series) -> bool:
    """Whether those left out have no outcome at all where five and more were to be expected at the treated's rate.

    Conversions that are credited to a message exist for the treated alone, and make any campaign look like a triumph.
    """
    acted, idle = ((values.cast(pl.Float64) != 0).sum() for values in (treated, control))
    return idle == 0 and control.len() * acted >= _LEAST_EXPECTED * treated.len()


def checked(customers: pl.DataFrame, campaign_id: str) -> pl.DataFrame:
    """`customers` without nulls in flags and amounts; what is wrong with it is a ValueError."""
    if "arm" not in customers.columns or customers["arm"].null_count():
        raise ValueError(f"Campaign {campaign_id}: a customer has no arm. Say who was left out, and who was not.")
    if "customer_id" in customers.columns and customers["customer_id"].is_duplicated().any():
        twice = customers.filter(pl.col("customer_id").is_duplicated())["customer_id"].n_unique()
        raise ValueError(
            f"Campaign {campaign_id}: {twice} customers have more than one row. Sum their orders up first."
        )
    flags = [name for name in customers.columns if name.startswith("is_")]
    amounts = [name for name in ("orders", "margin", "revenue") if name in customers.columns]
    return customers.with_columns(
        *(pl.col(name).cast(pl.Boolean).fill_null(value=False) for name in flags),
        *(pl.col(name).cast(pl.Float64).fill_null(0.0) for name in amounts),
    )


def _notes(spec: LiftSpec, ratio: SampleRatio, control: pl.DataFrame, arms: int) -> list[str]:
    """What holds for every compared metric of the campaign."""
    notes = []
    if control.is_empty():
        notes.append("Nobody was left out, so what the campaign caused cannot be known.")
    elif not spec.is_experiment:
        notes.append("Association only: nobody was left out at random, and those written to may differ in other ways.")
    if spec.is_aa:
        notes.append("A/A trial: nobody was written to, so both groups must come out alike.")
    if ratio.is_alarm:
        notes.append(ratio.sentence)
    if "is_delivered" in control.columns and (reached := int(control["is_delivered"].sum())):
        notes.append(f"{reached:,} of those left out got the message all the same; they stay in the control group.")
    if arms > 1:
        notes.append(f"One of {arms} arms beside the same control; each interval holds by itself, not all together.")
    if spec.look.label:
        notes.append(spec.look.label)
    return notes


def _compared(
    metric: str,
    arm: str,
    treated: pl.DataFrame,
    control: pl.DataFrame,
    *,
    spec: LiftSpec,
    notes: list[str],
    is_alarm: bool,
) -> dict[str, Any]:
    column = _OUTCOMES[metric]
    row: dict[str, Any] = _base(arm, metric, spec) | {
        "treated_customers": treated.height,
        "control_customers": control.height,
        "treated_value": float(treated[column].cast(pl.Float64).sum()) / treated.height,
        "is_primary": metric == spec.primary_metric,
        "note": " ".join(notes),
    }
    if control.is_empty():
        return row | {"method": "none: no control"}
    estimate = estimate_of(metric, treated, control, spec.look.z(spec.confidence))
    row |= {"treated_value": estimate.treated_value, "control_value": estimate.control_value}
    if is_alarm:
        return row | {"method": "none: sample-ratio mismatch"}
    if not spec.is_counted_alike and is_one_sided(treated[column], control[column]):
        unbelievable = (
            f"None of {control.height:,} left out bought anything: count the orders of both groups, not responses to "
            "the message, which those left out cannot give."
        )
        return row | {"method": "none: outcomes of the treated alone", "note": " ".join([*notes, unbelievable])}
    fewest, group = min(
        (int((frame[column].cast(pl.Float64) != 0).sum()), name)
        for frame, name in ((control, "control"), (treated, "treated"))
    )
    least = LEAST_BUYERS.get(metric, 0)
    if fewest < least:
        short = (
            f"No interval: {fewest:,} {'buyer' if fewest == 1 else 'buyers'} in the {group} group, and under {least} "
            f"the interval of a mean of {metric} can miss the truth too often."
        )
        # Without an interval the difference is noise that reads like a finding.
        return row | {"method": TOO_FEW_BUYERS, "note": " ".join([*notes, short])}
    return row | {
        name: getattr(estimate, name)
        for name in ("effect", "low", "high", "relative_effect", "relative_low", "relative_high", "standard_error",
                     "p_value", "p_greater", "method")
    } | ({"p_value": None, "p_greater": None} if spec.look.label else {})  # fmt: skip


def _rates(arm: str, treated: pl.DataFrame, spec: LiftSpec) -> list[dict[str, Any]]:
    rows = []
    for metric, flag, base, remark in _RATES:
        if flag not in treated.columns or (base == "is_opened" and base not in treated.columns):
            continue
        is_narrowed = base is not None and base in treated.columns
        of = treated.filter(pl.col(base)) if base is not None and is_narrowed else treated
        share_of = ("opened" if base == "is_opened" else "delivered") if is_narrowed else "treated"
        row = _base(arm, metric, spec) | {
            "treated_customers": of.height,
            "note": " ".join(part for part in (remark, f"Of {of.height:,} {share_of}.", spec.look.label) if part),
            "method": "Wilson score interval of the treated's rate",
        }
        if of.height:
            count = int(of[flag].sum())
            low, high = wilson(count, of.height, spec.look.z(spec.confidence))
            row |= {"treated_value": count / of.height, "low": float(low), "high": float(high)}
        rows.append(row)
    return rows


def _base(arm: str, metric: str, spec: LiftSpec) -> dict[str, Any]:
    return dict.fromkeys(RESULT_SCHEMA) | {
        "campaign_id": spec.campaign_id,
        "arm": arm,
        "metric": metric,
        "is_experiment": spec.is_experiment,
        "is_primary": False,
        "is_aa": spec.is_aa,
        "is_early_look": spec.look.is_early,
        "note": "",
    }
