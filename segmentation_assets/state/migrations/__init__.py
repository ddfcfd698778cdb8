"""Migrations of the state store, run by `store.open_state`; there is no alembic.ini to keep beside them."""
