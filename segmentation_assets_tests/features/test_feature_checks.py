"""Every check of a feature table passes on a sound shop and names exactly the rows that break it."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pytest

from segmentation_assets.warehouse.sql_models import SQL_ROOT, SqlModel, load_model

AS_OF = date(2024, 6, 30)
CHECKS = SQL_ROOT / "checks" / "features"

# For each check: what is done to the sound shop, and the keys of the rows it must then name.
BROKEN: dict[str, tuple[str, list[tuple[Any, ...]]]] = {
    "age_rule/one_row": ("update features.age_rule set unknown_age_is_minor = null", [(1, 0)]),
    "order_lines/one_row_per_line": (
        "insert into features.order_lines select * from features.order_lines where order_item_id = 'L3'",
        [("L3",)],
    ),
    "order_lines/amounts_add_up": (
        "update features.order_lines set discount_amount = 1 where order_item_id = 'L2'",
        [("L2",)],
    ),
    "order_lines/parents_exist": (
        "update features.order_lines set customer_id = 'ben' where order_item_id = 'L5'; "
        "update features.order_lines set product_id = 'P9' where order_item_id = 'L7'",
        [("L5",), ("L7",)],
    ),
    "order_lines/only_sales": (
        "update clean.orders set status = 'cancelled' where order_id = 'O5'",
        [("L7",)],
    ),
    "order_lines/nothing_after_as_of": (
        "update features.order_lines set ordered_at = timestamp '2024-07-01' where order_item_id = 'L5'",
        [("L5",)],
    ),
    "order_lines/money_conserved": (
        "update features.order_lines set net_amount = net_amount + 0.0001 where order_item_id = 'L1'; "
        "delete from features.order_lines where order_item_id = 'L7'",
        [("O1",), ("O5",)],
    ),
    "order_lines/returns_within_sale": (
        "update features.order_lines set returned_quantity = 4 where order_item_id = 'L4'",
        [("L4",)],
    ),
    "order_lines/amount_is_known_and_positive": (
        "update features.order_lines set net_amount = -1 where order_item_id = 'L1'; "
        "update features.order_lines set net_amount = null where order_item_id = 'L2'",
        [("L1",), ("L2",)],
    ),
    "customer_shares/shares_sum_to_one": (
        "delete from features.customer_shares where customer_id = 'anna' and value = 'Tea'; "
        "delete from features.customer_shares where customer_id = 'ben' and dimension = 'channel'",
        [("anna", "category"), ("ben", "channel")],
    ),
    "reachability/one_row_per_customer": (
        "insert into features.reachability select * from features.reachability where customer_id = 'eve'; "
        "delete from features.reachability where customer_id = 'fay'",
        [("eve",), ("fay",)],
    ),
    "reachability/nobody_reached_who_must_not_be": (
        "update features.reachability set is_reachable = true",
        [("cara",), ("eve",), ("fay",)],  # a minor, consent after the as-of date, unsubscribed
    ),
    "profiling_opt_outs/one_row_per_customer": (
        "insert into features.profiling_opt_outs values ('ben', now()), ('ben', now()), ('eve', null)",
        [("ben",), ("eve",)],
    ),
    "customer_features/nobody_who_opted_out": (
        "insert into features.profiling_opt_outs values ('ben', now()); "
        "update features.reachability set is_opted_out = true where customer_id = 'ben'",
        [("ben",)],
    ),
    "customer_features/one_row_per_customer": (
        "insert into features.customer_features select * from features.customer_features where customer_id = 'ben'; "
        "delete from features.customer_features where customer_id = 'cara'",
        [("ben",), ("cara",)],
    ),
    "customer_features/buyers_are_customers": (
        "update features.customer_features set customer_id = 'zoe' where customer_id = 'ben'",
        [("ben",), ("zoe",)],
    ),
    "customer_features/money_conserved": (
        "update features.customer_features set monetary_amount = monetary_amount * 2 where customer_id = 'anna'",
        [("anna",)],
    ),
    "customer_features/shares_sum_to_one": (
        "update features.customer_features set winter_share = 0.5 where customer_id = 'anna'; "
        "update features.customer_features set channel_shares = map {'web': 0.7} where customer_id = 'ben'",
        [("anna",), ("ben",)],
    ),
    "customer_features/time_runs_forward": (
        "update features.customer_features set recency_days = -1 where customer_id = 'anna'; "
        "update features.customer_features set tenure_days = -3 where customer_id = 'eve'",
        [("anna",), ("eve",)],
    ),
    "customer_features/buyers_are_marked": (
        "update features.customer_features set never_bought = true where customer_id = 'anna'",
        [("anna",)],
    ),
    "customer_features/no_protected_attributes": (
        "alter table features.customer_features add column birth_year integer",
        [("birth_year",)],
    ),
    "feature_correlations/each_pair_once": (
        "insert into features.feature_correlations values ('kids', 'age_rank', 0.5, 20), ('a', 'b', 1.5, 20)",
        [("a", "b"), ("kids", "age_rank")],
    ),
    "spend_by_value/money_conserved": (
        "update features.spend_by_value set net_amount = net_amount - 1 where value = 'Tea'; "
        "delete from features.spend_by_value where value = 'app'",
        [("category", "Tea"), ("channel", "app")],
    ),
}


def _broken_rows(con: duckdb.DuckDBPyConnection, check: SqlModel) -> list[tuple[object, ...]]:
    return con.execute(check.query, {"as_of": AS_OF} if check.needs_as_of else None).fetchall()


def _check(name: str) -> SqlModel:
    return load_model(CHECKS / f"{name}.sql")


def _name(path: Path) -> str:
    return str(path.relative_to(CHECKS).with_suffix(""))


def test_every_check_of_the_features_is_shown_failing() -> None:
    elsewhere = {"engagement"}  # with the other tables that are made of sends and events
    assert sorted(BROKEN) == sorted(_name(path) for path in CHECKS.rglob("*.sql") if path.parent.name not in elsewhere)


@pytest.mark.parametrize("name", sorted(BROKEN))
def test_check_names_exactly_the_rows_that_break_it(shop: duckdb.DuckDBPyConnection, name: str) -> None:
    check = _check(name)
    assert _broken_rows(shop, check) == []
    damage, keys = BROKEN[name]
    shop.execute(damage)
    assert [row[: len(keys[0])] for row in _broken_rows(shop, check)] == keys


@pytest.mark.parametrize("name", sorted(BROKEN))
def test_check_says_what_it_protects_and_what_to_do(name: str) -> None:
    check = _check(name)
    assert check.facts["group"] in ("contract", "references", "business")
    assert check.facts["severity"] in ("error", "warning")
    assert check.facts["blocking"] == "no" or check.facts["severity"] == "error"
    assert check.facts["remedy"].endswith(".")
    assert check.description.endswith(".")


def test_a_table_has_at_most_three_groups_of_checks() -> None:
    groups: dict[str, set[str]] = {}
    for path in sorted((SQL_ROOT / "checks").rglob("*.sql")):
        groups.setdefault(str(path.parent), set()).add(load_model(path).facts["group"])
    assert all(found <= {"contract", "references", "business"} for found in groups.values()), groups
