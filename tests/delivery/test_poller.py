"""What no wake-up told is found by polling, and what dead workers leave behind is ended."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable

import pytest
from asgiref.sync import sync_to_async
from django.db import OperationalError, connections
from pytest_django import Settings

from streamable_http import exceptions, ids
from streamable_http.delivery import follow, poller, retention
from streamable_http.delivery.engine import Engine
from streamable_http.models import SessionState, StreamState
from streamable_http.protocol import jsonrpc
from streamable_http.stores import base
from tests.delivery import calls
from tests.delivery.conftest import started, with_memory
from tests.stores import writing
from tests.stores.aging import pass_seconds


@pytest.fixture
def engine(engine_in_memory: Engine) -> Engine:
    """It polls only where a test does."""
    return engine_in_memory


@pytest.fixture
async def polling(settings: Settings) -> AsyncIterator[Engine]:
    with_memory(settings, POLL_MIN_SECONDS=0.001, POLL_MAX_SECONDS=0.002)
    async with started() as running:
        yield running


async def poll(engine: Engine) -> bool:
    return await poller.Poller(engine)._guarded_poll()


# Polling


async def test_with_nothing_to_watch_nothing_is_asked(engine: Engine) -> None:
    def refuse(stream_ids: Iterable[int]) -> dict[int, base.Status]:
        raise AssertionError("asked")

    engine.store.poll = engine.store.replies = refuse  # type: ignore[method-assign, assignment]
    assert not await poll(engine)


async def test_all_streams_are_asked_for_together(engine: Engine) -> None:
    asked: list[set[int]] = []
    ask = engine.store.poll

    def watch(stream_ids: Iterable[int]) -> dict[int, base.Status]:
        asked.append(set(stream_ids))
        return ask(stream_ids)

    engine.store.poll = watch  # type: ignore[method-assign]
    written, followed = await calls.opened(engine), await calls.opened(engine)
    engine.running.discard(followed)
    pages = engine.follows.follow(followed.id, 0)
    await anext(pages)
    await poll(engine)
    assert asked == [{written.id, followed.id}]
    await pages.aclose()


async def test_what_another_worker_appended_is_news_once(engine: Engine) -> None:
    call = await calls.opened(engine)
    pages = engine.follows.follow(call.id, 0)
    assert await anext(pages) == []
    assert not await poll(engine)
    await engine.read(engine.store.write, [writing.append(call.id, "1")], [])
    assert await poll(engine)
    assert await anext(pages) == [base.Event(1, "1")]
    assert not await poll(engine)
    await pages.aclose()


async def test_a_call_that_was_cancelled_elsewhere_is_stopped(engine: Engine) -> None:
    session_id = await calls.session(engine)
    call = await calls.opened(engine, session_id, request_id="1")
    await engine.read(engine.store.cancel, session_id, "1")
    assert await poll(engine)
    assert [type(error) for error in call.failures] == [exceptions.StreamLost]
    await poll(engine)
    assert len(call.failures) == 1


async def test_a_call_whose_end_is_on_its_way_is_left_alone(engine: Engine) -> None:
    call = await calls.opened(engine)
    call.end(b"1", StreamState.ANSWERED)
    await calls.drain(engine, call)
    await poll(engine)
    assert call.failures == []


async def test_a_reply_that_another_worker_took_is_found(polling: Engine) -> None:
    session_id = await calls.session(polling)
    ask = writing.ask(session_id)
    reply = polling.asks.expect(ask.id, session_id)
    await calls.opened(polling, session_id)
    await polling.read(polling.store.write, [writing.begin(session_id, request_id='"x"', asks=[ask])], [])
    await polling.read(polling.store.reply, session_id, ask.wire_id, "{}")
    assert await asyncio.wait_for(reply, 10) == "{}"


async def test_a_poll_that_failed_is_tried_again(polling: Engine, caplog: pytest.LogCaptureFixture) -> None:
    ask = polling.store.poll
    call = await calls.opened(polling)
    tries = 0

    def fail_twice(stream_ids: Iterable[int]) -> dict[int, base.Status]:
        nonlocal tries
        tries += 1
        if tries <= 4:  # A failed read is tried once more at once, so these are two polls.
            raise exceptions.StoreUnavailable("down")
        return ask(stream_ids)

    polling.store.poll = fail_twice  # type: ignore[method-assign]
    pages = polling.follows.follow(call.id, 0)
    assert await anext(pages) == []
    await polling.read(polling.store.write, [writing.append(call.id, "1")], [])
    assert await asyncio.wait_for(anext(pages), 10) == [base.Event(1, "1")]
    assert caplog.text.count("polling failed") == 2
    await pages.aclose()


# Takeovers


async def test_a_connection_that_another_worker_took_over_from_is_told(engine: Engine) -> None:
    session_id = await calls.session(engine)
    await engine.read(engine.store.take, session_id, 1)
    pages = engine.follows.follow(session_id, 0, follower=1)
    await anext(pages)
    await poll(engine)
    waits = asyncio.ensure_future(anext(pages))
    await engine.read(engine.store.take, session_id, 2)
    await poll(engine)
    with pytest.raises(follow.Superseded):
        await waits


async def test_an_answer_from_before_a_takeover_does_not_disturb_the_newer_connection(engine: Engine) -> None:
    session_id = await calls.session(engine)
    await engine.read(engine.store.take, session_id, 1)
    asked_at = asyncio.get_running_loop().time()
    old = (await engine.read(engine.store.poll, [session_id]))[session_id]
    await engine.read(engine.store.take, session_id, 2)
    pages = engine.follows.follow(session_id, 0, follower=2, idle_seconds=0.001)
    await anext(pages)
    poller.Poller(engine)._note_followed(session_id, old, asked_at)
    assert await anext(pages) == []
    # What is asked now counts.
    await poll(engine)
    assert await anext(pages) == []
    await pages.aclose()


async def test_a_connection_ends_that_was_taken_over_from_by_one_that_has_left(engine: Engine) -> None:
    session_id = await calls.session(engine)
    engine.store.take(session_id, 1)
    pages = engine.follows.follow(session_id, 0, follower=1, idle_seconds=0.001)
    await anext(pages)
    await poll(engine)
    assert await anext(pages) == []
    engine.store.take(session_id, 2)
    engine.store.release(session_id, 2)
    await poll(engine)
    with pytest.raises(follow.Superseded):
        await anext(pages)


# Housekeeping


@pytest.fixture
async def housekeeping(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Engine]:
    monkeypatch.setattr(poller, "ORPHANS_SECONDS", 0.002)
    monkeypatch.setattr(poller, "EXPIRY_SECONDS", 0.0)
    with_memory(settings)
    async with started() as running:
        yield running


async def state(engine: Engine, stream_id: int, wanted: StreamState) -> None:
    await calls.until(lambda: engine.store.poll([stream_id])[stream_id].state == wanted)


async def test_the_calls_of_a_dead_worker_end_with_an_error_that_says_so(housekeeping: Engine) -> None:
    store = housekeeping.store
    session_id = await calls.session(housekeeping)
    dead = ids.new()
    await housekeeping.read(store.register_worker, dead, "host", 1, 60.0)
    stream_id = writing.stream(store, session_id, "1", request_id='"x"', owner_id=dead)
    following = asyncio.create_task(calls.followed(housekeeping, stream_id))
    await calls.flush(housekeeping)
    await housekeeping.read(store.retire_worker, dead)
    first, last = await asyncio.wait_for(following, 10)
    assert first == "1"
    message = jsonrpc.loads(last.encode(), max_depth=9)
    assert message["id"] == "x"
    assert message["error"]["code"] == exceptions.WORKER_LOST
    assert message["error"]["data"] == {"retryable": False}


async def test_calls_of_dead_workers_run_again_where_they_can_before_they_end(housekeeping: Engine) -> None:
    taken: list[base.Orphan] = []

    async def rerun(engine: Engine, orphan: base.Orphan) -> None:
        taken.append(orphan)

    housekeeping.reruns["test"] = rerun
    store = housekeeping.store
    session_id = await calls.session(housekeeping)
    stream_id, other = await calls.in_thread(
        lambda: [
            writing.stream(store, session_id, request_id=str(number), owner_id=ids.new(), arguments=arguments)
            for number, arguments in enumerate(["{}", ""])
        ]
    )
    await state(housekeeping, other, StreamState.LOST)
    await calls.until(lambda: bool(taken))
    assert [orphan.stream_id for orphan in taken] == [stream_id]
    assert store.poll([stream_id])[stream_id].state == StreamState.OPEN


async def test_calls_of_dead_workers_end_also_while_none_can_be_taken(
    housekeeping: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*arguments: object) -> list[base.Orphan]:
        raise RuntimeError("broken")

    async def rerun(engine: Engine, orphan: base.Orphan) -> None:
        raise AssertionError("taken")

    housekeeping.reruns["test"] = rerun
    housekeeping.store.take_orphans = fail  # type: ignore[method-assign]
    session_id = await calls.session(housekeeping)
    stream_id = await calls.in_thread(lambda: writing.stream(housekeeping.store, session_id, owner_id=ids.new()))
    await state(housekeeping, stream_id, StreamState.LOST)
    assert "could not be run again" in caplog.text


async def test_a_session_that_nobody_uses_expires_and_one_with_a_listener_does_not(engine: Engine) -> None:
    idle, listening, running = [await calls.session(engine) for _ in range(3)]
    pages = engine.follows.follow(listening, 0)
    await anext(pages)
    await calls.opened(engine, running)
    pass_seconds(engine.store, 10_000)
    await poller.Poller(engine)._expire()
    assert [engine.store.is_open(session_id) for session_id in (idle, listening, running)] == [False, True, True]
    await pages.aclose()


async def test_many_idle_sessions_end_in_small_commands_that_let_others_in_between(engine: Engine) -> None:
    sessions = [await calls.session(engine) for _ in range(25)]
    limits: list[int] = []
    expire = engine.store.expire_sessions

    def watch(idle_seconds: float, limit: int) -> list[int]:
        limits.append(limit)
        return expire(idle_seconds, limit)

    engine.store.expire_sessions = watch  # type: ignore[method-assign]
    pass_seconds(engine.store, 10_000)
    await poller.Poller(engine)._expire()
    assert not any(engine.store.is_open(session_id) for session_id in sessions)
    assert limits == [10, 10, 10, 10]


async def test_a_call_in_a_session_that_expired_elsewhere_is_over(polling: Engine) -> None:
    session_id = await calls.session(polling)
    call = await calls.opened(polling, session_id)
    following = asyncio.create_task(calls.followed(polling, call.id))
    await polling.read(polling.store.end_session, session_id, SessionState.EXPIRED)
    assert await asyncio.wait_for(following, 10) == []
    await calls.until(lambda: call.failures != [])
    assert [type(error) for error in call.failures] == [exceptions.StreamLost]


async def test_housekeeping_that_failed_is_tried_again(housekeeping: Engine, caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise exceptions.StoreUnavailable("down")

    housekeeping.store.tidy = fail  # type: ignore[method-assign]
    await calls.until(lambda: "housekeeping failed" in caplog.text)
    housekeeping.store.tidy = lambda: None  # type: ignore[method-assign]
    session_id = await calls.session(housekeeping)
    pass_seconds(housekeeping.store, 10_000)
    await state(housekeeping, session_id, StreamState.EXPIRED)


@pytest.mark.parametrize("log_alias", ["postgres"], indirect=True)
async def test_a_broken_connection_of_the_shared_thread_is_closed(
    log_alias: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(poller, "CONNECTIONS_SECONDS", 0.002)

    def breaks() -> None:
        with contextlib.suppress(OperationalError), connections[log_alias].cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    def is_closed() -> bool:
        return connections[log_alias].connection is None

    async with started():
        await sync_to_async(breaks)()
        async with asyncio.timeout(10):
            while not await sync_to_async(is_closed)():
                pass


def test_a_connection_without_errors_is_left_alone_however_old_it_is(log_alias: str) -> None:
    connections[log_alias].ensure_connection()
    connections[log_alias].close_at = 0.0
    poller._close_broken_connections()
    assert connections[log_alias].connection is not None


# Retention


@pytest.fixture
async def pruning(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Engine]:
    monkeypatch.setattr(poller, "PRUNE_SECONDS", 0.002)
    with_memory(settings)
    async with started() as running:
        yield running


async def ended_call(engine: Engine) -> int:
    write = writing.begin(await calls.session(engine), "1", end=StreamState.ANSWERED)
    await engine.read(engine.store.write, [write], [])
    return write.stream_id


def is_resumable(engine: Engine, stream_id: int) -> bool:
    page = engine.store.read(stream_id, 0, 10)
    return page is not None and page.earliest == 1


async def test_what_is_past_its_retention_is_pruned_by_and_by(pruning: Engine) -> None:
    first, second = await ended_call(pruning), await ended_call(pruning)
    assert is_resumable(pruning, first)
    pass_seconds(pruning.store, 4_000)
    recent = await ended_call(pruning)
    await calls.until(lambda: not is_resumable(pruning, first) and not is_resumable(pruning, second))
    assert is_resumable(pruning, recent)
    pass_seconds(pruning.store, 15 * 86_400)
    await calls.until(lambda: pruning.store.poll([first, second, recent]) == {})


async def test_a_worker_that_is_told_not_to_prune_does_not(
    pruning: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.STREAMABLE_HTTP = {**settings.STREAMABLE_HTTP, "PRUNE": False}
    looks = 0

    def look(least: float, most: float) -> float:
        nonlocal looks
        looks += 1
        return least

    # Each look begins with a draw of how long to wait for it, and the first may have been drawn before.
    monkeypatch.setattr(poller.random, "uniform", look)
    stream_id = await ended_call(pruning)
    pass_seconds(pruning.store, 4_000)
    await calls.until(lambda: looks > 3)
    assert is_resumable(pruning, stream_id)
    settings.STREAMABLE_HTTP = {**settings.STREAMABLE_HTTP, "PRUNE": True}
    await calls.until(lambda: not is_resumable(pruning, stream_id))


async def test_pruning_that_failed_is_tried_again(pruning: Engine, caplog: pytest.LogCaptureFixture) -> None:
    prune = pruning.store.prune
    problems: list[Exception] = [exceptions.StoreUnavailable("down"), ValueError("odd")]

    def fail(*arguments: object) -> base.Pruned | None:
        if problems:
            raise problems[0]
        return prune(*arguments)  # type: ignore[arg-type]

    pruning.store.prune = fail  # type: ignore[method-assign]
    stream_id = await ended_call(pruning)
    pass_seconds(pruning.store, 4_000)
    await calls.until(lambda: "pruning failed, trying again: down" in caplog.text)
    problems.pop(0)
    await calls.until(lambda: "ValueError: odd" in caplog.text)
    problems.pop(0)
    await calls.until(lambda: not is_resumable(pruning, stream_id))


async def test_one_look_takes_only_so_many_batches(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(poller, "PRUNE_BATCHES", 2)
    monkeypatch.setattr(retention, "BATCH", 1)
    stream_ids = [await ended_call(engine) for _ in range(3)]
    pass_seconds(engine.store, 4_000)
    await poller.Poller(engine)._prune()
    assert [is_resumable(engine, stream_id) for stream_id in stream_ids] == [False, False, True]
