"""Affinity: purchases counted by hand, lifts shrunk toward what category, brand and price band let expect."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import duckdb
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import gamma

from segmentation_assets.merchandising.affinity import (
    group_indices,
    product_affinity,
    product_lifts,
    shrunken,
    spread,
)
from segmentation_assets.merchandising.plan import table_schema
from segmentation_assets.merchandising.shares import held_out_lifts, learn_shares
from segmentation_assets.warehouse.sql_models import SQL_ROOT, load_model
from segmentation_assets.warehouse.tables import create_from_query

ROOT = Path(__file__).resolve().parents[2]
AS_OF = "2024-06-30"

# Anna and Ben like coffee and are active, Cara likes tea and is lapsed, Dan's taste is not known, Eve never bought.
SHOP = """
create schema clean; create schema features; create schema segments; create schema campaigns;
create table segments.customer_segments as select * from (values
    ('anna', 'T1', 'S1'), ('ben', 'T1', 'S1'), ('cara', 'T2', 'S2'), ('dan', 'T0', 'S2'), ('eve', null, 'S0')
) t(customer_id, taste_segment_id, stage_segment_id);
create table segments.segment_summary as select * from (values
    ('taste', 'T0'), ('taste', 'T1'), ('taste', 'T2'), ('stage', 'S0'), ('stage', 'S1'), ('stage', 'S2')
) t(axis, segment_id);
create table clean.products as select * from (values
    ('P1', 'Coffee', 'Alba', 10.0::decimal(18, 4), true), ('P2', 'Coffee', 'Borg', 20, true),
    ('P3', 'Coffee', 'Alba', 30, true), ('P4', 'Tea', 'Alba', 5, true), ('P5', 'Tea', null, 6, false),
    ('P6', null, 'Borg', 7, true), ('P7', 'Wellness', 'Borg', 9, true), ('P8', 'Coffee', 'Borg', null, null),
    ('P9', 'Coffee', 'Borg', null, true)
) t(product_id, category, brand, list_price, is_active);
create table features.product_guards as select product_id, coalesce(category = 'Wellness', false) as is_sensitive
    from clean.products;
