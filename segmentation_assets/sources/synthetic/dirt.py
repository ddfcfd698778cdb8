"""Planting faults: what can go wrong in each table, and the record of what was planted where.

A fault is planted on a row that is otherwise sound, whose parents are sound, and one row gets one fault at most; so
the record says exactly which rule must find it. A fault is known from the data and the contract alone.

Faults come in three ways: a value of an existing row is changed (`cell`), a copy of a row follows it (`copy`, the
copy is the fault), or a copy with a key of its own and a changed value follows it (`extra`). Small tables that
everything refers to (retailers, stores, products, campaigns) get rejected rows as extras only, so that a shop does
not lose one product in a hundred with all its sales.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

import numpy as np
import polars as pl

from segmentation_assets.sources.contract import CONTRACT
from segmentation_assets.sources.synthetic.settings import Ints, Mask, WorldSettings


class Way(StrEnum):
    """How a fault comes into a table."""

    CELL = "cell"
    COPY = "copy"
    EXTRA = "extra"


@dataclass(frozen=True)
class Picked:
    """The rows a fault is about to befall: `values` of its column there, and the whole table around them."""

    settings: WorldSettings
    rng: np.random.Generator
    frame: pl.DataFrame
    rows: Ints
    values: pl.Series
    is_sound: Mask  # rows without any fault of their own or of their parents

    def choice(self, options: tuple[object, ...]) -> pl.Series:
        """One of `options` for each row, in the column's type."""
        index = self.rng.integers(0, len(options), len(self.rows))
        return pl.Series(options, dtype=self.values.dtype).gather(index)


Change = Callable[[Picked], pl.Series]


@dataclass(frozen=True)
class Fault:
    """One thing that can go wrong in a column, what must come of it, and how it can be known."""

    column: str
    fault: str
    outcome: str  # reject, repair or flag
    rule: str
    evidence: str
    change: Change
    way: Way = Way.CELL
    weight: float = 1.0


@dataclass(frozen=True)
class Planted:
    """A table with its faults: `frame` in source order, `is_sound` for the rows that went in, and the record."""

    frame: pl.DataFrame
    is_sound: Mask
    faults: pl.DataFrame


#: The columns of the record; `_customer` places a fault in its block.
FAULT_SCHEMA: dict[str, pl.DataType] = {
    "table_name": pl.String(),
    "row_key": pl.String(),
    "column_name": pl.String(),
    "fault": pl.String(),
    "evidence": pl.String(),
    "expected_outcome": pl.String(),
    "expected_rule": pl.String(),
    "_customer": pl.Int64(),
}


def _nulls(picked: Picked) -> pl.Series:
    return pl.Series([None], dtype=picked.values.dtype).new_from_index(0, len(picked.rows))


def _options(*options: object) -> Change:
    return lambda picked: picked.choice(options)


def _text(change: Callable[[pl.Series], pl.Series]) -> Change:
    return lambda picked: change(picked.values)


def _moments_after(picked: Picked) -> pl.Series:
    first = picked.settings.midnight + timedelta(days=1)
    return picked.choice(tuple(first + timedelta(days=d, hours=11) for d in (1, 2, 30, 365, 3_650)))


def _days_after(picked: Picked) -> pl.Series:
    return picked.choice(tuple((picked.settings.as_of + timedelta(days=d)).isoformat() for d in (2, 31, 365, 3_650)))


def _missing(column: str, weight: float = 1.0, way: Way = Way.CELL) -> Fault:
    return Fault(column, "null_required", "reject", "missing_required", f"{column} is required and null.", _nulls,
                 way, weight)  # fmt: skip


def _missing_key(column: str) -> Fault:
    # Such a row has no key to be named by: the record holds an empty key (or the rest of a key of two columns).
    return Fault(column, "null_key", "reject", "missing_key", f"{column} is part of the key and null.", _nulls,
                 Way.COPY, 0.3)  # fmt: skip


def _duplicate(column: str, weight: float = 2.0) -> Fault:
    return Fault(column, "duplicate_key", "reject", "duplicate_key",
                 "The same key stands in an earlier row of the table.", lambda picked: picked.values, Way.COPY,
                 weight)  # fmt: skip


def _range(column: str, *options: float, weight: float = 1.0, way: Way = Way.CELL) -> Fault:
    return Fault(column, "impossible_number", "reject", "out_of_range",
                 f"{column} lies beyond the limits the contract calls possible.", _options(*options), way,
                 weight)  # fmt: skip


