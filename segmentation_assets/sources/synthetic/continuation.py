"""The world after its first today: what HOME/simulated holds, and how it becomes part of the world.

What belongs here: the record of the days that were lived, their files, and staging them after the world's own. What
does not: drawing (`audience`, `later_days`), and playing the audience before a real service (`delivery.simulation`).

HOME/simulated holds `world.json` (which world goes on, up to which day, and each stretch of days with its seed) and,
for each stretch, `orders-0001.parquet`, `order_items-0001.parquet`, `payments-0001.parquet` and `played-0001.parquet`
(the ids of the messages that were answered). A stretch counts when it is in `world.json`, which is written last. The
world's own rows stay as they are; customers who are added later get the ordinary life of these days as well.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from segmentation_assets.sources.synthetic.answer_key import write_answer
from segmentation_assets.sources.synthetic.audience import REACTIONS, draw_reactions
from segmentation_assets.sources.synthetic.campaigns import draw_reach, make_campaigns
from segmentation_assets.sources.synthetic.catalogue import make_catalogue
from segmentation_assets.sources.synthetic.customers import draw_block
from segmentation_assets.sources.synthetic.later_days import TABLES, LaterDays, Moved, Span, draw_later_days
from segmentation_assets.sources.synthetic.orders import Market, lengthened, make_market, make_orders
from segmentation_assets.sources.synthetic.settings import BLOCK, HISTORY_DAYS, Ints, WorldSettings

RECORD = "world.json"
#: The page of the answer key on what was simulated: one row per campaign and customer of it.
EFFECTS = "simulated_effects"
#: Days that can be lived after the world's first today: then it should be begun anew.
MOST_DAYS = 730
#: Parts of the world's own come first.
_FIRST_PART = 90_000

#: What `SimulatedWorld.live` is told of: everybody in the campaigns that were played.
SENDS: dict[str, pl.DataType] = {
    "send_id": pl.String(),
    "campaign_id": pl.String(),
    "customer_id": pl.String(),
    "arm": pl.String(),
    "is_caught": pl.Boolean(),
    "reached_at": pl.Datetime("us"),
}


class ContinuationError(ValueError):
    """HOME/simulated does not go on from this world; the message says what to do."""


@dataclass(frozen=True)
class Stretch:
    """Days that were lived together; both inclusive. `customers` had their days drawn into its files."""

    number: int
    first_on: date
    last_on: date
    seed: int
    customers: int

    def span(self, settings: WorldSettings) -> Span:
        """The days counted from the world's first."""
        return Span((self.first_on - settings.first_day).days, (self.last_on - settings.first_day).days, self.seed)


@dataclass(frozen=True)
class Lived:
    """What came of a stretch: the new today, and the orders of those in the world, how many a message caused."""

    as_of: date
    orders: int
    caused_orders: int


def later_as_of(settings: WorldSettings, simulated: Path) -> date:
    """Today in the world: its first, or the last day that was lived. ContinuationError for another world's days."""
    stretches = _read(settings, simulated)
    return stretches[-1].last_on if stretches else settings.as_of


