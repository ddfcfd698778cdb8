"""Judged out of time: what segments, forecasts and classifiers say of days they have not seen, and who has moved.

One step, because all of it rests on the same shop of earlier days, which takes longer to build than to use.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import dagster as dg
import duckdb
import polars as pl
import psutil

from segmentation_assets.defs.axes import AXES, axis_spec, model_in_use, read_inputs, stored_model
from segmentation_assets.lifetime.forecast import (
    BASELINE,
    CANDIDATE_SCHEMA,
    FORECAST_SCHEMA,
    HORIZON_DAYS,
    SpendForecast,
    Window,
    forecast_spend,
)
from segmentation_assets.lifetime.prospects import (
    EVALUATION_SCHEMA,
    PROSPECT_SCHEMA,
    classify_prospects,
    sign_up_features,
)
from segmentation_assets.orchestration import plots
from segmentation_assets.orchestration.table_steps import Computed, TableDeclaration, computed_tables
from segmentation_assets.orchestration.warehouse import Warehouse, source_row
from segmentation_assets.segmentation.assign import FeatureMismatchError, assign
from segmentation_assets.segmentation.model import FrozenModel
from segmentation_assets.segmentation.moves import MOVES_SCHEMA, segment_moves
from segmentation_assets.segmentation.spec import AxisSpec
from segmentation_assets.segmentation.usefulness import (
    USEFULNESS_SCHEMA,
    Usefulness,
    category_usefulness,
    favourite_categories,
    spend_usefulness,
    verdict,
)
from segmentation_assets.sources.choice import describe_source
from segmentation_assets.state.store import open_state
from segmentation_assets.warehouse.as_of import FEATURE_MODELS, history_reason, outcome_frame, past_day, read_table
from segmentation_assets.warehouse.tables import columns_of

_RFM = "value/customer_rfm"
_PARENTS = (
    "raw/source", "clean/customers", "features/order_lines", "features/customer_features", "features/customer_shares",
    "features/product_guards", "features/profiling_opt_outs", _RFM,
    *(f"segments/{axis}_{part}" for axis in AXES for part in ("model", "assignments")),
)  # fmt: skip
PAST_SCHEMA: dict[str, type[pl.DataType]] = {
    "windows_ago": pl.Int64, "as_of": pl.Date, "customer_id": pl.String, "stage_segment_id": pl.String,
    "taste_segment_id": pl.String,
}  # fmt: skip
VERDICT_SCHEMA: dict[str, type[pl.DataType]] = {"topic": pl.String, "is_better": pl.Boolean, "sentence": pl.String}
_TEXTS = {
    "method": "What was judged; `A minus B` is the difference of two over the same customers.",
    "metric": "What it was judged by.",
    "estimate": "The figure over the customers judged.",
    "low": "Lower end of its 95 % bootstrap interval.",
    "high": "Upper end of its 95 % bootstrap interval.",
    "is_chosen": "Whether this method won and is the one used.",
    "forecast_amount": "Forecast of the money spent in the horizon by the method that won, in the source's currency.",
    "baseline_amount": "The same as in as many days before, in the source's currency.",
    "horizon_days": "Days after the as-of date that the forecast is for.",
    "axis": "stage or taste.",
    "segment_id": "The segment the customer is likeliest to join.",
    "probability": "Probability of that segment by the method, 0 to 1.",
    "from_version": "Version of the model that says where the customers were.",
    "to_version": "Version of the model that says where they are.",
    "from_as_of": "Day the customers are looked at for where they were.",
    "to_as_of": "Day they are looked at for where they are.",
    "from_segment_id": "Segment before; (new) for who was not known or had no segment then.",
    "to_segment_id": "Segment after; (gone) for who is no longer known.",
    "customers": "Customers who went this way; who stayed is there too.",
    "revenue_amount": "Money these customers spent up to today, in the source's currency.",
    "customer_share": "Share of the customers of the segment before.",
    "windows_ago": f"How many times {HORIZON_DAYS} days ago.",
    "as_of": "Day the customer is looked at.",
    "topic": "What was judged.",
    "is_better": "Whether it is clearly better than the simplest rule that could do the job.",
    "sentence": "The finding with its numbers.",
}
_SQL_TYPES = {pl.String: "VARCHAR", pl.Float64: "DOUBLE", pl.Int64: "BIGINT", pl.Boolean: "BOOLEAN", pl.Date: "DATE"}


_PAST_DAY_BYTES = 6_000_000_000


@dataclass(frozen=True)
class _Day:
    """The shop as of a day, and what customers did in the days after it; of today only the customers."""

    customers: pl.DataFrame
    shares: pl.DataFrame
    groups: pl.DataFrame
    outcomes: pl.DataFrame


@dataclass(frozen=True)
class _Axis:
    """An axis with its frozen model and the segment of everybody, by how many windows ago."""

    spec: AxisSpec
    frozen: FrozenModel | None
    assigned: Mapping[int, pl.DataFrame]
    reason: str = ""

    def clustered(self, windows: int) -> pl.DataFrame:
        """Those inside the clustering that many windows ago."""
        return self.assigned[windows].filter(pl.col("segment_id") != self.spec.outside_id)


def _table(key: str, description: str, schema: Mapping[str, Any], group: str = "segments") -> TableDeclaration:
    types = {name: _SQL_TYPES.get(kind, "DECIMAL(38,4)") for name, kind in schema.items()}
    return TableDeclaration(
        key, description, types=types, texts=_TEXTS, deps=_PARENTS, group=group,
        kinds=frozenset({"duckdb", "python", "scikitlearn"}),
    )  # fmt: skip


@computed_tables(
    "segments",
    _table(
        "segments/stage_usefulness",
        f"How well the stage segments of {HORIZON_DAYS} days ago explain what was spent since, beside the RFM groups. "
        "Empty where there is not enough history; out_of_time_verdicts says why.\n\nGrain: method, metric",
        USEFULNESS_SCHEMA,
    ),
    _table(
        "segments/taste_usefulness",
        f"How well the taste segments of {HORIZON_DAYS} days ago tell the category of the next purchase, beside the "
        "favourite category and the shares of all.\n\nGrain: method, metric",
        USEFULNESS_SCHEMA,
    ),
    _table(
        "segments/segment_moves",
        f"Who went where: by today's model from {HORIZON_DAYS} days ago to today, and on today's customers from the "
        "version before to the one in use.\n\n"
        "Grain: axis, from_version, to_version, from_as_of, from_segment_id, to_segment_id",
        MOVES_SCHEMA,
    ),
    _table(
        "segments/past_segments",
        f"Where every customer known then stood {HORIZON_DAYS} and {2 * HORIZON_DAYS} days ago, by the models in use. "
        "Empty where the history is too short.\n\nGrain: windows_ago, customer_id",
        PAST_SCHEMA,
    ),
    _table(
        "segments/prospect_classifier",
        "How well the segment that a new sign-up joins can be told from what is known at sign-up, on later sign-ups, "
        "beside the most common segment.\n\nGrain: axis, method, metric",
        EVALUATION_SCHEMA,
    ),
    _table(
        "segments/prospects",
        "The segment that each recent sign-up without one is likeliest to join.\n\nGrain: axis, customer_id",
        PROSPECT_SCHEMA,
    ),
    _table(
        "segments/out_of_time_verdicts",
        "Each of these judgements in a sentence, and why one could not be made.\n\nGrain: topic",
        VERDICT_SCHEMA,
    ),
    _table(
        "value/spend_forecast",
        f"What each customer is expected to spend in the next {HORIZON_DAYS} days, by the method that did best on the "
        "last ones, beside the same as before.\n\nGrain: customer_id",
        FORECAST_SCHEMA,
        "value",
    ),
    _table(
        "value/forecast_candidates",
        f"How each method of forecasting did on the last {HORIZON_DAYS} days, which it had not seen.\n\n"
        "Grain: method, metric",
        CANDIDATE_SCHEMA,
        "value",
    ),
    name="segments__out_of_time",
)
def out_of_time(context: dg.AssetExecutionContext, warehouse: Warehouse) -> Mapping[str, Computed]:
    """The shop of one and of two windows ago, and everything that is judged by what came since."""
    with warehouse.get_connection(read_only=True) as con:
        as_of, _ = source_row(con)
        short = {windows: history_reason(con, as_of, windows=windows, days=HORIZON_DAYS) for windows in (1, 2)}
        signed_up = sign_up_features(
            con.sql(
                "from clean.customers where customer_id not in (select customer_id from features.profiling_opt_outs)"
            ).pl()
        )
        # Shares by brand would be most of the rows, and where no axis is made of them nobody asks.
        dimensions = sorted({"category", *(d for axis in AXES for d in axis_spec(warehouse, axis).share_dimensions)})
        today = _Day(read_table(con, "features/customer_features", _plain_columns(con)), *[pl.DataFrame()] * 3)
    days = {0: today}
    for windows in (1, 2):
        if not short[windows]:
            days[windows] = _look_at(warehouse, as_of - dt.timedelta(days=windows * HORIZON_DAYS), dimensions)
    axes = {axis: _assigned(warehouse, axis, days) for axis in AXES}
    verdicts: list[tuple[str, bool, str]] = []
    found: dict[str, Computed] = {}
    for axis, placed in axes.items():
        useful = _usefulness(axis, placed, days, short[1])
        said = verdict(useful.frame, useful.reason)
        verdicts.append((f"{axis}_usefulness", said.is_better, said.sentence))
        found[f"segments/{axis}_usefulness"] = Computed(
            useful.frame, {"verdict": said.sentence, "customers_judged": useful.customers}
        )
    prospects, evaluations = [pl.DataFrame(schema=PROSPECT_SCHEMA)], [pl.DataFrame(schema=EVALUATION_SCHEMA)]
    for axis, placed in axes.items():
        reason = placed.reason or short[2]
        if reason:
            verdicts.append((f"{axis}_prospects", False, f"It cannot be judged: {reason}"))
            continue
        learned = classify_prospects(
            signed_up,
            placed.assigned[2],
            placed.assigned[0],
            axis=axis,
            outside_id=placed.spec.outside_id,
            cutoff=as_of - dt.timedelta(days=2 * HORIZON_DAYS),
            seed=placed.spec.seed,
            # People move through stages as they age; their taste they bring along.
            age_days=2 * HORIZON_DAYS if axis == "stage" else None,
            protected=describe_source(warehouse.settings).protected,
        )
        verdicts.append((f"{axis}_prospects", learned.is_better, learned.sentence))
        evaluations.append(learned.evaluation)
        prospects.append(learned.prospects)
    forecast = _forecast(days, short[2], warehouse.settings.seed)
    verdicts.append(("spend_forecast", forecast.method not in ("", BASELINE), forecast.sentence))
    moves, pictures = _moves(warehouse, axes, today.customers, as_of)
    frame = pl.DataFrame(verdicts, schema=VERDICT_SCHEMA, orient="row").sort("topic")
    for _, _, line in verdicts:
        context.log.info(line)
    return found | {
        "segments/past_segments": Computed(_past_segments(axes, as_of)),
        "segments/segment_moves": Computed(moves, pictures),
        "segments/prospect_classifier": Computed(pl.concat(evaluations)),
        "segments/prospects": Computed(pl.concat(prospects)),
        "segments/out_of_time_verdicts": Computed(
            frame, {"verdicts": dg.MetadataValue.md("\n".join(f"- {line}" for line in frame["sentence"]))}
        ),
        "value/spend_forecast": Computed(forecast.customers, {"verdict": forecast.sentence}),
        "value/forecast_candidates": Computed(forecast.candidates, {"verdict": forecast.sentence}),
    }


def _plain_columns(con: duckdb.DuckDBPyConnection) -> list[str]:
    """The customer's features but for the maps, which hold most of the bytes and which nobody here reads."""
    return [name for name, sql_type in columns_of(con, "features/customer_features") if not sql_type.startswith("MAP")]


