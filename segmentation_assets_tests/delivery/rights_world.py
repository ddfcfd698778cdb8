"""A corner shop in files of its own, loaded and cleaned as a run does it: what the tests of people's rights start from.

Nora Quillfeather is the customer who asks to be forgotten; her name, address and street stand nowhere else.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segmentation_assets.delivery.rights import ForgetReport, forget, forgotten_people
from segmentation_assets.settings import Home
from segmentation_assets.sources.cleaning import (
    clean_contacts,
    clean_warehouse,
    write_contact_flags,
    write_row_accounting,
)
from segmentation_assets.sources.description import read_description
from segmentation_assets.sources.loading import load_raw
from segmentation_assets.sources.mapped import stage_mapped
from segmentation_assets.state.store import open_state
from segmentation_assets.warehouse.connection import Engine, connect, transaction

NOW = dt.datetime(2026, 7, 1, 9, 0)
ENGINE = Engine(threads=1, wait_seconds=1.0)
SECRETS = (b"nora.quillfeather@example.com", b"Quillfeather", b"14 Zebrawood Lane")

_CSV = "from read_csv('{}', header = true, all_varchar = true)"
SOURCE = {
    "source.toml": 'title = "A corner shop"\ncurrency = "EUR"\nas_of = 2026-06-30\n',
    "customers.sql": f"select id as customer_id, town as city, agrees as email_consent {_CSV.format('people.csv')}",
    "contacts.sql": (
        "select id as customer_id, mail as email, first as first_name, last as last_name, street "
        f"{_CSV.format('people.csv')}"
    ),
    "orders.sql": (
        "select no as order_id, who as customer_id, day as ordered_at, 'completed' as status "
        f"{_CSV.format('sales.csv')}"
    ),
    "order_items.sql": (
        f"select no || '-1' as order_item_id, no as order_id, 1 as quantity, money as line_amount "
        f"{_CSV.format('sales.csv')}"
    ),
    "returns.sql": (
        f"select no || '-r' as return_id, no || '-1' as order_item_id, day as returned_at {_CSV.format('back.csv')}"
    ),
    "reviews.sql": (
        "select no as review_id, who as customer_id, 'P1' as product_id, 5 as rating, said as body "
        f"{_CSV.format('said.csv')}"
    ),
    "people.csv": (
        "id,town,agrees,mail,first,last,street\n"
        "p1,Bern,true,ann@example.com,Ann,Alder,1 Elm Street\n"
        " p2 ,Bern,true, Nora.Quillfeather@example.com,Nora,Quillfeather,14 Zebrawood Lane\n"
        "p3,Bonn,true,cleo@example.com,Cleo,Cedar,3 Elm Street\n"
        "p3,Bonn,true,cleo@example.com,Cleo,Cedar,3 Elm Street\n"
        "p4,Bonn,true,ann@example.com,Art,Alder,1 Elm Street\n"
    ),
    "sales.csv": (
        "no,who,day,money\n1,p1,2026-01-02,10.50\n2,p2,2026-02-01,3.20\n3,p3,2026-03-05,7\n4,p2,2026-03-06,9\n"
        "5,p4,2026-04-01,2\n"
    ),
    "back.csv": "no,day\n1,2026-02-02\n4,2026-03-10\n",
    "said.csv": "no,who,said\n1,p2,I Nora Quillfeather liked it\n2,p1,Fine\n",
}  # fmt: skip


@dataclass
class Shop:
    """A HOME and the folder its source is in."""

    home: Home
    source: Path

    def change(self, **files: str) -> None:
        """Other files from now on; `people_csv` is people.csv."""
        for name, content in files.items():
            (self.source / name.replace("_", ".", 1)).write_text(content, encoding="utf-8")

    def load(self) -> None:
        """Stage, load and clean, as raw and clean of a run do."""
        place = self.home
        with open_state(place.state) as store:
            forgotten = forgotten_people(store, place.secret_key)
        described = stage_mapped(self.source, None, place.staging)
        load_raw(place.staging, described, place.warehouse, place.people, ENGINE, forgotten=forgotten)
        as_of = described.as_of or read_description(self.source).as_of
        assert as_of is not None
        with connect(place.warehouse, people=place.people, engine=ENGINE) as con:
            with transaction(con):
                counts = clean_warehouse(con, as_of, "EUR")
            with transaction(con):
                counts["contacts"] = clean_contacts(con, as_of)
            with transaction(con):
                write_contact_flags(con)
                write_row_accounting(con, counts)

    def forget(self, customer: str, now: dt.datetime = NOW) -> ForgetReport:
        """Forget without the command line."""
        with open_state(self.home.state) as store:
            return forget(self.home, store, customer, person="tester", now=now, engine=ENGINE)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """The answer to a question to the warehouse, contact details attached."""
        with connect(self.home.warehouse, people=self.home.people, read_only=True, engine=ENGINE) as con:
            return con.execute(query).fetchall()

    def accounting(self) -> dict[str, tuple[int, int, int]]:
        """Raw, clean and rejected rows of the tables that have any."""
        found = self.rows("select table_name, raw_rows, clean_rows, rejected_rows from quality.row_accounting")
        return {name: (raw, clean, rejected) for name, raw, clean, rejected in found if raw}


def make_shop(folder: Path, files: Mapping[str, str] | None = None) -> Shop:
    """The shop, loaded once."""
    source = folder / "source"
    source.mkdir(parents=True)
    for name, content in {**SOURCE, **(files or {})}.items():
        (source / name).write_text(content, encoding="utf-8")
    shop = Shop(Home(folder / "home"), source)
    shop.home.ensure()
    shop.load()
    return shop


def bytes_of(home: Home, *, of_people: bool = False) -> bytes:
    """Everything in HOME, or in the file of contact details and what stands beside it."""
    paths = home.path.glob("people*") if of_people else home.path.rglob("*")
    parts = []
    for path in sorted(paths):
        for file in sorted(path.rglob("*")) if path.is_dir() and of_people else [path]:
            if file.is_file():
                parts.append(file.read_bytes())
    return b"".join(parts)
