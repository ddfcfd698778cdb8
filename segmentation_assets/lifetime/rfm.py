"""The eleven RFM groups: their names and the rule that puts a customer into one.

The rule itself runs in SQL (`sql/value/customer_rfm.sql`); this is the table it is held to, and the names nobody else
may use. Quintiles are computed there.
"""

from __future__ import annotations

#: Rows: recency quintile, 5 (bought lately) down to 1. Columns: worth 1 to 5, which is the mean of the frequency and
#: the monetary quintile, rounded down, so that a half counts only when both halves are earned.
RFM_RULES: dict[int, tuple[str, str, str, str, str]] = {
    5: ("New customers", "Potential loyalist", "Potential loyalist", "Champions", "Champions"),
    4: ("Promising", "Potential loyalist", "Potential loyalist", "Loyal", "Loyal"),
    3: ("About to sleep", "About to sleep", "Need attention", "Loyal", "Loyal"),
    2: ("Hibernating", "Hibernating", "At risk", "At risk", "Cannot lose them"),
    1: ("Lost", "Lost", "At risk", "Cannot lose them", "Cannot lose them"),
}

#: The names, best first. Reserved: a cluster is never called by one of them.
RFM_GROUPS: tuple[str, ...] = (
    "Champions", "Loyal", "Potential loyalist", "New customers", "Promising", "Need attention", "About to sleep",
    "At risk", "Cannot lose them", "Hibernating", "Lost",
)  # fmt: skip

#: What stands in the place of a group: for who never bought, and for buyers of whom a quintile is not known.
NEVER_BOUGHT = "Never bought"
UNKNOWN = "Unknown"


def rfm_group(recency_quintile: int, frequency_quintile: int, monetary_quintile: int) -> str:
    """The group of three quintiles, 1 to 5 each, 5 best. KeyError or IndexError for anything else."""
    return RFM_RULES[recency_quintile][(frequency_quintile + monetary_quintile) // 2 - 1]
