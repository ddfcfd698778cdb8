"""Whether intervals, tests and decisions of `measurement` hold what they promise, on data whose truth is planted.

`python benchmarks/measurement.py` prints tables of 2,000 simulations per line; `--only NAME` prints one of them.
Proportions are also counted exactly, over all outcomes that can happen. A share of 2,000 is off by a percentage point
in one line of twenty by chance alone. Functions take numbers, so tests call them with few simulations.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.stats import binom, norm

from segmentation_assets.measurement.breakdown import fisher, holm, shrink
from segmentation_assets.measurement.intervals import (
    AmountSums,
    bootstrap_difference,
    hall_difference,
    newcombe,
    newcombe_p_greater,
    wald_difference,
)
from segmentation_assets.measurement.lift import LiftSpec, campaign_lift
from segmentation_assets.measurement.looks import Look
from segmentation_assets.measurement.pooled import pooled_effect
from segmentation_assets.measurement.sample_ratio import sample_ratio

Floats = npt.NDArray[np.float64]
Line = dict[str, str | int | float]
_Z = 1.959963984540054


def proportions(draws: int, seed: int) -> Iterator[Line]:
    """Coverage and one-sided misses of Newcombe's and Wald's intervals of a difference of buying rates."""
    rng = np.random.default_rng(seed)
    for customers, rate in (
        (3_000, 0.0057),
        (10_000, 0.005),
        (50_000, 0.005),
        (10_000, 0.02),
        (10_000, 0.05),
        (10_000, 0.2),
    ):
        for share in (0.1, 0.3, 0.5):
            control = round(customers * share)
            treated = customers - control
            line: Line = {"customers": customers, "base rate": f"{rate:.1%}", "control": f"{share:.0%}"}
            for name, lift in (("lift 20%", 1.2), ("no lift", 1.0)):
                p = rate * lift
                drawn = rng.binomial(treated, p, draws), rng.binomial(control, rate, draws)
                low, high = newcombe(drawn[0], treated, drawn[1], control)
                covered, above = _exact(newcombe, treated, p, control, rate)
                wald, _ = _exact(wald_difference, treated, p, control, rate)
                line |= {
                    f"{name}: covers": _percent(float(((low <= p - rate) & (high >= p - rate)).mean())),
                    "exactly" if lift > 1 else "exactly ": _percent(covered),
                    "Wald" if lift > 1 else "Wald ": _percent(wald),
                }
                if lift == 1:
                    line |= {"false lift": _percent(float((low > 0).mean())), "exactly  ": _percent(above)}
            yield line


def _exact(
    interval: Callable[..., tuple[Floats, Floats]], treated: int, p: float, control: int, q: float
) -> tuple[float, float]:
    """Exact coverage of p - q, and the chance that the interval lies above it, over all outcomes that matter."""
    one = np.arange(int(binom.ppf(1e-10, treated, p)), int(binom.isf(1e-10, treated, p)) + 1)
    zero = np.arange(int(binom.ppf(1e-10, control, q)), int(binom.isf(1e-10, control, q)) + 1)
    chance = binom.pmf(one, treated, p)[:, None] * binom.pmf(zero, control, q)
    low, high = interval(one[:, None], treated, zero, control)
    # Rounding must not decide whether a bound equals the truth.
    return (
        float(chance[(low <= p - q + 1e-12) & (high >= p - q - 1e-12)].sum()),
        float(chance[low > p - q + 1e-12].sum()),
    )


def margins(draws: int, seed: int) -> Iterator[Line]:
    """Coverage for margin per customer (3 % buy, lognormal margins) by the number of buyers left out."""
    rng = np.random.default_rng(seed)
    for spread in (0.8, 1.2, 1.6):
        for share in (0.1, 0.5):
            for buyers in (20, 57, 150, 300, 1_000):
                control = round(buyers / 0.03)
                treated = round(control * (1 - share) / share)
                line: Line = {"sd of log margin": spread, "control": f"{share:.0%}", "control buyers": buyers}
                for name, lift in (("lift 30%", 1.3), ("no lift", 1.0)):
                    truth = 0.03 * (lift - 1) * np.exp(spread**2 / 2)
                    one = _amounts(treated, 0.03 * lift, spread, draws, rng)
                    zero = _amounts(control, 0.03, spread, draws, rng)
                    low, high, error, _ = hall_difference(one, zero, _Z)
                    effect = one.mean - zero.mean
                    line |= {
                        f"{name}: Hall": _percent(float(((low <= truth) & (high >= truth)).mean())),
                        "Welch" if lift > 1 else "Welch ": _percent(
                            float((np.abs(effect - truth) <= _Z * error).mean())
                        ),
                    }
                    if lift == 1:
                        line |= {
                            "false lift": _percent(float((low > 0).mean())),
                            "Welch's": _percent(float((effect > _Z * error).mean())),
                        }
                yield line


def _amounts(customers: int, rate: float, spread: float, draws: int, rng: np.random.Generator) -> AmountSums:
    """Sums of `draws` groups of customers of whom a share `rate` buys for lognormal amounts."""
    buyers = rng.binomial(customers, rate, draws)
    amounts = rng.lognormal(0.0, spread, int(buyers.sum()))
    group = np.repeat(np.arange(draws), buyers)
    sums = [np.bincount(group, weights=amounts**power, minlength=draws) for power in (1, 2, 3)]
    return AmountSums(customers, buyers, *sums)


def bootstraps(draws: int, seed: int) -> Iterator[Line]:
    """The percentile-t bootstrap beside Hall's interval on the same margins; a fifth of the simulations."""
    rng = np.random.default_rng(seed)
    spread, treated_share = 1.2, 0.9
    for buyers in (57, 300):
        control = round(buyers / 0.03)
        treated = round(control * treated_share / (1 - treated_share))
        hits = np.zeros((max(draws // 5, 1), 2))
        for draw in range(hits.shape[0]):
            one = rng.lognormal(0.0, spread, rng.binomial(treated, 0.03))
            zero = rng.lognormal(0.0, spread, rng.binomial(control, 0.03))
            low, high = bootstrap_difference(one, treated, zero, control, seed=draw, resamples=400)
            ends = hall_difference(AmountSums.of(one, treated), AmountSums.of(zero, control), _Z)
            hits[draw] = low <= 0 <= high, ends[0] <= 0 <= ends[1]
        yield {
            "control buyers": buyers, "simulations": hits.shape[0], "percentile-t": _percent(hits[:, 0].mean()),
            "Hall": _percent(hits[:, 1].mean()),
        }  # fmt: skip


def same_on_both_sides(draws: int, seed: int) -> Iterator[Line]:
    """A/A: the share of trials that differ at 5 % although nobody was written to."""
    rng = np.random.default_rng(seed)
    for customers, rate, share in ((10_000, 0.02, 0.1), (10_000, 0.02, 0.5), (50_000, 0.005, 0.1), (10_000, 0.2, 0.1)):
        control = round(customers * share)
        treated = customers - control
        greater = newcombe_p_greater(
            rng.binomial(treated, rate, draws), treated, rng.binomial(control, rate, draws), control
        )
        line: Line = {"customers": customers, "base rate": f"{rate:.1%}", "control": f"{share:.0%}"}
        line["buyers differ"] = _percent(float((2 * np.minimum(greater, 1 - greater) < 0.05).mean()))
        if control * rate >= 100:
            low, high, _, _ = hall_difference(
                _amounts(treated, rate, 1.0, draws, rng), _amounts(control, rate, 1.0, draws, rng), _Z
            )
            line["margins differ"] = _percent(float(((low > 0) | (high < 0)).mean()))
        else:
            line["margins differ"] = "too few"
        yield line


def ratios(draws: int, seed: int) -> Iterator[Line]:
    """Alarms of the sample-ratio check: with a fair assignment, and when a part of the control group is lost."""
    rng = np.random.default_rng(seed)
    for customers, share in ((150, 0.1), (10_000, 0.1), (10_000, 0.5), (1_000_000, 0.1)):
        line: Line = {"customers": customers, "control": f"{share:.0%}"}
        for name, lost in (("fair", 0.0), ("10% of control lost", 0.1)):
            times = draws * 5 if lost == 0 else draws
            drawn = rng.binomial(customers, share, times)
            kept = drawn if lost == 0 else rng.binomial(drawn, 1 - lost)
            pairs, counts = np.unique(np.column_stack([customers - drawn, kept]), axis=0, return_counts=True)
            shares = {"treated": 1 - share, "control": share}
            alarms = [sample_ratio({"treated": int(a), "control": int(b)}, shares).is_alarm for a, b in pairs]
            line[f"alarms, {name}"] = f"{100 * float(np.dot(alarms, counts)) / times:.2f}"
        yield line


def looks(draws: int, seed: int) -> Iterator[Line]:
    """False alarms of any of 14 daily looks when nothing is planted, and simultaneous coverage with a lift."""
    rng = np.random.default_rng(seed)
    days = 14
    for customers, rate, share in ((10_000, 0.02, 0.1), (10_000, 0.02, 0.5), (10_000, 0.2, 0.5)):
        control = round(customers * share)
        treated = customers - control
        line: Line = {"customers": customers, "base rate": f"{rate:.0%}", "control": f"{share:.0%}"}
        for lift in (1.0, 1.3):
            one, p = _by_day(treated, rate * lift, days, draws, rng)
            zero, q = _by_day(control, rate, days, draws, rng)
            z = np.array([Look(day + 1, (day + 1) / days).z() for day in range(days)])
            low, high = newcombe(one, treated, zero, control, z)
            missed = (low > p - q) | (high < p - q)
            if lift == 1:
                plain_low, plain_high = newcombe(one, treated, zero, control)
                plain = (plain_low > 0) | (plain_high < 0)
                line |= {
                    "1.96 at every look": _percent(float(plain.any(axis=1).mean())),
                    "widened": _percent(float(missed.any(axis=1).mean())),
                }
            else:
                line["covers at all looks, lift 30%"] = _percent(1 - float(missed.any(axis=1).mean()))
                line["lift found at the end, widened"] = _percent(float((low[:, -1] > 0).mean()))
                line["with one reading"] = _percent(float((newcombe(one, treated, zero, control)[0][:, -1] > 0).mean()))
        yield line


def _by_day(
    customers: int, rate: float, days: int, draws: int, rng: np.random.Generator
) -> tuple[npt.NDArray[np.int64], Floats]:
    """Customers who have bought by each day (draws, days), and the true shares (days,)."""
    truth = rate * np.arange(1, days + 1) / days
    bought = np.zeros((draws, days), dtype=np.int64)
    so_far, before = np.zeros(draws, dtype=np.int64), 0.0
    for day in range(days):
        so_far = so_far + rng.binomial(customers - so_far, (truth[day] - before) / (1 - before))
        bought[:, day], before = so_far, float(truth[day])
    return bought, truth


def pools(draws: int, seed: int) -> Iterator[Line]:
    """Coverage of pooled effects of small campaigns (300 to 3,000 customers, 2 to 6 % buy, 10 to 30 % left out)."""
    rng = np.random.default_rng(seed)
    for campaigns in (2, 3, 5, 10, 30):
        for between in (0.0, 0.01):
            size = (draws, campaigns)
            customers = rng.integers(300, 3_000, size)
            control = np.maximum((customers * rng.uniform(0.1, 0.3, size)).astype(np.int64), 1)
            treated = customers - control
            base = rng.uniform(0.02, 0.06, size)
            truth = np.clip(0.01 + between * rng.standard_normal(size), -base, 1)
            one, zero = rng.binomial(treated, base + truth), rng.binomial(control, base)
            rate = (one + zero + 0.5) / (customers + 1)
            error = np.sqrt(rate * (1 - rate) * (1 / treated + 1 / control))
            rates = (one + 0.5) / (treated + 1), (zero + 0.5) / (control + 1)
            own = np.sqrt(rates[0] * (1 - rates[0]) / treated + rates[1] * (1 - rates[1]) / control)
            pooled = pooled_effect(one / treated - zero / control, error, own_errors=own)
            weight = 1 / error**2
            these = (weight * truth).sum(axis=1) / weight.sum(axis=1)
            between_weight = 1 / (error**2 + pooled.between_deviation[:, None] ** 2)
            half = _Z / np.sqrt(between_weight.sum(axis=1))
            yield {
                "campaigns": campaigns,
                "sd of true effects": between,
                "fixed covers": _percent(float(((pooled.fixed_low <= these) & (pooled.fixed_high >= these)).mean())),
                "Hartung-Knapp covers": _percent(
                    float(((pooled.random_low <= 0.01) & (pooled.random_high >= 0.01)).mean())
                ),
                "DerSimonian-Laird": _percent(float((np.abs(pooled.random_effect - 0.01) <= half).mean())),
                "effect found, fixed": _percent(float((pooled.fixed_low > 0).mean())),
                "one campaign": _percent(
                    float((newcombe(one[:, 0], treated[:, 0], zero[:, 0], control[:, 0])[0] > 0).mean())
                ),
            }


def families(draws: int, seed: int) -> Iterator[Line]:
    """False findings among the levels of a breakdown when no level has an effect, plain and adjusted."""
    rng = np.random.default_rng(seed)
    for levels, customers, rate in ((5, 2_000, 0.03), (12, 2_000, 0.03), (30, 800, 0.03), (12, 2_000, 0.2)):
        control = customers // 10
        treated = customers - control
        one, zero = (rng.binomial(n, rate, (draws, levels)) for n in (treated, control))
        greater = newcombe_p_greater(one, treated, zero, control)
        p = 2 * np.minimum(greater, 1 - greater)
        exact = fisher(one, treated, zero, control)
        yield {
            "levels": levels, "customers each": customers, "base rate": f"{rate:.0%}",
            "any below .05": _percent(float((p < 0.05).any(axis=1).mean())),
            "Newcombe's p, Holm": _percent(float((holm(p) < 0.05).any(axis=1).mean())),
            "Fisher's p, Holm": _percent(float((holm(exact) < 0.05).any(axis=1).mean())),
        }  # fmt: skip


def shrunken(draws: int, seed: int) -> Iterator[Line]:
    """Shrunk estimates of levels: coverage, and their mean error beside that of the levels' own."""
    rng = np.random.default_rng(seed)
    levels, treated, control, rate = 8, 1_800, 200, 0.05
    for between in (0.0, 0.005, 0.01, 0.02):
        truth = np.clip(0.01 + between * rng.standard_normal((draws, levels)), -rate, 1)
        one, zero = rng.binomial(treated, rate + truth), rng.binomial(control, rate, (draws, levels))
        effect = one / treated - zero / control
        pooled = (one + zero + 0.5) / (treated + control + 1)
        error = np.sqrt(pooled * (1 - pooled) * (1 / treated + 1 / control))
        covered, off = [], []
        for draw in range(draws):
            whole = one[draw].sum() / treated / levels - zero[draw].sum() / control / levels
            whole_error = float(np.sqrt((error[draw] ** 2).sum())) / levels
            middle, low, high = shrink(effect[draw], error[draw], whole, whole_error)
            covered.append(((low <= truth[draw]) & (high >= truth[draw])).mean())
            off.append(((middle - truth[draw]) ** 2).mean())
        yield {
            "sd of true effects": between, "covers": _percent(float(np.mean(covered))),
            "error, shrunk": round(float(np.sqrt(np.mean(off))), 4),
            "error, own": round(float(np.sqrt(((effect - truth) ** 2).mean())), 4),
        }  # fmt: skip


def seconds(draws: int, seed: int) -> Iterator[Line]:
    """Seconds for a campaign of a million customers, all metrics."""
    rng = np.random.default_rng(seed)
    customers = 1_000_000 if draws >= 100 else 1_000
    bought = rng.random(customers) < 0.03
    frame = pl.DataFrame(
        {
            "arm": np.where(rng.random(customers) < 0.1, "control", "treated"),
            "is_buyer": bought,
            "orders": bought.astype(np.int64),
            "margin": np.where(bought, rng.lognormal(3.0, 1.0, customers), 0.0),
        }
    ).with_columns(is_delivered=pl.col("arm") == "treated", is_opened=pl.col("is_buyer"), is_clicked=pl.col("is_buyer"))
    start = time.perf_counter()
    rows = campaign_lift(frame, LiftSpec("C1", control_share=0.1)).height
    yield {"customers": customers, "rows": rows, "seconds": round(time.perf_counter() - start, 2)}


TABLES: dict[str, Callable[[int, int], Iterator[Line]]] = {
    "proportions": proportions, "margins": margins, "bootstraps": bootstraps, "aa": same_on_both_sides,
    "ratios": ratios, "looks": looks, "pools": pools, "families": families, "shrunken": shrunken, "seconds": seconds,
}  # fmt: skip


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulations", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=TABLES)
    given = parser.parse_args()
    deviation = 100 * norm.isf(0.025) * np.sqrt(0.05 * 0.95 / given.simulations)
    print(f"{given.simulations:,} simulations per line; chance alone moves 95.0 by {deviation:.1f}. All in per cent.")
    for name in [given.only] if given.only else TABLES:
        print(f"\n{name}: {(TABLES[name].__doc__ or '').splitlines()[0]}")
        start = time.perf_counter()
        lines = list(TABLES[name](given.simulations, given.seed))
        print(" | ".join(lines[0]))
        for line in lines:
            print(" | ".join(str(line[column]).rjust(len(column)) for column in lines[0]))
        print(f"({time.perf_counter() - start:.1f} s)")


if __name__ == "__main__":
    main()
