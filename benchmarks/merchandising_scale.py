#!/usr/bin/env python
"""Seconds and peak memory of matching products to customers, on random purchases of a chosen size.

`python benchmarks/merchandising_scale.py --customers 1000000 --products 10000 [--threads 2]`

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

from segmentation_assets.defs.purchases import Coded, bought_in, events_of, history_of
from segmentation_assets.merchandising.activity import audience_members, expected_products, fit_activity
from segmentation_assets.merchandising.affinity import product_affinity
from segmentation_assets.merchandising.audience_backtest import audience_verdict, backtest_audiences
from segmentation_assets.merchandising.matching import match_products, past_rates
from segmentation_assets.merchandising.next_best import EQUAL_WEIGHTS, recommend
from segmentation_assets.merchandising.offer_plan import plan_offers
from segmentation_assets.merchandising.plan import BY_TASTE, CampaignSpec, empty_table
from segmentation_assets.merchandising.product_backtest import backtest_products, product_verdict
from segmentation_assets.merchandising.promotable import promotable_products
from segmentation_assets.merchandising.shares import learn_shares
from segmentation_assets.warehouse.sql_models import SQL_ROOT, load_model
from segmentation_assets.warehouse.tables import create_from_query

AS_OF = date(2026, 6, 30)
TASTES, STAGES, CATEGORIES, BRANDS = 8, 7, 24, 300
LINES_PER_CUSTOMER, DAYS = 9.4, 1460
GROUPS = ("never_bought", "loyal", "active", "new", "lapsing", "lapsed", "active")


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
        create table clean.returns as
            select order_item_id, ordered_on + 7 as returned_at from lines where returned_quantity > 0;
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


def read_window(con: duckdb.DuckDBPyConnection, windows_ago: int) -> tuple[Coded, tuple[np.ndarray, np.ndarray]]:
    """What was bought before a window and in it, read as the graph reads it."""
    return history_of(con, AS_OF, windows_ago), bought_in(con, AS_OF, windows_ago)


def next_best(timer: Timer, con: duckdb.DuckDBPyConnection, promotable: pl.DataFrame, threads: int) -> None:
    """The back-test of next products, and the next products of everybody."""
    windows = [timer(f"read what was bought, window {ago}", partial(read_window, con, ago)) for ago in (2, 1)]
    found = timer(
        "product_backtest.backtest_products (with the fit)",
        lambda: backtest_products(
            windows[0][0].history, windows[0][1], windows[1][0].history, windows[1][1], 0, threads=threads
        ),
    )
    print(f"    {dict(found.weights)}\n    {product_verdict(found.table, found.reason)[2]}")
    windows.clear()
    today = timer("read what was bought, today", lambda: history_of(con, AS_OF, 0))
    people = pl.DataFrame({"customer_id": today.customer_ids}).join(
        con.sql("select customer_id, is_adult, is_minor from features.reachability").pl(),
        on="customer_id", how="left", maintain_order="left",
    )  # fmt: skip
    goods = pl.DataFrame({"product_id": today.product_ids}).join(
        promotable, on="product_id", how="left", maintain_order="left"
    )
    # All components, whatever the verdict: the dearest case.
    frame = timer(
        "next_best.recommend",
        lambda: recommend(
            today.history, EQUAL_WEIGHTS, goods["is_promotable"].to_numpy(),
            is_age_restricted=goods["is_age_restricted"].to_numpy(), is_adult=people["is_adult"].to_numpy(),
            may_be_offered=~people["is_minor"].to_numpy(), threads=threads,
        ),
    )  # fmt: skip
    print(f"    {frame.height:,} suggestions for {frame['customer'].n_unique():,} customers")


def matching(timer: Timer, con: duckdb.DuckDBPyConnection) -> pl.DataFrame:
    """Affinity, activity, the back-test of audiences, matches and the offer plan; returns what is promotable."""
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
    before = table("campaigns.window_purchases", "windows_ago = 2")
    earlier = table("campaigns.customer_activity", "windows_ago = 2")
    events = timer("read the purchases held back", lambda: events_of(con, AS_OF))
    table_ = timer(
        "audience_backtest.backtest_audiences",
        lambda: backtest_audiences(
            earlier, then, events, learn_shares(before, traits, tastes), rates=past_rates(before, earlier),
            groups=groups, spec=spec, seed=0,
        ),
    )  # fmt: skip
    print(f"    {audience_verdict(table_, spec).sentence}")
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
    return promotable


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--customers", type=int, default=1_000_000)
    parser.add_argument("--products", type=int, default=10_000)
    parser.add_argument("--threads", type=int, default=2)
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
            promotable = matching(timer, con)
            next_best(timer, con, promotable, arguments.threads)
    finally:
        shutil.rmtree(folder)
    seconds = sum(row[1] for row in timer.rows[1:])
    print(f"{'all but the world':58s} {seconds:7.1f} s {'':13s} peak {timer.rows[-1][3]:5.2f} GB")


if __name__ == "__main__":
    main()
