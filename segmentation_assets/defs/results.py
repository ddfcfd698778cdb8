"""Stage results: robots told apart, what each campaign caused, and how customers answer, as a feature for later."""

import datetime as dt
from collections.abc import Mapping
from typing import Any

import dagster as dg
import polars as pl

from segmentation_assets.language.facts import clean_name
from segmentation_assets.measurement.breakdown import SEGMENT_SCHEMA
from segmentation_assets.measurement.lift import RESULT_SCHEMA
from segmentation_assets.measurement.measured import MeasuredCampaign, measure_campaign, note_looks, pooled_results
from segmentation_assets.measurement.tables import COLUMN_NOTES, TABLE_TYPES
from segmentation_assets.orchestration.result_plots import forest, funnel
from segmentation_assets.orchestration.table_steps import Computed, TableDeclaration, computed_tables, sql_table
from segmentation_assets.orchestration.warehouse import Warehouse, source_row
from segmentation_assets.segmentation.spec import STAGE, TASTE
from segmentation_assets.state.store import open_state
from segmentation_assets.state.values import get_value, put_value

_GROUP = "results"
_PYTHON = frozenset({"duckdb", "python"})
#: Under this name the state store keeps when each campaign was read before its window had ended.
_LOOKS = "early_looks"
#: More campaigns than this are not readable in one plot; the newest are shown.
_SHOWN = 24


def declare(key: str, description: str, deps: tuple[str, ...]) -> TableDeclaration:
    """A table of the room measurement."""
    return TableDeclaration(key, description, types=TABLE_TYPES[key], texts=COLUMN_NOTES[key], deps=deps, kinds=_PYTHON)


@computed_tables(
    _GROUP,
    declare(
        "results/measurement_rules",
        "How campaigns are judged that do not say themselves, in one row.\n\nGrain: one row",
        ("raw/source",),
    ),
)
def measurement_rules(context: dg.AssetExecutionContext, warehouse: Warehouse) -> Computed:
    """The settings, where SQL can read them."""
    settings = warehouse.settings
    row = {
        "window_days": [settings.measurement.window_days],
        "primary_metric": [settings.measurement.primary_metric],
        "minimum_cell": [settings.privacy.minimum_cell],
    }
    return Computed(pl.DataFrame(row))


labelled_events = sql_table("delivery/labelled_events", "delivery")
engagement = sql_table("features/engagement", "features")
measured_campaigns = sql_table("results/measured_campaigns", _GROUP)
campaign_customers = sql_table("results/campaign_customers", _GROUP)
hold_out_customers = sql_table("results/hold_out_customers", _GROUP)
# Read by profiles and copy, so that the next ones know how the last were answered.
segment_engagement = sql_table("results/segment_engagement", _GROUP)
segment_campaigns = sql_table("results/segment_campaigns", _GROUP)

_MEASURED_FROM = (
    "clean/products", "features/order_lines", "results/campaign_customers", "results/hold_out_customers",
    "results/measured_campaigns", "results/measurement_rules", "segments/stage_model", "segments/taste_model",
    "raw/source",
)  # fmt: skip