def _unknown(column: str, *options: str, weight: float = 1.0) -> Fault:
    return Fault(column, "unknown_label", "reject", "unknown_value",
                 f"{column} is neither one of the contract's values nor a synonym of one.", _options(*options),
                 Way.CELL, weight)  # fmt: skip


def _orphan(column: str, weight: float = 1.0, way: Way = Way.CELL) -> Fault:
    def change(picked: Picked) -> pl.Series:
        # X is in no id the world gives out.
        number = picked.frame["_customer"].gather(picked.rows).cast(pl.String).str.zfill(5)
        return "X" + picked.choice(("1", "2", "3")) + number

    return Fault(column, "orphan", "reject", "orphan", f"{column} names a row that its table does not have.", change,
                 way, weight)  # fmt: skip


def _orphan_key(column: str) -> Fault:
    return _orphan(column, 1.0, Way.EXTRA)


def _after(column: str, *, is_text: bool = False, weight: float = 1.0, way: Way = Way.CELL) -> Fault:
    return Fault(column, "date_after_as_of", "reject", "after_as_of", f"{column} is later than the as-of date.",
                 _days_after if is_text else _moments_after, way, weight)  # fmt: skip


def _before(column: str, *, is_text: bool = False, weight: float = 0.5, way: Way = Way.CELL) -> Fault:
    options: tuple[object, ...] = ("1899-12-31", "1753-01-01")
    if not is_text:
        options = (datetime(1899, 12, 30), datetime(1753, 1, 1, 12))
    return Fault(column, "date_before_1900", "reject", "before_1900", f"{column} is before 1900.",
                 _options(*options), way, weight)  # fmt: skip


def _no_date(column: str, weight: float = 1.0, way: Way = Way.CELL) -> Fault:
    return Fault(column, "impossible_date", "reject", "not_a_date", f"{column} is text that is no day of any calendar.",
                 _options("2025-02-30", "31/13/2024", "2024-00-10", "someday"), way, weight)  # fmt: skip


def _untrimmed(column: str, weight: float = 1.0) -> Fault:
    def change(values: pl.Series) -> pl.Series:
        return "  " + values + " "

    return Fault(column, "whitespace", "repair", "trimmed", f"{column} has blanks around its value.", _text(change),
                 Way.CELL, weight)  # fmt: skip


def _upper(column: str, weight: float = 1.0) -> Fault:
    return Fault(column, "letter_case", "repair", "case",
                 f"{column} is a value of the contract but for upper and lower case.",
                 _text(lambda values: values.str.to_uppercase()), Way.CELL, weight)  # fmt: skip


def _synonym(column: str, spellings: dict[str, str], weight: float = 1.0) -> Fault:
    def change(values: pl.Series) -> pl.Series:
        return values.replace_strict(spellings, default=None, return_dtype=pl.String)

    return Fault(column, "synonym", "repair", "synonym", f"{column} is another spelling that the contract lists.",
                 _text(change), Way.CELL, weight)  # fmt: skip


def _extra(*faults: Fault) -> tuple[Fault, ...]:
    """The same faults on rows with keys of their own."""
    return tuple(Fault(f.column, f.fault, f.outcome, f.rule, f.evidence, f.change, Way.EXTRA, f.weight) for f in faults)


def _shared_email(picked: Picked) -> pl.Series:
    """The address of the nearest sound customer before; null (no fault) where there is none."""
    email = picked.frame["email"]
    givers = np.flatnonzero(picked.is_sound & email.is_not_null().to_numpy())
    if not len(givers):
        return _nulls(picked)
    place = np.searchsorted(givers, picked.rows) - 1
    taken = email.gather(givers[place.clip(0)])
    return taken.zip_with(pl.Series(place >= 0), _nulls(picked))


def _malformed_email(picked: Picked) -> pl.Series:
    """One of five ways to break each address."""
    email = picked.values
    broken = [
        email.str.replace("@", " at ", literal=True),
        email.str.replace("@", "", literal=True),
        email.str.replace("@", "@@", literal=True),
        email.str.replace(".", " ", literal=True),
        email.str.replace("@example.*$", "@"),
    ]
    kind = picked.rng.integers(0, len(broken), len(email))
    return pl.concat(broken).gather(kind * len(email) + np.arange(len(email)))


_GENDER = {"female": "F", "male": "M", "other": "Divers", "unknown": "N/A"}
_STATUS = {"completed": "Delivered", "shipped": "In transit", "processing": "Pending", "cancelled": "Canceled",
           "returned": "Refunded"}  # fmt: skip
