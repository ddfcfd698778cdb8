"""Products, affinities, matches and briefs on a small shop whose tastes and stages are planted."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

import duckdb
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmentation_assets.merchandising.briefs import build_briefs
from segmentation_assets.merchandising.matching import match_products
from segmentation_assets.merchandising.plan import TABLE_TYPES, CampaignSpec
from segmentation_assets.merchandising.power import smallest_detectable_effect
from segmentation_assets.merchandising.promotable import promotable_products
from segmentation_assets.merchandising.stage_groups import stage_groups
from segmentation_assets.warehouse.sql_models import SQL_ROOT, load_model
from segmentation_assets.warehouse.tables import create_from_query

AS_OF = date(2024, 6, 30)
SPEC = CampaignSpec(safety_stock=5)
PRODUCTS = 12
GROUPS = pl.DataFrame(
    {"stage_segment_id": ["S0", "S1", "S2"], "name": ["Never bought", "Loyal", "Lapsing"],
     "stage_group": ["never_bought", "loyal", "lapsing"]}
)  # fmt: skip
TASTES = {"T0": "Unknown", "T1": "Coffee", "T2": "Garden"}


def _run(con: duckdb.DuckDBPyConnection, name: str) -> None:
    model = load_model(SQL_ROOT / f"{name}.sql")
    create_from_query(con, name, model.query, {"as_of": AS_OF} if model.needs_as_of else None)


@pytest.fixture(scope="module")
def shop() -> Iterator[duckdb.DuckDBPyConnection]:
    """6,000 customers: two tastes that buy their own six products, loyal and lapsing ones, 600 who never bought."""
    rng = np.random.default_rng(7)
    customers = 6000
    taste = rng.integers(0, 2, customers)
    is_loyal = rng.random(customers) < 0.4
    never = np.arange(customers) < 600
    orders = np.where(never, 0, np.where(is_loyal, 12, 4))
    owner = np.repeat(np.arange(customers), orders)
    # Loyal customers order up to today; of the lapsing, one order in twelve is recent.
    back = rng.integers(0, 500, len(owner))
    back = np.where(is_loyal[owner], back, np.where(rng.random(len(owner)) < 0.08, back % 90, 150 + back))
    own = rng.random(len(owner)) < 0.7
    product = np.where(own, taste[owner] * 6, rng.integers(0, 2, len(owner)) * 6) + rng.integers(0, 6, len(owner))
    lines = pl.DataFrame(
        {
            "order_item_id": [f"L{i}" for i in range(len(owner))],
            "order_id": [f"O{i}" for i in range(len(owner))],
            "customer_id": [f"C{i:05d}" for i in owner],
            "product_id": [f"P{i:02d}" for i in product],
            "category": np.where(product < 6, "Coffee", "Garden"),
            "ordered_on": [date.fromordinal(AS_OF.toordinal() - int(days)) for days in back],
            "quantity": np.ones(len(owner)),
            "unit_price": np.full(len(owner), 20.0),
            "net_amount": np.full(len(owner), 20.0),
        }
    )
    people = pl.DataFrame(
        {
            "customer_id": [f"C{i:05d}" for i in range(customers)],
            "taste_segment_id": np.where(never, "T0", np.where(taste == 0, "T1", "T2")),
            "stage_segment_id": np.where(never, "S0", np.where(is_loyal, "S1", "S2")),
            "is_minor": np.arange(customers) % 50 == 0,
            "is_reachable": (np.arange(customers) % 3 != 0) & (np.arange(customers) % 50 != 0),
            "is_adult": np.arange(customers) % 4 == 1,
        }
    )
    con = duckdb.connect()
    con.register("lines", lines.to_arrow())
    con.register("people_frame", people.to_arrow())
    con.execute("create schema features; create schema segments; create schema clean; create schema campaigns")
    con.execute("create table features.order_lines as select * from lines")
    con.execute(
        "create table features.reachability as select customer_id, is_minor, is_reachable, is_adult from people_frame"
    )
    con.execute(
        "create table segments.customer_segments as "
        "select customer_id, taste_segment_id, stage_segment_id from people_frame"
    )
    con.execute(
        "create table clean.customers as select customer_id, timestamp '2023-01-01' as signed_up_at from people_frame"
    )
    con.execute(
        "create table features.customer_features as select customer_id, count(distinct order_id) as order_count, "
        "count(*) filter (ordered_on > date '2024-06-30' - 90) as orders_last_90_days, "
        "date_diff('day', max(ordered_on), date '2024-06-30') as recency_days, min(ordered_on) as first_order_on "
        "from features.order_lines right join clean.customers using (customer_id) group by customer_id"
    )
    for name in ("product_sales", "product_affinity", "past_audiences", "audience_sizes", "audience_purchases"):
        _run(con, f"campaigns/{name}")
    yield con
    con.close()


def _products(**changes: object) -> pl.DataFrame:
    columns = {
        "product_id": [f"P{i:02d}" for i in range(PRODUCTS)],
        "name": [f"Item {i}" for i in range(PRODUCTS)],
        "brand": ["Nordlys"] * PRODUCTS,
        "category": ["Coffee"] * 6 + ["Garden"] * 6,
        "subcategory": ["Plain"] * PRODUCTS,
        "list_price": [20.0 + i for i in range(PRODUCTS)],
        "unit_cost": [8.0] * PRODUCTS,
        "launched_on": [date(2022, 1, 1)] * PRODUCTS,
        "is_active": [True] * PRODUCTS,
        **changes,
    }
    return pl.DataFrame(columns)


def _inventory(stock: float = 5000.0) -> pl.DataFrame:
    return pl.DataFrame(
        {"product_id": [f"P{i:02d}" for i in range(PRODUCTS)] * 2, "store_id": ["A"] * PRODUCTS + ["B"] * PRODUCTS,
         "stock_quantity": [stock / 2] * (2 * PRODUCTS)}
    )  # fmt: skip


def _table(con: duckdb.DuckDBPyConnection, name: str) -> pl.DataFrame:
    frame = pl.from_arrow(con.sql(f"select * from {name}").to_arrow_table())
    assert isinstance(frame, pl.DataFrame)
    return frame


def _promotable(con: duckdb.DuckDBPyConnection, spec: CampaignSpec = SPEC, **changes: object) -> pl.DataFrame:
    return promotable_products(_products(**changes), _inventory(), _table(con, "campaigns.product_sales"), spec, AS_OF)


def _matches(con: duckdb.DuckDBPyConnection, promotable: pl.DataFrame, spec: CampaignSpec = SPEC) -> pl.DataFrame:
    return match_products(
        promotable,
        _table(con, "campaigns.product_affinity"),
        _table(con, "campaigns.audience_sizes"),
        _table(con, "campaigns.audience_purchases"),
        GROUPS,
        spec=spec,
    )


def _briefs(con: duckdb.DuckDBPyConnection, spec: CampaignSpec = SPEC, **changes: object) -> pl.DataFrame:
    promotable = _promotable(con, spec, **changes)
    return build_briefs(_matches(con, promotable, spec), promotable, GROUPS, TASTES, spec=spec, as_of=AS_OF)


def test_each_excluded_product_keeps_the_reason_it_fails_by(shop: duckdb.DuckDBPyConnection) -> None:
    frame = _promotable(
        shop,
        is_active=[False, *[True] * 11],
        list_price=[20.0, None, 8.5, *[30.0] * 9],
        unit_cost=[8.0, None, 8.0, None, *[8.0] * 8],
        category=["Coffee"] * 4 + ["Health & Care", "Wine", *["Garden"] * 6],
        launched_on=[date(2022, 1, 1)] * 6 + [date(2025, 1, 1)] + [date(2022, 1, 1)] * 5,
    )
    reason = dict(zip(frame["product_id"], frame["reason"], strict=True))
    assert reason["P00"] == "Discontinued."
    assert reason["P01"].startswith("No purchase cost is known")  # its price is taken from its sales
    assert "below the floor of 10%" in reason["P02"]
    assert reason["P03"].startswith("No purchase cost is known")
    assert reason["P04"].startswith("In a sensitive category")
    assert "Not on sale before 2025-01-01" in reason["P06"]
    assert "margin of" in reason["P07"]
    assert frame.filter("is_promotable")["product_id"].to_list() == ["P05", "P07", "P08", "P09", "P10", "P11"]
    assert frame.filter(pl.col("product_id") == "P05")["is_age_restricted"].item()
    assert frame.columns == list(TABLE_TYPES["campaigns/promotable_products"])


def test_stock_counts_over_all_stores_and_above_the_safety_level(shop: duckdb.DuckDBPyConnection) -> None:
    sales = _table(shop, "campaigns.product_sales")
    frame = promotable_products(_products(), _inventory(20), sales, SPEC, AS_OF)
    sold = sales.filter(pl.col("product_id") == "P00")["units_last_90_days"].cast(pl.Float64).item()
    first = frame.row(0, named=True)
    assert first["stock_quantity"] == 20
    assert first["safety_stock"] == pytest.approx(5 + 14 * sold / 90, abs=1e-3)
    assert not first["is_promotable"] and "not above the safety level" in first["reason"]


def test_without_an_inventory_stock_rules_are_off_and_it_says_so(shop: duckdb.DuckDBPyConnection) -> None:
    frame = promotable_products(_products(), None, _table(shop, "campaigns.product_sales"), SPEC, AS_OF)
    assert frame["is_promotable"].all()
    assert frame["stock_quantity"].is_null().all()
    assert frame["reason"].str.starts_with("Stock unknown").all()


def test_a_thin_margin_is_offered_at_full_price_only(shop: duckdb.DuckDBPyConnection) -> None:
    frame = _promotable(shop, unit_cost=[17.5, *[8.0] * 11])
    thin = frame.row(0, named=True)
    assert thin["is_promotable"] and thin["discount_share"] == 0.0
    matched = _matches(shop, frame).filter(pl.col("product_id") == "P00")
    assert set(matched["stage_segment_ids"]) == {"S1"}


def test_affinity_is_the_purchase_rate_over_the_base_and_shrinks_what_few_bought(
    shop: duckdb.DuckDBPyConnection,
) -> None:
    frame = _table(shop, "campaigns.product_affinity")
    assert frame.filter(pl.col("taste_segment_id") == "T0").is_empty()
    row = frame.filter(
        (pl.col("dimension") == "product") & (pl.col("value") == "P00") & (pl.col("taste_segment_id") == "T1")
    )
    buyers, size = shop.execute(
        "select count(distinct l.customer_id) filter (product_id = 'P00'), count(distinct s.customer_id) "
        "from segments.customer_segments s left join features.order_lines l on l.customer_id = s.customer_id "
        "where taste_segment_id = 'T1'"
    ).fetchall()[0]
    assert row["buyers"].item() == buyers
    assert row["purchase_rate"].item() == pytest.approx(buyers / size, abs=1e-8)
    assert row["lift"].item() > 1.2
    assert 1 < row["shrunken_lift"].item() < row["lift"].item()
    assert frame.filter(pl.col("dimension") == "category")["value"].unique().sort().to_list() == ["Coffee", "Garden"]


def test_a_product_is_matched_to_the_taste_that_buys_it_and_beats_the_most_active(
    shop: duckdb.DuckDBPyConnection,
) -> None:
    matches = _matches(shop, _promotable(shop))
    assert matches.columns == list(TABLE_TYPES["campaigns/product_segment_matches"])
    best = (
        matches.filter(pl.col("stage_segment_ids") == "S1")
        .sort("score", descending=True)
        .group_by("product_id", maintain_order=True)
        .first()
    )
    wanted = {f"P{i:02d}": "T1" if i < 6 else "T2" for i in range(PRODUCTS)}
    assert dict(zip(best["product_id"], best["taste_segment_id"], strict=True)) == wanted
    assert best["beats_baseline"].all()
    assert (best["low"] <= best["expected_buyers"]).all() and (best["expected_buyers"] <= best["high"]).all()


def test_a_lapsing_audience_is_measured_by_those_who_stood_there_before_and_loses_honestly(
    shop: duckdb.DuckDBPyConnection,
) -> None:
    lapsing = _matches(shop, _promotable(shop)).filter(pl.col("stage_segment_ids") == "S2")
    assert lapsing.height > 0 and (lapsing["expected_buyers"] > 0).all()
    assert not lapsing["beats_baseline"].any()
    assert lapsing["reason"].str.contains("The most active customers buy it as often or more").all()


def test_no_minor_is_in_an_audience_and_age_restricted_goods_count_known_adults_only(
    shop: duckdb.DuckDBPyConnection,
) -> None:
    matches = _matches(shop, _promotable(shop, category=["Wine", *["Coffee"] * 5, *["Garden"] * 6]))
    sizes = _table(shop, "campaigns.audience_sizes")
    cell = sizes.filter((pl.col("taste_segment_id") == "T1") & (pl.col("stage_segment_id") == "S1")).row(0, named=True)
    in_cell = matches.filter((pl.col("taste_segment_id") == "T1") & (pl.col("stage_segment_ids") == "S1"))
    wine = in_cell.filter(pl.col("product_id") == "P00").row(0, named=True)
    other = in_cell.filter(pl.col("product_id") == "P01").row(0, named=True)
    assert (wine["audience_customers"], wine["reachable_customers"]) == (
        cell["adult_customers"], cell["adult_reachable_customers"],
    )  # fmt: skip
    everyone = shop.execute(
        "select count(*) from segments.customer_segments where taste_segment_id = 'T1' and stage_segment_id = 'S1'"
    ).fetchall()[0][0]
    assert other["audience_customers"] == cell["customers"] < everyone
    nobody_known = _table(shop, "campaigns.audience_sizes").with_columns(
        pl.lit(0).alias("adult_customers"), pl.lit(0).alias("adult_reachable_customers")
    )
    unknown = match_products(
        _promotable(shop, category=["Wine"] * PRODUCTS), _table(shop, "campaigns.product_affinity"), nobody_known,
        _table(shop, "campaigns.audience_purchases"), GROUPS, spec=SPEC,
    )  # fmt: skip
    assert unknown.is_empty()


def test_sensitive_products_are_never_matched(shop: duckdb.DuckDBPyConnection) -> None:
    matches = _matches(shop, _promotable(shop, subcategory=["Gambling", *["Plain"] * 11]))
    assert "P00" not in matches["product_id"].to_list()


def test_briefs_are_few_with_one_to_six_products_and_dates(shop: duckdb.DuckDBPyConnection) -> None:
    briefs = _briefs(shop)
    assert briefs.columns == list(TABLE_TYPES["campaigns/briefs"])
    assert 1 <= briefs.height <= SPEC.max_briefs
    products = briefs["product_ids"].str.split(",").list.len()
    assert products.min() >= 1 and products.max() <= 6
    assert (briefs["valid_until"] == date(2024, 7, 14)).all()
    assert (briefs["reachable_customers"] <= briefs["audience_customers"]).all()
    assert (briefs["low_margin_amount"] <= briefs["expected_margin_amount"]).all()
    assert briefs["brief_id"].is_unique().all() and briefs["name"].is_unique().all()
    assert briefs["smallest_detectable_effect"].min() > 0


def test_loyal_and_lapsing_customers_get_different_offers(shop: duckdb.DuckDBPyConnection) -> None:
    briefs = _briefs(shop)
    loyal, lapsing = (briefs.filter(pl.col("brief_id").str.ends_with(name)) for name in ("loyal", "lapsing"))
    assert (loyal["discount_share"] == 0).all() and loyal["offer"].str.starts_with("Early access").all()
    assert (lapsing["discount_share"] == 0.15).all() and lapsing["offer"].str.starts_with("15% off").all()


def test_matches_and_briefs_are_empty_with_their_columns_when_the_data_cannot_carry_them(
    shop: duckdb.DuckDBPyConnection,
) -> None:
    none = promotable_products(_products().clear(), None, _table(shop, "campaigns.product_sales").clear(), SPEC, AS_OF)
    assert none.is_empty() and none.columns == list(TABLE_TYPES["campaigns/promotable_products"])
    assert _matches(shop, none).columns == list(TABLE_TYPES["campaigns/product_segment_matches"])
    untasted = _table(shop, "campaigns.audience_sizes").with_columns(pl.lit("T0").alias("taste_segment_id"))
    empty = match_products(
        _promotable(shop), _table(shop, "campaigns.product_affinity"), untasted,
        _table(shop, "campaigns.audience_purchases"), GROUPS, spec=SPEC,
    )  # fmt: skip
    assert empty.is_empty()
    assert build_briefs(empty, _promotable(shop), GROUPS, TASTES, spec=SPEC, as_of=AS_OF).is_empty()


def test_the_order_of_rows_does_not_change_the_result(shop: duckdb.DuckDBPyConnection) -> None:
    promotable = _promotable(shop)
    shuffled = [
        _table(shop, f"campaigns.{name}").sample(fraction=1, shuffle=True, seed=3)
        for name in ("product_affinity", "audience_sizes", "audience_purchases")
    ]
    again = match_products(promotable.reverse(), *shuffled, GROUPS.reverse(), spec=SPEC)
    assert again.equals(_matches(shop, promotable))


@settings(max_examples=25, deadline=None)
@given(
    prices=st.lists(st.floats(0.01, 500), min_size=PRODUCTS, max_size=PRODUCTS),
    costs=st.lists(st.floats(0.0, 500), min_size=PRODUCTS, max_size=PRODUCTS),
    stock=st.floats(0, 4000),
    floor=st.floats(0, 0.6),
)
def test_no_brief_ever_breaks_stock_margin_or_activity(
    shop: duckdb.DuckDBPyConnection, prices: list[float], costs: list[float], stock: float, floor: float
) -> None:
    spec = CampaignSpec(margin_floor_share=floor)
    promotable = promotable_products(
        _products(list_price=prices, unit_cost=costs, is_active=[i % 5 != 0 for i in range(PRODUCTS)]),
        _inventory(stock), _table(shop, "campaigns.product_sales"), spec, AS_OF,
    )  # fmt: skip
    briefs = build_briefs(_matches(shop, promotable, spec), promotable, GROUPS, TASTES, spec=spec, as_of=AS_OF)
    offered = (
        briefs.select(pl.col("product_ids").str.split(",").alias("product_id"), pl.col("discount_share").alias("given"))
        .explode("product_id")
        .join(promotable, on="product_id")
    )
    price = pl.col("list_price") * (1 - pl.col("given"))
    bad = offered.filter(
        (price - pl.col("unit_cost") < floor * price - 1e-9)
        | (pl.col("stock_quantity") - pl.col("safety_stock") < 1)
        | ~pl.col("is_promotable")
    )
    assert bad.is_empty()


def test_decimals_of_the_warehouse_give_the_same_matches_and_briefs(shop: duckdb.DuckDBPyConnection) -> None:
    frame = _promotable(shop)
    stored = frame.with_columns(
        pl.col("list_price", "unit_cost", "offer_price", "margin_amount").cast(pl.Decimal(18, 4)),
        pl.col("stock_quantity", "safety_stock").cast(pl.Decimal(18, 3)),
    )
    matches = _matches(shop, stored)
    assert matches.equals(_matches(shop, frame))
    written = matches.with_columns(pl.col("expected_margin_amount").cast(pl.Decimal(18, 4)))
    assert build_briefs(written, stored, GROUPS, TASTES, spec=SPEC, as_of=AS_OF).equals(_briefs(shop))


def test_the_smallest_detectable_effect_matches_published_planning_figures() -> None:
    # Base rate .57 %, 10 % held out: 10,000 customers detect a lift of 123 %, a million one of 12 %.
    assert smallest_detectable_effect(10_000, 0.0057) / 0.0057 == pytest.approx(1.23, abs=0.01)
    assert smallest_detectable_effect(1_000_000, 0.0057) / 0.0057 == pytest.approx(0.123, abs=0.001)
    assert smallest_detectable_effect(5, 0.01) is None
    assert smallest_detectable_effect(10_000, 0.0) is None


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