def _look_at(warehouse: Warehouse, cutoff: dt.date, dimensions: Sequence[str]) -> _Day:
    engine = warehouse.settings.engine_limits()
    if not engine.memory_limit:
        # A past day lives in memory beside the frames made of it; above this it spills to disk.
        most = min(_PAST_DAY_BYTES, int(0.8 * psutil.virtual_memory().total))
        engine = replace(engine, memory_limit=f"{most // 1_000_000}MB")
    with past_day(warehouse.place.warehouse, cutoff, (*FEATURE_MODELS, _RFM), engine=engine) as con:
        return _Day(
            read_table(con, "features/customer_features", _plain_columns(con)),
            con.sql(
                "select * from features.customer_shares where list_contains($wanted, dimension) "
                "order by customer_id, dimension, value",
                params={"wanted": list(dimensions)},
            ).pl(),
            read_table(con, _RFM, ("customer_id", "rfm_group")),
            outcome_frame(con, cutoff, HORIZON_DAYS),
        )


def _assigned(warehouse: Warehouse, axis: str, days: Mapping[int, _Day]) -> _Axis:
    """Everybody's segment by the model in use, on each day."""
    inputs, frozen = read_inputs(warehouse, axis), model_in_use(warehouse, axis)
    if frozen is None:
        return _Axis(inputs.spec, None, {}, f"the {axis} axis is off.")
    placed: dict[int, pl.DataFrame] = {}
    try:
        for windows, day in days.items():
            customers, shares = (day.customers, day.shares) if windows else (inputs.customers, inputs.shares)
            found = assign(frozen, customers, shares, inputs.spec)
            placed[windows] = found.select("customer_id", "segment_id")
    except FeatureMismatchError as error:
        # Figures that a source gives ready-made carry no day: nobody can be placed by them in the past.
        return _Axis(inputs.spec, frozen, {}, str(error))
    return _Axis(inputs.spec, frozen, placed)


