"""Segment ids that survive a new fit, and what happened to those that did not.

Ids are a letter and a number; a number is given once. Which cluster carries on which segment is decided by the
customers they share and by where they lie; names are `naming`, storing is elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from scipy.optimize import linear_sum_assignment

from segmentation_assets.segmentation.evidence import jaccard
from segmentation_assets.segmentation.kmeans import Array

EventKind = Literal["birth", "death", "split", "merge", "rename"]

#: Two sets of customers are the same segment when at least a third of their union is shared.
SAME_SEGMENT = 1 / 3
_POSITION_WEIGHT = 0.2
_MAJORITY = 0.5
_NOTABLE = 0.25


@dataclass(frozen=True)
class Event:
    """What happened to a segment, with its numbers (customers by segment id, shares)."""

    kind: EventKind
    segment_id: str
    detail: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Matching:
    """`segment_ids`: the id of each new cluster, by cluster index. `survivors`: which of them are old."""

    segment_ids: tuple[str, ...]
    survivors: frozenset[str]
    events: tuple[Event, ...]


def match_segments(
    prefix: str,
    ordering: Array,
    *,
    old_ids: Sequence[str] = (),
    shared: Array | None = None,
    distances: Array | None = None,
    highest_number: int = 0,
) -> Matching:
    """Give each of the b new clusters an id.

    `ordering` (b): new ids are numbered from the largest value down (revenue, say). `shared` (a, b): customers that
    old segment i and new cluster j have in common, all rows of old ids included. `distances` (a, b): distances of
    centroids in one space, to tell apart what the customers alone leave open. `highest_number`: the highest number
    ever used on the axis, so that an ended id never comes back. The pairs are those with the highest total of
    Jaccard overlap and closeness (Kuhn 1955); a pair below SAME_SEGMENT is no pair.
    """
    clusters = len(ordering)
    if shared is None or not len(old_ids):
        shared = np.zeros((len(old_ids), clusters))
    similarity = jaccard(shared)
    score = similarity + _POSITION_WEIGHT * _closeness(distances) if distances is not None else similarity
    carried: dict[int, str] = {}
    for old, new in zip(*linear_sum_assignment(-score), strict=True):
        if similarity[old, new] >= SAME_SEGMENT:
            carried[int(new)] = old_ids[int(old)]
    numbers = {int(segment_id[len(prefix) :]) for segment_id in old_ids}
    next_number = max({highest_number, *numbers}, default=0) + 1
    ids = [carried.get(cluster, "") for cluster in range(clusters)]
    for cluster in sorted(range(clusters), key=lambda c: (-float(ordering[c]), c)):
        if not ids[cluster]:
            ids[cluster] = f"{prefix}{next_number}"
            next_number += 1
    survivors = frozenset(carried.values())
    return Matching(tuple(ids), survivors, tuple(_events(list(old_ids), ids, survivors, shared)))


def _closeness(distances: Array) -> Array:
    scale = float(np.median(distances)) if distances.size else 0.0
    return np.exp(-distances / scale) if scale > 0 else np.ones_like(distances)


def _events(old_ids: list[str], ids: list[str], survivors: frozenset[str], shared: Array) -> list[Event]:
    before, after = shared.sum(axis=1), shared.sum(axis=0)
    leaves = np.divide(shared, before[:, None], out=np.zeros_like(shared), where=before[:, None] > 0)
    comes = np.divide(shared, after[None, :], out=np.zeros_like(shared), where=after[None, :] > 0)
    events: list[Event] = []
    for new, segment_id in enumerate(ids):
        if segment_id not in survivors:
            sources = {old_ids[i]: int(shared[i, new]) for i in range(len(old_ids)) if shared[i, new]}
            events.append(Event("birth", segment_id, {"customers_from": sources}))
    for old, segment_id in enumerate(old_ids):
        goes = {ids[j]: int(shared[old, j]) for j in range(len(ids)) if shared[old, j]}
        if segment_id not in survivors:
            events.append(Event("death", segment_id, {"customers": int(before[old]), "customers_to": goes}))
        parts = [j for j in range(len(ids)) if leaves[old, j] >= _NOTABLE and comes[old, j] >= _MAJORITY]
        if len(parts) > 1:
            into = {ids[j]: int(shared[old, j]) for j in parts}
            events.append(Event("split", segment_id, {"customers": int(before[old]), "into": into}))
    for new, segment_id in enumerate(ids):
        parts = [i for i in range(len(old_ids)) if leaves[i, new] >= _MAJORITY and comes[i, new] >= _NOTABLE]
        if len(parts) > 1:
            of = {old_ids[i]: int(shared[i, new]) for i in parts}
            events.append(Event("merge", segment_id, {"customers": int(after[new]), "of": of}))
    return sorted(events, key=lambda event: (event.kind, len(event.segment_id), event.segment_id))
