"""A recipient list for another sender: who of an audience may be written to, and who not and why.

What belongs here: deciding about each customer of a brief's or a segment's audience, and writing the two files. What
does not: the plan (`delivery.plan`), which decides about campaigns sent from here and is followed, and the audit row
(`state.rights`). Nothing of an address is kept but in the file that was asked for.

A brief's audience is that of `delivery.plan`. A segment's is everybody in it; who is in a control group or held out
stays out of its list too, because a message from elsewhere would spoil the comparison as much as one from here.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import duckdb
import polars as pl

from segmentation_assets.delivery.keys import open_key
from segmentation_assets.delivery.plan_addresses import ascii_forms, suppressed_by_address
from segmentation_assets.delivery.rights import RightsError, forgotten_people
from segmentation_assets.settings import Home
from segmentation_assets.state.delivery_tables import suppressed_address_hashes
from segmentation_assets.state.rights import opt_outs, suppressed_customers
from segmentation_assets.state.store import StateStore
from segmentation_assets.warehouse.connection import Engine, connect
from segmentation_assets.warehouse.tables import has_table

#: Why a customer of the audience is not on the list, in the order in which the reasons decide. Those of the plan of a
#: brief (frequency_cap, unresponsive, quiet_hours, no_offer and so on) come between the address and the draws.
REASONS: Mapping[str, str] = MappingProxyType(
    {
        "not_known_by_the_as_of_date": "not a customer yet on the as-of date",
        "opted_out": "does not want to be profiled",
        "unsubscribed": "unsubscribed or complained, by the shop's own records",
        "no_consent": "no consent to marketing e-mail",
        "suppressed_": "not written to any more",
        "minor": "a minor, or of unknown age where that counts as one",
        "needs_smtputf8": "letters beyond ASCII before the @ of the address",
        "no_valid_address": "no valid e-mail address on file",
        "shared_address": "another customer has the same address",
        "hold_out": "left out of all campaigns, so that their worth is seen",
        "control": "left out at random of the campaign they are planned in",
    }
)
#: A spreadsheet takes a cell that begins so for a formula.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
_TABLES = ("features/reachability", "segments/customer_segments", "segments/segment_summary", "delivery/plan")
_CONTACTS = {"customer_id": pl.String(), "email": pl.String(), "first_name": pl.String()}


@dataclass(frozen=True)
class RecipientList:
    """An audience, decided about: `recipients` may be written to, `excluded` not; together they are the audience.

    recipients: customer_id, campaign_id, variant and, where asked for, email and first_name. excluded: customer_id,
    campaign_id, reason. Both sorted by customer_id; campaign and variant are empty where none is planned.
    """

    audience: str
    recipients: pl.DataFrame = field(repr=False)
    excluded: pl.DataFrame = field(repr=False)


@dataclass(frozen=True)
class WrittenList:
    """The two files, and the SHA-256 digest of the list's bytes."""

    path: Path
    excluded_path: Path
    digest: str


def decide_recipients(
    home: Home, store: StateStore, audience: str, *, include_addresses: bool = False, engine: Engine | None = None
) -> RecipientList:
    """Everybody of an audience, the id of a brief or of a segment (T3, S2), with or without a reason against a message.

    Reads the published copy and the contact details, and the state store for wishes that are newer than the copy. Who
    was forgotten since is in neither frame. RightsError where there is no such audience, or the copy cannot tell;
    KeyMismatchError where suppressed addresses could not be recognised.
    """
    if not home.published.exists():
        raise RightsError(f"Nothing is published in {home.path} yet. `segmentation run` makes it.")
    people = home.people if home.people.exists() else None
    with connect(home.published, read_only=True, people=people, engine=engine) as con:
        if lacking := [table.replace("/", ".") for table in _TABLES if not has_table(con, table)]:
            raise RightsError(
                f"The published copy in {home.path} has no {' and no '.join(lacking)}. `segmentation run` renews it."
            )
        members = _members(con, audience)
        contacts = _contacts(con, members)
    forgotten = forgotten_people(store, home.secret_key)
    if forgotten is not None:
        gone = forgotten.ids_among(members["customer_id"].to_list())
        members = members.filter(~pl.col("customer_id").is_in(gone))
    decided = _with_reasons(members, contacts, _suppressed(home, store, contacts), opt_outs(store))
    columns = ["customer_id", "campaign_id", "variant", *(["email", "first_name"] if include_addresses else [])]
    return RecipientList(
        audience,
        decided.filter(pl.col("reason").is_null()).select(columns),
        decided.filter(pl.col("reason").is_not_null()).select("customer_id", "campaign_id", "reason"),
    )


