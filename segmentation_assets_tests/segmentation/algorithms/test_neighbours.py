"""Labels by nearest neighbours."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from segmentation_assets.segmentation.algorithms.neighbours import Neighbours

LINE = np.array([[0.0], [1.0], [2.0], [10.0], [11.0]])


def test_the_majority_of_the_nearest_rows_decides() -> None:
    neighbours = Neighbours(LINE, np.array([0, 1, 1, 2, 2]), votes=3)
    assert neighbours.label(np.array([[0.4], [10.6]])).tolist() == [1, 2]


def test_ties_go_to_the_nearest_row() -> None:
    neighbours = Neighbours(LINE, np.array([3, 1, 2, 0, 0]), votes=3)
    assert neighbours.label(np.array([[0.9], [0.1], [2.4]])).tolist() == [1, 3, 2]


def test_a_row_of_the_fit_keeps_its_label_against_the_vote() -> None:
    labels = np.array([0, 1, 1, 2, 1])
    assert np.array_equal(Neighbours(LINE, labels, votes=5).label(LINE), labels)


def test_more_votes_than_rows_are_as_many_as_there_are() -> None:
    neighbours = Neighbours(LINE[:2], np.array([4, 6]), votes=5)
    assert neighbours.votes == 2
    assert neighbours.label(np.array([[0.2], [0.8]])).tolist() == [4, 6]


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 40), st.integers(1, 5), st.integers(0, 1_000))
def test_one_vote_is_the_nearest_row_by_brute_force(rows: int, columns: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    fitted, labels = rng.normal(size=(rows, columns)), rng.integers(0, 4, rows)
    fresh = rng.normal(size=(30, columns))
    nearest = np.linalg.norm(fresh[:, None] - fitted[None], axis=2).argmin(axis=1)
    assert np.array_equal(Neighbours(fitted, labels, votes=1).label(fresh), labels[nearest])
