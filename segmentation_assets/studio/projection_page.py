"""The page on which the segments of an axis can be turned around: one file, with everything it needs inside.

What belongs here: the page around a three-dimensional scatter. What does not: choosing and computing the points
(`segmentation.projection`), writing the file.
"""

from __future__ import annotations

import html
from collections.abc import Mapping

import polars as pl

#: One colour per segment, far enough apart to be told on white and on a beamer; later segments begin again with
#: another symbol.
COLOURS = (
    "#3366cc", "#e07b39", "#3a9d6e", "#b5468b", "#8a6fd1", "#c9a227",
    "#2a9fb0", "#d1495b", "#6b705c", "#5c7cfa", "#94d82d", "#868e96",
)  # fmt: skip
_SYMBOLS = ("circle", "diamond", "square", "cross")
_DIGITS = 3

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'unsafe-inline'; \
style-src 'unsafe-inline'; img-src data: blob:">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
  body {{ margin: 0; display: flex; flex-direction: column; height: 100vh; color: #1f2933; background: #fff;
         font: 15px/1.45 system-ui, sans-serif; }}
  header {{ padding: 14px 22px 6px; }}
  h1 {{ margin: 0; font-size: 20px; font-weight: 600; }}
  p {{ margin: 4px 0 0; max-width: 70em; color: #52606d; }}
  main {{ flex: 1; min-height: 0; }}
  main > div {{ height: 100%; }}
</style>
</head>
<body>
<header>
<h1>{title}</h1>
<p>{note}</p>
</header>
<main>{plot}</main>
</body>
</html>
"""


def projection_page(
    points: pl.DataFrame, explained: tuple[float, float, float], names: Mapping[str, str], title: str
) -> str:
    """A self-contained HTML page with the points of one axis in three dimensions (about 5 MB, most of it Plotly).

    `points`: segment_id, x, y and z (as of `segmentation.projection.project`), no customer ids; pointing at one
    shows its segment only. `explained`: share of the variance along x, y and z. `names`: segment name by id; an id
    without one stands for itself. A click on the legend hides a segment. The page neither loads nor sends anything
    (its content security policy forbids it) and is the same for the same input. ValueError when the points are of
    several axes.
    """
    if "axis" in points.columns and points["axis"].n_unique() > 1:
        axes = ", ".join(sorted(points["axis"].unique().to_list()))
        raise ValueError(f"A projection page shows one axis; the points are of {axes}. Filter them first.")
    if points.is_empty():
        note = "There is nothing to show: the axis has no segments."
        return _PAGE.format(title=html.escape(title), note=note, plot="")
    note = (
        f"{points.height:,} customers, drawn at random, on three principal components that hold "
        f"{_percent(sum(explained))} of the variance between customers. Drag to turn, scroll to come closer, click a "
        f"segment to hide it, double-click to see it alone. A picture, not evidence: what overlaps here may be apart "
        f"in the rest of the variance."
    )
    return _PAGE.format(title=html.escape(title), note=note, plot=_plot(points, explained, names))


def _plot(points: pl.DataFrame, explained: tuple[float, float, float], names: Mapping[str, str]) -> str:
    import plotly.graph_objects as go
    from plotly.io import to_html

    segments = sorted(points["segment_id"].unique().to_list(), key=lambda segment: (len(segment), segment))
    made = go.Figure()
    for place, segment in enumerate(segments):
        own = points.filter(pl.col("segment_id") == segment)
        label = html.escape(f"{segment} {names[segment]}" if names.get(segment) else segment, quote=False)
        made.add_scatter3d(
            # Lists, not arrays: their figures are written as they are read, whatever the machine.
            x=own["x"].round(_DIGITS).to_list(),
            y=own["y"].round(_DIGITS).to_list(),
            z=own["z"].round(_DIGITS).to_list(),
            mode="markers",
            name=label,
            hovertemplate="%{fullData.name}<extra></extra>",
            marker={
                "size": 3,
                "opacity": 0.75,
                "color": COLOURS[place % len(COLOURS)],
                "symbol": _SYMBOLS[place // len(COLOURS) % len(_SYMBOLS)],
            },
        )
    ordinals = ("first", "second", "third")
    made.update_layout(
        template="none",
        margin={"l": 0, "r": 0, "t": 0, "b": 0},
        font={"family": "system-ui, sans-serif", "size": 13, "color": "#1f2933"},
        legend={"itemsizing": "constant", "x": 0.01, "y": 0.99, "bgcolor": "rgba(255,255,255,0.8)"},
        scene={
            f"{letter}axis": {
                "title": {"text": f"{ordinal} component ({_percent(share)})", "font": {"size": 12}},
                "showticklabels": False,
                "gridcolor": "#e4e7eb",
                "zerolinecolor": "#cbd2d9",
            }
            for letter, ordinal, share in zip("xyz", ordinals, explained, strict=True)
        }
        | {"camera": {"eye": {"x": 1.15, "y": 1.15, "z": 0.7}}},
    )
    plot: str = to_html(
        made,
        full_html=False,
        include_plotlyjs=True,
        div_id="projection",  # a random one would make every page different
        default_height="100%",
        # Plotly offers by itself to send the points to its maker's site: not from here.
        config={"displaylogo": False, "responsive": True, "showSendToCloud": False},
    )
    return plot


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
