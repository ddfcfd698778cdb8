"""Table steps: compute first, write last, in one short transaction with the table's checks inside.

`sql_table` makes an asset of a SQL model, `computed_table` and `computed_tables` of a Python function that returns
frames. Both write through `write_tables`, the only place where an asset's table is replaced.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import dagster as dg
import duckdb
import polars as pl

from segmentation_assets.orchestration import checks
from segmentation_assets.orchestration.warehouse import Warehouse, source_row
from segmentation_assets.sources.contract import CONTRACT
from segmentation_assets.warehouse import tables
from segmentation_assets.warehouse.sql_models import SQL_ROOT, load_model, read_header

OWNER = "team:analytics-engineering"
_OWNER_BY_GROUP = {"profiles": "team:marketing", "campaigns": "team:marketing", "publish": "team:marketing"}


Metadata = Mapping[str, Any]
Describe = Callable[[duckdb.DuckDBPyConnection], Metadata]
StepEvents = Iterator[dg.MaterializeResult | dg.AssetCheckResult]


@dataclass(frozen=True)
class TableDeclaration:
    """A table an asset writes: where and what it is.

    `types` are the DuckDB types of a computed table's columns, in order; `texts` describe columns that the data
    dictionary does not (`column_dictionary`, by name), or describe them better.
    """

    key: str
    description: str
    types: Mapping[str, str] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)
    deps: Sequence[str] = ()
    kinds: frozenset[str] = frozenset({"duckdb", "python"})
    tags: Mapping[str, str] = field(default_factory=dict)
    rules: Sequence[checks.Rule] = ()
    freshness: dg.FreshnessPolicy | None = None

    @property
    def asset_key(self) -> dg.AssetKey:
        """The key in Dagster: schema and table."""
        return dg.AssetKey(self.key.split("/"))

    @property
    def all_rules(self) -> list[checks.Rule]:
        """Rules given here and those in `sql/checks/`."""
        return [*self.rules, *checks.rules_of(self.key)]

    def spec(self, group: str) -> dg.AssetSpec:
        """What Dagster shows of it before it is materialised."""
        return dg.AssetSpec(
            self.asset_key,
            deps=[dg.AssetKey(parent.split("/")) for parent in self.deps],
            description=self.description,
            group_name=group,
            owners=[_OWNER_BY_GROUP.get(group, OWNER)],
            kinds=set(self.kinds),
            tags={"stage": group, **self.tags},
            metadata={"dagster/table_name": self.key.replace("/", ".")},
            freshness_policy=self.freshness,
        )


@dataclass(frozen=True)
class TableWrite:
    """What a step wants written: a frame or a query; `describe` reads the written table for the UI."""

    declaration: TableDeclaration
    frame: pl.DataFrame | None = None
    query: str = ""
    parameters: Mapping[str, object] = field(default_factory=dict)
    metadata: Metadata = field(default_factory=dict)
    describe: Describe | None = None


@dataclass(frozen=True)
class Computed:
    """A computed table with metadata for the UI."""

    frame: pl.DataFrame
    metadata: Metadata = field(default_factory=dict)


@lru_cache(maxsize=1)
def column_dictionary() -> dict[str, str]:
    """Every column description by column name: from SQL models' headers, and the contract's, which win."""
    found: dict[str, str] = {}
    for folder in ("features", "value", "segments", "campaigns", "results", "quality"):
        for path in sorted((SQL_ROOT / folder).glob("*.sql")):
            for name, text in read_header(path.read_text(encoding="utf-8"))[2].items():
                found.setdefault(name, text)
    for table in CONTRACT.values():
        for column in table.columns:
            found[column.name] = column.description
    return found


def table_metadata(con: duckdb.DuckDBPyConnection, table: str) -> dict[str, Any]:
    """Row count, columns and name, in the words Dagster knows."""
    columns = [
        dg.TableColumn(facts.name, facts.sql_type, description=facts.comment or None)
        for facts in tables.describe(con, table)
    ]
    return {
        "dagster/row_count": tables.count_rows(con, table),
        "dagster/column_schema": dg.TableSchema(columns),
        "dagster/table_name": table.replace("/", "."),
    }


def write_tables(warehouse: Warehouse, writes: Sequence[TableWrite], *, is_loaded: bool = True) -> StepEvents:
    """Replace tables in one transaction, checks inside; then report.

    A blocking failure rolls all of them back; the check results are yielded and dg.Failure is raised after them, so
    both are on record. `is_loaded` says that a source is loaded, so that its as-of date is known.
    """
    results: list[dg.MaterializeResult] = []
    refused: list[str] = []
    outcomes: dict[str, list[checks.RuleOutcome]] = {}
    with warehouse.get_connection() as con:
        as_of = source_row(con)[0] if is_loaded else None
        con.execute("begin")
        try:
            for write in writes:
                declared = write.declaration
                if write.frame is not None:
                    tables.create_from_frame(con, declared.key, write.frame, declared.types or None)
                else:
                    tables.create_from_query(con, declared.key, write.query, write.parameters)
                tables.comment(con, declared.key, declared.description, {**column_dictionary(), **declared.texts})
                outcomes[declared.key] = checks.evaluate(con, declared.all_rules, as_of)
                if sentence := checks.blocking_sentence(declared.key, outcomes[declared.key]):
                    refused.append(sentence)
        except BaseException:
            con.execute("rollback")
            raise
        con.execute("rollback" if refused else "commit")
        if not refused:
            results = [
                dg.MaterializeResult(
                    asset_key=write.declaration.asset_key,
                    metadata={
                        **table_metadata(con, write.declaration.key),
                        **write.metadata,
                        **(write.describe(con) if write.describe else {}),
                    },
                    check_results=checks.results(write.declaration.key, outcomes[write.declaration.key]),
                )
                for write in writes
            ]
    if refused:
        for key, found in outcomes.items():
            yield from checks.results(key, found)
        raise dg.Failure(" ".join(refused), allow_retries=False)
    yield from results


def sql_table(
    name: str, group: str, *, describe: Describe | None = None, freshness: dg.FreshnessPolicy | None = None
) -> dg.AssetsDefinition:
    """The asset of the SQL model `sql/NAME.sql`: its parents, description and column texts are the file's."""
    model = load_model(SQL_ROOT / f"{name}.sql")
    grain = model.facts.get("grain")
    declaration = TableDeclaration(
        key=name,
        description=model.description + (f"\n\nGrain: {grain}" if grain else ""),
        texts=model.columns,
        deps=model.parents,
        kinds=frozenset({"duckdb", "sql"}),
        freshness=freshness,
    )

    @dg.multi_asset(
        name=name.replace("/", "__"),
        specs=[declaration.spec(group)],
        check_specs=checks.check_specs(name, declaration.all_rules),
    )
    def build(context: dg.AssetExecutionContext, warehouse: Warehouse) -> StepEvents:
        parameters: dict[str, object] = {}
        if model.needs_as_of:
            with warehouse.get_connection(read_only=True) as con:
                parameters["as_of"] = source_row(con)[0]
        write = TableWrite(declaration, query=model.query, parameters=parameters, describe=describe)
        yield from write_tables(warehouse, [write])

    return build


Compute = Callable[[dg.AssetExecutionContext, Warehouse], Computed | Mapping[str, Computed]]


def computed_tables(
    group: str, *declarations: TableDeclaration, name: str | None = None
) -> Callable[[Compute], dg.AssetsDefinition]:
    """Decorator: one step that computes tables (`Computed`, or one by table key) and then writes them together."""

    def decorate(compute: Compute) -> dg.AssetsDefinition:
        @dg.multi_asset(
            name=name or declarations[0].key.replace("/", "__"),
            specs=[declaration.spec(group) for declaration in declarations],
            check_specs=[
                spec
                for declaration in declarations
                for spec in checks.check_specs(declaration.key, declaration.all_rules)
            ],
        )
        def build(context: dg.AssetExecutionContext, warehouse: Warehouse) -> StepEvents:
            found = compute(context, warehouse)
            by_key = {declarations[0].key: found} if isinstance(found, Computed) else found
            yield from write_tables(
                warehouse,
                [
                    TableWrite(declared, frame=by_key[declared.key].frame, metadata=by_key[declared.key].metadata)
                    for declared in declarations
                ],
            )

        return build

    return decorate
