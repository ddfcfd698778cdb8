"""Builders of the small campaign tables that the tests of the offer plan and of the briefs work on."""

from __future__ import annotations

from typing import Any

import polars as pl

from segmentation_assets.merchandising.plan import table_schema

CELL = ["taste_segment_id", "stage_group", "is_adult"]


def members_of(*people: tuple[str, str, bool, bool, float]) -> pl.DataFrame:
    """campaigns.audience_members of (taste, stage group, is_adult, is_reachable, expected_products)."""
    frame = pl.DataFrame(
        [(f"C{place:05d}", *person) for place, person in enumerate(people)],
        schema={"customer_id": pl.String(), "taste_segment_id": pl.String(), "stage_group": pl.String(),
                "is_adult": pl.Boolean(), "is_reachable": pl.Boolean(), "expected_products": pl.Float64()},
        orient="row",
    )  # fmt: skip
    stages = {"active": "S1", "loyal": "S2", "lapsing": "S3"}
    return (
        frame.with_columns(pl.col("stage_group").replace_strict(stages, default="S0").alias("stage_segment_id"))
        .sort(*CELL, "is_reachable", "expected_products", "customer_id", descending=[False] * 3 + [True, True, False])
        .with_columns(pl.int_range(pl.len()).over(CELL).alias("activity_rank"))
        .select(pl.col(name).cast(dtype) for name, dtype in table_schema("campaigns/audience_members").items())
    )


def catalogue(*products: dict[str, Any]) -> pl.DataFrame:
    """campaigns.promotable_products; a margin of 10 a unit at full price unless said otherwise."""
    usual = {
        "is_promotable": True, "is_sensitive": False, "is_age_restricted": False, "list_price": 30.0, "unit_cost": 20.0,
        "margin_floor_share": 0.1, "safety_stock": 5.0, "stock_quantity": None, "is_chosen": False,
    }  # fmt: skip
    rows = [{"product_id": f"P{place}", "name": f"Item {place}"} | usual | row for place, row in enumerate(products)]
    return pl.DataFrame(rows, schema=table_schema("campaigns/promotable_products"))


def match(product: str, theta: float, members: pl.DataFrame, **values: Any) -> dict[str, Any]:
    """A row of campaigns.product_segment_matches whose members buy `theta` units per expected product."""
    row: dict[str, Any] = {
        "product_id": product, "taste_segment_id": "T1", "stage_group": "active", "stage_segment_ids": "S1",
        "activity_floor": 0.0, "discount_share": 0.0, "is_adults_only": False,
    } | values  # fmt: skip
    own = members.filter(
        (pl.col("taste_segment_id") == row["taste_segment_id"])
        & (pl.col("stage_group") == row["stage_group"])
        & (pl.col("expected_products") >= row["activity_floor"])
        & (pl.col("is_adult") | pl.lit(not row.pop("is_adults_only")))
    )
    return {"score": theta * float(own["expected_products"].mean() or 0)} | row  # type: ignore[arg-type]  # a float


def matched(*rows: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=table_schema("campaigns/product_segment_matches"))
