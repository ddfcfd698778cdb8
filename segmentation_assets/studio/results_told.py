"""What campaigns did, in words: for the page of Monday and the command `segmentation results`.

What belongs here: reading the measured tables aloud, with their intervals. What does not: measuring and deciding
(`measurement`), and printing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from segmentation_assets.language.facts import clean_name
from segmentation_assets.language.rendering import count, money, share
from segmentation_assets.measurement.lift import TOO_FEW_BUYERS
from segmentation_assets.studio.monday_brief import Line, Section

#: Campaigns on the page; the command shows all.
MOST_CAMPAIGNS = 3
#: Campaigns from which on they say how campaigns differ.
_FEWEST_POOLED = 2
#: Rates of those written to, in the order a message lives through them.
_RATES = {
    "delivered": "delivered", "opens": "opened (unreliable: machines open too)", "clicks": "clicked",
    "unsubscribes": "unsubscribed", "complaints": "complained", "bounces": "bounced",
}  # fmt: skip


def effects_section(verdicts: pl.DataFrame, results: pl.DataFrame, pooled: pl.DataFrame, currency: str) -> Section:
    """The part of the page on what was sent: the newest campaigns with what they brought, and all of them together.

    `verdicts`, `results` and `pooled` are results.campaign_verdicts, .campaign_results and .pooled_results.
    """
    sent = newest_first(verdicts).filter(pl.col("origin") == "sent")
    lines = [
        Line(
            f"{clean_name(row['name']) or row['campaign_id']}: {row['decision']}.",
            " ".join([str(row["sentence"]), *brought(results, row["campaign_id"], row["arm"], currency)]),
        )
        for row in sent.head(MOST_CAMPAIGNS).iter_rows(named=True)
    ]
    if sent.is_empty():
        lines.append(
            Line("No campaign was sent from here yet.", "`segmentation drafts approve ID` is the first step to one.")
        )
    if together := pooled_words(pooled):
        lines.append(Line("All campaigns together.", together))
    return Section("What campaigns did", tuple(lines))


def newest_first(verdicts: pl.DataFrame) -> pl.DataFrame:
    """The verdicts, the campaign that began last first."""
    return verdicts.sort(["started_at", "campaign_id", "arm"], descending=[True, False, False], nulls_last=True)


def brought(results: pl.DataFrame, campaign_id: str, arm: str, currency: str) -> tuple[str, ...]:
    """What an arm of a campaign brought in all, in sentences: buyers, then money; empty where no effect was read.

    Totals are the effect per customer times the customers treated, and so are the ends of their intervals.
    """
    rows = _by_metric(results, campaign_id, arm)
    if not any(row["is_experiment"] and not row["is_aa"] for row in rows.values()):
        return ()
    told = []
    buyers, margin = rows.get("buyers"), rows.get("margin")
    if buyers is not None and buyers["effect"] is not None:
        effect, low, high = map(_more, _totals(buyers))
        told.append(f"In all {effect} bought than without it (between {low} and {high}).")
    if margin is not None and margin["effect"] is not None:
        earned, least, most = (money(total, currency) for total in _totals(margin))
        told.append(f"In all {earned} of margin more than without it (between {least} and {most}).")
    elif margin is not None and margin["method"] == TOO_FEW_BUYERS:
        told.append(
            f"Margin was {money(margin['treated_value'], currency)} per customer written to and "
            f"{money(margin['control_value'], currency)} per customer left out; too few bought to say how much of it "
            "the message earned."
        )
    return tuple(told)


def rates_words(results: pl.DataFrame, campaign_id: str, arm: str) -> str:
    """How the message was received, in one sentence; empty where nothing is known of it."""
    rows = _by_metric(results, campaign_id, arm)
    parts = [
        f"{share(rows[metric]['treated_value'])} {word}"
        for metric, word in _RATES.items()
        if metric in rows and rows[metric]["treated_value"] is not None
    ]
    return f"Of the messages: {', '.join(parts)}." if parts else ""


def pooled_words(pooled: pl.DataFrame) -> str:
    """What to expect of a campaign like those so far, in a sentence; empty where fewer than two can be compared.

    Campaigns sent from here speak for themselves as soon as there are two; until then past ones count too.
    """
    usable = pooled.filter(
        (pl.col("metric") == "buyers")
        & (pl.col("method") == "random")
        & (pl.col("campaigns") >= _FEWEST_POOLED)
        & pl.col("low").is_not_null()
    )
    rows = {row["scope"]: row for row in usable.iter_rows(named=True)}
    row = rows.get("sent") or rows.get("all")
    if row is None:
        return ""
    is_past = "past" in rows and rows["past"]["campaigns"] == row["campaigns"]
    whose = "sent from here" if row["scope"] == "sent" else "of the past" if is_past else "of the past and from here"
    told = (
        f"{count(row['campaigns'])} campaigns {whose}: {share(row['control_value'])} of those left out at random "
        f"bought, and {_points(row['effect'])} of those written to, between {_points(row['low'])} and "
        f"{_points(row['high'])}."
    )
    if row["low"] > 0:
        return f"{told} Messages like these bring buyers who would not have come."
    if row["high"] < 0:
        return f"{told} Messages like these keep buyers away."
    return f"{told} That may be chance: more campaigns, or more customers left out, will tell."


def _by_metric(results: pl.DataFrame, campaign_id: str, arm: str) -> dict[str, Mapping[str, Any]]:
    rows = results.filter((pl.col("campaign_id") == campaign_id) & (pl.col("arm") == arm))
    return {row["metric"]: row for row in rows.iter_rows(named=True)}


def _totals(row: Mapping[str, Any]) -> tuple[float, float, float]:
    treated = row["treated_customers"]
    return row["effect"] * treated, row["low"] * treated, row["high"] * treated


def _more(buyers: float) -> str:
    whole = round(buyers)
    return f"{abs(whole):,} {'fewer' if whole < 0 else 'more'}" if whole else "0 more"


def _points(value: float) -> str:
    return f"{round(100 * value, 1) + 0:+.1f} points"
