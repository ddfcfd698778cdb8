"""Every setting of campaigns reaches merchandising: one that is forgotten on the way would be set and never work."""

from __future__ import annotations

from dataclasses import fields

import pytest

from segmentation_assets.defs.merchandising import campaign_spec
from segmentation_assets.merchandising.plan import CampaignSpec, ProductFilters
from segmentation_assets.settings import (
    CampaignSettings,
    DiscountSettings,
    PrivacySettings,
    ProductFilterSettings,
    Settings,
)

#: Each setting away from its default.
FILTERS = {
    "minimum_stock": 3.0, "minimum_cover_days": 4.0, "minimum_margin_share": 0.3, "minimum_price": 5.0,
    "maximum_price": 60.0, "categories": ["Coffee", "Tea"], "brands": ["Nordlys"], "ageing_days": 70,
}  # fmt: skip
DISCOUNTS = {"loyal": 0.01, "new": 0.02, "lapsing": 0.03, "lapsed": 0.04, "never_bought": 0.06}
CAMPAIGNS = {
    "margin_floor_share": 0.12, "safety_stock": 6.0, "cover_days": 15.0, "discount_share": 0.07,
    "discounts": DISCOUNTS, "control_share": 0.13, "products_per_brief": 3, "max_briefs": 4, "valid_days": 21,
    "audience_share": 0.25, "offers_per_customer": 2, "rest_days": 45, "filters": FILTERS,
}  # fmt: skip
PRIVACY = {"minimum_cell": 80, "sensitive_categories": ["Amulets"], "age_restricted_categories": ["Fireworks"]}
#: Settings that merchandising calls otherwise.
RENAMED = {"discount_share": "base_discount_share", "discounts": "discount_by_stage_group"}
#: Sizes of the table of matches, which nobody sets.
FIXED = {"audiences_per_product", "products_per_audience"}


@pytest.fixture
def spec() -> CampaignSpec:
    return campaign_spec(Settings.model_validate({"campaigns": CAMPAIGNS, "privacy": PRIVACY}))


def test_every_setting_is_set_here_away_from_its_default() -> None:
    for model, values in (
        (CampaignSettings, CAMPAIGNS), (DiscountSettings, DISCOUNTS), (ProductFilterSettings, FILTERS)
    ):  # fmt: skip
        plain, changed = model().model_dump(), model(**values).model_dump()
        assert set(values) == set(plain)
        assert [name for name in plain if plain[name] == changed[name]] == [], model
    assert all(getattr(PrivacySettings(), name) != value for name, value in PRIVACY.items())


def test_every_setting_of_campaigns_reaches_merchandising(spec: CampaignSpec) -> None:
    wanted = {RENAMED.get(name, name): value for name, value in {**CAMPAIGNS, **PRIVACY}.items() if name != "filters"}
    carried = {field.name: getattr(spec, field.name) for field in fields(spec) if field.name not in {"filters", *FIXED}}
    assert {name: list(value) if isinstance(value, tuple) else value for name, value in carried.items()} == wanted


def test_every_filter_reaches_merchandising(spec: CampaignSpec) -> None:
    carried = {field.name: getattr(spec.filters, field.name) for field in fields(ProductFilters)}
    assert {name: list(value) if isinstance(value, tuple) else value for name, value in carried.items()} == FILTERS
