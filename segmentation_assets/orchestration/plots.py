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


def intervals(
    panels: Sequence[tuple[str, Sequence[tuple[str, float, float, float]]]],
    *,
    caption: str,
    x_label: str,
    marked: float | None = None,
    number_format: str = "{:.2f}",
) -> dg.MarkdownMetadataValue:
    """Estimates with their intervals, a panel per question: (title, (label, estimate, low, high) by row).

    The first row of a panel is drawn on top and in colour, the others in grey. `marked` is a vertical line.
    """
    made, axes = figure(4.1 * len(panels), 0.9 + 0.36 * max(len(rows) for _, rows in panels), len(panels))
    for axis, (title, rows) in zip(axes, panels, strict=True):
        places = range(len(rows) - 1, -1, -1)
        for place, (index, (_, estimate, low, high)) in zip(places, enumerate(rows), strict=True):
            colour = COLOURS[0] if index == 0 else MUTED
            axis.plot([low, high], [place, place], color=colour, linewidth=2)
            axis.plot([estimate], [place], "o", color=colour, markersize=5)
            axis.text(high, place, f"  {number_format.format(estimate)}", va="center", fontsize=8, color=INK)
        axis.set_yticks(list(places), [label[:30] for label, *_ in rows], fontsize=8)
        if marked is not None:
            axis.axvline(marked, color=MUTED, linestyle=":", linewidth=1)
        axis.set_title(title, loc="left", fontsize=9, color=INK)
        axis.set_xlabel(x_label, fontsize=8, color=MUTED)
        axis.margins(x=0.18, y=0.15)
        axis.grid(axis="x", color=GRID)
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


#: Flows of less than this share of all are drawn together when a source has several: a pixel or two each.
SMALL_FLOW = 0.005
SMALL_MOVES = "small moves"


def sankey(
    flows: Sequence[tuple[str, str, float]], *, title: str, caption: str, unit: str = "customers"
) -> dg.MarkdownMetadataValue:
    """Bands from sources on the left to targets on the right, as wide as their values, the largest sources on top.

    `flows`: from label, to label, value in `unit`; flows between the same two are added up. A target stands across
    from the source of the same name, so who stays goes straight on. Several flows of a source below half a per cent
    of all are drawn as one to SMALL_MOVES, and the caption says how many; the figures of the targets are without
    them. ValueError for a value that is negative or not a number.
    """
    given = _summed(flows)
    drawn = _merged(given)
    left_sizes, right_sizes = _ends(drawn)
    made, (axis,) = figure(8.6, max(2.4, 1.1 + 0.5 * max(len(left_sizes), len(right_sizes))))
    axis.axis("off")
    axis.set_title(title, loc="left", fontsize=10, color=INK)
    if not drawn:
        axis.text(0.5, 0.5, "No moves.", ha="center", va="center", fontsize=9, color=MUTED)
        return to_markdown(made, caption)
    total = sum(drawn.values())
    gap = 0.05 * total
    left, right = _stacked(left_sizes, gap), _stacked(right_sizes, gap)
    colours = {name: COLOURS[place % len(COLOURS)] for place, name in enumerate(left_sizes)}
    bottom = max(_bottom(left, left_sizes), _bottom(right, right_sizes))
    leaving, arriving = dict(left), dict(right)
    starts, ends = {}, {}
    for source, target in sorted(drawn, key=lambda flow: (left[flow[0]], right[flow[1]])):
        starts[source, target] = leaving[source]
        leaving[source] += drawn[source, target]
    for source, target in sorted(drawn, key=lambda flow: (right[flow[1]], left[flow[0]])):
        ends[source, target] = arriving[target]
        arriving[target] += drawn[source, target]
    for flow, value in sorted(drawn.items(), key=lambda item: -item[1]):  # narrow bands stay on top
        _band(axis, starts[flow], ends[flow], value, colours[flow[0]])
    for side, (tops, sizes) in enumerate(((left, left_sizes), (right, right_sizes))):
        spots = _apart([tops[name] + size / 2 for name, size in sizes.items()], bottom * 0.42 / (len(sizes) + 4))
        for (name, size), spot in zip(sizes.items(), spots, strict=True):
            inner, outer = (0.0, -_NODE) if side == 0 else (1.0, 1.0 + _NODE)
            axis.fill([inner, outer, outer, inner], [tops[name]] * 2 + [tops[name] + size] * 2,
                      color=colours.get(name, MUTED), linewidth=0)  # fmt: skip
            words = f"{str(name)[:28]}  {size:,.0f} ({size / total:.0%})"
            axis.text(outer + (-0.015 if side == 0 else 0.015), spot, words, va="center",
                      ha="right" if side == 0 else "left", fontsize=8, color=INK)  # fmt: skip
    for place, (name, align) in enumerate((("before", "right"), ("after", "left"))):
        axis.text(place, -0.35 * gap, f"{name}, {unit}", ha=align, va="bottom", fontsize=8, color=MUTED)
    merged = {flow: value for flow, value in given.items() if flow not in drawn}
    if merged:
        caption += (
            f" {len(merged)} moves below {SMALL_FLOW:.1%} of all, {sum(merged.values()):,.0f} {unit} together, "
            f"are drawn as {SMALL_MOVES}."
        )
    axis.set_xlim(-0.62, 1.62)
    axis.set_ylim(1.01 * bottom, -1.2 * gap)
    return to_markdown(made, caption)


