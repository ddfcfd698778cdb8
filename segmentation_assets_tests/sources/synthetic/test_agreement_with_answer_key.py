"""The agreement benchmark: its counts of faults, its Bayes classifier, its rule groups."""

from __future__ import annotations

import importlib.util
import math
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import adjusted_rand_score

from segmentation_assets.sources.synthetic import WorldSettings, stage_world
from segmentation_assets.sources.synthetic.answer_key import read_answer

ROOT = Path(__file__).resolve().parents[3]
PAGES = ("taste_parameters", "product_parameters", "personas", "tastes")


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("agreement_benchmark", ROOT / "benchmarks" / "agreement.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["agreement_benchmark"] = module
    spec.loader.exec_module(module)
    return module


def _stage(home: Path, **options: object) -> tuple[pl.DataFrame, dict[str, pl.DataFrame]]:
    """Lines with customer and time, and the answer key's pages."""
    stage_world(WorldSettings(dirt_share=0.0, **options), home / "raw", home / "answers")  # type: ignore[arg-type]  # fields by name
    orders = pl.read_parquet(home / "raw" / "orders" / "*.parquet")
    items = pl.read_parquet(home / "raw" / "order_items" / "*.parquet")
    lines = items.join(orders, on="order_id").select(
        "customer_id", "order_id", "order_item_id", "ordered_at", "product_id", "status"
    )
    return lines, {page: read_answer(home / "answers", page) for page in PAGES}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> tuple[pl.DataFrame, dict[str, pl.DataFrame]]:
    return _stage(tmp_path_factory.mktemp("agreement"), customers=4_000)


def _enough(lines: pl.DataFrame) -> pl.DataFrame:
    sold = lines.filter(pl.col("status").is_in(["completed", "shipped", "processing"]))
    return sold.group_by("customer_id").len().filter(pl.col("len") >= 5).sort("customer_id")


def test_the_ceiling_lies_where_a_realistic_shop_puts_it(
    benchmark: ModuleType, shop: tuple[pl.DataFrame, dict[str, pl.DataFrame]]
) -> None:
    lines, pages = shop
    ceiling = benchmark.bayes_ceiling(lines, among=_enough(lines), **pages)
    assert 0.57 < ceiling < 0.70


def test_nothing_agrees_with_tastes_that_are_not_there(benchmark: ModuleType, tmp_path: Path) -> None:
    lines, pages = _stage(tmp_path, customers=400, has_taste=False)
    assert benchmark.bayes_ceiling(lines, among=_enough(lines), **pages) in (0.0, 1.0)
    # One taste for all: a classifier has nothing to say, and says one and the same for everybody.
    tiers = pages["personas"].select("customer_id", "price_tier")
    said = benchmark.bayes_tastes(lines, pages["taste_parameters"], pages["product_parameters"], tiers)
    assert said["taste"].n_unique() == 1


def test_no_simple_rule_beats_the_bayes_classifier(
    benchmark: ModuleType, shop: tuple[pl.DataFrame, dict[str, pl.DataFrame]], tmp_path: Path
) -> None:
    lines, pages = shop
    among = _enough(lines)
    ceiling = benchmark.bayes_ceiling(lines, among=among, **pages)
    category = pages["product_parameters"].select("product_id", "category").unique()
    april = pages["taste_parameters"].filter(pl.col("month") == 4)
    # The rule: the taste in which the categories somebody bought are most probable, repeats and seasons ignored.
    score = (
        lines.join(category, on="product_id")
        .join(april, on="category")
        .group_by("customer_id", "taste")
        .agg((pl.col("category_probability").log()).sum().alias("score"))
        .sort("score", "taste", descending=True)
        .group_by("customer_id", maintain_order=True)
        .first()
    )
    rule = benchmark.agreement(
        score.select("customer_id", "taste"), pages["tastes"].select("customer_id", "taste"), among
    )
    assert 0.4 < rule < ceiling + 0.005


def test_the_classifier_is_what_a_plain_loop_over_lines_gives(
    benchmark: ModuleType, shop: tuple[pl.DataFrame, dict[str, pl.DataFrame]]
) -> None:
    lines, pages = shop
    busy = lines.group_by("customer_id").len().sort("len", "customer_id", descending=True)["customer_id"]
    chosen = [*busy[:3], *busy[600:620], *busy[2_000:2_005]]
    own = lines.filter(pl.col("customer_id").is_in(chosen))
    tiers = pages["personas"].select("customer_id", "price_tier")
    said = dict(benchmark.bayes_tastes(own, pages["taste_parameters"], pages["product_parameters"], tiers).iter_rows())
    tastes = pages["taste_parameters"]
    prior = dict(tastes.select("taste", "taste_share").unique().iter_rows())
    keeps = dict(tastes.select("adherence", "adherence_share").unique().iter_rows())
    chance = {
        row[:4]: row[4]
        for row in tastes.select("taste", "adherence", "month", "category", "category_probability").iter_rows()
    }
    rebuy = dict(tastes.select("category", "rebuy_share").unique().iter_rows())
    repeat = tastes["repeat_share"][0]
    products = pages["product_parameters"]
    shelf = {
        row[:3]: row[3:]
        for row in products.select("period", "price_tier", "product_id", "category", "product_probability").iter_rows()
    }
    starts = products.select("period", "starts_on").unique().sort("period")["starts_on"].to_list()
    tier = dict(tiers.iter_rows())
    for customer in chosen:
        history: list[tuple[str, str, str]] = []  # order, product, category
        score = {(t, a): math.log(prior[t] * keeps[a]) for t in prior for a in keeps}
        for row in (
            own.filter(pl.col("customer_id") == customer).sort("ordered_at", "order_item_id").iter_rows(named=True)
        ):
            day = row["ordered_at"].date()
            period = sum(start <= day for start in starts) - 1
            category, share = shelf[period, tier[customer], row["product_id"]]
            past = [entry for entry in history if entry[0] != row["order_id"]]
            again = fresh = 0.0
            if past:
                same = sum(entry[1] == row["product_id"] for entry in past) / len(past)
                again = repeat * same * rebuy[category]
                fresh = 1 - repeat * sum(rebuy[entry[2]] for entry in past) / len(past)
            else:
                fresh = 1.0
            for taste, adherence in score:
                probability = chance[taste, adherence, day.month, category] * share
                score[taste, adherence] += math.log(again + fresh * probability)
            history.append((row["order_id"], row["product_id"], category))
        summed = {t: float(np.logaddexp.reduce([score[t, a] for a in keeps])) for t in prior}
        assert said[customer] == max(summed, key=summed.__getitem__)


def _records(*rows: tuple[str, ...], columns: str) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=dict.fromkeys(columns.split(), pl.String), orient="row")


