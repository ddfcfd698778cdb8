#!/usr/bin/env python
"""Seconds and peak memory of matching products to customers, on random purchases of a chosen size.

`python benchmarks/merchandising_scale.py --customers 1000000 --products 10000 [--threads 2] [--only NAME ...]`

Writes purchases of 9.4 lines a customer into a scratch DuckDB file (products with a long tail, eight tastes that lean
toward some categories), then runs the SQL models and the functions of `merchandising` one after the other, the way the
graph does, and prints wall and CPU seconds of each and the peak of resident memory. Nothing is learned about quality
here: synthetic worlds with an answer key are for that.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl

from segmentation_assets.merchandising.next_best import History, recommend
from segmentation_assets.merchandising.plan import BY_TASTE, CampaignSpec, empty_table
from segmentation_assets.merchandising.product_backtest import backtest_products, product_verdict, verdict_weights
from segmentation_assets.warehouse.sql_models import SQL_ROOT, load_model
from segmentation_assets.warehouse.tables import create_from_query

AS_OF = date(2026, 6, 30)
TASTES, STAGES, CATEGORIES, BRANDS = 8, 7, 24, 300
LINES_PER_CUSTOMER, DAYS = 9.4, 1460
GROUPS = ("never_bought", "loyal", "active", "new", "lapsing", "lapsed", "active")

#: Pairs of customer and product by a day, in codes; product 0 is the first id.
HISTORY = """
select cast(substr(customer_id, 2) as integer) as customer, cast(substr(product_id, 2) as integer) as product,
    cast(count(distinct ordered_on) as integer) as days,
    cast(date_diff('day', max(ordered_on), $day) as integer) as age_days, bool_or(returned_quantity > 0) as returned