@computed_tables(
    _GROUP,
    declare(
        "results/campaign_results",
        "Every metric of a campaign's treated beside those left out at random, by intention to treat, with intervals; "
        "rates that only the treated have come without an effect. Where nobody was left out at random "
        "(is_experiment is false) a difference is association, not lift.\n\nGrain: campaign_id, arm, metric",
        _MEASURED_FROM,
    ),
    declare(
        "results/segment_results",
        "Exploratory: a campaign's effect on buyers by taste and stage of its plan, recency before it, product and "
        "subject arm, drawn toward the campaign's effect and adjusted for the many looks. It decides nothing; the next "
        "campaign can be planned to test it.\n\nGrain: campaign_id, dimension, level, metric",
        _MEASURED_FROM,
    ),
    declare(
        "results/pooled_results",
        "What campaigns do together, for shops too small to see it in one: pooled effects, and everybody beside the "
        "global hold-out.\n\nGrain: scope, metric, method",
        _MEASURED_FROM,
    ),
    declare(
        "results/campaign_verdicts",
        "One decision and one sentence per campaign, by the metric fixed before sending.\n\nGrain: campaign_id",
        _MEASURED_FROM,
    ),
    name="results__measured",
)
def measured(context: dg.AssetExecutionContext, warehouse: Warehouse) -> Mapping[str, Computed]:
    """Measure every campaign, one after the other, and all of them together."""
    with warehouse.get_connection(read_only=True) as con:
        as_of = source_row(con)[0]
        campaigns = con.sql("select * from results.measured_campaigns order by started_at, campaign_id").pl().to_dicts()
        has_orders = bool(con.execute("select count(*) > 0 from features.order_lines").fetchall()[0][0])
        primary, minimum_cell = con.execute(
            "select primary_metric, minimum_cell from results.measurement_rules"
        ).fetchall()[0]
        hold_out = con.sql("from results.hold_out_customers").pl()
        names = {
            "taste": {
                TASTE.outside_id: TASTE.outside_name,
                **dict(con.execute("select segment_id, name from segments.taste_model").fetchall()),
            },
            "stage": {
                STAGE.outside_id: STAGE.outside_name,
                **dict(con.execute("select segment_id, name from segments.stage_model").fetchall()),
            },
            "product": dict(con.execute("select product_id, name from clean.products").fetchall()),
        }
        looks = _looks(warehouse, [row["campaign_id"] for row in campaigns if 0 < row["elapsed_share"] < 1], as_of)
        found = []
        for row in campaigns:
            campaign = MeasuredCampaign(**row, early_looks=len(looks.get(row["campaign_id"], ())))
            customers = con.sql(
                "select * from results.campaign_customers where campaign_id = $campaign_id order by customer_id",
                params={"campaign_id": campaign.campaign_id},
            ).pl()
            found.append(
                measure_campaign(
                    customers, campaign, primary_metric=primary, has_orders=has_orders, minimum_cell=minimum_cell
                )
            )
    told = {"name": pl.String(), "origin": pl.String()}
    results = pl.concat([pl.DataFrame(schema={**RESULT_SCHEMA, **told}), *(f.results for f in found)], how="diagonal")
    segments = pl.concat([pl.DataFrame(schema=dict(SEGMENT_SCHEMA)), *(f.segments for f in found)])
    verdicts = pl.DataFrame(
        [dict(f.verdict) for f in found] or None,
        schema={name: _POLARS[sql_type] for name, sql_type in TABLE_TYPES["results/campaign_verdicts"].items()},
    )
    pooled = pooled_results(results, hold_out, primary, has_orders=has_orders)
    for campaign_id, sentence in verdicts.filter(decision="check the assignment")[
        "campaign_id", "sentence"
    ].iter_rows():
        context.log.warning(f"{campaign_id}: {sentence}")
    return {
        "results/campaign_results": Computed(results, _results_told(results, pooled)),
        "results/segment_results": Computed(_named(segments, names)),
        "results/pooled_results": Computed(pooled, _pooled_told(pooled)),
        "results/campaign_verdicts": Computed(verdicts, _verdicts_told(verdicts)),
    }


_POLARS = {
    "VARCHAR": pl.String(), "BIGINT": pl.Int64(), "BOOLEAN": pl.Boolean(), "DOUBLE": pl.Float64(),
    "TIMESTAMP": pl.Datetime("us"),
}  # fmt: skip


def _looks(warehouse: Warehouse, running: list[str], as_of: dt.date) -> dict[str, list[str]]:
    """When each campaign was read early, this time included; written down only where that is new."""
    with open_state(warehouse.place.state) as store:
        kept = get_value(store, _LOOKS) or {}
        looks = note_looks(kept, running, as_of)
        if looks != kept:
            put_value(store, _LOOKS, looks)
    return looks


def _named(segments: pl.DataFrame, names: Mapping[str, Mapping[str, str]]) -> pl.DataFrame:
    """The rows with their levels in words."""
    words = [
        names.get(dimension, {}).get(level) or level for dimension, level in segments["dimension", "level"].iter_rows()
    ]
    return segments.with_columns(level_name=pl.Series(words, dtype=pl.String()))


