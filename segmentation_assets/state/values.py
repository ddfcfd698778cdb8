"""Single values of the state store, by name."""

from __future__ import annotations

from typing import Any

from segmentation_assets.state.models import StateValue
from segmentation_assets.state.store import StateStore


def get_value(store: StateStore, name: str) -> Any:
    """The value kept under `name`, None when there is none."""
    with store.session() as session:
        row = session.get(StateValue, name)
        return None if row is None else row.value


def put_value(store: StateStore, name: str, value: Any) -> None:
    """Keep a JSON-able value under `name`, in the place of the one before."""
    with store.session(write=True) as session:
        session.merge(StateValue(name=name, value=value))


def put_value_once(store: StateStore, name: str, value: Any) -> Any:
    """Keep `value` unless something is kept under `name` already; returns what is kept then."""
    with store.session(write=True) as session:
        row = session.get(StateValue, name)
        if row is not None:
            return row.value
        session.add(StateValue(name=name, value=value))
        return value
