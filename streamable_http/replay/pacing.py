"""When each entry of a replay is due."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from streamable_http.replay.entries import Entry


def paced(
    entries: Iterable[Entry], speed: float, *, longest_pause_seconds: float = 2.0
) -> Iterator[tuple[float, Entry]]:
    """Yield the pause before each entry, in seconds, with it; ``speed`` 10 is ten times as fast, 0 at once.

    Raises:
        ValueError: ``speed`` is negative.
    """
    if not speed >= 0:
        raise ValueError(f"speed is {speed}, and should not be negative")
    before: datetime | None = None
    for entry in entries:
        # What is written behind may be older than what came before it.
        passed = (entry.at - before).total_seconds() if before is not None else 0.0
        pause = min(max(passed, 0.0) / speed, longest_pause_seconds) if speed else 0.0
        yield pause, entry
        before = entry.at
