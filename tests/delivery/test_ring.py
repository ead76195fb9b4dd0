"""A ring: the stream of an exchange that cannot be resumed."""

from __future__ import annotations

import asyncio

import pytest
from pytest_django import Settings

from streamable_http import exceptions
from streamable_http.delivery import appender
from streamable_http.delivery.ring import RING_BYTES, RING_EVENTS, Ring, Transcript
from streamable_http.models import StreamState
from streamable_http.stores import base


async def read(ring: Ring) -> list[str]:
    return [event.payload async for events in ring.follow(idle_seconds=5) for event in events]


def flood(ring: Ring) -> None:
    for _ in range(10 * RING_EVENTS):
        ring.emit(b"x")


async def test_everything_comes_out_in_order_and_then_it_ends() -> None:
    ring = Ring()
    reading = asyncio.create_task(read(ring))
    for number in range(1_000):
        await ring.emit(b"%d" % number)
    ring.end(b"end", StreamState.ANSWERED)
    assert await reading == [*map(str, range(1_000)), "end"]


async def test_a_slow_reader_makes_the_call_wait() -> None:
    ring = Ring()
    for number in range(RING_EVENTS - 1):
        await ring.emit(b"%d" % number)
    waiting = asyncio.ensure_future(ring.emit(b"last"))
    await asyncio.sleep(0)
    assert not waiting.done()
    assert len(await ring.page(1)) == RING_EVENTS
    await waiting


async def test_a_call_that_never_waits_is_stopped() -> None:
    ring = Ring()
    with pytest.raises(appender.OutboxFull):
        flood(ring)


async def test_a_thread_waits_for_room_and_goes_on() -> None:
    ring = Ring()

    def tool() -> None:
        for number in range(10 * RING_EVENTS):
            ring.emit(b"%d" % number)
        ring.end(b"end", StreamState.ANSWERED)

    working = asyncio.create_task(asyncio.to_thread(tool))
    assert await read(ring) == [*map(str, range(10 * RING_EVENTS)), "end"]
    await working


async def test_a_thread_that_waits_is_let_go_at_the_end() -> None:
    ring = Ring()

    working = asyncio.create_task(asyncio.to_thread(flood, ring))
    while not ring.is_full:  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    ring.end(None, StreamState.CANCELLED)
    with pytest.raises(exceptions.CallCancelled):
        await working


async def test_a_reader_that_takes_nothing_fails_the_call_in_the_end(settings: Settings) -> None:
    settings.STREAMABLE_HTTP = {"EMIT_TIMEOUT_SECONDS": 0.01}
    ring = Ring()
    for _ in range(RING_EVENTS - 1):
        await ring.emit(b"x")
    with pytest.raises(appender.OutboxFull):
        await ring.emit(b"x")


async def test_silence_gives_an_empty_page() -> None:
    assert await Ring().page(0.001) == []


async def test_nothing_can_be_added_behind_the_end() -> None:
    told: list[tuple[Transcript, StreamState, base.Ending]] = []
    ring = Ring(on_end=lambda *how: told.append(how))
    ring.emit(b"1")
    ending = base.Ending("result", 1.5)
    ring.end(b"2", StreamState.ANSWERED, ending)
    ring.end(b"3", StreamState.CANCELLED)
    with pytest.raises(exceptions.CallCancelled):
        ring.emit(b"4")
    assert await read(ring) == ["1", "2"]
    assert told == [(Transcript(["1", "2"], skipped=0), StreamState.ANSWERED, ending)]


@pytest.mark.parametrize("payload", [None, b"end"])
async def test_a_reader_that_waits_is_told_of_the_end(payload: bytes | None) -> None:
    ring = Ring()
    reading = asyncio.create_task(read(ring))
    await asyncio.sleep(0)
    ring.end(payload, StreamState.ANSWERED)
    assert await asyncio.wait_for(reading, 2) == ([payload.decode()] if payload else [])


async def test_a_reader_that_waits_is_told_of_an_end_in_another_thread() -> None:
    ring = Ring()
    reading = asyncio.create_task(read(ring))
    await asyncio.to_thread(ring.end, None, StreamState.ANSWERED)
    assert await asyncio.wait_for(reading, 2) == []


async def test_a_call_that_waits_for_room_is_let_go_at_the_end() -> None:
    ring = Ring()
    waiting = [asyncio.ensure_future(ring.emit(b"x")) for _ in range(RING_EVENTS)][-1]
    await asyncio.sleep(0)
    assert not waiting.done()
    ring.end(None, StreamState.CANCELLED)
    await asyncio.wait_for(waiting, 2)


async def test_when_its_reader_is_gone_a_call_runs_on_and_its_end_is_noted() -> None:
    noted: list[Transcript] = []
    ring = Ring(on_end=lambda transcript, *_: noted.append(transcript))
    waiting = asyncio.create_task(asyncio.to_thread(flood, ring))
    while not ring.is_full:  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    ring.abandon()
    await waiting
    ring.end(b"end", StreamState.ANSWERED)
    assert noted == [Transcript(["x"] * (RING_EVENTS - 1) + ["end"], skipped=9 * RING_EVENTS + 1)]


async def test_only_so_many_bytes_are_noted_but_the_end_in_any_case() -> None:
    noted: list[Transcript] = []
    ring = Ring(on_end=lambda transcript, *_: noted.append(transcript))
    ring.emit(b"first")
    await ring.page(1)
    ring.emit(b"second")
    ring.end(b"x" * (RING_BYTES + 1), StreamState.ANSWERED)
    assert noted == [Transcript(["x" * (RING_BYTES + 1)], skipped=2)]
