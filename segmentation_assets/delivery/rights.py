"""People's rights: forgetting a customer, and keeping one out of profiling.

What belongs here: finding whom a person means, the steps of forgetting in their order, and the hashes that every later
load is given. What does not: what changes in the state store (`state.rights`), the file of contact details
(`sources.people_file`), which staged rows are whose (`sources.forgotten`), the lock of runs and the command line.

Forgetting is done in an order that can be taken up again wherever it was cut off, because each step finds what it needs
until it is done: (1) the hashes, so that nothing is sent or loaded from then on; (2) files; (3) the state store; (4)
contact details; (5) the audit row that says it is done. Addresses and names live in variables here and go nowhere.
"""

from __future__ import annotations

import datetime as dt
import os
import re
import secrets
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
from filelock import FileLock

from segmentation_assets.delivery.events import fold_spool
from segmentation_assets.delivery.journal import fold_journals
from segmentation_assets.delivery.keys import SecretKey, open_key
from segmentation_assets.messaging.address import ascii_addresses
from segmentation_assets.settings import Home
from segmentation_assets.sources.contract import CONTRACT
from segmentation_assets.sources.forgotten import ForgottenPeople, address_text
from segmentation_assets.sources.loading import clear_staging
from segmentation_assets.sources.people_file import owners_in, rewrite_without
from segmentation_assets.state import rights
from segmentation_assets.state.store import StateStore
from segmentation_assets.warehouse.connection import Engine, connect
from segmentation_assets.warehouse.tables import columns_of, has_table

#: Addresses are in the head of a message; none is longer than this.
_HEAD_BYTES = 256_000
#: Tables of raw that name customers, those most likely to know one first.
_NAMING = tuple(name for name, table in CONTRACT.items() if "customer_id" in table.column_names and name != "contacts")


class RightsError(ValueError):
    """What a person asked for cannot be done; the message says why."""


@dataclass(frozen=True)
class Customer:
    """Whom a person means. `source_id` is the source's own id where that is personal. Neither is printed."""

    customer_id: str = field(repr=False)
    source_id: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class ForgetReport:
    """What forgetting did. `since` is when it was first asked for, `finished_before` when it was done before."""

    since: dt.datetime
    finished_before: dt.datetime | None
    contact_rows: int
    files: int
    sends_stopped: int
    rows: dict[str, int]
    shares_address: bool

    @property
    def sentence(self) -> str:
        """The same in words, without the person."""
        found = self.contact_rows + self.files
        if self.finished_before is not None and not found:
            return f"This customer was forgotten on {self.finished_before:%Y-%m-%d}; nothing of theirs was left."
        begin = "This customer is forgotten"
        if self.finished_before is not None:
            begin = f"This customer was forgotten on {self.finished_before:%Y-%m-%d}, and what had come back is gone"
        told = (
            f"{begin}: {self.contact_rows:,} rows of contact details and {self.files:,} files are removed; "
            f"{self.rows['sends']:,} sends and {self.rows['events']:,} events keep their campaign under a hash"
        )
        told += f"; {self.sends_stopped:,} waiting messages were stopped." if self.sends_stopped else "."
        if self.shares_address:
            told += (
                " Another customer has the same address and stays; nobody is written to there any more, and the "
                "customer is recognised by their id alone."
            )
        return told


# --- whom ---------------------------------------------------------------------------------------------------------


def find_customer(home: Home, given: str, engine: Engine | None = None) -> Customer | None:
    """The customer of that id, or of that id of a source whose ids are personal; None for nobody that is known.

    Looks into the warehouse and the contact details, valid rows or not, and says nothing of what it finds.
    """
    wanted = given.strip()
    if not wanted or not home.warehouse.exists() or any("\ud800" <= one <= "\udfff" for one in wanted):
        return None  # half a surrogate pair, which a terminal makes of bytes that are no UTF-8, is in no table
    people = home.people if home.people.exists() else None
    with connect(home.warehouse, read_only=True, people=people, engine=engine) as con:
        if people is not None and has_table(con, "people/customer_ids"):
            rows = con.execute(
                "select customer_id, source_id from people.customer_ids "
                "where source_id = $wanted or (customer_id = $wanted and source_id <> '') "
                "order by source_id = $wanted desc limit 1",
                {"wanted": wanted},
            ).fetchall()
            if rows:
                return Customer(rows[0][0], rows[0][1])
        tables = [f"{schema}/{name}" for name in _NAMING for schema in ("clean", "raw")]
        if people is not None:
            tables += ["people/contacts", "people/raw_contacts"]
        for table in tables:
            if has_table(con, table) and _names(con, table, wanted):
                return Customer(wanted)
    if people is not None and wanted in owners_in(home.people, engine):
        return Customer(wanted)
    return None


def _names(con: duckdb.DuckDBPyConnection, table: str, wanted: str) -> bool:
    if "customer_id" not in dict(columns_of(con, table)):
        return False
    query = f"select exists (from {table.replace('/', '.')} where trim(customer_id::varchar) = $wanted)"
    return bool(con.execute(query, {"wanted": wanted}).fetchall()[0][0])


