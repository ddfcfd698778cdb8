"""What campaigns did, in words: with intervals, totals only of experiments, and nothing where nothing was read."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
from typer.testing import CliRunner

from segmentation_assets.cli import app
from segmentation_assets.measurement.lift import TOO_FEW_BUYERS
from segmentation_assets.measurement.tables import TABLE_TYPES
from segmentation_assets.studio.results_told import brought, effects_section, pooled_words, rates_words

_NAMES = {"BIGINT": pl.Int64(), "DOUBLE": pl.Float64(), "VARCHAR": pl.String(), "BOOLEAN": pl.Boolean(),
          "TIMESTAMP": pl.Datetime()}  # fmt: skip
_MEASURED = {"arm": "treated", "is_experiment": True, "is_aa": False, "is_primary": False, "note": ""}
_COMPARED = {**_MEASURED, "treated_customers": 1000, "control_customers": 200, "method": "Newcombe"}
_POOLED = {"metric": "buyers", "method": "random", "campaigns": 4, "control_value": 0.05, "effect": 0.03,
           "low": 0.01, "high": 0.05, "control_customers": 900}  # fmt: skip


def _frame(table: str, *rows: dict[str, Any]) -> pl.DataFrame:
    schema = {name: _NAMES[kind] for name, kind in TABLE_TYPES[f"results/{table}"].items()}
    return pl.DataFrame([{name: row.get(name) for name in schema} for row in rows], schema=schema)


def _verdict(campaign_id: str, day: int, **changes: Any) -> dict[str, Any]:
    return {
        "campaign_id": campaign_id, "name": f"Sale {campaign_id}", "origin": "sent", "arm": "treated",
        "metric": "buyers", "decision": "repeat", "sentence": "It worked.", "treated_customers": 1000,
        "control_customers": 200, "started_at": dt.datetime(2026, 7, day), **changes,
    }  # fmt: skip


def _buyers(campaign_id: str = "a", **changes: Any) -> dict[str, Any]:
    return {**_COMPARED, "campaign_id": campaign_id, "metric": "buyers", "treated_value": 0.08, "control_value": 0.05,
            "effect": 0.03, "low": -0.004, "high": 0.0501, "is_primary": True, **changes}  # fmt: skip


def _margin(**changes: Any) -> dict[str, Any]:
    return {**_COMPARED, "campaign_id": "a", "metric": "margin", "treated_value": 3.5, "control_value": 3.0,
            "effect": 0.5, "low": -0.1, "high": 1.1, **changes}  # fmt: skip


def test_totals_are_the_effect_times_the_treated_with_the_ends_of_its_interval() -> None:
    rows = _frame("campaign_results", _buyers(), _margin())
    assert brought(rows, "a", "treated", "EUR") == (
        "In all 30 more bought than without it (between 4 fewer and 50 more).",
        "In all €500.00 of margin more than without it (between -€100.00 and €1,100).",
    )


def test_too_few_buyers_make_no_total_of_money() -> None:
    rows = _frame("campaign_results", _margin(effect=None, low=None, high=None, method=TOO_FEW_BUYERS))
    assert brought(rows, "a", "treated", "EUR") == (
        "Margin was €3.50 per customer written to and €3.00 per customer left out; too few bought to say how much of "
        "it the message earned.",
    )


@pytest.mark.parametrize(
    "changes",
    [{"is_experiment": False}, {"is_aa": True}, {"effect": None, "method": "none: sample-ratio mismatch"}],
)
def test_only_an_experiment_that_could_be_read_brought_anything(changes: dict[str, Any]) -> None:
    rows = _frame("campaign_results", _buyers(**changes), _margin(**changes))
    assert brought(rows, "a", "treated", "EUR") == ()


def test_another_campaign_and_another_arm_are_not_mixed_in() -> None:
    rows = _frame("campaign_results", _buyers("b"), _buyers(arm="long"))
    assert brought(rows, "a", "treated", "EUR") == ()


def test_rates_say_that_opens_are_unreliable() -> None:
    rates = ({**_MEASURED, "campaign_id": "a", "metric": name, "treated_value": value} for name, value in
             (("clicks", 0.11), ("delivered", 0.99), ("opens", 0.4), ("bounces", None)))  # fmt: skip
    assert rates_words(_frame("campaign_results", *rates), "a", "treated") == (
        "Of the messages: 99% delivered, 40% opened (unreliable: machines open too), 11% clicked."
    )
    assert rates_words(_frame("campaign_results"), "a", "treated") == ""


def test_campaigns_sent_from_here_are_pooled_as_soon_as_there_are_two() -> None:
    past, one, two = ({**_POOLED, "scope": "all"}, {**_POOLED, "scope": "sent", "campaigns": 1, "low": None},
                      {**_POOLED, "scope": "sent", "campaigns": 2, "low": -0.01})  # fmt: skip
    assert pooled_words(_frame("pooled_results", past, one)) == (
        "4 campaigns of the past and from here: 5% of those left out at random bought, and +3.0 points of those "
        "written to, between +1.0 points and +5.0 points. Messages like these bring buyers who would not have come."
    )
    assert pooled_words(_frame("pooled_results", past, two)).startswith("2 campaigns sent from here: 5% of")
    assert "That may be chance" in pooled_words(_frame("pooled_results", two))
    both = _frame("pooled_results", past, {**past, "scope": "past"})
    assert pooled_words(both).startswith("4 campaigns of the past: 5% of")
    worse = {**past, "low": -0.05, "high": -0.01}
    assert pooled_words(_frame("pooled_results", worse)).endswith("Messages like these keep buyers away.")
    assert pooled_words(_frame("pooled_results", one, {**past, "metric": "orders"})) == ""


def test_the_page_tells_the_newest_three_that_were_sent_from_here() -> None:
    verdicts = _frame(
        "campaign_verdicts", *(_verdict(name, day) for day, name in enumerate("abcd", 1)),
        _verdict("old", 20, origin="past"),
    )  # fmt: skip
    section = effects_section(
        verdicts, _frame("campaign_results", _buyers("d")), _frame("pooled_results", {**_POOLED, "scope": "all"}), "EUR"
    )
    assert [line.statement for line in section.lines] == [
        "Sale d: repeat.", "Sale c: repeat.", "Sale b: repeat.", "All campaigns together.",
    ]  # fmt: skip
    assert section.lines[0].reason == (
        "It worked. In all 30 more bought than without it (between 4 fewer and 50 more)."
    )
    nothing = effects_section(verdicts.clear(), _frame("campaign_results"), _frame("pooled_results"), "EUR")
    assert [line.statement for line in nothing.lines] == ["No campaign was sent from here yet."]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    groups = _frame(
        "segment_results",
        {"campaign_id": "a1", "dimension": "taste", "level": "T1", "level_name": "Coffee", "metric": "buyers",
         "treated_customers": 400, "control_customers": 80, "effect": 0.06, "low": 0.0, "high": 0.1,
         "shrunk_effect": 0.04, "shrunk_low": 0.01, "shrunk_high": 0.07, "p_holm": 0.5},
    )  # fmt: skip
    tables = {
        "campaign_verdicts": _frame("campaign_verdicts", _verdict("a1", 1), _verdict("a2", 2), _verdict("b", 3)),
        "campaign_results": _frame("campaign_results", _buyers("a1"), {**_margin(), "campaign_id": "a1"}),
        "segment_results": groups,
        "pooled_results": _frame("pooled_results", {**_POOLED, "scope": "all"}),
    }
    with duckdb.connect(str(tmp_path / "published.duckdb")) as con:
        con.execute("create schema results; create schema raw; create table raw.source as select 'EUR' as currency")
        for name, frame in tables.items():
            con.register("rows_of_it", frame.to_arrow())
            con.execute(f"create table results.{name} as from rows_of_it")
    monkeypatch.setenv("SEGMENTATION_HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "300")
    return tmp_path


def _told(*words: str) -> str:
    outcome = CliRunner().invoke(app, ["results", *words])
    assert outcome.exit_code == 0, outcome.output
    return outcome.output


@pytest.mark.usefixtures("home")
def test_the_command_lists_all_campaigns_with_their_decision() -> None:
    told = _told()
    assert told.index("Sale b") < told.index("Sale a2") < told.index("Sale a1")
    (row,) = (line for line in told.splitlines() if "Sale a1" in line)
    assert row.strip().endswith("repeat") and "+3.0 points" in row and "-0.4 points to +5.0 points" in row
    assert "Messages like these bring buyers who would not have come." in told


@pytest.mark.usefixtures("home")
def test_the_command_tells_one_campaign_in_full() -> None:
    told = _told("a1")
    assert "It worked.\nIn all 30 more bought than without it (between 4 fewer and 50 more)." in told
    assert "By group: exploratory, drawn toward the campaign's effect, p adjusted for all rows (Holm)." in told
    (coffee,) = (line for line in told.splitlines() if "Coffee" in line)
    assert "+4.0 points" in coffee and "+1.0 points to +7.0 points" in coffee and coffee.strip().endswith("0.50")
    (margin,) = (line for line in told.splitlines() if line.strip().startswith("margin"))
    assert "€3.50" in margin and "+€0.50" in margin and "-€0.10 to +€1.10" in margin


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("a", "'a' is the beginning of 2 campaigns: a1, a2. Give more of it."),
        ("x", "There is no campaign 'x'; there are a1, a2, b."),
    ],
)
def test_a_campaign_has_to_be_named(given: str, sentence: str) -> None:
    outcome = CliRunner().invoke(app, ["results", given])
    assert (outcome.exit_code, outcome.output.strip()) == (2, sentence)


@pytest.mark.usefixtures("home")
def test_the_command_gives_json_too() -> None:
    everything, one = json.loads(_told("--json")), json.loads(_told("a1", "--json"))
    assert sorted(everything) == ["groups", "pooled", "results", "verdicts"]
    assert [row["campaign_id"] for row in one["verdicts"]] == ["a1"] and sorted(one) == [
        "groups",
        "results",
        "verdicts",
    ]


def test_without_a_campaign_the_command_says_what_comes_first(home: Path) -> None:
    with duckdb.connect(str(home / "published.duckdb")) as con:
        con.execute("delete from results.campaign_verdicts")
    assert _told().startswith("No campaign was sent from here, and the source has none.")