def test_found_missed_and_wrong_are_counted_apart(benchmark: ModuleType) -> None:
    columns = "table_name row_key column_name fault evidence expected_outcome expected_rule"
    faults = _records(
        ("orders", "O1", "status", "unknown_label", "", "reject", "unknown_value"),
        ("orders", "O2", "status", "unknown_label", "", "reject", "unknown_value"),
        ("orders", "O3", "order_id", "duplicate_key", "", "reject", "duplicate_key"),
        ("orders", "O3", "order_id", "duplicate_key", "", "reject", "duplicate_key"),
        ("orders", "", "order_id", "null_key", "", "reject", "missing_key"),
        ("orders", "O4", "status", "synonym", "", "repair", "synonym"),
        ("contacts", "C1", "email", "malformed_email", "", "repair", "malformed_email"),
        ("contacts", "C2", "email", "duplicate_email", "", "flag", "shared_email"),
        ("contacts", "C3", "email", "missing_email", "", "flag", "missing_email"),
        columns=columns,
    )
    rejected = _records(
        ("orders", "O1", "unknown_value"),
        ("orders", "O2", "orphan"),  # the right row for the wrong reason: missed, and wrong
        ("orders", "O3", "duplicate_key"),  # one of two
        ("orders", "", "missing_key"),
        ("orders", "O9", "parent_rejected"),
        columns="table_name row_key rule",
    )
    repairs = _records(("orders", "O4", "status", "synonym"), columns="table_name row_key column_name rule")
    contact_repairs = _records(("C1", "email", "malformed_email"), columns="row_key column_name rule")
    flags = pl.DataFrame({"customer_id": ["C2", "C3"], "has_email": [True, True], "is_email_shared": [True, False]})
    seen = benchmark.fault_agreement(faults, rejected, repairs, contact_repairs, flags)
    found = {row[:2]: row[3:] for row in seen.by_fault.iter_rows()}
    assert found["orders", "unknown_label"] == (2, 1)
    assert found["orders", "duplicate_key"] == (2, 1)
    assert found["orders", "null_key"] == (1, 1)
    assert found["orders", "synonym"] == (1, 1)
    assert found["contacts", "malformed_email"] == (1, 1)
    assert found["contacts", "duplicate_email"] == (1, 1)
    assert found["contacts", "missing_email"] == (1, 0)
    assert seen.missed == 3
    assert seen.wrongly_rejected.rows() == [("orders", "O2", "orphan")]


def test_rows_without_a_key_that_nobody_planted_are_wrong(benchmark: ModuleType) -> None:
    columns = "table_name row_key column_name fault evidence expected_outcome expected_rule"
    nothing = _records(columns=columns)
    rejected = _records(("orders", "", "missing_key"), columns="table_name row_key rule")
    seen = benchmark.fault_agreement(
        nothing,
        rejected,
        _records(columns="table_name row_key column_name rule"),
        _records(columns="row_key column_name rule"),
        pl.DataFrame(schema={"customer_id": pl.String, "has_email": pl.Boolean, "is_email_shared": pl.Boolean}),
    )
    assert seen.wrongly_rejected.height == 1


def test_rule_groups_put_every_buyer_in_one_of_eleven(benchmark: ModuleType) -> None:
    rng = np.random.default_rng(3)
    orders = rng.geometric(0.3, 2_000)
    buyers = pl.DataFrame(
        {
            "customer_id": [f"C{n}" for n in range(2_000)],
            "recency_days": rng.exponential(200, 2_000),
            "order_count": orders,
            "monetary_amount": orders * rng.gamma(3, 20, 2_000),
        }
    )
    groups = benchmark.rfm_groups(buyers)
    assert groups["customer_id"].n_unique() == groups.height == 2_000
    assert groups["rfm_group"].n_unique() == 11
    both = groups.join(buyers, on="customer_id")
    middle = dict(both.group_by("rfm_group").agg(pl.col("recency_days").median()).iter_rows())
    assert middle["champions"] < middle["at risk"] < middle["lost"]
    assert adjusted_rand_score(both["rfm_group"].to_numpy(), both["order_count"].to_numpy()) < 0.9
