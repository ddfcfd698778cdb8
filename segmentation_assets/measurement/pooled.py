"""Several campaigns together: the small shop's only hope of seeing an effect.

What belongs here: pooling effects that were each measured by a random control group of their own. What does not: one
campaign's effect, and the global hold-out (`lift.hold_out_lift`).

Two questions, two answers. The fixed effect is the mean effect of these campaigns, weighted by what each can tell; it
holds also when they differ (Rice, Higgins and Lumley 2018, JRSS A 181:205). The random effects' mean is what to expect
of campaigns like them, with an interval that knows they differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike
from scipy.stats import chi2, norm, t

POOLED_SCHEMA: Mapping[str, Any] = MappingProxyType(
    {
        "metric": pl.String(), "method": pl.String(), "campaigns": pl.Int64(), "treated_customers": pl.Int64(),
        "control_customers": pl.Int64(), "effect": pl.Float64(), "low": pl.Float64(), "high": pl.Float64(),
        "control_value": pl.Float64(), "relative_effect": pl.Float64(), "heterogeneity_share": pl.Float64(),
        "between_deviation": pl.Float64(), "heterogeneity_p_value": pl.Float64(), "note": pl.String(),
    }
)  # fmt: skip


#: Pooling again after each campaign and stopping where it looks good is wrong more often than one time in twenty.
_READ_ANEW = (
    " It is read anew with every campaign: the interval holds for one reading, after a number chosen beforehand."
)


@dataclass(frozen=True)
class Pooled:
    """Fixed and random-effects means of the same effects. Numbers, or arrays over simulations."""

    campaigns: int
    fixed_effect: Any
    fixed_low: Any
    fixed_high: Any
    random_effect: Any
    random_low: Any
    random_high: Any
    heterogeneity_share: Any
    between_deviation: Any
    heterogeneity_p_value: Any


def pooled_effect(
    effects: ArrayLike, errors: ArrayLike, confidence: float = 0.95, *, own_errors: ArrayLike | None = None
) -> Pooled:
    """Inverse-variance fixed effect and DerSimonian-Laird random effects of (..., campaigns) effects and errors.

    `errors` make the weights and must not depend on the effect: for rates, those of both groups' rate together.
    `own_errors`, of each group's own rate, are then the truth about the fixed effect's interval; as weights they would
    favour campaigns whose control happened to buy little, and find lifts that are not there. `errors` when None.

    The random effects' interval is Hartung and Knapp's (2001, Statistics in Medicine 20:3875) with t of campaigns - 1
    degrees of freedom, never made shorter than DerSimonian and Laird's (1986, Controlled Clinical Trials 7:177)
    standard error with the same t. `heterogeneity_share` is I^2 (Higgins and Thompson 2002). A single campaign has no
    random-effects interval: the bounds are infinite.

    Raises ValueError without campaigns or with an error that is not above 0.
    """
    effect, error = np.asarray(effects, dtype=np.float64), np.asarray(errors, dtype=np.float64)
    count = effect.shape[-1] if effect.ndim else 0
    if count == 0 or not (error > 0).all() or not np.isfinite(effect).all():
        raise ValueError("Pooling needs at least one campaign, each with a finite effect and a standard error above 0.")
    z = float(norm.isf((1 - confidence) / 2))
    weight = 1 / error**2
    total = weight.sum(axis=-1)
    fixed = (weight * effect).sum(axis=-1) / total
    own = error if own_errors is None else np.asarray(own_errors, dtype=np.float64)
    fixed_half = z * np.sqrt((weight**2 * own**2).sum(axis=-1)) / total
    q = (weight * (effect - fixed[..., None]) ** 2).sum(axis=-1)
    freedom = count - 1
    scale = total - (weight**2).sum(axis=-1) / total
    tau2 = np.maximum(0.0, (q - freedom) / scale) if freedom else np.zeros_like(q)
    share = np.maximum(0.0, 1 - freedom / np.maximum(q, 1e-300)) if freedom else np.zeros_like(q)
    between = 1 / (error**2 + tau2[..., None])
    sums = between.sum(axis=-1)
    mean = (between * effect).sum(axis=-1) / sums
    if freedom:
        spread = (between * (effect - mean[..., None]) ** 2).sum(axis=-1) / freedom
        half = float(t.isf((1 - confidence) / 2, freedom)) * np.sqrt(np.maximum(spread, 1.0) / sums)
        p_value = chi2.sf(q, freedom)
    else:
        half, p_value = np.full_like(mean, np.inf), np.ones_like(mean)
    return Pooled(
        count, fixed, fixed - fixed_half, fixed + fixed_half, mean, mean - half, mean + half, share, np.sqrt(tau2),
        p_value,
    )  # fmt: skip


def pool_campaigns(results: pl.DataFrame, confidence: float = 0.95) -> pl.DataFrame:
    """The pooled effect per metric (`POOLED_SCHEMA`, rows `fixed` and `random`) of rows of results.campaign_results.

    Only experiments with an effect count: no association, no A/A trial, no early look. A campaign with several arms
    counts by its first, in order of name, because arms share a control. A customer may be in several campaigns; each
    has drawn its own control, so their errors are taken as independent.
    """
    usable = results.filter(
        pl.col("is_experiment") & ~pl.col("is_aa") & ~pl.col("is_early_look") & (pl.col("standard_error") > 0)
    )
    usable = usable.sort("campaign_id", "arm").unique(["campaign_id", "metric"], keep="first", maintain_order=True)
    variance = pl.lit(0.0)
    for side in ("treated", "control"):
        # Half a buyer and half a non-buyer more: nobody buying is no certainty.
        rate = (pl.col(f"{side}_value") * pl.col(f"{side}_customers") + 0.5) / (pl.col(f"{side}_customers") + 1)
        variance = variance + rate * (1 - rate) / pl.col(f"{side}_customers")
    usable = usable.with_columns(
        pl.when(pl.col("metric") == "buyers").then(variance.sqrt()).otherwise("standard_error").alias("own_error")
    )
    rows: list[dict[str, Any]] = []
    for (metric,), group in sorted(usable.group_by("metric", maintain_order=True), key=lambda pair: str(pair[0])):
        own = group["own_error"].to_numpy()
        pooled = pooled_effect(
            group["effect"].to_numpy(), group["standard_error"].to_numpy(), confidence, own_errors=own
        )
        weight = 1 / group["standard_error"].to_numpy() ** 2
        control_value = float((weight * group["control_value"].to_numpy()).sum() / weight.sum())
        shared = {
            "metric": str(metric), "campaigns": group.height, "treated_customers": group["treated_customers"].sum(),
            "control_customers": group["control_customers"].sum(), "control_value": control_value,
            "heterogeneity_share": float(pooled.heterogeneity_share),
            "between_deviation": float(pooled.between_deviation),
            "heterogeneity_p_value": float(pooled.heterogeneity_p_value),
        }  # fmt: skip
        for method, effect, low, high in (
            ("fixed", pooled.fixed_effect, pooled.fixed_low, pooled.fixed_high),
            ("random", pooled.random_effect, pooled.random_low, pooled.random_high),
        ):
            bounds = {"low": float(low), "high": float(high)} if np.isfinite(low) else {"low": None, "high": None}
            rows.append(
                shared | bounds | {
                    "method": method, "effect": float(effect), "note": _note(method, group.height),
                    "relative_effect": float(effect) / control_value if control_value > 0 else None,
                }
            )  # fmt: skip
    return pl.DataFrame(rows, schema=dict(POOLED_SCHEMA), orient="row").with_columns(pl.col(pl.Float64).round(9))


def _note(method: str, campaigns: int) -> str:
    if method == "fixed" and campaigns == 1:
        return "One campaign only: this is its own effect."
    if method == "fixed":
        return f"Mean effect of these {campaigns} campaigns; holds also when they differ.{_READ_ANEW}"
    if campaigns == 1:
        return "One campaign says nothing about how campaigns differ, so there is no interval."
    few = f" With {campaigns} campaigns the interval is wide." if campaigns < 5 else ""
    return f"What to expect of campaigns like these (Hartung-Knapp).{few}{_READ_ANEW}"
