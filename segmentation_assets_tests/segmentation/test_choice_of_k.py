"""The rule from the evidence to a number of segments, its verdict and its sentence."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import polars as pl
import pytest

from segmentation_assets.segmentation.choose import (
    CHOICE_SCHEMA,
    NATURAL_EXCESS,
    NATURAL_Z,
    choose_k,
    choose_other,
    elbow_of,
    gap_choice,
)
from segmentation_assets.segmentation.evidence import EVIDENCE_SCHEMA, empty_evidence, gather_evidence
from segmentation_assets.segmentation.spec import STAGE

SPEC = dataclasses.replace(STAGE, k_min=2, k_max=6)
GROWING = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]


def evidence_of(gaps: list[float], **changes: dict[int, Any]) -> pl.DataFrame:
    """Evidence for k = 1, 2, ... with these gaps; `changes` are column={k: value}."""
    rows = []
    for k, gap in enumerate(gaps, start=1):
        row: dict[str, Any] = {
            "k": k, "inertia": 100.0 / k, "silhouette": 0.20, "silhouette_error": 0.0, "calinski_harabasz": 9.0,
            "davies_bouldin": 1.0, "null_silhouette": 0.18, "null_name": "copula", "silhouette_z": 2.0, "gap": gap,
            "gap_error": 0.01, "stability": 0.9, "stability_ari": 0.9, "smallest_share": 0.1,
            "smallest_customers": 100, "is_admissible": k > 1, "fails": "", "one_feature": None,
            "one_feature_accuracy": 0.5,
        }  # fmt: skip
        if k == 1:
            only = {
                "k",
                "inertia",
                "gap",
                "gap_error",
                "smallest_share",
                "smallest_customers",
                "is_admissible",
                "fails",
            }
            row = {name: value if name in only else None for name, value in row.items()}
        row.update({name: at[k] for name, at in changes.items() if k in at})
        rows.append(row)
    return pl.DataFrame(rows, schema=EVIDENCE_SCHEMA)


def test_the_gap_rule_takes_the_first_k_that_the_next_does_not_beat_by_one_standard_error() -> None:
    assert gap_choice(evidence_of([0.0, 0.1, 0.3, 0.305, 0.2, 0.2])) == 3
    assert gap_choice(evidence_of([0.0, -0.1, 0.3, 0.2, 0.1, 0.1])) == 1
    assert gap_choice(evidence_of(GROWING)) == 6


def test_an_admissible_k_of_the_gap_rule_is_taken() -> None:
    choice = choose_k(evidence_of([0.0, 0.1, 0.3, 0.2, 0.2, 0.2]), SPEC)
    assert (choice.k, choice.rule_k, choice.chosen_by) == (3, 3, "rule")
    assert choice.reason.startswith("3 segments: the gap to data without structure stops growing at 3.")


@pytest.mark.parametrize(
    ("gaps", "admissible", "words"),
    [
        ([0.0, -0.1, -0.1, -0.1, -0.1, -0.1], {}, "the gap to data without structure names no division"),
        (GROWING, {}, "is still growing at the last k"),
        ([0.0, 0.1, 0.3, 0.2, 0.2, 0.2], {3: False}, "names 3, which keeps not every floor"),
    ],
)
def test_where_the_gap_gives_no_answer_silhouette_above_chance_and_elbow_decide(
    gaps: list[float], admissible: dict[int, bool], words: str
) -> None:
    evidence = evidence_of(
        gaps,
        is_admissible=admissible,
        silhouette={4: 0.29, 5: 0.28},
        inertia={1: 100.0, 2: 80.0, 3: 65.0, 4: 55.0, 5: 25.0, 6: 24.0},
    )
    choice = choose_k(evidence, SPEC)
    assert choice.k == 5
    assert words in choice.reason
    assert "5 is as good as 4, and the inertia bends at 5" in choice.reason


@pytest.mark.parametrize(
    ("z", "silhouette", "stable", "verdict"),
    [
        (NATURAL_Z + 0.1, 0.18 + NATURAL_EXCESS + 0.001, True, "natural"),
        (NATURAL_Z - 0.1, 0.40, True, "reproducible"),
        (50.0, 0.18 + NATURAL_EXCESS - 0.001, True, "reproducible"),
        (50.0, 0.40, False, "constructive"),
    ],
)
def test_natural_needs_distance_excess_stability_and_floors(
    z: float, silhouette: float, stable: bool, verdict: str
) -> None:
    evidence = evidence_of(
        [0.0, 0.1, 0.3, 0.2, 0.2, 0.2],
        silhouette_z={3: z},
        silhouette={3: silhouette},
        stability={3: 0.95 if stable else 0.70},
        is_admissible={k: stable and k == 3 for k in range(2, 7)},
        fails={} if stable else dict.fromkeys(range(2, 7), "stability 0.70 is below 0.75"),
    )
    choice = choose_k(evidence, SPEC)
    assert choice.verdict == verdict
    assert stable == (choice.k == 3) or verdict == "constructive"


def test_each_verdict_has_a_sentence_without_jargon() -> None:
    gaps = [0.0, 0.1, 0.3, 0.2, 0.2, 0.2]
    natural = choose_k(evidence_of(gaps, silhouette_z={3: 9.0}, silhouette={3: 0.5}), SPEC)
    reproducible = choose_k(evidence_of(gaps), SPEC)
    unstable = {"is_admissible": dict.fromkeys(range(2, 7), False), "stability": dict.fromkeys(range(2, 7), 0.5)}
    constructive = choose_k(evidence_of(gaps, **unstable, fails={2: "stability 0.50 is below 0.75"}), SPEC)
    assert natural.sentence.startswith("The customers really fall into 3 groups: they stand apart")
    assert reproducible.sentence.startswith("These 3 segments are a dependable way to divide the customers")
    assert constructive.sentence == (
        "These 2 segments are a useful way to divide the customers, not groups that exist. "
        "Another sample of customers would draw some of the lines elsewhere."
    )
    for choice in (natural, reproducible, constructive):
        for word in ("silhouette", "Jaccard", "gap", "null", "k =", "inertia"):
            assert word not in choice.sentence


def test_bands_of_one_feature_are_called_so_by_its_title() -> None:
    evidence = evidence_of([0.0, 0.1, 0.3, 0.2, 0.2, 0.2], one_feature={3: "average_order_amount"})
    choice = choose_k(evidence, SPEC)
    assert choice.one_feature == "average_order_amount"
    assert choice.sentence.startswith("These segments are bands of Average order alone: ")


def test_without_an_admissible_k_the_most_stable_that_keeps_the_sizes_is_taken_and_says_what_failed() -> None:
    evidence = evidence_of(
        GROWING,
        is_admissible=dict.fromkeys(range(2, 7), False),
        stability={2: 0.55, 3: 0.60, 4: 0.5, 5: 0.5, 6: 0.74},
        smallest_customers={6: 2},
        fails={3: "stability 0.60 is below 0.75", 6: "smallest segment has 2 customers, fewer than 5"},
    )
    choice = choose_k(evidence, SPEC)
    assert (choice.k, choice.verdict) == (3, "constructive")
    assert "no number of segments keeps every floor; for 3: stability 0.60 is below 0.75" in choice.reason


def test_a_cloud_under_a_floor_nobody_reaches_is_a_constructive_cut() -> None:
    noise = np.random.default_rng(0).normal(size=(400, 4))
    strict = dataclasses.replace(STAGE, stability_floor=1.01, k_max=5)
    choice = choose_k(gather_evidence(noise, strict), strict)
    assert choice.verdict == "constructive"
    assert choice.k >= 3
    assert "is below 1.01" in choice.reason


def test_somebody_else_may_take_another_admissible_k_and_both_are_kept() -> None:
    evidence = evidence_of([0.0, 0.1, 0.3, 0.2, 0.2, 0.2], is_admissible={6: False})
    choice = choose_other(evidence, SPEC, 4, "a person", "Four teams will work with them.")
    assert (choice.k, choice.rule_k, choice.chosen_by, choice.verdict) == (4, 3, "a person", "reproducible")
    assert choice.reason.startswith("4 segments: Four teams will work with them. Silhouette")
    with pytest.raises(ValueError, match=r"^6 stage segments cannot be chosen: admissible are 2, 3, 4, 5; choose one"):
        choose_other(evidence, SPEC, 6, "a person", "More.")


def test_an_axis_that_is_off_has_no_evidence_and_a_choice_of_zero() -> None:
    evidence = gather_evidence(np.zeros((0, 0)), SPEC)
    assert evidence.equals(empty_evidence())
    choice = choose_k(evidence, SPEC, "No lines.")
    assert (choice.k, choice.verdict, choice.reason, choice.chosen_by) == (0, "off", "No lines.", "rule")
    assert choice.sentence == "There are no stage segments. No lines."


def test_the_choice_table_has_one_row_of_its_columns() -> None:
    frame = choose_k(evidence_of([0.0, 0.1, 0.3, 0.2]), SPEC).frame()
    assert dict(frame.schema) == CHOICE_SCHEMA
    assert frame.height == 1


def test_the_elbow_is_where_inertia_leaves_the_line_of_structureless_data() -> None:
    ks = np.arange(1, 11)
    smooth = 1000.0 * ks**-0.3
    bent = smooth * np.where(ks >= 4, 0.5, 1.0)
    assert elbow_of(ks, bent) == 4
    assert elbow_of(ks[:2], bent[:2]) == 2
