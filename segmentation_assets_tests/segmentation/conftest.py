"""Small planted worlds for the tests of the segmentation room."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl
import pytest


@dataclass(frozen=True)
class TasteWorld:
    """Customers with planted tastes; `bayes` is what a classifier that knows the planted parameters says."""

    customers: pl.DataFrame
    shares: pl.DataFrame
    taste: np.ndarray
    bayes: np.ndarray


def _taste_world(seed: int, n: int = 3000, lines: tuple[int, int] = (5, 30), taste_share: float = 0.6) -> TasteWorld:
    """Six tastes of three of twelve categories each (so that they overlap), counts multinomial."""
    rng = np.random.default_rng(seed)
    categories = [f"Category {number:02d}" for number in range(12)]
    overall = rng.dirichlet(np.full(12, 5.0))
    order = np.concatenate([rng.permutation(12), rng.permutation(12)])
    chances = np.tile((1 - taste_share) * overall, (6, 1))
    for number in range(6):
        chances[number, order[3 * number : 3 * number + 3]] += taste_share * rng.dirichlet(np.full(3, 8.0))
    taste = rng.integers(0, 6, n)
    total = rng.integers(lines[0], lines[1] + 1, n)
    counts = rng.multinomial(total, chances[taste])
    ids = np.array([f"C{number:06d}" for number in range(n)])
    row, column = np.nonzero(counts)
    shares = pl.DataFrame(
        {
            "customer_id": ids[row],
            "dimension": ["category"] * len(row),
            "value": np.array(categories)[column],
            "line_count": counts[row, column],
        }
    )
    customers = pl.DataFrame({"customer_id": ids, "is_buyer": [True] * n, "order_count": total.astype(float)})
    return TasteWorld(customers, shares, taste, (counts @ np.log(chances.T)).argmax(axis=1))


#: Log-scale centres of five life-cycle positions: recency, orders, average order, tenure, discount share, returns.
_POSITIONS = np.array(
    [
        [5.6, 0.7, 3.2, 600.0, 0.10, 0.02],
        [2.8, 2.5, 4.0, 700.0, 0.10, 0.05],
        [3.0, 0.7, 3.2, 60.0, 0.30, 0.02],
        [4.6, 1.2, 5.2, 650.0, 0.05, 0.04],
        [3.2, 2.3, 2.6, 680.0, 0.60, 0.03],
    ]
)


def _stage_world(seed: int, n: int = 1500, never: int = 20) -> tuple[pl.DataFrame, np.ndarray]:
    """Customers at five life-cycle positions, then some who never bought; and the position of each buyer."""
    rng = np.random.default_rng(seed)
    position = rng.choice(5, n, p=[0.3, 0.2, 0.2, 0.15, 0.15])
    centre = _POSITIONS[position]
    orders = np.maximum(1, np.round(np.exp(centre[:, 1] + rng.normal(0, 0.3, n))))
    average = np.exp(centre[:, 2] + rng.normal(0, 0.3, n))
    frame = pl.DataFrame(
        {
            "customer_id": [f"C{number:06d}" for number in range(n + never)],
            "is_buyer": [True] * n + [False] * never,
            "recency_days": [*np.exp(centre[:, 0] + rng.normal(0, 0.4, n)), *[None] * never],
            "order_count": [*orders, *[0.0] * never],
            "average_order_amount": [*average, *[None] * never],
            "monetary_amount": [*(orders * average), *[None] * never],
            "tenure_days": [*np.maximum(1, centre[:, 3] * np.exp(rng.normal(0, 0.15, n))), *[30.0] * never],
            "discount_share": [*np.clip(centre[:, 4] + rng.normal(0, 0.08, n), 0, 1), *[None] * never],
            "return_share": [*np.clip(centre[:, 5] + rng.normal(0, 0.02, n), 0, 1), *[None] * never],
        }
    ).with_columns(pl.col("monetary_amount", "average_order_amount").cast(pl.Decimal(18, 4)))
    return frame, position


@pytest.fixture(scope="session")
def taste_world() -> Callable[..., TasteWorld]:
    """Makes a world of planted tastes."""
    return _taste_world


@pytest.fixture(scope="session")
def stage_world() -> Callable[..., tuple[pl.DataFrame, np.ndarray]]:
    """Makes a world of planted life-cycle positions."""
    return _stage_world