def write_list(
    found: RecipientList, path: Path, *, force: bool = False, before_names: Callable[[str], None] | None = None
) -> WrittenList:
    """Write the list to `path` and the exclusions beside it (`PATH.excluded.csv`), readable by their owner alone.

    Both are whole before either has its name; `before_names` is called with the digest in between, for the audit row.
    A cell that a spreadsheet would take for a formula begins with an apostrophe. RightsError where a file is there
    already (unless `force`), or cannot be written.
    """
    excluded_path = path.with_name(path.name + ".excluded.csv")
    content = {path: _as_csv(found.recipients), excluded_path: _as_csv(found.excluded)}
    digest = hashlib.sha256(content[path]).hexdigest()
    drafts: dict[Path, Path] = {}
    try:
        if not force:
            _refuse_existing(*content)
        for target, data in content.items():
            drafts[target] = _draft(target, data)
        if before_names is not None:
            before_names(digest)
        for target, draft in drafts.items():
            if force:
                draft.replace(target)
            else:
                os.link(draft, target)  # fails where somebody made the file meanwhile, unlike a rename
    except FileExistsError:
        _refuse_existing(*content)
        raise
    except OSError as error:
        raise RightsError(f"The list cannot be written to {path} ({error.strerror}). Choose another --file.") from None
    finally:
        for draft in drafts.values():
            draft.unlink(missing_ok=True)
    return WrittenList(path, excluded_path, digest)


# --- deciding -------------------------------------------------------------------------------------------------------


def _members(con: duckdb.DuckDBPyConnection, audience: str) -> pl.DataFrame:
    """The customers of the audience with what the published copy says of them, sorted."""
    briefs = [row[0] for row in con.execute("select distinct campaign_id from delivery.plan order by all").fetchall()]
    segments = [row[0] for row in con.execute("select segment_id from segments.segment_summary").fetchall()]
    if audience in briefs and audience is not None:
        members = "select customer_id, true as is_of_plan from delivery.plan where campaign_id = $audience"
    elif audience in segments:
        members = (
            "select customer_id, false as is_of_plan from segments.customer_segments "
            "where taste_segment_id = $audience or stage_segment_id = $audience"
        )
    else:
        known = [brief for brief in briefs if brief is not None]
        told = f"planned are {', '.join(known[:8])}" if known else "no campaign is planned"
        raise RightsError(
            f"{audience!r} is no audience: {told}{' and others' if len(known) > 8 else ''}; segments are "
            f"{', '.join(segments)}."
        )
    return con.sql(
        f"""
        select
            m.customer_id, m.is_of_plan, p.campaign_id, p.variant, p.decision, p.reason as plan_reason,
            r.customer_id is not null as is_known, r.has_consent, r.has_unsubscribed, r.is_minor, r.has_valid_email,
            r.is_email_shared
        from ({members}) as m
        left join delivery.plan as p on p.customer_id = m.customer_id
        left join features.reachability as r on r.customer_id = m.customer_id
        order by m.customer_id
        """,
        params={"audience": audience},
    ).pl()


def _contacts(con: duckdb.DuckDBPyConnection, members: pl.DataFrame) -> pl.DataFrame:
    """Address (in ASCII) and first name of the members, and what is wrong with the address."""
    if not has_table(con, "people/contacts"):
        return pl.DataFrame(schema={**_CONTACTS, "problem": pl.String(), "is_twin": pl.Boolean()})
    con.register("_members", members.select("customer_id").to_arrow())
    found = con.sql(
        "select customer_id, email, first_name from people.contacts where email is not null "
        "and customer_id in (select customer_id from _members) order by customer_id"
    ).pl()
    forms = ascii_forms(found).select("customer_id", email="ascii_address", problem="problem")
    return (
        found.select("customer_id", "first_name")
        .join(forms, on="customer_id", how="left")
        .with_columns(is_twin=pl.col("email").is_not_null() & pl.col("email").is_duplicated())
        .select(*_CONTACTS, "problem", "is_twin")
    )


