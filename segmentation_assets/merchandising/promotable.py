"""Which products may be offered, and why the others may not.

What belongs here: the rules of stock, margin, activity, sensitivity and age over the catalogue. What does not: who
should be offered them (`matching`).
"""

from __future__ import annotations

import re
from datetime import date

import polars as pl

from segmentation_assets.language.facts import clean_name
from segmentation_assets.merchandising.plan import CampaignSpec, empty_table, table_schema

_TABLE = "campaigns/promotable_products"

#: A name stands in the e-mail as it is, so a name that presses or promises makes the e-mail do so.
_LOUD_NAME = (
    r"(?i)\b(hurry|flash sale|last chance|act now|act fast|ends soon|ends today|today only|limited time|don.t miss|"
    r"selling fast|almost gone|while stocks last|urgent|guaranteed?|risk-free|cheapest|miracle|once in a lifetime)\b|!!"
)


def in_categories(terms: tuple[str, ...]) -> pl.Expr:
    """Whether category or subcategory holds one of `terms` as whole words, in any case."""
    words = [re.escape(" ".join(term.lower().split())) for term in terms if term.strip()]
    if not words:
        return pl.lit(value=False)
    pattern = rf"(?:^|[^\w])(?:{'|'.join(words)})(?:$|[^\w])"
    return pl.any_horizontal(
        pl.col(column).fill_null("").str.to_lowercase().str.contains(pattern) for column in ("category", "subcategory")
    )


def promotable_products(
    products: pl.DataFrame,
    inventory: pl.DataFrame | None,
    sales: pl.DataFrame,
    spec: CampaignSpec,
    as_of: date,
) -> pl.DataFrame:
    """`campaigns.promotable_products`: one row per product of the catalogue, or sold without being in it.

    `products` is clean.products; `inventory` is clean.inventory, or None when the source has none: the stock rules
    are then off and every reason says so. `sales` is campaigns.product_sales. The discount of a product is the
    largest of the plan's discounts at which margin over offer price is at or above the floor; a product that holds
    the floor only at full price may still be offered at full price.
    """
    if products.is_empty() and sales.is_empty():
        return empty_table(_TABLE)
    sold = sales.select(
        "product_id",
        pl.col("units_last_90_days").cast(pl.Float64),
        pl.col("median_unit_price").cast(pl.Float64),
    )
    catalogue = products.select(
        "product_id", "name", "brand", "category", "subcategory", "launched_on", "is_active",
        pl.col("list_price").cast(pl.Float64), pl.col("unit_cost").cast(pl.Float64),
        pl.lit(value=True).alias("is_catalogued"),
    )  # fmt: skip
    frame = (
        catalogue.join(sold, on="product_id", how="full", coalesce=True)
        .with_columns(
            pl.col("is_catalogued").fill_null(value=False),
            pl.col("units_last_90_days").fill_null(0.0),
            pl.coalesce("list_price", "median_unit_price").alias("list_price"),
        )
        .sort("product_id")
    )
    names = pl.Series("name", [clean_name(name) for name in frame["name"].to_list()], dtype=pl.String())
    assumed = None if spec.assumed_cost_share is None else pl.col("list_price") * spec.assumed_cost_share
    frame = frame.with_columns(
        pl.when(names == "").then(pl.col("product_id")).otherwise(names).alias("name"),
        (pl.coalesce("unit_cost", assumed) if assumed is not None else pl.col("unit_cost")).alias("unit_cost"),
        pl.col("unit_cost").is_null().alias("is_cost_missing"),
        is_sensitive=in_categories(spec.sensitive_categories),
        is_age_restricted=in_categories(spec.age_restricted_categories),
        margin_floor_share=pl.lit(spec.margin_floor_share),
    )
    frame = _with_stock(frame, inventory, spec)
    frame = _with_margin(frame, spec)
    return _with_reason(frame, spec, as_of, has_inventory=inventory is not None).select(
        pl.col(name).cast(dtype) for name, dtype in table_schema(_TABLE).items()
    )