from features.order_lines
where ordered_on <= $day and not is_sensitive and product_id is not null
group by all order by all
"""
BOUGHT = """
select distinct cast(substr(customer_id, 2) as integer) as customer, cast(substr(product_id, 2) as integer) as product
from features.order_lines
where ordered_on > $day and ordered_on <= $day + 90 and not is_sensitive and product_id is not null
order by all
"""


@dataclass
class Timer:
    """Runs steps and keeps what they cost."""

    rows: list[tuple[str, float, float, float]] = field(default_factory=list)

    def __call__(self, name: str, step: Callable[[], Any]) -> Any:
        wall, cpu = time.perf_counter(), time.process_time()
        result = step()
        seconds, used = time.perf_counter() - wall, time.process_time() - cpu
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
        self.rows.append((name, seconds, used, peak))
        print(f"{name:58s} {seconds:7.1f} s {used:7.1f} s CPU   peak {peak:5.2f} GB", flush=True)
        return result


def write_world(con: duckdb.DuckDBPyConnection, customers: int, products: int, seed: int) -> None:
    """The tables that the SQL models of this stage read."""
    rng = np.random.default_rng(seed)
    taste, stage = rng.integers(0, TASTES + 1, customers), rng.integers(1, STAGES, customers)
    lines_of = rng.negative_binomial(0.7, 0.7 / (0.7 + LINES_PER_CUSTOMER), customers)
    stage[lines_of == 0], taste[lines_of < 3] = 0, 0
    category, brand = rng.integers(0, CATEGORIES, products), rng.integers(0, BRANDS, products)
    popularity = 1.0 / (rng.permutation(products) + 20.0)
    lean = np.exp(rng.normal(0.0, 1.0, (TASTES + 1, CATEGORIES)))
    lean[0] = 1.0
    chances = np.cumsum(popularity * lean[:, category], axis=1)
    owner = np.repeat(np.arange(customers), lines_of)
    of_taste = taste[owner]
    product = np.empty(len(owner), dtype=np.int64)
    for code in range(TASTES + 1):
        mine = of_taste == code
        product[mine] = np.searchsorted(chances[code], rng.random(int(mine.sum())) * chances[code, -1])
    # Every fifth line is something the customer had before: the line before it, when that is the same customer's.
    again = np.flatnonzero((rng.random(len(owner)) < 0.2) & (np.roll(owner, 1) == owner))
    product[again] = product[again - 1]
    back = rng.integers(0, DAYS, len(owner))
    price = np.round(np.exp(rng.normal(3.0, 0.6, products)), 2)

    def ids(kind: str, codes: pl.Expr) -> pl.Expr:
        return pl.format(kind + "{}", codes.cast(pl.String).str.zfill(8))

    lines = pl.DataFrame(
        {"c": owner, "p": product, "back": back, "unit_price": price[product], "b": brand[product],
         "g": category[product], "n": rng.random(len(owner))}
    ).select(
        ids("L", pl.int_range(pl.len())).alias("order_item_id"),
        ids("O", pl.int_range(pl.len()) // 2).alias("order_id"),
        ids("C", pl.col("c")).alias("customer_id"),
        ids("P", pl.col("p")).alias("product_id"),
        pl.format("Category {}", "g").alias("category"),
        pl.format("Brand {}", "b").alias("brand"),
        (pl.lit(AS_OF) - pl.duration(days=pl.col("back"))).cast(pl.Date).alias("ordered_on"),
        pl.lit(value=False).alias("is_sensitive"),
        pl.lit(1.0).alias("quantity"),
        "unit_price",
        pl.col("unit_price").alias("list_price"),
        pl.col("unit_price").alias("net_amount"),
        (pl.col("n") < 0.05).cast(pl.Float64).alias("returned_quantity"),
    )  # fmt: skip
    people = pl.DataFrame({"c": np.arange(customers), "t": taste, "s": stage, "r": rng.random(customers)}).select(
        ids("C", pl.col("c")).alias("customer_id"),
        pl.format("T{}", "t").alias("taste_segment_id"),
        pl.format("S{}", "s").alias("stage_segment_id"),
        (pl.col("r") < 0.7).alias("is_reachable"),
        (pl.col("r") < 0.5).alias("is_adult"),
        (pl.col("r") > 0.99).alias("is_minor"),
        pl.lit(AS_OF - timedelta(days=DAYS)).alias("signed_up_at"),
    )
    catalogue = pl.DataFrame({"p": np.arange(products), "g": category, "b": brand, "list_price": price}).select(
        ids("P", pl.col("p")).alias("product_id"),
        pl.format("R{}", pl.col("p") % 5).alias("retailer_id"),
        ids("K", pl.col("p")).alias("sku"),
        pl.format("Product {}", "p").alias("name"),
        pl.format("Brand {}", "b").alias("brand"),
        pl.format("Category {}", "g").alias("category"),
        pl.lit(None, pl.String).alias("subcategory"),
        "list_price",
        (pl.col("list_price") * 0.5).alias("unit_cost"),
        pl.lit(AS_OF - timedelta(days=DAYS)).alias("launched_on"),
        pl.lit(value=True).alias("is_active"),
    )
    stock = catalogue.select(
        "product_id", pl.lit("S1").alias("store_id"),
        (pl.Series(rng.integers(0, 2000, products)).cast(pl.Float64)).alias("stock_quantity"),
    )  # fmt: skip
    frames = {"lines": lines, "people": people, "catalogue": catalogue, "stock": stock}
    for name, frame in frames.items():
        con.register(name, frame.to_arrow())
    for schema in ("clean", "features", "segments", "campaigns"):
        con.execute(f"create schema {schema}")
    con.execute("""
        create table features.order_lines as from lines;
        create table clean.products as from catalogue;
        create table clean.inventory as from stock;
        create table clean.customers as select customer_id, signed_up_at from people;
        create table features.reachability as select customer_id, is_reachable, is_adult, is_minor from people;
        create table features.product_guards as select product_id, false as is_sensitive, product_id like '%7' as
            is_age_restricted from catalogue;
        create table segments.customer_segments as select customer_id, taste_segment_id, stage_segment_id from people;
        create table segments.past_segments as
            select windows_ago, $day - 90 * windows_ago as as_of, people.* exclude (is_reachable, is_adult, is_minor)
            from people cross join (values (1), (2)) as windows(windows_ago);
    """, {"day": AS_OF})  # fmt: skip
    for name in frames:
        con.unregister(name)


def make_world(path: Path, customers: int, products: int) -> None:
    """`write_world` into a new file."""
    with duckdb.connect(path) as con:
        write_world(con, customers, products, seed=1)


def run_to_end(process: BaseProcess) -> None:
    """Start and wait."""
    process.start()
    process.join()


def read_history(con: duckdb.DuckDBPyConnection, windows_ago: int, products: int) -> History:
    """What was bought by the day a window began."""
    pairs = con.sql(HISTORY, params={"day": AS_OF - timedelta(days=90 * windows_ago)}).pl()
    taste = con.sql(
        "select cast(substr(taste_segment_id, 2) as integer) as taste "
        "from segments.customer_segments order by customer_id"
    ).pl()["taste"]
    category = con.sql(
        "select cast(substr(category, 10) as integer) as category from clean.products order by product_id"
    ).pl()["category"]
    customer, product, days, age, returned = (pairs[name].to_numpy() for name in pairs.columns)
    return History(
        len(taste), products, customer, product, days, age, returned, taste.to_numpy(), category.to_numpy()
    )  # fmt: skip


def read_bought(con: duckdb.DuckDBPyConnection, windows_ago: int) -> tuple[Any, Any]:
    """Pairs bought in a window."""
    pairs = con.sql(BOUGHT, params={"day": AS_OF - timedelta(days=90 * windows_ago)}).pl()
    return pairs["customer"].to_numpy(), pairs["product"].to_numpy()


def next_best(timer: Timer, con: duckdb.DuckDBPyConnection, products: int, threads: int) -> None:
    """The part of `next_best` and `product_backtest`."""
    people = con.sql("select is_adult, is_minor from features.reachability order by customer_id").pl()
    restricted = con.sql("select is_age_restricted from features.product_guards order by product_id").pl()
    history2, bought2 = timer(
        "read the history of window 2", lambda: (read_history(con, 2, products), read_bought(con, 2))
    )
    history1, bought1 = timer(
        "read the history of window 1", lambda: (read_history(con, 1, products), read_bought(con, 1))
    )
    found = timer(
        "product_backtest.backtest_products (with the fit)",
        lambda: backtest_products(history2, bought2, history1, bought1, 0, threads=threads),
    )
    method, _, sentence = product_verdict(found.table, found.reason)
    print(f"    {dict(found.weights)}\n    {sentence}")
    today = timer("read the history of today", lambda: read_history(con, 0, products))
    frame = timer(
        "next_best.recommend",
        lambda: recommend(
            today, verdict_weights(method, found.weights), np.arange(products) % 10 != 0,
            is_age_restricted=restricted["is_age_restricted"].to_numpy(), is_adult=people["is_adult"].to_numpy(),
            may_be_offered=~people["is_minor"].to_numpy(), threads=threads,
        ),
    )  # fmt: skip
    print(f"    {frame.height:,} suggestions for {frame['customer'].n_unique():,} customers")


def matching(timer: Timer, con: duckdb.DuckDBPyConnection) -> None:
    """Affinity, shares, activity, matches and the offer plan."""
    from segmentation_assets.merchandising.activity import audience_members, expected_products, fit_activity
    from segmentation_assets.merchandising.affinity import product_affinity
    from segmentation_assets.merchandising.matching import match_products, past_rates
    from segmentation_assets.merchandising.offer_plan import plan_offers
    from segmentation_assets.merchandising.promotable import promotable_products
    from segmentation_assets.merchandising.shares import learn_shares

    spec = CampaignSpec()
    for name in ("product_sales", "product_traits", "segment_purchases", "customer_activity", "window_purchases"):
        model = load_model(SQL_ROOT / "campaigns" / f"{name}.sql")
        day = {"as_of": AS_OF} if model.needs_as_of else None
        timer(f"campaigns/{name}.sql", partial(create_from_query, con, f"campaigns/{name}", model.query, day))

    def table(name: str, where: str = "true") -> pl.DataFrame:
        return con.sql(f"from {name} where {where}").pl()

    traits = table("campaigns.product_traits")
    timer("affinity.product_affinity", lambda: product_affinity(table("campaigns.segment_purchases"), traits))
    tastes = [f"T{code}" for code in range(TASTES + 1)]
    purchases = table("campaigns.window_purchases", "windows_ago = 1")
    shares = timer("shares.learn_shares", lambda: learn_shares(purchases, traits, tastes))
    then = table("campaigns.customer_activity", "windows_ago = 1")
    model_ = timer("activity.fit_activity", lambda: fit_activity(then, 0))
    now = table("campaigns.customer_activity", "windows_ago = 0")
    expected = timer("activity.expected_products", lambda: expected_products(model_, now))
    groups = pl.DataFrame({"stage_segment_id": [f"S{code}" for code in range(STAGES)], "stage_group": list(GROUPS)})
    members = timer(
        "activity.audience_members",
        lambda: audience_members(now, table("features.reachability"), groups, expected),
    )
    choices = empty_table("campaigns/product_choices")
    promotable = timer(
        "promotable.promotable_products",
        lambda: promotable_products(
            table("clean.products"), table("clean.inventory"), table("campaigns.product_sales"), choices, spec=spec,
            as_of=AS_OF,
        ),
    )  # fmt: skip
    print(f"    {promotable['is_promotable'].sum():,} promotable products")
    rates = timer("matching.past_rates", lambda: past_rates(purchases, then))
    matches = timer(
        "matching.match_products",
        lambda: match_products(
            promotable, members, shares, rates, scored_by=BY_TASTE, choices=choices, spec=spec
        ),
    )  # fmt: skip
    plan = timer("offer_plan.plan_offers", lambda: plan_offers(matches, members, promotable, spec=spec))
    print(f"    {matches.height:,} matches, {plan.frame.height:,} intervals in the plan, gap {plan.gap_share:.2%}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--customers", type=int, default=1_000_000)
    parser.add_argument("--products", type=int, default=10_000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", choices=("next_best", "matching"), nargs="*", default=("next_best", "matching"))
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="merchandising_scale_"))
    timer = Timer()
    try:
        path = folder / "world.duckdb"
        # In a process of its own: its memory is no part of what is measured.
        maker = multiprocessing.get_context("spawn").Process(
            target=make_world, args=(path, arguments.customers, arguments.products)
        )
        timer("(making the world)", lambda: run_to_end(maker))
        if maker.exitcode:
            raise SystemExit(f"The world could not be made (exit code {maker.exitcode}).")
        with duckdb.connect(path, config={"threads": arguments.threads, "memory_limit": "2GB"}) as con:
            if "next_best" in arguments.only:
                next_best(timer, con, arguments.products, arguments.threads)
            if "matching" in arguments.only:
                matching(timer, con)
    finally:
        shutil.rmtree(folder)
    seconds = sum(row[1] for row in timer.rows[1:])
    print(f"{'all but the world':58s} {seconds:7.1f} s {'':13s} peak {timer.rows[-1][3]:5.2f} GB")


if __name__ == "__main__":
    main()
