"""Past campaigns of synthetic worlds, measured as any other, beside what was planted in them.

Each world is drawn without dirt and measured through the same SQL models and functions as a run; twelve campaigns a
world. Printed per metric: campaigns with an interval, how often it holds the planted effect, the mean effect beside the
planted one, and the pooled effects. What a campaign is planted to do is one extra order with a chance that depends on
the customer's persona (answer key, `campaign_effects`); cancelled and returned orders are no sales, and of those who
would have bought anyway none becomes a buyer.

    .venv/bin/python benchmarks/past_campaigns.py --seeds 10 --customers 20000
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import duckdb
import numpy as np
import polars as pl

from segmentation_assets.delivery.tables import TABLE_TYPES
from segmentation_assets.measurement.measured import MeasuredCampaign, measure_campaign, pooled_results
from segmentation_assets.sources.contract import CONTRACT
from segmentation_assets.sources.synthetic.answer_key import read_answer
from segmentation_assets.sources.synthetic.settings import WorldSettings
from segmentation_assets.sources.synthetic.world import stage_world
from segmentation_assets.warehouse.connection import literal, quote
from segmentation_assets.warehouse.sql_models import SQL_ROOT, load_model
from segmentation_assets.warehouse.tables import create_from_query

_CLEAN = ("customers", "products", "campaigns", "campaign_contacts", "campaign_responses", "orders", "order_items")
_MODELS = ("delivery/labelled_events", "results/measured_campaigns", "results/campaign_customers")
_LINES = """
create table features.order_lines as
select i.order_item_id, i.order_id, o.customer_id, i.product_id, o.ordered_at, i.quantity,
    cast(i.quantity * i.unit_price - coalesce(i.discount_amount, 0) as decimal(18, 4)) as net_amount
from clean.order_items as i inner join clean.orders as o on o.order_id = i.order_id
where o.status in ('completed', 'shipped', 'processing')
"""


def measured_world(settings: WorldSettings, folder: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    """results.campaign_results of a clean world with the planted effect beside each, and the pooled results.

    `planted` is per treated customer, in the metric's unit; null for metrics with none known.
    """
    stage_world(settings, folder, folder / "answer_key")
    with duckdb.connect(":memory:", config={"threads": 1}) as con:
        _load(con, folder, settings)
        campaigns = con.sql("from results.measured_campaigns").pl().to_dicts()
        customers = con.sql("from results.campaign_customers").pl()
        sales = con.sql("select avg((status not in ('cancelled', 'returned'))::int) from clean.orders").fetchall()[0][0]
    found = [
        measure_campaign(customers.filter(campaign_id=row["campaign_id"]), MeasuredCampaign(**row)).results
        for row in campaigns
    ]
    results = pl.concat(found)
    planted = _planted(customers, folder / "answer_key", float(sales))
    results = results.join(planted, on="campaign_id", how="left").with_columns(
        planted=pl.when(metric="orders")
        .then(pl.col("caused"))
        .when(metric="buyers")
        .then(pl.col("caused") * (1 - pl.col("control_value")))
    )
    return results, pooled_results(pl.concat(found), pl.DataFrame())


def _load(con: duckdb.DuckDBPyConnection, folder: Path, settings: WorldSettings) -> None:
    for schema in ("clean", "features", "segments", "delivery", "results"):
        con.execute(f"create schema {schema}")
    for name in _CLEAN:
        columns = ", ".join(
            f"try_cast({quote(c.name)} as {c.sql_type}) as {quote(c.name)}" for c in CONTRACT[name].columns
        )
        parts = literal(str(folder / name / "part-*.parquet"))
        con.execute(f"create table clean.{name} as select {columns} from read_parquet({parts})")
    for name in ("campaigns", "sends", "events"):
        columns = ", ".join(f"{column} {kind}" for column, kind in TABLE_TYPES[f"delivery/{name}"].items())
        con.execute(f"create table delivery.{name} ({columns})")
    con.execute(_LINES)
    con.execute("create table results.measurement_rules as select 14 as window_days")
    con.execute(
        "create table segments.customer_segments (customer_id varchar, stage_segment_id varchar, "
        "taste_segment_id varchar)"
    )
    for name in _MODELS:
        model = load_model(SQL_ROOT / f"{name}.sql")
        create_from_query(con, name, model.query, {"as_of": settings.as_of} if model.needs_as_of else None)


def _planted(customers: pl.DataFrame, answer_key: Path, sales_share: float) -> pl.DataFrame:
    """campaign_id and `caused`: extra sales per treated customer."""
    personas = read_answer(answer_key, "personas").select("customer_id", "persona")
    effects = read_answer(answer_key, "campaign_effects").select("campaign_id", "persona", "true_effect")
    treated = (
        customers.filter(arm="treated").join(personas, on="customer_id").join(effects, on=["campaign_id", "persona"])
    )
    return treated.group_by("campaign_id").agg(caused=pl.col("true_effect").mean() * sales_share)


def _mean(values: pl.Series) -> float:
    return float(np.mean(values.to_numpy()))


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10, help="Worlds drawn (10).")
    parser.add_argument("--customers", type=int, default=20_000, help="Customers of each (20000).")
    parser.add_argument("--json", type=Path, help="Write all rows to this file.")
    given = parser.parse_args(arguments)
    results, pools = [], []
    for seed in range(given.seeds):
        with tempfile.TemporaryDirectory() as folder:
            found, pooled = measured_world(WorldSettings(given.customers, 1_000 + seed, dirt_share=0.0), Path(folder))
        results.append(found.with_columns(seed=pl.lit(seed)))
        pools.append(pooled)
    rows = pl.concat(results).filter(pl.col("planted").is_not_null() & pl.col("effect").is_not_null())
    print("| metric | campaigns | intervals that hold the planted effect | mean effect | planted |")
    print("|---|---:|---:|---:|---:|")
    for metric in ("buyers", "orders"):
        part = rows.filter(metric=metric)
        holds = part.select((pl.col("low") <= pl.col("planted")) & (pl.col("planted") <= pl.col("high"))).to_series()
        held, effect, planted = (_mean(series) for series in (holds, part["effect"], part["planted"]))
        print(f"| {metric} | {part.height} | {held:.1%} | {effect:.4f} | {planted:.4f} |")
    buyers = pl.concat(pools).filter(metric="buyers", scope="all", method="fixed")
    print(f"\nPooled over a world's campaigns, buyers: {_mean(buyers['effect']):.4f} on average.")
    if given.json:
        given.json.write_text(json.dumps(rows.to_dicts(), indent=1, default=str) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
