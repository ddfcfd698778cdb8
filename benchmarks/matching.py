"""How good the matches are beside those of an oracle that knows what was planted, and what is said where nothing was.

`python benchmarks/matching.py HOME` reads HOME/warehouse.duckdb (read-only) and HOME/answer_key and prints, for the
matches of the run: the lift of the planted purchase rate that they reach beside the oracles' at equal size, within the
same groups of stages, and what as many of the most active reach. `python benchmarks/matching.py --null-seeds 100` makes
that many worlds without taste, runs the graph up to the verdict on each, and counts how often it says that matching
adds nothing. Functions take frames, so tests call them without a run. Nothing here writes into a HOME that is given.

Three oracles. "taste" knows each customer's planted taste and how closely it is kept, and sees the same activity as the
matches do. "planted" knows how each customer was made: the price tier and the persona too, and so how often such people
buy. "individual" also knows each customer's own planted rate of ordering and whether the customer has left for good,
which no purchase tells; nobody can reach it.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from segmentation_assets.sources.synthetic.answer_key import read_answer
from segmentation_assets.sources.synthetic.personas import PERSONAS
from segmentation_assets.warehouse.connection import connect

Floats = npt.NDArray[np.float64]
#: Those who do not order again of their own accord.
_NO_REPEAT = ("one_timers", "window_shoppers")


@dataclass(frozen=True)
class Planted:
    """What was planted, for customers and products in sorted order of their ids.

    `leaning` (customers, products): probability that a fresh line of the customer is the product; `liking` the same of
    the product's category, which is all that taste decides. `individual`,
    `by_kind` (customers,): lines per year by the customer's own planted rate (0 for who has left), and by persona.
    """

    customers: list[str]
    products: list[str]
    leaning: Floats
    liking: Floats
    individual: Floats
    by_kind: Floats


def planted(folder: Path, customers: pl.Series, products: pl.Series, months: tuple[int, ...]) -> Planted:
    """What the answer key in `folder` says of these customers and products, over the given months of the year."""
    tastes, personas = read_answer(folder, "tastes"), read_answer(folder, "personas")
    people = (
        pl.DataFrame({"customer_id": customers.unique().sort()})
        .join(personas, on="customer_id")
        .join(tastes, on="customer_id")
        .sort("customer_id")
    )
    categories = (
        read_answer(folder, "taste_parameters")
        .filter(pl.col("month").is_in(list(months)))
        .group_by("taste", "adherence", "category")
        .agg(pl.col("category_probability").mean())
        .pivot(on="category", index=["taste", "adherence"], values="category_probability")
    )
    shares = read_answer(folder, "product_parameters").filter(pl.col("period") == pl.col("period").max())
    shares = shares.filter(pl.col("product_id").is_in(products.unique().to_list())).sort("product_id")
    ids = shares["product_id"].unique().sort()
    of_product = shares.unique("product_id").sort("product_id")["category"].to_list()
    tier_names = shares["price_tier"].unique().sort().to_list()
    tier_shares = np.stack(
        [shares.filter(pl.col("price_tier") == t).sort("product_id")["product_probability"] for t in tier_names]
    )
    kinds = people.select("taste", "adherence").join(categories, on=["taste", "adherence"], how="left")
    leaning = kinds.select(of_product_columns(of_product)).to_numpy()
    places = np.array([tier_names.index(tier) for tier in people["price_tier"]])
    lines = {p.name: p.lines_per_order for p in PERSONAS}
    often = {p.name: 0.0 if p.name in _NO_REPEAT else p.orders_per_year for p in PERSONAS}
    basket = people["persona"].replace_strict(lines, return_dtype=pl.Float64).to_numpy()
    stays = (~people["has_left"] & ~people["persona"].is_in(_NO_REPEAT)).to_numpy()
    return Planted(
        people["customer_id"].to_list(),
        ids.to_list(),
        leaning * tier_shares[places],
        leaning,
        people["orders_per_year"].to_numpy() * basket * stays,
        people["persona"].replace_strict(often, return_dtype=pl.Float64).to_numpy() * basket,
    )


def of_product_columns(categories: list[str]) -> list[pl.Expr]:
    """A column per product with its category's probability."""
    return [pl.col(category).alias(f"p{place}") for place, category in enumerate(categories)]


@dataclass(frozen=True)
class OracleLift:
    """Planted purchase rate over that of all customers of the stage group, pooled over products and groups."""

    audiences: int
    customers: float
    matches: float
    most_active: float
    taste_oracle: float
    oracle: float
    individual_oracle: float


