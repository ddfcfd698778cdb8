"""What a model was fitted on, in one hash: equal fingerprints mean that a new fit would give the same model."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence

import numpy as np

from segmentation_assets.segmentation.kmeans import Array
from segmentation_assets.segmentation.spec import AxisSpec

_DIGITS = 6


def fingerprint(values: Array, names: Sequence[str], spec: AxisSpec, k: int) -> str:
    """SHA-256 over the matrix (n, d) rounded to six digits, its column names, the spec and k."""
    digest = hashlib.sha256()
    head = {"spec": dataclasses.asdict(spec), "names": list(names), "k": k, "shape": list(values.shape)}
    digest.update(json.dumps(head, sort_keys=True, default=dict).encode())
    for start in range(0, len(values), 65_536):
        block = np.round(values[start : start + 65_536], _DIGITS) + 0.0  # adding 0 turns -0 into 0
        digest.update(np.ascontiguousarray(block, dtype="<f8").tobytes())
    return digest.hexdigest()
