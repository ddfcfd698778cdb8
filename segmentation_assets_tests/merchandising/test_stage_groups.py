"""Groups of stages by their own figures, and settings of a campaign that cannot be meant."""

from __future__ import annotations

import polars as pl
import pytest

from segmentation_assets.merchandising.plan import CampaignSpec
from segmentation_assets.merchandising.stage_groups import stage_groups


def test_stages_are_grouped_by_their_own_figures() -> None:
    summary = pl.DataFrame(
        {
            "axis": ["stage"] * 6 + ["taste"],
            "segment_id": ["S0", "S1", "S2", "S3", "S4", "S5", "T1"],
            "name": ["Never", "A", "B", "C", "D", "E", "Coffee"],
            "customers": [100, 300, 300, 300, 100, 100, 900],
            "median_recency_days": [None, 20.0, 50.0, 130.0, 500.0, 30.0, 60.0],
            "median_order_count": [None, 12.0, 4.0, 3.0, 2.0, 1.0, 4.0],
            "median_monetary_amount": [None, 400.0, 100.0, 90.0, 40.0, 30.0, 100.0],
        }
    )
    groups = stage_groups(summary)
    assert dict(zip(groups["stage_segment_id"], groups["stage_group"], strict=True)) == {
        "S0": "never_bought", "S1": "loyal", "S2": "active", "S3": "lapsing", "S4": "lapsed", "S5": "new",
    }  # fmt: skip


def test_an_unsplit_stage_axis_is_one_active_group_and_not_never_buyers() -> None:
    everyone = pl.DataFrame(
        {"axis": ["stage"], "segment_id": ["S0"], "name": ["All customers"], "customers": [900],
         "median_recency_days": [40.0], "median_order_count": [3.0], "median_monetary_amount": [90.0]}
    )  # fmt: skip
    assert stage_groups(everyone)["stage_group"].to_list() == ["active"]


def test_a_setting_that_cannot_be_meant_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="margin_floor_share is 10"):
        CampaignSpec(margin_floor_share=10)
    with pytest.raises(ValueError, match="one to six"):
        CampaignSpec(products_per_brief=7)
    with pytest.raises(ValueError, match="loyals"):
        CampaignSpec(discount_by_stage_group={"loyals": 0.1})
    with pytest.raises(ValueError, match=r"audience_share is 0; it must be above 0 and at most 1\."):
        CampaignSpec(audience_share=0)
    with pytest.raises(ValueError, match="offers_per_customer must be at least 1 and rest_days at least 0"):
        CampaignSpec(offers_per_customer=0)
