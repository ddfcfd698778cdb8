"""Making a world: block after block, table after table, into parquet files.

Memory is bounded by a block per core and the answer key. Which rows a customer gets never depends on how many customers
follow; the last block is made whole and then cut.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from segmentation_assets.sources.contract import CONTRACT
from segmentation_assets.sources.synthetic import aftermath, customers
from segmentation_assets.sources.synthetic.answer_key import product_parameters, taste_parameters, write_answer
from segmentation_assets.sources.synthetic.campaigns import contacts_made_frame, draw_reach, make_campaigns
from segmentation_assets.sources.synthetic.catalogue import make_catalogue
from segmentation_assets.sources.synthetic.dirt import FAULT_SCHEMA, Planted, plant
from segmentation_assets.sources.synthetic.orders import Market, make_market, make_orders
from segmentation_assets.sources.synthetic.settings import BLOCK, Mask, Topic, WorldSettings
from segmentation_assets.sources.synthetic.vocabulary import People, make_people

#: Tables that do not depend on customers.
SHOP_TABLES = ("retailers", "stores", "products", "campaigns", "inventory")
_FEWEST_FAULTS = 2


@dataclass
class _Answers:
    """Pages of the answer key as blocks bring them."""

    pages: dict[str, list[pl.DataFrame]] = field(default_factory=lambda: {"personas": [], "tastes": [], "faults": []})

    def add(self, page: str, frame: pl.DataFrame) -> None:
        self.pages[page].append(frame)


def stage_world(
    settings: WorldSettings,
    folder: Path,
    answer_key: Path | None,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write the world as `folder/TABLE/part-00000.parquet ...`, and what was planted to `answer_key/*.parquet`.

    Parts are in source order. Parts of an earlier world in `folder` are removed. `progress` is called after each
    block with the customers made so far and in all. Contact details are in `folder/contacts` only.
    """
    for table in CONTRACT:
        (folder / table).mkdir(parents=True, exist_ok=True)
        for part in (folder / table).glob("part-*.parquet"):
            part.unlink()
    answers = _Answers()
    market, shop = _make_shop(settings)
    for table, planted in shop.items():
        _write_part(folder, table, 0, planted.frame.drop("_customer"))
        answers.add("faults", planted.faults)
    _write_part(folder, "customer_attributes", 0, pl.DataFrame(schema={"customer_id": pl.String}))
    people = make_people(settings)
    made = 0

    def make(number: int) -> tuple[int, list[tuple[str, pl.DataFrame]]]:
        return _stage_block(settings, market, people, number, folder)

    # Blocks know nothing of each other, so they are made on all cores; their answers are taken in order.
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for wanted, pages in pool.map(make, range(settings.blocks)):
            for page, frame in pages:
                answers.add(page, frame)
            made += wanted
            if progress is not None:
                progress(made, settings.customers)
    if answer_key is not None:
        _write_answers(settings, answer_key, answers, market)


def _stage_block(
    settings: WorldSettings, market: Market, people: People, number: int, folder: Path
) -> tuple[int, list[tuple[str, pl.DataFrame]]]:
    """Write the parts of one block; returns its customers and its rows of the answer key, page by page."""
    wanted = min(settings.customers - number * BLOCK, BLOCK)
    block = customers.draw_block(settings, number)
    pages = []
    for table, planted in _block_tables(block, market, people):
        _write_part(folder, table, number, _cut(planted.frame, wanted))
        pages.append(("faults", planted.faults.filter(pl.col("_customer") < wanted)))
    pages.append(("personas", customers.personas_frame(block).head(wanted)))
    pages.append(("tastes", customers.tastes_frame(block).head(wanted)))
    return wanted, pages


def _make_shop(settings: WorldSettings) -> tuple[Market, dict[str, Planted]]:
    """The market all blocks share and the raw tables that do not depend on customers."""
    catalogue = make_catalogue(settings)
    campaigns = make_campaigns(settings)
    rng = settings.stream(Topic.DIRT)
    tables = catalogue.tables | {"campaigns": campaigns.frame}
    shop = {
        table: plant(
            settings,
            table,
            # The place within the table stands in for the customer: a copy comes right after its original.
            tables[table].with_columns(_customer=pl.Series(np.arange(tables[table].height))),
            rng=rng,
            minimum=_FEWEST_FAULTS,
        )
        for table in SHOP_TABLES
    }
    return make_market(settings, catalogue, campaigns), shop


def _block_tables(block: customers.Block, market: Market, people: People) -> Iterator[tuple[str, Planted]]:
    """Each table of a block with its faults, parents before children."""
    settings = block.settings
    rng = block.stream(Topic.DIRT)

    def planted(table: str, frame: pl.DataFrame, is_sound: Mask | None = None) -> Planted:
        return plant(settings, table, frame, rng=rng, is_sound=is_sound)

    known = planted("customers", customers.customers_frame(block))
    yield "customers", known
    whole = known.is_sound

    def of_customer(table: str, frame: pl.DataFrame) -> tuple[str, Planted]:
        return table, planted(table, frame, whole[frame["_customer"].to_numpy()])

    yield of_customer("contacts", customers.contacts_frame(block, people))
    for table, frame in customers.household_frames(block).items():
        yield of_customer(table, frame)
    reach = draw_reach(block, market.campaigns)
    orders = make_orders(block, market, reach)
    ordered = planted("orders", orders.orders_frame, whole[orders.customer])
    yield "orders", ordered
    lines = planted("order_items", orders.lines_frame, ordered.is_sound[orders.line_order])
    yield "order_items", lines
    payments, paid_order = aftermath.payments_frame(block, orders)
    yield "payments", planted("payments", payments, ordered.is_sound[paid_order])
    returns, returned_line = aftermath.returns_frame(block, orders)
    yield "returns", planted("returns", returns, lines.is_sound[returned_line])
    yield of_customer("product_events", aftermath.events_frame(block, market, orders))
    yield of_customer("campaign_contacts", contacts_made_frame(block, market.campaigns, reach))
    yield of_customer("campaign_responses", aftermath.responses_frame(block, market, orders, reach))
    yield of_customer("reviews", aftermath.reviews_frame(block, market, orders))


def _cut(frame: pl.DataFrame, wanted: int) -> pl.DataFrame:
    """The rows of the first `wanted` customers of a block."""
    if wanted < BLOCK:
        frame = frame.filter(pl.col("_customer") < wanted)
    return frame.drop("_customer")


def _write_part(folder: Path, table: str, number: int, frame: pl.DataFrame) -> None:
    frame.write_parquet(folder / table / f"part-{number:05d}.parquet", compression="lz4", statistics=False)


def _write_answers(settings: WorldSettings, folder: Path, answers: _Answers, market: Market) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    faults = [frame.select(list(FAULT_SCHEMA)) for frame in answers.pages["faults"]]
    write_answer(folder, "personas", pl.concat(answers.pages["personas"]))
    write_answer(folder, "tastes", pl.concat(answers.pages["tastes"]))
    write_answer(folder, "faults", pl.concat(faults).drop("_customer"))
    write_answer(folder, "campaign_effects", market.campaigns.effects_frame())
    write_answer(folder, "taste_parameters", taste_parameters(settings))
    write_answer(folder, "product_parameters", product_parameters(settings, market.catalogue))
