"""What may be offered: each rule, filter and choice with its sentence, and what a discount does to a product."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segmentation_assets.language.facts import clean_name
from segmentation_assets.merchandising.choices import Choice, choices_frame
from segmentation_assets.merchandising.plan import TABLE_TYPES, CampaignSpec, ProductFilters
from segmentation_assets.merchandising.promotable import (
    changed_by_a_choice,
    holds_floor,
    in_categories,
    largest_discount,
    promotable_products,
)
from segmentation_assets.warehouse.sql_models import SQL_ROOT, load_model
from segmentation_assets.warehouse.tables import create_from_frame, create_from_query

AS_OF = date(2026, 6, 30)
NOTHING = choices_frame(())
#: 90 sold in 90 days: 14 days of cover are 14 units, and with 5 kept back the safety level is 19.
PRODUCT: dict[str, Any] = {
    "product_id": "P1", "retailer_id": "R1", "sku": "COF-0001", "name": "House Espresso", "brand": "Nordlys",
    "category": "Coffee & Tea", "subcategory": "Beans", "list_price": 20.0, "unit_cost": 8.0,
    "launched_on": date(2022, 1, 1), "is_active": True,
}  # fmt: skip
PRODUCT_TYPES = {
    "product_id": pl.String(), "retailer_id": pl.String(), "sku": pl.String(), "name": pl.String(),
    "brand": pl.String(), "category": pl.String(), "subcategory": pl.String(), "list_price": pl.Float64(),
    "unit_cost": pl.Float64(), "launched_on": pl.Date(), "is_active": pl.Boolean(),
}  # fmt: skip
SALES_TYPES = {
    "product_id": pl.String(), "units": pl.Float64(), "net_amount": pl.Float64(), "units_last_90_days": pl.Float64(),
    "median_unit_price": pl.Float64(), "last_sold_on": pl.Date(),
}  # fmt: skip


def catalogue(*changes: Mapping[str, Any]) -> pl.DataFrame:
    """One product per set of changes; each has a sku of its own unless it is given."""
    rows = [{**PRODUCT, "sku": f"SKU-{number}", **change} for number, change in enumerate(changes)]
    return pl.DataFrame(rows, schema=PRODUCT_TYPES)


def stock(**units: float | list[float]) -> pl.DataFrame:
    """Units by product; a list is one figure per store."""
    rows = [
        (product_id, f"S{store}", float(quantity))
        for product_id, given_ in units.items()
        for store, quantity in enumerate(given_ if isinstance(given_, list) else [given_])
    ]
    return pl.DataFrame(rows, schema=["product_id", "store_id", "stock_quantity"], orient="row")


def sold(units: Mapping[str, float], on: date = date(2026, 6, 20), price: float = 20.0) -> pl.DataFrame:
    rows = [(product_id, number, number * price, number, price, on) for product_id, number in units.items()]
    return pl.DataFrame(rows, schema=SALES_TYPES, orient="row")


def judge(
    products: pl.DataFrame,
    inventory: pl.DataFrame | None = None,
    sales: pl.DataFrame | None = None,
    choices: list[Choice] | None = None,
    **setting: Any,
) -> dict[str, dict[str, Any]]:
    """campaigns.promotable_products by id; every product has 500 units and sold 90 where nothing else is given."""
    ids = products["product_id"].to_list()
    frame = promotable_products(
        products,
        stock(**dict.fromkeys(ids, 500.0)) if inventory is None else inventory,
        sold(dict.fromkeys(ids, 90.0)) if sales is None else sales,
        choices_frame(choices or ()),
        spec=CampaignSpec(**setting),
        as_of=AS_OF,
    )
    return {row["product_id"]: row for row in frame.to_dicts()}


def one(change: Mapping[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """The row of a catalogue of one product."""
    return judge(catalogue(change or {}), **more)["P1"]


def filtered(change: Mapping[str, Any] | None = None, sales: pl.DataFrame | None = None, **filters: Any) -> str:
    row = one(change, sales=sales, filters=ProductFilters(**filters))
    return "" if row["is_promotable"] else str(row["reason"])


# --- the hard rules ----------------------------------------------------------------------------------------------


def test_a_good_product_says_what_speaks_for_it() -> None:
    row = one()
    assert row["is_promotable"]
    assert row["reason"] == "481 units above the safety level; margin of 50% after 20% off, floor 10%."


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"category": "Health & Care"}, "In a sensitive category: never promoted."),
        ({"subcategory": "Gambling"}, "In a sensitive category: never promoted."),
        ({"name": "Hurry! Last chance"}, "Its name presses or promises what nobody can keep; no e-mail may repeat it."),
        ({"is_active": False}, "Discontinued."),
        ({"launched_on": date(2026, 7, 1)}, "Not on sale before 2026-07-01."),
        ({"list_price": 0.0}, "No list price is known."),
        ({"unit_cost": None}, "No purchase cost is known, so its margin cannot be checked."),
        ({"unit_cost": 18.01}, "Margin of 9.9% at the list price is below the floor of 10%."),
        ({"unit_cost": 30.0}, "Margin of -50% at the list price is below the floor of 10%."),
    ],
)
def test_each_hard_rule_gives_its_reason(change: dict[str, Any], reason: str) -> None:
    row = one(change)
    assert not row["is_promotable"]
    assert row["reason"] == reason


def test_an_id_with_a_comma_cannot_be_listed() -> None:
    row = judge(catalogue({"product_id": "P,1"}))["P,1"]
    assert row["reason"] == "Its id holds a comma, which separates the ids in a campaign's list."


def test_the_first_rule_that_is_broken_is_the_reason() -> None:
    change = {"category": "Gambling", "is_active": False, "unit_cost": 30.0}
    assert one(change)["reason"] == "In a sensitive category: never promoted."
    assert one({**change, "category": "Tea"})["reason"] == "Discontinued."
    assert one({"unit_cost": 30.0}, inventory=stock(P1=0))["reason"].startswith("Margin of -50%")


def test_a_product_launched_today_and_one_of_unknown_launch_are_on_sale() -> None:
    assert one({"launched_on": AS_OF})["is_promotable"]
    assert one({"launched_on": None, "is_active": None})["is_promotable"]


def test_a_price_the_catalogue_lacks_is_taken_from_its_sales_and_a_name_it_lacks_is_its_id() -> None:
    row = one({"list_price": None, "name": None}, sales=sold({"P1": 90}, price=12.5))
    assert (row["list_price"], row["name"], row["is_promotable"]) == (12.5, "P1", True)
    assert one({"list_price": None}, sales=sold({}))["reason"] == "No list price is known."


def test_a_product_sold_or_chosen_but_not_in_the_catalogue_is_told_apart() -> None:
    rows = judge(catalogue({}), sales=sold({"P1": 9, "GONE": 3}), choices=[("NEVER", 0.1, None)])
    assert rows["GONE"]["reason"] == "Sold, but not in the catalogue: nothing is known of its price and cost."
    assert rows["NEVER"]["reason"] == "Chosen, but not in the catalogue: nothing is known of its price and cost."
    assert not rows["GONE"]["is_promotable"] and rows["NEVER"]["is_chosen"]


def test_age_restricted_products_are_marked_and_may_be_offered() -> None:
    row = one({"category": "Wine"})
    assert row["is_age_restricted"] and row["is_promotable"] and not row["is_sensitive"]


# --- stock -------------------------------------------------------------------------------------------------------


def test_stock_counts_over_all_stores_above_the_safety_level() -> None:
    row = one(inventory=stock(P1=[8.0, 11.9]))
    assert (row["stock_quantity"], row["safety_stock"]) == (19.9, 19.0)
    assert row["reason"] == "Stock of 19 is not above the safety level of 19."
    assert one(inventory=stock(P1=[8.0, 12.0]))["is_promotable"]
    assert one(inventory=stock(P2=500))["reason"] == "Stock of 0 is not above the safety level of 19."


def test_a_negative_stock_is_no_stock() -> None:
    row = one(inventory=stock(P1=[3.0, -10.0]))
    assert row["reason"] == "Stock of -7 is not above the safety level of 19."
    assert row["cover_days"] == 0.0


@pytest.mark.parametrize("nothing", [None, stock(P1=1.0).clear()])
def test_without_an_inventory_stock_rules_and_stock_filters_are_off_and_it_says_so(
    nothing: pl.DataFrame | None,
) -> None:
    products = catalogue({})

    def reason(filters: ProductFilters) -> str:
        spec = CampaignSpec(filters=filters)
        frame = promotable_products(products, nothing, sold({"P1": 90}), NOTHING, spec=spec, as_of=AS_OF)
        row = frame.row(0, named=True)
        assert row["is_promotable"]
        assert row["stock_quantity"] is row["safety_stock"] is row["cover_days"] is None
        return str(row["reason"])

    rest = "; margin of 50% after 20% off, floor 10%."
    assert reason(ProductFilters()) == f"Stock unknown, so no stock rule was applied{rest}"
    assert reason(ProductFilters(minimum_stock=9e9)) == (
        f"Stock unknown, so no stock rule was applied, nor the filter minimum_stock{rest}"
    )
    assert reason(ProductFilters(minimum_stock=9e9, minimum_cover_days=9e9)) == (
        f"Stock unknown, so no stock rule was applied, nor the filters minimum_stock and minimum_cover_days{rest}"
    )


def test_cover_is_the_days_the_stock_lasts_and_is_unknown_without_sales() -> None:
    assert one()["cover_days"] == 500.0
    assert one(sales=sold({}))["cover_days"] is None


# --- margin, discount and profit ---------------------------------------------------------------------------------


def test_the_largest_discount_of_the_plan_that_holds_the_floor_is_taken() -> None:
    assert one()["discount_share"] == 0.20
    assert one({"unit_cost": 15.5})["discount_share"] == 0.10  # at 15% off the margin is 8.8%
    thin = one({"unit_cost": 18.0})
    assert (thin["discount_share"], thin["is_promotable"]) == (0.0, True)
    assert thin["reason"].endswith("margin of 10% at the list price, floor 10%.")


def test_a_plan_that_always_discounts_names_its_smallest_discount() -> None:
    every = dict.fromkeys(("loyal", "new", "lapsing", "lapsed", "never_bought"), 0.15)
    assert one({"unit_cost": 16.0}, discount_by_stage_group=every)["discount_share"] == 0.05
    assert one({"unit_cost": 17.5}, discount_by_stage_group=every)["reason"] == (
        "Margin of 7.8% after 5% off is below the floor of 10%."
    )


def test_profit_before_and_after_the_discount_is_at_the_units_of_the_last_90_days() -> None:
    row = one()
    assert (row["full_margin_amount"], row["offer_price"], row["margin_amount"]) == (12.0, 16.0, 8.0)
    assert (row["profit_before_amount"], row["profit_after_amount"]) == (1080.0, 720.0)
    # 135 units at 8 earn what 90 units at 12 do.
    assert row["break_even_uplift"] == 0.5
    assert 90 * (1 + row["break_even_uplift"]) * row["margin_amount"] == row["profit_before_amount"]


def test_figures_follow_from_price_and_cost_as_they_are_written() -> None:
    row = one({"list_price": 10 / 3, "unit_cost": 1 / 3})
    assert (row["list_price"], row["unit_cost"], row["offer_price"]) == (3.3333, 0.3333, 2.6666)
    assert (row["full_margin_amount"], row["margin_amount"]) == (3.0, 2.3333)
    assert (row["profit_before_amount"], row["profit_after_amount"]) == (270.0, 209.997)


def test_a_product_in_no_order_has_no_profit_and_no_day_of_sale() -> None:
    row = one(sales=sold({}))
    assert row["is_promotable"]
    assert (row["units_last_90_days"], row["profit_before_amount"], row["profit_after_amount"]) == (0.0, 0.0, 0.0)
    assert row["days_since_sale"] is None
    assert row["safety_stock"] == 5.0


def test_a_chosen_discount_takes_the_place_of_the_plans() -> None:
    row = one(choices=[("P1", 0.30, None)])
    assert (row["discount_share"], row["offer_price"], row["is_chosen"]) == (0.30, 14.0, True)
    assert row["reason"] == "481 units above the safety level; margin of 42.9% after the chosen 30% off, floor 10%."
    full = one(choices=[("P1", 0.0, None)])
    assert full["reason"].endswith("margin of 60% at the list price, floor 10%.")
    assert full["break_even_uplift"] == 0.0
    assert one(choices=[("P1", None, 500)])["discount_share"] == 0.20


def test_a_chosen_discount_that_eats_the_margin_is_named_as_the_cause() -> None:
    row = one({"list_price": 100.0, "unit_cost": 18.0}, choices=[("P1", 0.9, None)])
    assert not row["is_promotable"] and row["is_chosen"]
    assert row["reason"] == "Margin of -80% after the chosen 90% off is below the floor of 10%."
    assert row["break_even_uplift"] is None  # no number of units earns it back
    assert row["profit_after_amount"] == -720.0


def test_a_discount_that_leaves_no_price_has_no_margin_and_still_a_reason() -> None:
    row = one({"list_price": 0.0004, "unit_cost": 0.0}, choices=[("P1", 0.9, None)])
    assert (row["offer_price"], row["margin_share"], row["is_promotable"]) == (0.0, None, False)
    assert row["reason"] == "Nothing is left of its price after the chosen 90% off."


def test_the_largest_discount_that_holds_is_the_last_one_that_does() -> None:
    frame = pl.DataFrame({"list_price": [20.0, 9.49, 20.0, 20.0, None], "unit_cost": [8.0, 5.27, 18.0, 18.5, 1.0]})
    found = frame.select(largest_discount(pl.lit(0.1))).to_series().to_list()
    assert found == [0.555, 0.382, 0.0, None, None]
    for discount, held in ((0.555, True), (0.556, False)):
        assert frame.head(1).select(holds_floor(pl.lit(discount), pl.lit(0.1))).item() is held


@settings(max_examples=60, deadline=None)
@given(price=st.floats(0.01, 5000), cost=st.floats(0, 5000), floor=st.floats(0, 0.9))
def test_no_larger_discount_holds_than_the_largest(price: float, cost: float, floor: float) -> None:
    frame = pl.DataFrame({"list_price": [round(price, 4)], "unit_cost": [round(cost, 4)]})
    least = pl.lit(floor)
    largest = frame.select(largest_discount(least)).item()
    if largest is None:
        assert not frame.select(holds_floor(pl.lit(0.0), least)).item()
        return
    assert frame.select(holds_floor(pl.lit(largest), least)).item()
    assert 0 <= largest < 1
    if largest < 0.99 and price > 1:  # a price of cents is coarser than a tenth of a percent
        assert not frame.select(holds_floor(pl.lit(largest + 0.003), least)).item()


# --- a sku of two products ---------------------------------------------------------------------------------------

TWINS = catalogue({"product_id": "P1", "sku": " cof-0001 "}, {"product_id": "P2", "sku": "COF-0001"})


def test_of_two_products_with_one_sku_the_one_that_sells_is_offered() -> None:
    rows = judge(TWINS, sales=sold({"P1": 10, "P2": 20}))
    assert rows["P2"]["is_promotable"] and not rows["P1"]["is_promotable"]
    assert rows["P1"]["reason"] == "Its sku cof-0001 is also that of P2, which is offered instead."


def test_of_two_that_sell_alike_the_lower_id_is_offered() -> None:
    rows = judge(TWINS)
    assert rows["P1"]["is_promotable"]
    assert rows["P2"]["reason"] == "Its sku COF-0001 is also that of P1, which is offered instead."


def test_a_product_that_may_not_be_offered_takes_nobodys_place() -> None:
    rows = judge(TWINS, inventory=stock(P1=500, P2=0), sales=sold({"P1": 10, "P2": 20}))
    assert rows["P1"]["is_promotable"]
    assert rows["P2"]["reason"] == "Stock of 0 is not above the safety level of 9."
    cheap = TWINS.with_columns(pl.Series("list_price", [20.0, 30.0]))
    rows = judge(cheap, sales=sold({"P1": 10, "P2": 20}), filters=ProductFilters(maximum_price=25))
    assert rows["P1"]["is_promotable"]
    assert rows["P2"]["reason"] == "Its sku COF-0001 is also that of P1, which is offered instead."


def test_the_chosen_one_of_two_with_one_sku_is_offered() -> None:
    rows = judge(TWINS, sales=sold({"P1": 10, "P2": 20}), choices=[("P1", None, None)])
    assert rows["P1"]["is_promotable"]
    assert rows["P2"]["reason"] == "Its sku COF-0001 is also that of P1, which is offered instead."


def test_the_same_sku_at_two_retailers_and_no_sku_at_all_are_two_products() -> None:
    assert all(row["is_promotable"] for row in judge(TWINS.with_columns(retailer_id=pl.col("product_id"))).values())
    for nothing in (None, "", "  "):
        blank = TWINS.with_columns(sku=pl.lit(nothing, dtype=pl.String()))
        assert all(row["is_promotable"] for row in judge(blank).values())
    alone = TWINS.with_columns(retailer_id=pl.lit(None, dtype=pl.String()))  # a source without retailers is one shop
    assert sum(row["is_promotable"] for row in judge(alone).values()) == 1


# --- filters -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("filters", "reason"),
    [
        ({"minimum_stock": 482}, "Units above the safety level: 481; the filter asks for 482 or more."),
        ({"minimum_stock": 481}, ""),
        ({"minimum_cover_days": 500.5}, "Days that its stock lasts: 500; the filter asks for 500.5 or more."),
        ({"minimum_cover_days": 500}, ""),
        (
            {"minimum_margin_share": 0.501},
            "Margin after the discount: 50% after 20% off; the filter asks for 50.1% or more.",
        ),
        ({"minimum_margin_share": 0.5}, ""),
        ({"minimum_price": 20.01}, "List price: 20; the filter asks for 20.01 or more."),
        ({"minimum_price": 20}, ""),
        ({"maximum_price": 19.99}, "List price: 20; the filter asks for 19.99 or less."),
        ({"maximum_price": 20}, ""),
        (
            {"categories": ("Books", "Garden")},
            "Category: Coffee & Tea; the filter asks for Books, Garden.",
        ),
        ({"categories": ("Books", " coffee  & TEA")}, ""),
        ({"brands": ("Kaldi & Sons",)}, "Brand: Nordlys; the filter asks for Kaldi & Sons."),
        ({"brands": ("NORDLYS",)}, ""),
        (
            {"brands": tuple("abcdefgh")},
            "Brand: Nordlys; the filter asks for a, b, c, d, e, f or 2 more.",
        ),
        ({"ageing_days": 11}, "Days since it was last sold: 10; the filter asks for 11 or more."),
        ({"ageing_days": 10}, ""),
    ],
)
def test_each_filter_excludes_with_its_numbers_and_only_below_them(filters: dict[str, Any], reason: str) -> None:
    assert filtered(**filters) == reason


def test_all_filters_must_hold_and_the_first_that_fails_is_named() -> None:
    assert filtered(minimum_stock=100, minimum_margin_share=0.3, categories=("Coffee & Tea",), ageing_days=10) == ""
    assert filtered(minimum_stock=100, minimum_price=30, ageing_days=99).startswith("List price: 20")
    assert filtered({"is_active": False}, minimum_price=30) == "Discontinued."


def test_what_does_not_sell_lasts_for_ever_and_has_aged() -> None:
    assert filtered(sales=sold({}), minimum_cover_days=9999, ageing_days=9999) == ""


def test_an_unknown_category_or_brand_is_none_of_those_asked_for() -> None:
    assert filtered({"category": None}, categories=("Books",)) == "Category: not known; the filter asks for Books."
    assert filtered({"brand": None}, brands=("Nordlys",)) == "Brand: not known; the filter asks for Nordlys."


def test_a_figure_just_below_what_is_asked_never_reads_as_the_same() -> None:
    reason = filtered({"unit_cost": 8.0008}, minimum_margin_share=0.5)
    assert reason == "Margin after the discount: 49.9% after 20% off; the filter asks for 50% or more."
    assert filtered(sales=sold({"P1": 90.009}), minimum_cover_days=500).startswith("Days that its stock lasts: 499.9;")


# --- what a marketer chooses -------------------------------------------------------------------------------------


def test_when_products_are_chosen_the_others_are_not_offered() -> None:
    products = catalogue({"product_id": "P1"}, {"product_id": "P2"}, {"product_id": "P3", "is_active": False})
    rows = judge(products, choices=[("P1", None, 2000)])
    assert {product_id: row["is_promotable"] for product_id, row in rows.items()} == {
        "P1": True, "P2": False, "P3": False,
    }  # fmt: skip
    assert rows["P2"]["reason"] == "Not among the products chosen."
    assert rows["P3"]["reason"] == "Discontinued."
    assert [row["is_chosen"] for row in rows.values()] == [True, False, False]


def test_a_choice_does_not_override_a_rule_or_a_filter() -> None:
    assert one({"is_active": False}, choices=[("P1", None, None)])["reason"] == "Discontinued."
    row = one(choices=[("P1", None, None)], filters=ProductFilters(minimum_price=30))
    assert row["reason"] == "List price: 20; the filter asks for 30 or more."


@pytest.mark.parametrize(
    ("reason", "what"),
    [
        ("Not among the products chosen.", "choice"),
        ("List price: 20; the filter asks for 30 or more.", "filter"),
        ("Brand: Nordlys; the filter asks for Kaldi & Sons.", "filter"),
        ("Margin of -80% after the chosen 90% off is below the floor of 10%.", "margin"),
        ("Margin of 9.9% at the list price is below the floor of 10%.", "margin"),
        ("Nothing is left of its price after the chosen 90% off.", "margin"),
        ("Discontinued.", None),
        ("Stock of 0 is not above the safety level of 19.", None),
        ("Its sku List price: 1; the filter asks for 2 is also that of P2, which is offered instead.", None),
        ("No purchase cost is known, so its margin cannot be checked.", None),
    ],
)
def test_what_a_choice_can_change_is_told_by_the_reason(reason: str, what: str | None) -> None:
    assert changed_by_a_choice(reason) == what


def test_the_choices_of_a_run_replace_the_kept_ones_for_that_run() -> None:
    kept: list[Choice] = [("P2", 0.15, None), ("P1", None, 500)]
    assert choices_frame(kept).rows() == [("P1", None, 500, "state"), ("P2", 0.15, None, "state")]
    assert choices_frame(kept, [("P9", 0.0, 1)]).rows() == [("P9", 0.0, 1, "run")]
    assert choices_frame((), [("P9", None, None)]).rows() == [("P9", None, None, "run")]
    empty = choices_frame(())
    assert empty.is_empty() and empty.columns == list(TABLE_TYPES["campaigns/product_choices"])


@pytest.mark.parametrize(
    ("choices", "told"),
    [
        ([("P1", 1.0, None)], "discount chosen for product P1 is 1; it must be at least 0 and below 1"),
        ([("P1", 15.0, None)], "discount chosen for product P1 is 15; it must be at least 0 and below 1"),
        ([("P1", -0.1, None)], "discount chosen for product P1 is -0.1; it must be at least 0"),
        ([("P1", float("nan"), None)], "discount chosen for product P1 is nan; it must be at least 0"),
        ([("P1", None, 0)], "The audience chosen for product P1 has 0 customers; 1 is the least."),
        ([("P1", None, None), ("P1", 0.1, None)], "Product P1 is chosen twice; name it once."),
        ([(" ", None, None)], "A chosen product has no id."),
    ],
)
def test_a_choice_that_cannot_be_meant_is_refused(choices: list[Choice], told: str) -> None:
    with pytest.raises(ValueError) as kept:
        choices_frame(choices)
    with pytest.raises(ValueError) as of_run:
        choices_frame((), choices)
    assert told in str(kept.value) and str(kept.value) == str(of_run.value)


# --- whole catalogues --------------------------------------------------------------------------------------------


def test_an_empty_catalogue_is_an_empty_table_with_its_columns() -> None:
    none = promotable_products(
        catalogue(), stock(P1=1.0), sold({}), NOTHING, spec=CampaignSpec(), as_of=AS_OF
    )  # fmt: skip
    assert none.is_empty() and none.columns == list(TABLE_TYPES["campaigns/promotable_products"])
    assert one()["product_id"] == "P1"


def test_decimals_and_the_order_of_rows_do_not_change_the_table() -> None:
    products = catalogue(*({"product_id": f"P{i}", "list_price": 10.0 + i, "sku": f"S{i // 2}"} for i in range(9)))
    units = stock(**{f"P{i}": [10.1 * i, 3.3] for i in range(9)})
    sales = sold({f"P{i}": float(i) for i in range(9)})
    choices = choices_frame([(f"P{i}", 0.1 * (i % 3), None) for i in range(1, 9)])
    plain = promotable_products(products, units, sales, choices, spec=CampaignSpec(), as_of=AS_OF)
    again = promotable_products(
        products.reverse().with_columns(pl.col("list_price", "unit_cost").cast(pl.Decimal(18, 4))),
        units.sample(fraction=1, shuffle=True, seed=3).with_columns(pl.col("stock_quantity").cast(pl.Decimal(18, 3))),
        sales.reverse().with_columns(pl.col("units_last_90_days").cast(pl.Decimal(38, 3))),
        choices.reverse(),
        spec=CampaignSpec(),
        as_of=AS_OF,
    )
    assert again.equals(plain)
    assert plain["product_id"].is_sorted()


@pytest.mark.parametrize(
    ("name", "clean"),
    [
        ("Café Crème, 250 g (2x)", "Café Crème, 250 g (2x)"),
        ("Mug www.shop.example", "Mug"),
        ("Mug shop.example/x", "Mug"),
        ("  Two   spaces ", "Two spaces"),
        ("<b>Bold</b> {{offer}}", "b Bold /b offer"),
        ("ann@example.com", "P1"),
        ("word " * 30, "word " * 14 + "word…"),
    ],
)
def test_a_name_is_taken_as_it_is_or_made_harmless(name: str, clean: str) -> None:
    assert one({"name": name})["name"] == clean


NAMES = st.one_of(st.text(max_size=90), st.from_regex(r"[A-Za-zé&@:/. \[\]-]{0,90}", fullmatch=True))


@settings(max_examples=20, deadline=None)
@given(names=st.lists(NAMES, min_size=1, max_size=20))
def test_every_name_is_made_harmless(names: list[str]) -> None:
    rows = judge(catalogue(*({"product_id": f"P{number}", "name": name} for number, name in enumerate(names))))
    assert [rows[f"P{number}"]["name"] for number in range(len(names))] == [
        clean_name(name) or f"P{number}" for number, name in enumerate(names)
    ]


NUMBERS = st.one_of(st.none(), st.floats(0, 300).map(lambda value: round(value, 2)))


@st.composite
def products_of_a_shop(draw: st.DrawFn) -> list[dict[str, Any]]:
    return [
        {
            "product_id": f"P{number}",
            "sku": draw(st.sampled_from([None, "A", "a ", "B", "C", "D"])),
            "retailer_id": draw(st.sampled_from([None, "R1", "R2"])),
            "name": draw(st.sampled_from(["Espresso", None, "Last chance mug", "<b>Tea</b>"])),
            "category": draw(st.sampled_from(["Coffee & Tea", "Health", "Books", None])),
            "brand": draw(st.sampled_from(["Nordlys", "Kaldi", None])),
            "list_price": draw(NUMBERS),
            "unit_cost": draw(NUMBERS),
            "launched_on": draw(st.sampled_from([None, date(2020, 1, 1), date(2027, 1, 1)])),
            "is_active": draw(st.sampled_from([True, True, False, None])),
        }
        for number in range(draw(st.integers(0, 7)))
    ]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    shop=products_of_a_shop(),
    units=st.one_of(st.none(), st.dictionaries(st.sampled_from([f"P{i}" for i in range(7)]), st.floats(-50, 600))),
    sales=st.dictionaries(st.sampled_from([f"P{i}" for i in range(9)]), st.floats(0, 300)),
    on=st.dates(date(2025, 1, 1), AS_OF),
    chosen=st.dictionaries(
        st.sampled_from([f"P{i}" for i in range(8)]),
        st.tuples(st.one_of(st.none(), st.floats(0, 0.95)), st.one_of(st.none(), st.integers(1, 9000))),
        max_size=4,
    ),
    filters=st.builds(
        ProductFilters,
        minimum_stock=st.one_of(st.none(), st.floats(0, 300)),
        minimum_cover_days=st.one_of(st.none(), st.floats(0, 300)),
        minimum_margin_share=st.one_of(st.none(), st.floats(0, 0.9)),
        minimum_price=st.one_of(st.none(), st.floats(0, 100)),
        maximum_price=st.one_of(st.none(), st.floats(50, 300)),
        categories=st.sampled_from([(), ("coffee & tea",), ("Books", "Coffee & Tea")]),
        brands=st.sampled_from([(), ("Nordlys",), ("Kaldi", "Nordlys")]),
        ageing_days=st.one_of(st.none(), st.integers(1, 200)),
    ),
    floor=st.floats(0, 0.6),
)
def test_what_is_promotable_passes_every_rule_and_filter_and_what_is_not_has_a_reason(
    *,
    shop: list[dict[str, Any]],
    units: dict[str, float] | None,
    sales: dict[str, float],
    on: date,
    chosen: dict[str, tuple[float | None, int | None]],
    filters: ProductFilters,
    floor: float,
) -> None:
    products = catalogue(*shop)
    spec = CampaignSpec(margin_floor_share=floor, filters=filters)
    choices = choices_frame([(product_id, *choice) for product_id, choice in chosen.items()])
    inventory = None if units is None else stock(**units)
    frame = promotable_products(products, inventory, sold(sales, on), choices, spec=spec, as_of=AS_OF)
    rows = {row["product_id"]: row for row in frame.to_dicts()}
    # No product is lost or told twice, and totals stay.
    assert frame.height == len(rows)
    assert set(rows) == {row["product_id"] for row in shop} | set(sales) | set(chosen)
    assert sum(row["units_last_90_days"] for row in rows.values()) == pytest.approx(sum(sales.values()), abs=0.01)
    assert all(row["reason"].strip() and row["is_promotable"] is not None for row in rows.values())
    assert frame["product_id"].is_sorted()
    source = {row["product_id"]: row for row in products.to_dicts()}
    offered: set[tuple[str, str]] = set()
    for product_id, row in rows.items():
        if not row["is_promotable"]:
            continue
        raw = source[product_id]
        assert raw["is_active"] is not False and not row["is_sensitive"]
        assert raw["launched_on"] is None or raw["launched_on"] <= AS_OF
        assert raw["name"] != "Last chance mug" and row["unit_cost"] is not None and row["list_price"] > 0
        assert row["margin_amount"] >= floor * row["offer_price"] - 1e-6
        assert not chosen or product_id in chosen
        if (discount := chosen.get(product_id, (None, None))[0]) is not None:
            assert row["discount_share"] == pytest.approx(discount)
        assert row["stock_quantity"] is None or row["stock_quantity"] - row["safety_stock"] >= 1
        if row["stock_quantity"] is not None and filters.minimum_stock is not None:
            assert row["stock_quantity"] - row["safety_stock"] >= filters.minimum_stock - 1e-6
        if row["cover_days"] is not None and filters.minimum_cover_days is not None:
            assert row["cover_days"] >= filters.minimum_cover_days - 1e-6
        if filters.minimum_margin_share is not None:
            assert row["margin_share"] >= filters.minimum_margin_share - 1e-6
        assert (filters.minimum_price or 0) <= row["list_price"] <= (filters.maximum_price or 1e9)
        assert not filters.categories or row["category"].lower() in {name.lower() for name in filters.categories}
        assert not filters.brands or row["brand"] in filters.brands
        if filters.ageing_days is not None and row["days_since_sale"] is not None:
            assert row["days_since_sale"] >= filters.ageing_days
        if raw["sku"] is not None:
            key = (raw["retailer_id"] or "", raw["sku"].strip().lower())
            assert key not in offered
            offered.add(key)


def test_two_hundred_thousand_products_are_judged_by_whole_columns() -> None:
    size = 200_000
    numbers = pl.int_range(size, eager=True)
    products = pl.select(
        product_id=pl.format("P{}", numbers), retailer_id=pl.lit("R1"), sku=pl.format("S{}", numbers // 2),
        name=pl.format("House Espresso No {}", numbers), brand=pl.lit("Nordlys"), category=pl.lit("Coffee & Tea"),
        subcategory=pl.lit("Beans"), list_price=10.0 + numbers % 7, unit_cost=pl.lit(4.0),
        launched_on=pl.lit(date(2022, 1, 1)), is_active=numbers % 10 != 0,
    )  # fmt: skip
    inventory = pl.select(product_id=pl.format("P{}", numbers), stock_quantity=pl.lit(500.0))
    sales = pl.select(
        product_id=pl.format("P{}", numbers), units_last_90_days=1.0 * (numbers % 100), median_unit_price=pl.lit(10.0),
        last_sold_on=pl.lit(AS_OF),
    )  # fmt: skip
    frame = promotable_products(products, inventory, sales, NOTHING, spec=CampaignSpec(), as_of=AS_OF)
    # One of each two that share a sku: the odd one sells more; a tenth is discontinued, and always an even one.
    assert (frame.height, frame["is_promotable"].sum()) == (size, size // 2)


# --- the SQL beside it -------------------------------------------------------------------------------------------


def test_sales_count_the_last_90_days_and_the_day_of_the_newest_sale() -> None:
    with duckdb.connect() as con:
        con.execute("create schema features; create schema campaigns")
        con.execute(
            "create table features.order_lines as select * from (values "
            "('P1', 2, 20.0, 18.0, date '2026-04-01'), ('P1', 3, 10.0, 30.0, date '2026-04-02'), "
            "('P1', 4, 30.0, 120.0, date '2026-06-30'), ('P2', 1, 5.0, 5.0, date '2024-01-01'), "
            "(null, 7, 5.0, 5.0, date '2026-06-30')) t(product_id, quantity, unit_price, net_amount, ordered_on)"
        )
        create_from_query(
            con, "campaigns/product_sales", load_model(SQL_ROOT / "campaigns/product_sales.sql").query, {"as_of": AS_OF}
        )
        rows = con.execute(
            "select product_id, units, units_last_90_days, median_unit_price, last_sold_on "
            "from campaigns.product_sales order by 1"
        ).fetchall()
    assert rows == [("P1", 9, 7, 20.0, AS_OF), ("P2", 1, 0, 5.0, date(2024, 1, 1))]


@pytest.fixture(scope="module")
def warehouse() -> Iterator[duckdb.DuckDBPyConnection]:
    """The two tables as they are written: one product chosen, one not, one discontinued."""
    products = catalogue({"product_id": "P1"}, {"product_id": "P2"}, {"product_id": "P3", "is_active": False})
    choices = choices_frame([("P1", 0.15, 2000)])
    frame = promotable_products(
        products, stock(P1=500, P2=500, P3=500), sold({"P1": 37, "P2": 3}), choices, spec=CampaignSpec(), as_of=AS_OF
    )
    con = duckdb.connect()
    create_from_frame(con, "campaigns/promotable_products", frame, TABLE_TYPES["campaigns/promotable_products"])
    create_from_frame(con, "campaigns/product_choices", choices, TABLE_TYPES["campaigns/product_choices"])
    con.execute("create schema clean; create table clean.products as select 'P' || i as product_id from range(9) t(i)")
    yield con
    con.close()


PROMOTABLE, CHOICES = "update campaigns.promotable_products set", "update campaigns.product_choices set"
#: rule -> statements that break it
FAULTS: dict[str, list[str]] = {
    "promotable_products/one_row_per_product": [f"{PROMOTABLE} product_id = 'P1'", f"{PROMOTABLE} reason = ' '"],
    "promotable_products/products_are_known": ["delete from clean.products where product_id = 'P1'"],
    "promotable_products/promotable_means_stock_and_margin": [
        f"{PROMOTABLE} stock_quantity = safety_stock + 0.5", f"{PROMOTABLE} unit_cost = 16",
        f"{PROMOTABLE} is_sensitive = true", f"{PROMOTABLE} unit_cost = null",
    ],
    "promotable_products/figures_are_consistent": [
        # Where figures hang together, those that would disagree as well go with the fault or are not known.
        f"{PROMOTABLE} discount_share = 1, offer_price = null",
        f"{PROMOTABLE} discount_share = -0.1, offer_price = null",
        f"{PROMOTABLE} discount_share = 0.16", f"{PROMOTABLE} offer_price = 17.01",
        f"{PROMOTABLE} full_margin_amount = 11.99, profit_before_amount = null, break_even_uplift = 11.99 / 9 - 1",
        f"{PROMOTABLE} margin_amount = 9.01, margin_share = 9.01 / 17, profit_after_amount = null, "
        "break_even_uplift = 12 / 9.01 - 1",
        f"{PROMOTABLE} margin_share = 0.5",
        f"{PROMOTABLE} profit_before_amount = 443", f"{PROMOTABLE} profit_after_amount = 332",
        f"{PROMOTABLE} units_last_90_days = 38", f"{PROMOTABLE} break_even_uplift = 0.34",
        f"{PROMOTABLE} break_even_uplift = null", f"{PROMOTABLE} cover_days = null",
        f"{PROMOTABLE} cover_days = 1216", f"{PROMOTABLE} cover_days = -1, stock_quantity = -0.411",
        f"{PROMOTABLE} is_promotable = true where product_id = 'P2'",
        *(f"{PROMOTABLE} {column} = null" for column in (
            "list_price", "unit_cost", "discount_share", "offer_price", "full_margin_amount", "margin_amount",
            "margin_share", "units_last_90_days", "profit_before_amount", "profit_after_amount", "is_chosen",
        )),
    ],
    "product_choices/one_row_per_product": [
        "insert into campaigns.product_choices from campaigns.product_choices", f"{CHOICES} product_id = null",
        f"{CHOICES} product_id = ' '", f"{CHOICES} chosen_in = 'elsewhere'", f"{CHOICES} chosen_in = null",
    ],
    "product_choices/discount_is_a_share": [
        f"{CHOICES} discount_share = 1", f"{CHOICES} discount_share = -0.01", f"{CHOICES} discount_share = 'nan'",
        f"{CHOICES} audience_customers = 0",
    ],
}  # fmt: skip


def offending(con: duckdb.DuckDBPyConnection, rule: str) -> list[tuple[object, ...]]:
    return con.execute(load_model(SQL_ROOT / "checks/campaigns" / f"{rule}.sql").query).fetchall()


@pytest.mark.parametrize("rule", FAULTS)
def test_a_check_is_silent_on_what_is_written_and_on_empty_tables(
    warehouse: duckdb.DuckDBPyConnection, rule: str
) -> None:
    assert offending(warehouse, rule) == []
    warehouse.execute("begin; delete from campaigns.promotable_products; delete from campaigns.product_choices")
    assert offending(warehouse, rule) == []
    warehouse.execute("rollback")


@pytest.mark.parametrize(("rule", "fault"), [(rule, fault) for rule, faults in FAULTS.items() for fault in faults])
def test_a_check_finds_what_breaks_its_rule(warehouse: duckdb.DuckDBPyConnection, rule: str, fault: str) -> None:
    warehouse.execute("begin")
    try:
        warehouse.execute(fault)
        assert offending(warehouse, rule), fault
    finally:
        warehouse.execute("rollback")


def test_every_check_of_the_two_tables_is_shown_failing() -> None:
    root = SQL_ROOT / "checks/campaigns"
    rules = {
        f"{table}/{path.stem}" for table in ("promotable_products", "product_choices")
        for path in (root / table).glob("*.sql")
    }  # fmt: skip
    assert rules == set(FAULTS)


def test_thousands_of_random_products_pass_the_checks_as_they_are_written() -> None:
    rng = np.random.default_rng(5)
    size = 3000
    products = catalogue(*({"product_id": f"P{i}"} for i in range(size))).with_columns(
        list_price=pl.Series(rng.uniform(0.05, 900, size)), unit_cost=pl.Series(rng.uniform(0, 700, size))
    )
    inventory = stock(**{f"P{i}": float(units) for i, units in enumerate(rng.integers(0, 5000, size))})
    sales = sold({f"P{i}": float(units) for i, units in enumerate(rng.integers(0, 900, size))})
    frame = promotable_products(products, inventory, sales, NOTHING, spec=CampaignSpec(), as_of=AS_OF)
    assert frame["is_promotable"].sum() > size / 4
    with duckdb.connect() as con:
        create_from_frame(con, "campaigns/promotable_products", frame, TABLE_TYPES["campaigns/promotable_products"])
        for rule in ("figures_are_consistent", "promotable_means_stock_and_margin"):
            assert offending(con, f"promotable_products/{rule}") == []


_GUARDED = (*CampaignSpec().sensitive_categories, *CampaignSpec().age_restricted_categories)


@pytest.mark.parametrize(
    "category", ["red_wine", "Wines", "WINE-BEER", "craft beers", "Cigar", "sexual  wellness", "health_beauty"]
)
def test_a_guarded_word_is_found_whatever_parts_it_from_the_next(category: str) -> None:
    frame = pl.DataFrame({"category": [category], "subcategory": [None]}, schema_overrides={"subcategory": pl.String})
    assert frame.select(
        in_categories((*CampaignSpec().sensitive_categories, *CampaignSpec().age_restricted_categories))
    ).item()


@pytest.mark.parametrize("category", ["Winegums", "Twine", "Healthy snacks", "Coffee"])
def test_a_word_that_only_contains_a_guarded_one_is_not_guarded(category: str) -> None:
    frame = pl.DataFrame({"category": [category], "subcategory": [None]}, schema_overrides={"subcategory": pl.String})
    assert not frame.select(
        in_categories((*CampaignSpec().sensitive_categories, *CampaignSpec().age_restricted_categories))
    ).item()
