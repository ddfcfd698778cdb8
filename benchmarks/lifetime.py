#!/usr/bin/env python
"""Lifetime models: reference figures beside ours, a million drawn customers timed, and a finished HOME judged.

`python benchmarks/lifetime.py [--data FOLDER] [--customers 1000000] [--home HOME]` prints three tables: BG/NBD and
Gamma-Gamma on the CDNOW sample of FOLDER beside the published parameters, with the holdout beside the same count as
before; seconds and recovered parameters on customers drawn from planted ones; and, with a HOME, its
value.lifetime_model. Nothing is written. Measure on a quiet machine: CPU seconds stand beside wall seconds.
"""

from __future__ import annotations

import argparse
import time
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from segmentation_assets.lifetime.bg_nbd import fit_bg_nbd
from segmentation_assets.lifetime.gamma_gamma import fit_gamma_gamma
from segmentation_assets.lifetime.lifetime import estimate_lifetime, judge_holdout
from segmentation_assets.lifetime.purchases import group_history, purchase_days, purchase_history
from segmentation_assets.warehouse.connection import connect

AS_OF = date(2026, 6, 30)
DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
CDNOW = "cdnow_sample.txt"
CALIBRATION_END, HOLDOUT_END = date(1997, 9, 30), date(1998, 6, 30)
#: Parameters as Fader, Hardie, Lee (2005) and Fader, Hardie (2013) give them; the likelihood and the holdout figures
#: are another reckoning of the same sample.
REFERENCE = {
    "r": 0.2426, "alpha": 4.4136, "a": 0.7929, "b": 2.4259, "log_likelihood": -9582.43,
    "p": 6.250, "q": 3.744, "v": 15.444, "holdout_purchases": 1653.4, "mean_error": 0.7855,
    "mean_error_heuristic": 0.8973, "rank_correlation": 0.449, "rank_correlation_heuristic": 0.488,
}  # fmt: skip
#: Parameters customers are drawn from: weeks, and money of no currency.
PLANTED = {"r": 0.6, "alpha": 9.0, "a": 0.7, "b": 3.0, "p": 5.0, "q": 4.0, "v": 20.0}


def read_cdnow(path: Path) -> pl.DataFrame:
    """The sample as customer_id, ordered_on, net_amount: one row per purchase, fields parted by blanks."""
    fields = [line.split() for line in path.read_text(encoding="ascii").splitlines() if line.strip()]
    return pl.DataFrame(
        {
            "customer_id": [row[0] for row in fields],
            "ordered_on": [datetime.strptime(row[2], "%Y%m%d").date() for row in fields],
            "net_amount": [float(row[4]) for row in fields],
        }
    )


