"""Stages clean and quality: valid rows only, every rejected row and every repair on record."""

from collections.abc import Mapping
from typing import Any

import dagster as dg
import duckdb
import polars as pl

from segmentation_assets.orchestration import checks, plots
from segmentation_assets.orchestration.table_steps import (
    Computed,
    StepEvents,
    TableDeclaration,
    computed_tables,
    replace_tables,
    sql_table,
)
from segmentation_assets.orchestration.warehouse import Warehouse, source_row
from segmentation_assets.sources.cleaning import (
    TableCounts,
    clean_contacts,
    clean_warehouse,
    write_contact_flags,
    write_row_accounting,
)
from segmentation_assets.sources.contract import CONTRACT, WAREHOUSE_TABLES
from segmentation_assets.sources.contract_checks import contract_check_query, reference_check_query
from segmentation_assets.sources.profiling import PROFILE_COLUMNS, PROFILE_TYPES, profile_tables


def _rules(name: str) -> list[checks.Rule]:
    """What the contract says of a clean table, as rules; the references apart, for they fail for other reasons."""
    table = CONTRACT[name]
    rules = [
        checks.Rule(
            "contract",
            "contract",
            "Keys are unique, required columns filled, values within what the contract allows.",
            contract_check_query(name),
            is_blocking=True,
            remedy="Compare with quality.rejected_rows: a cleaning rule is missing.",
        )
    ]
    references = reference_check_query(name)
    if references is not None:
        rules.append(
            checks.Rule(
                "references",
                "references",
                f"Every reference to {', '.join(table.parents)} leads to a clean row.",
                references,
                is_blocking=True,
                remedy="Clean the parent tables and this one in one run.",
            )
        )
    return rules


_TEXTS = {
    "table_name": "Contract table.",
    "row_key": "Key of the row, its parts joined by |; `row N` when the key is missing.",
    "rule": "The first rule the row broke, or the repair's rule.",
    "detail": "What was wrong, in a sentence.",
    "row_json": "The row as the source gave it.",
    "column_name": "The column.",
    "before": "Value as the source gave it.",
    "after": "Value in the clean table.",
    "raw_rows": "Rows the source gave.",
    "clean_rows": "Rows kept.",
    "rejected_rows": "Rows rejected, each on record.",
    "repaired_rows": "Clean rows with at least one repaired value.",
    "has_email": "An address is on file.",
    "has_valid_email": "The address is well formed.",
    "is_email_shared": "Another customer has the same address.",
    "capability": "What the data may or may not support.",
    "is_on": "Whether they do.",
    "reason": "The numbers that decided it.",
}


def _declare(key: str, description: str, deps: list[str], rules: list[checks.Rule] | None = None) -> TableDeclaration:
    kinds = frozenset({"duckdb", "sql"})
    return TableDeclaration(key, description, texts=_TEXTS, deps=deps, kinds=kinds, rules=rules or [])


_RAW = [f"raw/{name}" for name in WAREHOUSE_TABLES]
_CLEAN = [
    _declare(
        f"clean/{name}", f"{CONTRACT[name].description} Valid rows only.", [f"raw/{name}", "raw/source"], _rules(name)
    )
    for name in WAREHOUSE_TABLES
]
_RECORDS = [
    _declare(
        "quality/rejected_rows", "One row per rejected row of any table, with its values and the rule it broke.", _RAW
    ),
    _declare(
        "quality/repairs", "One row per repaired value, before and after. Contact details' repairs are in people.", _RAW
    ),
]
_PEOPLE = [
    _declare(
        "people/contacts",
        f"{CONTRACT['contacts'].description} Valid rows only.",
        ["people/raw_contacts", "clean/customers"],
        _rules("contacts"),
    ),
    _declare(
        "people/rejected_contacts", "Rejected rows of contacts, with the rule they broke.", ["people/raw_contacts"]
    ),
    _declare("people/contact_repairs", "Repaired values of contacts, before and after.", ["people/raw_contacts"]),
]
_COUNTS = [
    _declare(
        "clean/contact_flags",
        "One row per customer with contact details: can be mailed or not, without the address.",
        ["people/contacts"],
    ),
    _declare(
        "quality/row_accounting",
        "One row per table: raw rows = clean rows + rejected rows, for every source.",
        ["quality/rejected_rows", "people/contacts"],
    ),
]


