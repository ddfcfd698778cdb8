"""What the simulated audience and the days after the first today promise: old rows stay, the effect is there."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from segmentation_assets.settings import Home, Settings
from segmentation_assets.sources.choice import simulated_world, stage_source
from segmentation_assets.sources.description import SourceError
from segmentation_assets.sources.synthetic import WorldSettings, stage_world
from segmentation_assets.sources.synthetic.answer_key import read_answer
from segmentation_assets.sources.synthetic.audience import draw_reactions, planted_effects
from segmentation_assets.sources.synthetic.continuation import (
    EFFECTS,
    SENDS,
    ContinuationError,
    SimulatedWorld,
    later_as_of,
    stage_later_days,
)
from segmentation_assets.sources.synthetic.customers import draw_block
from segmentation_assets.sources.synthetic.later_days import DAYS_TO_BUY, TABLES
from segmentation_assets.sources.synthetic.settings import BLOCK

WORLD = WorldSettings(customers=3_000, seed=5)
SENT_AT = datetime(2026, 7, 1, 9, 30)
UNTIL = WORLD.as_of + timedelta(days=14)
SALES = ["completed", "shipped", "processing"]


def everybody(customers: int, campaign: str = "demo", caught: int = 2) -> pl.DataFrame:
    """Sends to every customer of a world; of three `caught` are caught, the others are control."""
    number = range(1, customers + 1)
    is_caught = [n % 3 < caught for n in number]
    return pl.DataFrame(
        {
            "send_id": [f"{campaign}-{n}" for n in number],
            "campaign_id": campaign,
            "customer_id": [f"C{n:07d}" for n in number],
            "arm": ["treated" if caught_now else "control" for caught_now in is_caught],
            "is_caught": is_caught,
            "reached_at": [SENT_AT if caught_now else None for caught_now in is_caught],
        },
        schema=SENDS,
    )


class Place:
    """A folder with HOME/simulated and an answer key, and the tables that were staged from it."""

    def __init__(self, folder: Path) -> None:
        self.simulated = folder / "simulated"
        self.answers = folder / "answer_key"
        self.staged = folder / "staged"

    def world(self, settings: WorldSettings = WORLD) -> SimulatedWorld:
        return SimulatedWorld(settings, self.simulated, self.answers)

    def stage(self, settings: WorldSettings = WORLD) -> date:
        if not self.staged.exists():
            stage_world(settings, self.staged, None)
        return stage_later_days(settings, self.simulated, self.staged)

    def later(self, table: str) -> pl.DataFrame:
        return pl.read_parquet(sorted((self.staged / table).glob("part-9*.parquet")))

    def before(self, table: str) -> pl.DataFrame:
        return pl.read_parquet(sorted((self.staged / table).glob("part-0*.parquet")))

    def effects(self) -> pl.DataFrame:
        return read_answer(self.answers, EFFECTS)


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Fourteen days after a message to two thirds of everybody. Read it; write to a copy."""
    place = Place(tmp_path_factory.mktemp("lived"))
    place.world().live(UNTIL, everybody(WORLD.customers), seed=1)
    assert place.stage() == UNTIL
    return place


@pytest.fixture
def copied(lived: Place, tmp_path: Path) -> Place:
    shutil.copytree(lived.simulated, tmp_path / "simulated")
    shutil.copytree(lived.answers, tmp_path / "answer_key")
    return Place(tmp_path)


def digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("part-0*.parquet"))
    }


def test_old_rows_stay_exactly_and_new_ids_never_meet_old_ones(lived: Place, tmp_path: Path) -> None:
    stage_world(WORLD, tmp_path / "raw", None)
    assert digests(tmp_path / "raw") == digests(lived.staged)
    for table, key in (("orders", "order_id"), ("order_items", "order_item_id"), ("payments", "payment_id")):
        new, old = lived.later(table)[key], lived.before(table)[key]
        assert new.n_unique() == len(new) > 0, table
        assert not set(new) & set(old), table
        assert lived.later(table).schema == lived.before(table).schema, table


def test_the_new_orders_lie_in_the_days_that_passed_and_hang_together(lived: Place) -> None:
    orders, lines, payments = (lived.later(table) for table in TABLES)
    days = orders["ordered_at"].dt.date()
    assert days.min() == WORLD.as_of + timedelta(days=1)
    assert days.max() == UNTIL
    assert set(orders["customer_id"]) <= {f"C{n:07d}" for n in range(1, WORLD.customers + 1)}
    assert set(lines["order_id"]) == set(orders["order_id"])
    assert set(payments["order_id"]) <= set(orders["order_id"])
    assert (payments["paid_at"].dt.date() <= UNTIL).all()
    amount = lines.group_by("order_id").agg(
        amount=(pl.col("quantity") * pl.col("unit_price") - pl.col("discount_amount")).sum().round(2)
    )
    paid = payments.join(amount, on="order_id", suffix="_of_lines")
    assert (paid["amount"] - paid["amount_of_lines"]).abs().max() < 0.005  # type: ignore[operator]  # of numbers
    assert set(orders["status"]) <= {*SALES, "cancelled"}


