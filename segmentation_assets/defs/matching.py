"""Stage campaigns, who gets what: the back-test, the audiences, the matches, the offer plan and the next products."""

import os
from collections.abc import Mapping
from typing import Any

import dagster as dg
import duckdb
import polars as pl

from segmentation_assets.defs.merchandising import (
    SEGMENT_NAMES,
    campaign_spec,
    declare,
    goods_of,
    groups_of,
    is_on,
    read,
    window_of,
)
from segmentation_assets.defs.purchases import bought_in, events_of, history_of, sent_back_whole
from segmentation_assets.merchandising.activity import audience_members, expected_products, fit_activity
from segmentation_assets.merchandising.audience_backtest import audience_verdict, backtest_audiences
from segmentation_assets.merchandising.matching import match_products, past_rates
from segmentation_assets.merchandising.next_best import EQUAL_WEIGHTS, recommend
from segmentation_assets.merchandising.offer_plan import most_offers, plan_offers
from segmentation_assets.merchandising.plan import table_schema
from segmentation_assets.merchandising.product_backtest import (
    ProductBacktest,
    backtest_products,
    product_verdict,
    verdict_weights,
    weights_table,
)
from segmentation_assets.merchandising.shares import learn_shares
from segmentation_assets.orchestration import plots
from segmentation_assets.orchestration.table_steps import Computed, computed_tables
from segmentation_assets.orchestration.warehouse import Warehouse, source_row

# --- what is better than the obvious rule ---------------------------------------------------------------------------

_ACTIVITY = "campaigns/customer_activity"


def _why_not(con: duckdb.DuckDBPyConnection) -> str:
    """Why products cannot be matched at all; empty where they can."""
    if is_on(con, "matching"):
        return ""
    rows = con.execute("select reason from quality.capabilities where capability = 'matching'").fetchall()
    return rows[0][0] if rows else "the source has no products."


def _threads(warehouse: Warehouse) -> int:
    return warehouse.settings.engine.threads or os.cpu_count() or 1


@computed_tables(
    "campaigns",
    declare(
        "campaigns/match_backtest",
        "How well matches and next best products did on the last 90 days, learned on the 90 days before, beside the "
        "simplest rules at equal size and on the same customers. Empty where the history is too short.\n\n"
        "Grain: method, scope, metric",
        (
            _ACTIVITY,
            "campaigns/window_purchases",
            "campaigns/product_traits",
            "features/order_lines",
            "segments/out_of_time_verdicts",
            "segments/segment_summary",
            "segments/segment_metrics",
            "quality/capabilities",
            "raw/source",
        ),
    ),
    declare(
        "campaigns/match_verdicts",
        "Each of these judgements in a sentence, with the method that is used because of it.\n\nGrain: topic",
        ("campaigns/window_purchases",),
    ),
    declare(
        "campaigns/next_best_weights",
        "The blend that suggests a customer's next products: what counts how much.\n\nGrain: component",
        ("campaigns/window_purchases",),
    ),
    name="campaigns__match_backtest",
)
def match_backtest(context: dg.AssetExecutionContext, warehouse: Warehouse) -> Mapping[str, Computed]:
    """Learn on the window before the last, judge on the last."""
    spec, seed = campaign_spec(warehouse.settings), warehouse.settings.seed
    with warehouse.get_connection(read_only=True) as con:
        as_of, _ = source_row(con)
        goods, why_not = goods_of(con), _why_not(con)
        then = {ago: window_of(con, "customer_activity", ago) for ago in (1, 2)}
        short = why_not or ("" if then[2].height else _short_history(con))
        audiences = pl.DataFrame(schema=table_schema("campaigns/match_backtest"))
        if not short:
            counts = window_of(con, "window_purchases", 2)
            tastes = {*then[1]["taste_segment_id"].to_list(), *then[2]["taste_segment_id"].to_list()}
            audiences = backtest_audiences(
                then[2],
                then[1],
                events_of(con, as_of),
                learn_shares(counts, goods, sorted(tastes)),
                rates=past_rates(counts, then[2]),
                groups=groups_of(con),
                spec=spec,
                seed=seed,
            )
        items = ProductBacktest(audiences.clear(), dict(EQUAL_WEIGHTS), short)
        if not short:
            items = backtest_products(
                history_of(con, as_of, 2).history,
                bought_in(con, as_of, 2),
                history_of(con, as_of, 1).history,
                bought_in(con, as_of, 1),
                seed,
                threads=_threads(warehouse),
            )
    table = pl.concat([audiences, items.table]).sort("scope", "metric", "method")
    verdicts = [
        ("customer_to_product", *product_verdict(items.table, items.reason)),
        ("product_to_audience", *audience_verdict(audiences, spec, short)),
    ]
    if why_not:  # then no method is used at all
        said = ("No product is suggested", "No product is matched")
        verdicts = [
            (topic, method, False, f"{words}: {why_not}")
            for (topic, method, *_), words in zip(verdicts, said, strict=True)
        ]
    for *_, sentence in verdicts:
        context.log.info(sentence)
    frame = pl.DataFrame(verdicts, schema=table_schema("campaigns/match_verdicts"), orient="row")
    weights = weights_table(verdict_weights(verdicts[0][1], items.weights))
    told = {"verdicts": dg.MetadataValue.md("\n".join(f"- {sentence}" for sentence in frame["sentence"]))}
    return {
        "campaigns/match_backtest": Computed(table, told | _backtest_plots(table)),
        "campaigns/match_verdicts": Computed(frame, told),
        "campaigns/next_best_weights": Computed(weights),
    }


