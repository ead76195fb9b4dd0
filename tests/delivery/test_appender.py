"""A stream that is written: from its opening to its end, whatever happens between."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator, Sequence

import pytest
from pytest_django import Settings

from streamable_http import exceptions, ids
from streamable_http.delivery import appender
from streamable_http.delivery.engine import Engine
from streamable_http.models import StreamState
from streamable_http.stores import base
from tests.delivery import calls
from tests.delivery.conftest import started, with_memory
from tests.stores import writing


@pytest.fixture
def engine(engine_in_memory: Engine) -> Engine:
    return engine_in_memory


@contextlib.contextmanager
def committing(engine: Engine, call: calls.Call) -> Iterator[None]:
    """Begin to commit a call's opening, and have that commit take as long as the block."""
    write = engine.store.write
    is_writing, may_go_on = threading.Event(), threading.Event()

    def hold(writes: Sequence[base.StreamWrite], records: Sequence[base.NewRecord]) -> list[base.Outcome]:
        is_writing.set()
        assert may_go_on.wait(60)
        return write(writes, records)

    engine.store.write = hold  # type: ignore[method-assign]
    call.open()
    engine.log._release()
    assert is_writing.wait(60)
    try:
        yield
    finally:
        engine.store.write = write  # type: ignore[method-assign]
        may_go_on.set()


# Opening


async def test_what_is_emitted_before_the_opening_goes_with_it(engine: Engine) -> None:
    call = calls.Call(engine, await calls.session(engine))
    call.emit(b"1")
    call.end(b"2", StreamState.ANSWERED)
    await call.opened
    assert await calls.stored(engine, call.id) == ["1", "2"]
    assert await calls.state(engine, call.id) == StreamState.ANSWERED


async def test_what_is_emitted_while_the_opening_is_committed_comes_behind_it(engine: Engine) -> None:
    call = calls.Call(engine, await calls.session(engine))
    call.emit(b"1")
    with committing(engine, call):
        call.emit(b"2")
        await calls.in_thread(call.emit, b"3")
    await call.opened
    await calls.drain(engine, call)
    assert await calls.stored(engine, call.id) == ["1", "2", "3"]


async def test_an_end_without_an_event_while_the_opening_is_committed_is_not_forgotten(engine: Engine) -> None:
    call = calls.Call(engine, await calls.session(engine))
    with committing(engine, call):
        call.end(None, StreamState.CANCELLED)
    await call.opened
    await calls.flush(engine)
    assert await calls.state(engine, call.id) == StreamState.CANCELLED


async def test_the_opening_brings_the_sessions_log_level(engine: Engine) -> None:
    session_id = await calls.session(engine)
    await engine.read(engine.store.set_log_level, session_id, "error")
    assert (await calls.opened(engine, session_id)).log_level == "error"


async def test_a_refused_opening_is_told_to_whoever_waits_and_nothing_can_be_emitted(engine: Engine) -> None:
    session_id = await calls.session(engine)
    await calls.opened(engine, session_id, request_id="1")
    call = calls.Call(engine, session_id, request_id="1")
    call.emit(b"1")
    call.open()
    with pytest.raises(exceptions.RequestIdInFlight):
        await call.opened
    assert [type(error) for error in call.failures] == [exceptions.RequestIdInFlight]
    with pytest.raises(exceptions.CallCancelled):
        call.emit(b"2")


# An id that was taken


async def test_an_id_that_was_taken_is_drawn_again_and_nothing_is_lost_or_repeated(engine: Engine) -> None:
    session_id = await calls.session(engine)
    other = await calls.opened(engine, session_id, request_id="1")
    call = calls.Call(engine, session_id, request_id="2", follower=7)
    call.id = other.id
    ask = writing.ask(session_id)
    call.emit(b"1", ask=ask)
    with committing(engine, call):
        call.emit(b"2")
        call.emit(b"3")
    await call.opened
    call.end(b"4", StreamState.ANSWERED)
    await calls.drain(engine, call)
    assert call.id != other.id
    assert await calls.stored(engine, call.id) == ["1", "2", "3", "4"]
    assert await calls.stored(engine, other.id) == []
    assert await engine.read(engine.store.reply, session_id, ask.wire_id, "{}") == ask.id
    assert await calls.followed(engine, call.id) == ["1", "2", "3", "4"]
    assert call.failures == []
    assert call._waiting_events == call._waiting_bytes == 0


async def test_a_call_that_ended_before_its_id_was_drawn_again_still_ends(engine: Engine) -> None:
    session_id = await calls.session(engine)
    other = await calls.opened(engine, session_id, request_id="1")
    call = calls.Call(engine, session_id, request_id="2")
    call.id = other.id
    call.end(b"1", StreamState.ANSWERED)
    await call.opened
    assert await calls.stored(engine, call.id) == ["1"]
    assert await calls.state(engine, call.id) == StreamState.ANSWERED
    assert await calls.state(engine, other.id) == StreamState.OPEN


# Emitting


