"""Table steps: compute first, write last, in one short transaction with the table's checks inside.

`sql_table` makes an asset of a SQL model, `computed_tables` of a Python function that returns frames. Both write
through `replace_tables`, the one place where an asset's table is replaced.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
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


# Dagster reads annotations of step functions as objects: no postponed evaluation in this module.
Metadata = Mapping[str, Any]
Describe = Callable[[duckdb.DuckDBPyConnection], Metadata]
StepEvents = Iterator[dg.MaterializeResult | dg.AssetCheckResult]


@dataclass(frozen=True)
class TableDeclaration:
    """A table an asset writes: where and what it is.

    `types` are the DuckDB types of a computed table's columns, in order; `texts` describe columns that the data
    dictionary does not (`column_dictionary`, by name), or describe them better. `group` is given where a step writes
    tables of several groups.
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
    group: str = ""

    @property
    def asset_key(self) -> dg.AssetKey:
        """The key in Dagster: schema and table."""
        return dg.AssetKey(self.key.split("/"))

    @property
    def checked_against(self) -> set[str]:
        """Tables the rules read beside this one. They are parents too: a check needs them to be there."""
        return checks.parents_of_rules(self.key)

    @property
    def all_rules(self) -> list[checks.Rule]:
        """Rules given here and those in `sql/checks/`."""
        return [*self.rules, *checks.rules_of(self.key)]

    def spec(self, group: str) -> dg.AssetSpec:
        """What Dagster shows of it before it is materialised; `group` is the step's."""
        group = self.group or group
        return dg.AssetSpec(
            self.asset_key,
            deps=[dg.AssetKey(parent.split("/")) for parent in sorted({*self.deps, *self.checked_against})],
            description=self.description,
            group_name=group,
            owners=[_OWNER_BY_GROUP.get(group, OWNER)],
            kinds=set(self.kinds),
            tags={"stage": group, **self.tags},
            metadata={"dagster/table_name": self.key.replace("/", ".")},
            freshness_policy=self.freshness,
        )


@dataclass(frozen=True)
class Computed:
    """A computed table with metadata for the UI."""

    frame: pl.DataFrame
    metadata: Metadata = field(default_factory=dict)


@lru_cache(maxsize=1)
def column_dictionary() -> dict[str, str]:
    """Every column description by column name: from SQL models' headers, and the contract's, which win."""
    found: dict[str, str] = {}
    for folder in ("features", "value", "segments", "campaigns", "delivery", "results", "quality"):
        for path in sorted((SQL_ROOT / folder).glob("*.sql")):
            for name, text in read_header(path.read_text(encoding="utf-8"))[2].items():
                found.setdefault(name, text)
    for table in CONTRACT.values():
        for column in table.columns:
            found[column.name] = column.description
    return found


