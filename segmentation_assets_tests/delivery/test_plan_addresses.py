"""Addresses become flags for the plan: in ASCII, with a problem, or suppressed by their keyed hash."""

from __future__ import annotations

import polars as pl

from segmentation_assets.delivery.plan_addresses import ascii_forms, suppressed_by_address
from segmentation_assets_tests.delivery.plan_world import KEY

CONTACTS = pl.DataFrame(
    {
        "customer_id": ["C1", "C2", "C3", "C4"],
        "email": ["ann@example.com", "ben@bücher.example", "fäy@example.com", "not an address"],
    }
)


def test_an_address_is_written_in_ascii_or_its_problem_is_named() -> None:
    assert ascii_forms(CONTACTS).rows() == [
        ("C1", "ann@example.com", None),
        ("C2", "ben@xn--bcher-kva.example", None),
        ("C3", None, "needs_smtputf8"),
        ("C4", None, "no_valid_address"),
    ]
    assert ascii_forms(CONTACTS.clear()).is_empty()


def test_an_address_is_found_on_the_list_whoever_it_belonged_to() -> None:
    listed = {KEY.hash_address("ben@xn--bcher-kva.example"): "complaint", KEY.hash_address("x@example.org"): "manual"}
    assert suppressed_by_address(ascii_forms(CONTACTS), listed, KEY).rows() == [("C2", "complaint")]
    assert suppressed_by_address(ascii_forms(CONTACTS), {}, KEY).is_empty()
