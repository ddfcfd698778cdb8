"""When to cluster anew, and when to refresh before a campaign: decisions on numbers, without Dagster or a database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

#: A request that failed is made again this many times at most.
MOST_ATTEMPTS = 3


@dataclass(frozen=True)
class Attempt:
    """An earlier request for the same growth: its run and how it ended (`ok`, `failed` or `in flight`)."""

    run_id: str
    outcome: str


@dataclass(frozen=True)
class Decision:
    """Request a run (`attempt` counts from 1) or skip, with the numbers either way."""

    is_requested: bool
    reason: str
    attempt: int = 0


def decide_recluster(
    customers_now: int | None,
    customers_at_fit: int | None,
    threshold: float,
    attempts: Sequence[Attempt] = (),
    *,
    drift: str = "",
) -> Decision:
    """Whether growth since the last fit, or drift, calls for a new search for k.

    `attempts` are the requests already made for this fit, oldest first. `threshold` is a share of the customers at
    the fit; growth that reaches it requests. `drift`: why today's customers are unlike those of the fit, where that
    is a reason too; empty otherwise.
    """
    if customers_now is None:
        return Decision(False, "No customers are materialised yet.")
    if not customers_at_fit:
        return Decision(False, f"No model is fitted yet ({customers_now:,} customers): run full_refresh or recluster.")
    growth = customers_now / customers_at_fit - 1
    numbers = (
        f"{customers_now:,} customers against {customers_at_fit:,} at the last fit ({growth:+.1%}); "
        f"the threshold is {threshold:+.1%}"
    )
    if growth < threshold and not drift:
        return Decision(False, f"{numbers}: no re-clustering.")
    if growth < threshold:
        numbers += f". {drift.rstrip('.')}"
    running = [attempt for attempt in attempts if attempt.outcome == "in flight"]
    if running:
        return Decision(False, f"{numbers}: run {running[-1].run_id} is already on it.")
    done = [attempt for attempt in attempts if attempt.outcome == "ok"]
    if done:
        return Decision(False, f"{numbers}: run {done[-1].run_id} re-clustered, and the fit is not newer; look at it.")
    if len(attempts) >= MOST_ATTEMPTS:
        return Decision(
            False,
            f"{numbers}: {len(attempts)} requests failed, the last in run {attempts[-1].run_id}. Mend its cause, "
            "then launch recluster by hand.",
        )
    return Decision(True, f"{numbers}: re-clustering, attempt {len(attempts) + 1}.", len(attempts) + 1)


def campaigns_to_prepare(starts: Sequence[tuple[str, date]], today: date, lead_days: int) -> list[tuple[str, date]]:
    """Campaigns (id, first day) that start within `lead_days` from `today`, by day and id."""
    due = [(name, start) for name, start in starts if today <= start <= today + timedelta(days=lead_days)]
    return sorted(due, key=lambda campaign: (campaign[1], campaign[0]))
