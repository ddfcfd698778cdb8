"""Purchase shares: what part each product has in the purchases of each taste, and how sure that is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import gamma

from segmentation_assets.merchandising.shares import PurchaseShares, learn_shares

TASTES = ("T0", "T1", "T2", "T3")
PRODUCTS = 60


def _products(count: int = PRODUCTS, categories: int = 4) -> pl.DataFrame:
    index = np.arange(count)
    return pl.DataFrame(
        {
            "product_id": [f"P{i:04d}" for i in index],
            "category": [f"c{i % categories}" for i in index],
            "brand": [f"b{i % 11}" for i in index],
            "price_band": [f"c{i % categories} / {('low', 'middle', 'high')[i // categories % 3]}" for i in index],
        }
    )


def _counts(buyers: np.ndarray, tastes: tuple[str, ...] = TASTES) -> pl.DataFrame:
    """campaigns.window_purchases of one window from (products, tastes) buyers; cells without a buyer have no row."""
    product, taste = np.nonzero(buyers)
    found = buyers[product, taste].astype(np.int64)
    return pl.DataFrame(
        {
            "product_id": [f"P{i:04d}" for i in product], "taste_segment_id": [tastes[i] for i in taste],
            "stage_segment_id": "S1", "buyers": found, "first_buyers": found // 2,
        },
        schema={"product_id": pl.String, "taste_segment_id": pl.String, "stage_segment_id": pl.String,
                "buyers": pl.Int64, "first_buyers": pl.Int64},
    )  # fmt: skip


def _world(seed: int, purchases: int = 20_000, of_product: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Planted shares and drawn buyers, both (products, tastes): T1 likes c0, T2 c1, T3 nothing; T0 is their mean.

    `of_product` is the variance of lifts from product to product within a category.
    """
    rng = np.random.default_rng(seed)
    base = rng.dirichlet(np.full(PRODUCTS, 1.0))
    lift = np.ones((4, 4))
    lift[0, 1], lift[1, 2] = 4, 4
    theta = base[:, None] * lift[np.arange(PRODUCTS) % 4]
    if of_product:
        theta = theta * rng.gamma(1 / of_product, of_product, theta.shape)
    theta /= theta.sum(axis=0)
    theta[:, 0] = theta[:, 1:].mean(axis=1)
    return theta, np.column_stack([rng.multinomial(purchases // 4, theta[:, i]) for i in range(4)])


def test_shares_of_every_taste_add_up_to_one_and_are_base_times_lift() -> None:
    shares = learn_shares(_counts(_world(0)[1]), _products(), TASTES)
    assert shares.product_ids == tuple(f"P{i:04d}" for i in range(PRODUCTS)) and shares.taste_ids == TASTES
    assert shares.mean.sum(axis=0) == pytest.approx(1) and shares.base.sum() == pytest.approx(1)
    assert shares.mean == pytest.approx(shares.base[:, None] * shares.lift)


def test_the_order_of_rows_does_not_matter_and_stages_are_summed() -> None:
    counts = _counts(_world(0)[1])
    once = learn_shares(counts, _products(), TASTES)
    split = pl.concat([counts.with_columns(pl.col("buyers") - 1), counts.with_columns(
        stage_segment_id=pl.lit("S2"), buyers=pl.lit(1, dtype=pl.Int64))])  # fmt: skip
    again = learn_shares(split.reverse(), _products().reverse(), TASTES[::-1])
    assert again.product_ids == once.product_ids
    for name in ("shape", "rate", "base", "lift"):
        assert np.array_equal(getattr(again, name), getattr(once, name))


def test_learned_shares_are_nearer_to_the_planted_than_the_counts_and_than_no_taste() -> None:
    for of_product in (0.0, 0.3):
        theta, buyers = _world(1, purchases=4_000, of_product=of_product)
        shares = learn_shares(_counts(buyers), _products(), TASTES)
        known = slice(1, None)

        def miss(estimate: np.ndarray, theta: np.ndarray = theta, known: slice = known) -> float:
            return float(np.abs(estimate - theta)[:, known].sum())

        assert miss(shares.mean) < miss(buyers / buyers.sum(axis=0))
        assert miss(shares.mean) < 0.7 * miss(shares.without_taste().mean)


def test_without_taste_every_taste_buys_as_the_unknown_do() -> None:
    shares = learn_shares(_counts(_world(0)[1]), _products(), TASTES)
    plain = shares.without_taste()
    assert plain.mean == pytest.approx(np.outer(shares.base, np.ones(4)))
    assert (plain.lift == 1).all() and plain.variance == 0
    assert np.array_equal(plain.shape[:, 0], shares.shape[:, 0])
    assert (plain.shape >= shares.shape - 1e-9).all()  # whoever knows no tastes has fewer doubts about them


def test_unknown_taste_has_a_lift_of_one_and_is_always_there() -> None:
    theta, buyers = _world(2)
    shares = learn_shares(_counts(buyers), _products(), ("T1", "T2", "T3"))
    assert shares.taste_ids == TASTES
    assert (shares.lift[:, 0] == 1).all()
    alone = learn_shares(_counts(buyers), _products(), ())
    assert alone.taste_ids == ("T0",) and alone.variance == 0
    assert np.abs(alone.mean[:, 0] - theta[:, 0]).sum() < 0.1


def test_a_product_nobody_bought_takes_its_categorys_share_and_lift() -> None:
    _, buyers = _world(3)
    buyers[[0, 1]] = 0  # of the categories c0 and c1
    shares = learn_shares(_counts(buyers), _products(), TASTES)
    for product in (0, 1):
        sisters = np.arange(product + 4, PRODUCTS, 4)
        assert shares.lift[product] == pytest.approx(shares.lift[sisters].mean(axis=0), rel=0.15)
        assert 0 < shares.base[product] < shares.base[sisters].mean()  # nobody wanted it in a whole window
        assert shares.shape[product, 1] < np.median(shares.shape[sisters, 1])
    assert shares.lift[0, 1] > 2 * shares.lift[0, 2]


def test_a_category_nobody_bought_is_taken_for_an_average_one() -> None:
    _, buyers = _world(4, purchases=2_000)
    buyers[0::4] = 0
    shares = learn_shares(_counts(buyers), _products(), TASTES)
    unsold = shares.base[0::4]
    assert np.ptp(unsold) == pytest.approx(0) and 0 < unsold[0] < 1 / PRODUCTS
    assert shares.lift[0::4, 1:] == pytest.approx(1, abs=0.35)
    assert shares.mean.sum(axis=0) == pytest.approx(1)


def test_a_taste_without_purchases_buys_like_all_but_nobody_is_sure() -> None:
    _, buyers = _world(5)
    buyers[:, 3] = 0
    shares = learn_shares(_counts(buyers), _products(), TASTES)
    assert shares.lift[:, 3] == pytest.approx(1)
    assert (shares.shape[:, 3] < shares.shape[:, 0]).all()
    new = learn_shares(_counts(buyers), _products(), (*TASTES, "T7"))
    assert new.taste_ids[-1] == "T7" and new.lift[:, -1] == pytest.approx(1)


def test_without_any_purchase_shares_are_equal_and_all_but_unknown() -> None:
    shares = learn_shares(_counts(np.zeros((PRODUCTS, 4))), _products(), TASTES)
    assert shares.mean == pytest.approx(1 / PRODUCTS) and shares.base == pytest.approx(1 / PRODUCTS)
    assert (shares.shape <= 0.01).all() and (shares.lift == 1).all() and shares.variance == 0
    assert shares.without_taste().mean == pytest.approx(1 / PRODUCTS)


def test_without_products_there_are_no_shares() -> None:
    shares = learn_shares(_counts(_world(0)[1]), _products().clear(), TASTES)
    assert shares.product_ids == () and shares.mean.shape == (0, 4) and shares.base.shape == (0,)


def test_purchases_of_other_products_and_tastes_are_left_aside() -> None:
    _, buyers = _world(6)
    some = learn_shares(_counts(buyers), _products().head(40), TASTES)
    assert some.mean.sum(axis=0) == pytest.approx(1)
    same = learn_shares(_counts(buyers[:40]), _products().head(40), TASTES)
    assert np.array_equal(some.shape, same.shape)
    two = learn_shares(_counts(buyers), _products(), ("T0", "T1"))
    assert two.lift[0, 1] < learn_shares(_counts(buyers), _products(), TASTES).lift[0, 1]


def test_one_product_has_all_of_everybodys_purchases() -> None:
    shares = learn_shares(_counts(np.array([[5, 40, 3, 0]])), _products(1), TASTES)
    assert shares.mean == pytest.approx(np.ones((1, 4)))


def test_a_world_without_taste_has_lifts_of_one() -> None:
    variances, distances = [], []
    for seed in range(50):
        rng = np.random.default_rng(seed)
        base = rng.dirichlet(np.full(PRODUCTS, 0.5))
        buyers = np.column_stack([rng.multinomial(int(n), base) for n in rng.integers(50, 3000, 4)])
        shares = learn_shares(_counts(buyers), _products(), TASTES)
        variances.append(shares.variance)
        distances.append(np.abs(np.log(shares.lift[:, 1:])).mean())
    assert np.mean(np.array(variances) == 0) >= 0.9
    assert np.mean(distances) < 0.02 and np.max(distances) < 0.2


def test_variance_is_that_of_products_which_differ_within_their_category() -> None:
    # Lifts are relative to the product's own mean over three tastes, so two thirds of the planted variance at most.
    found = [learn_shares(_counts(_world(seed, of_product=0.5)[1]), _products(), TASTES).variance for seed in range(9)]
    assert 0.15 < np.median(found) < 0.33
    same = [learn_shares(_counts(_world(seed)[1]), _products(), TASTES).variance for seed in range(9)]
    assert np.mean(same) < 0.02


def _held(seed: int, purchases: int) -> tuple[float, PurchaseShares]:
    theta, buyers = _world(seed, purchases=purchases, of_product=0.3)
    shares = learn_shares(_counts(buyers), _products(), TASTES)
    low, high = (gamma.ppf(level, shares.shape) / shares.rate for level in (0.05, 0.95))
    return float(((low <= theta) & (theta <= high))[:, 1:].mean()), shares


def test_nine_intervals_in_ten_hold_the_planted_share() -> None:
    for purchases in (1_000, 20_000):
        assert 0.85 < np.mean([_held(seed, purchases)[0] for seed in range(12)]) < 0.97


def test_more_purchases_make_shares_surer() -> None:
    few, many = _held(0, 1_000)[1], _held(0, 100_000)[1]
    assert np.median(many.shape) > 5 * np.median(few.shape)


def test_shares_are_a_value() -> None:
    shares = learn_shares(_counts(_world(0)[1]), _products(), TASTES)
    with pytest.raises(AttributeError):
        shares.variance = 1.0  # type: ignore[misc]  # what the test is about
    assert replace(shares, variance=1.0).variance == 1.0


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 15), st.floats(0.01, 20))
def test_whatever_is_bought_shares_are_positive_and_add_up(seed: int, products: int, volume: float) -> None:
    rng = np.random.default_rng(seed)
    buyers = rng.poisson(rng.gamma(0.4, volume, (products, 4)) * rng.integers(0, 2, 4))
    shares = learn_shares(_counts(buyers), _products(products), TASTES)
    for values in (shares.shape, shares.rate, shares.lift, shares.base, shares.mean):
        assert np.isfinite(values).all() and (values > 0).all()
    assert shares.mean.sum(axis=0) == pytest.approx(1)
    assert (shares.lift[:, 0] == 1).all()