def _with_stock(frame: pl.DataFrame, inventory: pl.DataFrame | None, spec: CampaignSpec) -> pl.DataFrame:
    safety = (spec.safety_stock + spec.cover_days * pl.col("units_last_90_days") / 90.0).round(3)
    if inventory is None:
        nothing = pl.lit(None, dtype=pl.Float64())
        return frame.with_columns(stock_quantity=nothing, safety_stock=nothing)
    stock = inventory.group_by("product_id").agg(pl.col("stock_quantity").cast(pl.Float64).sum())
    return frame.join(stock, on="product_id", how="left").with_columns(
        pl.col("stock_quantity").fill_null(0.0), safety_stock=safety
    )


def _with_margin(frame: pl.DataFrame, spec: CampaignSpec) -> pl.DataFrame:
    price, cost = pl.col("list_price"), pl.col("unit_cost")
    # From the smallest discount up, so that the largest bearable one wins; a null margin bears none.
    bearable = pl.lit(None, dtype=pl.Float64())
    for discount in spec.discounts:
        offer = price * (1 - discount)
        holds = (offer > 0) & (offer - cost >= spec.margin_floor_share * offer)
        bearable = pl.when(holds.fill_null(value=False)).then(pl.lit(discount)).otherwise(bearable)
    return (
        frame.with_columns(bearable=bearable)
        .with_columns(discount_share=pl.col("bearable").fill_null(min(spec.discounts)))
        .with_columns(offer_price=(price * (1 - pl.col("discount_share"))).round(4))
        .with_columns(margin_amount=(pl.col("offer_price") - cost).round(4))
        .with_columns(
            margin_share=pl.when(pl.col("offer_price") > 0)
            .then((pl.col("margin_amount") / pl.col("offer_price")).round(9))
            .otherwise(None)
        )
    )


def _with_reason(frame: pl.DataFrame, spec: CampaignSpec, as_of: date, *, has_inventory: bool) -> pl.DataFrame:
    spare = pl.col("stock_quantity") - pl.col("safety_stock")
    percent = (pl.col("margin_share") * 100).round(1).cast(pl.String)
    floor = f"{spec.margin_floor_share * 100:g}%"
    problems: list[tuple[pl.Expr, pl.Expr]] = [
        (pl.col("is_sensitive"), pl.lit("In a sensitive category: never promoted.")),
        (
            pl.col("name").str.contains(_LOUD_NAME),
            pl.lit("Its name presses or promises what nobody can keep; no e-mail may repeat it."),
        ),
        (~pl.col("is_catalogued"), pl.lit("Sold, but not in the catalogue: nothing is known of its price and cost.")),
        (~pl.col("is_active").fill_null(value=True), pl.lit("Discontinued.")),
        (
            pl.col("launched_on") > as_of,
            pl.format("Not on sale before {}.", pl.col("launched_on").cast(pl.String)),
        ),
        (
            pl.col("product_id").str.contains(",", literal=True),
            pl.lit("Its id holds a comma, which separates the ids in a campaign's list."),
        ),
        (pl.col("list_price").is_null() | (pl.col("list_price") <= 0), pl.lit("No list price is known.")),
        (pl.col("unit_cost").is_null(), pl.lit("No purchase cost is known, so its margin cannot be checked.")),
        (
            pl.col("bearable").is_null(),
            pl.format("Margin of {}% at the list price is below the floor of {}.", percent, pl.lit(floor)),
        ),
    ]
    if has_inventory:
        problems.append(
            (
                spare < 1,
                pl.format(
                    "Stock of {} is not above the safety level of {}.",
                    pl.col("stock_quantity").round(0).cast(pl.Int64),
                    pl.col("safety_stock").ceil().cast(pl.Int64),
                ),
            )
        )
    good = pl.format(
        "{}; margin of {}% after {}% off, floor {}{}.",
        pl.format("{} units above the safety level", spare.floor().cast(pl.Int64))
        if has_inventory
        else pl.lit("Stock unknown, so no stock rule was applied"),
        percent,
        (pl.col("discount_share") * 100).round(0).cast(pl.Int64),
        pl.lit(floor),
        pl.when(pl.col("is_cost_missing")).then(pl.lit(" (purchase cost assumed)")).otherwise(pl.lit("")),
    )
    reason = good
    is_promotable = pl.lit(value=True)
    for is_problem, sentence in reversed(problems):
        is_hit = is_problem.fill_null(value=False)
        reason = pl.when(is_hit).then(sentence).otherwise(reason)
        is_promotable = is_promotable & ~is_hit
    return frame.with_columns(reason=reason, is_promotable=is_promotable)
