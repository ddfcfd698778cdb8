"""Plots of the results stage for the Dagster UI, in the house style of `orchestration.plots`."""

from __future__ import annotations

from collections.abc import Sequence

import dagster as dg

from segmentation_assets.orchestration.plots import COLOURS, GRID, INK, MUTED, figure, to_markdown

_BETTER, _WORSE = "#3a9d6e", "#d1495b"


def forest(
    rows: Sequence[tuple[str, float, float, float, int]],
    pooled: Sequence[tuple[str, float, float, float]],
    *,
    title: str,
    caption: str,
    x_label: str,
) -> dg.MarkdownMetadataValue:
    """Effects with their intervals, one campaign below the other, and the pooled ones as diamonds beneath.

    `rows`: label, effect, low, high, customers, the first on top; `pooled`: label, effect, low, high. Intervals that
    leave out 0 are in colour. A dot is as large as the campaign.
    """
    made, (axis,) = figure(8.4, 1.4 + 0.3 * (len(rows) + len(pooled)))
    most = max((size for *_, size in rows), default=1)
    places = list(range(len(rows) + len(pooled) - 1, -1, -1))
    for place, (_, effect, low, high, size) in zip(places, rows, strict=False):
        colour = _BETTER if low > 0 else _WORSE if high < 0 else MUTED
        axis.plot([low, high], [place, place], color=colour, linewidth=1.8)
        axis.scatter([effect], [place], s=18 + 70 * size / most, color=colour, zorder=3, linewidths=0)
    for place, (_, effect, low, high) in zip(places[len(rows) :], pooled, strict=True):
        axis.fill(
            [low, effect, high, effect], [place, place + 0.26, place, place - 0.26], color=COLOURS[0], linewidth=0
        )
    labels = [row[0] for row in rows] + [row[0] for row in pooled]
    axis.set_yticks(places, labels, fontsize=8)
    right = max([row[3] for row in rows] + [row[3] for row in pooled], default=1.0)
    values = [(effect, low, high) for _, effect, low, high, _ in rows] + [(e, low, high) for _, e, low, high in pooled]
    for place, (effect, low, high) in zip(places, values, strict=True):
        axis.text(right, place, f"   {effect:+.2f}  [{low:+.2f}, {high:+.2f}]", va="center", fontsize=7.5, color=INK)
    axis.axvline(0, color=INK, linestyle=":", linewidth=1)
    if pooled and rows:
        axis.axhline(len(pooled) - 0.5, color=GRID, linewidth=1)
    left = min([row[2] for row in rows] + [row[2] for row in pooled], default=-1.0)
    width = max(right - left, 1e-9)
    axis.set_xlim(min(left, 0) - 0.04 * width, right + 0.42 * width)
    axis.set_ylim(-0.7, len(labels) - 0.3)
    made.suptitle(title, x=0.01, ha="left", fontsize=10, color=INK)
    axis.set_xlabel(x_label, fontsize=8, color=MUTED)
    axis.grid(axis="x", color=GRID)
    return to_markdown(made, caption)


def funnel(
    campaigns: Sequence[str],
    steps: Sequence[tuple[str, Sequence[float | None]]],
    *,
    title: str,
    caption: str,
) -> dg.MarkdownMetadataValue:
    """What became of the messages: a row per campaign, a panel per step, as shares (0 to 1) of the treated.

    `steps` are (label, share of each campaign); None is not recorded and says so.
    """
    made, axes = figure(2.2 + 1.75 * len(steps), 1.0 + 0.3 * max(len(campaigns), 1), len(steps))
    places = list(range(len(campaigns) - 1, -1, -1))
    for number, (axis, (label, shares)) in enumerate(zip(axes, steps, strict=True)):
        known = [0.0 if share is None else 100 * float(share) for share in shares]
        axis.barh(places, known, color=COLOURS[number % len(COLOURS)], height=0.62)
        for place, share, size in zip(places, shares, known, strict=True):
            words = "not recorded" if share is None else f"{size:.1f}%"
            axis.text(size, place, f" {words}", va="center", fontsize=7, color=MUTED if share is None else INK)
        axis.set_yticks(places, list(campaigns) if number == 0 else [""] * len(campaigns), fontsize=8)
        axis.set_ylim(-0.6, max(len(campaigns), 1) - 0.4)
        axis.set_xlim(0, max([*known, 0.1]) * 1.6)
        axis.set_title(label, loc="left", fontsize=9, color=INK)
        axis.set_xticks([])
        axis.spines["bottom"].set_visible(False)
    made.suptitle(title, x=0.01, ha="left", fontsize=10, color=INK)
    return to_markdown(made, caption)
