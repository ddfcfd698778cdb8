"""Segment ids that survive a new fit, and what happened to those that did not.

Ids are a letter and a number; a number is given once. Which cluster carries on which segment is decided by the
customers they share and by where they lie, with hysteresis: what is as good as before stays as it was. Names are
`naming`, storing is elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from segmentation_assets.segmentation.evidence import jaccard
from segmentation_assets.segmentation.kmeans import Array, KMeansFit, Labels, predict

EventKind = Literal["birth", "death", "split", "merge", "rename"]
Cut = Literal["kept", "warm", "new"]

#: Two sets of customers are the same segment when at least a third of their union is shared.
SAME_SEGMENT = 1 / 3
#: A pair that the version before the last would also match needs only this much: no death by a hair, then a birth.
BORDERLINE = 1 / 4
#: A new fit must leave more than this share less unexplained, or the cut in use stays. In simulated shops without
#: sharp groups, cuts whose inertia differed by 1.4 % (54.8 against 54.2 % explained) put a fifth to two fifths of the
#: customers elsewhere.
EXPLAINS_AS_WELL = 0.02
#: Where the cut in use leaves this share more unexplained than the new fit, the customers changed, not the cut; what
#: K-means makes of it from there may be another structure than theirs.
CHANGED = 0.1
_POSITION_WEIGHT = 0.2
#: What the version before the last weighs beside the last: an id goes to another cluster when that overlaps by a
#: quarter more, not when it is a draw.
_MEMORY_WEIGHT = 0.25
_MAJORITY = 0.5
_NOTABLE = 0.25
#: A new segment that comes from one old one, or an old one that went into one new one, counts from a smaller part on.
_SPLINTER = 0.05
_STEPS = 50
_HALVINGS = 4
_SETTLED = 1e-4


@dataclass(frozen=True)
class Event:
    """What happened to a segment, with its numbers (customers by segment id, shares)."""

    kind: EventKind
    segment_id: str
    detail: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Matching:
    """Who is who after a fit.

    `segment_ids`: the id of each new cluster, by cluster index. `survivors`: which of them are old. `agreement`: the
    share of the customers known to both models who keep their id, None where there is nobody to compare.
    """

    segment_ids: tuple[str, ...]
    survivors: frozenset[str]
    events: tuple[Event, ...]
    agreement: float | None = None


@dataclass(frozen=True)
class Refit:
    """The clusters to use after a new fit, and where they come from.

    `cut`: `kept` (the segments in use, centred on today's customers), `warm` (moved from there as far as needed) or
    `new` (the new fit). `excess`: by what share their inertia lies above the new fit's, 0 for a new fit.
    """

    clusters: KMeansFit
    cut: Cut
    excess: float


def refit_or_keep(values: Array, free: KMeansFit, centroids: Array, *, tolerance: float = EXPLAINS_AS_WELL) -> Refit:
    """The cut in use, where a new fit explains no better.

    `values` (n, d), `free`: the new fit on them, `centroids` (k, d): those of the segments in use, in the same
    space. K-means is started from `centroids` and followed (Lloyd 1982) only until its inertia is within
    `tolerance` of the new fit's, the last step only as far as needed: data without sharp borders has many cuts that
    are equally good, and a shop cannot live with another one each month. When no step gets there, or the cut in use
    is worse by CHANGED, or a segment is left without customers, or the number of segments changed, the new fit is
    returned. ValueError when the spaces differ.
    """
    if centroids.shape[1:] != values.shape[1:]:
        raise ValueError(
            f"The centroids in use have {centroids.shape[-1]} columns and the matrix {values.shape[-1]}; "
            "give both in the space of the new matrix."
        )
    k = len(centroids)
    if k != free.k or not np.isfinite(centroids).all():
        return Refit(free, "new", 0.0)
    enough = free.inertia * (1 + tolerance)
    before, last = None, free.inertia * (1 + CHANGED)
    for _ in range(_STEPS):
        found = _clusters_at(values, centroids)
        if not np.bincount(found.labels, minlength=k).all():
            break
        if found.inertia <= enough:
            cut: Cut = "kept"
            if before is not None:
                found, cut = _shortest_step(values, before, found, enough), "warm"
            excess = max(0.0, found.inertia / free.inertia - 1) if free.inertia > 0 else 0.0
            return Refit(found, cut, excess)
        if found.inertia > last:
            break
        before, last = found, found.inertia * (1 - _SETTLED)
        centroids = means_by_label(values, found.labels, k)
    return Refit(free, "new", 0.0)


def _clusters_at(values: Array, centroids: Array) -> KMeansFit:
    labels, distance, _ = predict(values, centroids)
    return KMeansFit(centroids, labels, float((distance**2).sum()))


def _shortest_step(values: Array, before: KMeansFit, after: KMeansFit, enough: float) -> KMeansFit:
    """The clusters nearest to `before`, on the way to `after`, whose inertia is `enough`; halving the way."""
    near, far, nearest = 0.0, 1.0, after
    for _ in range(_HALVINGS):
        share = (near + far) / 2
        found = _clusters_at(values, before.centroids + share * (after.centroids - before.centroids))
        if found.inertia <= enough and np.bincount(found.labels, minlength=after.k).all():
            far, nearest = share, found
        else:
            near = share
    return nearest


def means_by_label(values: Array, labels: Labels, k: int) -> Array:
    """Mean of the rows of (n, d) with each label, as (k, d); NaN for a label that no row has."""
    counts = np.bincount(labels, minlength=k).astype(float)
    counts[counts == 0] = np.nan
    sums = np.column_stack([np.bincount(labels, weights=column, minlength=k) for column in values.T])
    means: Array = sums / counts[:, None]
    return means


def match_segments(
    prefix: str,
    ordering: Array,
    *,
    old_ids: Sequence[str] = (),
    shared: Array | None = None,
    distances: Array | None = None,
    highest_number: int = 0,
    earlier_ids: Sequence[str] = (),
    earlier_shared: Array | None = None,
    moved: Array | None = None,
) -> Matching:
    """Give each of the b new clusters an id.

    `ordering` (b): new ids are numbered from the largest value down (revenue, say). `shared` (a, b): customers that
    old segment i and new cluster j have in common, all rows of old ids included. `distances` (a, b): distances of
    centroids in one space, to tell apart what the customers alone leave open. `highest_number`: the highest number
    ever used on the axis, so that an ended id never comes back. `earlier_ids`, `earlier_shared`: the same overlap
    with the version before the last, so that ids come back to their segments after a fit that was in between.
    `moved` (a, b): customers that carried old id i when they were last assigned and are in new cluster j. It gives
    nobody an id, because customers move between segments that stay what they are; but where an id is born or dies,
    it tells of splits and merges that took the customers to places where others were.

    The pairs are those with the highest total of Jaccard overlap, support by the version before the last, and
    closeness (Kuhn 1955): with that support an id stays with its segment unless another is clearly better. A pair
    below SAME_SEGMENT is no pair, unless it reaches BORDERLINE and the version before the last supports it.
    """
    clusters = len(ordering)
    if shared is None or not len(old_ids):
        shared = np.zeros((len(old_ids), clusters))
    similarity = jaccard(shared)
    before = _earlier_similarity(old_ids, earlier_ids, earlier_shared, clusters)
    score = similarity + _MEMORY_WEIGHT * before
    if distances is not None:
        score = score + _POSITION_WEIGHT * _closeness(distances)
    is_pair = (similarity >= SAME_SEGMENT) | ((similarity >= BORDERLINE) & (before >= SAME_SEGMENT))
    carried: dict[int, str] = {}
    for old, new in zip(*linear_sum_assignment(-np.where(is_pair, score, 0.0)), strict=True):
        if is_pair[old, new]:
            carried[int(new)] = old_ids[int(old)]
    numbers = {int(segment_id[len(prefix) :]) for segment_id in old_ids}
    next_number = max({highest_number, *numbers}, default=0) + 1
    ids = [carried.get(cluster, "") for cluster in range(clusters)]
    for cluster in sorted(range(clusters), key=lambda c: (-float(ordering[c]), c)):
        if not ids[cluster]:
            ids[cluster] = f"{prefix}{next_number}"
            next_number += 1
    survivors = frozenset(carried.values())
    kept = sum(float(shared[old_ids.index(segment_id), new]) for new, segment_id in carried.items())
    total = float(shared.sum())
    events = _events(list(old_ids), ids, survivors, shared, moved)
    return Matching(tuple(ids), survivors, events, round(kept / total, 6) if total else None)


def rename_events(before: Mapping[str, str], after: Mapping[str, str]) -> tuple[Event, ...]:
    """A `rename` event for each segment in both mappings (name by id) whose name differs, in order of the ids."""
    return tuple(
        Event("rename", segment_id, {"before": before[segment_id], "after": after[segment_id]})
        for segment_id in sorted(before.keys() & after.keys(), key=lambda i: (len(i), i))
        if before[segment_id] != after[segment_id]
    )


def _earlier_similarity(
    old_ids: Sequence[str], earlier_ids: Sequence[str], earlier_shared: Array | None, clusters: int
) -> Array:
    """Jaccard overlap of each new cluster with the old ids as the version before the last drew them, 0 if it had none.

    Taken on all segments of that version before the living ones are picked: a union without those that ended since
    would be too small.
    """
    similarity = np.zeros((len(old_ids), clusters))
    if earlier_shared is not None and len(earlier_ids):
        found = jaccard(earlier_shared)
        for row, segment_id in enumerate(earlier_ids):
            if segment_id in old_ids:
                similarity[list(old_ids).index(segment_id)] = found[row]
    return similarity


def _closeness(distances: Array) -> Array:
    scale = float(np.median(distances)) if distances.size else 0.0
    return np.exp(-distances / scale) if scale > 0 else np.ones_like(distances)


def _events(
    old_ids: list[str], ids: list[str], survivors: frozenset[str], shared: Array, moved: Array | None
) -> tuple[Event, ...]:
    is_born = np.array([segment_id not in survivors for segment_id in ids], dtype=bool)
    is_dead = np.array([segment_id not in survivors for segment_id in old_ids], dtype=bool)
    events: list[Event] = []
    for new in np.flatnonzero(is_born):
        sources = {old_ids[i]: int(shared[i, new]) for i in range(len(old_ids)) if shared[i, new]}
        events.append(Event("birth", ids[new], {"customers_from": sources}))
    for old in np.flatnonzero(is_dead):
        goes = {ids[j]: int(shared[old, j]) for j in range(len(ids)) if shared[old, j]}
        events.append(Event("death", old_ids[old], {"customers": int(shared[old].sum()), "customers_to": goes}))
    changes = {(event.kind, event.segment_id): event for event in _regroupings(old_ids, ids, is_dead, is_born, shared)}
    if moved is not None:
        for event in _regroupings(old_ids, ids, is_dead, is_born, moved, only_born_or_dead=True):
            changes[event.kind, event.segment_id] = event  # where customers really came from says more
    return tuple(
        sorted([*events, *changes.values()], key=lambda event: (event.kind, len(event.segment_id), event.segment_id))
    )


def _regroupings(
    old_ids: list[str],
    ids: list[str],
    is_dead: NDArray[np.bool_],
    is_born: NDArray[np.bool_],
    shared: Array,
    *,
    only_born_or_dead: bool = False,
) -> Iterator[Event]:
    """Splits and merges by the customers of old segment i in new cluster j, (a, b).

    A part of a split comes for the most part from the old segment; a part of a merge goes there for the most part.
    """
    before, after = shared.sum(axis=1), shared.sum(axis=0)
    leaves = np.divide(shared, before[:, None], out=np.zeros_like(shared), where=before[:, None] > 0)
    comes = np.divide(shared, after[None, :], out=np.zeros_like(shared), where=after[None, :] > 0)
    is_part = (comes >= _MAJORITY) & (leaves >= np.where(is_born, _SPLINTER, _NOTABLE)[None, :])
    is_source = (leaves >= _MAJORITY) & (comes >= np.where(is_dead, _SPLINTER, _NOTABLE)[:, None])
    for old, segment_id in enumerate(old_ids):
        parts = np.flatnonzero(is_part[old])
        if len(parts) > 1 and (is_dead[old] or is_born[parts].any() or not only_born_or_dead):
            into = {ids[j]: int(shared[old, j]) for j in parts}
            yield Event("split", segment_id, {"customers": int(before[old]), "into": into})
    for new, segment_id in enumerate(ids):
        sources = np.flatnonzero(is_source[:, new])
        if len(sources) > 1 and (is_born[new] or is_dead[sources].any() or not only_born_or_dead):
            of = {old_ids[i]: int(shared[i, new]) for i in sources}
            yield Event("merge", segment_id, {"customers": int(after[new]), "of": of})
