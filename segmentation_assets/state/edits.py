"""What people wrote in the place of a writer: kept, in force until it is undone, and never overwritten by a run.

What belongs here: writing, undoing and reading edits, with the bounds of a stored text. What does not: whether a text
is true (`language`), and the clock: when something was edited is handed in.

An edit is never changed but for being undone. Of an item's field the newest edit that was not undone is in force, so
undoing one brings back the one before it, and undoing the last brings back the writer's own text.
"""

from __future__ import annotations

import datetime as dt
import unicodedata
from dataclasses import dataclass
from typing import Literal, get_args

from sqlalchemy import select

from segmentation_assets.state.models import Edit
from segmentation_assets.state.store import StateStore

EditKind = Literal["name", "profile", "strategy", "draft"]
KINDS: tuple[EditKind, ...] = get_args(EditKind)
#: Most characters of an edited text, as typed and as template.
LONGEST_TEXT = 4_000
_LONGEST_LABEL = 200


class EditError(ValueError):
    """An edit that cannot be kept or undone; the message says why."""


@dataclass(frozen=True)
class EditRecord:
    """One edit: `typed` is what the person wrote, `template` the same with its figures as `{{key}}`.

    `item` is a segment ("taste T1") or a draft's id; `edited_at` is naive UTC.
    """

    edit_id: int
    kind: EditKind
    item: str
    field: str
    template: str
    typed: str
    edited_at: dt.datetime
    is_active: bool = True


def put_edit(
    store: StateStore, kind: EditKind, item: str, field: str, *, template: str, typed: str, edited_at: dt.datetime
) -> EditRecord:
    """Keep an edit, in force from now on; returns it with its id. `edited_at` with a time zone is kept as UTC.

    The same words as those in force are not kept a second time: the edit in force is returned. EditError for an
    unknown kind, an empty label or text, a text over LONGEST_TEXT characters, or characters that are no text.
    """
    if kind not in KINDS:
        raise EditError(f"{kind!r} is no kind of edit; there are {', '.join(KINDS)}.")
    item, field, template, typed = item.strip(), field.strip(), template.strip(), typed.strip()
    for label, what in ((item, "item"), (field, "field")):
        if not 0 < len(label) <= _LONGEST_LABEL:
            raise EditError(f"An edit names its {what} in 1 to {_LONGEST_LABEL} characters; this one has {len(label)}.")
    for text in (typed, template):
        _check_text(f"{kind} {item}, {field}", text)
    if edited_at.tzinfo is not None:
        edited_at = edited_at.astimezone(dt.UTC).replace(tzinfo=None)
    with store.session(write=True) as session:
        query = select(Edit).where(Edit.kind == kind, Edit.item == item, Edit.field == field, Edit.is_active)
        newest = session.scalar(query.order_by(Edit.id.desc()).limit(1))
        if newest is not None and (newest.template, newest.typed) == (template, typed):
            return _record(newest)
        row = Edit(
            kind=kind, item=item, field=field, template=template, typed=typed, is_active=True, edited_at=edited_at
        )
        session.add(row)
        session.flush()
        return _record(row)


def undo_edit(store: StateStore, edit_id: int) -> tuple[EditRecord, EditRecord | None]:
    """Undo an edit; returns it, and the edit of the same field that is in force now (None: the writer's own text).

    EditError for an id that is not there, or was undone before.
    """
    with store.session(write=True) as session:
        row = session.get(Edit, edit_id)
        if row is None:
            raise EditError(f"There is no edit {edit_id}. `segmentation edit list` shows those there are.")
        if not row.is_active:
            raise EditError(f"Edit {edit_id} ({row.kind} {row.item}, {row.field}) was undone before.")
        row.is_active = False
        session.flush()
        query = select(Edit).where(
            Edit.kind == row.kind, Edit.item == row.item, Edit.field == row.field, Edit.is_active
        )
        left = session.scalar(query.order_by(Edit.id.desc()).limit(1))
        return _record(row), None if left is None else _record(left)


def edits_in_force(store: StateStore, kind: EditKind) -> dict[str, dict[str, EditRecord]]:
    """The edits of a kind that are in force: by item, then by field. In order of item and field."""
    found: dict[str, dict[str, EditRecord]] = {}
    with store.session() as session:
        query = select(Edit).where(Edit.kind == kind, Edit.is_active).order_by(Edit.item, Edit.field, Edit.id)
        for row in session.scalars(query):
            found.setdefault(row.item, {})[row.field] = _record(row)  # the newest of a field comes last
    return found


def edited_segments(store: StateStore, kind: EditKind) -> dict[tuple[str, str], dict[str, tuple[str, dt.datetime]]]:
    """The edits of segments in force as their writers take them: template and time, by (axis, segment_id), field."""
    return {
        (item.partition(" ")[0], item.partition(" ")[2]): _templates(fields)
        for item, fields in edits_in_force(store, kind).items()
    }


def edited_drafts(store: StateStore) -> dict[str, dict[str, tuple[str, dt.datetime]]]:
    """The edits of drafts in force as their writer takes them: template and time, by draft id and field."""
    return {item: _templates(fields) for item, fields in edits_in_force(store, "draft").items()}


def _templates(fields: dict[str, EditRecord]) -> dict[str, tuple[str, dt.datetime]]:
    return {field: (record.template, record.edited_at) for field, record in fields.items()}


def all_edits(store: StateStore) -> list[EditRecord]:
    """Every edit ever kept, undone ones too, oldest first."""
    with store.session() as session:
        return [_record(row) for row in session.scalars(select(Edit).order_by(Edit.id))]


def _check_text(where: str, text: str) -> None:
    if not text:
        raise EditError(f"{where}: the text is empty. Undo an edit with `segmentation edit undo`.")
    if len(text) > LONGEST_TEXT:
        raise EditError(f"{where}: the text has {len(text):,} characters; at most {LONGEST_TEXT:,} are kept.")
    for character in text:
        if character not in "\n\t" and unicodedata.category(character) in {"Cc", "Cs"}:
            raise EditError(f"{where}: the text holds the character U+{ord(character):04X}, which cannot be printed.")


def _record(row: Edit) -> EditRecord:
    kind = next(known for known in KINDS if known == row.kind)
    return EditRecord(row.id, kind, row.item, row.field, row.template, row.typed, row.edited_at, row.is_active)
