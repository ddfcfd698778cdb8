"""The decision about a campaign: its sentence, its numbers, and how many more customers it takes."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from segmentation_assets.measurement.decision import decide
from segmentation_assets.measurement.lift import LiftSpec, campaign_lift
from segmentation_assets.measurement.looks import Look
from segmentation_assets_tests.measurement.test_lift import group

SPEC = LiftSpec("C1", control_share=0.1)


def decided(
    treated_buyers: int, control_buyers: int, spec: LiftSpec = SPEC, worthwhile: float | None = None, scale: int = 1
) -> dict[str, Any]:
    customers = pl.concat(
        [group("treated", 9_000 * scale, treated_buyers), group("control", 1_000 * scale, control_buyers)]
    )
    return decide(campaign_lift(customers, spec), worthwhile).row(0, named=True)


def test_an_interval_above_0_is_repeated_with_its_numbers() -> None:
    assert decided(450, 30) == {
        "campaign_id": "C1", "arm": "treated", "metric": "buyers", "decision": "repeat", "needed_customers": None,
        "sentence": "5.00% of 9,000 customers written to bought, and 3.00% of 1,000 left out: +2.00 points, between "
        "+0.68 points and +3.01 points. Chance alone seldom does that: repeat it.",
    }  # fmt: skip


def test_an_interval_below_0_or_below_what_is_worthwhile_is_stopped() -> None:
    harm = decided(200, 45)
    assert harm["decision"] == "stop"
    assert harm["sentence"].endswith("Those written to did worse than those left out: stop.")
    small = decided(450, 30, worthwhile=0.05)
    assert small["decision"] == "stop"
    assert small["sentence"].endswith("Even the upper end is less than the 5.00 points that would pay for it: stop.")


def test_an_open_question_says_how_many_more_customers_it_takes_for_the_observed_effect() -> None:
    found = decided(300, 30)
    assert found["decision"] == "inconclusive"
    assert found["needed_customers"] == 240_808
    assert found["sentence"].endswith(
        "That may be chance. Inconclusive: needs 240,808 more customers to show an effect of 0.33 points, as observed."
    )


def test_the_needed_customers_do_show_the_effect() -> None:
    # 10,000 customers were undecided; with as many as it asked for, the same rates are clear.
    assert decided(315, 30)["decision"] == "inconclusive"
    more = decided(315, 30)["needed_customers"]
    scale = round((10_000 + more) / 10_000)
    assert decided(315 * scale, 30 * scale, scale=scale)["decision"] == "repeat"


def test_a_worthwhile_effect_is_what_more_customers_are_counted_for() -> None:
    found = decided(300, 30, worthwhile=0.01)
    # Standard error .00596, 2.8 of which must be a point: 10,000 (2.8 x .00596 / .01)^2 in all.
    assert found["needed_customers"] == pytest.approx(17_868, abs=5)
    assert "an effect of 1.00 points, the least that is worthwhile" in found["sentence"]
    # Large enough a list, and still neither 0 nor the worthwhile effect ruled out: the nearer of both decides.
    both = decided(4_500, 480, worthwhile=0.05)
    assert both["decision"] == "inconclusive"
    assert both["needed_customers"] > 0
    assert both["sentence"].endswith("more customers to show which of no effect and a worthwhile one it is.")


def test_nothing_observed_asks_for_a_lift_of_a_tenth_and_nobody_bought_for_nothing() -> None:
    assert "to show a lift of a tenth." in decided(270, 30)["sentence"]
    nobody = decided(0, 0)
    assert (nobody["decision"], nobody["needed_customers"]) == ("inconclusive", None)
    assert nobody["sentence"].endswith("So few bought that the customers it takes cannot be said: inconclusive.")


def test_an_early_look_without_a_finding_waits_for_the_end() -> None:
    found = decided(400, 30, LiftSpec("C1", control_share=0.1, look=Look(1, 0.3)))
    assert found["decision"] == "inconclusive"
    assert "and the window has not ended: wait for its end" in found["sentence"]
    clear = decided(900, 20, LiftSpec("C1", control_share=0.1, look=Look(1, 0.3)))
    assert clear["decision"] == "repeat"
    assert clear["sentence"].endswith("The window has not ended; the interval allows for looking early.")


def test_groups_of_the_wrong_size_no_control_and_no_experiment_are_no_lift() -> None:
    wrong = decided(450, 30, LiftSpec("C1", control_share=0.2))
    assert wrong["decision"] == "check the assignment"
    credited = decided(450, 0)
    assert credited["decision"] == "check the outcomes"
    assert credited["sentence"].endswith("count the orders of both groups, not responses to the message.")
    alone = decide(campaign_lift(group("treated", 100, 5), LiftSpec("C1"))).row(0, named=True)
    assert alone["decision"] == "no control"
    past = decided(450, 30, LiftSpec("K1", is_experiment=False))
    assert past["decision"] == "association only"
    assert "lift" not in past["sentence"]


def test_an_a_a_trial_is_alike_or_differs_and_is_never_repeated() -> None:
    spec = LiftSpec("C1", is_aa=True, control_share=0.1)
    assert decided(270, 30, spec)["decision"] == "A/A: alike"
    assert decided(450, 30, spec)["decision"] == "A/A: differ"
    assert decided(200, 45, spec)["decision"] == "A/A: differ"  # nor is one that lies below 0 a reason to stop


def test_an_a_a_trial_never_says_that_somebody_was_written_to() -> None:
    for metric in ("buyers", "margin"):
        sentence = decided(270, 30, LiftSpec("C1", metric, is_aa=True, control_share=0.1))["sentence"]
        assert "9,000 customers drawn for a message" in sentence or "9,000 customers were drawn for a mess" in sentence
        assert "customers written to" not in sentence and "were written to" not in sentence


def test_a_list_that_would_have_shown_a_lift_of_a_tenth_is_not_asked_for_one_more_customer() -> None:
    small = decided(3_599, 400, scale=4)
    assert "to show a lift of a tenth." in small["sentence"] and small["needed_customers"] > 30_000
    found = decided(8_999, 1_000, scale=10)  # 90,000 beside 10,000, a tenth of each: 2.8 standard errors are .9 points
    assert (found["decision"], found["needed_customers"]) == ("inconclusive", None)
    assert found["sentence"].endswith(
        "Inconclusive: a lift of a tenth would likely have shown, so it is smaller, if any."
    )
    assert "left out: +0.00 points" in found["sentence"]  # "-0.00" would read like a loss


def test_an_early_look_at_an_effect_large_enough_waits_for_the_end_instead_of_more_customers() -> None:
    found = decided(560, 30, LiftSpec("C1", control_share=0.1, look=Look(1, 0.1)))
    assert (found["decision"], found["needed_customers"]) == ("inconclusive", None)
    assert (
        "wait for its end. Inconclusive: by then these customers are enough to show an effect of" in found["sentence"]
    )


def test_an_effect_next_to_nothing_is_not_blamed_on_few_buyers() -> None:
    results = campaign_lift(pl.concat([group("treated", 9_000, 300), group("control", 1_000, 30)]), SPEC)
    tiny = results.with_columns(effect=pl.when(pl.col("metric") == "buyers").then(1e-9).otherwise("effect"))
    assert (
        decide(tiny)["sentence"]
        .item()
        .endswith("Inconclusive: no list is long enough to show an effect of 0.00 points, as observed.")
    )


def test_a_margin_with_too_few_buyers_is_judged_by_buyers() -> None:
    found = decided(450, 30, LiftSpec("C1", "margin", control_share=0.1))
    assert (found["decision"], found["metric"]) == ("inconclusive", "margin")
    assert "margin per customer is compared from 300 buyers in each group on" in found["sentence"]
    enough = decided(4_500, 400, LiftSpec("C1", "margin", control_share=0.1))
    assert enough["decision"] == "repeat"
    assert "margin per customer of 9,000 written to" in enough["sentence"]


def test_a_worthwhile_effect_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^The smallest worthwhile effect is 0; it must be above 0\.$"):
        decided(450, 30, worthwhile=0)