def stage_later_days(settings: WorldSettings, simulated: Path, folder: Path) -> date:
    """Add the days that were lived to a staged world, as further parts of its tables. Returns the world's today.

    ContinuationError where they are another world's.
    """
    stretches = _read(settings, simulated)
    has_newcomers = any(stretch.customers < settings.customers for stretch in stretches)
    maker = _Maker(settings, (stretches[-1].last_on - settings.first_day).days) if has_newcomers else None
    for stretch in stretches:
        for table in TABLES:
            frame = pl.read_parquet(_file(simulated, table, stretch.number))
            _stage(folder, table, 2 * stretch.number, frame.filter(pl.col("_customer") < settings.customers))
        blocks = range(stretch.customers // BLOCK, settings.blocks)
        if maker is None or not blocks:
            continue
        drawn = [_everywhere(number, maker.draw(number, stretch.span(settings))) for number in blocks]
        for table in TABLES:
            whole = pl.concat([tables[table] for tables in drawn])
            _stage(folder, table, 2 * stretch.number + 1, whole.filter(pl.col("_customer") < settings.customers))
    return stretches[-1].last_on if stretches else settings.as_of


class SimulatedWorld:
    """The world as the simulated audience knows it: how people react, and what the next days bring."""

    def __init__(self, settings: WorldSettings, simulated: Path, answer_key: Path) -> None:
        """ContinuationError where `simulated` holds the days of another world."""
        self._settings = settings
        self._simulated = simulated
        self._answer_key = answer_key
        self._stretches = _read(settings, simulated)

    @property
    def as_of(self) -> date:
        """The last day that has been lived."""
        return self._stretches[-1].last_on if self._stretches else self._settings.as_of

    @property
    def last_day(self) -> date:
        """The last day that can be."""
        return self._settings.as_of + timedelta(days=MOST_DAYS)

    def played(self) -> frozenset[str]:
        """Ids of the messages that were answered in earlier stretches."""
        files = [_file(self._simulated, "played", stretch.number) for stretch in self._stretches]
        return frozenset(send for file in files for send in pl.read_parquet(file)["send_id"])

    def react(self, campaign_id: str, customer_ids: Iterable[str], seed: int) -> pl.DataFrame:
        """What these customers do with the campaign's message (`audience.REACTIONS`), in order of their ids.

        Customers whom the world does not know are left out.
        """
        numbers = _numbers(customer_ids, self._settings.customers)
        frames = [
            draw_reactions(draw_block(self._settings, block), campaign_id, seed)[
                numbers[numbers // BLOCK == block] % BLOCK
            ]
            for block in _blocks(numbers)
        ]
        return pl.concat(frames) if frames else pl.DataFrame(schema=REACTIONS)

    def live(self, until: date, sends: pl.DataFrame, seed: int) -> Lived:
        """Live the days up to and including `until`, and keep them.

        `sends` (SENDS) are everybody in the campaigns that were played, left out ones included; `is_caught` says that
        the message came now, at `reached_at`. The record is written last: before it, nothing has happened. ValueError
        for days that are over or too far ahead.
        """
        if not self.as_of < until <= self.last_day:
            raise ValueError(f"The world stands at {self.as_of} and can go on until {self.last_day}, not to {until}.")
        number = len(self._stretches) + 1
        first_on = self.as_of + timedelta(days=1)
        stretch = Stretch(number, first_on, until, seed, self._settings.blocks * BLOCK)
        span = stretch.span(self._settings)
        answers = self._answers(sends, seed)
        moved = (
            answers.filter("is_moved")
            .sort("customer_id", "campaign_id")
            .unique("customer_id", keep="first", maintain_order=True)
        )
        maker = _Maker(self._settings, span.last)
        drawn: list[dict[str, pl.DataFrame]] = []
        chances: list[pl.DataFrame] = []
        at = _numbers(moved["customer_id"], self._settings.customers)
        reached = moved["reached_at"].dt.epoch("s").to_numpy()
        for block in range(self._settings.blocks):
            mine = at // BLOCK == block
            later = maker.draw(block, span, Moved(at[mine] % BLOCK, reached[mine]))
            drawn.append(_everywhere(block, later))
            chances.append(
                pl.DataFrame(
                    {
                        "customer_id": draw_block(self._settings, block).ids,
                        "ordinary_chance": later.sale_chance,
                        "has_bought_anyway": later.has_sale,
                    }
                )
            )
        self._simulated.mkdir(parents=True, exist_ok=True)
        for table in TABLES:
            whole = pl.concat([tables[table] for tables in drawn])
            whole.write_parquet(_file(self._simulated, table, number), compression="lz4")
        played = sends.filter("is_caught").select("send_id").sort("send_id")
        played.write_parquet(_file(self._simulated, "played", number), compression="lz4")
        self._write_answers(answers.join(pl.concat(chances), on="customer_id", how="left"))
        self._stretches.append(stretch)
        _write(self._settings, self._simulated, self._stretches)
        orders = pl.concat([tables["orders"] for tables in drawn]).filter(
            pl.col("_customer") < self._settings.customers
        )
        return Lived(until, orders.height, moved.height)

    def _answers(self, sends: pl.DataFrame, seed: int) -> pl.DataFrame:
        """The sends with what is planted in each: who bounces, reads, clicks, and is moved."""
        parts = []
        for (campaign_id,), mine in sends.group_by("campaign_id", maintain_order=True):
            reactions = self.react(str(campaign_id), mine["customer_id"], seed)
            parts.append(mine.join(reactions, on="customer_id", how="inner"))
        if not parts:
            return sends.join(pl.DataFrame(schema=REACTIONS), on="customer_id", how="inner")
        both = pl.concat(parts)
        # Whoever got no message does nothing with it.
        does = [name for name, kind in REACTIONS.items() if kind == pl.Boolean()]
        return both.with_columns(pl.col(name) & pl.col("is_caught") for name in does).with_columns(
            pl.when("is_caught").then(name).otherwise(pl.lit("")).alias(name) for name in ("bounce", "leaves_by")
        )

    def _write_answers(self, answers: pl.DataFrame) -> None:
        page = answers.select(
            "campaign_id",
            "customer_id",
            "arm",
            "persona",
            "planted_effect",
            "ordinary_chance",
            "is_caught",
            "bounce",
            "is_reading",
            "is_clicking",
            "leaves_by",
            "is_complaining",
            "machine",
            "is_moved",
            "has_bought_anyway",
        )
        path = self._answer_key / f"{EFFECTS}.parquet"
        self._answer_key.mkdir(parents=True, exist_ok=True)
        if path.exists():
            # A campaign that is played in two goes: who was reached in the first was reached.
            before = pl.read_parquet(path)
            page = (
                pl.concat([before, page])
                .sort("is_caught", descending=True, maintain_order=True)
                .unique(["campaign_id", "customer_id"], keep="first", maintain_order=True)
            )
        write_answer(self._answer_key, EFFECTS, page.sort("campaign_id", "customer_id"))


class _Maker:
    """Draws later days of blocks; the shop they share is made once."""

    def __init__(self, settings: WorldSettings, last: int) -> None:
        self._settings = settings
        campaigns = make_campaigns(settings)
        market = make_market(settings, make_catalogue(settings), campaigns)
        self._past: Market = market
        self._later = lengthened(market, settings, max(last + 1, HISTORY_DAYS))

    def draw(self, number: int, span: Span, moved: Moved | None = None) -> LaterDays:
        """The days of `span` in a block."""
        block = draw_block(self._settings, number)
        past = make_orders(block, self._past, draw_reach(block, self._past.campaigns))
        return draw_later_days(block, self._later, past, span, moved)


def _file(simulated: Path, what: str, number: int) -> Path:
    return simulated / f"{what}-{number:04d}.parquet"


def _everywhere(block: int, later: LaterDays) -> dict[str, pl.DataFrame]:
    """A block's tables with `_customer` counted through the world."""
    return {name: frame.with_columns(pl.col("_customer") + block * BLOCK) for name, frame in later.tables.items()}


def _stage(folder: Path, table: str, part: int, frame: pl.DataFrame) -> None:
    path = folder / table / f"part-{_FIRST_PART + part:05d}.parquet"
    frame.drop("_customer").write_parquet(path, compression="lz4", statistics=False)


def _numbers(customer_ids: Iterable[str], customers: int) -> Ints:
    """The numbers, from 0, of those of the ids that are customers of the world; sorted."""
    numbers = sorted(
        int(name[1:]) - 1
        for name in customer_ids
        if name[:1] == "C" and name[1:].isascii() and name[1:].isdigit() and 1 <= int(name[1:]) <= customers
    )
    return np.array(numbers, dtype=np.int64)


def _blocks(numbers: Ints) -> Iterator[int]:
    yield from np.unique(numbers // BLOCK).tolist()


def _identity(settings: WorldSettings) -> dict[str, Any]:
    """What makes the world this one; how many customers it has may change."""
    told = asdict(settings) | {"as_of": settings.as_of.isoformat()}
    del told["customers"]
    return told


def _read(settings: WorldSettings, simulated: Path) -> list[Stretch]:
    path = simulated / RECORD
    if not path.exists():
        return []
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        stretches = [
            Stretch(
                int(row["number"]),
                date.fromisoformat(row["first_on"]),
                date.fromisoformat(row["last_on"]),
                int(row["seed"]),
                int(row["customers"]),
            )
            for row in told["stretches"]
        ]
        world = dict(told["world"])
    except (ValueError, KeyError, TypeError):
        raise ContinuationError(
            f"{path} cannot be read. Bring it back from a backup, or delete {simulated} to go back to the world's "
            "first today."
        ) from None
    here = _identity(settings)
    if others := sorted(name for name in here if world.get(name) != here[name]):
        differences = ", ".join(f"{name} {world.get(name)} there and {here[name]} here" for name in others)
        raise ContinuationError(
            f"{simulated} goes on from another world ({differences}). Ask for that world again, or delete the folder "
            "to begin anew."
        )
    files = [_file(simulated, what, stretch.number) for stretch in stretches for what in (*TABLES, "played")]
    if lost := [file.name for file in files if not file.exists()]:
        raise ContinuationError(
            f"{simulated} lacks {', '.join(lost)}. Bring them back from a backup, or delete the folder to go "
            "back to the world's first today."
        )
    return stretches


def _write(settings: WorldSettings, simulated: Path, stretches: list[Stretch]) -> None:
    rows = [
        asdict(one) | {"first_on": one.first_on.isoformat(), "last_on": one.last_on.isoformat()} for one in stretches
    ]
    draft = simulated / f"{RECORD}.tmp"
    with draft.open("w", encoding="utf-8") as file:
        json.dump({"world": _identity(settings), "stretches": rows}, file, indent=1)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    draft.replace(simulated / RECORD)
