"""What one process has one of: made once, started once, ended without leaving anything behind."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import connections, transaction
from django.dispatch import Signal
from pytest_django import Settings

from streamable_http import exceptions
from streamable_http.delivery import engine as engines
from streamable_http.delivery.engine import Engine
from streamable_http.models import StreamState
from streamable_http.server import MCPServer
from streamable_http.stores import base
from tests.delivery import calls
from tests.delivery.conftest import started, with_memory
from tests.endpoint.client import Client
from tests.stores import writing
from tests.stores.aging import pass_seconds


@pytest.fixture
async def here(engine_in_memory: Engine) -> Engine:
    return engine_in_memory


@pytest.fixture
async def two(log_alias: str, settings: Settings) -> AsyncIterator[tuple[Engine, Engine]]:
    """Two workers of one log, without wake-ups between them."""
    settings.STREAMABLE_HTTP = {**settings.STREAMABLE_HTTP, "POLL_MIN_SECONDS": 0.01, "POLL_MAX_SECONDS": 0.02}
    async with started() as one, started() as other:
        yield one, other


# Beginning


async def test_there_is_one_engine_of_a_loop(settings: Settings) -> None:
    with_memory(settings)
    first = engines.current()
    assert engines.current() is first
    there = await asyncio.to_thread(lambda: asyncio.run(_current_and_stopped()))
    assert there is not first
    await engines.current().stop()
    await first.stop()


async def _current_and_stopped() -> Engine:
    current = engines.current()
    await current.stop()
    return current


async def test_a_setting_that_does_not_exist_is_said_before_anything_is_made(settings: Settings) -> None:
    settings.STREAMABLE_HTTP = {"DATABSE": "log"}
    with pytest.raises(ImproperlyConfigured, match="DATABASE"):
        Engine()


async def test_however_many_start_it_it_starts_once(settings: Settings) -> None:
    with_memory(settings)
    engine = Engine()
    await asyncio.gather(*(engine.start() for _ in range(5)))
    await engine.start()
    assert len(engine.store._leases) == 1
    await engine.stop()


async def test_a_start_that_failed_is_tried_again_by_the_next_caller(settings: Settings) -> None:
    with_memory(settings)
    engine = Engine()
    register = engine.store.register_worker

    def fail(*arguments: object) -> None:
        raise exceptions.StoreUnavailable("down")

    engine.store.register_worker = fail  # type: ignore[method-assign]
    with pytest.raises(exceptions.StoreUnavailable):
        await engine.start()
    assert not engine.is_started
    engine.store.register_worker = register  # type: ignore[method-assign]
    await engine.start()
    assert engine.is_started
    assert engine.lease.is_safe()
    await engine.stop()


async def test_one_that_was_never_started_just_ends(settings: Settings) -> None:
    with_memory(settings)
    await Engine().stop()


# The end


async def test_what_waits_is_committed_before_the_end(log_alias: str) -> None:
    async with started() as engine:
        call = await calls.opened(engine, await calls.session(engine))
        call.emit(b"1")
        call.end(b"2", StreamState.ANSWERED)
    # In a thread, as the engine is no more.
    page = await calls.in_thread(engine.store.read, call.id, 0, 10)
    assert page is not None
    assert [event.payload for event in page.events] == ["1", "2"]
    assert page.state == StreamState.ANSWERED


def threads() -> set[threading.Thread]:
    """Ours in this process; those that authenticate outlive an engine."""
    return {thread for thread in threading.enumerate() if thread.name.startswith("streamable-http-")}


async def test_at_the_end_the_lease_is_given_back_and_the_threads_are_gone(log_alias: str) -> None:
    before = threads()
    async with started() as engine:
        worker_id = engine.lease.worker_id
        await engine.run_tool(lambda: None)
    assert not await calls.in_thread(engine.store.renew_worker, worker_id, 60.0)
    assert threads() <= before


async def test_tasks_that_still_run_are_ended(settings: Settings) -> None:
    with_memory(settings)
    ended = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with started() as engine:
        engine.spawn(work())
        await asyncio.sleep(0)
    assert ended.is_set()


# Threads


async def test_a_read_whose_connection_had_broken_is_tried_once_more(here: Engine) -> None:
    tries = []

    def fail_once() -> str:
        tries.append(1)
        if len(tries) == 1:
            raise exceptions.StoreUnavailable("broken")
        return "read"

    assert await here.read(fail_once) == "read"

    def fail() -> None:
        raise exceptions.StoreUnavailable("down")

    with pytest.raises(exceptions.StoreUnavailable):
        await here.read(fail)


async def test_a_tool_finds_no_connection_that_has_outlived_its_time(engine: Engine) -> None:
    alias = engine.store.alias

    def outlives() -> object:
        connections[alias].ensure_connection()
        connections[alias].close_at = 0.0
        return connections[alias].connection

    def look() -> object:
        return connections[alias].connection

    assert await engine.run_tool(outlives) is not None
    assert await engine.run_tool(look) is None


async def test_a_transaction_on_any_database_is_seen(engine: Engine) -> None:
    def inside() -> bool:
        with transaction.atomic(using=engine.store.alias):
            return engines.is_in_transaction()

    assert await engine.run_tool(inside)
    assert not await engine.run_tool(engines.is_in_transaction)


# News


async def test_anybody_may_append_to_a_listening_stream_from_any_thread(here: Engine) -> None:
    session_id = await calls.session(here)
    following = here.follows.follow(session_id, 0)
    assert await anext(following) == []
    await calls.in_thread(here.append, session_id, b"1")
    assert [event.payload for event in await anext(following)] == ["1"]
    here.append(session_id, b"2")
    assert [event.payload for event in await anext(following)] == ["2"]
    await following.aclose()


async def test_appending_to_a_stream_that_is_over_is_no_error(here: Engine) -> None:
    here.append(1, b"1")
    await calls.flush(here)


async def test_two_workers_append_to_one_listening_stream_without_gap(two: tuple[Engine, Engine]) -> None:
    one, other = two
    session_id = await calls.session(one)
    for number in range(50):
        one.append(session_id, b"%d" % number)
        other.append(session_id, b"%d" % number)
        await asyncio.sleep(0)
    await calls.flush(one)
    await calls.flush(other)
    stored = await calls.stored(one, session_id)
    assert sorted(stored, key=int) == [str(number // 2) for number in range(100)]


async def test_a_stream_is_followed_at_another_worker_without_gap(two: tuple[Engine, Engine]) -> None:
    one, other = two
    call = await calls.opened(one, await calls.session(one))
    following = [asyncio.create_task(calls.followed(other, call.id, after)) for after in (0, 0)]
    for number in range(1, 301):
        await call.emit(b"%d" % number)
        if number % 20 == 0:
            await calls.flush(one)
    call.end(b"end", StreamState.ANSWERED)
    for task in following:
        assert await asyncio.wait_for(task, 20) == [*map(str, range(1, 301)), "end"]


async def test_a_worker_that_takes_over_a_stream_pushes_the_other_away(two: tuple[Engine, Engine]) -> None:
    one, other = two
    session_id = await calls.session(one)
    await one.read(one.store.take, session_id, 1)
    older = asyncio.create_task(calls.followed(one, session_id, follower=1))
    await asyncio.sleep(0)
    await other.read(other.store.take, session_id, 2)
    newer = other.follows.follow(session_id, 0, follower=2)
    await anext(newer)
    with pytest.raises(engines.follow.Superseded):
        await asyncio.wait_for(older, 10)
    other.append(session_id, b"1")
    assert [event.payload for event in await asyncio.wait_for(anext(newer), 10)] == ["1"]
    await newer.aclose()


async def test_the_calls_of_a_worker_that_died_end_at_its_neighbour(two: tuple[Engine, Engine]) -> None:
    one, other = two
    call = await calls.opened(one, await calls.session(one))
    following = asyncio.create_task(calls.followed(other, call.id))
    await one.read(one.store.retire_worker, one.lease.worker_id)
    # Unless the housekeeping of one of the two is first.
    await other.log.run(other.store.end_orphans, lambda request_id: f"lost {request_id}", 10)
    assert len(await asyncio.wait_for(following, 10)) == 1
    # What it writes when it goes on does not count, whether it has been told or not.
    with contextlib.suppress(exceptions.CallCancelled):
        call.emit(b"late")
    await calls.flush(one)
    assert await calls.state(other, call.id) == StreamState.LOST
    assert len(await calls.stored(other, call.id)) == 1


def _subscribed(store: base.Store, sessions: int) -> list[int]:
    opened = [writing.session(store) for _ in range(sessions)]
    for session_id in opened:
        store.subscribe(session_id, "topic", 10)
    return opened


async def test_what_is_to_be_committed_gets_in_between_while_many_are_told(
    here: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "NEWS_AT_ONCE", 1)
    sessions = _subscribed(here.store, 3)
    appended = await calls.session(here)
    happened: list[str] = []
    write, notify = here.store.write, here.store.notify

    async def append() -> None:
        here.append(appended, b"1")

    def watched_write(*arguments: Any) -> Any:
        happened.append("write")
        return write(*arguments)

    def watched_notify(*arguments: Any, **options: Any) -> list[int]:
        if not happened:
            # While the first group is told, a call has something to say.
            asyncio.run_coroutine_threadsafe(append(), here.loop).result(30)
        happened.append("notify")
        return notify(*arguments, **options)

    monkeypatch.setattr(here.store, "write", watched_write)
    monkeypatch.setattr(here.store, "notify", watched_notify)
    here.notify("test", "topic", "x", False)
    await calls.until(lambda: not here.tasks)
    assert happened == ["notify", "write", "notify", "notify"]
    for session_id in sessions:
        assert await calls.stored(here, session_id) == ["x"]


async def test_at_the_end_everybody_is_told_of_what_some_were_told_of(
    log_alias: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "NEWS_AT_ONCE", 1)
    async with started() as engine:
        sessions = await calls.in_thread(_subscribed, engine.store, 5)
        engine.notify("test", "topic", "x", False)
    statuses = await calls.in_thread(engine.store.poll, sessions)
    assert [status.head for status in statuses.values()] == [1] * 5


# Use of sessions


async def test_the_use_of_a_session_is_written_behind_and_seldom(log_alias: str) -> None:
    async with started() as engine:
        session_id = await calls.session(engine)
        touched: list[set[int]] = []
        touch = engine.store.touch

        def watch(session_ids: set[int]) -> None:
            touched.append(set(session_ids))
            touch(session_ids)

        engine.store.touch = watch  # type: ignore[method-assign]
        for _ in range(3):
            engine.touch(session_id)
            await engine.flush_touches()
        assert touched == [{session_id}]


async def test_a_session_in_use_is_written_again_long_before_it_would_give_way(here: Engine) -> None:
    session_id = await calls.session(here)
    for _ in range(3):
        here.touch(session_id)
        await here.flush_touches()
        here._touched_at[session_id] -= base.GIVE_WAY_SECONDS / 3
        pass_seconds(here.store, base.GIVE_WAY_SECONDS / 3)
    # And not by the first one alone.
    assert here.store.make_room() == []


async def test_what_the_store_did_not_take_of_their_use_is_written_the_next_time(here: Engine) -> None:
    session_id = await calls.session(here)
    touched: list[set[int]] = []

    def fail(session_ids: set[int]) -> None:
        raise exceptions.StoreUnavailable("down")

    here.store.touch = fail  # type: ignore[method-assign]
    here.touch(session_id)
    with pytest.raises(exceptions.StoreUnavailable):
        await here.flush_touches()
    here.store.touch = lambda session_ids: touched.append(set(session_ids))  # type: ignore[method-assign]
    await here.flush_touches()
    await here.flush_touches()
    assert touched == [{session_id}]


async def test_a_session_is_in_use_while_a_call_runs_in_it_or_somebody_listens(here: Engine) -> None:
    running, listening = await calls.session(here), await calls.session(here)
    call = await calls.opened(here, running)
    pages = here.follows.follow(listening, 0)
    await anext(pages)
    touched: list[set[int]] = []
    here.store.touch = lambda session_ids: touched.append(set(session_ids))  # type: ignore[method-assign]
    await here.flush_touches()
    assert touched == [{running, listening}]
    await pages.aclose()
    here.running.discard(call)
    await here.flush_touches()
    assert len(touched) == 1


def test_the_engine_of_a_loop_that_is_over_ends_when_the_next_one_begins(settings: Settings) -> None:
    with_memory(settings, HEARTBEAT_SECONDS=0.005, LEASE_SECONDS=15.0)

    async def use() -> engines.Engine:
        engine = engines.current()
        await engine.start()
        await calls.opened(engine)
        return engine

    before = threads()
    try:
        first = asyncio.run(use())
        assert engines.running() is None

        async def use_and_stop() -> None:
            second = await use()
            assert second is not first
            assert engines.running() is second
            await second.stop()

        asyncio.run(use_and_stop())
        asyncio.run(calls.until(lambda: threads() <= before))
    finally:
        engines._engine = None


@pytest.mark.parametrize("is_draining", [True, False])
def test_a_loop_that_ends_before_its_time_has_its_calls_ended_in_the_log(
    settings: Settings, is_draining: bool
) -> None:
    with_memory(settings)
    settings.ALLOWED_HOSTS = ["localhost"]
    server = MCPServer("test")

    @server.tool()
    async def wait() -> None:
        await asyncio.Event().wait()

    async def use() -> tuple[Engine, int]:
        client = Client(server)
        await client.open()
        engine = engines.current()
        reading = asyncio.ensure_future(client.call("wait"))
        await calls.until(lambda: bool(engine.written) and engine.written[0].has_begun)
        await calls.flush(engine)
        (written,) = engine.written
        if is_draining:
            engine.drain()
        await asyncio.sleep(0)
        reading.cancel()
        return engine, written.id

    try:
        engine, stream_id = asyncio.run(use())
        engine.abandon()
        engine.log._thread.join(20)
        page = engine.store.read(stream_id, 0, 10)
        assert page is not None
        assert page.state == StreamState.ANSWERED
        assert json.loads(page.events[-1].payload)["error"]["data"] == {"retryable": False}
    finally:
        engines._engine = None


# Signals


async def test_receivers_that_do_not_keep_up_cost_a_bounded_number_of_tasks_and_drop_the_rest(
    here: Engine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(engines, "MAX_ANNOUNCED", 3)
    may_go_on = asyncio.Event()
    heard = []

    async def receive(*, number: int, **facts: object) -> None:
        await may_go_on.wait()
        heard.append(number)

    signal = Signal()
    here.announce(signal, number=0)
    assert not here.tasks
    signal.connect(receive)
    for number in range(1, 11):
        here.announce(signal, number=number)
    assert len(here.tasks) == 3
    assert here.dropped_signals == 7
    may_go_on.set()
    await calls.until(lambda: not here.tasks)
    here.announce(signal, number=11)
    await calls.until(lambda: not here.tasks)
    assert heard == [1, 2, 3, 11]
    [record] = caplog.records
    assert record.getMessage() == "signals are dropped, since their receivers are 3 behind; 1 until now"
    monkeypatch.setattr(engines, "DROPS_TOLD_SECONDS", 0.0)
    may_go_on.clear()
    for number in range(4):
        here.announce(signal, number=number)
    assert caplog.records[-1].getMessage().endswith("8 until now")
    may_go_on.set()