# --- what every load is given ---------------------------------------------------------------------------------------


def forgotten_people(store: StateStore, key_file: Path) -> ForgottenPeople | None:
    """Whose rows a load leaves out; None where nobody is forgotten, and then no key is needed.

    KeyMismatchError where somebody is and the key is gone or another: nobody could be recognised, so nothing may be
    loaded.
    """
    known = rights.forgotten_hashes(store)
    if not known.customers and not known.addresses:
        return None
    key = open_key(key_file, store, create=False)
    return ForgottenPeople(
        known.customers,
        known.addresses,
        lambda ids: key.hashed("customer", ids),
        lambda addresses: hash_addresses(key, addresses),
    )


def hash_addresses(key: SecretKey, addresses: Sequence[str]) -> list[str | None]:
    """The keyed hash of each address as a mail server takes it, in lower case; None for what none would take."""
    forms, _ = ascii_addresses(address.strip().lower() for address in addresses)
    hashes = iter(key.hashed("address", [form.lower() for form in forms if form is not None]))
    return [None if form is None else next(hashes) for form in forms]


# --- forgetting -----------------------------------------------------------------------------------------------------


def forget(
    home: Home, store: StateStore, given: str, *, person: str, now: dt.datetime, engine: Engine | None = None
) -> ForgetReport:
    """Forget a customer, or finish what was begun. The caller holds the lock of runs (`orchestration.run_lock`).

    RightsError where nobody has that id, KeyMismatchError where the key is not this HOME's, WarehouseBusyError where
    another program has the contact details open; what was done by then stays done, and calling again goes on.
    """
    found = find_customer(home, given, engine)
    key = open_key(home.secret_key, store)
    known = rights.forgotten_state(store, key.hash_customer(given.strip()))
    if found is None:
        if known is None:
            raise RightsError(
                "There is no such customer: neither the warehouse nor the contact details know the id. Ids are those "
                "of features.customer_features, or the source's own."
            )
        found = Customer(given.strip())
    customer_hash = key.hash_customer(found.customer_id)
    hashes = [customer_hash]
    if found.source_id is not None:
        hashes.append(key.hash_customer(found.source_id))
    known = rights.forgotten_state(store, customer_hash) or known
    details = _contact_details(home, found.customer_id, engine)
    own = [made for made in hash_addresses(key, details.own) if made is not None]
    shared = [made for made in hash_addresses(key, details.shared) if made is not None]
    stopped = rights.begin_forgetting(store, found.customer_id, hashes, own, shared, now=now)

    addresses = _written_forms((*details.own, *details.shared))
    send_ids = rights.send_ids_of(store, [found.customer_id, customer_hash])
    files = _scrub_files(home, store, send_ids, addresses, now)
    rows = rights.replace_customer(store, found.customer_id, customer_hash)
    contact_rows = 0
    if details.has_rows or known is None or known.finished_at is None:
        # Also where no row is left: what a source took out of its own accord may stand in pages not yet used again.
        contact_rows = rewrite_without(home.people, [found.customer_id], details.own, engine)
    report = ForgetReport(
        since=known.since if known is not None else now,
        finished_before=known.finished_at if known is not None else None,
        contact_rows=contact_rows,
        files=files,
        sends_stopped=stopped,
        rows=rows,
        shares_address=bool(details.shared),
    )
    if report.finished_before is None or contact_rows or files:
        detail: dict[str, object] = {"contact_rows": contact_rows, "files": files, "sends_stopped": stopped, **rows}
        if len(hashes) > 1:
            detail["source_id_hash"] = hashes[1]
        rights.finish_forgetting(store, customer_hash, person=person, detail=detail, now=now)
    return report


@dataclass(frozen=True)
class _Details:
    """Whether a row is theirs, and the customer's addresses (trimmed, lower case): some another customer has too."""

    has_rows: bool
    own: tuple[str, ...] = field(default=(), repr=False)
    shared: tuple[str, ...] = field(default=(), repr=False)


def _contact_details(home: Home, customer_id: str, engine: Engine | None) -> _Details:
    """Every address that any table of the people database gives a customer."""
    if not home.people.exists():
        return _Details(has_rows=False)
    with connect(home.warehouse, read_only=True, people=home.people, engine=engine) as con:
        named = "trim(customer_id::varchar)"
        parts = []
        for table in ("contacts", "raw_contacts"):
            if has_table(con, f"people/{table}"):
                parts.append(f"select {named} as id, {address_text('email')} as email from people.{table}")
        if has_table(con, "people/rejected_contacts"):
            email = address_text("(row_json::json ->> 'email')")
            parts.append(f"select row_key as id, {email} as email from people.rejected_contacts")
        if has_table(con, "people/contact_repairs"):
            parts.append(
                f"select row_key as id, {address_text('before')} as email from people.contact_repairs "
                "where column_name = 'email'"
            )
        if not parts:
            return _Details(has_rows=False)
        con.execute(f"create temp table known as select distinct id, email from ({' union all '.join(parts)})")
        rows = con.execute(
            "select email, bool_or(id <> $id and not starts_with(id, 'row ')) as is_shared from temp.known "
            "where email <> '' and email in (select email from temp.known where id = $id) "
            "group by email order by email",
            {"id": customer_id},
        ).fetchall()
        queries = ["select count(*) from temp.known where id = $id"]
        if has_table(con, "people/customer_ids"):
            queries.append("select count(*) from people.customer_ids where customer_id = $id and source_id <> ''")
        has_rows = any(con.execute(query, {"id": customer_id}).fetchall()[0][0] for query in queries)
    return _Details(
        has_rows,
        tuple(email for email, is_shared in rows if not is_shared),
        tuple(email for email, is_shared in rows if is_shared),
    )