def _results_told(results: pl.DataFrame, pooled: pl.DataFrame) -> dict[str, Any]:
    """The effects on buyers as a table and a forest, and the funnel of messages."""
    if results.is_empty():
        return {"campaigns": 0}
    shown = results["campaign_id"].unique(maintain_order=True).to_list()[-_SHOWN:][::-1]
    buyers = {row["campaign_id"]: row for row in results.filter(metric="buyers").iter_rows(named=True)}
    lines = [
        "| campaign | written to | left out | bought | of those left out | effect (points) | 95 % | |",
        "|" + "---|" * 8,
    ]
    drawn = []
    for row in (buyers[campaign_id] for campaign_id in shown if campaign_id in buyers):
        label = row["name"] or row["campaign_id"]
        if row["effect"] is None:
            figures = f"{row['treated_value']:.2%} | | | "
        else:
            effect, low, high = (100 * row[name] for name in ("effect", "low", "high"))
            figures = (
                f"{row['treated_value']:.2%} | {row['control_value']:.2%} | {effect:+.2f} | {low:+.2f} to {high:+.2f}"
            )
            if row["is_experiment"]:
                size = row["treated_customers"] + row["control_customers"]
                drawn.append(
                    (f"{clean_name(label, 32)} ({clean_name(row['campaign_id'], 10)})", effect, low, high, size)
                )
        lines.append(
            f"| {label} | {row['treated_customers']:,} | {row['control_customers']:,} | {figures} | {row['note']} |"
        )
    found: dict[str, Any] = {
        "campaigns": results["campaign_id"].n_unique(),
        "buyers": dg.MetadataValue.md("\n".join(lines)),
        "funnel_plot": _funnel(results, shown),
    }
    if drawn:
        together = pooled.filter(
            (pl.col("scope") == "all") & (pl.col("metric") == "buyers") & pl.col("low").is_not_null()
            & (pl.col("campaigns") > 1)
        )  # fmt: skip
        words = {"fixed": "Mean of these campaigns", "random": "Campaigns like these"}
        pools = [
            (words[row["method"]], 100 * row["effect"], 100 * row["low"], 100 * row["high"])
            for row in together.iter_rows(named=True)
        ]
        found["effects_plot"] = forest(
            drawn, pools, title="What campaigns caused: buyers per hundred customers, written to less left out",
            x_label="percentage points of buyers, with 95 % interval",
            caption="Green: more than chance. The larger the dot, the more customers. Diamonds pool all experiments.",
        )  # fmt: skip
    return found


def _funnel(results: pl.DataFrame, shown: list[str]) -> dg.MarkdownMetadataValue:
    by_metric = {(row["campaign_id"], row["metric"]): row for row in results.iter_rows(named=True)}
    steps = []
    for label, metric in (
        ("delivered", "delivered"), ("opened (unreliable)", "opens"), ("clicked", "clicks"), ("bought", "buyers"),
        ("unsubscribed", "unsubscribes"),
    ):  # fmt: skip
        rows = [by_metric.get((campaign_id, metric)) for campaign_id in shown]
        steps.append((label, [None if row is None else row["treated_value"] for row in rows]))
    names = [_name_of(results, campaign_id) for campaign_id in shown]
    return funnel(
        names, steps, title="What became of the messages",
        caption="Shares of the treated; opens, clicks and refusals of the delivered where that is recorded. "
        "Each panel has a scale of its own.",
    )  # fmt: skip


def _name_of(results: pl.DataFrame, campaign_id: str) -> str:
    """The campaign's name, or its id where it has none."""
    name = results.filter(campaign_id=campaign_id)["name"].item(0)
    return clean_name(name or "", 34) or campaign_id


def _pooled_told(pooled: pl.DataFrame) -> dict[str, Any]:
    if pooled.is_empty():
        return {}
    lines = ["| campaigns | metric | method | how many | effect | 95 % | note |", "|" + "---|" * 7]
    for row in pooled.iter_rows(named=True):
        effect = "" if row["effect"] is None else f"{row['effect']:+.4f}"
        bounds = "" if row["low"] is None else f"{row['low']:+.4f} to {row['high']:+.4f}"
        lines.append(
            f"| {row['scope']} | {row['metric']} | {row['method']} | {row['campaigns']} | {effect} | {bounds} "
            f"| {row['note']} |"
        )
    return {"pooled": dg.MetadataValue.md("\n".join(lines))}


def _verdicts_told(verdicts: pl.DataFrame) -> dict[str, Any]:
    if verdicts.is_empty():
        return {"verdicts": dg.MetadataValue.md("No campaign was sent from here, and the source has no past ones.")}
    lines = ["| campaign | decision | why |", "|---|---|---|"]
    lines += [
        f"| {row['name'] or row['campaign_id']} | {row['decision']} | {row['sentence']} |"
        for row in verdicts.sort("started_at", "campaign_id", descending=[True, False]).iter_rows(named=True)
    ]
    return {"verdicts": dg.MetadataValue.md("\n".join(lines))}