def _short_history(con: duckdb.DuckDBPyConnection) -> str:
    rows = con.execute("select sentence from segments.out_of_time_verdicts order by topic").fetchall()
    sentences = [row[0] for row in rows if row[0].startswith("It cannot be judged: ")]
    return sentences[0].removeprefix("It cannot be judged: ") if sentences else "no earlier day can be looked at."


def _backtest_plots(table: pl.DataFrame) -> dict[str, Any]:
    """A panel per question at the stated size: the method in question on top, the rules below."""
    found: dict[str, Any] = {}
    for name, metric, own, unit, mark, digits in (
        ("audiences_plot", "lift", "matches", "purchases, times chance", 1.0, "{:.2f}"),
        ("products_plot", "ndcg_at_10", "next best products", "NDCG at 10", None, "{:.3f}"),
    ):
        rows = table.filter((pl.col("metric") == metric) & ~pl.col("method").str.contains(" minus "))
        if name == "audiences_plot":
            rows = rows.filter(pl.col("scope").str.contains("within stage groups"))
        panels = []
        for scope in rows["scope"].unique().sort().to_list():
            part = rows.filter(pl.col("scope") == scope).sort(pl.col("method") != own, -pl.col("estimate"), "method")
            # The topic is the plot's own; what is left are the purchases and the size.
            panels.append(
                (scope.partition(", ")[2], list(part.select("method", "estimate", "low", "high").iter_rows()))
            )
        if panels:
            found[name] = plots.intervals(
                panels,
                x_label=unit,
                marked=mark,
                number_format=digits,
                caption="Over the 90 days held back; lines are 95% intervals.",
            )
    return found


# --- who gets what --------------------------------------------------------------------------------------------------


@computed_tables(
    "campaigns",
    declare(
        "campaigns/audience_members",
        "Everybody who may be in an audience, with the number of products expected of them: an audience is a taste "
        "crossed with a group of stages, and the most active of it come first.\n\nGrain: customer_id",
        (_ACTIVITY, "features/reachability", "segments/segment_summary", "segments/segment_metrics"),
    ),
)
def members(context: dg.AssetExecutionContext, warehouse: Warehouse) -> Computed:
    """Learn activity on the last 90 days and apply it to today."""
    with warehouse.get_connection(read_only=True) as con:
        model = fit_activity(window_of(con, "customer_activity", 1), warehouse.settings.seed)
        now = window_of(con, "customer_activity", 0)
        frame = audience_members(now, read(con, "features.reachability"), groups_of(con), expected_products(model, now))
    return Computed(frame, {"learned_by": model.learned, "learned_on_customers": model.customers})


@computed_tables(
    "campaigns",
    declare(
        "campaigns/product_segment_matches",
        "The audiences of each product: the customers of each group of stages it suits best, in parts by taste, with "
        "expected buyers, margin, and the simple rules at equal size.\n\n"
        "Grain: product_id, taste_segment_id, stage_group",
        (
            "campaigns/promotable_products",
            "campaigns/product_choices",
            "campaigns/product_traits",
            "campaigns/audience_members",
            "campaigns/window_purchases",
            "campaigns/match_verdicts",
            "segments/stage_model",
            "segments/taste_model",
            _ACTIVITY,
            "quality/capabilities",
        ),
    ),
    declare(
        "campaigns/offer_plan",
        "Which products each reachable customer is offered in a campaign period: never more than the capped number, "
        "never more than the stock serves, and the best of them by expected margin.\n\n"
        "Grain: product_id, taste_segment_id, stage_group, is_adult, from_rank",
        ("campaigns/promotable_products", "campaigns/audience_members"),
    ),
    name="campaigns__product_segment_matches",
)
def matches(context: dg.AssetExecutionContext, warehouse: Warehouse) -> Mapping[str, Computed]:
    """Match by the method that the back-test chose, then plan the offers."""
    spec = campaign_spec(warehouse.settings)
    with warehouse.get_connection(read_only=True) as con:
        promotable_now, people = read(con, "campaigns.promotable_products"), read(con, "campaigns.audience_members")
        if why_not := _why_not(con):
            context.log.warning(f"No product is matched: {why_not}")
            people = people.clear()
        method, is_better = con.sql(
            "select method, is_better from campaigns.match_verdicts where topic = 'product_to_audience'"
        ).fetchall()[0]
        counts = window_of(con, "window_purchases", 1)
        frame = match_products(
            promotable_now,
            people,
            learn_shares(counts, goods_of(con), people["taste_segment_id"].unique().sort().to_list()),
            past_rates(counts, window_of(con, "customer_activity", 1)),
            scored_by=method,
            is_proven=is_better,
            choices=read(con, "campaigns.product_choices"),
            spec=spec,
        )
        names = {segment: name for _, segment, name in con.sql(SEGMENT_NAMES).fetchall()}
    plan = plan_offers(frame, people, promotable_now, spec=spec)
    told: dict[str, Any] = {
        "expected_margin_amount": plan.margin_amount,
        "bound_amount": plan.bound_amount,
        "most_offers_to_a_customer": most_offers(plan.frame),
        "gap": f"{plan.gap_share:.2%}: no plan within cap and stock earns more than {plan.bound_amount:,.2f}",
    }
    context.log.info(f"The offer plan expects a margin of {plan.margin_amount:,.2f}; gap to the bound {told['gap']}.")
    return {
        "campaigns/product_segment_matches": Computed(frame, _match_table(frame, promotable_now, names)),
        "campaigns/offer_plan": Computed(plan.frame, told),
    }


