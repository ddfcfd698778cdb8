"""Ids and digests of campaigns: what makes two plans, or two contents, the same.

What belongs here: the values that planning, approving, sending, tracking and measuring share. What does not: what a
campaign says (`messaging.content`), and storing (`state`).
"""

from __future__ import annotations

import hashlib
import json
import uuid
from typing import Any, Literal

Arm = Literal["treated", "control", "hold_out"]
Decision = Literal["send", "control", "hold_out", "excluded"]

#: Namespace of send ids; changing it would let a planned campaign be sent a second time.
SENDS = uuid.UUID("6f0d0a3e-9a44-4b7e-8f0e-6a2d3c5b1e70")


def digest(value: Any) -> str:
    """SHA-256 of a JSON-able value in a canonical form: the same value always has the same digest."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def send_id(campaign_id: str, customer_id: str) -> str:
    """The id of a campaign's message to a customer: the same whenever and however often it is planned."""
    return str(uuid.uuid5(SENDS, f"{campaign_id}\x1f{customer_id}"))