def draw_purchases(
    customers: int, seed: int, *, weeks: int = 104, planted: dict[str, float] | None = None
) -> pl.DataFrame:
    """Purchases of `customers` who do exactly what BG/NBD and Gamma-Gamma assume, up to AS_OF.

    Columns customer_id, ordered_on, net_amount. First purchases are spread evenly over the first half of `weeks`.
    """
    truth = {**PLANTED, **(planted or {})}
    rng = np.random.default_rng(np.random.SeedSequence([seed, customers]))
    rate = rng.gamma(truth["r"], 1 / truth["alpha"], customers)
    stops = rng.beta(truth["a"], truth["b"], customers)
    scale = rng.gamma(truth["q"], 1 / truth["v"], customers)
    who, when = np.arange(customers), rng.integers(0, weeks * 7 // 2, customers).astype(float)
    all_who, all_when = [who], [when]
    while len(who):
        # A rate may underflow to 0: that customer's next purchase is beyond any window.
        with np.errstate(divide="ignore"):
            when = when + 7 * rng.exponential(1.0, len(who)) / rate[who]
        inside = when < weeks * 7
        who, when = who[inside], when[inside]
        all_who.append(who)
        all_when.append(when)
        stays = rng.random(len(who)) >= stops[who]
        who, when = who[stays], when[stays]
    who, day = np.concatenate(all_who), np.concatenate(all_when).astype(np.int64)
    first = AS_OF - timedelta(days=weeks * 7 - 1)
    return pl.DataFrame(
        {
            "customer_id": np.char.add("c", who.astype(str)),
            "ordered_on": np.datetime64(first) + day,
            "net_amount": np.round(rng.gamma(truth["p"], 1.0, len(who)) / scale[who], 2),
        }
    )


def cdnow_figures(purchases: pl.DataFrame) -> dict[str, float]:
    """The figures of REFERENCE as this project gets them."""
    holdout, gate = judge_holdout(purchase_days(purchases), CALIBRATION_END, HOLDOUT_END)
    if holdout is None or holdout.fitted.orders is None or holdout.fitted.spend is None:
        raise SystemExit(gate.reason)
    return {
        **holdout.fitted.orders.parameters,
        "log_likelihood": holdout.fitted.orders.log_likelihood,
        **holdout.fitted.spend.parameters,
        "holdout_purchases": holdout.predicted,
        "mean_error": holdout.error,
        "mean_error_heuristic": holdout.heuristic_error,
        "rank_correlation": holdout.rank_correlation or 0.0,
        "rank_correlation_heuristic": holdout.heuristic_rank_correlation or 0.0,
    }


def _timed(label: str, since: tuple[float, float]) -> tuple[float, float]:
    now = time.perf_counter(), time.process_time()
    print(f"| {label} | {now[0] - since[0]:.2f} | {now[1] - since[1]:.2f} |")
    return time.perf_counter(), time.process_time()


def _print_drawn(customers: int) -> None:
    print(f"\n{customers:,} customers drawn from planted parameters\n\n| step | wall, s | CPU, s |\n|---|--:|--:|")
    since = time.perf_counter(), time.process_time()
    purchases = draw_purchases(customers, 1)
    since = _timed(f"draw {purchases.height:,} purchases (not part of the work)", since)
    history = purchase_history(purchase_days(purchases), AS_OF, 90)
    since = _timed("one row per customer", since)
    groups = group_history(history)
    orders = fit_bg_nbd(groups)
    since = _timed(f"BG/NBD on {len(groups.x):,} groups", since)
    valued = history.filter((pl.col("valued") > 0) & (pl.col("repeat_amount") > 0))
    spend = fit_gamma_gamma(valued["valued"].to_numpy(), valued["repeat_amount"].to_numpy())
    since = _timed(f"Gamma-Gamma on {valued.height:,} repeat buyers", since)
    ids = pl.Series("customer_id", [f"c{number}" for number in range(customers)])
    since = time.perf_counter(), time.process_time()
    found = estimate_lifetime(purchases, ids, AS_OF)
    _timed("all of it: history, both fits twice, holdout, everyone's estimate", since)
    print("\n| parameter | planted | fitted |\n|---|--:|--:|")
    for name, value in {**orders.parameters, **spend.parameters}.items():
        print(f"| {name} | {PLANTED[name]:.3f} | {value:.3f} |")
    print("\n" + dict(found.model.select("parameter", "text").iter_rows())["holdout_gate"])


def main() -> None:
    """Print the tables asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, default=DATA, help="folder with cdnow_sample.txt")
    parser.add_argument("--customers", type=int, default=1_000_000, help="customers to draw; 0 for none")
    parser.add_argument("--home", type=Path, help="HOME of a finished run")
    given = parser.parse_args()
    if (given.data / CDNOW).exists():
        figures = cdnow_figures(read_cdnow(given.data / CDNOW))
        print("CDNOW, calibration to 1997-09-30, 39 weeks held out\n\n| figure | reference | here |\n|---|--:|--:|")
        for name, value in figures.items():
            print(f"| {name} | {REFERENCE[name]} | {value:.4f} |")
    else:
        print(f"CDNOW: {given.data / CDNOW} is not there.")
    if given.customers:
        _print_drawn(given.customers)
    if given.home:
        print("\n| parameter | value | what it is |\n|---|--:|---|")
        with connect(given.home / "warehouse.duckdb", read_only=True) as con:
            for name, value, text in con.execute("from value.lifetime_model").fetchall():
                print(f"| {name} | {'' if value is None else f'{value:,.4f}'} | {text} |")


if __name__ == "__main__":
    main()
