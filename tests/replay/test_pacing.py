"""When the entries of a replay are due."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import pytest

from streamable_http.replay.entries import Direction, Entry, Kind
from streamable_http.replay.pacing import paced

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def entry(seconds: float) -> Entry:
    return Entry(
        key=f"1.{seconds}",
        at=BEGIN + timedelta(seconds=seconds),
        direction=Direction.OUT,
        kind=Kind.NOTIFICATION,
        stream_id=1,
        sequence=1,
        method="",
        name="",
        request_id="",
        size_bytes=0,
        pair="",
        latency_ms=None,
        cursor="",
        payload=None,
    )


@pytest.mark.parametrize(
    ("speed", "pauses"),
    [
        (1, [0.0, 1.0, 2.0, 0.0]),
        (10, [0.0, 0.1, 2.0, 0.0]),
        (1_000, [0.0, 0.001, 0.1, 0.0]),
        (0, [0.0, 0.0, 0.0, 0.0]),
    ],
)
def test_pauses_are_shortened_and_never_long(speed: float, pauses: list[float]) -> None:
    entries = [entry(0), entry(1), entry(101), entry(100)]
    assert [pause for pause, _ in paced(entries, speed)] == pytest.approx(pauses)
    assert [shown for _, shown in paced(entries, speed)] == entries


def test_the_longest_pause_may_be_given() -> None:
    assert [pause for pause, _ in paced([entry(0), entry(9)], 1, longest_pause_seconds=math.inf)] == [0.0, 9.0]


@pytest.mark.parametrize("speed", [-1, math.nan])
def test_a_speed_that_is_none_is_refused(speed: float) -> None:
    with pytest.raises(ValueError, match="should not be negative"):
        list(paced([entry(0)], speed))
