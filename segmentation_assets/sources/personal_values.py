"""What is known of people, for the wall that keeps it in: contact details, read from the people database as hashes.

What belongs here: which columns hold personal values and in which forms a text would spell them. What does not: the
look-up and the hashing (`language.privacy_wall`). Beside loading and cleaning this is the one place that reads
contact details for a purpose other than a message to the person; nothing but salted hashes leaves it.
"""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import polars as pl

from segmentation_assets.language.privacy_wall import KnownValues
from segmentation_assets.sources.loading import CUSTOMER_IDS, RAW_CONTACTS
from segmentation_assets.warehouse.tables import has_table

CONTACTS = "people.contacts"
#: Rows that are held at a time.
BATCH_ROWS = 200_000

_COLUMNS = "email, first_name, last_name, phone, street"
#: A person is written "Ann Marie Lee", "Lee, Ann Marie" and "Ann Lee"; marks are taken out where the words are read;
#: the one behind an e-mail address says what it is also where its own is missing.
_FORMS = """
    email || '@' as email,
    phone,
    street,
    concat_ws(' ', first_name, last_name) as full_name,
    concat_ws(' ', last_name, first_name) as reversed_name,
    case
        when contains(trim(first_name), ' ') then concat_ws(' ', split_part(trim(first_name), ' ', 1), last_name)
    end as short_name
"""


def known_personal_values(con: duckdb.DuckDBPyConnection) -> KnownValues:
    """E-mail addresses, telephone numbers, full names and streets of all customers, and source ids that are personal.

    `con` has the people database attached (reading is enough): ValueError when not, for a wall that knows nobody
    must not be taken for one that found nothing. A source without contact details gives no known values. Reads
    `BATCH_ROWS` at a time; raw contacts in full and of the clean ones the rows that cleaning changed.
    """
    if not con.execute("select 1 from duckdb_databases() where database_name = 'people'").fetchall():
        raise ValueError(
            "The people database is not attached, so no personal value is known: open the warehouse with_people."
        )
    return KnownValues.of_batches(_batches(con))


def _batches(con: duckdb.DuckDBPyConnection) -> Iterator[pl.Series]:
    has_raw = has_table(con, RAW_CONTACTS)
    if has_raw:
        yield from _read(con, f"select {_FORMS} from {RAW_CONTACTS}")
    if has_table(con, CONTACTS):
        # Most clean rows are the raw ones again, and reading them twice would double the time.
        changed = f"where hash({_COLUMNS}) not in (select hash({_COLUMNS}) from {RAW_CONTACTS})" if has_raw else ""
        yield from _read(con, f"select {_FORMS} from {CONTACTS} {changed}")
    if has_table(con, CUSTOMER_IDS):
        yield from _read(con, f"select source_id from {CUSTOMER_IDS}")


def _read(con: duckdb.DuckDBPyConnection, query: str) -> Iterator[pl.Series]:
    for batch in con.sql(query).to_arrow_reader(BATCH_ROWS):
        yield from pl.DataFrame(batch).get_columns()
