"""The RFM groups in the place of clusters."""

from __future__ import annotations

import polars as pl

from segmentation_assets.lifetime.rfm import RFM_GROUPS
from segmentation_assets.segmentation.evidence import empty_evidence
from segmentation_assets.segmentation.rule import assign_rule, choose_rule, rule_model_frame
from segmentation_assets.segmentation.spec import STAGE

GROUPS = pl.DataFrame({"customer_id": ["a", "b", "c", "d"], "rfm_group": ["Lost", "Champions", "Lost", None]})


def test_each_group_with_customers_is_a_segment_under_an_id_that_is_always_its_own() -> None:
    model = rule_model_frame(GROUPS, STAGE)
    assert model.select("version", "segment_id", "name", "segment_customers", "k").rows() == [
        (0, "R1", "Champions", 1, 2), (0, "R11", "Lost", 2, 2),
    ]  # fmt: skip
    assert RFM_GROUPS[10] == "Lost"


def test_customers_without_a_group_are_outside() -> None:
    found = assign_rule(GROUPS, pl.Series(["d", "c", "b", "a", "new"]), STAGE)
    assert dict(found.select("customer_id", "segment_id").iter_rows()) == {
        "a": "R11", "b": "R1", "c": "R11", "d": "S0", "new": "S0"
    }  # fmt: skip
    assert found["customer_id"].to_list() == sorted(found["customer_id"].to_list())
    assert found["version"].unique().to_list() == [0]


def test_the_choice_says_who_made_it_and_claims_no_structure() -> None:
    choice = choose_rule(empty_evidence(), STAGE, GROUPS)
    assert (choice.k, choice.verdict, choice.chosen_by, choice.rule_k) == (2, "constructive", "settings", 0)
    assert "The 2 RFM groups take the place of 0 clusters" in choice.reason


def test_without_a_single_group_the_axis_is_off() -> None:
    choice = choose_rule(empty_evidence(), STAGE, GROUPS.with_columns(rfm_group=pl.lit(None, dtype=pl.String)))
    assert (choice.k, choice.verdict) == (0, "off")
    assert choice.reason == "None of the 4 customers has an RFM group, which the settings ask for."
