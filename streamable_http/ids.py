"""Time-ordered ids for rows that are named before they are committed.

Milliseconds since 1970, then 20 random bits, in a signed 64-bit integer. Random ids cost a quarter of the
throughput on SQLite, because every insert hits another page of the index.
"""

from __future__ import annotations

import random
import threading
import time
from typing import Final

RANDOM_BITS: Final = 20


class Generator:
    """Makes ids that never repeat within the process; across processes the store refuses the rare repeat."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0

    def __call__(self) -> int:
        """Return the next id. Safe in any thread."""
        # No secret: ids name rows. The generator is seeded anew in each forked process.
        fresh = time.time_ns() // 1_000_000 << RANDOM_BITS | random.getrandbits(RANDOM_BITS)
        with self._lock:
            if fresh <= self._last:
                fresh = self._last + 1
            self._last = fresh
        return fresh


def first_at(unix_seconds: float) -> int:
    """Return the smallest id that can be made at this time: rows before it are older."""
    return int(unix_seconds * 1_000) << RANDOM_BITS


def made_at(id: int) -> float:
    """Return when an id was made, in seconds since 1970 by the clock of whoever made it."""
    return (id >> RANDOM_BITS) / 1_000


new: Final = Generator()