def _accounting(con: duckdb.DuckDBPyConnection) -> Mapping[str, Any]:
    rows = con.execute("select * from quality.row_accounting order by raw_rows desc, table_name").fetchall()
    lines = ["| table | raw | clean | rejected | repaired |", "|---|--:|--:|--:|--:|"]
    lines += [
        f"| {name} | {raw:,} | {kept:,} | {rejected:,} | {repaired:,} |" for name, raw, kept, rejected, repaired in rows
    ]
    return {"accounting": dg.MetadataValue.md("\n".join(lines))}


def _campaign_starts(con: duckdb.DuckDBPyConnection) -> Mapping[str, Any]:
    """First days of campaigns, for the sensor that prepares them without opening the database."""
    rows = con.execute(
        "select campaign_id, starts_on::varchar from clean.campaigns order by starts_on, campaign_id"
    ).fetchall()
    return {"starts": dg.MetadataValue.json([list(row) for row in rows])}


_ALL = [*_CLEAN, *_RECORDS, *_PEOPLE, *_COUNTS]


@dg.multi_asset(
    name="clean",
    specs=[declared.spec("quality" if declared.key.startswith("quality/") else "clean") for declared in _ALL],
    check_specs=[spec for declared in _ALL for spec in checks.check_specs(declared.key, declared.all_rules)],
)
def clean(context: dg.AssetExecutionContext, warehouse: Warehouse) -> StepEvents:
    """Clean all tables together: whether a row is valid depends on its parents' being valid."""
    counts: dict[str, TableCounts] = {}

    def write_clean(con: duckdb.DuckDBPyConnection) -> None:
        counts.update(clean_warehouse(con, *source_row(con)))

    def write_people(con: duckdb.DuckDBPyConnection) -> None:
        counts["contacts"] = clean_contacts(con, source_row(con)[0])

    def write_counts(con: duckdb.DuckDBPyConnection) -> None:
        write_contact_flags(con)
        write_row_accounting(con, counts)

    yield from replace_tables(
        warehouse, [*_CLEAN, *_RECORDS], write_clean, describe={"clean/campaigns": _campaign_starts}
    )
    # One transaction writes to one database: contact details follow once the customers they belong to are in place.
    yield from replace_tables(warehouse, _PEOPLE, write_people, with_people=True)
    yield from replace_tables(
        warehouse, _COUNTS, write_counts, with_people=True, describe={"quality/row_accounting": _accounting}
    )


capabilities = sql_table("quality/capabilities", "quality")


@computed_tables(
    "quality",
    TableDeclaration(
        "quality/data_profile",
        "One row per column of a clean table: type, unknowns, distinct values, quantiles, outliers, frequent values. "
        "Nothing but counts for ids, free text and protected attributes.",
        types=PROFILE_TYPES,
        texts=PROFILE_COLUMNS,
        deps=[f"clean/{name}" for name in WAREHOUSE_TABLES],
    ),
)
def data_profile(context: dg.AssetExecutionContext, warehouse: Warehouse) -> Computed:
    """Profile every clean table."""
    with warehouse.get_connection(read_only=True) as con:
        frame = profile_tables(con, [f"clean/{name}" for name in WAREHOUSE_TABLES])
    place = pl.format("{}.{}", pl.col("table_name").str.strip_prefix("clean."), pl.col("column_name"))
    unknown = frame.filter((pl.col("null_share") > 0) & (pl.col("row_count") > 0)).with_columns(place=place)
    unknown = unknown.sort(["null_share", "place"], descending=[True, False]).head(20)
    extreme = frame.filter(pl.col("outlier_count") > 0).with_columns(
        place=place, share=pl.col("outlier_count") / pl.col("row_count")
    )
    extreme = extreme.sort(["share", "place"], descending=[True, False]).head(15)
    found: dict[str, Any] = {}
    if unknown.height:
        found["unknown_plot"] = plots.bars(
            unknown["place"].to_list(), unknown["null_share"].to_list(), title="Unknown values", unit="share of rows",
            caption="Columns with the most unknown values.", is_share=True,
        )  # fmt: skip
    if extreme.height:
        found["outlier_plot"] = plots.bars(
            extreme["place"].to_list(), extreme["share"].to_list(), title="Extreme values, kept", unit="share of rows",
            caption="Values more than three interquartile ranges beyond a quartile.", is_share=True,
        )  # fmt: skip
    return Computed(frame, found)