def test_ordinary_life_goes_on_at_the_pace_of_the_weeks_before(lived: Place) -> None:
    caused = lived.effects()["is_moved"].sum()
    ordinary = lived.later("orders").height - caused
    begin = datetime.combine(WORLD.as_of - timedelta(days=56), datetime.min.time())
    before = lived.before("orders").filter(pl.col("ordered_at") > begin).height / 4
    assert 0.7 * before < ordinary < 1.2 * before  # summer is a little quieter, and nobody new joins


def test_ordinary_life_is_the_same_whoever_is_written_to(lived: Place, tmp_path: Path) -> None:
    silent = Place(tmp_path)
    silent.world().live(UNTIL, everybody(WORLD.customers, caught=0), seed=1)
    silent.stage()
    for table, key in (("orders", "order_id"), ("order_items", "order_item_id"), ("payments", "payment_id")):
        kept = lived.later(table).join(silent.later(table), on=key, how="semi").sort(key)
        assert kept.equals(silent.later(table).sort(key)), table


def test_each_moved_customer_makes_one_more_sale_soon_after_the_message_and_nobody_else_does(
    lived: Place, tmp_path: Path
) -> None:
    silent = Place(tmp_path)
    silent.world().live(UNTIL, everybody(WORLD.customers, caught=0), seed=1)
    silent.stage()
    more = lived.later("orders").join(silent.later("orders"), on="order_id", how="anti")
    assert sorted(more["customer_id"]) == sorted(lived.effects().filter("is_moved")["customer_id"])
    assert set(more["status"]) <= set(SALES)
    waited = more["ordered_at"] - SENT_AT
    assert waited.min() >= timedelta(minutes=30)  # type: ignore[operator]  # of durations
    assert waited.max() < timedelta(days=DAYS_TO_BUY + 1)  # type: ignore[operator]


def test_the_answer_key_tells_the_planted_effect_of_everybody_in_the_campaign(lived: Place) -> None:
    truth = lived.effects()
    assert truth.height == WORLD.customers
    assert set(truth["arm"]) == {"treated", "control"}
    left_out = truth.filter(pl.col("arm") == "control")
    assert not left_out["is_moved"].any()
    assert not left_out["is_reading"].any()
    arrived = truth.filter(pl.col("is_caught") & (pl.col("bounce") == ""))
    effect = arrived["planted_effect"].to_numpy()
    spread = (effect * (1 - effect)).sum() ** 0.5
    assert abs(arrived["is_moved"].sum() - effect.sum()) < 4 * spread
    chance = truth["ordinary_chance"].to_numpy().sum()
    assert abs(truth["has_bought_anyway"].sum() - chance) < 4 * chance**0.5
    bought = lived.later("orders").filter(pl.col("status").is_in(SALES))["customer_id"]
    assert set(truth.filter(pl.col("has_bought_anyway") | pl.col("is_moved"))["customer_id"]) == set(bought)


def test_the_same_seed_lives_the_same_days_and_another_does_not(lived: Place, tmp_path: Path) -> None:
    same, other = Place(tmp_path / "same"), Place(tmp_path / "other")
    same.world().live(UNTIL, everybody(WORLD.customers), seed=1)
    other.world().live(UNTIL, everybody(WORLD.customers), seed=2)
    for table in (*TABLES, "played"):
        name = f"{table}-0001.parquet"
        first, second, third = (pl.read_parquet(place.simulated / name) for place in (lived, same, other))
        assert first.equals(second), table
        assert table == "played" or not first.equals(third)


def test_a_world_that_grew_afterwards_keeps_its_later_rows_and_the_newcomers_get_theirs(copied: Place) -> None:
    more = replace(WORLD, customers=BLOCK + 1_000)
    copied.stage(more)
    orders = copied.later("orders")
    known = orders.filter(pl.col("customer_id") <= "C0003000")
    fewer = Place(copied.simulated.parent / "fewer")
    fewer.simulated = copied.simulated
    fewer.stage()
    assert known.sort("order_id").equals(fewer.later("orders").sort("order_id"))
    assert orders.filter(pl.col("customer_id") > "C0003000").height > 0
    assert orders.filter(pl.col("customer_id") > f"C{BLOCK:07d}").height > 0
    assert orders["customer_id"].max() <= "C0006000"  # type: ignore[operator]  # of texts


def test_a_second_stretch_begins_where_the_first_ended(copied: Place) -> None:
    world = copied.world()
    assert world.as_of == UNTIL
    later = UNTIL + timedelta(days=7)
    second = everybody(100, "second").with_columns(reached_at=pl.col("reached_at") + pl.duration(days=14))
    world.live(later, second, seed=1)
    assert copied.stage() == later == copied.world().as_of
    assert copied.world().played() == frozenset(
        pl.concat([everybody(WORLD.customers), second]).filter("is_caught")["send_id"]
    )
    orders = copied.later("orders")
    assert orders["order_id"].n_unique() == orders.height
    assert copied.effects()["campaign_id"].unique().sort().to_list() == ["demo", "second"]


