"""Every planted fault can be known from the data and the contract alone, and nothing else breaks a rule.

The reader below is written from the contract, apart from the cleaning rules, so it can disagree with either side.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path

import polars as pl
import pytest

from segmentation_assets.sources.contract import CONTRACT, Column, Kind
from segmentation_assets.sources.synthetic import WorldSettings, stage_world
from segmentation_assets.sources.synthetic.answer_key import read_answer
from segmentation_assets.sources.synthetic.dirt import PLANS

AS_OF = date(2026, 6, 30)
END = datetime(2026, 7, 1)
EMAIL = r"^[^@\s]+@[^@\s]+\.[a-z]+$"
Found = Counter[tuple[str, ...]]


@dataclass
class Reading:
    """What a reader of the contract sees in all tables."""

    rejects: Found = field(default_factory=Counter)
    repairs: Found = field(default_factory=Counter)
    inherited: set[tuple[str, str]] = field(default_factory=set)
    rows_with_two_faults: int = 0
    raw_keys: dict[str, pl.Series] = field(default_factory=dict)
    clean_keys: dict[str, pl.Series] = field(default_factory=dict)
    clean_contacts: pl.DataFrame = field(default_factory=pl.DataFrame)


def _normal(column: Column) -> pl.Expr:
    """A category as the contract compares it: trimmed, lower case, synonyms mapped."""
    return pl.col(column.name).str.strip_chars().str.to_lowercase().replace(column.synonyms)


def _rules_of(column: Column, dtype: pl.DataType, reading: Reading) -> dict[str, pl.Expr]:
    """For each rule a column can break: when a row breaks it."""
    value = pl.col(column.name)
    rules: dict[str, pl.Expr] = {}
    if column.is_key:
        rules["missing_key"] = value.is_null()
    elif column.is_required:
        rules["missing_required"] = value.is_null()
    if column.kind in (Kind.DATE, Kind.TIMESTAMP):
        if dtype == pl.String:
            day = value.str.to_date("%Y-%m-%d", strict=False).cast(pl.Datetime("us"))
            rules["not_a_date"] = value.is_not_null() & day.is_null()
        else:
            day = value
        rules["before_1900"] = day < datetime(1900, 1, 1)
        if column.not_after_as_of:
            rules["after_as_of"] = day >= END
    elif column.kind is Kind.YEAR:
        rules["after_as_of"] = value > AS_OF.year
    if column.minimum is not None:
        rules["out_of_range"] = (value < column.minimum) | (value > (column.maximum or float("inf")))
    if column.one_of:
        rules["unknown_value"] = value.is_not_null() & ~_normal(column).is_in(column.one_of)
    if column.references:
        known = reading.raw_keys[column.references].implode()
        rules["orphan"] = value.is_not_null() & ~value.is_in(known)
    if column.name == "currency":
        rules["wrong_currency"] = value.is_not_null() & (value != "EUR")
    return rules


def _repairs_of(column: Column) -> dict[str, pl.Expr]:
    value = pl.col(column.name)
    text = column.kind in (Kind.TEXT, Kind.CATEGORY) and not column.is_free_text
    rules = {"trimmed": value != value.str.strip_chars()} if text else {}
    trimmed = value.str.strip_chars()
    if column.one_of:
        lower = trimmed.str.to_lowercase()
        rules["case"] = ~value.is_in(column.one_of) & lower.is_in(column.one_of) & (value == trimmed)
        rules["synonym"] = ~lower.is_in(column.one_of) & lower.is_in(list(column.synonyms))
    if column.name == "email":
        rules["malformed_email"] = ~value.str.strip_chars().str.contains(EMAIL)
    return rules


def _read_table(name: str, raw: pl.DataFrame, reading: Reading) -> None:
    table = CONTRACT[name]
    key = pl.concat_str([pl.col(k).fill_null("") for k in table.key], separator="|").alias("_key")
    frame = raw.with_columns(key)
    reading.raw_keys[name] = frame["_key"].unique()
    broken: list[tuple[str, pl.Expr]] = []
    gone = pl.lit(False)
    for column in table.columns:
        if column.name not in raw.columns:
            continue
        for rule, expression in _rules_of(column, raw.schema[column.name], reading).items():
            broken.append((rule, expression.fill_null(False)))
        if column.references:
            value = pl.col(column.name)
            in_raw = value.is_in(reading.raw_keys[column.references].implode())
            in_clean = value.is_in(reading.clean_keys[column.references].implode())
            gone = gone | (in_raw & ~in_clean).fill_null(False)
    checked = frame.with_columns(
        *(expression.alias(f"_{n}") for n, (_, expression) in enumerate(broken)), _gone=gone
    ).with_columns(_broken=pl.sum_horizontal([f"_{n}" for n in range(len(broken))]))
    sound = (pl.col("_broken") == 0) & ~pl.col("_gone")
    checked = checked.with_columns(
        _copy=sound & (pl.int_range(pl.len()).over("_key", sound) > 0),
    )
    # A row that breaks a rule of its own must not hang on a rejected parent as well, or the record is ambiguous.
    reading.rows_with_two_faults += checked.filter(pl.col("_broken") + pl.col("_gone").cast(pl.UInt32) > 1).height
    for n, (rule, _) in enumerate(broken):
        reading.rejects.update((name, k, rule) for k in checked.filter(pl.col(f"_{n}"))["_key"])
    reading.rejects.update((name, k, "duplicate_key") for k in checked.filter(pl.col("_copy"))["_key"])
    reading.inherited.update((name, k) for k in checked.filter(pl.col("_gone"))["_key"])
    clean = checked.filter(sound & ~pl.col("_copy"))
    reading.clean_keys[name] = clean["_key"]
    for column in table.columns:
        if column.name in raw.columns and raw.schema[column.name] == pl.String:
            for rule, expression in _repairs_of(column).items():
                hit = clean.filter(expression.fill_null(False))
                reading.repairs.update((name, k, column.name, rule) for k in hit["_key"])
    if name == "contacts":
        reading.clean_contacts = clean


@pytest.fixture(scope="module", params=[(42, 0.04), (5, 0.2)])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Reading, pl.DataFrame]:
    seed, dirt = request.param
    home: Path = tmp_path_factory.mktemp("faults")
    stage_world(WorldSettings(customers=2_600, seed=seed, dirt_share=dirt), home / "raw", home / "answer_key")
    reading = Reading()
    for name in CONTRACT:
        _read_table(name, pl.read_parquet(sorted((home / "raw" / name).glob("*.parquet"))), reading)
    return reading, read_answer(home / "answer_key", "faults")


def test_rejects_found_by_a_reader_of_the_contract_are_exactly_the_planted_ones(
    world: tuple[Reading, pl.DataFrame],
) -> None:
    reading, faults = world
    planted = faults.filter(pl.col("expected_outcome") == "reject")
    expected: Found = Counter(planted.select("table_name", "row_key", "expected_rule").rows())
    assert reading.rejects - expected == Counter()
    assert expected - reading.rejects == Counter()


def test_no_row_has_two_faults_or_a_fault_and_a_rejected_parent(world: tuple[Reading, pl.DataFrame]) -> None:
    reading, _ = world
    assert reading.rows_with_two_faults == 0
    assert reading.inherited, "rejected parents must have children, or nothing tests their rejection"


def test_repairs_found_by_a_reader_of_the_contract_are_exactly_the_planted_ones(
    world: tuple[Reading, pl.DataFrame],
) -> None:
    reading, faults = world
    planted = faults.filter(pl.col("expected_outcome") == "repair")
    expected: Found = Counter(planted.select("table_name", "row_key", "column_name", "expected_rule").rows())
    assert reading.repairs - expected == Counter()
    assert expected - reading.repairs == Counter()


def test_shared_addresses_are_exactly_the_planted_ones_and_missing_ones_are_missing(
    world: tuple[Reading, pl.DataFrame],
) -> None:
    reading, faults = world
    emails = reading.clean_contacts.with_columns(pl.col("email").str.strip_chars())
    valid = emails.filter(pl.col("email").str.contains(EMAIL))
    later = valid.filter(pl.int_range(pl.len()).over("email") > 0)["_key"]
    planted = faults.filter(pl.col("expected_rule") == "shared_email")["row_key"]
    assert sorted(later) == sorted(planted)
    missing = faults.filter(pl.col("expected_rule") == "missing_email")["row_key"]
    assert set(missing) <= set(emails.filter(pl.col("email").is_null())["_key"])


def test_dirt_is_in_every_table_at_about_the_chosen_rate(world: tuple[Reading, pl.DataFrame]) -> None:
    reading, faults = world
    assert set(faults["table_name"]) == set(CONTRACT) - {"customer_attributes"}
    lines = faults.filter(pl.col("table_name") == "order_items").height
    share = lines / len(reading.raw_keys["order_items"])
    wanted = 0.04 if share < 0.1 else 0.2
    assert 0.7 * wanted < share < 1.1 * wanted


def test_every_kind_of_fault_is_planted_somewhere(world: tuple[Reading, pl.DataFrame]) -> None:
    _, faults = world
    assert set(faults["fault"]) == {fault.fault for plan in PLANS.values() for fault in plan}


def test_the_record_says_how_a_fault_can_be_known_and_names_no_person(world: tuple[Reading, pl.DataFrame]) -> None:
    _, faults = world
    assert faults["evidence"].str.ends_with(".").all()
    assert not faults.select(pl.concat_str(pl.all(), separator=" ").str.contains("@").any()).item()
