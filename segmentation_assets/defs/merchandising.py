"""Stage campaigns, the goods: what may be offered, what a marketer chose, and which segments lean to what."""

from collections.abc import Mapping
from typing import Any

import dagster as dg
import duckdb
import numpy as np
import polars as pl
from pydantic import Field

from segmentation_assets.merchandising.affinity import product_affinity
from segmentation_assets.merchandising.choices import choices_frame
from segmentation_assets.merchandising.plan import (
    COLUMN_NOTES,
    TABLE_TYPES,
    CampaignSpec,
    ProductFilters,
)
from segmentation_assets.merchandising.promotable import promotable_products
from segmentation_assets.merchandising.shares import held_out_lifts, learn_shares
from segmentation_assets.merchandising.stage_groups import stage_groups
from segmentation_assets.orchestration import plots
from segmentation_assets.orchestration.table_steps import Computed, TableDeclaration, computed_tables, sql_table
from segmentation_assets.orchestration.warehouse import Warehouse, source_row
from segmentation_assets.settings import Settings
from segmentation_assets.state.choices import choices_in_force
from segmentation_assets.state.store import open_state

_PYTHON = frozenset({"duckdb", "python"})


class ProductChoice(dg.Config):
    """Products chosen for this run alone, in the place of those kept by `segmentation products choose`."""

    product_ids: list[str] = Field(default_factory=list)
    discount_share: float | None = None
    audience_customers: int | None = None


def campaign_spec(settings: Settings) -> CampaignSpec:
    """The settings as merchandising takes them."""
    campaigns, privacy = settings.campaigns, settings.privacy
    return CampaignSpec(
        margin_floor_share=campaigns.margin_floor_share,
        safety_stock=campaigns.safety_stock,
        cover_days=campaigns.cover_days,
        products_per_brief=campaigns.products_per_brief,
        max_briefs=campaigns.max_briefs,
        valid_days=campaigns.valid_days,
        base_discount_share=campaigns.discount_share,
        discount_by_stage_group=campaigns.discounts.model_dump(),
        control_share=campaigns.control_share,
        minimum_cell=privacy.minimum_cell,
        audience_share=campaigns.audience_share,
        offers_per_customer=campaigns.offers_per_customer,
        rest_days=campaigns.rest_days,
        filters=ProductFilters(
            **campaigns.filters.model_dump(exclude={"categories", "brands"}),
            categories=tuple(campaigns.filters.categories),
            brands=tuple(campaigns.filters.brands),
        ),
        sensitive_categories=tuple(privacy.sensitive_categories),
        age_restricted_categories=tuple(privacy.age_restricted_categories),
    )


def read(con: duckdb.DuckDBPyConnection, table: str) -> pl.DataFrame:
    """A table, whole."""
    return con.sql(f"from {table}").pl()


def window_of(con: duckdb.DuckDBPyConnection, table: str, windows_ago: int) -> pl.DataFrame:
    """The rows of one window of campaigns.customer_activity or campaigns.window_purchases."""
    return con.sql(f"from campaigns.{table} where windows_ago = $ago", params={"ago": windows_ago}).pl()


def goods_of(con: duckdb.DuckDBPyConnection) -> pl.DataFrame:
    """Traits of the products that may be matched."""
    return con.sql("from campaigns.product_traits where not is_sensitive order by product_id").pl()


def groups_of(con: duckdb.DuckDBPyConnection) -> pl.DataFrame:
    """The stage group of every stage segment."""
    return stage_groups(read(con, "segments.segment_summary"), read(con, "segments.segment_metrics"))


def declare(key: str, description: str, deps: tuple[str, ...]) -> TableDeclaration:
    """A table of the room merchandising."""
    return TableDeclaration(key, description, types=TABLE_TYPES[key], texts=COLUMN_NOTES[key], deps=deps, kinds=_PYTHON)


def is_on(con: duckdb.DuckDBPyConnection, capability: str) -> bool:
    rows = con.execute(
        "select is_on from quality.capabilities where capability = $capability", {"capability": capability}
    ).fetchall()
    return bool(rows and rows[0][0])


# --- the goods ------------------------------------------------------------------------------------------------------

product_sales = sql_table("campaigns/product_sales", "campaigns")
product_traits = sql_table("campaigns/product_traits", "campaigns")
segment_purchases = sql_table("campaigns/segment_purchases", "campaigns")
customer_activity = sql_table("campaigns/customer_activity", "campaigns")
window_purchases = sql_table("campaigns/window_purchases", "campaigns")


@computed_tables(
    "campaigns",
    declare(
        "campaigns/product_choices",
        "Products a marketer chose to offer, with discount and size of audience where these were chosen too. Empty "
        "without a choice: then the best few by expected margin are offered.\n\nGrain: product_id",
        ("raw/source",),
    ),
    config=ProductChoice,
)
def product_choices(context: dg.AssetExecutionContext, warehouse: Warehouse) -> Computed:
    """The choices kept in the state store, or those of the run's config in their place."""
    given = ProductChoice(**context.op_execution_context.op_config)
    with open_state(warehouse.place.state) as state:
        kept = choices_in_force(state)
    try:
        frame = choices_frame(
            [(choice.product_id, choice.discount_share, choice.audience_customers) for choice in kept],
            [(product_id, given.discount_share, given.audience_customers) for product_id in given.product_ids],
        )
    except ValueError as error:
        raise dg.Failure(f"The choice of products in this run's config cannot be meant: {error}") from None
    return Computed(frame, {"chosen": ", ".join(frame["product_id"]) or "nothing: the best by expected margin"})