_EDUCATION = {"primary": "Basic", "secondary": "High School", "bachelor": "Graduation", "master": "2n Cycle",
              "doctorate": "PhD"}  # fmt: skip
_TIER = {"budget": "low", "middle": "mid", "premium": "high"}
_ACTION = {"view": "pageview", "add_to_cart": "cart", "wishlist": "favourite"}
_ARM = {"treated": "treatment", "control": "holdout"}
_KIND = {"open": "opened", "click": "clicked", "conversion": "converted", "unsubscribe": "unsubscribed",
         "complaint": "spam"}  # fmt: skip

PLANS: dict[str, tuple[Fault, ...]] = {
    "customers": (
        _duplicate("customer_id"), _missing_key("customer_id"), _unknown("gender", "purple", "?", weight=0.5),
        _range("birth_year", 1893, 1899, 26, weight=0.7), _after("signed_up_at", weight=0.7),
        _before("signed_up_at", weight=0.4), _after("email_consent_at", weight=0.4),
        _synonym("gender", _GENDER), _upper("gender"), _untrimmed("city"), _untrimmed("acquisition_channel"),
    ),
    "contacts": (
        Fault("email", "malformed_email", "repair", "malformed_email", "email is not an address.", _malformed_email,
              weight=3.0),
        Fault("email", "missing_email", "flag", "missing_email", "email is null.", _nulls, weight=1.0),
        Fault("email", "duplicate_email", "flag", "shared_email", "An earlier customer has the same email.",
              _shared_email, weight=3.0),
        _duplicate("customer_id"), _missing_key("customer_id"), _orphan_key("customer_id"), _no_date("birth_date"),
        _after("birth_date", is_text=True), _before("birth_date", is_text=True), _untrimmed("email"),
        _untrimmed("last_name"),
    ),
    "demographics": (
        _duplicate("customer_id"), _missing_key("customer_id"), _orphan_key("customer_id"),
        _unknown("education", "wizardry", "yes"), _range("household_income", -1.0, -24_000.0, 99_999_999.0),
        _range("kids", -1, 99), _range("teens", -2, 55), _synonym("education", _EDUCATION, 2.0), _upper("education"),
        _untrimmed("occupation"),
    ),
    "preferences": (
        _duplicate("customer_id"), _missing_key("customer_id"), _orphan_key("customer_id"),
        _unknown("price_tier", "gratis", "5"), _range("discount_sensitivity", -0.5, 1.7, 55.0),
        _range("luxury_score", -0.1, 2.0), _synonym("price_tier", _TIER, 2.0), _upper("price_tier"),
        _untrimmed("favourite_category"),
    ),
    "loyalty_memberships": (
        _duplicate("customer_id"), _missing_key("customer_id"), _orphan_key("customer_id"),
        _unknown("tier", "diamond", "0"), _range("points", -50, 2_000_000_000), _no_date("joined_on", 2.0),
        _after("joined_on", is_text=True), _before("joined_on", is_text=True), _upper("tier"), _untrimmed("tier"),
    ),
    "retailers": (
        _duplicate("retailer_id"), _missing_key("retailer_id"),
        *_extra(_after("created_at"), _before("created_at")), _untrimmed("country"),
    ),
    "stores": (
        _duplicate("store_id"), _missing_key("store_id"),
        *_extra(_orphan("retailer_id"), _no_date("opened_on"), _after("opened_on", is_text=True),
                _before("opened_on", is_text=True)), _untrimmed("city"),
    ),
    "products": (
        _duplicate("product_id"), _missing_key("product_id"),
        *_extra(_orphan("retailer_id"), _range("list_price", -9.95, 99_999_999.0), _range("unit_cost", -1.0),
                _no_date("launched_on"), _after("launched_on", is_text=True)),
        _untrimmed("brand"), _untrimmed("category"),
    ),
    "campaigns": (
        _duplicate("campaign_id"), _missing_key("campaign_id"),
        *_extra(_missing("starts_on"), _no_date("starts_on"), _range("budget", -500.0),
                _before("ends_on", is_text=True)),
        _untrimmed("channel"),
    ),
    "inventory": (
        _duplicate("product_id"), _missing_key("store_id"), _orphan_key("product_id"), _orphan_key("store_id"),
        _range("stock_quantity", -5, 2_000_000_000, weight=2.0), _range("reorder_point", -1), _after("counted_at"),
        _before("counted_at"),
    ),
    "orders": (
        _duplicate("order_id", 3.0), _missing_key("order_id"), _missing("customer_id"), _missing("ordered_at"),
        _missing("status"), _orphan("customer_id", 2.0), _orphan("store_id"), _after("ordered_at", weight=2.0),
        _before("ordered_at"), _unknown("status", "lost", "???"),
        Fault("currency", "wrong_currency", "reject", "wrong_currency", "currency is not the source's own.",
              lambda picked: picked.choice(tuple(c for c in ("USD", "GBP", "CHF") if c != picked.settings.currency)),
              weight=2.0),
        _synonym("status", _STATUS, 3.0), _upper("status"), _untrimmed("status"), _untrimmed("channel"),
    ),
    "order_items": (
        _duplicate("order_item_id", 3.0), _missing_key("order_item_id"), _missing("order_id"), _missing("quantity"),
        _orphan("order_id", 2.0), _orphan("product_id", 2.0), _range("quantity", -3, -1, 0, 999_999_999, weight=3.0),
        _range("unit_price", -19.99, 99_999_999.0, weight=2.0), _range("discount_amount", -5.0, 50_000_000.0),
        _range("line_amount", -100.0, 1e9),
    ),
    "payments": (
        _duplicate("payment_id", 2.0), _missing_key("payment_id"), _missing("order_id"), _missing("amount"),
        _orphan("order_id"), _range("amount", -25.0, 99_999_999.0, weight=2.0), _after("paid_at"), _before("paid_at"),
        _untrimmed("method"),
    ),
    "returns": (
        _duplicate("return_id"), _missing_key("return_id"), _missing("order_item_id"), _orphan("order_item_id"),
        _after("returned_at"), _before("returned_at"), _range("quantity", -1, 0, 5_000_000),
    ),
    "product_events": (
        _duplicate("event_id", 2.0), _missing_key("event_id"), _missing("customer_id"), _missing("occurred_at"),
        _orphan("customer_id"), _orphan("product_id"), _after("occurred_at"), _before("occurred_at"),
        _unknown("action", "hover", "0"), _range("dwell_seconds", -4.0, 999_999.0), _synonym("action", _ACTION, 2.0),
        _upper("action"), _untrimmed("page"),
    ),
    "campaign_contacts": (
        _duplicate("campaign_id"), _missing_key("customer_id"), _orphan_key("campaign_id"),
        _orphan_key("customer_id"), _unknown("arm", "B", "group 3", "maybe", weight=2.0), _missing("arm"),
        _after("contacted_at"), _before("contacted_at"), _synonym("arm", _ARM, 2.0), _upper("arm"),
        _untrimmed("arm"),
    ),
    "campaign_responses": (
        _duplicate("response_id"), _missing_key("response_id"), _missing("campaign_id"), _missing("customer_id"),
        _missing("kind"), _orphan("campaign_id"), _orphan("customer_id"), _unknown("kind", "bounce", "7"),
        _after("occurred_at"), _range("amount", -12.5, 99_999_999.0), _synonym("kind", _KIND), _upper("kind"),
    ),
    "reviews": (
        _duplicate("review_id"), _missing_key("review_id"), _missing("customer_id"), _missing("product_id"),
        _orphan("customer_id"), _orphan("product_id"), _range("rating", 0, 9, -1, weight=2.0), _after("reviewed_at"),
        _before("reviewed_at"),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class _Hit:
    """One kind of fault and the rows it befell: `values` are what its column holds there afterwards."""

    fault: Fault
    rows: Ints
    values: pl.Series


def plant(
    settings: WorldSettings,
    table: str,
    frame: pl.DataFrame,
    *,
    rng: np.random.Generator,
    is_sound: Mask | None = None,
    minimum: int = 0,
) -> Planted:
    """Plant faults in a `dirt_share` of `frame`'s rows, at least `minimum` of them when there is dirt at all.

    `is_sound` says for each row whether its parents are sound (all are when not given). The answer's `is_sound` is
    false for rows that will be rejected, so children can avoid them. Rows come back by `_customer`, a copy after
    its original.
    """
    sound = np.ones(frame.height, dtype=np.bool_) if is_sound is None else is_sound
    plan = PLANS[table]
    luck, draw = rng.random(frame.height), rng.random(frame.height)
    picked = sound & (luck < settings.dirt_share)
    forced: Ints = np.zeros(0, dtype=np.int64)
    if settings.dirt_share > 0 and picked.sum() < minimum:
        forced = np.argsort(luck, kind="stable")[:minimum]
        picked[forced] = sound[forced]
    rows = np.flatnonzero(picked)
    weights = np.cumsum([fault.weight for fault in plan])
    kind = np.searchsorted(weights / weights[-1], draw[rows], side="right").clip(0, len(plan) - 1)
    if len(forced):
        each = rng.permutation(len(plan))[np.arange(len(forced)) % len(plan)]
        kept = sound[forced]
        kind[np.searchsorted(rows, forced[kept])] = each[kept]
    spared = sound & ~picked
    hits = [
        hit
        for number, fault in enumerate(plan)
        if (hit := _befall(settings, fault, frame, rng=rng, rows=rows[kind == number], spared=spared))
    ]
    if not hits:
        return Planted(frame, sound, pl.DataFrame(schema=FAULT_SCHEMA))
    return _apply(table, frame, sound, hits)


def _befall(
    settings: WorldSettings, fault: Fault, frame: pl.DataFrame, *, rng: np.random.Generator, rows: Ints, spared: Mask
) -> _Hit | None:
    """Let one kind of fault befall `rows`; rows where it would change nothing are left alone."""
    if not len(rows):
        return None
    before = frame[fault.column][rows]
    after = fault.change(Picked(settings, rng, frame, rows, before, spared))
    if fault.fault == "duplicate_key":
        return _Hit(fault, rows, after)
    # A few dozen values: comparing them one by one takes a tenth of the time of starting a query for it.
    may_be_null = fault.change is _nulls
    pairs = zip(after.to_list(), before.to_list(), strict=True)
    changes = np.array([now != was and (may_be_null or now is not None) for now, was in pairs], dtype=np.bool_)
    if not changes.any():
        return None
    return _Hit(fault, rows[changes], after if changes.all() else after.filter(pl.Series(changes)))


def _apply(table: str, frame: pl.DataFrame, sound: Mask, hits: list[_Hit]) -> Planted:
    """Change the cells, append the copies, and write the record."""
    keys = CONTRACT[table].key
    sound = sound.copy()
    cells = [hit for hit in hits if hit.fault.way is Way.CELL]
    copies = [hit for hit in hits if hit.fault.way is not Way.CELL]
    originals = frame
    changed: dict[str, pl.Series] = {}
    for hit in cells:
        column = changed.get(hit.fault.column, frame[hit.fault.column])
        changed[hit.fault.column] = column.clone().scatter(hit.rows, hit.values)
        if hit.fault.outcome == "reject":
            sound[hit.rows] = False
    if changed:
        frame = frame.with_columns(**changed)
    records = [_record(table, cells, originals[np.concatenate([hit.rows for hit in cells])])] if cells else []
    if copies:
        extras = originals[np.concatenate([hit.rows for hit in copies])]
        columns = {name: extras[name].clone() for name in {*keys, *(hit.fault.column for hit in copies)}}
        end = 0
        for hit in copies:
            place = np.arange(end, end + len(hit.rows))
            end += len(hit.rows)
            if hit.fault.way is Way.EXTRA and hit.fault.column not in keys:
                columns[keys[0]] = columns[keys[0]].scatter(place, columns[keys[0]].gather(place) + "X")
            columns[hit.fault.column] = columns[hit.fault.column].scatter(place, hit.values)
        extras = extras.with_columns(**columns)
        records.append(_record(table, copies, extras))
        frame = pl.concat([frame, extras]).sort("_customer", maintain_order=True)
    return Planted(frame, sound, pl.concat(records).sort("_customer", maintain_order=True))


def _record(table: str, hits: list[_Hit], rows: pl.DataFrame) -> pl.DataFrame:
    """The record of `hits`; `rows` are the rows they befell, as the table names them afterwards."""
    which = np.repeat(np.arange(len(hits)), [len(hit.rows) for hit in hits])
    said = pl.DataFrame(
        {
            "column_name": [hit.fault.column for hit in hits],
            "fault": [hit.fault.fault for hit in hits],
            "evidence": [hit.fault.evidence for hit in hits],
            "expected_outcome": [hit.fault.outcome for hit in hits],
            "expected_rule": [hit.fault.rule for hit in hits],
        }
    )[which]
    key = pl.concat_str([pl.col(name).fill_null("") for name in CONTRACT[table].key], separator="|")
    return said.with_columns(
        table_name=pl.lit(table), row_key=rows.select(key).to_series(), _customer=rows["_customer"].cast(pl.Int64)
    ).select(list(FAULT_SCHEMA))
