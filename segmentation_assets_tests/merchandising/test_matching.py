"""Matching: the customers with the highest expected purchases of each product, beside the simplest rules."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import duckdb
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from segmentation_assets.merchandising import matching as matching_module
from segmentation_assets.merchandising.matching import (
    Crowd,
    best_counts,
    filled_cells,
    match_products,
    most_active_value,
    past_rates,
    stated_size,
)
from segmentation_assets.merchandising.plan import (
    BY_ACTIVITY,
    BY_CHANCE,
    BY_PAST_RATE,
    BY_TASTE,
    TABLE_TYPES,
    CampaignSpec,
    empty_table,
)
from segmentation_assets.merchandising.shares import PurchaseShares
from segmentation_assets.warehouse.sql_models import SQL_ROOT, load_model

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SPEC = CampaignSpec(minimum_cell=20)
TASTES = ("T0", "T1", "T2")
PRODUCTS = tuple(f"P{i}" for i in range(6))
NO_CHOICES = empty_table("campaigns/product_choices")


def _shares(certainty: float = 4000.0) -> PurchaseShares:
    """Six products: P0 to P2 are bought four times as often by T1 as by T2, the others the other way round."""
    lift = np.ones((6, 3))
    lift[:3, 1], lift[3:, 1], lift[:3, 2], lift[3:, 2] = 1.6, 0.4, 0.4, 1.6
    base = np.full(6, 1 / 6)
    mean = base[:, None] * lift
    shape = np.full_like(mean, certainty)
    shape[:, 0] = 1e6  # how popular the products are is known
    return PurchaseShares(PRODUCTS, TASTES, shape, shape / mean, base, lift, 0.1)


def _members(customers: int = 1200, seed: int = 5) -> pl.DataFrame:
    """Loyal (S1) and lapsing (S2) customers of two tastes, some of unknown taste, and 200 who never bought (S0)."""
    rng = np.random.default_rng(seed)
    number = np.arange(customers)
    never = number < 200
    taste = np.where(never | (rng.random(customers) < 0.15), 0, rng.integers(1, 3, customers))
    is_loyal = rng.random(customers) < 0.5
    activity = rng.gamma(1.2, np.where(is_loyal, 1.0, 0.3)).round(9)
    return pl.DataFrame(
        {
            "customer_id": [f"C{i:04d}" for i in number],
            "taste_segment_id": np.array(TASTES)[taste],
            "stage_segment_id": np.where(never, "S0", np.where(is_loyal, "S1", "S2")),
            "stage_group": np.where(never, "never_bought", np.where(is_loyal, "loyal", "lapsing")),
            "is_reachable": rng.random(customers) < 0.7,
            "is_adult": rng.random(customers) < 0.6,
            "expected_products": np.where(never, (activity * 0.05).round(9), activity),
            "activity_rank": number,
        }
    )


def _promotable(**changes: object) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "product_id": list(PRODUCTS),
            "list_price": [20.0] * 6,
            "unit_cost": [8.0] * 6,
            "stock_quantity": [5000.0] * 6,
            "safety_stock": [5.0] * 6,
            "discount_share": [0.2] * 6,
            "is_age_restricted": [False] * 6,
            "is_sensitive": [False] * 6,
            "is_promotable": [True] * 6,
            **changes,
        }
    )


def _rates(members: pl.DataFrame | None = None) -> pl.DataFrame:
    """Past rates of the cells: T1 bought P0 to P2, T2 the others; loyal customers three times as often."""
    sizes = (
        (_members() if members is None else members).group_by("taste_segment_id", "stage_segment_id").len("customers")
    )
    rows = [
        (product, taste, stage, 15 if stage == "S1" else 5)
        for place, product in enumerate(PRODUCTS)
        for taste, stage in (("T1" if place < 3 else "T2", "S1"), ("T1" if place < 3 else "T2", "S2"))
    ]
    return pl.DataFrame(
        rows, schema=["product_id", "taste_segment_id", "stage_segment_id", "buyers"], orient="row"
    ).join(sizes, on=["taste_segment_id", "stage_segment_id"])


def _match(
    promotable: pl.DataFrame | None = None,
    members: pl.DataFrame | None = None,
    *,
    shares: PurchaseShares | None = None,
    rates: pl.DataFrame | None = None,
    scored_by: str = BY_TASTE,
    choices: pl.DataFrame = NO_CHOICES,
    spec: CampaignSpec = SPEC,
    is_proven: bool = True,
) -> pl.DataFrame:
    return match_products(
        _promotable() if promotable is None else promotable,
        _members() if members is None else members,
        _shares() if shares is None else shares,
        _rates() if rates is None else rates,
        scored_by=scored_by, choices=choices, spec=spec, is_proven=is_proven,
    )  # fmt: skip


def _choice(product_id: str, discount: float | None = None, customers: int | None = None) -> pl.DataFrame:
    return pl.DataFrame(
        [(product_id, discount, customers, "run")], schema=NO_CHOICES.schema, orient="row"
    )  # fmt: skip


# --- choosing customers


def _crowd(seed: int, levels: int) -> tuple[Ints, Floats, Crowd]:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(30, 120))
    taste = rng.integers(0, 3, n)
    # Few levels of activity make ties.
    activity = (rng.integers(1, levels + 1, n) / levels * 3).round(9)
    return taste, activity, Crowd.of(taste, activity)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([3, 1_000_000]), st.floats(0.02, 1.0))
def test_the_audience_is_the_customers_with_the_highest_scores(seed: int, levels: int, share: float) -> None:
    taste, activity, crowd = _crowd(seed, levels)
    theta = np.random.default_rng(seed + 1).uniform(0.1, 1.0, (4, len(crowd.tastes)))
    size = stated_size(len(taste), share, 1)
    counts = best_counts(theta, crowd, np.full(4, size))
    for product in range(4):
        score = theta[product, np.searchsorted(crowd.tastes, taste)] * activity
        floor = crowd.floors(counts)[product][np.searchsorted(crowd.tastes, taste)]
        chosen = activity >= floor
        assert chosen.sum() == counts[product].sum()
        if not chosen.all():
            assert score[chosen].min() > score[~chosen].max() - 1e-9
        # No other set of this kind is nearer to the stated size.
        reachable = np.array([(score >= value * (1 - 1e-9)).sum() for value in np.unique(score)])
        assert abs(chosen.sum() - size) == np.abs(reachable - size).min()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([3, 1_000_000]))
def test_the_most_active_are_valued_each_by_his_own_taste(seed: int, levels: int) -> None:
    taste, activity, crowd = _crowd(seed, levels)
    theta = np.random.default_rng(seed + 1).uniform(0.1, 1.0, (1, len(crowd.tastes)))
    size = len(taste) // 3
    edge = np.sort(activity)[::-1][size - 1]
    value = theta[0, np.searchsorted(crowd.tastes, taste)] * activity
    above, tied = activity > edge, activity == edge
    expected = value[above].sum() + (size - above.sum()) / tied.sum() * value[tied].sum()
    assert most_active_value(theta, crowd, np.array([size]))[0] == pytest.approx(expected)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from([0.0, 0.1, 0.2, 0.3]), min_size=1, max_size=6), st.integers(0, 60), st.integers(0, 99))
def test_cells_are_filled_by_their_rate_and_equal_ones_share(rates: list[float], size: int, seed: int) -> None:
    customers = np.random.default_rng(seed).integers(1, 20, len(rates))
    rate = np.array([rates])
    taken = filled_cells(rate, np.array([size]), customers)[0]
    assert (taken * customers).sum() == pytest.approx(min(size, customers.sum()))
    for value in set(rates):
        same = rate[0] == value
        assert np.ptp(taken[same]) == pytest.approx(0)
        if taken[same].max() > 0:
            assert (taken[rate[0] > value] == 1).all()


def test_parts_under_the_smallest_cell_are_given_up() -> None:
    taste = np.repeat([0, 1], [100, 100])
    activity = np.concatenate([np.linspace(1, 2, 100), np.linspace(0.1, 1.05, 100)])
    crowd = Crowd.of(taste, activity)
    counts = best_counts(np.ones((1, 2)), crowd, np.array([98]), minimum_cell=10)
    assert counts.tolist()[0][0] > 90 and counts.tolist()[0][1] == 0


def test_where_every_part_is_too_small_the_largest_taste_takes_the_whole_size() -> None:
    activity = np.tile(np.linspace(0.1, 1.0, 40), 3)
    crowd = Crowd.of(np.repeat([0, 1, 2], 40), activity)
    counts = best_counts(np.array([[1.0, 1.05, 1.0]]), crowd, np.array([20]), minimum_cell=15)
    assert counts.tolist() == [[0, 20, 0]]


def test_customers_who_cannot_be_told_apart_stay_together() -> None:
    crowd = Crowd.of(np.zeros(80, dtype=np.int64), np.full(80, 0.5))
    assert best_counts(np.ones((1, 1)), crowd, np.array([16]), minimum_cell=10).tolist() == [[80]]


# --- matches


def test_a_product_is_matched_with_the_taste_that_buys_it() -> None:
    matches = _match()
    assert matches.columns == list(TABLE_TYPES["campaigns/product_segment_matches"])
    loyal = matches.filter(pl.col("stage_group") == "loyal").sort("audience_customers", descending=True)
    largest = loyal.group_by("product_id", maintain_order=True).first()
    wanted = {product: "T1" if place < 3 else "T2" for place, product in enumerate(PRODUCTS)}
    assert dict(largest.select("product_id", "taste_segment_id").iter_rows()) == wanted


def test_an_audience_is_told_by_its_floor_of_activity() -> None:
    members = _members()
    for row in _match(members=members).iter_rows(named=True):
        own = members.filter(
            (pl.col("taste_segment_id") == row["taste_segment_id"])
            & (pl.col("stage_group") == row["stage_group"])
            & (pl.col("expected_products") >= row["activity_floor"])
        )
        assert own.height == row["audience_customers"]
        assert own["is_reachable"].sum() == row["reachable_customers"]
        theta = _shares().mean[PRODUCTS.index(row["product_id"]), TASTES.index(row["taste_segment_id"])]
        assert row["score"] == pytest.approx(theta * own["expected_products"].mean(), abs=1e-8)
        reached = own.filter("is_reachable")["expected_products"].sum() * theta * SPEC.valid_days / 90
        assert row["expected_buyers"] == pytest.approx(reached, abs=1e-5)
        assert row["low"] <= row["expected_buyers"] <= row["high"]


def test_all_parts_together_have_the_stated_size() -> None:
    members = _members()
    spec = replace(SPEC, audiences_per_product=99, minimum_cell=1)
    loyal = _match(members=members, spec=spec).filter(pl.col("stage_group") == "loyal")
    stated = stated_size(members.filter(pl.col("stage_group") == "loyal").height, SPEC.audience_share, 1)
    assert (loyal["matched_customers"] == stated).all()
    assert (loyal.group_by("product_id").agg(pl.col("audience_customers").sum())["audience_customers"] == stated).all()


def test_the_scores_of_the_baselines_are_those_of_as_many_customers() -> None:
    members = _members()
    shares = _shares()
    loyal = members.filter(pl.col("stage_group") == "loyal")
    row = _match(members=members).row(
        by_predicate=(pl.col("product_id") == "P0") & (pl.col("stage_group") == "loyal")
        & (pl.col("taste_segment_id") == "T1"), named=True,
    )  # fmt: skip
    theta = np.array([shares.mean[0, TASTES.index(taste)] for taste in loyal["taste_segment_id"]])
    value = theta * loyal["expected_products"].to_numpy()
    size = row["matched_customers"]
    assert row["random_score"] == pytest.approx(value.mean(), abs=1e-8)
    most_active = np.argsort(-loyal["expected_products"].to_numpy())[:size]
    assert row["baseline_score"] == pytest.approx(value[most_active].mean(), abs=1e-8)
    # Of the loyal only T1 bought P0 before: the past rate chooses any of them.
    own = loyal["taste_segment_id"].to_numpy() == "T1"
    assert row["past_rate_score"] == pytest.approx(value[own].mean(), abs=1e-8)
    assert row["matched_score"] > max(row["baseline_score"], row["past_rate_score"], row["random_score"])


def test_without_any_past_purchase_the_past_rate_chooses_at_random() -> None:
    matches = _match(rates=_rates().clear())
    assert (matches["past_rate_score"] - matches["random_score"]).abs().max() == pytest.approx(0, abs=1e-9)


def test_a_sure_lead_beats_the_baselines_and_says_by_how_much() -> None:
    row = _match().filter((pl.col("stage_group") == "loyal") & (pl.col("taste_segment_id") == "T1")).row(0, named=True)
    assert row["beats_baseline"]
    assert row["reason"] == (
        "Of what they buy, customers of this taste choose it 1.6 times as often as all customers. "
        f"About {round(row['matched_score'] * 100, 2)}% of all customers matched with it in these stages buy it in 90 "
        f"days, against {round(row['baseline_score'] * 100, 2)}% of as many of the most active."
    )


def test_the_same_lead_on_little_evidence_is_too_close_to_call() -> None:
    matches = _match(shares=_shares(certainty=5.0)).filter(pl.col("stage_group") == "loyal")
    assert not matches["beats_baseline"].any()
    assert matches["reason"].str.contains("of as many of the most active customers: too close to call").all()


def test_what_is_not_known_of_the_popularity_moves_both_sides_alike() -> None:
    shares = _shares()
    # Three purchases tell little of how often a product is bought, and nothing against its lift.
    rare = 1 / ((1 + 1 / shares.shape) * (1 + 1 / 3) - 1)
    unsure = replace(shares, shape=rare, rate=rare / shares.mean)
    assert _match(shares=unsure)["beats_baseline"].to_list() == _match()["beats_baseline"].to_list()
    assert _match(shares=unsure)["high"].sum() > _match()["high"].sum()


def test_no_lead_is_called_one_before_the_back_test_proves_matching() -> None:
    matches = _match(is_proven=False).filter(pl.col("stage_group") == "loyal")
    assert not matches["beats_baseline"].any()
    ahead = matches.filter(pl.col("matched_score") > pl.max_horizontal("baseline_score", "past_rate_score"))
    assert ahead.height and ahead["reason"].str.ends_with(": not proven on days held back.").all()


def test_without_taste_the_matched_are_the_most_active_and_beat_nobody() -> None:
    flat = _shares().without_taste()
    matches = _match(shares=flat).filter(pl.col("stage_group") == "loyal")
    assert not matches["beats_baseline"].any()
    assert matches["reason"].str.contains("for its objective, not for its rate").any()


def test_customers_of_unknown_taste_are_a_part_and_buy_by_the_base_shares() -> None:
    matches = _match(spec=replace(SPEC, audiences_per_product=99))
    unknown = matches.filter(pl.col("taste_segment_id") == "T0")
    assert set(unknown["stage_group"]) > {"never_bought"}
    assert unknown["reason"].str.starts_with("Their taste is not known yet.").all()
    # Theirs are the most active of the group: without a leaning only activity brings them in.
    row = unknown.filter(pl.col("stage_group") == "lapsing").row(0, named=True)
    known = matches.filter(pl.col("product_id") == row["product_id"], pl.col("stage_group") == "lapsing")
    assert row["activity_floor"] > known["activity_floor"].min()


def test_age_restricted_goods_are_matched_with_known_adults_only() -> None:
    members = _members()
    matches = _match(_promotable(is_age_restricted=[True] + [False] * 5), members)
    assert "P0" in matches["product_id"].to_list()
    for row in matches.filter(pl.col("product_id") == "P0").iter_rows(named=True):
        own = members.filter(
            pl.col("is_adult") & (pl.col("taste_segment_id") == row["taste_segment_id"])
            & (pl.col("stage_group") == row["stage_group"])
            & (pl.col("expected_products") >= row["activity_floor"])
        )  # fmt: skip
        assert (own.height, own["is_reachable"].sum()) == (row["audience_customers"], row["reachable_customers"])
    nobody = members.with_columns(is_adult=pl.lit(value=False))
    assert _match(_promotable(is_age_restricted=[True] * 6), nobody).is_empty()


def test_sensitive_and_excluded_products_are_never_matched() -> None:
    matches = _match(_promotable(is_sensitive=[True] + [False] * 5, is_promotable=[True, False] + [True] * 4))
    assert set(matches["product_id"]) == {"P2", "P3", "P4", "P5"}


def test_an_audience_whose_discount_the_product_cannot_bear_is_left_out() -> None:
    matches = _match(_promotable(discount_share=[0.0] + [0.2] * 5))
    assert set(matches.filter(pl.col("product_id") == "P0")["stage_group"]) == {"loyal"}
    assert set(matches.filter(pl.col("stage_group") == "lapsing")["discount_share"]) == {0.15}


def test_a_chosen_discount_holds_for_every_audience() -> None:
    matches = _match(choices=_choice("P0", discount=0.12))
    assert set(matches.filter(pl.col("product_id") == "P0")["discount_share"]) == {0.12}
    assert 0.12 not in matches.filter(pl.col("product_id") != "P0")["discount_share"].to_list()
    row = matches.filter(pl.col("product_id") == "P0").row(0, named=True)
    assert row["expected_margin_amount"] == pytest.approx(row["expected_buyers"] * (20 * 0.88 - 8), abs=1e-3)


def test_a_chosen_size_is_split_over_the_groups_by_their_size() -> None:
    members = _members()
    matches = _match(members=members, choices=_choice("P0", customers=600), spec=replace(SPEC, minimum_cell=1))
    sizes = dict(members.group_by("stage_group").len().iter_rows())
    for row in matches.filter(pl.col("product_id") == "P0").iter_rows(named=True):
        assert row["matched_customers"] == pytest.approx(600 * sizes[row["stage_group"]] / members.height, abs=1)


def test_no_audience_expects_more_buyers_than_the_spare_stock() -> None:
    every = replace(SPEC, audiences_per_product=99)
    usual = _match(spec=every).filter(pl.col("product_id") == "P0")
    limit = float(usual["expected_buyers"].median()) + 0.01  # type: ignore[arg-type]
    scarce = _match(_promotable(stock_quantity=[5.0 + limit] + [5000.0] * 5), spec=every)
    left = scarce.filter(pl.col("product_id") == "P0")["expected_buyers"].to_list()
    assert left == [buyers for buyers in usual["expected_buyers"].to_list() if buyers <= limit]
    unknown = _match(_promotable(stock_quantity=[None] * 6), spec=every)
    assert unknown.filter(pl.col("product_id") == "P0").height == usual.height


def test_what_would_earn_nothing_is_not_matched() -> None:
    assert _match(_promotable(unit_cost=[20.0] * 6)).is_empty()


def test_the_best_audiences_of_a_product_and_the_best_products_of_an_audience_are_kept() -> None:
    every = _match(spec=replace(SPEC, audiences_per_product=99))
    spec = replace(SPEC, audiences_per_product=1, products_per_audience=2)
    kept = _match(spec=spec)
    audience = ["taste_segment_id", "stage_group"]
    for frame, by, most in ((every, ["product_id"], 1), (every, audience, 2)):
        best = frame.sort("expected_margin_amount", "product_id", descending=[True, False]).group_by(by).head(most)
        assert best.join(kept, on=["product_id", *audience], how="anti").is_empty()
    assert kept.height <= every.height and kept.height < 6 + 2 * len(every.select(audience).unique())


def test_a_catalogue_matched_in_lots_gives_the_same_matches(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = replace(SPEC, audiences_per_product=1, products_per_audience=2)
    whole = _match(_promotable(is_age_restricted=[False, True] * 3), spec=spec)
    monkeypatch.setattr(matching_module, "_CHUNK", 1)
    assert _match(_promotable(is_age_restricted=[False, True] * 3), spec=spec).equals(whole)


def test_matches_do_not_depend_on_the_order_of_the_rows() -> None:
    members = _members()
    shuffled = _match(
        _promotable().reverse(), members.sample(fraction=1.0, shuffle=True, seed=1), rates=_rates(members).reverse()
    )
    assert shuffled.equals(_match(members=members))


def test_by_activity_the_audiences_are_the_most_active_of_every_taste() -> None:
    matches = _match(scored_by=BY_ACTIVITY, spec=replace(SPEC, audiences_per_product=99))
    assert (
        matches.group_by("taste_segment_id", "stage_group")
        .agg(pl.col("activity_floor").n_unique())["activity_floor"]
        .to_list()
        == [1] * 6
    )
    assert not matches["beats_baseline"].any() and set(matches["scored_by"]) == {BY_ACTIVITY}
    assert set(matches["reason"]) == {
        "On days held back matching did no better than the most active customers, so these are simply the most active "
        "of them."
    }


def test_by_past_rate_the_audiences_are_of_the_segments_that_bought_it() -> None:
    matches = _match(scored_by=BY_PAST_RATE)
    assert set(matches.filter(pl.col("product_id") == "P0")["taste_segment_id"]) == {"T1"}
    assert set(matches.filter(pl.col("product_id") == "P5")["taste_segment_id"]) == {"T2"}
    assert not matches["beats_baseline"].any()
    assert matches["reason"].str.contains("segments with the highest past purchase rate").all()
    row = matches.filter((pl.col("product_id") == "P0") & (pl.col("stage_group") == "loyal")).row(0, named=True)
    cell = _members().filter((pl.col("taste_segment_id") == "T1") & (pl.col("stage_group") == "loyal"))
    # The cell as a whole buys at its past rate; its most active more.
    assert row["score"] > 15 / cell.height
    assert row["past_rate_score"] == pytest.approx(15 / cell.height, rel=1e-6)


def test_by_chance_an_audience_is_a_whole_taste() -> None:
    matches = _match(scored_by=BY_CHANCE)
    sizes = {
        (row[0], row[1]): row[2] for row in _members().group_by("taste_segment_id", "stage_group").len().iter_rows()
    }
    for row in matches.iter_rows(named=True):
        assert row["audience_customers"] == sizes[row["taste_segment_id"], row["stage_group"]]
    assert matches["reason"].str.contains("no better than chance").all()


def test_matches_are_empty_with_their_columns_when_the_data_cannot_carry_them() -> None:
    columns = list(TABLE_TYPES["campaigns/product_segment_matches"])
    for found in (
        _match(_promotable().clear()),
        _match(members=_members().clear()),
        _match(spec=replace(SPEC, minimum_cell=5000)),
    ):
        assert found.is_empty() and found.columns == columns


def test_an_unknown_method_and_missing_shares_are_refused() -> None:
    with pytest.raises(ValueError, match="'guessing' is no method of matching"):
        _match(scored_by="guessing")
    with pytest.raises(ValueError, match=r"no figure for 1 products that may be offered \(P9\)"):
        _match(_promotable(product_id=["P0", "P1", "P2", "P3", "P4", "P9"]))
    shares = _shares()
    known_only = replace(
        shares, taste_ids=("T1", "T2"), shape=shares.shape[:, 1:], rate=shares.rate[:, 1:], lift=shares.lift[:, 1:]
    )
    with pytest.raises(ValueError, match="hold no T0"):
        _match(shares=known_only)


def test_past_rates_divide_the_buyers_by_who_stood_in_the_cell() -> None:
    purchases = pl.DataFrame(
        {"product_id": ["P1", "P0"], "taste_segment_id": ["T1", "T1"], "stage_segment_id": ["S1", "S1"],
         "buyers": [2, 1]}
    )  # fmt: skip
    then = pl.DataFrame({"taste_segment_id": ["T1", "T1", "T1", "T2"], "stage_segment_id": ["S1", "S1", "S1", "S1"]})
    assert past_rates(purchases, then).rows() == [("P0", "T1", "S1", 1, 3), ("P1", "T1", "S1", 2, 3)]


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([BY_TASTE, BY_ACTIVITY, BY_PAST_RATE, BY_CHANCE]), st.integers(1, 60))
def test_no_match_breaks_a_rule_whatever_the_shop(seed: int, scored_by: str, cell: int) -> None:
    rng = np.random.default_rng(seed)
    lift = rng.gamma(2, 0.5, (6, 3))
    lift[:, 0] = 1.0
    base = rng.dirichlet(np.ones(6))
    shape = rng.uniform(0.5, 500, (6, 3))
    shares = PurchaseShares(PRODUCTS, TASTES, shape, shape / (base[:, None] * lift), base, lift, 0.3)
    promotable = _promotable(
        list_price=rng.uniform(1, 60, 6), stock_quantity=rng.uniform(-5, 40, 6), discount_share=rng.uniform(0, 0.3, 6),
        is_age_restricted=rng.random(6) < 0.3, is_promotable=rng.random(6) < 0.8,
    )  # fmt: skip
    spec = CampaignSpec(minimum_cell=cell, audience_share=float(rng.uniform(0.01, 1)))
    matches = _match(
        promotable, _members(int(rng.integers(210, 700)), seed), shares=shares, scored_by=scored_by, spec=spec
    ).join(promotable.drop("discount_share", "list_price", "unit_cost"), on="product_id")
    limits = matches.join(promotable.select("product_id", bearable="discount_share"), on="product_id")
    assert matches["is_promotable"].all()
    assert (matches["audience_customers"] >= cell).all()
    assert (matches["expected_buyers"] <= matches["stock_quantity"] - 5 + 1e-5).all()
    assert (limits["discount_share"] <= limits["bearable"] + 1e-9).all()
    assert (matches["matched_customers"] >= matches["audience_customers"]).all()
    assert (matches["expected_margin_amount"] > 0).all()
    assert matches["reason"].str.len_chars().min() is None or not matches["reason"].str.contains("null").any()
    numbers = matches.select(pl.col(pl.Float64))
    assert not any(numbers[name].is_nan().any() or numbers[name].is_null().any() for name in numbers.columns)


# --- checks


@pytest.fixture(scope="module")
def warehouse() -> Iterator[duckdb.DuckDBPyConnection]:
    promotable = _promotable(is_age_restricted=[True] + [False] * 5).with_columns(reason=pl.lit("Good."))
    members = _members()
    con = duckdb.connect()
    con.execute("create schema campaigns; create schema segments")
    for name, frame in (
        ("promotable_products", promotable), ("audience_members", members),
        ("product_segment_matches", _match(promotable, members)),
    ):  # fmt: skip
        con.register("frame", frame.to_arrow())
        con.execute(f"create table campaigns.{name} as from frame")
    con.execute(
        "create table campaigns.match_verdicts as select 'product_to_audience' as topic, "
        "'taste and activity' as method, true as is_better, 'Better.' as sentence"
    )
    con.execute(
        "create table segments.segment_summary as select * from (values ('taste', 'T0'), ('taste', 'T1'), "
        "('taste', 'T2'), ('stage', 'S0'), ('stage', 'S1'), ('stage', 'S2')) t(axis, segment_id)"
    )
    yield con
    con.close()


_MATCHES = "update campaigns.product_segment_matches set"
FAULTS: dict[str, list[str]] = {
    "one_row_per_product_and_audience": [
        "insert into campaigns.product_segment_matches from campaigns.product_segment_matches limit 1",
        f"{_MATCHES} audience_customers = 0, reachable_customers = 0, expected_buyers = 0, low = 0",
        f"{_MATCHES} reachable_customers = -1, expected_buyers = null",
        f"{_MATCHES} reachable_customers = audience_customers + 1",
        f"{_MATCHES} matched_customers = audience_customers - 1",
        f"{_MATCHES} low = -0.1",
        f"{_MATCHES} low = expected_buyers + 0.1",
        f"{_MATCHES} high = expected_buyers - 0.1",
        f"{_MATCHES} expected_buyers = reachable_customers + 0.1, high = reachable_customers + 0.2",
        f"{_MATCHES} score = 1.5",
        f"{_MATCHES} score = -0.1",
        f"{_MATCHES} matched_score = 1.5",
        f"{_MATCHES} matched_score = -0.1 where not beats_baseline",
        f"{_MATCHES} expected_margin_amount = 0",
        f"{_MATCHES} baseline_score = matched_score where beats_baseline",
        f"{_MATCHES} past_rate_score = matched_score where beats_baseline",
        f"{_MATCHES} random_score = matched_score where beats_baseline",
        f"{_MATCHES} scored_by = 'most active'",
        f"{_MATCHES} reason = ' '",
        *(f"{_MATCHES} {column} = null" for column in (
            "reason", "product_id", "taste_segment_id", "stage_group", "stage_segment_ids", "audience_customers",
            "reachable_customers", "matched_customers", "activity_floor", "discount_share", "low", "expected_buyers",
            "high", "score", "matched_score", "baseline_score", "past_rate_score", "random_score",
            "expected_margin_amount", "beats_baseline", "scored_by",
        )),
    ],
    "products_are_promotable": [
        "delete from campaigns.promotable_products where product_id = 'P3'",
        "update campaigns.promotable_products set is_promotable = false where product_id = 'P3'",
        "update campaigns.promotable_products set is_sensitive = true where product_id = 'P3'",
        "update campaigns.promotable_products set stock_quantity = 5.5",
        "update campaigns.promotable_products set discount_share = 0.01",
        f"{_MATCHES} expected_buyers = 6000",
    ],
    "wins_are_proven": [
        "update campaigns.match_verdicts set is_better = false",
        "update campaigns.match_verdicts set method = 'most active'",
        "delete from campaigns.match_verdicts",
    ],
    "segments_exist": [
        f"{_MATCHES} taste_segment_id = 'T9'", f"{_MATCHES} stage_segment_ids = 'S1,S9'",
    ],
    "audiences_are_counted": [
        f"{_MATCHES} audience_customers = audience_customers + 1",
        f"{_MATCHES} reachable_customers = reachable_customers - 1",
        f"{_MATCHES} activity_floor = 0",
        "update campaigns.audience_members set is_adult = false",
        "update campaigns.promotable_products set is_age_restricted = false",
        "delete from campaigns.audience_members where stage_group = 'loyal'",
    ],
}  # fmt: skip


def _offending(con: duckdb.DuckDBPyConnection, check: str) -> list[tuple[object, ...]]:
    path = SQL_ROOT / "checks" / "campaigns" / "product_segment_matches" / f"{check}.sql"
    return con.execute(load_model(path).query).fetchall()


def test_every_check_of_the_matches_is_shown_failing() -> None:
    folder = SQL_ROOT / "checks" / "campaigns" / "product_segment_matches"
    assert {path.stem for path in folder.glob("*.sql")} == set(FAULTS)


@pytest.mark.parametrize("check", sorted(FAULTS))
def test_good_matches_pass(warehouse: duckdb.DuckDBPyConnection, check: str) -> None:
    assert _offending(warehouse, check) == []


@pytest.mark.parametrize(("check", "fault"), [(check, fault) for check, faults in FAULTS.items() for fault in faults])
def test_a_fault_is_found(warehouse: duckdb.DuckDBPyConnection, check: str, fault: str) -> None:
    warehouse.execute("begin")
    try:
        warehouse.execute(fault)
        assert _offending(warehouse, check), fault
    finally:
        warehouse.execute("rollback")


def test_by_activity_nobody_outside_an_audience_is_more_active_than_anyone_in_it() -> None:
    matches = _match(scored_by=BY_ACTIVITY, spec=replace(SPEC, audiences_per_product=99, minimum_cell=1))
    floors = matches.group_by("product_id", "stage_group").agg(
        pl.col("taste_segment_id").n_unique().alias("tastes"),
        pl.col("activity_floor").min().alias("low"),
        pl.col("audience_customers").sum().alias("size"),
    )
    for product, group, tastes, low, size in floors.iter_rows():
        own = _members().filter(pl.col("stage_group") == group)
        assert tastes == own["taste_segment_id"].n_unique(), product
        assert size == own.filter(pl.col("expected_products") >= low).height, (product, group)


def test_the_buyers_lie_in_the_interval_nine_times_in_ten() -> None:
    shares = _shares(certainty=30.0)
    ninety = replace(SPEC, valid_days=90)
    row = (
        _match(shares=shares, spec=ninety)
        .filter((pl.col("product_id") == "P0") & (pl.col("taste_segment_id") == "T1"))
        .row(0, named=True)
    )
    members = _members().filter(
        (pl.col("taste_segment_id") == "T1") & (pl.col("stage_group") == row["stage_group"]) & pl.col("is_reachable")
        & (pl.col("expected_products") >= row["activity_floor"])
    )  # fmt: skip
    exposure = float(members["expected_products"].sum())
    rng = np.random.default_rng(1)
    buyers = rng.poisson(rng.gamma(30.0, 1 / shares.rate[0, 1], 40_000) * exposure)
    inside = np.mean((buyers >= row["low"]) & (buyers <= row["high"]))
    assert 0.90 <= inside < 0.95  # counts are whole, so a little more than nine in ten


def test_no_more_buyers_are_expected_than_can_be_reached() -> None:
    members = _members().with_columns(expected_products=(pl.col("expected_products") * 400).round(9))
    matches = _match(members=members, promotable=_promotable(stock_quantity=[1e9] * 6))
    assert (matches["expected_buyers"] <= matches["reachable_customers"]).all()
    assert (matches["expected_buyers"] == matches["reachable_customers"]).any()


def test_a_stated_size_under_the_smallest_cell_is_raised_to_it() -> None:
    matches = _match(spec=replace(SPEC, minimum_cell=60, audience_share=0.02))
    assert set(matches["stage_group"]) == {"loyal", "lapsing", "never_bought"}
    assert matches["matched_customers"].min() == 60
