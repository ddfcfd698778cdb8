"""The state store: what cannot be recomputed from the source.

Segment identities, frozen models (JSON and arrays, never pickles) and the figures of earlier runs live here; personal
data and anything the warehouse can recompute do not. The room knows tables and transactions, not segmentation: what a
model means is decided in `segmentation_assets.segmentation`.
"""

from segmentation_assets.state.store import (
    EventRecord,
    IdentityRecord,
    ModelRecord,
    NewerStateError,
    SnapshotRecord,
    StateStore,
    open_state,
)

__all__ = [
    "EventRecord",
    "IdentityRecord",
    "ModelRecord",
    "NewerStateError",
    "SnapshotRecord",
    "StateStore",
    "open_state",
]