create table campaigns.product_sales as select 'P8' as product_id, 40.0::decimal(18, 4) as median_unit_price;
create table features.order_lines as select * from (values
    ('anna', 'P1', date '2024-06-30'), ('anna', 'P1', date '2024-06-30'), ('anna', 'P1', date '2024-01-02'),
    ('anna', 'P2', date '2024-01-02'), ('ben', 'P3', date '2024-01-02'), ('ben', 'P4', date '2023-07-06'),
    ('cara', 'P4', date '2024-06-30'), ('cara', 'P7', date '2024-06-30'), ('cara', null, date '2024-06-30'),
    ('dan', 'P1', date '2024-06-30'), ('dan', 'PX', date '2024-06-30')
) t(customer_id, product_id, ordered_on);
alter table features.order_lines add column is_sensitive boolean;
update features.order_lines set is_sensitive = coalesce(product_id = 'P7', false);
"""


def _run(con: duckdb.DuckDBPyConnection, name: str) -> None:
    model = load_model(SQL_ROOT / f"{name}.sql")
    create_from_query(con, name, model.query, {"as_of": AS_OF} if model.needs_as_of else None)


def _table(con: duckdb.DuckDBPyConnection, name: str) -> pl.DataFrame:
    return pl.DataFrame(con.sql(f"from {name}").to_arrow_table())


@pytest.fixture(scope="module")
def shop() -> Iterator[duckdb.DuckDBPyConnection]:
    con = duckdb.connect()
    con.execute(SHOP)
    _run(con, "campaigns/product_traits")
    _run(con, "campaigns/segment_purchases")
    affinity = product_affinity(_table(con, "campaigns.segment_purchases"), _table(con, "campaigns.product_traits"))
    con.register("affinity", affinity.to_arrow())
    con.execute("create table campaigns.product_affinity as from affinity")
    yield con
    con.close()


def _cell(con: duckdb.DuckDBPyConnection, dimension: str, value: str, segment: str) -> tuple[object, ...] | None:
    rows = con.execute(
        "select buyers, repeat_buyers, purchase_days, recent_buyers, segment_customers "
        "from campaigns.segment_purchases where dimension = $1 and value = $2 and segment_id = $3",
        [dimension, value, segment],
    ).fetchall()
    assert len(rows) < 2
    return rows[0] if rows else None


# What is bought, counted


def test_a_customer_counts_once_and_a_day_once(shop: duckdb.DuckDBPyConnection) -> None:
    assert _cell(shop, "product", "P1", "T1") == (1, 1, 2, 1.0, 2)  # anna, on two days, last today


def test_a_categorys_days_are_those_of_its_products_together(shop: duckdb.DuckDBPyConnection) -> None:
    # anna on two days, though with three different product days; ben on one, 180 days ago: he counts half.
    assert _cell(shop, "category", "Coffee", "T1") == (2, 1, 3, 1.5, 2)
    assert _cell(shop, "category", "Tea", "T1") == (1, 0, 1, 0.25, 2)  # 360 days ago


def test_unknown_tastes_are_on_the_stage_axis_only(shop: duckdb.DuckDBPyConnection) -> None:
    assert _cell(shop, "product", "P1", "S2") == (1, 0, 1, 1.0, 2)  # dan
    assert _cell(shop, "product", "P1", "T0") is None
    segments = {row[0] for row in shop.sql("select distinct segment_id from campaigns.segment_purchases").fetchall()}
    assert segments == {"S1", "S2", "T1", "T2"}


def test_sensitive_goods_and_lines_without_a_product_are_left_out(shop: duckdb.DuckDBPyConnection) -> None:
    values = {row[0] for row in shop.sql("select distinct value from campaigns.segment_purchases").fetchall()}
    assert not values & {"P7", "Wellness", "Wellness / middle", "unknown", None}
    assert "PX" in values  # sold without being in the catalogue


def test_price_bands_are_thirds_of_the_categorys_catalogue(shop: duckdb.DuckDBPyConnection) -> None:
    rows = shop.sql("select product_id, price_band, is_active, is_sensitive from campaigns.product_traits").fetchall()
    traits = {row[0]: row[1:] for row in rows}
    # Coffee costs 10, 20, 30 and, as paid, 40; Tea has only two prices.
    assert [traits[f"P{i}"][0] for i in (1, 2, 3, 8)] == [
        "Coffee / low", "Coffee / middle", "Coffee / middle", "Coffee / high",
    ]  # fmt: skip
    assert [traits[f"P{i}"][0] for i in (4, 5, 6, 9)] == ["Tea / middle", "Tea / middle", None, None]
    assert traits["P7"] == ("Wellness / middle", True, True)
    assert (traits["P5"][1], traits["P8"][1]) == (False, True)


# The table


def test_the_table_has_its_columns_and_types_with_and_without_purchases(shop: duckdb.DuckDBPyConnection) -> None:
    purchases, traits = _table(shop, "campaigns.segment_purchases"), _table(shop, "campaigns.product_traits")
    full, empty = product_affinity(purchases, traits), product_affinity(purchases.clear(), traits)
    expected = list(table_schema("campaigns/product_affinity").items())
    assert list(full.schema.items()) == expected and list(empty.schema.items()) == expected
    assert empty.is_empty() and full.height > 0
    assert full.equals(full.sort("dimension", "value", "axis", "segment_id"))
    assert full.equals(product_affinity(purchases.reverse(), traits.reverse()))


def test_rates_and_lifts_follow_from_the_counts(shop: duckdb.DuckDBPyConnection) -> None:
    row = _table(shop, "campaigns.product_affinity").row(
        by_predicate=(pl.col("value") == "P1") & (pl.col("segment_id") == "T1"), named=True
    )
    assert (row["buyers"], row["segment_customers"], row["first_purchases"], row["repeat_purchases"]) == (1, 2, 1, 1)
    assert (row["purchase_rate"], row["base_rate"], row["lift"]) == (0.5, pytest.approx(1 / 3), pytest.approx(1.5))
    assert row["repeat_share"] == 1 and not row["is_borrowed"]


def test_products_nobody_bought_are_borrowed_and_sensitive_ones_are_not_there(shop: duckdb.DuckDBPyConnection) -> None:
    affinity = _table(shop, "campaigns.product_affinity").filter(dimension="product")
    assert set(affinity.filter("is_borrowed", axis="stage")["value"]) == {"P5", "P6", "P8", "P9"}
    # Only dan, whose taste is unknown, bought PX: on the taste axis nothing is known of it, and it is no product of
    # the catalogue that could borrow.
    assert "PX" not in affinity.filter(axis="taste")["value"]
    assert "P7" not in affinity["value"]
    borrowed = affinity.filter("is_borrowed")
    assert borrowed["lift"].null_count() == borrowed.height and borrowed["repeat_share"].null_count() == borrowed.height
    assert borrowed["shrunken_lift"].null_count() == 0 and set(borrowed["buyers"]) == {0}


def _purchases(buyers: np.ndarray, customers: int = 1000, dimension: str = "product") -> pl.DataFrame:
    """campaigns.segment_purchases of the taste axis from (values, segments) buyers."""
    values, segments = buyers.shape
    counts = buyers.ravel().astype(np.int64)
    prefix = "P" if dimension == "product" else dimension
    return pl.DataFrame(
        {
            "dimension": dimension,
            "value": np.repeat([f"{prefix}{i:04d}" for i in range(values)], segments),
            "axis": "taste",
            "segment_id": np.tile([f"T{i + 1}" for i in range(segments)], values),
            "buyers": counts, "repeat_buyers": counts // 3, "purchase_days": counts + counts // 3,
            "recent_buyers": counts * 0.5, "segment_customers": customers,
        }
    )  # fmt: skip


def _traits(products: int, categories: int = 4, brands: int = 9) -> pl.DataFrame:
    index = np.arange(products)
    return pl.DataFrame(
        {
            "product_id": [f"P{i:04d}" for i in index],
            "category": [f"c{i % categories}" for i in index],
            "brand": [f"b{i % brands}" for i in index],
            "price_band": [f"c{i % categories} / {('low', 'middle', 'high')[i // categories % 3]}" for i in index],
            "is_active": True, "is_sensitive": False,
        }
    )  # fmt: skip


def _lifts_of(affinity: pl.DataFrame, product: int) -> np.ndarray:
    return affinity.filter(value=f"P{product:04d}")["shrunken_lift"].to_numpy()


#: Four categories, three segments: the first likes c0, the second c1, the third nothing in particular.
TASTE = np.array([[3.0, 0.5, 0.5], [0.5, 3.0, 0.5], [0.8, 0.8, 1.0], [0.8, 0.8, 1.0]])


def test_a_product_nobody_bought_takes_its_categorys_lift() -> None:
    buyers = np.random.default_rng(1).poisson(40 * TASTE[np.arange(60) % 4])
    buyers[[0, 1]] = 0
    affinity = product_affinity(_purchases(buyers).filter(pl.col("buyers") > 0), _traits(60))
    for new in (0, 1):
        sisters = np.mean([_lifts_of(affinity, i) for i in range(new + 4, 60, 4)], axis=0)
        assert _lifts_of(affinity, new) == pytest.approx(sisters, rel=0.1)
        assert affinity.filter(value=f"P{new:04d}")["is_borrowed"].all()


def test_a_brand_that_sells_against_its_category_lends_that_to_its_new_product() -> None:
    # Products of brand b0 sell twice as well in the first segment as their categories do, and half in the second.
    by_brand = np.ones((60, 3))
    by_brand[np.arange(60) % 9 == 0] = [2.0, 0.5, 1.0]
    buyers = np.random.default_rng(2).poisson(60 * TASTE[np.arange(60) % 4] * by_brand)
    buyers[[36, 40]] = 0  # both of category c0; product 36 is of brand b0, product 40 is not
    affinity = product_affinity(_purchases(buyers), _traits(60))
    of_brand, other = _lifts_of(affinity, 36), _lifts_of(affinity, 40)
    assert of_brand[0] > 1.2 * other[0] and of_brand[1] < 0.8 * other[1]


def test_a_product_of_its_own_kind_keeps_its_own_lift_when_it_sells_and_its_categorys_when_it_hardly_does() -> None:
    rng = np.random.default_rng(3)
    own = TASTE[np.arange(80) % 4] * rng.gamma(5, 1 / 5, (80, 3))
    own[0], own[4] = [0.5, 3.0, 0.5], [0.5, 3.0, 0.5]  # in c0, but bought like c1
    volume = np.full((80, 1), 40.0)
    volume[0], volume[4] = 400, 0.7
    affinity = product_affinity(_purchases(rng.poisson(volume * own)), _traits(80))
    assert _lifts_of(affinity, 0)[1] > 2 * _lifts_of(affinity, 0)[0]
    assert _lifts_of(affinity, 4)[0] > _lifts_of(affinity, 4)[1]


def test_categories_that_do_not_differ_are_all_lifted_by_one() -> None:
    same = 400 + np.zeros((6, 3)) + np.array([[5, 0, -5]] * 6)
    affinity = product_affinity(_purchases(same, dimension="category"), _traits(1).clear())
    assert affinity["shrunken_lift"].to_list() == [1.0] * 18
    assert affinity["lift"].n_unique() > 1


def test_a_segment_nobody_bought_in_has_rates_of_zero_and_finite_lifts() -> None:
    buyers = np.random.default_rng(4).poisson(30 * TASTE[np.arange(40) % 4])
    buyers[:, 2] = 0
    affinity = product_affinity(_purchases(buyers), _traits(44))
    nobody = affinity.filter(segment_id="T3")
    assert set(nobody["purchase_rate"]) == {0.0} and set(nobody["buyers"]) == {0}
    for column in ("shrunken_lift", "low", "high", "recent_lift"):
        assert nobody[column].is_finite().all()
    assert (nobody["shrunken_lift"] < 0.2).all()


def test_a_catalogue_without_categories_shrinks_toward_the_segments_activity() -> None:
    buyers = np.random.default_rng(5).poisson(30 * np.array([[2.0, 0.5]] * 40))
    bare = _traits(41).with_columns(
        pl.lit(None, dtype=pl.String).alias(name) for name in ("category", "brand", "price_band")
    )
    affinity = product_affinity(_purchases(buyers), bare)
    assert _lifts_of(affinity, 40) == pytest.approx([1.6, 0.4], rel=0.05)  # nobody bought it


def test_recent_buyers_count_for_the_recent_lift() -> None:
    buyers = np.random.default_rng(6).poisson(100 * TASTE[np.arange(60) % 4])
    purchases = _purchases(buyers).with_columns(
        recent_buyers=pl.when(segment_id="T1").then(pl.col("buyers") * 0.8).otherwise(pl.col("buyers") * 0.2)
    )
    affinity = product_affinity(purchases, _traits(60)).filter(segment_id="T1")
    risen = (affinity["recent_lift"] > 1.2 * affinity["shrunken_lift"]).to_numpy()
    assert risen.mean() > 0.9


# Uncertainty


def test_no_difference_among_92_customers_is_no_certainty() -> None:
    small = np.random.default_rng(7).poisson(np.full((12, 2), 3.0))
    few = product_affinity(_purchases(small, customers=46), _traits(12))
    many = product_affinity(_purchases(small * 0 + 30_000, customers=460_000), _traits(12))
    width = {name: (t["high"] / t["low"]).to_numpy() for name, t in (("few", few), ("many", many))}
    assert few["shrunken_lift"].is_between(0.7, 1.3).all()  # hardly a lift is claimed
    assert width["few"].min() > 1.5  # nor the absence of one
    assert width["many"].max() < 1.05


def test_a_new_product_is_less_certain_than_one_that_sells() -> None:
    rng = np.random.default_rng(8)
    buyers = rng.poisson(80 * TASTE[np.arange(60) % 4] * rng.gamma(5, 1 / 5, (60, 3)))
    buyers[0] = 0
    affinity = product_affinity(_purchases(buyers), _traits(60))
    width = np.log((affinity["high"] / affinity["low"]).to_numpy())
    is_new = affinity["is_borrowed"].to_numpy()
    assert is_new.sum() == 3
    assert width[is_new].min() > 1.5 * np.median(width[~is_new])


def test_nine_intervals_in_ten_hold_the_true_lift() -> None:
    held = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        true = rng.gamma(2, 1 / 2, (12, 5))[np.arange(240) % 12] * rng.gamma(4, 1 / 4, (240, 5))
        expected = rng.gamma(0.7, 20, (240, 1)) * np.ones((240, 5))
        lifts = product_lifts(rng.poisson(expected * true).astype(float), expected, _groups(240, 12))
        low, high = lifts.interval()
        held.append(((low <= true) & (true <= high)).mean())
    assert 0.87 < np.mean(held) < 0.96


def _groups(products: int, categories: int) -> list[np.ndarray]:
    index = np.arange(products)
    return [index % categories, index % 31, index % (3 * categories)]


def test_an_interval_is_the_gamma_quantiles_and_holds_its_mean_even_when_the_gamma_does_not() -> None:
    lifts = shrunken(np.array([[30.0, 20.0]]), np.array([[25.0, 25.0]]))
    low, high = lifts.interval()
    shape = 1 / lifts.relative_variance
    assert low == pytest.approx(gamma.ppf(0.05, shape, scale=lifts.mean / shape))
    assert high == pytest.approx(gamma.ppf(0.95, shape, scale=lifts.mean / shape))
    unsure = shrunken(np.zeros((1, 2)), np.zeros((1, 2)))
    low, high = unsure.interval()
    assert (low < 1e-6).all() and (high == unsure.mean).all()


# Shrinkage


def test_the_planted_variance_of_lifts_is_found() -> None:
    rng = np.random.default_rng(9)
    expected = rng.gamma(0.5, 30, (4000, 6)) + 0.01
    for planted in (0.05, 0.5):
        true = rng.gamma(1 / planted, planted, expected.shape)
        found, largest = spread(rng.poisson(expected * true).astype(float), expected, np.ones_like(expected))
        assert found == pytest.approx(planted, rel=0.1)
        assert found < largest < 1.2 * found


def test_one_buyer_of_what_hardly_anybody_buys_decides_nothing() -> None:
    expected = np.full((200, 4), 20.0)
    expected[0] = 1e-4
    observed = np.random.default_rng(10).poisson(expected).astype(float)
    observed[0, 0] = 1
    # Equal weights, as in Marshall's estimator, would give 10000 / 16000 for this one cell alone.
    assert spread(observed, expected, np.ones_like(expected))[0] < 0.01


def test_without_anything_expected_nothing_is_known() -> None:
    assert spread(np.zeros((2, 2)), np.zeros((2, 2)), np.ones((2, 2)))[0] == 0
    empty = product_lifts(np.zeros((0, 3)), np.zeros((0, 3)), [np.zeros(0, dtype=np.int64)] * 3)
    assert empty.mean.shape == (0, 3)


def test_unknown_traits_are_no_group_and_groups_are_in_order_of_name() -> None:
    frame = pl.DataFrame({"category": ["b", None, "a"], "brand": ["x", "x", None], "price_band": [None] * 3},
                         schema=dict.fromkeys(("category", "brand", "price_band"), pl.String))  # fmt: skip
    assert [group.tolist() for group in group_indices(frame)] == [[1, -1, 0], [0, 0, -1], [-1, -1, -1]]


def test_levels_that_cannot_be_told_apart_count_by_category() -> None:
    rng = np.random.default_rng(11)
    index = np.arange(60) % 4
    expected = np.full((60, 3), 50.0)
    observed = rng.poisson(expected * TASTE[index]).astype(float)
    once = product_lifts(observed, expected, [index, np.full(60, -1), np.full(60, -1)])
    again = product_lifts(observed, expected, [index, index, index])
    assert again.mean == pytest.approx(once.mean, rel=0.05)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(1, 5), st.floats(0.05, 50))
def test_whatever_is_counted_lifts_are_finite_and_within_their_intervals(
    seed: int, products: int, segments: int, volume: float
) -> None:
    rng = np.random.default_rng(seed)
    buyers = rng.poisson(rng.gamma(0.5, volume, (products, segments)))
    # In stores as small as these a segment's buyers can be all of it.
    table = product_affinity(_purchases(buyers, customers=max(int(buyers.max()), 1)), _traits(products + 2))
    assert table.filter(dimension="product").height == (products + 2) * segments
    for column in ("shrunken_lift", "low", "high", "recent_lift"):
        assert table[column].is_finite().all()
    assert (table["low"] <= table["shrunken_lift"]).all() and (table["shrunken_lift"] <= table["high"]).all()
    assert (table["shrunken_lift"] > 0).all()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.1, 100))
def test_shrinkage_toward_one_never_crosses_it(seed: int, volume: float) -> None:
    rng = np.random.default_rng(seed)
    expected = rng.gamma(1, volume, (8, 3)) + 1e-3
    observed = rng.poisson(expected * rng.gamma(2, 0.5, (8, 3))).astype(float)
    lift, raw = shrunken(observed, expected).mean, observed / expected
    assert (np.abs(lift - 1) <= np.abs(raw - 1) + 1e-9).all()
    assert ((lift - 1) * (raw - 1) >= -1e-9).all()


# Checks

_AFFINITY = "update campaigns.product_affinity set"
_PURCHASES = "update campaigns.segment_purchases set"
_TRAITS = "update campaigns.product_traits set"
FAULTS: dict[str, list[str]] = {
    "product_affinity/one_row_per_value_and_segment": [
        "insert into campaigns.product_affinity select * from campaigns.product_affinity limit 1",
        f"{_AFFINITY} segment_id = 'T9' where value = 'P1'",
        f"{_AFFINITY} axis = 'stage' where value = 'P1' and segment_id = 'T1'",
    ],
    "product_affinity/rates_are_consistent": [
        f"{_AFFINITY} buyers = -1", f"{_AFFINITY} buyers = segment_customers + 1", f"{_AFFINITY} purchase_rate = 1.1",
        f"{_AFFINITY} base_rate = -0.1", f"{_AFFINITY} purchase_rate = 0.9 where buyers = 1",
        f"{_AFFINITY} recent_lift = null", f"{_AFFINITY} low = null", f"{_AFFINITY} shrunken_lift = 0, low = 0",
        f"{_AFFINITY} low = shrunken_lift + 1", f"{_AFFINITY} high = shrunken_lift / 2",
        f"{_AFFINITY} first_purchases = buyers + 1", f"{_AFFINITY} repeat_purchases = -1",
        f"{_AFFINITY} repeat_share = 0 where buyers = 0", f"{_AFFINITY} repeat_share = 2 where buyers > 0",
        f"{_AFFINITY} is_borrowed = true where lift is not null", f"{_AFFINITY} is_borrowed = false where lift is null",
        f"{_AFFINITY} lift = null, is_borrowed = true where dimension = 'brand'",
        f"{_AFFINITY} shrunken_lift = 9, high = 10 where dimension = 'category'",
        f"{_AFFINITY} shrunken_lift = 1.001, low = 0, high = 9 where dimension = 'category' and lift < 0.9",
    ],
    "product_affinity/no_sensitive_product": [f"{_TRAITS} is_sensitive = true where product_id = 'P1'"],
    "segment_purchases/one_row_per_value_and_segment": [
        "insert into campaigns.segment_purchases select * from campaigns.segment_purchases limit 1",
        f"{_PURCHASES} segment_id = 'T9' where value = 'P1'",
    ],
    "segment_purchases/counts_are_consistent": [
        f"{_PURCHASES} dimension = 'colour'", f"{_PURCHASES} axis = 'grid'", f"{_PURCHASES} value = null",
        f"{_PURCHASES} buyers = 0", f"{_PURCHASES} buyers = 3, purchase_days = 9", f"{_PURCHASES} repeat_buyers = 3",
        f"{_PURCHASES} purchase_days = 0", f"{_PURCHASES} recent_buyers = -1",
        f"{_PURCHASES} recent_buyers = buyers + 0.1",
    ],
    "segment_purchases/no_sensitive_product": [f"{_TRAITS} is_sensitive = true where product_id = 'P1'"],
    "product_traits/one_row_per_product": [
        "insert into campaigns.product_traits select * from campaigns.product_traits limit 1",
        "delete from campaigns.product_traits where product_id = 'P1'",
        "delete from clean.products where product_id = 'P1'",
        f"{_TRAITS} price_band = 'Tea / low' where product_id = 'P1'",
        f"{_TRAITS} category = null where product_id = 'P1'",
    ],
}  # fmt: skip


def _offending(con: duckdb.DuckDBPyConnection, check: str) -> int:
    return len(con.execute(load_model(SQL_ROOT / "checks" / "campaigns" / f"{check}.sql").query).fetchall())


def test_every_check_has_faults_that_it_must_find() -> None:
    folders = ("product_affinity", "segment_purchases", "product_traits")
    found = {f"{f}/{path.stem}" for f in folders for path in (SQL_ROOT / "checks" / "campaigns" / f).glob("*.sql")}
    assert found == set(FAULTS)


@pytest.mark.parametrize("check", FAULTS)
def test_good_tables_pass(shop: duckdb.DuckDBPyConnection, check: str) -> None:
    assert _offending(shop, check) == 0


@pytest.mark.parametrize(("check", "fault"), [(check, fault) for check, faults in FAULTS.items() for fault in faults])
def test_a_fault_is_found(shop: duckdb.DuckDBPyConnection, check: str, fault: str) -> None:
    shop.execute("begin")
    try:
        shop.execute(fault)
        assert _offending(shop, check), fault
    finally:
        shop.execute("rollback")


# The benchmark


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("affinity_benchmark", ROOT / "benchmarks" / "affinity.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_the_planted_lift_is_the_mean_probability_of_members_over_that_of_all(benchmark: ModuleType) -> None:
    customers = ["a", "b", "c", "d"]
    planted = benchmark.planted_lifts(
        pl.DataFrame({"customer_id": ["a", "b"], "segment_id": ["T1", "T1"]}),
        personas=pl.DataFrame({"customer_id": customers, "price_tier": ["budget", "premium", "budget", "budget"]}),
        tastes=pl.DataFrame({"customer_id": customers, "taste": ["x", "x", "y", "y"], "adherence": [0.5] * 4}),
        taste_parameters=pl.DataFrame(
            {
                "taste": ["x", "x", "y", "y"] * 2, "adherence": [0.5] * 8, "month": [1] * 4 + [2] * 4,
                "category": ["Coffee", "Tea"] * 4,
                "category_probability": [0.7, 0.3, 0.2, 0.8, 0.9, 0.1, 0.4, 0.6],
            }
        ),
        product_parameters=pl.DataFrame(
            {
                "period": [0] * 4 + [1] * 4, "price_tier": ["budget", "budget", "premium", "premium"] * 2,
                "product_id": ["P1", "P2"] * 4, "category": ["Coffee"] * 8,
                "product_probability": [0.5] * 4 + [0.6, 0.4, 0.1, 0.9],
            }
        ),
    )  # fmt: skip
    # P1: members .8 * (.6 + .1) / 2 = .28; everybody (.8 * .6 + .8 * .1 + 2 * .3 * .6) / 4 = .23.
    assert planted.rows() == [
        ("T1", "P1", pytest.approx(0.28 / 0.23)),
        ("T1", "P2", pytest.approx(0.8 * 1.3 / 2 / ((0.8 * 1.3 + 2 * 0.3 * 0.4) / 4))),
    ]


def test_the_lift_that_matching_uses_stands_with_the_products_of_the_taste_axis() -> None:
    counts = pl.DataFrame(
        {"product_id": ["P0000", "P0000", "P0001", "P0001"], "taste_segment_id": ["T1", "T2"] * 2,
         "stage_segment_id": ["S1"] * 4, "buyers": [90, 10, 10, 90]}
    )  # fmt: skip
    learned = held_out_lifts(learn_shares(counts, _traits(2), ["T0", "T1", "T2"]))
    assert set(learned["segment_id"]) == {"T1", "T2"}
    purchases = _purchases(np.full((2, 2), 30))
    table = product_affinity(purchases, _traits(2), learned).filter(pl.col("held_out_lift").is_not_null())
    assert set(table["dimension"]) == {"product"} and set(table["axis"]) == {"taste"}
    of = {
        (value, segment): lift for value, segment, lift in table.select("value", "segment_id", "held_out_lift").rows()
    }
    assert of["P0000", "T1"] > 1.2
    assert of["P0000", "T2"] < 0.8
    assert product_affinity(purchases, _traits(2))["held_out_lift"].null_count() == purchases.height


def test_lifts_in_the_planted_order_agree_fully_and_reversed_ones_not_at_all(benchmark: ModuleType) -> None:
    names = [f"P{i:04d}" for i in range(40)]
    planted = pl.DataFrame({"segment_id": "T1", "product_id": names, "planted_lift": np.linspace(0.5, 3, 40)})
    affinity = pl.DataFrame(
        {"dimension": "product", "axis": "taste", "segment_id": "T1", "value": names,
         "shrunken_lift": np.linspace(0.8, 2, 40), "lift": np.linspace(3, 0.5, 40),
         "held_out_lift": np.linspace(0.9, 1.1, 40)}
    )  # fmt: skip
    row = benchmark.rank_agreement(affinity, planted).row(0, named=True)
    assert (row["products"], row["shrunken"], row["raw"]) == (40, pytest.approx(1), pytest.approx(-1))
    assert row["held_out"] == pytest.approx(1)
    flat = affinity.with_columns(shrunken_lift=pl.lit(1.0))
    assert benchmark.rank_agreement(flat, planted)["shrunken"].to_list() == [None]


def test_fresh_purchases_agree_better_the_more_there_are(benchmark: ModuleType) -> None:
    rng = np.random.default_rng(12)
    lift = TASTE[np.arange(60) % 4] * rng.gamma(8, 1 / 8, (60, 3))
    names, segments = np.repeat([f"P{i:04d}" for i in range(60)], 3), np.tile(["T1", "T2", "T3"], 60)
    planted = pl.DataFrame({"segment_id": segments, "product_id": names, "planted_lift": lift.ravel()})

    def mean(rate: float) -> float:
        affinity = pl.DataFrame(
            {"dimension": "product", "axis": "taste", "segment_id": segments, "value": names, "base_rate": rate,
             "segment_customers": 1000}
        )  # fmt: skip
        return float(benchmark.fresh_agreement(affinity, planted, _traits(60), seed=0)["fresh"].mean())

    assert mean(0.002) < mean(0.05) < mean(1.0)
    assert mean(1.0) > 0.9
