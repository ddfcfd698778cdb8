"""Stage publish: the Monday brief and the read-only copy everybody queries."""

import dagster as dg
import duckdb
import polars as pl

from segmentation_assets.defs.axes import AXES
from segmentation_assets.defs.campaigns import WEEKLY
from segmentation_assets.defs.hidden_text import free_text, hidden_columns
from segmentation_assets.defs.history import previous_summary, remember_summary
from segmentation_assets.orchestration.warehouse import Warehouse, source_row
from segmentation_assets.settings import find_default_home
from segmentation_assets.sources.choice import describe_source
from segmentation_assets.studio.monday_brief import build_brief, render_html, render_text, trust_section, words_section
from segmentation_assets.studio.results_told import effects_section
from segmentation_assets.warehouse.publish import publish

_OWNER = ["team:marketing"]
_BRIEF_PARENTS = (
    "segments/segment_summary", "segments/segment_grid", "segments/projection", "segments/drift",
    "segments/out_of_time_verdicts", "profiles/segment_profiles",
    "campaigns/briefs", "campaigns/email_drafts", "campaigns/product_segment_matches", "campaigns/match_verdicts",
    "campaigns/promotable_products", "quality/capabilities", "quality/row_accounting", "language/run_spending",
    "results/campaign_results", "results/campaign_verdicts", "results/pooled_results",
)  # fmt: skip
_LEAVES = (
    "quality/data_profile", "quality/repairs", "features/feature_correlations", "features/spend_by_value",
    "segments/segment_metrics", "segments/segment_drivers", "segments/segment_rules", "segments/algorithm_comparison",
    "segments/segment_moves", "segments/stage_usefulness", "segments/taste_usefulness", "segments/prospect_classifier",
    "segments/prospects", "value/spend_forecast", "value/forecast_candidates", "value/lifetime_model",
    "profiles/profile_facts", "profiles/strategies", "profiles/audience_members", "campaigns/draft_facts",
    "campaigns/match_choices", "campaigns/match_backtest", "campaigns/next_best_products",
    "campaigns/product_affinity", "language/model_calls",
    "clean/reviews", "clean/payments", "clean/contact_flags", "delivery/plan", "delivery/campaign_plans",
    "delivery/plan_reasons", "results/segment_results",
)  # fmt: skip


def _keys(names: tuple[str, ...]) -> list[dg.AssetKey]:
    return [dg.AssetKey(name.split("/")) for name in names]


def _drifts(con: duckdb.DuckDBPyConnection) -> dict[str, str]:
    """By axis, the largest of what has drifted, in words."""
    rows = con.execute(
        "select axis, string_agg(statement, ' ' order by abs(shift) desc, name) from (select *, row_number() over "
        "(partition by axis order by abs(shift) desc, name) as place from segments.drift where is_drift) "
        "where place <= 3 group by axis order by axis"
    ).fetchall()
    return dict(rows)


def _spent(con: duckdb.DuckDBPyConnection, run_id: str) -> tuple[int, float] | None:
    """Calls and US dollars of this run; None when it asked no model."""
    rows = con.execute(
        "select calls, cost_amount from language.run_spending where run_id = $run_id", {"run_id": run_id}
    ).fetchall()
    return (int(rows[0][0]), float(rows[0][1] or 0)) if rows else None


@dg.asset(
    key="brief",
    deps=_keys(_BRIEF_PARENTS),
    group_name="publish",
    owners=_OWNER,
    kinds={"html"},
    tags={"stage": "publish"},
    freshness_policy=WEEKLY,
)
def brief(context: dg.AssetExecutionContext, warehouse: Warehouse) -> dg.MaterializeResult:
    """One page for Monday morning (HOME/brief.html): what moved, what to do, what not, what nobody can say yet."""
    with warehouse.get_connection(read_only=True) as con:

        def read(table: str) -> pl.DataFrame:
            return con.sql(f"from {table}").pl()

        as_of, currency = source_row(con)
        previous = previous_summary(warehouse, con)
        model = build_brief(
            title=con.execute("select title from raw.source").fetchall()[0][0],
            as_of=as_of,
            currency=currency,
            summary=read("segments.segment_summary"),
            profiles=read("profiles.segment_profiles"),
            briefs=read("campaigns.briefs"),
            drafts=read("campaigns.email_drafts"),
            matches=read("campaigns.product_segment_matches"),
            promotable=read("campaigns.promotable_products"),
            capabilities=read("quality.capabilities"),
            accounting=read("quality.row_accounting"),
            verdicts={a: con.execute(f"select verdict from segments.{a}_choice").fetchall()[0][0] for a in AXES},
            effects=effects_section(
                read("results.campaign_verdicts"),
                read("results.campaign_results"),
                read("results.pooled_results"),
                currency,
            ),
            sections=[
                trust_section(
                    {a: con.execute(f"select sentence from segments.{a}_choice").fetchall()[0][0] for a in AXES},
                    pl.concat(
                        [
                            read(table).select("topic", "sentence")
                            for table in ("segments.out_of_time_verdicts", "campaigns.match_verdicts")
                        ]
                    ),
                    _drifts(con),
                ),
                words_section(
                    read("profiles.segment_profiles"),
                    read("campaigns.email_drafts"),
                    _spent(con, context.run.run_id),
                ),
            ],
            previous_summary=previous.frame,
            previous_as_of=previous.as_of,
            home="" if warehouse.place == find_default_home() else str(warehouse.place.path),
        )
        remember_summary(warehouse, con, context.run.run_id)
    text = render_text(model)
    for path, content in ((warehouse.place.brief, render_html(model)), (warehouse.place.brief_text, text)):
        scratch = path.with_name(path.name + ".tmp")
        scratch.write_text(content, encoding="utf-8")
        scratch.replace(path)
    return dg.MaterializeResult(
        metadata={
            "page": dg.MetadataValue.url(warehouse.place.brief.as_uri()),
            "in_short": dg.MetadataValue.md(f"```\n{text}\n```"),
        }
    )


@dg.asset(
    key="published",
    deps=[dg.AssetKey("brief"), *_keys(_LEAVES)],
    group_name="publish",
    owners=["team:analytics-engineering"],
    kinds={"duckdb"},
    tags={"stage": "publish"},
    freshness_policy=WEEKLY,
)
def published(context: dg.AssetExecutionContext, warehouse: Warehouse) -> dg.MaterializeResult:
    """HOME/published.duckdb: a consistent copy of the warehouse for everybody's SQL, without free text."""
    undeclared = describe_source(warehouse.settings).free_text
    place = warehouse.place
    size = publish(
        place.warehouse,
        place.published,
        engine=warehouse.settings.engine_limits(),
        hidden_columns=hidden_columns(undeclared),
        hidden_json=free_text(undeclared),
    )
    return dg.MaterializeResult(
        metadata={"path": dg.MetadataValue.path(str(place.published)), "megabytes": round(size / 1e6, 1)}
    )
