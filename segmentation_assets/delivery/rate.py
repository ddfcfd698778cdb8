"""How fast may be sent, when a deferred message is tried again, and when to stop: limits shared by all connections.

What belongs here: the token bucket, the back-off and the circuit breaker. What does not: sending.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable

#: A deferred message waits 1, 4, 16, 64 ... minutes, and never more than four hours.
BACK_OFF_SECONDS = 60.0
BACK_OFF_FACTOR = 4.0
LONGEST_BACK_OFF_SECONDS = 4 * 3600.0


class TokenBucket:
    """At most `per_second` messages a second over all threads, and `burst` at once after a pause."""

    def __init__(self, per_second: float, monotonic: Callable[[], float], burst: int = 1) -> None:
        self._interval = 1.0 / per_second
        self._monotonic = monotonic
        self._slack = self._interval * (burst - 1)
        self._next = monotonic()
        self._lock = threading.Lock()

    def take(self) -> float:
        """Take the next free moment; returns the seconds to wait for it, 0 when it is now."""
        with self._lock:
            now = self._monotonic()
            self._next = max(self._next, now - self._slack)
            wait = self._next - now
            self._next += self._interval
            return max(0.0, wait)


def back_off_seconds(send_id: str, tried: int) -> float:
    """How long a message waits after its `tried`th try was deferred.

    Between 75 and 125 % of the exponential wait, by a hash of the send id: messages deferred together do not come
    back together, and the same message always waits the same.
    """
    drawn = hashlib.blake2b(f"{send_id}\x1f{tried}".encode(), digest_size=8).digest()
    jitter = 0.75 + 0.5 * int.from_bytes(drawn, "big") / 2**64
    return min(LONGEST_BACK_OFF_SECONDS, BACK_OFF_SECONDS * BACK_OFF_FACTOR ** (tried - 1)) * jitter


class CircuitBreaker:
    """Opens after `failures` failures in a row, over all connections; it does not close again by itself."""

    def __init__(self, failures: int) -> None:
        self._most = failures
        self._lock = threading.Lock()
        self._in_a_row = 0
        self.sentence = ""

    @property
    def is_open(self) -> bool:
        """Whether sending has to stop."""
        return bool(self.sentence)

    def succeeded(self) -> None:
        """A message was accepted."""
        with self._lock:
            self._in_a_row = 0

    def failed(self, what: str) -> bool:
        """The server, not a recipient, was the reason that a message was not accepted; returns whether to stop."""
        with self._lock:
            self._in_a_row += 1
            if self._in_a_row >= self._most and not self.sentence:
                self.sentence = (
                    f"Sending stopped after {self._in_a_row} failures in a row; the last: {what}. "
                    "Look at the mail server, then send again: what was sent is not sent twice."
                )
            return bool(self.sentence)
