"""How well campaigns.product_affinity orders the products of a taste segment, beside what was planted.

`python benchmarks/affinity.py HOME` reads HOME/warehouse.duckdb (read-only) and HOME/answer_key, and prints for each
taste segment Spearman's rank correlation over products of the shrunken lift, and of the raw lift, with the planted
lift. Beside them stands what the same shrinkage reaches on as many purchases drawn afresh by the planted lifts: where
that is below the goal, the data are too few; where it is above, the difference is that a segment was formed by the very
purchases that are counted. Functions take frames, so tests call them without a run. Nothing here writes.
"""

from __future__ import annotations

import sys
from pathlib import Path

import duckdb
import numpy as np
import polars as pl

from segmentation_assets.merchandising.affinity import group_indices, product_lifts
from segmentation_assets.sources.synthetic.answer_key import read_answer
from segmentation_assets.warehouse.connection import connect

GOAL = 0.8


def planted_lifts(
    members: pl.DataFrame,
    *,
    personas: pl.DataFrame,
    tastes: pl.DataFrame,
    taste_parameters: pl.DataFrame,
    product_parameters: pl.DataFrame,
) -> pl.DataFrame:
    """Planted lift of every product in every segment: segment_id, product_id, planted_lift.

    `members` is customer_id, segment_id. The planted probability that a fresh line of a customer is product p is that
    of p's category by taste and adherence, the mean over the months, times that of p within its category by price
    tier in the last period. The lift is its mean over the segment's members over its mean over all customers of the
    answer key. Products that nobody can buy any more have no row.
    """
    kinds = tastes.join(personas.select("customer_id", "price_tier"), on="customer_id")
    kind = ["taste", "adherence", "price_tier"]
    everyone = kinds.with_columns(segment_id=pl.lit(None, dtype=pl.String))
    placed = kinds.join(members, on="customer_id")
    counted = (
        pl.concat([everyone, placed.select(everyone.columns)])
        .group_by("segment_id", *kind)
        .len()
        .with_columns(weight=pl.col("len") / pl.col("len").sum().over("segment_id"))
    )
    categories = taste_parameters.group_by("taste", "adherence", "category").agg(pl.col("category_probability").mean())
    by_tier = (
        counted.join(categories, on=["taste", "adherence"])
        .group_by("segment_id", "price_tier", "category")
        .agg(probability=(pl.col("weight") * pl.col("category_probability")).sum())
    )
    last = product_parameters.filter(pl.col("period") == pl.col("period").max())
    means = (
        by_tier.join(last, on=["price_tier", "category"])
        .group_by("segment_id", "product_id")
        .agg(probability=(pl.col("probability") * pl.col("product_probability")).sum())
    )
    overall = means.filter(pl.col("segment_id").is_null() & (pl.col("probability") > 0))
    return (
        means.filter(pl.col("segment_id").is_not_null())
        .join(overall.select("product_id", overall="probability"), on="product_id")
        .select("segment_id", "product_id", planted_lift=pl.col("probability") / pl.col("overall"))
        .sort("segment_id", "product_id")
    )


def rank_agreement(affinity: pl.DataFrame, planted: pl.DataFrame) -> pl.DataFrame:
    """Correlation with the planted lift per taste segment: segment_id, products, shrunken, held_out, raw, logs.

    `affinity` is campaigns.product_affinity, `planted` comes from `planted_lifts`. `shrunken`, `held_out` and `raw` are
    Spearman's correlations of these lifts, `logs` is Pearson's of the logs of the shrunken ones: ranks give the many
    lifts that are all but equal as much weight as the few that matter. A product nobody bought yet counts with the
    lift it borrowed; its raw lift is taken to be 1. Null where lifts do not vary.
    """
    lifts = affinity.filter(dimension="product", axis="taste").select(
        "segment_id", "shrunken_lift", "held_out_lift", pl.col("lift").fill_null(1.0), product_id="value"
    )
    return (
        planted.join(lifts, on=["segment_id", "product_id"])
        .group_by("segment_id")
        .agg(
            products=pl.len(),
            shrunken=pl.corr("shrunken_lift", "planted_lift", method="spearman"),
            held_out=pl.corr("held_out_lift", "planted_lift", method="spearman"),
            raw=pl.corr("lift", "planted_lift", method="spearman"),
            logs=pl.corr(pl.col("shrunken_lift").log(), pl.col("planted_lift").log()),
        )
        .with_columns(pl.col("shrunken", "held_out", "raw", "logs").fill_nan(None))
        .sort("segment_id")
    )