def _written_forms(addresses: Iterable[str]) -> list[bytes]:
    """The addresses as messages may show them, in lower case."""
    given = list(addresses)
    forms, _ = ascii_addresses(given)
    every = {*given, *(form.lower() for form in forms if form is not None)}
    return sorted(address.encode("utf-8", "surrogatepass") for address in every if address)


# --- files ----------------------------------------------------------------------------------------------------------


def _scrub_files(
    home: Home, store: StateStore, send_ids: Collection[str], addresses: Sequence[bytes], now: dt.datetime
) -> int:
    """Take a person out of files: staged rows, messages, journals of dead senders, and what is damaged; how many."""
    changed = 1 if home.staging.exists() else 0
    clear_staging(home.staging)  # no run is loading: the caller holds the lock
    for folder in (home.outbox, home.path / "inbox"):
        changed += _remove_messages(folder, frozenset(send_ids), addresses)
    if home.journal.is_dir():
        for campaign_id in rights.campaigns_of(store, send_ids):
            fold_journals(home.journal, store, campaign_id, now)
    needles = [*(send_id.encode() for send_id in send_ids), *addresses]
    if home.journal.is_dir():
        changed += sum(_scrub_lines(path, needles) for path in sorted(home.journal.glob("*.damaged")))
    if home.spool.is_dir():
        fold_spool(home.spool, store)
        with FileLock(home.spool / "fold.lock", timeout=120):
            changed += sum(_scrub_lines(path, needles) for path in sorted(home.spool.glob("*.torn")))
    return changed


def _remove_messages(folder: Path, send_ids: frozenset[str], addresses: Sequence[bytes]) -> int:
    """Remove messages of these sends, or to these addresses; a file that goes meanwhile is gone as well."""
    if not folder.is_dir():
        return 0
    theirs = [_standing_alone(address) for address in addresses]
    removed = 0
    for path in sorted(folder.rglob("*.eml")):
        try:
            with path.open("rb") as file:
                head = file.read(_HEAD_BYTES).replace(b"\r\n", b"\n").partition(b"\n\n")[0].lower()
            if path.stem in send_ids or any(pattern.search(head) for pattern in theirs):
                path.unlink()
                removed += 1
        except FileNotFoundError:
            continue
    return removed


def _standing_alone(address: bytes) -> re.Pattern[bytes]:
    """The address, and not the end or begin of a longer one."""
    return re.compile(rb"(?<![\w.!#$%&'*+/=?^`{|}~-])" + re.escape(address) + rb"(?![\w-]|\.\w)")


def _scrub_lines(path: Path, needles: Sequence[bytes]) -> int:
    """Write a file of lines anew without those that hold any of `needles`; 1 where there were some."""
    lines = path.read_bytes().splitlines(keepends=True)
    kept = [line for line in lines if not any(needle in line.lower() for needle in needles)]
    if len(kept) == len(lines):
        return 0
    with _draft_of(path) as draft:
        draft.write_bytes(b"".join(kept))
    return 1


@contextmanager
def _draft_of(path: Path) -> Iterator[Path]:
    """A file beside `path` that takes its place, readable by its owner alone."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    try:
        yield draft
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


# --- profiling ------------------------------------------------------------------------------------------------------


def opt_out(
    home: Home,
    store: StateStore,
    given: str,
    *,
    person: str,
    now: dt.datetime,
    undo: bool = False,
    engine: Engine | None = None,
) -> str:
    """Keep a customer out of profiling, or take that back; what was done, in a sentence.

    RightsError where nobody has that id.
    """
    found = find_customer(home, given, engine)
    if found is None:
        held = set(rights.opt_outs(store)["customer_id"])
        if not (undo and given.strip() in held):
            raise RightsError(
                "There is no such customer: neither the warehouse nor the contact details know the id. Ids are those "
                "of clean.customers, or the source's own."
            )
        found = Customer(given.strip())
    changed, stopped = rights.set_opt_out(store, found.customer_id, is_active=not undo, person=person, now=now)
    if not changed:
        return "This customer is not opted out." if undo else "This customer is opted out of profiling already."
    if undo:
        return "This customer is profiled again. Messages that were stopped stay stopped."
    told = "This customer is not profiled any more, and no campaign is chosen for them."
    return f"{told} {stopped:,} waiting messages were stopped." if stopped else told
