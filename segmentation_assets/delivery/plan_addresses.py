"""What the plan has to know of addresses, as flags: this is the one part of planning that sees them.

What belongs here: addresses in ASCII, those that cannot be delivered to, and those that are suppressed by their keyed
hash. What does not: reading contact details (`defs` opens them briefly and drops them), what makes an address valid
(`messaging.address`), and the plan itself (`plan`). No address is in an error or a log.
"""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from segmentation_assets.delivery.keys import SecretKey
from segmentation_assets.messaging.address import ascii_addresses

_FORMS = {"customer_id": pl.String(), "ascii_address": pl.String(), "problem": pl.String()}
_SUPPRESSED = {"customer_id": pl.String(), "suppressed_as": pl.String()}


def ascii_forms(contacts: pl.DataFrame) -> pl.DataFrame:
    """The address of each row of `contacts` (customer_id, email) in ASCII, or the problem with it.

    Columns customer_id, ascii_address and problem (needs_smtputf8, no_valid_address), of which one is null. A million
    addresses take a few seconds.
    """
    addresses, problems = ascii_addresses(contacts["email"].to_list())
    return pl.DataFrame([contacts["customer_id"].to_list(), addresses, problems], schema=_FORMS, orient="col")


def suppressed_by_address(forms: pl.DataFrame, suppressed: Mapping[str, str], key: SecretKey) -> pl.DataFrame:
    """(customer_id, suppressed_as) of those whose address is suppressed, though their id may not be.

    `forms` is a result of `ascii_forms`, `suppressed` the kind of suppression by the keyed hash of an address.
    """
    if not suppressed:
        return pl.DataFrame(schema=_SUPPRESSED)
    known = forms.drop_nulls("ascii_address")
    hashes = pl.Series(key.hashed("address", known["ascii_address"].to_list()), dtype=pl.String())
    kinds = hashes.replace_strict(dict(suppressed), default=None, return_dtype=pl.String())
    return known.select("customer_id", suppressed_as=kinds).drop_nulls().sort("customer_id")