def oracle_lift(matches: pl.DataFrame, members: pl.DataFrame, truth: Planted) -> OracleLift:
    """The lift of the matched audiences beside the most active and the oracles at equal size.

    `matches` is campaigns.product_segment_matches, `members` campaigns.audience_members. The parts of a product
    within a stage group are one audience; an age-restricted product's is chosen among known adults by all.
    """
    place = {customer: row for row, customer in enumerate(truth.customers)}
    column = {product: number for number, product in enumerate(truth.products)}
    people = members.filter(pl.col("customer_id").is_in(truth.customers)).with_columns(
        row=pl.col("customer_id").replace_strict(place, return_dtype=pl.Int64)
    )
    sums = np.zeros(6)
    audiences = customers = 0
    by_group = {str(key[0]): part for key, part in people.group_by("stage_group")}
    known = matches.filter(pl.col("product_id").is_in(truth.products))
    for (product, group), parts in known.group_by("product_id", "stage_group", maintain_order=True):
        everyone = by_group[str(group)]
        chosen = [
            everyone.filter(
                (pl.col("taste_segment_id") == part["taste_segment_id"])
                & (pl.col("expected_products") >= part["activity_floor"])
            )
            for part in parts.iter_rows(named=True)
        ]
        mine = pl.concat(chosen)
        # Fewer than the members above the floor means that only known adults are meant.
        if mine.height > parts["audience_customers"].sum():
            mine, everyone = mine.filter("is_adult"), everyone.filter("is_adult")
        size = mine.height
        leaning = truth.leaning[:, column[str(product)]]
        rows, own = everyone["row"].to_numpy(), mine["row"].to_numpy()
        rate = truth.individual * leaning
        active = everyone.sort(["expected_products", "customer_id"], descending=[True, False])["row"].to_numpy()[:size]
        seen = np.zeros(len(truth.customers))
        seen[rows] = everyone["expected_products"].to_numpy()
        by_taste = rows[np.argsort(-(seen * truth.liking[:, column[str(product)]])[rows], kind="stable")[:size]]
        by_kind = rows[np.argsort(-(truth.by_kind * leaning)[rows], kind="stable")[:size]]
        best = np.sort(rate[rows])[::-1][:size]
        sums += [
            rate[own].sum(),
            rate[active].sum(),
            rate[by_taste].sum(),
            rate[by_kind].sum(),
            best.sum(),
            rate[rows].mean() * size,
        ]
        audiences, customers = audiences + 1, customers + size
    lifts = sums[:5] / sums[5]
    return OracleLift(audiences, customers / max(audiences, 1), *map(float, lifts))


def report(home: Path) -> None:
    """Print the lifts of a finished run."""
    with connect(home / "warehouse.duckdb", read_only=True) as con:
        matches = con.sql("from campaigns.product_segment_matches").pl()
        members = con.sql("from campaigns.audience_members").pl()
        verdicts = con.sql("from campaigns.match_verdicts order by topic").pl()
        backtest = con.sql("from campaigns.match_backtest order by scope, metric, method").pl()
        month = con.sql("select month(as_of) from raw.source").fetchall()[0][0]
    months = tuple((month + ahead) % 12 + 1 for ahead in range(3))
    found = oracle_lift(
        matches, members, planted(home / "answer_key", members["customer_id"], matches["product_id"], months)
    )
    print(f"{found.audiences:,} audiences (product and stage group) of {found.customers:,.0f} customers on average")
    print(
        f"  lift of the planted rate: matches {found.matches:.2f}, as many of the most active {found.most_active:.2f}"
    )
    for name, lift in (
        ("taste", found.taste_oracle),
        ("planted", found.oracle),
        ("individual", found.individual_oracle),
    ):
        print(f"  oracle '{name}' {lift:.2f}: the matches reach {found.matches / lift:.1%} of it")
    for sentence in verdicts["sentence"]:
        print(sentence)
    with pl.Config(tbl_rows=-1, tbl_width_chars=160, fmt_str_lengths=70, tbl_hide_dataframe_shape=True):
        print(backtest)


def null_verdict(seed: int, customers: int) -> tuple[bool, str]:
    """The verdict on product to audience in a world without taste: whether matching is called better, and why."""
    with tempfile.TemporaryDirectory() as folder:
        told = subprocess.run(
            [
                sys.executable, "-m", "segmentation_assets.cli", "run", "--home", folder,
                "--customers", str(customers), "--seed", str(seed), "--select", '+key:"campaigns/match_verdicts"',
            ],
            env={**os.environ, "SEGMENTATION_SYNTHETIC__HAS_TASTE": "false"},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if told.returncode:
            raise RuntimeError(f"Seed {seed} failed: {told.stderr or told.stdout}")
        with connect(Path(folder) / "warehouse.duckdb", read_only=True) as con:
            rows = con.sql(
                "select is_better, sentence from campaigns.match_verdicts where topic = 'product_to_audience'"
            ).fetchall()
    return bool(rows[0][0]), str(rows[0][1])


def null_worlds(seeds: int, customers: int, first: int, at_once: int) -> int:
    """Print and count the worlds without taste in which matching is said to be better."""
    wins = 0
    with ThreadPoolExecutor(at_once) as pool:
        numbers = range(first, first + seeds)
        for seed, (is_better, sentence) in zip(
            numbers, pool.map(lambda seed: null_verdict(seed, customers), numbers), strict=True
        ):
            wins += is_better
            print(f"{seed}: {'BETTER' if is_better else 'adds nothing'}: {sentence}", flush=True)
    print(f"{seeds - wins} of {seeds} worlds without taste of {customers:,} customers: matching adds nothing.")
    return wins


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("home", nargs="?", type=Path)
    parser.add_argument("--null-seeds", type=int, default=0)
    parser.add_argument("--customers", type=int, default=10_000, help="Customers of each world without taste.")
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--at-once", type=int, default=2)
    given = parser.parse_args()
    if given.home is not None:
        if not (given.home / "answer_key").exists():
            print(f"{given.home} has no answer key: only a synthetic world that was run has one.", file=sys.stderr)
            return 1
        report(given.home)
    if given.null_seeds:
        null_worlds(given.null_seeds, given.customers, given.first_seed, given.at_once)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
