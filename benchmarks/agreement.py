"""How well a finished run agrees with the answer key of the synthetic world.

`python benchmarks/agreement.py HOME` reads HOME/warehouse.duckdb and HOME/people.duckdb (read-only) and
HOME/answer_key, and prints: planted faults found, clean rows wrongly rejected, taste segments beside a Bayes
classifier that knows the planted parameters, stage segments beside rule groups. Functions take frames, so tests call
them without a run. Nothing here writes.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
from sklearn.metrics import adjusted_rand_score

from segmentation_assets.sources.contract import CONTRACT
from segmentation_assets.sources.synthetic.answer_key import read_answer
from segmentation_assets.warehouse.connection import connect

MINIMUM_LINES = 5
#: Rules that say no more than that a row's parent was rejected.
INHERITED = ("parent_rejected",)


@dataclass(frozen=True)
class FaultAgreement:
    """`by_fault`: table_name, fault, expected_outcome, planted, found. The others: table_name, row_key, rule."""

    by_fault: pl.DataFrame
    wrongly_rejected: pl.DataFrame

    @property
    def missed(self) -> int:
        """Planted faults nobody found."""
        return int((self.by_fault["planted"] - self.by_fault["found"]).sum())


def fault_agreement(
    faults: pl.DataFrame,
    rejected_rows: pl.DataFrame,
    repairs: pl.DataFrame,
    contact_repairs: pl.DataFrame,
    contact_flags: pl.DataFrame,
) -> FaultAgreement:
    """Compare the planted faults with what cleaning recorded.

    `rejected_rows` needs table_name, row_key, rule (rejected contacts among them); `repairs` table_name, row_key,
    column_name, rule; `contact_repairs` the same without table_name; `contact_flags` customer_id, has_email,
    is_email_shared. A fault counts as found under its expected rule only. Rows without a key cannot be told apart,
    so they are matched by number. Counts respect multiplicity: two faults under one key need two records.
    """
    named = pl.col("expected_rule") != "missing_key"
    key = ["table_name", "row_key", "rule"]
    planted = faults.rename({"expected_rule": "rule"})
    rejects = planted.filter((pl.col("expected_outcome") == "reject") & (pl.col("rule") != "missing_key"))
    rejects = _numbered(rejects, key)
    rejected = _numbered(rejected_rows.select(key), key)
    found_rejects = rejects.join(rejected, on=[*key, "_number"], how="semi")

    keyless = faults.filter(~named).group_by("table_name", "fault", "expected_outcome").agg(planted=pl.len())
    keyless_found = rejected_rows.filter(pl.col("rule") == "missing_key").group_by("table_name").agg(recorded=pl.len())
    keyless = keyless.join(keyless_found, on="table_name", how="left").with_columns(
        found=pl.min_horizontal("planted", pl.col("recorded").fill_null(0))
    )

    repair_key = ["table_name", "row_key", "column_name", "rule"]
    contact_repairs = contact_repairs.with_columns(table_name=pl.lit("contacts"))
    all_repairs = pl.concat([repairs.select(repair_key), contact_repairs.select(repair_key)])
    mended = planted.filter(pl.col("expected_outcome") == "repair")
    found_repairs = mended.join(all_repairs.unique(), on=repair_key, how="semi")

    flags = contact_flags.select(row_key="customer_id", has_email="has_email", is_shared="is_email_shared")
    flagged = planted.filter(pl.col("expected_outcome") == "flag").join(flags, on="row_key", how="left")
    found_flags = flagged.filter(
        ((pl.col("rule") == "shared_email") & pl.col("is_shared"))
        | ((pl.col("rule") == "missing_email") & ~pl.col("has_email"))
    )

    group = ["table_name", "fault", "expected_outcome"]
    found = pl.concat([frame.select(group) for frame in (found_rejects, found_repairs, found_flags)])
    counted = (
        faults.filter(named)
        .group_by(group)
        .agg(planted=pl.len())
        .join(found.group_by(group).agg(found=pl.len()), on=group, how="left")
        .with_columns(pl.col("found").fill_null(0))
    )
    by_fault = pl.concat([counted, keyless.select(counted.columns)]).sort("table_name", "fault")

    suspects = rejected.filter(~pl.col("rule").is_in([*INHERITED, "missing_key"]))
    wrong = suspects.join(rejects, on=[*key, "_number"], how="anti").select(key)
    surplus = keyless_found.join(keyless, on="table_name", how="left").filter(
        pl.col("recorded") > pl.col("planted").fill_null(0)
    )
    extra = surplus.select("table_name", row_key=pl.lit(""), rule=pl.lit("missing_key"))
    return FaultAgreement(by_fault, pl.concat([wrong, extra]).sort(key))


def _numbered(frame: pl.DataFrame, key: list[str]) -> pl.DataFrame:
    """`frame` with the number of each row among those of equal key."""
    return frame.with_columns(_number=pl.int_range(pl.len()).over(key))


def bayes_tastes(
    lines: pl.DataFrame, taste_parameters: pl.DataFrame, product_parameters: pl.DataFrame, price_tiers: pl.DataFrame
) -> pl.DataFrame:
    """The most probable taste of each customer under the planted parameters: customer_id, taste.

    `lines` needs customer_id, order_id, order_item_id, ordered_at, product_id, one row per line; `price_tiers`
    customer_id, price_tier. The probability of a line given those of earlier orders is exact: with `repeat_share` an
    earlier line comes to mind, each equally likely, and its product is bought again with the `rebuy_share` of its
    category; else the line is drawn fresh from the taste (its category by month, the product by period and price
    tier). No classifier of tastes from order lines can be right more often on average than this one.
    """
    rebuy = taste_parameters.select("category", "rebuy_share").unique()
    periods = product_parameters.select("period", "starts_on").unique().sort("starts_on")
    table = (
        lines.with_columns(ordered_on=pl.col("ordered_at").dt.date(), month=pl.col("ordered_at").dt.month())
        .sort("ordered_on")
        .join_asof(periods, left_on="ordered_on", right_on="starts_on")
        .join(price_tiers, on="customer_id")
        .join(
            product_parameters.select("period", "price_tier", "product_id", "category", "product_probability"),
            on=["period", "price_tier", "product_id"],
        )
        .join(rebuy, on="category")
        .sort("customer_id", "ordered_at", "order_id", "order_item_id")
        .with_columns(
            place=pl.int_range(pl.len()).over("customer_id"),
            same=pl.int_range(pl.len()).over("customer_id", "product_id")
            - pl.int_range(pl.len()).over("customer_id", "order_id", "product_id"),
            remembered=pl.col("rebuy_share").cum_sum().over("customer_id") - pl.col("rebuy_share"),
        )
        .with_columns(
            earlier=pl.col("place").first().over("customer_id", "order_id"),
            remembered=pl.col("remembered").first().over("customer_id", "order_id"),
        )
    )
    if table.is_empty():
        return pl.DataFrame(schema={"customer_id": pl.String, "taste": pl.String})
    leanings = (
        taste_parameters.select("taste", "adherence", "taste_share", "adherence_share")
        .unique()
        .sort("taste", "adherence")
    )
    categories = rebuy["category"].sort().to_list()
    cube = (
        taste_parameters.sort("month", "category", "taste", "adherence")["category_probability"]
        .to_numpy()
        .reshape(-1, leanings.height)
    )
    row = (table["month"].to_numpy().astype(np.int64) - 1) * len(categories) + np.searchsorted(
        np.array(categories), table["category"].to_numpy()
    )
    repeat = float(taste_parameters["repeat_share"][0])
    earlier = np.maximum(table["earlier"].to_numpy(), 1)
    again = repeat * table["same"].to_numpy() / earlier * table["rebuy_share"].to_numpy()
    fresh = 1 - repeat * table["remembered"].to_numpy() / earlier
    chance = again[:, None] + (fresh * table["product_probability"].to_numpy())[:, None] * cube[row]
    # One stretch of rows per customer.
    starts = np.flatnonzero(table["place"].to_numpy() == 0)
    score = np.add.reduceat(np.log(np.maximum(chance, 1e-300)), starts, axis=0)
    score += np.log((leanings["taste_share"] * leanings["adherence_share"]).to_numpy())
    # How closely a customer keeps to the taste is unknown: its levels are summed over.
    tastes = leanings["taste"].unique().sort()
    first = np.searchsorted(leanings["taste"].to_numpy(), tastes.to_numpy())
    by_taste = np.logaddexp.reduceat(score, first, axis=1)
    return pl.DataFrame(
        {
            "customer_id": table["customer_id"].gather(starts),
            "taste": tastes.gather(by_taste.argmax(axis=1)),
        }
    )


def agreement(left: pl.DataFrame, right: pl.DataFrame, among: pl.DataFrame) -> float:
    """Adjusted Rand index of two labellings (customer_id and one label each) of the customers in `among`."""
    first = left.select("customer_id", pl.exclude("customer_id").alias("_left"))
    second = right.select("customer_id", pl.exclude("customer_id").alias("_right"))
    both = among.select("customer_id").join(first, on="customer_id").join(second, on="customer_id")
    return float(adjusted_rand_score(both["_left"].to_numpy(), both["_right"].to_numpy()))


def bayes_ceiling(
    lines: pl.DataFrame,
    *,
    taste_parameters: pl.DataFrame,
    product_parameters: pl.DataFrame,
    personas: pl.DataFrame,
    tastes: pl.DataFrame,
    among: pl.DataFrame,
) -> float:
    """Adjusted Rand index of the Bayes classifier with the planted tastes for the customers in `among`."""
    tiers = personas.select("customer_id", "price_tier")
    return agreement(
        bayes_tastes(lines, taste_parameters, product_parameters, tiers), tastes.select("customer_id", "taste"), among
    )


def rfm_groups(customers: pl.DataFrame) -> pl.DataFrame:
    """Eleven rule groups on quintiles of recency, frequency and money: customer_id, rfm_group.

    `customers` needs customer_id, recency_days, order_count, monetary_amount; buyers only.
    """
    count = max(customers.height, 1)

    def quintile(rank: pl.Expr) -> pl.Expr:
        return ((rank - 1) * 5 // count + 1).cast(pl.Int64)

    scored = customers.sort("customer_id").select(
        "customer_id",
        r=quintile((-pl.col("recency_days")).rank("ordinal")),
        f=quintile(pl.col("order_count").rank("ordinal")),
        m=quintile(pl.col("monetary_amount").rank("ordinal")),
    )
    r, worth = pl.col("r"), (pl.col("f") + pl.col("m")) / 2
    rules = (
        ((r >= 5) & (worth >= 4), "champions"),
        ((r >= 3) & (worth >= 4), "loyal"),
        ((r <= 1) & (worth >= 4.5), "cannot lose"),
        ((r <= 2) & (worth >= 3), "at risk"),
        ((r >= 4) & (worth >= 2.5), "potential loyal"),
        ((r >= 5) & (worth < 2.5), "new"),
        ((r == 4) & (worth < 2.5), "promising"),
        ((r == 3) & (worth >= 2.5), "needs attention"),
        ((r == 3) & (worth < 2.5), "about to sleep"),
        ((r == 2), "hibernating"),
    )
    group: pl.Expr = pl.lit("lost")
    for condition, name in reversed(rules):
        group = pl.when(condition).then(pl.lit(name)).otherwise(group)
    return scored.select("customer_id", rfm_group=group)


def _print_faults(found: FaultAgreement) -> None:
    print("Planted faults found")
    for table in CONTRACT:
        for row in found.by_fault.filter(pl.col("table_name") == table).iter_rows(named=True):
            mark = "" if row["found"] == row["planted"] else "   <-- missed"
            print(
                f"  {table:22} {row['fault']:20} {row['expected_outcome']:7} {row['found']:>7,} of "
                f"{row['planted']:>7,}{mark}"
            )
    total = int(found.by_fault["planted"].sum())
    print(f"  in all {total - found.missed:,} of {total:,}")
    print(f"Clean rows wrongly rejected: {found.wrongly_rejected.height:,}")
    for row in found.wrongly_rejected.head(10).iter_rows(named=True):
        print(f"  {row['table_name']} {row['row_key']}: {row['rule']}")


def _rows(con: duckdb.DuckDBPyConnection, query: str) -> pl.DataFrame:
    """The rows of a query."""
    return pl.DataFrame(con.sql(query).to_arrow_table())


def main(home: Path) -> None:
    """Read a finished home and print its agreement with its answer key."""
    answers = home / "answer_key"
    people = home / "people.duckdb"
    with connect(home / "warehouse.duckdb", read_only=True, people=people) as con:
        found = fault_agreement(
            read_answer(answers, "faults"),
            _rows(
                con,
                "select table_name, row_key, rule from quality.rejected_rows where table_name <> 'contacts' "
                "union all select 'contacts', row_key, rule from people.rejected_contacts order by all",
            ),
            _rows(con, "select table_name, row_key, column_name, rule from quality.repairs order by all"),
            _rows(con, "select row_key, column_name, rule from people.contact_repairs order by all"),
            _rows(con, "select customer_id, has_email, is_email_shared from clean.contact_flags order by all"),
        )
        lines = _rows(
            con,
            "select o.customer_id, o.order_id, i.order_item_id, o.ordered_at, i.product_id from clean.order_items i "
            "join clean.orders o using (order_id) where i.product_id is not null",
        )
        buyers = _rows(
            con,
            "select customer_id, line_count, recency_days, order_count, monetary_amount::double as monetary_amount "
            "from features.customer_features where is_buyer order by customer_id",
        )
        segments = _rows(con, "select customer_id, stage_segment_id, taste_segment_id from segments.customer_segments")
    _print_faults(found)

    tastes = read_answer(answers, "tastes").select("customer_id", "taste")
    personas = read_answer(answers, "personas")
    judged = buyers.filter(pl.col("line_count") >= MINIMUM_LINES)
    ceiling = bayes_ceiling(
        lines,
        taste_parameters=read_answer(answers, "taste_parameters"),
        product_parameters=read_answer(answers, "product_parameters"),
        personas=personas,
        tastes=tastes,
        among=judged,
    )
    reached = agreement(segments.select("customer_id", "taste_segment_id"), tastes, judged)
    print(f"Taste segments and planted tastes, {judged.height:,} buyers with {MINIMUM_LINES} lines or more (ARI)")
    ratio = f"{reached / ceiling:.1%} of it" if ceiling > 0 else "no tastes were planted"
    print(f"  segments {reached:.3f}, Bayes classifier {ceiling:.3f}: {ratio}")

    planted = personas.select("customer_id", "persona")
    by_stage = agreement(segments.select("customer_id", "stage_segment_id"), planted, buyers)
    by_rule = agreement(rfm_groups(buyers), planted, buyers)
    print(f"Stage segments and planted personas, {buyers.height:,} buyers (ARI)")
    print(f"  segments {by_stage:.3f}, RFM rule groups {by_rule:.3f}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("Usage: python benchmarks/agreement.py HOME, the folder of a finished run on the synthetic world.")
    main(Path(sys.argv[1]))