def _match_table(frame: pl.DataFrame, goods: pl.DataFrame, names: Mapping[str, str]) -> dict[str, Any]:
    """The best matches as a table for the UI."""
    if frame.is_empty():
        return {}
    best = (
        frame.join(goods.select("product_id", "name"), on="product_id", how="left")
        .sort("expected_margin_amount", "product_id", descending=[True, False])
        .head(20)
    )
    lines = [
        "| product | taste | stages | customers | buyers (90%) | margin | rate of all matched | most active "
        "| past rate | chance | better |",
        "|---|---|---|---:|---:|---:|---:|---:|---:|---:|---|",
    ]
    for row in best.iter_rows(named=True):
        rates = " | ".join(
            f"{row[column]:.2%}" for column in ("matched_score", "baseline_score", "past_rate_score", "random_score")
        )
        lines.append(
            f"| {row['name']} | {names.get(row['taste_segment_id'], row['taste_segment_id'])} | {row['stage_group']} "
            f"| {row['audience_customers']:,} | {row['expected_buyers']:.1f} ({row['low']:.0f} to {row['high']:.0f}) "
            f"| {row['expected_margin_amount']:,.2f} | {rates} | {'yes' if row['beats_baseline'] else 'no'} |"
        )
    return {
        "best_matches": dg.MetadataValue.md("\n".join(lines)),
        "matches_that_beat_every_rule": int(frame["beats_baseline"].sum()),
        "scored_by": str(frame["scored_by"][0]),
    }


@computed_tables(
    "campaigns",
    declare(
        "campaigns/next_best_products",
        "The products that suit each customer next, at most five: promotable, not bought just now unless people buy it "
        "again and again, and nothing the customer sent back. Nobody is in here who is known to be a minor.\n\n"
        "Grain: customer_id, rank",
        (
            _ACTIVITY,
            "campaigns/product_traits",
            "campaigns/promotable_products",
            "campaigns/next_best_weights",
            "clean/orders",
            "clean/order_items",
            "clean/returns",
            "features/order_lines",
            "features/reachability",
            "quality/capabilities",
            "raw/source",
        ),
    ),
)
def next_best_products(context: dg.AssetExecutionContext, warehouse: Warehouse) -> Computed:
    """Suggest by the blend, or by the rule that did better than it."""
    key = "campaigns/next_best_products"
    with warehouse.get_connection(read_only=True) as con:
        if why_not := _why_not(con):
            context.log.warning(f"No product is suggested: {why_not}")
            return Computed(pl.DataFrame(schema=table_schema(key)))
        as_of, _ = source_row(con)
        coded, sent_back = history_of(con, as_of, 0), sent_back_whole(con, as_of)
        goods = pl.DataFrame({"product_id": coded.product_ids}).join(
            read(con, "campaigns.promotable_products").select("product_id", "is_promotable", "is_age_restricted"),
            on="product_id", how="left", maintain_order="left",
        )  # fmt: skip
        people = pl.DataFrame({"customer_id": coded.customer_ids}).join(
            read(con, "features.reachability").select("customer_id", "is_adult", "is_minor"),
            on="customer_id", how="left", maintain_order="left",
        )  # fmt: skip
        weights = dict(read(con, "campaigns.next_best_weights").iter_rows())
    found = recommend(
        coded.history,
        weights,
        goods["is_promotable"].fill_null(value=False).to_numpy(),
        is_age_restricted=goods["is_age_restricted"].fill_null(value=True).to_numpy(),
        is_adult=people["is_adult"].fill_null(value=False).to_numpy(),
        sent_back=sent_back,
        may_be_offered=~people["is_minor"].fill_null(value=False).to_numpy(),
        rest_days=warehouse.settings.campaigns.rest_days,
        threads=_threads(warehouse),
    )
    frame = found.with_columns(
        customer_id=coded.customer_ids.gather(found["customer"]), product_id=coded.product_ids.gather(found["product"])
    ).select(pl.col(name).cast(dtype) for name, dtype in table_schema(key).items())
    by_basis = frame.group_by("basis").len().sort(["len", "basis"], descending=[True, False])
    return Computed(frame, {f"suggested_for_{basis}": int(count) for basis, count in by_basis.iter_rows()})
