"""Each gate is shown closed, with its numbers in the sentence."""

from __future__ import annotations

import math

import pytest

from segmentation_assets.lifetime.gates import fit_gate, mean_gate, purchase_gate, spend_gate

_NEEDED = "(needed: 200, 50, 5% and 90)"
_LIMITS = ((1e-3, 1e3), (1e-3, 1e3))


@pytest.mark.parametrize(
    ("figures", "reason"),
    [
        (
            (0, 0, 0),
            "No estimate, too few buyers, too few repeat buyers, too small a share of repeat buyers, too short a "
            f"history: 0 buyers, 0 of them (0.0%) bought again on another day, in 0 days {_NEEDED}.",
        ),
        (
            (199, 199, 90),
            f"No estimate, too few buyers: 199 buyers, 199 of them (100.0%) bought again on another day, in 90 "
            f"days {_NEEDED}.",
        ),
        (
            (200, 49, 90),
            "No estimate, too few repeat buyers: 200 buyers, 49 of them (24.5%) bought again on another day, in 90 "
            f"days {_NEEDED}.",
        ),
        (
            (10_000, 300, 700),
            "No estimate, too small a share of repeat buyers: 10,000 buyers, 300 of them (3.0%) bought again on "
            f"another day, in 700 days {_NEEDED}.",
        ),
        (
            (200, 50, 89),
            "No estimate, too short a history: 200 buyers, 50 of them (25.0%) bought again on another day, in 89 days "
            f"{_NEEDED}.",
        ),
    ],
)
def test_purchases_that_cannot_be_modelled_are_refused_with_the_numbers(
    figures: tuple[int, int, int], reason: str
) -> None:
    gate = purchase_gate(*figures)
    assert (gate.is_open, gate.reason) == (False, reason)


def test_gates_are_open_at_exactly_what_they_need() -> None:
    purchases, spend = purchase_gate(200, 50, 90), spend_gate(60, 50)
    assert (purchases.is_open, purchases.reason) == (
        True,
        f"200 buyers, 50 of them (25.0%) bought again on another day, in 90 days {_NEEDED}.",
    )
    assert purchase_gate(1_000, 50, 90).is_open
    assert (spend.is_open, spend.reason) == (
        True,
        "50 of 60 repeat buyers have repeat purchases with money above 0 (needed: 50).",
    )


def test_too_few_repeat_buyers_with_money_have_no_amounts() -> None:
    gate = spend_gate(60, 49)
    assert (gate.is_open, gate.reason) == (
        False,
        "No amounts, too few repeat buyers with money: 49 of 60 repeat buyers have repeat purchases with money above 0 "
        "(needed: 50).",
    )


@pytest.mark.parametrize(
    ("parameters", "log_likelihood", "is_converged", "reason"),
    [
        ({"a": 1.0, "b": math.nan}, -1.0, True, "No estimate, the fit of BG/NBD is not finite: a = 1, b = nan."),
        ({"a": 1.0, "b": 2.0}, -math.inf, True, "No estimate, the fit of BG/NBD is not finite: a = 1, b = 2."),
        (
            {"a": 1e-3, "b": 999.9999},
            -1.0,
            True,
            "No estimate, in the fit of BG/NBD a ran to its limit of 0.001 and b ran to its limit of 1000: a = 0.001, "
            "b = 1000.",
        ),
        ({"a": 1.0, "b": 2.0}, -1.0, False, "No estimate, the fit of BG/NBD did not converge: a = 1, b = 2."),
    ],
)
def test_a_fit_that_may_not_be_used_says_why(
    parameters: dict[str, float], log_likelihood: float, is_converged: bool, reason: str
) -> None:
    gate = fit_gate("BG/NBD", parameters, _LIMITS, log_likelihood, is_converged)
    assert (gate.is_open, gate.reason) == (False, reason)


def test_a_sound_fit_tells_its_parameters() -> None:
    gate = fit_gate("BG/NBD", {"a": 0.7929, "b": 2.4259}, _LIMITS, -9582.43, True)
    assert (gate.is_open, gate.reason) == (True, "BG/NBD: a = 0.7929, b = 2.426.")


def test_an_infinite_mean_closes_the_gate_at_one() -> None:
    assert mean_gate(1.0).reason == (
        "No amounts, q of Gamma-Gamma is 1.000 (needed: above 1): the mean would be infinite."
    )
    assert [mean_gate(q).is_open for q in (0.5, 1.0, 1.001)] == [False, False, True]
