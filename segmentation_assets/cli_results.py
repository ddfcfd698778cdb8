"""The command `segmentation results`: what campaigns did, and whether to repeat them.

What belongs here: reading the published copy and printing. What does not: measuring (`measurement`) and the words
(`studio.results_told`).
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segmentation_assets.cli_shared import (
    HomeOption,
    at_home,
    one_campaign,
    out,
    print_table,
    require_published,
    sentences,
)
from segmentation_assets.settings import find_home
from segmentation_assets.warehouse.connection import connect

if TYPE_CHECKING:
    import polars as pl

CampaignArgument = Annotated[
    str | None, typer.Argument(metavar="[CAMPAIGN]", help="Id of a campaign, or its beginning; else all of them.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON instead of words.")]


def results(campaign: CampaignArgument = None, as_json: JsonOption = False, home: HomeOption = None) -> None:
    """What campaigns did, whether to repeat them, and what to expect of the next."""
    from segmentation_assets.studio.results_told import newest_first, pooled_words

    with sentences():
        place = find_home(home)
        require_published(place)
        with connect(place.published, read_only=True) as con:
            verdicts = newest_first(con.sql("from results.campaign_verdicts").pl())
            effects = con.sql("from results.campaign_results").pl()
            groups = con.sql("from results.segment_results order by all").pl()
            pooled = con.sql("from results.pooled_results").pl()
            currency = con.execute("select currency from raw.source").fetchall()[0][0]
        if campaign is not None:
            chosen = one_campaign(campaign, verdicts["campaign_id"].to_list())
            verdicts, effects, groups = (
                frame.filter(frame["campaign_id"] == chosen) for frame in (verdicts, effects, groups)
            )
        if as_json:
            told = {"verdicts": verdicts, "results": effects, "groups": groups} | (
                {} if campaign is not None else {"pooled": pooled}
            )
            plain = {name: frame.to_dicts() for name, frame in told.items()}
            sys.stdout.write(json.dumps(plain, ensure_ascii=False, indent=1, default=str) + "\n")
            return
        if campaign is not None:
            for verdict in verdicts.iter_rows(named=True):
                _show(verdict, effects, groups, currency)
            return
        if verdicts.is_empty():
            out.print(
                "No campaign was sent from here, and the source has none. `segmentation drafts list` shows what is "
                "planned.",
                soft_wrap=True,
            )
            return
        print_table(
            ("campaign", "name", "from", "written to", "left out", "effect", "95% interval", "decision"),
            [_row(verdict, effects, currency) for verdict in verdicts.iter_rows(named=True)],
            right=("written to", "left out", "effect"),
        )
        if together := pooled_words(pooled):
            out.print(f"\n{together}", markup=False, soft_wrap=True)
        out.print(f"`segmentation results CAMPAIGN{at_home(place)}` tells more of one.", markup=False, soft_wrap=True)


def _row(verdict: dict[str, Any], effects: pl.DataFrame, currency: str) -> tuple[str, ...]:
    found = effects.filter(
        (effects["campaign_id"] == verdict["campaign_id"])
        & (effects["arm"] == verdict["arm"])
        & (effects["metric"] == verdict["metric"])
    ).to_dicts()
    row = found[0] if found else {}
    effect, low, high = (_value(verdict["metric"], row.get(name), currency, signed=True) for name in _ENDS)
    return (
        verdict["campaign_id"], verdict["name"] or "", f"{verdict['started_at']:%Y-%m-%d}" if verdict["started_at"]
        else "", f"{verdict['treated_customers'] or 0:,}", f"{verdict['control_customers'] or 0:,}", effect,
        f"{low} to {high}" if low and high else "", str(verdict["decision"]),
    )  # fmt: skip


_ENDS = ("effect", "low", "high")


def _show(verdict: dict[str, Any], effects: pl.DataFrame, groups: pl.DataFrame, currency: str) -> None:
    from segmentation_assets.studio.results_told import brought, rates_words

    campaign_id, arm = verdict["campaign_id"], verdict["arm"]
    arms = "" if arm == "treated" else f" · {arm}"
    out.print(f"{campaign_id} · {verdict['name']}{arms}", style="bold", markup=False, soft_wrap=True)
    told = [str(verdict["decision"]).capitalize() + ".", str(verdict["sentence"])]
    told += [*brought(effects, campaign_id, arm, currency), rates_words(effects, campaign_id, arm)]
    for sentence in filter(None, told):
        out.print(sentence, markup=False, soft_wrap=True)
    compared = effects.filter((effects["arm"] == arm) & effects["control_value"].is_not_null())
    if compared.height:
        print_table(
            ("per customer", "written to", "left out", "effect", "95% interval", "note"),
            [_compared(row, currency) for row in compared.iter_rows(named=True)],
            right=("written to", "left out", "effect"),
        )
    split = groups.filter(groups["effect"].is_not_null())
    if split.height:
        out.print(
            "\nBy group: exploratory, drawn toward the campaign's effect, p adjusted for all rows (Holm).",
            soft_wrap=True,
        )
        print_table(
            ("group", "", "metric", "written to", "left out", "effect", "95% interval", "p"),
            [_group(row, currency) for row in split.iter_rows(named=True)],
            right=("written to", "left out", "effect", "p"),
        )


def _compared(row: dict[str, Any], currency: str) -> tuple[str, ...]:
    metric = row["metric"]
    effect, low, high = (_value(metric, row[name], currency, signed=True) for name in _ENDS)
    return (
        f"{metric}{' (decides)' if row['is_primary'] else ''}", _value(metric, row["treated_value"], currency),
        _value(metric, row["control_value"], currency), effect, f"{low} to {high}" if low and high else "",
        row["note"] or "",
    )  # fmt: skip


def _group(row: dict[str, Any], currency: str) -> tuple[str, ...]:
    ends = (row[name if row["shrunk_effect"] is None else f"shrunk_{name}"] for name in _ENDS)
    effect, low, high = (_value(row["metric"], value, currency, signed=True) for value in ends)
    return (
        row["dimension"], row["level_name"] or row["level"], row["metric"], f"{row['treated_customers']:,}",
        f"{row['control_customers']:,}", effect, f"{low} to {high}" if low and high else "",
        "" if row["p_holm"] is None else f"{row['p_holm']:.2f}",
    )  # fmt: skip


def _value(metric: str, value: float | None, currency: str, *, signed: bool = False) -> str:
    """A value of `metric` as people read it: a share in percent, its differences in points, money in the currency."""
    from segmentation_assets.language.rendering import money

    if value is None:
        return ""
    sign = "+" if signed and value > 0 else ""
    if metric in {"margin", "revenue"}:
        return f"{sign}{money(value, currency, exact=True)}"
    return f"{sign}{value:,.2f}" if metric == "orders" else f"{sign}{100 * value:.1f}{' points' if signed else '%'}"