def test_days_that_are_over_cannot_be_lived_again(copied: Place) -> None:
    with pytest.raises(
        ValueError, match=r"^The world stands at 2026-07-14 and can go on until 2028-06-29, not to 2026"
    ):
        copied.world().live(UNTIL, everybody(10), seed=1)


def test_days_that_were_not_recorded_are_no_part_of_the_world(copied: Place) -> None:
    (copied.simulated / "world.json").unlink()  # as when it was killed just before
    assert copied.stage() == WORLD.as_of
    assert not list(copied.staged.rglob("part-9*.parquet"))


def test_another_worlds_days_are_refused_with_what_differs(copied: Place) -> None:
    other = replace(WORLD, seed=6)
    with pytest.raises(ContinuationError) as refused:
        later_as_of(other, copied.simulated)
    assert str(refused.value) == (
        f"{copied.simulated} goes on from another world (seed 5 there and 6 here). Ask for that world again, or delete "
        "the folder to begin anew."
    )


@pytest.mark.parametrize("content", ["", "{", '{"stretches": []}', '{"world": {}, "stretches": [{"number": 1}]}'])
def test_a_record_that_cannot_be_read_is_refused_with_what_to_do(copied: Place, content: str) -> None:
    (copied.simulated / "world.json").write_text(content, encoding="utf-8")
    with pytest.raises(ContinuationError, match=r"world\.json cannot be read\. Bring it back from a backup, or delete"):
        copied.world()


def test_days_whose_files_are_lost_are_refused_with_their_names(copied: Place) -> None:
    (copied.simulated / "payments-0001.parquet").unlink()
    with pytest.raises(ContinuationError) as refused:
        copied.stage()
    assert str(refused.value) == (
        f"{copied.simulated} lacks payments-0001.parquet. Bring them back from a backup, or delete the folder to go "
        "back to the world's first today."
    )


def test_the_source_moves_its_today_and_its_settings_stay(tmp_path: Path) -> None:
    home = Home(tmp_path)
    settings = Settings.model_validate({"synthetic": {"customers": 50}})
    assert stage_source(settings, home).as_of == settings.synthetic.as_of
    simulated_world(settings, home).live(UNTIL, everybody(50), seed=1)
    assert stage_source(settings, home).as_of == UNTIL
    assert list((home.staging / "orders").glob("part-9*.parquet"))
    record = json.loads((home.simulated / "world.json").read_text(encoding="utf-8"))
    assert record["world"]["as_of"] == settings.synthetic.as_of.isoformat()
    with pytest.raises(SourceError, match="goes on from another world"):
        stage_source(Settings.model_validate({"seed": 1, "synthetic": {"customers": 50}}), home)


@pytest.fixture(scope="module")
def react(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Sequence[str]], pl.DataFrame]:
    world = SimulatedWorld(WORLD, tmp_path_factory.mktemp("none"), tmp_path_factory.mktemp("key"))
    return lambda customers: world.react("demo", customers, 1)


def test_what_somebody_does_never_depends_on_who_else_was_written_to(
    react: Callable[[Sequence[str]], pl.DataFrame],
) -> None:
    some = [f"C{n:07d}" for n in range(5, 3_000, 7)]
    everyone = react([f"C{n:07d}" for n in range(1, 3_001)])
    assert react(some).equals(everyone.filter(pl.col("customer_id").is_in(some)))


def test_who_is_no_customer_of_the_world_does_nothing(react: Callable[[Sequence[str]], pl.DataFrame]) -> None:
    strangers = ["", "C", "X0000001", "C0003001", "C٣", "f3a9c1", "C0000007"]
    assert react(strangers)["customer_id"].to_list() == ["C0000007"]


@given(campaign=st.text(max_size=20), seed=st.integers(0, 2**32 - 1))
@hypothesis_settings(max_examples=15, deadline=None)
def test_reactions_follow_the_planted_rates(campaign: str, seed: int) -> None:
    told = draw_reactions(draw_block(WORLD, 0), campaign, seed)
    assert told.height == BLOCK
    assert told.filter(pl.col("is_moved") & ~pl.col("is_clicking")).is_empty()
    assert told.filter(pl.col("is_clicking") & ~pl.col("is_reading")).is_empty()
    bounced = told.filter(pl.col("bounce") != "")
    assert not any(bounced[name].any() for name in ("is_reading", "is_prefetched", "is_complaining"))
    assert set(bounced["machine"]) | set(bounced["leaves_by"]) <= {""}
    effect = told["planted_effect"].to_numpy()
    spread = (effect * (1 - effect)).sum() ** 0.5
    assert abs(told["is_moved"].sum() - effect.sum() * (1 - 0.012)) < 5 * spread
    assert set(effect) <= set(planted_effects(campaign, seed))
    assert told.filter(pl.col("persona") == "window_shoppers")["planted_effect"].sum() == 0
