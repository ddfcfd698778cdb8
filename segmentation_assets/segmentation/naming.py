"""Names a marketer can read, from what sets a segment apart. Deterministic, unique, and never a silent rename.

A segment that lives on keeps its name; only new ids are named here. The names of the eleven RFM groups are reserved
for `value.customer_rfm`, so that "Lost" always means the rule and never a cluster.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np
import polars as pl
from scipy.optimize import linear_sum_assignment

from segmentation_assets.lifetime.rfm import NEVER_BOUGHT, RFM_GROUPS, UNKNOWN
from segmentation_assets.segmentation.matrix import OTHER
from segmentation_assets.segmentation.spec import AxisSpec

RESERVED_NAMES = frozenset(name.casefold() for name in (*RFM_GROUPS, NEVER_BOUGHT, UNKNOWN, "Other"))

#: Life-cycle positions: where a segment of that name lies, in standard deviations of each feature. `money` stands
#: for the average order or, where a source has only that, the spend. What the words of a name claim has a weight of
#: at least _CLAIM and must be so; smaller weights only help to tell names apart.
_STAGE_NAMES: tuple[tuple[str, dict[str, float]], ...] = (
    ("Frequent big spenders", {"recency_days": -0.5, "order_count": 1.2, "money": 1.0, "tenure_days": 0.4}),
    ("Frequent small baskets", {"recency_days": -0.5, "order_count": 1.2, "money": -0.8, "tenure_days": 0.4}),
    ("Steady regulars", {"recency_days": -0.7, "order_count": 1.0, "tenure_days": 0.5}),
    ("Frequent buyers", {"order_count": 1.2}),
    ("Recent big spenders", {"recency_days": -0.8, "order_count": 0.2, "money": 1.2}),
    ("Recently active", {"recency_days": -1.2}),
    ("Active bargain hunters", {"recency_days": -0.7, "order_count": 0.5, "discount_share": 1.2}),
    ("New and curious", {"recency_days": -0.5, "order_count": -0.5, "tenure_days": -1.3}),
    ("New with big baskets", {"recency_days": -0.5, "order_count": -0.4, "money": 1.0, "tenure_days": -1.2}),
    ("Occasional big baskets", {"order_count": -0.7, "money": 1.2, "tenure_days": 0.2}),
    ("Occasional small baskets", {"order_count": -0.7, "money": -1.2}),
    ("Occasional and recent", {"recency_days": -0.7, "order_count": -0.7, "tenure_days": 0.5}),
    ("Occasional buyers", {"order_count": -1.2}),
    ("Fading newcomers", {"recency_days": 0.7, "order_count": -0.5, "tenure_days": -0.9}),
    ("Lapsing", {"recency_days": 0.9, "order_count": 0.1, "tenure_days": 0.2}),
    ("Lapsing regulars", {"recency_days": 0.8, "order_count": 0.9, "tenure_days": 0.4}),
    ("Lapsing big spenders", {"recency_days": 0.9, "money": 1.0}),
    ("Lapsed small baskets", {"recency_days": 0.9, "order_count": -0.4, "money": -1.0}),
    ("Lapsed bargain hunters", {"recency_days": 0.8, "order_count": -0.3, "discount_share": 1.2}),
    ("Long gone", {"recency_days": 1.3, "order_count": -0.6, "tenure_days": 0.4}),
    ("Deal seekers", {"discount_share": 1.5}),
    ("Full-price buyers", {"discount_share": -1.3, "money": 0.4}),
    ("Frequent returners", {"return_share": 1.6}),
)
_CLAIM = 0.7
#: Nearer to the rest than this, a claim would mislead.
_CLEAR = 0.35
#: No template fits a segment whose direction differs from it more than this cosine says.
_FITTING = 0.5
_LIFT = 1.2


def name_segments(
    spec: AxisSpec,
    drivers: pl.DataFrame,
    facts: pl.DataFrame,
    *,
    keep: Mapping[str, str] | None = None,
    taken: Collection[str] = (),
) -> dict[str, str]:
    """A name for each segment of `drivers` (as of `segment_drivers`) and `facts` (as of `segment_facts`).

    `keep`: names of ids that live on, returned unchanged. `taken`: names in use anywhere else (the other axis, ended
    segments); none of them, no reserved name and no name twice is given.
    """
    keep = dict(keep or {})
    ids: list[str] = drivers["segment_id"].unique(maintain_order=True).to_list()
    used = {name.casefold() for name in (*taken, *keep.values())} | RESERVED_NAMES
    new = [segment_id for segment_id in ids if segment_id not in keep]
    if spec.share_dimensions or spec.share_columns:
        candidates = {segment_id: list(_taste_candidates(segment_id, facts, spec)) for segment_id in new}
    else:
        candidates = _stage_candidates(new, drivers, used, spec)
    names = {segment_id: keep[segment_id] for segment_id in ids if segment_id in keep}
    for segment_id in new:
        names[segment_id] = _first_free(candidates[segment_id], used)
        used.add(names[segment_id].casefold())
    return names


def _first_free(candidates: Sequence[str], used: set[str]) -> str:
    for name in candidates:
        if name.casefold() not in used:
            return name
    base = candidates[0] if candidates else "Segment"
    number = 2
    while f"{base} {number}".casefold() in used:
        number += 1
    return f"{base} {number}"


def _stage_candidates(
    new: Sequence[str], drivers: pl.DataFrame, used: set[str], spec: AxisSpec
) -> dict[str, list[str]]:
    """The life-cycle name by the best joint fit of all new segments, then what is most different about each."""
    positions = [
        dict(
            drivers.filter(pl.col("segment_id") == segment_id).select("feature", "standardised_difference").iter_rows()
        )
        for segment_id in new
    ]
    money = "average_order_amount"
    if not any(money in position for position in positions):
        money = "monetary_amount"
    templates = [(name, where) for name, where in _STAGE_NAMES if name.casefold() not in used]
    fit = np.array([[_fit(position, where, money) for _, where in templates] for position in positions])
    fit = fit.reshape(len(new), len(templates))
    candidates: dict[str, list[str]] = {}
    best: dict[int, int] = {}
    if new and templates:
        best = {int(row): int(column) for row, column in zip(*linear_sum_assignment(-fit), strict=True)}
    for row, segment_id in enumerate(new):
        found = best.get(row)
        fitting = [templates[found][0]] if found is not None and fit[row, found] >= _FITTING else []
        candidates[segment_id] = fitting + list(_plain_candidates(positions[row], spec))
    return candidates


def _fit(position: Mapping[str, float | None], where: Mapping[str, float], money: str) -> float:
    """Cosine between a segment and a name, 0 when the segment does not bear out what the name claims."""
    where = {money if name == "money" else name: weight for name, weight in where.items()}
    for name, weight in where.items():
        if abs(weight) >= _CLAIM and (position.get(name) or 0.0) * np.sign(weight) < _CLEAR:
            return 0.0
    here = {name: value or 0.0 for name, value in position.items() if "=" not in name and " is missing" not in name}
    size = float(np.sqrt(sum(v * v for v in here.values()) * sum(w * w for w in where.values())))
    return sum(here.get(name, 0.0) * weight for name, weight in where.items()) / size if size > 0 else 0.0


def _plain_candidates(position: Mapping[str, float], spec: AxisSpec) -> Iterator[str]:
    """Names from the strongest features alone: "High tenure", "High tenure, low orders"."""
    order = sorted(position, key=lambda name: -abs(position[name] or 0.0))
    words = [_word(name, position[name] or 0.0, spec) for name in order]
    strongest = abs(position[order[0]] or 0.0) if order else 0.0
    if strongest < 1e-9:
        yield "Everyone"
    elif strongest < 0.15:
        yield "Middle of the road"
    for word in words[:3]:
        yield word[:1].upper() + word[1:]
    for other in words[1:4]:
        yield f"{words[0][:1].upper()}{words[0][1:]}, {other}"


def _word(name: str, difference: float, spec: AxisSpec) -> str:
    if name == "recency_days":
        return "long since last order" if difference > 0 else "bought recently"
    side = "high" if difference > 0 else "low"
    if name.endswith(" is missing"):
        return f"{spec.label(name.removesuffix(' is missing')).lower()} {'unknown' if difference > 0 else 'known'}"
    if "=" in name:
        column, value = name.split("=", 1)
        return f"{'mostly' if difference > 0 else 'rarely'} {value} ({spec.label(column).lower()})"
    return f"{side} {spec.label(name).lower()}"


def _taste_candidates(segment_id: str, facts: pl.DataFrame, spec: AxisSpec) -> Iterator[str]:
    """Names from the values bought more than others buy them: "Coffee & Tea", "Coffee", "Coffee, Tea & Books"."""
    rows = facts.filter((pl.col("segment_id") == segment_id) & pl.col("fact").str.starts_with("share_of_lines "))
    more: list[tuple[float, str]] = []
    for fact, value, overall in rows.select("fact", "value", "overall").iter_rows():
        dimension, item = fact.removeprefix("share_of_lines ").split("=", 1)
        if item == OTHER or not overall or value / overall < _LIFT:
            continue
        more.append((value - overall, spec.label(item) if dimension == "amounts" else item))
    more.sort(key=lambda pair: (-round(pair[0], 6), pair[1]))
    words = [word for _, word in more]
    # A category may be called "Home & Living": then the names are joined by a word.
    link = " and " if any("&" in word for word in words[:3]) else " & "
    if words:
        second_counts = len(more) > 1 and more[1][0] >= 0.5 * more[0][0]
        pair = link.join(words[:2])
        yield pair if second_counts else words[0]
        yield words[0] if second_counts else pair
        if len(words) > 2:
            yield f"{words[0]}, {words[1]}{link}{words[2]}"
            yield f"{words[0]}{link}{words[2]}"
        yield f"Mostly {words[0]}"
    else:
        yield "Mixed baskets"
        yield "A bit of everything"
        yield "Broad taste"
