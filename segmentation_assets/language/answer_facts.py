"""The facts of how customers answered earlier messages, and what a measured campaign caused among them.

What belongs here: which counts become which fact, of whom each share is, and which of them must stay. What does not:
the counts themselves (sql/results/segment_engagement.sql and segment_campaigns.sql) and sentences (`profile_writer`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from segmentation_assets.language.facts import (
    MINIMUM_CELL,
    DeltaUnit,
    Fact,
    FactBook,
    FactKind,
    is_few,
    withheld_sizes,
)

Counts = Mapping[str, int]

_YEAR = "written_to_last_365_days_customers"
#: key of a share -> the customers it is of, and those of them it counts; columns of results.segment_engagement.
_SHARES: Mapping[str, tuple[str, str]] = {
    "written": ("customers", "written_to_last_90_days_customers"),
    "clicked": (_YEAR, "clicked_last_365_days_customers"),
    "fatigued": (_YEAR, "fatigued_customers"),
    "unsubscribed": ("written_to_customers", "unsubscribed_customers"),
}
#: The columns of results.segment_engagement that count, and so may be added up.
COUNTS: tuple[str, ...] = (
    "customers", "written_to_customers", "written_to_last_90_days_customers", "messages_last_90_days", _YEAR,
    "clicked_last_365_days_customers", "fatigued_customers", "unsubscribed_customers",
)  # fmt: skip
#: A difference to all customers that is worth a word, in shares.
NOTABLE_CLICKS, NOTABLE_REFUSALS = 0.02, 0.01
#: Standard errors by which a share must be off the shop's before anybody is told to act on it.
_CLEAR_ERRORS = 2.0
#: From this share of the customers written to on, a group is tired of messages: worth a word, and a softer letter.
MANY_FATIGUED = 0.2


def added_up(groups: Sequence[Counts]) -> dict[str, int]:
    """The counts (`COUNTS`) of several groups that share nobody, as one group's; noughts for no group."""
    return {name: sum(int(group[name]) for group in groups) for name in COUNTS}


def answer_facts(
    own: Counts, groups: Sequence[Counts], subject: str, minimum_cell: int = MINIMUM_CELL
) -> tuple[Fact, ...]:
    """How the group `own` answered messages, beside all customers: shares, their differences, messages per customer.

    `groups` are all groups of the division that `own` is one of, itself included; together they are the shop.
    Fewer than `minimum_cell` people to whom nobody, or hardly anybody, wrote have no figure: a fact is there only
    where so many are behind it. It stays where it, the rest of its group, the customers outside the group or what is
    left over beside the other groups would tell of fewer.
    """
    shop = added_up(groups)
    facts: list[Fact] = []
    for key, (whole, part) in _SHARES.items():
        customers, some = int(own[whole]), int(own[part])
        # Where no message is known at all, that nobody was written to is not known either.
        if customers < max(minimum_cell, 1) or shop["written_to_customers"] == 0:
            continue
        share, overall = some / customers, shop[part] / shop[whole]
        others, other_part = shop[whole] - customers, shop[part] - some
        told = [customers, some, customers - some, others, other_part, others - other_part]
        stays = any(is_few(people, minimum_cell) for people in told) or any(
            withheld_sizes(sizes, minimum_cell)
            for sizes in (
                [int(group[whole]) for group in groups],
                [int(group[part]) for group in groups],
                [int(group[whole]) - int(group[part]) for group in groups],
            )
        )
        facts += [
            Fact(key, FactKind.SHARE, share, subject, customers, numerator=some, stays=stays),
            Fact(f"{key}_shop", FactKind.SHARE, overall, subject, customers, stays=stays),
            Fact(f"{key}_gap", FactKind.DELTA, share - overall, subject, customers, DeltaUnit.POINTS, stays=stays),
        ]
    return (*facts, *_messages(own, shop, subject, minimum_cell))


def _messages(own: Counts, shop: Counts, subject: str, minimum_cell: int) -> list[Fact]:
    """Messages in 90 days per customer who got one, beside the shop's."""
    column = "written_to_last_90_days_customers"
    customers = int(own[column])
    if customers < max(minimum_cell, 1):
        return []
    stays = is_few(shop[column] - customers, minimum_cell)
    each, overall = own["messages_last_90_days"] / customers, shop["messages_last_90_days"] / shop[column]
    return [
        Fact("messages", FactKind.COUNT, each, subject, customers, stays=stays),
        Fact("messages_shop", FactKind.COUNT, overall, subject, customers, stays=stays),
        Fact("messages_gap", FactKind.DELTA, each / overall - 1, subject, customers, DeltaUnit.RELATIVE, stays=stays),
    ]


def clear_gap(book: FactBook, key: str, least: float) -> float:
    """The difference of the share `key` to the shop's, as a share; 0 where it is under `least` or may be chance.

    Chance is two standard errors of a share as large as the shop's, of as many customers as are behind the fact.
    """
    gap, overall = book.get(f"{key}_gap"), book.number(f"{key}_shop")
    if gap is None or not gap.customers or not 0 <= overall <= 1:
        return 0.0
    error = math.sqrt(overall * (1 - overall) / gap.customers)
    return gap.number if abs(gap.number) >= max(least, _CLEAR_ERRORS * error) else 0.0


def effect_facts(campaign: Mapping[str, object], subject: str, minimum_cell: int = MINIMUM_CELL) -> tuple[Fact, ...]:
    """What the campaign (a row of results.segment_campaigns) caused: the effect on buyers and its 95 % interval.

    No facts where fewer than `minimum_cell` were written to or left out. They stay where buyers or others of either
    arm are fewer than that.
    """
    arms = [
        (int(str(campaign[f"{arm}_customers"])), int(str(campaign[f"{arm}_buyers"]))) for arm in ("treated", "control")
    ]
    if any(customers < max(minimum_cell, 1) for customers, _ in arms):
        return ()
    stays = any(is_few(people, minimum_cell) for customers, buyers in arms for people in (buyers, customers - buyers))
    customers = sum(number for number, _ in arms)
    return tuple(
        Fact(key, FactKind.DELTA, float(str(campaign[column])), subject, customers, DeltaUnit.POINTS, stays=stays)
        for key, column in (("effect", "effect"), ("effect_low", "low"), ("effect_high", "high"))
    )
