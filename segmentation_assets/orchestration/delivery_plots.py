"""Plots of the delivery stage for the Dagster UI, in the house style of `orchestration.plots`."""

from __future__ import annotations

from collections.abc import Sequence

import dagster as dg

from segmentation_assets.orchestration.plots import COLOURS, GRID, INK, MUTED, figure, to_markdown

#: Who is written to and who is drawn into a group beside them keep their colours in every plot.
_GROUPS = {"send": "#3a9d6e", "control": "#3366cc", "hold_out": "#8a6fd1"}
_REASON_COLOURS = tuple(colour for colour in COLOURS if colour not in _GROUPS.values())


def left_out(
    campaigns: Sequence[str], parts: Sequence[tuple[str, Sequence[float]]], *, title: str, caption: str
) -> dg.MarkdownMetadataValue:
    """One bar per campaign, divided by what was decided about its audience and why.

    `campaigns` are the labels, the first on top; `parts` are (reason, customers of each campaign) in the order in which
    they are drawn, from the left. Groups are in colours of their own; parts that are empty everywhere are not named.
    """
    shown = [(reason, sizes) for reason, sizes in parts if any(sizes)]
    made, (axis,) = figure(8.4, 1.6 + 0.42 * max(len(campaigns), 1))
    # By place, not by name: two campaigns may be called the same.
    places = list(range(len(campaigns) - 1, -1, -1))
    begins = [0.0] * len(places)
    spare = iter(_REASON_COLOURS * (1 + len(shown) // len(_REASON_COLOURS)))
    for reason, sizes in shown:
        lengths = [float(size) for size in sizes]
        colour = _GROUPS.get(reason) or next(spare)
        axis.barh(places, lengths, left=begins, color=colour, height=0.62, label=reason.replace("_", " "))
        begins = [begin + length for begin, length in zip(begins, lengths, strict=True)]
    for place, total in zip(places, begins, strict=True):
        axis.text(total, place, f" {total:,.0f}", va="center", fontsize=8, color=INK)
    axis.set_title(title, loc="left", fontsize=10, color=INK)
    axis.set_xlabel("customers of the audience", fontsize=8, color=MUTED)
    axis.set_yticks(places, [name[:44] for name in campaigns], fontsize=8)
    axis.set_xlim(0, 1.12 * max(begins, default=0.0) or 1.0)
    axis.grid(axis="x", color=GRID)
    if shown:
        axis.legend(fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return to_markdown(made, caption)
