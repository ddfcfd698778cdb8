"""Plots for the Dagster UI: small PNGs inside Markdown, one style, no display needed."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import dagster as dg
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, GRID = "#1f2933", "#7b8794", "#e4e7eb"
COLOURS = (
    "#3366cc", "#e07b39", "#3a9d6e", "#b5468b", "#8a6fd1", "#c9a227",
    "#2a9fb0", "#d1495b", "#6b705c", "#5c7cfa", "#94d82d", "#868e96",
)  # fmt: skip


def figure(width: float = 7.5, height: float = 3.6, columns: int = 1) -> tuple[Figure, list[Axes]]:
    """A figure with `columns` plain axes in the house style (inches)."""
    from matplotlib.figure import Figure

    made = Figure(figsize=(width, height), dpi=100, layout="constrained")
    axes = list(np.atleast_1d(made.subplots(1, columns)))
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(colors=INK, labelsize=8)
        axis.set_axisbelow(True)
    return made, axes


def to_markdown(made: Figure, caption: str) -> dg.MarkdownMetadataValue:
    """The figure as Markdown with the picture inside it."""
    buffer = io.BytesIO()
    made.savefig(buffer, format="png")
    picture = base64.b64encode(buffer.getvalue()).decode("ascii")
    return dg.MetadataValue.md(f"![{caption}](data:image/png;base64,{picture})\n\n{caption}")


def bars(
    labels: Sequence[str], values: Sequence[float], *, title: str, unit: str, caption: str, is_share: bool = False
) -> dg.MarkdownMetadataValue:
    """Horizontal bars, the largest on top, each with its figure."""
    shown = list(zip(labels, values, strict=True))[:25]
    made, (axis,) = figure(7.5, 0.9 + 0.28 * max(len(shown), 1))
    names = [str(name)[:40] for name, _ in shown][::-1]
    sizes = [float(value) for _, value in shown][::-1]
    axis.barh(names, sizes, color=COLOURS[0], height=0.7)
    for place, size in enumerate(sizes):
        text = f"{size:.1%}" if is_share else f"{size:,.0f}"
        axis.text(size, place, f" {text}", va="center", fontsize=8, color=INK)
    axis.set_title(title, loc="left", fontsize=10, color=INK)
    axis.set_xlabel(unit, fontsize=8, color=MUTED)
    axis.margins(x=0.12)
    axis.grid(axis="x", color=GRID)
    return to_markdown(made, caption)


def lines(
    x: Sequence[float],
    panels: Sequence[tuple[str, Sequence[tuple[str, Sequence[float | None]]]]],
    *,
    x_label: str,
    caption: str,
    marked: float | None = None,
) -> dg.MarkdownMetadataValue:
    """One panel beside the other: (title, series by name). `marked` is drawn as a vertical line in each."""
    made, axes = figure(3.4 * len(panels), 3.0, len(panels))
    for axis, (title, series) in zip(axes, panels, strict=True):
        for colour, (name, values) in zip(COLOURS, series, strict=False):
            known = [np.nan if value is None else float(value) for value in values]
            axis.plot(x, known, marker="o", markersize=3.5, color=colour, label=name)
        if marked is not None:
            axis.axvline(marked, color=MUTED, linestyle=":", linewidth=1)
        axis.set_title(title, loc="left", fontsize=9, color=INK)
        axis.set_xlabel(x_label, fontsize=8, color=MUTED)
        axis.grid(color=GRID)
        if len(series) > 1:
            axis.legend(fontsize=7, frameon=False)
    return to_markdown(made, caption)


def heat_map(
    values: NDArray[np.float64],
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    title: str,
    caption: str,
    limit: float | None = None,
    number_format: str = "{:+.1f}",
) -> dg.MarkdownMetadataValue:
    """A diverging heat map around zero with the figure in each cell; NaN stays blank. values: (rows, columns)."""
    made, (axis,) = figure(min(2.6 + 0.62 * len(columns), 9.6), 1.2 + 0.3 * len(rows))
    bound = limit or float(np.nanmax(np.abs(values), initial=1.0))
    axis.imshow(values, cmap="RdBu_r", vmin=-bound, vmax=bound, aspect="auto")
    axis.set_xticks(range(len(columns)), [str(name)[:26] for name in columns], rotation=35, ha="right", fontsize=8)
    axis.set_yticks(range(len(rows)), [str(name)[:34] for name in rows], fontsize=8)
    for row in range(values.shape[0]):
        for column in range(values.shape[1]):
            value = values[row, column]
            if np.isfinite(value):
                colour = "white" if abs(value) > 0.6 * bound else INK
                axis.text(column, row, number_format.format(value), ha="center", va="center", fontsize=7, color=colour)
    axis.set_title(title, loc="left", fontsize=10, color=INK)
    return to_markdown(made, caption)


def scatter(
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    groups: Sequence[str],
    *,
    title: str,
    x_label: str,
    y_label: str,
    caption: str,
) -> dg.MarkdownMetadataValue:
    """Points by group, one colour each, groups in sorted order."""
    made, (axis,) = figure(7.0, 4.6)
    of_point = np.asarray(groups)
    for place, group in enumerate(sorted(set(of_point.tolist()))):
        mask = of_point == group
        axis.scatter(x[mask], y[mask], s=5, alpha=0.55, color=COLOURS[place % len(COLOURS)], label=group, linewidths=0)
    axis.set_title(title, loc="left", fontsize=10, color=INK)
    axis.set_xlabel(x_label, fontsize=8, color=MUTED)
    axis.set_ylabel(y_label, fontsize=8, color=MUTED)
    axis.legend(fontsize=7, frameon=False, markerscale=3, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return to_markdown(made, caption)