async def test_what_one_turn_emits_is_one_write(engine: Engine) -> None:
    call = await calls.opened(engine, await calls.session(engine))
    written: list[int] = []
    write = engine.store.write

    def watch(writes: Sequence[base.StreamWrite], records: Sequence[base.NewRecord]) -> list[base.Outcome]:
        written.extend(len(one.payloads) for one in writes)
        return write(writes, records)

    engine.store.write = watch  # type: ignore[method-assign]
    for _ in range(10):
        call.emit(b"x")
        # Though the thread should be awake and look: the turn is not over.
        assert not engine.log._take()
    call.end(b"x", StreamState.ANSWERED)
    await calls.flush(engine)
    assert written == [11]


async def test_a_stream_ends_once(engine: Engine) -> None:
    call = await calls.opened(engine, await calls.session(engine))
    call.end(b"1", StreamState.ANSWERED)
    call.end(b"2", StreamState.CANCELLED)
    with pytest.raises(exceptions.CallCancelled):
        call.emit(b"3")
    await calls.flush(engine)
    assert await calls.stored(engine, call.id) == ["1"]
    assert await calls.state(engine, call.id) == StreamState.ANSWERED


async def test_a_call_that_emits_more_than_a_stream_may_hold_fails_but_ends_properly(settings: Settings) -> None:
    with_memory(settings, MAX_STREAM_BYTES=10)
    async with started() as engine:
        call = await calls.opened(engine, await calls.session(engine))
        call.emit(b"x" * 10)
        await calls.drain(engine, call)
        call.emit(b"y")
        await calls.drain(engine, call)
        with pytest.raises(appender.StreamFull):
            call.emit(b"z")
        call.end(b"end", StreamState.ANSWERED)
        await calls.drain(engine, call)
        assert await calls.stored(engine, call.id) == ["x" * 10, "y", "end"]


# Losing


async def test_a_call_whose_stream_was_taken_from_it_is_told_and_writes_no_more(engine: Engine) -> None:
    session_id = await calls.session(engine)
    call = await calls.opened(engine, session_id, request_id="1")
    call.emit(b"1")
    await calls.drain(engine, call)
    # By another process: nobody here is told.
    await engine.read(engine.store.cancel, session_id, "1")
    call.emit(b"2")
    await calls.flush(engine)
    assert [type(error) for error in call.failures] == [exceptions.StreamLost]
    assert await calls.stored(engine, call.id) == ["1"]
    with pytest.raises(exceptions.CallCancelled):
        call.emit(b"3")


async def test_a_stream_that_was_given_up_may_still_take_its_final_event(engine: Engine) -> None:
    call = await calls.opened(engine, await calls.session(engine))
    call.emit(b"1")
    call.fail(exceptions.StoreError("poison"))
    call.reopen()
    call.end(b"end", StreamState.ANSWERED)
    await calls.drain(engine, call)
    assert await calls.stored(engine, call.id) == ["end"]
    assert await calls.state(engine, call.id) == StreamState.ANSWERED


async def test_whoever_waits_for_room_goes_on_when_the_stream_is_given_up(engine: Engine) -> None:
    call = calls.Call(engine, None)
    call._limit_events = 1
    with committing(engine, call):
        await call.emit(b"1")
        waits = asyncio.ensure_future(call.emit(b"2"))
        await asyncio.sleep(0)
        assert not waits.done()
        call.fail(exceptions.StreamLost(call.id))
        with pytest.raises(exceptions.CallCancelled):
            await asyncio.wait_for(waits, 2)


# Orphans


async def test_a_stream_of_a_dead_worker_goes_on_where_it_was(engine: Engine) -> None:
    dead, session_id = ids.new(), await calls.session(engine)
    stream_id = writing.stream(engine.store, session_id, "1", owner_id=dead, arguments="{}")
    [orphan] = await engine.log.run(engine.store.take_orphans, engine.lease.worker_id, ["test"], 10)
    failures: list[exceptions.StreamableHTTPError] = []
    stream = appender.Appender.of_orphan(engine.log, orphan, on_failure=failures.append)
    assert (stream.id, stream.session_id, stream.has_begun) == (stream_id, session_id, True)
    await stream.opened
    stream.emit(b"2")
    await calls.flush(engine)
    [lost] = await engine.read(engine.store.write, [writing.append(stream_id, "old", epoch=1)], [])
    assert isinstance(lost, exceptions.StreamLost)
    stream.end(b"3", StreamState.ANSWERED)
    await calls.flush(engine)
    assert await calls.stored(engine, stream_id) == ["1", "2", "3"]
    assert await calls.state(engine, stream_id) == StreamState.ANSWERED
    assert failures == []


async def test_a_stream_that_was_taken_and_cancelled_since_is_lost(engine: Engine) -> None:
    dead, session_id = ids.new(), await calls.session(engine)
    stream_id = writing.stream(engine.store, session_id, owner_id=dead, arguments="{}", request_id="7")
    [orphan] = await engine.log.run(engine.store.take_orphans, engine.lease.worker_id, ["test"], 10)
    await engine.read(engine.store.cancel, session_id, "7")
    failures: list[exceptions.StreamableHTTPError] = []
    stream = appender.Appender.of_orphan(engine.log, orphan, on_failure=failures.append)
    stream.emit(b"1")
    await calls.flush(engine)
    assert [type(error) for error in failures] == [exceptions.StreamLost]
    assert await calls.stored(engine, stream_id) == []
