"""One sentence and one decision per campaign: repeat, stop, or how many more customers it takes to know.

What belongs here: reading the primary metric's row, in plain words with its numbers. What does not: computing it
(`lift`). Nothing but the metric that was fixed before sending decides.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import polars as pl

from segmentation_assets.measurement.lift import LEAST_BUYERS, TOO_FEW_BUYERS
from segmentation_assets.measurement.power import needed_for_precision

REPEAT, STOP, INCONCLUSIVE = "repeat", "stop", "inconclusive"
CHECK_OUTCOMES = "check the outcomes"
CHECK, NO_CONTROL, ASSOCIATION = "check the assignment", "no control", "association only"
ALIKE, DIFFER = "A/A: alike", "A/A: differ"

DECISION_SCHEMA: Mapping[str, Any] = MappingProxyType(
    {
        "campaign_id": pl.String(), "arm": pl.String(), "metric": pl.String(), "decision": pl.String(),
        "needed_customers": pl.Int64(), "sentence": pl.String(),
    }
)  # fmt: skip

#: Effect sought where neither the data nor the reader names one: a tenth of what the control does.
_USUAL_LIFT = 0.1
_UNITS = {"orders": "orders", "margin": "margin", "revenue": "revenue"}


def decide(results: pl.DataFrame, worthwhile_effect: float | None = None) -> pl.DataFrame:
    """`DECISION_SCHEMA`, one row per campaign and treated arm, from rows of results.campaign_results.

    `worthwhile_effect` (above 0, in the unit of the primary metric: .005 for half a point of buyers) is the least that
    pays for the message; None asks only whether there is an effect. The decision is

    - `repeat`: the interval lies above 0, and does not lie below what is worthwhile;
    - `stop`: it lies at or below 0, or below what is worthwhile;
    - `inconclusive`: neither, with the further customers that show the worthwhile effect, else the observed one, with
      80 % power at 5 %, treated and control in the same proportion;
    - `check the assignment`, `check the outcomes`, `no control`, `association only`, `A/A: alike` and `A/A: differ`
      where there is no lift.

    Raises ValueError when `worthwhile_effect` is not above 0.
    """
    if worthwhile_effect is not None and not worthwhile_effect > 0:
        raise ValueError(f"The smallest worthwhile effect is {worthwhile_effect}; it must be above 0.")
    rows = []
    for row in results.filter(pl.col("is_primary")).iter_rows(named=True):
        decision, needed, sentence = _decided(row, worthwhile_effect)
        rows.append(
            {name: row[name] for name in ("campaign_id", "arm", "metric")}
            | {"decision": decision, "needed_customers": needed, "sentence": sentence}
        )
    return pl.DataFrame(rows, schema=dict(DECISION_SCHEMA), orient="row")


def _decided(row: Mapping[str, Any], worthwhile: float | None) -> tuple[str, int | None, str]:
    method = row["method"]
    if method == "none: no control":
        return NO_CONTROL, None, (
            f"Of {row['treated_customers']:,} customers nobody was left out, so what the message caused cannot be "
            "known: leave a tenth out at random next time."
        )  # fmt: skip
    if method == "none: sample-ratio mismatch":
        return CHECK, None, (
            f"{row['treated_customers']:,} treated and {row['control_customers']:,} left out are not in the planned "
            "proportion, so no lift is read: check how the control group was drawn and whether rows were lost."
        )  # fmt: skip
    if method == "none: outcomes of the treated alone":
        return CHECK_OUTCOMES, None, (
            f"None of {row['control_customers']:,} left out bought anything, which is not believable beside the "
            "treated: count the orders of both groups, not responses to the message."
        )  # fmt: skip
    if method == TOO_FEW_BUYERS:
        return _too_few(row)
    found = _found(row)
    low, high = row["low"], row["high"]
    if not row["is_experiment"]:
        return ASSOCIATION, None, (
            f"{found} This is an association: nobody was left out at random, so the message need not be the cause."
        )  # fmt: skip
    if row["is_aa"]:
        if low <= 0 <= high:
            return ALIKE, None, f"{found} Both groups came out alike, as they must when nobody is written to."
        return DIFFER, None, (
            f"{found} Nobody was written to, yet the groups differ. One trial in twenty does so by chance; if the next "
            "one does too, check how the control group is drawn."
        )  # fmt: skip
    early = " The window has not ended; the interval allows for looking early." if row["is_early_look"] else ""
    if high <= 0:
        return STOP, None, f"{found} Those written to did worse than those left out: stop.{early}"
    if worthwhile is not None and high < worthwhile:
        return STOP, None, (
            f"{found} Even the upper end is less than the {_size(row, worthwhile)} that would pay for it: stop.{early}"
        )  # fmt: skip
    if low > 0:
        return REPEAT, None, f"{found} Chance alone seldom does that: repeat it.{early}"
    return _open(row, found, worthwhile)


def _open(row: Mapping[str, Any], found: str, worthwhile: float | None) -> tuple[str, int | None, str]:
    """Neither shown nor ruled out."""
    customers = row["treated_customers"] + row["control_customers"]
    effect, control = row["effect"], row["control_value"]
    if worthwhile is not None:
        target, named = worthwhile, f"an effect of {_size(row, worthwhile)}, the least that is worthwhile"
    elif effect > 0:
        target, named = effect, f"an effect of {_size(row, effect)}, as observed"
    else:
        target, named = _USUAL_LIFT * control, "a lift of a tenth"
    start = f"{found} That may be chance"
    if row["is_early_look"]:
        start += ", and the window has not ended: wait for its end"
    # The standard error is that of so many customers; with the right number it is small enough for the target.
    total = needed_for_precision(customers, row["standard_error"], target) if target > 0 else None
    if total is None and target > 0 and math.isfinite(row["standard_error"]):
        return INCONCLUSIVE, None, f"{start}. Inconclusive: no list is long enough to show {named}."
    if total is None:
        return INCONCLUSIVE, None, f"{start}. So few bought that the customers it takes cannot be said: inconclusive."
    if total <= customers and worthwhile is None and effect <= 0:
        return INCONCLUSIVE, None, f"{start}. Inconclusive: {named} would likely have shown, so it is smaller, if any."
    if total <= customers and worthwhile is None and row["is_early_look"]:
        return INCONCLUSIVE, None, f"{start}. Inconclusive: by then these customers are enough to show {named}."
    if total <= customers:
        # Enough for the worthwhile effect, and neither it nor 0 is ruled out: tell the nearer of the two apart.
        gap = max(abs(effect), abs(target - effect))
        total = needed_for_precision(customers, row["standard_error"], gap) or customers
        named = "which of no effect and a worthwhile one it is"
    more = max(total - customers, 1)
    return INCONCLUSIVE, more, f"{start}. Inconclusive: needs {more:,} more customers to show {named}."


def _too_few(row: Mapping[str, Any]) -> tuple[str, int | None, str]:
    least = LEAST_BUYERS[row["metric"]]
    return INCONCLUSIVE, None, (
        f"{row['treated_customers']:,} customers were {_reached(row)} and {row['control_customers']:,} left out; "
        f"{row['metric']} per customer is compared from {least} buyers in each group on. Inconclusive: judge a "
        "campaign of this size by buyers."
    )  # fmt: skip


def _found(row: Mapping[str, Any]) -> str:
    """What was measured, in one sentence."""
    treated, control = row["treated_customers"], row["control_customers"]
    if row["metric"] == "buyers":
        return (
            f"{row['treated_value']:.2%} of {treated:,} customers {_reached(row)} bought, and "
            f"{row['control_value']:.2%} of {control:,} left out: {_signed(row, row['effect'])}, "
            f"between {_signed(row, row['low'])} and {_signed(row, row['high'])}."
        )
    unit = _UNITS[row["metric"]]
    return (
        f"{row['treated_value']:,.3f} {unit} per customer of {treated:,} {_reached(row)}, and "
        f"{row['control_value']:,.3f} of {control:,} left out: {_signed(row, row['effect'])}, "
        f"between {_signed(row, row['low'])} and {_signed(row, row['high'])}."
    )


def _reached(row: Mapping[str, Any]) -> str:
    """What was done with the treated: in an A/A trial nobody is written to."""
    return "drawn for a message" if row["is_aa"] else "written to"


def _signed(row: Mapping[str, Any], value: float) -> str:
    # Adding 0 turns -0.0 into 0.0: "-0.00" reads like a loss.
    return f"{round(100 * value, 2) + 0:+.2f} points" if row["metric"] == "buyers" else f"{round(value, 3) + 0:+,.3f}"


def _size(row: Mapping[str, Any], value: float) -> str:
    return f"{100 * value:.2f} points" if row["metric"] == "buyers" else f"{value:,.3f} {_UNITS[row['metric']]}"
