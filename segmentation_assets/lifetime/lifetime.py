"""Expected purchases and money of each customer over a horizon, judged on held-out time beside the rule to beat.

What belongs here: the way from purchases to the two tables, gates first, the holdout, then a re-fit on everything.
The models are `bg_nbd` and `gamma_gamma`. A purchase is a day with one: two orders of one day count once, and
expected orders are expected purchase days. Purchases come from one clock: days up to `as_of`, nothing later.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import polars as pl
from scipy.stats import rankdata

from segmentation_assets.lifetime import bg_nbd, gamma_gamma
from segmentation_assets.lifetime.bg_nbd import BgNbd, active_probability, expected_purchases, fit_bg_nbd
from segmentation_assets.lifetime.gamma_gamma import GammaGamma, expected_amount_per_purchase, fit_gamma_gamma
from segmentation_assets.lifetime.gates import Gate, fit_gate, mean_gate, purchase_gate, spend_gate
from segmentation_assets.lifetime.purchases import (
    DAYS_PER_WEEK,
    Floats,
    group_history,
    purchase_days,
    purchase_history,
    purchases_between,
)
from segmentation_assets.segmentation.kmeans import one_thread

HORIZON_DAYS = 90
#: The holdout is the last third of the window, within these, and never longer than the calibration before it.
LEAST_HOLDOUT_DAYS = 12 * 7
MOST_HOLDOUT_DAYS = 39 * 7

BOTH_MODELS, ORDERS_ONLY, NO_MODEL = "BG/NBD and Gamma-Gamma", "BG/NBD", "none"
NO_PURCHASE = "No purchase day is known of this customer."

CUSTOMER_SCHEMA: dict[str, type[pl.DataType]] = {
    "customer_id": pl.String,
    "horizon_days": pl.Int64,
    "expected_orders": pl.Float64,
    "expected_amount": pl.Float64,
    "active_probability": pl.Float64,
    "heuristic_orders": pl.Float64,
    "heuristic_amount": pl.Float64,
    "method": pl.String,
    "reason": pl.String,
}
MODEL_SCHEMA: dict[str, type[pl.DataType]] = {"parameter": pl.String, "value": pl.Float64, "text": pl.String}
_DIGITS = 6


@dataclass(frozen=True)
class Fitted:
    """What could be fitted on a history, None for what could not, and the gate that said so."""

    orders: BgNbd | None
    spend: GammaGamma | None
    orders_gate: Gate
    spend_gate: Gate


@dataclass(frozen=True)
class Holdout:
    """Predictions of a calibration up to `cutoff` for the `days` after it, beside what came and beside the rule.

    Purchases are those of the customers known at the cut-off, in all; errors are mean absolute errors per customer
    (which favour 0 where most do not come), squared errors the roots of mean squares (which an expectation is made
    for); rank correlations are Spearman's (None when one side never varies). Amounts are None without a spend model.
    """

    cutoff: date
    days: int
    customers: int
    fitted: Fitted
    actual: float
    predicted: float
    heuristic: float
    error: float
    heuristic_error: float
    squared_error: float
    heuristic_squared_error: float
    rank_correlation: float | None
    heuristic_rank_correlation: float | None
    actual_amount: float
    predicted_amount: float | None
    heuristic_amount: float
    amount_error: float | None
    heuristic_amount_error: float

    def verdict(self) -> str:
        """The comparison in a sentence that says who is nearer."""
        words = [
            f"Of {self.customers:,} customers held out for {self.days:,} days the model expected "
            f"{self.predicted:,.1f} purchases and {self.actual:,.0f} came; the same count as before would be "
            f"{self.heuristic:,.0f}.",
            f"Mean error per customer: model {self.error:.4f}, same count {self.heuristic_error:.4f}: "
            + _winner(self.heuristic_error - self.error, "is nearer"),
            f"Root mean squared error: model {self.squared_error:.4f}, same count {self.heuristic_squared_error:.4f}: "
            + _winner(self.heuristic_squared_error - self.squared_error, "is nearer"),
        ]
        if self.rank_correlation is not None and self.heuristic_rank_correlation is not None:
            words.append(
                f"Rank correlation: model {self.rank_correlation:.3f}, same count "
                f"{self.heuristic_rank_correlation:.3f}: "
                + _winner(self.rank_correlation - self.heuristic_rank_correlation, "orders customers better")
            )
        return " ".join(words)


def _winner(lead: float, does: str) -> str:
    if lead == 0:
        return "a tie."
    return f"the model {does}." if lead > 0 else f"the same count as before {does}."


@dataclass(frozen=True)
class Lifetime:
    """Both tables, and whether there are estimates with the sentence that says why (or why not)."""

    customers: pl.DataFrame
    model: pl.DataFrame
    is_on: bool
    reason: str


def estimate_lifetime(
    purchases: pl.DataFrame, customer_ids: pl.Series, as_of: date, horizon_days: int = HORIZON_DAYS
) -> Lifetime:
    """Expected orders and money of every customer in the `horizon_days` days after `as_of`.

    `purchases`: customer_id, ordered_on, net_amount, any number of rows per day, as of `purchases.purchase_days`;
    `customer_ids` (n,): who gets a row. Returns CUSTOMER_SCHEMA by customer_id and MODEL_SCHEMA. Where a gate is
    closed the estimates are null with the reason. `heuristic_orders` is the same count of repeat purchases as in the
    horizon's length before (in proportion where the history is shorter), `heuristic_amount` their money.
    """
    if horizon_days < 1:
        raise ValueError(f"horizon_days is {horizon_days}; give at least one day.")
    days = purchase_days(purchases).filter(pl.col("ordered_on") <= as_of)
    first = days["ordered_on"].min()
    window = (as_of - first).days if isinstance(first, date) else 0
    history = purchase_history(days, as_of, horizon_days)
    fitted = _fit(history, window)
    estimates = _estimates(history, fitted, window, horizon_days)
    rows: list[tuple[str, float | None, str | None]] = [
        ("buyers", history.height, "Customers with a known purchase day."),
        ("repeat_buyers", int((history["x"] > 0).sum()), "Those who bought again on another day."),
        ("window_days", window, "Days from the first purchase to the as-of date."),
        ("horizon_days", horizon_days, "Days the estimates look ahead."),
        *_model_rows(history, fitted),
    ]
    holdout, why_not = None, fitted.orders_gate.reason
    if fitted.orders is not None:
        cutoff = holdout_cutoff(window, as_of)
        if cutoff is None:
            why_not = (
                f"No holdout: {window:,} days of history (needed: {2 * LEAST_HOLDOUT_DAYS}, half to fit on and half "
                "to judge by), so nobody has checked these estimates."
            )
        else:
            holdout, gate = judge_holdout(days, cutoff, as_of)
            why_not = f"No holdout, the calibration up to {cutoff} failed: {gate.reason}"
    rows += _holdout_rows(holdout, why_not)
    model = pl.DataFrame(
        [(name, None if value is None else round(float(value), _DIGITS), text) for name, value, text in rows],
        schema=MODEL_SCHEMA,
        orient="row",
    )
    is_on = fitted.orders is not None
    reason = fitted.orders_gate.reason if fitted.spend is not None or not is_on else fitted.spend_gate.reason
    return Lifetime(_customer_rows(customer_ids, estimates, fitted, horizon_days), model, is_on, reason)


def holdout_cutoff(window_days: int, as_of: date) -> date | None:
    """Last day of the calibration, or None when the window is too short to hold anything out."""
    held = min(max(window_days // 3, LEAST_HOLDOUT_DAYS), MOST_HOLDOUT_DAYS)
    return as_of - timedelta(days=held) if window_days >= 2 * held else None


def judge_holdout(days: pl.DataFrame, cutoff: date, end: date) -> tuple[Holdout | None, Gate]:
    """Fit on what was known on the evening of `cutoff` and compare with the days after it, up to `end`.

    `days` as of `purchases.purchase_days`. Customers first seen after the cut-off are not judged. None with the
    closed gate when the calibration cannot be fitted.
    """
    length = (end - cutoff).days
    known = days.filter(pl.col("ordered_on") <= cutoff)
    first = known["ordered_on"].min()
    window = (cutoff - first).days if isinstance(first, date) else 0
    history = purchase_history(known, cutoff, length)
    fitted = _fit(history, window)
    if fitted.orders is None:
        return None, fitted.orders_gate
    came = history.select("customer_id").join(
        purchases_between(days, cutoff, end), on="customer_id", how="left", maintain_order="left"
    )
    purchases, amount = (came[name].fill_null(0).to_numpy().astype(np.float64) for name in ("purchases", "amount"))
    guess = _estimates(history, fitted, window, length)
    expected, before = guess["expected_orders"].to_numpy(), guess["heuristic_orders"].to_numpy()
    money, before_money = guess["expected_amount"].to_numpy(), guess["heuristic_amount"].to_numpy()
    has_money = fitted.spend is not None
    judged = Holdout(
        cutoff=cutoff,
        days=length,
        customers=history.height,
        fitted=fitted,
        actual=float(purchases.sum()),
        predicted=float(expected.sum()),
        heuristic=float(before.sum()),
        error=float(np.abs(expected - purchases).mean()),
        heuristic_error=float(np.abs(before - purchases).mean()),
        squared_error=float(np.sqrt(((expected - purchases) ** 2).mean())),
        heuristic_squared_error=float(np.sqrt(((before - purchases) ** 2).mean())),
        rank_correlation=_rank_correlation(expected, purchases),
        heuristic_rank_correlation=_rank_correlation(before, purchases),
        actual_amount=float(amount.sum()),
        predicted_amount=float(money.sum()) if has_money else None,
        heuristic_amount=float(before_money.sum()),
        amount_error=float(np.abs(money - amount).mean()) if has_money else None,
        heuristic_amount_error=float(np.abs(before_money - amount).mean()),
    )
    return judged, fitted.orders_gate


def _valued(history: pl.DataFrame) -> pl.DataFrame:
    """Repeat buyers a spend model can be fitted on."""
    return history.filter((pl.col("valued") > 0) & (pl.col("repeat_amount") > 0))


def _fit(history: pl.DataFrame, window_days: int) -> Fitted:
    repeat_buyers = int((history["x"] > 0).sum())
    gate = purchase_gate(history.height, repeat_buyers, window_days)
    if not gate.is_open:
        return Fitted(None, None, gate, gate)
    orders = fit_bg_nbd(group_history(history))
    fit = fit_gate("BG/NBD", orders.parameters, bg_nbd.LIMITS, orders.log_likelihood, orders.is_converged)
    if not fit.is_open:
        return Fitted(None, None, fit, fit)
    valued = _valued(history)
    money = spend_gate(repeat_buyers, valued.height)
    if not money.is_open:
        return Fitted(orders, None, gate, money)
    spend = fit_gamma_gamma(valued["valued"].to_numpy(), valued["repeat_amount"].to_numpy())
    money = fit_gate("Gamma-Gamma", spend.parameters, _spend_limits(spend), spend.log_likelihood, spend.is_converged)
    if money.is_open:
        money = mean_gate(spend.q)
    return Fitted(orders, spend if money.is_open else None, gate, money)


def _spend_limits(spend: GammaGamma) -> tuple[tuple[float, float], ...]:
    low, high = gamma_gamma.LIMITS[2]
    return (*gamma_gamma.LIMITS[:2], (low * spend.mean_amount, high * spend.mean_amount))


def _estimates(history: pl.DataFrame, fitted: Fitted, window_days: int, horizon_days: int) -> pl.DataFrame:
    """The figures of CUSTOMER_SCHEMA for the customers of `history`, unrounded; NaN where there is no estimate."""
    x, t_x, age = (history[name].to_numpy().astype(np.float64) for name in ("x", "t_x_days", "age_days"))
    t_x, age = t_x / DAYS_PER_WEEK, age / DAYS_PER_WEEK
    nothing = np.full(history.height, np.nan)
    orders = active = amount = nothing
    if fitted.orders is not None:
        orders = expected_purchases(fitted.orders, x, t_x, age, horizon_days / DAYS_PER_WEEK)
        active = active_probability(fitted.orders, x, t_x, age)
        if fitted.spend is not None:
            # Money below 0 (more given back than paid) is outside the model: such customers get the mean of all.
            is_valued = (history["valued"] > 0) & (history["repeat_amount"] > 0)
            counted = history.select(
                pl.when(is_valued).then(pl.col(name)).otherwise(0).cast(pl.Float64)
                for name in ("valued", "repeat_amount")
            )
            amount = orders * expected_amount_per_purchase(
                fitted.spend, counted["valued"].to_numpy(), counted["repeat_amount"].to_numpy()
            )
    # A history shorter than the horizon is scaled up to it; both its first and its last day were observed.
    scale = horizon_days / min(horizon_days, window_days + 1)
    return pl.DataFrame(
        {
            "customer_id": history["customer_id"],
            "expected_orders": orders,
            "expected_amount": amount,
            "active_probability": active,
            "heuristic_orders": history["recent_count"].to_numpy() * scale,
            "heuristic_amount": history["recent_amount"].to_numpy() * scale,
        }
    )


def _customer_rows(customer_ids: pl.Series, estimates: pl.DataFrame, fitted: Fitted, horizon_days: int) -> pl.DataFrame:
    figures = [name for name in estimates.columns if name != "customer_id"]
    method, reason = BOTH_MODELS, None
    if fitted.orders is None:
        method, reason = NO_MODEL, fitted.orders_gate.reason
    elif fitted.spend is None:
        method, reason = ORDERS_ONLY, fitted.spend_gate.reason
    is_known = pl.col("_is_known").fill_null(False)
    return (
        customer_ids.alias("customer_id")
        .cast(pl.String)
        .to_frame()
        .join(estimates.with_columns(_is_known=pl.lit(True)), on="customer_id", how="left")
        .with_columns(pl.col(figures).round(_DIGITS).fill_nan(None))
        .with_columns(
            horizon_days=pl.lit(horizon_days, dtype=pl.Int64),
            method=pl.when(is_known).then(pl.lit(method)).otherwise(pl.lit(NO_MODEL)),
            reason=pl.when(is_known).then(pl.lit(reason, dtype=pl.String)).otherwise(pl.lit(NO_PURCHASE)),
        )
        .select(*CUSTOMER_SCHEMA)
        .sort("customer_id")
    )


def _model_rows(history: pl.DataFrame, fitted: Fitted) -> list[tuple[str, float | None, str | None]]:
    orders, spend = fitted.orders, fitted.spend
    of_orders = dict.fromkeys(bg_nbd.NAMES) if orders is None else orders.parameters
    of_spend = dict.fromkeys(gamma_gamma.NAMES) if spend is None else spend.parameters
    about = {
        "r": "BG/NBD: shape of the purchase rates over customers.",
        "alpha": "BG/NBD: scale of the purchase rates, weeks.",
        "a": "BG/NBD: stopping, first parameter of the beta distribution.",
        "b": "BG/NBD: stopping, second parameter of the beta distribution.",
        "p": "Gamma-Gamma: shape of a customer's purchases.",
        "q": "Gamma-Gamma: shape of the scales over customers.",
        "v": "Gamma-Gamma: scale of the scales, in the source's currency.",
    }
    valued = _valued(history)
    amounts = None
    if valued.height:
        amounts = _rank_correlation(
            valued["x"].to_numpy().astype(np.float64),
            valued["repeat_amount"].to_numpy() / valued["valued"].to_numpy(),
        )
    return [
        ("orders_gate", float(fitted.orders_gate.is_open), fitted.orders_gate.reason),
        *((name, value, about[name]) for name, value in of_orders.items()),
        ("log_likelihood", None if orders is None else orders.log_likelihood, "BG/NBD, of all customers."),
        ("spend_gate", float(fitted.spend_gate.is_open), fitted.spend_gate.reason),
        *((name, value, about[name]) for name, value in of_spend.items()),
        ("spend_log_likelihood", None if spend is None else spend.log_likelihood, "Gamma-Gamma, of repeat buyers."),
        ("spend_customers", valued.height, "Repeat buyers whose repeat purchases have money above 0."),
        (
            "count_amount_rank_correlation",
            amounts,
            "How many repeat purchases with how large they are, over repeat buyers; Gamma-Gamma takes it to be 0.",
        ),
    ]


def _holdout_rows(holdout: Holdout | None, why_not: str) -> list[tuple[str, float | None, str | None]]:
    if holdout is None:
        return [("holdout_gate", 0.0, why_not)]
    orders, spend = holdout.fitted.orders, holdout.fitted.spend
    calibration = {**(orders.parameters if orders else {}), **(spend.parameters if spend else {})}
    return [
        ("holdout_gate", 1.0, holdout.verdict()),
        ("holdout_days", holdout.days, f"Days held out: those after {holdout.cutoff}."),
        ("holdout_customers", holdout.customers, "Customers known at the cut-off."),
        *((f"calibration_{name}", value, "As fitted up to the cut-off.") for name, value in calibration.items()),
        (
            "calibration_log_likelihood",
            orders.log_likelihood if orders else None,
            "BG/NBD, of the customers known at the cut-off.",
        ),
        ("holdout_purchases_actual", holdout.actual, "Purchase days in the holdout."),
        ("holdout_purchases_model", holdout.predicted, "The same as the model expected them."),
        ("holdout_purchases_heuristic", holdout.heuristic, "The same as a repeat of the count before the cut-off."),
        ("holdout_error_model", holdout.error, "Mean absolute error of the model, purchases per customer."),
        ("holdout_error_heuristic", holdout.heuristic_error, "Mean absolute error of the same count as before."),
        ("holdout_squared_error_model", holdout.squared_error, "Root mean squared error of the model."),
        (
            "holdout_squared_error_heuristic",
            holdout.heuristic_squared_error,
            "Root mean squared error of the same count as before.",
        ),
        ("holdout_rank_correlation_model", holdout.rank_correlation, "Spearman's, of expected and actual purchases."),
        (
            "holdout_rank_correlation_heuristic",
            holdout.heuristic_rank_correlation,
            "Spearman's, of the same count as before and actual purchases.",
        ),
        ("holdout_amount_actual", holdout.actual_amount, "Money in the holdout, the source's currency."),
        ("holdout_amount_model", holdout.predicted_amount, "The same as the models expected it."),
        ("holdout_amount_heuristic", holdout.heuristic_amount, "The same as a repeat of the money before."),
        ("holdout_amount_error_model", holdout.amount_error, "Mean absolute error of the models, money per customer."),
        (
            "holdout_amount_error_heuristic",
            holdout.heuristic_amount_error,
            "Mean absolute error of the same money as before.",
        ),
    ]


def _rank_correlation(left: Floats, right: Floats) -> float | None:
    # Twice a mean rank is a whole number, so equal values stay equal; floats that agree to nine digits are ties.
    ranks = [rankdata(np.round(side, 9)) for side in (left, right)]
    centred = [rank - rank.mean() for rank in ranks]
    with one_thread():
        spread = np.sqrt((centred[0] ** 2).sum() * (centred[1] ** 2).sum())
    return float((centred[0] * centred[1]).sum() / spread) if spread > 0 else None