@computed_tables(
    "campaigns",
    declare(
        "campaigns/promotable_products",
        "Every product with whether it may be offered: in stock, active, not sensitive, with a margin above the floor "
        "after the discount, and passing all filters of the settings; each other one keeps its reason. With the "
        "profit before and after the discount and the uplift at which it breaks even.\n\nGrain: product_id",
        (
            "clean/products",
            "clean/inventory",
            "campaigns/product_sales",
            "campaigns/product_choices",
            "quality/capabilities",
            "raw/source",
        ),
    ),
)
def promotable(context: dg.AssetExecutionContext, warehouse: Warehouse) -> Computed:
    """Stock, margin, activity and sensitivity of the catalogue, and what a marketer chose."""
    with warehouse.get_connection(read_only=True) as con:
        as_of, _ = source_row(con)
        frame = promotable_products(
            read(con, "clean.products"),
            read(con, "clean.inventory") if is_on(con, "inventory") else None,
            read(con, "campaigns.product_sales"),
            read(con, "campaigns.product_choices"),
            spec=campaign_spec(warehouse.settings),
            as_of=as_of,
        )
        chosen = read(con, "campaigns.product_choices")["product_id"].to_list()
    reasons = dict(frame.filter(~pl.col("is_promotable")).select("product_id", "reason").iter_rows())
    known = set(frame["product_id"].to_list())
    for product_id in chosen:
        if product_id not in known:
            context.log.warning(f"Product {product_id} was chosen, and the shop has no such product.")
        elif product_id in reasons:
            context.log.warning(f"Product {product_id} was chosen and cannot be offered: {reasons[product_id]}")
    told: dict[str, Any] = {"promotable_products": int(frame["is_promotable"].sum()) if frame.height else 0}
    if frame.height:
        told["why_not"] = _reasons_table(frame)
    return Computed(frame, told)


def _reasons_table(frame: pl.DataFrame) -> dg.MarkdownMetadataValue:
    """How many products each kind of reason keeps out; figures within a sentence are left out of the kind."""
    kinds = (
        frame.filter(~pl.col("is_promotable"))
        .group_by(pl.col("reason").str.replace_all(r"-?[\d.,]+%?", "#").alias("kind"))
        .agg(pl.len().alias("products"), pl.col("reason").first().alias("example"))
        .sort(["products", "kind"], descending=[True, False])
        .head(12)
    )
    rows = [f"| {products} | {example} |" for _, products, example in kinds.iter_rows()]
    return dg.MetadataValue.md("\n".join(["| products | for example |", "|---:|---|", *rows]))


# --- who leans to what ----------------------------------------------------------------------------------------------


def _affinity_plots(frame: pl.DataFrame, names: Mapping[tuple[str, str], str]) -> dict[str, Any]:
    """Heat maps of categories by the segments of each axis."""
    found = {}
    for axis in ("taste", "stage"):
        rows = frame.filter((pl.col("dimension") == "category") & (pl.col("axis") == axis))
        if rows.is_empty():
            continue
        busiest = rows.group_by("value").agg(pl.col("buyers").sum()).sort(["buyers", "value"], descending=[True, False])
        values = sorted(busiest.head(30)["value"].to_list())
        segments = rows["segment_id"].unique().sort().to_list()
        grid = np.full((len(values), len(segments)), np.nan)
        place = {value: number for number, value in enumerate(values)}
        for value, segment, lift in rows.select("value", "segment_id", "shrunken_lift").iter_rows():
            if value in place and lift:
                grid[place[value], segments.index(segment)] = np.log2(max(lift, 1e-3))
        found[f"{axis}_plot"] = plots.heat_map(
            grid,
            values,
            [f"{segment} {names.get((axis, segment), '')}" for segment in segments],
            title=f"Affinity of {axis} segments with categories",
            caption="Shrunken lift on a log scale: +1 is twice as many buyers as in all segments, -1 half as many.",
            limit=2.0,
        )
    return found


@computed_tables(
    "campaigns",
    declare(
        "campaigns/product_affinity",
        "How much more the segments of both axes buy a product, category, brand or price band than all do: raw, "
        "shrunken by empirical Bayes with its 90% interval, and weighted by recency; first and repeat purchases apart. "
        "A product nobody bought takes what its category, brand and price band let expect.\n\n"
        "Grain: dimension, value, axis, segment_id",
        (
            "campaigns/segment_purchases",
            "campaigns/window_purchases",
            "campaigns/product_traits",
            "segments/stage_model",
            "segments/taste_model",
        ),
    ),
)
def affinity(context: dg.AssetExecutionContext, warehouse: Warehouse) -> Computed:
    """Rates, lifts and their shrinkage."""
    with warehouse.get_connection(read_only=True) as con:
        counts = window_of(con, "window_purchases", 1)
        held_out = held_out_lifts(learn_shares(counts, goods_of(con), sorted(set(counts["taste_segment_id"]))))
        frame = product_affinity(
            read(con, "campaigns.segment_purchases"),
            read(con, "campaigns.product_traits"),
            held_out if counts.height else None,
        )
        names = {(axis, i): name for axis, i, name in con.sql(SEGMENT_NAMES).fetchall()}
    return Computed(frame, _affinity_plots(frame, names))


SEGMENT_NAMES = (
    "select 'stage', segment_id, name from segments.stage_model "
    "union all select 'taste', segment_id, name from segments.taste_model"
)