def _past_segments(axes: Mapping[str, _Axis], as_of: dt.date) -> pl.DataFrame:
    """PAST_SCHEMA: one row per customer and window; a segment is null where its axis is off or has no past."""
    frames = [pl.DataFrame(schema=PAST_SCHEMA)]
    for windows in (1, 2):
        columns = [
            placed.assigned[windows].rename({"segment_id": f"{axis}_segment_id"})
            for axis, placed in axes.items()
            if windows in placed.assigned
        ]
        if columns:
            frame = (
                columns[0]
                if len(columns) == 1
                else columns[0].join(columns[1], on="customer_id", how="full", coalesce=True)
            )
            day = as_of - dt.timedelta(days=windows * HORIZON_DAYS)
            frame = frame.with_columns(windows_ago=pl.lit(windows, pl.Int64), as_of=pl.lit(day))
            absent = [pl.lit(None, kind).alias(name) for name, kind in PAST_SCHEMA.items() if name not in frame.columns]
            frames.append(frame.with_columns(absent).select(list(PAST_SCHEMA)))
    return pl.concat(frames).sort("windows_ago", "customer_id")


def _usefulness(axis: str, placed: _Axis, days: Mapping[int, _Day], short: str) -> Usefulness:
    if placed.reason or short:
        return Usefulness(pl.DataFrame(schema=USEFULNESS_SCHEMA), placed.reason or short)
    then = days[1]
    if axis == "stage":
        buyers = then.customers.filter("is_buyer").select("customer_id")
        rules = {"RFM groups": then.groups.join(buyers, on="customer_id", how="semi")}
        return spend_usefulness(then.outcomes, placed.clustered(1), rules, placed.spec.seed)
    rules = {"favourite category": favourite_categories(then.shares)}
    return category_usefulness(then.outcomes, placed.clustered(1), rules, placed.spec.seed)