_NODE = 0.022  # width of a node, where the bands are 1 long


def _summed(flows: Sequence[tuple[str, str, float]]) -> dict[tuple[str, str], float]:
    out: dict[tuple[str, str], float] = {}
    for source, target, value in flows:
        size = float(value)
        if not np.isfinite(size) or size < 0:
            raise ValueError(f"The flow from {source!r} to {target!r} is {value!r}; a Sankey needs numbers from 0 on.")
        if size:
            out[str(source), str(target)] = out.get((str(source), str(target)), 0.0) + size
    return out


def _merged(flows: dict[tuple[str, str], float]) -> dict[tuple[str, str], float]:
    """The same with the small flows of each source, where it has several, as one to SMALL_MOVES."""
    floor = SMALL_FLOW * sum(flows.values())
    small: dict[str, list[tuple[str, str]]] = {}
    for flow, value in flows.items():
        if value < floor and flow[0] != flow[1]:  # who stays is never a small move
            small.setdefault(flow[0], []).append(flow)
    out = dict(flows)
    for source, several in small.items():
        if len(several) > 1:
            out[source, SMALL_MOVES] = sum(out.pop(flow) for flow in several)
    return out


def _ends(flows: dict[tuple[str, str], float]) -> tuple[dict[str, float], dict[str, float]]:
    """Sizes of sources, the largest first, and of targets: those that are sources in their order, then the others."""
    left: dict[str, float] = {}
    right: dict[str, float] = {}
    for (source, target), value in flows.items():
        left[source] = left.get(source, 0.0) + value
        right[target] = right.get(target, 0.0) + value
    sources = sorted(left, key=lambda name: (-left[name], name))
    others = sorted(right.keys() - left.keys(), key=lambda name: (name == SMALL_MOVES, -right[name], name))
    targets = [name for name in sources if name in right] + others
    return {name: left[name] for name in sources}, {name: right[name] for name in targets}


def _stacked(sizes: dict[str, float], gap: float) -> dict[str, float]:
    """The top of each node, one below the other."""
    tops, top = {}, 0.0
    for name, size in sizes.items():
        tops[name] = top
        top += size + gap
    return tops


def _bottom(tops: dict[str, float], sizes: dict[str, float]) -> float:
    return max(tops[name] + size for name, size in sizes.items())


def _apart(wanted: Sequence[float], least: float) -> list[float]:
    """The places moved down as far as labels at least `least` apart need."""
    out: list[float] = []
    for place in wanted:
        out.append(max(place, out[-1] + least) if out else place)
    return out


def _band(axis: Axes, start: float, end: float, width: float, colour: str) -> None:
    """One flow: two Bezier curves, level at both ends."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    corners = [
        (0.0, start), (0.5, start), (0.5, end), (1.0, end),
        (1.0, end + width), (0.5, end + width), (0.5, start + width), (0.0, start + width), (0.0, start),
    ]  # fmt: skip
    steps = [Path.MOVETO, *[Path.CURVE4] * 3, Path.LINETO, *[Path.CURVE4] * 3, Path.CLOSEPOLY]
    axis.add_patch(PathPatch(Path(corners, steps), facecolor=colour, alpha=0.42, linewidth=0))