def _suppressed(home: Home, store: StateStore, contacts: pl.DataFrame) -> pl.DataFrame:
    """(customer_id, suppressed_as) of those not written to any more, by their id or by their address."""
    by_customer = suppressed_customers(store)
    hashes = suppressed_address_hashes(store)
    if not hashes:
        return by_customer
    key = open_key(home.secret_key, store, create=False)
    forms = contacts.select("customer_id", ascii_address=pl.col("email").str.to_lowercase())
    both = pl.concat([by_customer, suppressed_by_address(forms, hashes, key)])
    return both.group_by("customer_id").agg(pl.col("suppressed_as").min()).sort("customer_id")


def _with_reasons(
    members: pl.DataFrame, contacts: pl.DataFrame, suppressed: pl.DataFrame, opted_out: pl.DataFrame
) -> pl.DataFrame:
    """The members with their address and the first reason against a message, null for none; sorted by customer."""

    def true(name: str) -> pl.Expr:
        return pl.col(name).fill_null(value=False)

    is_drawn = pl.col("decision").is_in(["hold_out", "control"])
    conditions: list[tuple[pl.Expr, pl.Expr]] = [
        (~true("is_known"), pl.lit("not_known_by_the_as_of_date")),
        (pl.col("customer_id").is_in(opted_out["customer_id"].to_list()), pl.lit("opted_out")),
        (true("has_unsubscribed"), pl.lit("unsubscribed")),
        (~true("has_consent"), pl.lit("no_consent")),
        (pl.col("suppressed_as").is_not_null(), pl.lit("suppressed_") + pl.col("suppressed_as")),
        (true("is_minor"), pl.lit("minor")),
        (pl.col("problem").is_not_null(), pl.col("problem")),
        (~true("has_valid_email") | pl.col("email").is_null(), pl.lit("no_valid_address")),
        (true("is_email_shared") | true("is_twin"), pl.lit("shared_address")),
        (pl.col("is_of_plan") & (pl.col("decision") == "excluded"), pl.col("plan_reason")),
        (is_drawn, pl.col("decision")),
    ]
    is_planned = pl.col("is_of_plan") | (pl.col("decision") == "send").fill_null(value=False)
    return (
        members.join(contacts, on="customer_id", how="left")
        .join(suppressed, on="customer_id", how="left")
        .with_columns(reason=pl.coalesce(*(pl.when(condition).then(reason) for condition, reason in conditions)))
        .with_columns(
            campaign_id=pl.when(is_planned).then("campaign_id").fill_null(""),
            variant=pl.when(is_planned).then("variant").fill_null(""),
        )
        .sort("customer_id")
    )


# --- writing --------------------------------------------------------------------------------------------------------


def _as_csv(frame: pl.DataFrame) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(frame.columns)
    writer.writerows([_safe(cell) for cell in row] for row in frame.iter_rows())
    return text.getvalue().encode("utf-8", "backslashreplace")


def _safe(cell: str | None) -> str:
    """The cell as text that no spreadsheet runs as a formula (OWASP, CSV injection)."""
    if cell is None:
        return ""
    return f"'{cell}" if cell.lstrip().startswith(_FORMULA_STARTS) or cell.startswith(_FORMULA_STARTS) else cell


def _refuse_existing(*paths: Path) -> None:
    if there := [str(path) for path in paths if path.exists()]:
        raise RightsError(
            f"{' and '.join(there)} {'is' if len(there) == 1 else 'are'} there already; nothing was written. "
            "--force overwrites."
        )


def _draft(target: Path, data: bytes) -> Path:
    draft = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:  # Ctrl-C too: half a list of addresses may not stay behind; it goes on after that
        draft.unlink(missing_ok=True)
        raise
    return draft
