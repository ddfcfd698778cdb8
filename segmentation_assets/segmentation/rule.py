"""A rule in the place of an axis's clusters: the RFM groups as stage segments, for where they tell more.

The rule is `value.customer_rfm`'s; here it only takes the form of an axis: a choice, the rows of a model without a
version, and an assignment. Ids begin with R, because S1 may have been a cluster once and means nothing else.
"""

from __future__ import annotations

import polars as pl

from segmentation_assets.lifetime.rfm import RFM_GROUPS
from segmentation_assets.segmentation.assign import ASSIGNMENT_SCHEMA
from segmentation_assets.segmentation.choose import Choice, choose_k
from segmentation_assets.segmentation.fit import MODEL_SCHEMA
from segmentation_assets.segmentation.spec import AxisSpec

PREFIX = "R"
_IDS = {name: f"{PREFIX}{place}" for place, name in enumerate(RFM_GROUPS, start=1)}


def choose_rule(evidence: pl.DataFrame, spec: AxisSpec, groups: pl.DataFrame) -> Choice:
    """The choice of the rule: as many segments as groups that hold a customer; what the evidence chose stays beside it.

    `groups`: customer_id and rfm_group, null for who is in none. Without any group the axis is off.
    """
    count = groups["rfm_group"].drop_nulls().n_unique()
    if not count:
        reason = f"None of the {groups.height} customers has an RFM group, which the settings ask for."
        return Choice(0, "off", reason, "settings", f"There are no {spec.title.lower()} segments. {reason}")
    clusters = choose_k(evidence, spec).k
    return Choice(
        count,
        "constructive",
        f"The {count} RFM groups take the place of {clusters} clusters, as the settings ask (segments.stage_by).",
        "settings",
        f"These {count} segments are the RFM groups: a rule on recency, frequency and money, not groups that exist.",
        rule_k=clusters,
    )


def rule_model_frame(groups: pl.DataFrame, spec: AxisSpec) -> pl.DataFrame:
    """The rows of the model table (MODEL_SCHEMA), one per group that holds a customer; version 0, nothing is frozen."""
    sizes = dict(groups["rfm_group"].drop_nulls().value_counts().iter_rows())
    rows = [
        (
            0,
            _IDS[name],
            name,
            groups.height,
            sizes[name],
            "rfm",
            len(sizes),
            "recency, frequency, money",
            spec.seed,
            "rfm",
        )
        for name in RFM_GROUPS
        if name in sizes
    ]
    return pl.DataFrame(rows, schema=MODEL_SCHEMA, orient="row")


def assign_rule(groups: pl.DataFrame, customer_ids: pl.Series, spec: AxisSpec) -> pl.DataFrame:
    """Every customer with the id of their group (ASSIGNMENT_SCHEMA, version 0), outside the axis without one."""
    known = groups.select(pl.col("customer_id").cast(pl.String), "rfm_group")
    placed = customer_ids.cast(pl.String).to_frame("customer_id").join(known, on="customer_id", how="left")
    return (
        placed.with_columns(
            segment_id=pl.col("rfm_group").replace_strict(_IDS, default=spec.outside_id, return_dtype=pl.String),
            version=pl.lit(0, dtype=pl.Int64),
            distance=pl.lit(None, dtype=pl.Float64),
            margin=pl.lit(None, dtype=pl.Float64),
            is_misfit=pl.lit(None, dtype=pl.Boolean),
        )
        .select(list(ASSIGNMENT_SCHEMA))
        .sort("customer_id")
    )