def _forecast(days: Mapping[int, _Day], short: str, seed: int) -> SpendForecast:
    if short:
        empty = pl.DataFrame(schema=FORECAST_SCHEMA), pl.DataFrame(schema=CANDIDATE_SCHEMA)
        return SpendForecast(*empty, "", f"No forecast: {short}")
    learn, validate = (Window(days[windows].customers, days[windows].outcomes) for windows in (2, 1))
    return forecast_spend(learn, validate, days[0].customers, seed)


def _moves(
    warehouse: Warehouse, axes: Mapping[str, _Axis], customers: pl.DataFrame, as_of: dt.date
) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Moves over the last window and between the two newest versions of each axis, with a Sankey of the former."""
    frames = [pl.DataFrame(schema=MOVES_SCHEMA)]
    pictures: dict[str, Any] = {}
    money = customers.select("customer_id", "monetary_amount")
    for axis, placed in axes.items():
        if placed.frozen is None or placed.reason:
            continue
        version = placed.frozen.version
        with open_state(warehouse.place.state) as state:
            names = {found.segment_id: found.name for found in state.identities(axis)}
            before = stored_model(state, axis, version - 1) if version > 1 else None
        if 1 in placed.assigned:
            since = as_of - dt.timedelta(days=HORIZON_DAYS)
            found = segment_moves(
                axis, placed.assigned[1], placed.assigned[0], money,
                from_version=version, to_version=version, from_as_of=since, to_as_of=as_of,
            )  # fmt: skip
            frames.append(found)
            pictures[f"{axis}_plot"] = _sankey(axis, found, names, placed.spec)
        if before is not None:
            inputs = read_inputs(warehouse, axis)
            try:
                earlier = assign(before, inputs.customers, inputs.shares, inputs.spec)
            except FeatureMismatchError as error:
                pictures[f"{axis}_versions"] = str(error)
                continue
            found = segment_moves(
                axis, earlier.select("customer_id", "segment_id"), placed.assigned[0], money,
                from_version=before.version, to_version=version, from_as_of=as_of, to_as_of=as_of,
            )  # fmt: skip
            frames.append(found)
    return pl.concat(frames), pictures


def _sankey(axis: str, moves: pl.DataFrame, names: Mapping[str, str], spec: AxisSpec) -> dg.MarkdownMetadataValue:
    labels = {
        **{i: f"{i} {name}" for i, name in names.items()},
        spec.outside_id: f"{spec.outside_id} {spec.outside_name}",
    }
    flows = [
        (labels.get(left, left), labels.get(right, right), customers)
        for left, right, customers in moves.select("from_segment_id", "to_segment_id", "customers").iter_rows()
    ]
    return plots.sankey(
        flows,
        title=f"{axis.capitalize()} segments, {HORIZON_DAYS} days ago and today",
        caption="Customers by segment then (left) and now (right), by the model in use.",
    )