def fresh_agreement(
    affinity: pl.DataFrame, planted: pl.DataFrame, traits: pl.DataFrame, seed: int, draws: int = 5
) -> pl.DataFrame:
    """Spearman's correlation of lifts learned from fresh purchases, the mean over `draws`: segment_id, fresh.

    As many purchases as each segment expects of each product, base rate times customers, are drawn as Poisson counts
    about the planted lift, independent of how segments were formed, and shrunk by `product_lifts`. `traits` is
    campaigns.product_traits.
    """
    cells = (
        affinity.filter(dimension="product", axis="taste")
        .select("segment_id", expected=pl.col("base_rate") * pl.col("segment_customers"), product_id="value")
        .join(planted, on=["segment_id", "product_id"])
        .sort("product_id", "segment_id")
    )
    segments = cells["segment_id"].unique().sort()
    products = cells.select("product_id").unique().sort("product_id")
    shape = (products.height, len(segments))
    expected = cells["expected"].to_numpy().reshape(shape)
    lift = cells["planted_lift"].to_numpy().reshape(shape)
    groups = group_indices(products.join(traits, on="product_id", how="left", maintain_order="left"))
    rng = np.random.default_rng(seed)
    weight = expected.sum(axis=0) / expected.sum()
    found = []
    for _ in range(draws):
        drawn = rng.poisson(expected * lift).astype(np.float64)
        learned = product_lifts(drawn, np.outer(drawn.sum(axis=1), weight), groups).mean
        found.append(
            cells.select("segment_id", "planted_lift", learned=pl.Series(learned.ravel()))
            .group_by("segment_id")
            .agg(fresh=pl.corr("learned", "planted_lift", method="spearman"))
        )
    return pl.concat(found).group_by("segment_id").agg(pl.col("fresh").mean()).sort("segment_id")


def _rows(con: duckdb.DuckDBPyConnection, query: str) -> pl.DataFrame:
    return pl.DataFrame(con.sql(query).to_arrow_table())


def main(home: Path) -> None:
    """Read a finished home and print how well its affinities agree with its answer key."""
    answers = home / "answer_key"
    with connect(home / "warehouse.duckdb", read_only=True) as con:
        affinity = _rows(con, "select * from campaigns.product_affinity where dimension = 'product' and axis = 'taste'")
        members = _rows(
            con,
            "select customer_id, taste_segment_id as segment_id from segments.customer_segments "
            "where taste_segment_id <> 'T0'",
        )
        traits = _rows(con, "from campaigns.product_traits")
    planted = planted_lifts(
        members,
        personas=read_answer(answers, "personas"),
        tastes=read_answer(answers, "tastes"),
        taste_parameters=read_answer(answers, "taste_parameters"),
        product_parameters=read_answer(answers, "product_parameters"),
    )
    agreement = rank_agreement(affinity, planted).join(
        fresh_agreement(affinity, planted, traits, seed=0), on="segment_id", how="left"
    )
    print("Correlation with the planted lift, over products (Spearman's, but for the logs)")
    print(f"  {'segment':8} {'products':>8} {'shrunken':>9} {'held out':>9} {'raw':>9} {'fresh':>9} {'logs':>9}")
    for row in agreement.sort("segment_id").iter_rows(named=True):
        figures = [
            f"{row[name]:>9.3f}" if row[name] is not None else f"{'none':>9}"
            for name in ("shrunken", "held_out", "raw", "fresh", "logs")
        ]
        mark = "" if row["shrunken"] is not None and row["shrunken"] >= GOAL else f"   <-- below {GOAL}"
        print(f"  {row['segment_id']:8} {row['products']:>8,} {' '.join(figures)}{mark}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("Usage: python benchmarks/affinity.py HOME, the folder of a finished run on the synthetic world.")
    main(Path(sys.argv[1]))
