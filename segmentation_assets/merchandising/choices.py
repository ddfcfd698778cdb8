"""The products a marketer chose, as the table that matching reads.

What belongs here: which of two lists of choices is in force for a run, and whether a choice can be meant. What does
not: keeping choices between runs (`state.choices`), and whether a chosen product may be offered (`promotable`).
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from segmentation_assets.merchandising.plan import table_schema

#: A product, its discount as a share of the list price, and the size of its audience; None leaves one to the plan.
Choice = tuple[str, float | None, int | None]

#: Where a choice was made: kept by `segmentation products choose`, or named in the config of one run.
IN_STATE, IN_RUN = "state", "run"


def choices_frame(kept: Sequence[Choice], of_run: Sequence[Choice] = ()) -> pl.DataFrame:
    """`campaigns.product_choices`: one row per chosen product, sorted by id; empty when nothing is chosen.

    `kept` are the choices of the state store, `of_run` those of the run's config. A run that names products is about
    these alone: they replace the kept ones for that run. ValueError with a sentence for a product named twice or
    without an id, a discount outside [0, 1) and an audience below one customer.
    """
    choices, chosen_in = (of_run, IN_RUN) if of_run else (kept, IN_STATE)
    named: set[str] = set()
    for product_id, discount, customers in choices:
        if not product_id.strip():
            raise ValueError("A chosen product has no id.")
        if product_id in named:
            raise ValueError(f"Product {product_id} is chosen twice; name it once.")
        named.add(product_id)
        if discount is not None and not 0 <= discount < 1:
            raise ValueError(
                f"The discount chosen for product {product_id} is {discount:g}; it must be at least 0 and below 1 "
                "(0.15 is fifteen percent)."
            )
        if customers is not None and customers < 1:
            raise ValueError(f"The audience chosen for product {product_id} has {customers} customers; 1 is the least.")
    rows = [(*choice, chosen_in) for choice in sorted(choices, key=lambda choice: choice[0])]
    return pl.DataFrame(rows, schema=table_schema("campaigns/product_choices"), orient="row")
