"""The products that a marketer chose to be offered: kept, in force until they are cleared, never overwritten by a run.

What belongs here: choosing, clearing and reading choices, with their bounds. What does not: whether a product may be
offered (`merchandising.promotable`), what a run makes of the choices (`merchandising.choices`), and the clock: when
something was chosen is handed in.

A choice is never changed but for being cleared. Choosing a product again clears the choice before it.
"""

from __future__ import annotations

import datetime as dt
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from sqlalchemy import select
from sqlalchemy.orm import Session

from segmentation_assets.state import models
from segmentation_assets.state.store import StateStore

#: Most customers an audience can be asked to have: more than any shop, and few enough for every engine's integers.
LARGEST_AUDIENCE = 1_000_000_000
_LONGEST_ID = 200
_MOST_LISTED = 12


class ChoiceError(ValueError):
    """A choice that cannot be kept or cleared; the message says why."""


@dataclass(frozen=True)
class ProductChoice:
    """One chosen product. `discount_share` and `audience_customers` are None where the plan decides.

    `discount_share` is a share of the list price (0.15 is fifteen percent); `chosen_at` is naive UTC.
    """

    choice_id: int
    product_id: str
    discount_share: float | None
    audience_customers: int | None
    chosen_at: dt.datetime
    is_active: bool = True


def check_choice(discount_share: float | None = None, audience_customers: int | None = None) -> None:
    """ChoiceError when a discount is no share of a price, or an audience no number of customers."""
    if discount_share is not None and not 0 <= discount_share < 1:
        raise ChoiceError(
            f"A discount is at least 0 and below 1, and 0.15 is fifteen percent; the one given is {discount_share:g}."
        )
    if audience_customers is not None and not 1 <= audience_customers <= LARGEST_AUDIENCE:
        raise ChoiceError(
            f"An audience has 1 to {LARGEST_AUDIENCE:,} customers; the one given has {audience_customers:,}."
        )


def choose_products(
    store: StateStore,
    product_ids: Sequence[str],
    discount_share: float | None = None,
    audience_customers: int | None = None,
    *,
    chosen_at: dt.datetime,
) -> list[ProductChoice]:
    """Choose products, all at the same discount and size of audience; returns their choices, sorted by id.

    Other products that are chosen stay chosen. The same choice again is not kept a second time: the one in force is
    returned. `chosen_at` with a time zone is kept as UTC. ChoiceError for no product, one named twice, an id that is
    no text of 1 to 200 characters, and a discount or size that `check_choice` refuses; nothing is changed then.
    """
    check_choice(discount_share, audience_customers)
    ids = _checked(product_ids)
    if not ids:
        raise ChoiceError("No product is named. `segmentation products list` shows those that may be chosen.")
    if chosen_at.tzinfo is not None:
        chosen_at = chosen_at.astimezone(dt.UTC).replace(tzinfo=None)
    with store.session(write=True) as session:
        held = _active(session)
        kept = []
        for product_id in ids:
            before = held.get(product_id)
            if before is not None:
                if (before.discount_share, before.audience_customers) == (discount_share, audience_customers):
                    kept.append(before)
                    continue
                before.is_active = False
            row = models.ProductChoice(
                product_id=product_id, discount_share=discount_share, audience_customers=audience_customers,
                is_active=True, chosen_at=chosen_at,
            )  # fmt: skip
            session.add(row)
            kept.append(row)
        session.flush()
        return [_record(row) for row in kept]


def clear_choices(store: StateStore, product_ids: Sequence[str] = ()) -> list[ProductChoice]:
    """Take choices back, all of them where no product is named; returns them, sorted by id.

    ChoiceError for a product that is not chosen, or named twice; nothing is changed then.
    """
    ids = _checked(product_ids)
    with store.session(write=True) as session:
        held = _active(session)
        if unknown := [product_id for product_id in ids if product_id not in held]:
            raise ChoiceError(
                f"{_listed(unknown)} {'is' if len(unknown) == 1 else 'are'} not among the products chosen; "
                f"there {'is' if len(held) == 1 else 'are'} {_listed(list(held))}."
            )
        rows = [held[product_id] for product_id in ids or held]
        for row in rows:
            row.is_active = False
        session.flush()
        return [_record(row) for row in rows]


def choices_in_force(store: StateStore) -> list[ProductChoice]:
    """The choices in force, one per product, sorted by id."""
    with store.session() as session:
        return [_record(row) for row in _active(session).values()]


def all_choices(store: StateStore) -> list[ProductChoice]:
    """Every choice ever kept, cleared ones too, oldest first."""
    with store.session() as session:
        return [_record(row) for row in session.scalars(select(models.ProductChoice).order_by(models.ProductChoice.id))]


def _active(session: Session) -> dict[str, models.ProductChoice]:
    """The active row of each chosen product, by id in its order."""
    query = select(models.ProductChoice).where(models.ProductChoice.is_active)
    found = {row.product_id: row for row in session.scalars(query.order_by(models.ProductChoice.id))}
    return {product_id: found[product_id] for product_id in sorted(found)}  # engines sort text differently


def _checked(product_ids: Sequence[str]) -> list[str]:
    """The ids without spaces around them, sorted."""
    ids = sorted(product_id.strip() for product_id in product_ids)
    for product_id in ids:
        if not 0 < len(product_id) <= _LONGEST_ID:
            raise ChoiceError(f"A product's id has 1 to {_LONGEST_ID} characters; this one has {len(product_id)}.")
        for character in product_id:
            if unicodedata.category(character) in {"Cc", "Cs"}:
                raise ChoiceError(
                    f"A product's id holds the character U+{ord(character):04X}, which cannot be printed."
                )
    if len(set(ids)) < len(ids):
        twice = next(product_id for product_id, after in pairwise(ids) if product_id == after)
        raise ChoiceError(f"Product {twice} is named twice; name it once.")
    return ids


def _listed(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - _MOST_LISTED} more" if len(ids) > _MOST_LISTED else ""
    return ", ".join(ids[:_MOST_LISTED]) + more if ids else "none"


def _record(row: models.ProductChoice) -> ProductChoice:
    return ProductChoice(
        row.id, row.product_id, row.discount_share, row.audience_customers, row.chosen_at, row.is_active
    )