def table_metadata(
    con: duckdb.DuckDBPyConnection, table: str, texts: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Row count, columns and name, in the words Dagster knows. `texts` describe columns beside the dictionary."""
    known = {**column_dictionary(), **(texts or {})}
    columns = [
        dg.TableColumn(name, sql_type, description=known.get(name)) for name, sql_type in tables.columns_of(con, table)
    ]
    return {
        "dagster/row_count": tables.count_rows(con, table),
        "dagster/column_schema": dg.TableSchema(columns),
        "dagster/table_name": table.replace("/", "."),
    }


def replace_tables(
    warehouse: Warehouse,
    declarations: Sequence[TableDeclaration],
    write: Callable[[duckdb.DuckDBPyConnection], None],
    *,
    metadata: Mapping[str, Metadata] | None = None,
    describe: Mapping[str, Describe] | None = None,
    with_people: bool = False,
) -> StepEvents:
    """Replace tables in one transaction, their checks inside; then report.

    `write` makes all of them on the connection it is given. `metadata` and `describe`, which reads the written
    tables, are by table key. A blocking failure rolls all of them back; the check results are yielded and dg.Failure
    is raised after them, so both are on record.
    """
    refused: list[str] = []
    outcomes: dict[str, list[checks.RuleOutcome]] = {}
    results: list[dg.MaterializeResult] = []
    with warehouse.get_connection(with_people=with_people) as con:
        as_of = source_row(con)[0]
        con.execute("begin")
        try:
            write(con)
            for declared in declarations:
                texts = {**column_dictionary(), **declared.texts}
                tables.comment(con, declared.key, declared.description, texts)
                outcomes[declared.key] = checks.evaluate(con, declared.all_rules, as_of)
                if sentence := checks.blocking_sentence(declared.key, outcomes[declared.key]):
                    refused.append(sentence)
        except BaseException:  # Ctrl-C too must not leave half of the tables; it goes on after the rollback
            con.execute("rollback")
            raise
        con.execute("rollback" if refused else "commit")
        if not refused:
            for declared in declarations:
                extra = dict((metadata or {}).get(declared.key, {}))
                if describe is not None and declared.key in describe:
                    extra |= describe[declared.key](con)
                results.append(
                    dg.MaterializeResult(
                        asset_key=declared.asset_key,
                        metadata={**table_metadata(con, declared.key, declared.texts), **extra},
                        check_results=checks.results(declared.key, outcomes[declared.key]),
                    )
                )
    if refused:
        for key, found in outcomes.items():
            yield from checks.results(key, found)
        raise dg.Failure(" ".join(refused), allow_retries=False)
    yield from results


@contextmanager
def _missing_parts_named(key: str) -> Iterator[None]:
    """A table or column that is not there becomes a sentence: most often the HOME is of an earlier version."""
    try:
        yield
    except (duckdb.BinderException, duckdb.CatalogException) as error:
        reason = str(error).splitlines()[0]
        raise dg.Failure(
            f"{key} reads what is not in this HOME ({reason}). Its tables were made by another version, or not yet: "
            "run `segmentation run` once, which makes all of them, and then this again.",
            allow_retries=False,
        ) from error


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

        def write(con: duckdb.DuckDBPyConnection) -> None:
            tables.create_from_query(con, name, model.query, parameters)

        with _missing_parts_named(name):
            yield from replace_tables(warehouse, [declaration], write, describe={name: describe} if describe else None)

    return build


Compute = Callable[[dg.AssetExecutionContext, Warehouse], Computed | Mapping[str, Computed]]


def computed_tables(
    group: str, *declarations: TableDeclaration, name: str | None = None, config: type[dg.Config] | None = None
) -> Callable[[Compute], dg.AssetsDefinition]:
    """Decorator: one step that computes tables (`Computed`, or one by table key) and then writes them together.

    `config` is what the run's config may set for the step; the function reads it from
    `context.op_execution_context.op_config`.
    """

    def decorate(compute: Compute) -> dg.AssetsDefinition:
        @dg.multi_asset(
            name=name or declarations[0].key.replace("/", "__"),
            specs=[declaration.spec(group) for declaration in declarations],
            check_specs=[
                spec
                for declaration in declarations
                for spec in checks.check_specs(declaration.key, declaration.all_rules)
            ],
            config_schema=config.to_fields_dict() if config else None,
        )
        def build(context: dg.AssetExecutionContext, warehouse: Warehouse) -> StepEvents:
            with _missing_parts_named(declarations[0].key):
                found = compute(context, warehouse)
            by_key = {declarations[0].key: found} if isinstance(found, Computed) else found

            def write(con: duckdb.DuckDBPyConnection) -> None:
                for declared in declarations:
                    frame = by_key[declared.key].frame
                    tables.create_from_frame(con, declared.key, frame, declared.types or None)

            metadata = {key: computed.metadata for key, computed in by_key.items()}
            yield from replace_tables(warehouse, declarations, write, metadata=metadata)

        return build

    return decorate
