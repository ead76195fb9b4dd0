"""The write path under attack: poisoned data, cut connections, full outboxes, a database that is down."""

from __future__ import annotations

import asyncio
import contextlib
import random
import sqlite3
import threading
from collections.abc import Iterator, Sequence

import pytest
from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from pytest_django import DjangoDbBlocker, Settings

from streamable_http import exceptions, ids
from streamable_http.delivery import appender, committer, log
from streamable_http.delivery.engine import Engine
from streamable_http.models import SessionState, StreamState
from streamable_http.stores import base
from tests import proxy as proxies
from tests import services
from tests.delivery import calls
from tests.delivery.conftest import started
from tests.proxy import Cut, Proxy
from tests.stores import writing


def change(settings: Settings, **changes: object) -> None:
    settings.STREAMABLE_HTTP = {**getattr(settings, "STREAMABLE_HTTP", {}), **changes}


@contextlib.contextmanager
def busy(engine: Engine) -> Iterator[None]:
    """Keep the log's thread busy meanwhile, so that what is written waits and goes as one batch."""
    is_busy, may_go_on = threading.Event(), threading.Event()

    def keep() -> None:
        is_busy.set()
        assert may_go_on.wait(60)

    done = engine.log.run(keep)
    engine.log._release()
    assert is_busy.wait(60)
    try:
        yield
    finally:
        may_go_on.set()
    del done


# Poison


def poison(session_id: int) -> base.NewAsk:
    """What no database can encode."""
    return writing.ask(session_id, method="\ud800")


async def test_a_poisoned_stream_in_a_batch_of_fifty_fails_alone(engine: Engine):
    session_id = await calls.session(engine)
    running = [await calls.opened(engine, None, request_id=str(i)) for i in range(50)]
    bad = running[23]
    with busy(engine):
        for number, call in enumerate(running):
            call.emit(b'"%d"' % number, ask=poison(session_id) if call is bad else None)
    await calls.flush(engine)
    assert [type(error) for error in bad.failures] == [exceptions.StoreError]
    assert await calls.stored(engine, bad.id) == []
    for number, call in enumerate(running):
        if call is not bad:
            assert call.failures == []
            assert await calls.stored(engine, call.id) == [f'"{number}"']
    for number, call in enumerate(running):
        if call is not bad:
            call.end(b"%d" % number, StreamState.ANSWERED)
    await calls.flush(engine)
    for number, call in enumerate(running):
        if call is not bad:
            assert await calls.stored(engine, call.id) == [f'"{number}"', f"{number}"]


async def test_nul_in_a_message_fails_its_own_call_where_the_database_refuses_it(engine: Engine):
    # JSON escapes NUL, so that none arrives here; a payload is text to PostgreSQL, which cannot hold it.
    bad, good = await calls.opened(engine, None, request_id="1"), await calls.opened(engine, None, request_id="2")
    with busy(engine):
        bad.emit(b'"\x00"')
        good.emit(b'"a"')
    await calls.flush(engine)
    assert await calls.stored(engine, good.id) == ['"a"']
    if connections["log"].vendor == "postgresql":
        assert [type(error) for error in bad.failures] == [exceptions.StoreError]
        assert await calls.stored(engine, bad.id) == []
    else:
        assert await calls.stored(engine, bad.id) == ['"\x00"']


async def test_a_call_that_could_not_be_stored_still_gets_its_final_event(engine: Engine):
    session_id = await calls.session(engine)
    call = await calls.opened(engine, session_id)
    call.emit(b"1", ask=poison(session_id))
    await calls.flush(engine)
    assert [type(error) for error in call.failures] == [exceptions.StoreError]
    call.reopen()
    call.end(b"2", StreamState.ANSWERED)
    await calls.drain(engine, call)
    assert await calls.stored(engine, call.id) == ["2"]


# Cut connections


@pytest.fixture
def proxy(postgres_url: str, settings: Settings, django_db_blocker: DjangoDbBlocker) -> Iterator[Proxy]:
    """A proxy between the log and its PostgreSQL database."""
    change(settings, DATABASE="log")
    with (
        proxies.proxied(postgres_url) as proxy,
        django_db_blocker.unblock(),
        services.django_alias(proxy.url, alias="log"),
    ):
        yield proxy


async def test_connections_cut_during_commit_leave_neither_gap_nor_repeat(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(committer, "RETRY_SECONDS", (0.01,))
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")  # noqa: T201
    dice = random.Random(seed)
    cuts = [Cut.BEFORE, Cut.AFTER] * 50
    dice.shuffle(cuts)

    def at_commit() -> Cut:
        return cuts.pop() if cuts and dice.random() < 0.7 else Cut.NOT

    async with started() as engine:
        session_id = await calls.session(engine)
        # One of them is opened under fire; the listening stream has no owner.
        running = [await calls.opened(engine, session_id, request_id=str(i)) for i in range(4)]
        proxy.at_commit = at_commit
        running.append(await calls.opened(engine, session_id, request_id="4"))
        following = [asyncio.create_task(calls.followed(engine, call.id)) for call in running]
        emitted: dict[int, list[str]] = {stream_id: [] for stream_id in (session_id, *(call.id for call in running))}
        while cuts:
            for call in dice.sample(running, 3):
                for _ in range(dice.randrange(1, 4)):
                    emitted[call.id].append(f'"{len(emitted[call.id])}"')
                    await call.emit(emitted[call.id][-1].encode())
            emitted[session_id].append(f'"{len(emitted[session_id])}"')
            await engine.log.append(session_id, emitted[session_id][-1].encode())
        for call in running:
            call.end(b"null", StreamState.ANSWERED)
            emitted[call.id].append("null")
        await calls.flush(engine)
        assert [call.failures for call in running] == [[]] * 5
        for stream_id, payloads in emitted.items():
            assert await calls.stored(engine, stream_id) == payloads
        for call, task in zip(running, following, strict=True):
            assert await task == emitted[call.id]


@pytest.mark.parametrize("cut", [Cut.BEFORE, Cut.AFTER])
async def test_a_take_whose_commit_is_uncertain_is_known_before_it_counts(proxy: Proxy, cut: Cut):
    async with started() as engine:
        session_id = await calls.session(engine)
        streams = [
            (await calls.opened(engine, session_id, owner_id=ids.new(), request_id=str(i), arguments="{}")).id
            for i in range(2)
        ]
        cuts = [cut]
        proxy.at_commit = lambda: cuts.pop() if cuts else Cut.NOT
        taken: list[base.Orphan] = []
        with contextlib.suppress(exceptions.StoreUnavailable):
            taken += await engine.log.run(engine.store.take_orphans, engine.lease.worker_id, ["test"], 10)
        assert len(taken) == (2 if cut is Cut.AFTER else 0)
        taken += await engine.log.run(engine.store.take_orphans, engine.lease.worker_id, ["test"], 10)
        assert cuts == []
        assert sorted(orphan.stream_id for orphan in taken) == sorted(streams)
        assert {orphan.epoch for orphan in taken} == {2}


async def test_a_call_that_is_being_opened_while_its_session_ends_does_not_outlive_it(proxy: Proxy):
    is_held, may_commit = threading.Event(), threading.Event()

    def hold() -> Cut:
        proxy.at_commit = lambda: Cut.NOT
        is_held.set()
        assert may_commit.wait(60)
        return Cut.NOT

    async with started() as engine, started() as other:
        session_id = await calls.session(engine)
        call = calls.Call(engine, session_id)
        proxy.at_commit = hold
        call.open()
        await calls.in_thread(is_held.wait)
        ending = asyncio.ensure_future(other.read(other.store.end_session, session_id, SessionState.TERMINATED))
        # It ends the streams now, or it waits for the opening.
        await asyncio.wait([ending], timeout=1)
        may_commit.set()
        ended = await ending
        with contextlib.suppress(exceptions.UnknownSession):
            await call.opened
            assert call.id in ended
            assert await calls.state(engine, call.id) == StreamState.TERMINATED


# Bounds


@pytest.fixture
def batches(engine: Engine) -> list[list[base.StreamWrite]]:
    """The batches that are written, as the store gets them."""
    seen: list[list[base.StreamWrite]] = []
    write = engine.store.write

    def watch(writes: Sequence[base.StreamWrite], records: Sequence[base.NewRecord]) -> list[base.Outcome]:
        seen.append(list(writes))
        return write(writes, records)

    engine.store.write = watch
    return seen


def largest(batches: list[list[base.StreamWrite]]) -> tuple[int, int, int]:
    """The most streams, events and bytes of a batch."""
    return (
        max(len(batch) for batch in batches),
        max(sum(len(write.payloads) for write in batch) for batch in batches),
        max(sum(write.stored_bytes for write in batch) for batch in batches),
    )


async def test_a_batch_has_a_limited_number_of_events(engine: Engine, batches: list[list[base.StreamWrite]]):
    running = [await calls.opened(engine) for _ in range(3)]
    with busy(engine):
        for call in running:
            for i in range(700):
                call.emit(b"%d" % i)
    await calls.drain(engine, *running)
    assert largest(batches)[1] == log.BATCH_EVENTS
    for call in running:
        assert await calls.stored(engine, call.id) == [str(i) for i in range(700)]


async def test_a_batch_has_a_limited_number_of_bytes(engine: Engine, batches: list[list[base.StreamWrite]]):
    running = [await calls.opened(engine) for _ in range(3)]
    payload = b"x" * 1_000_000
    with busy(engine):
        for call in running:
            for _ in range(4):
                call.emit(payload)
    await calls.drain(engine, *running)
    assert log.BATCH_BYTES / 2 < largest(batches)[2] <= log.BATCH_BYTES
    for call in running:
        assert await calls.stored(engine, call.id) == [payload.decode()] * 4


async def test_a_single_event_larger_than_a_batch_is_written(engine: Engine):
    call = await calls.opened(engine)
    payload = b"x" * (log.BATCH_BYTES + 1)
    call.emit(payload)
    await calls.flush(engine)
    assert await calls.stored(engine, call.id) == [payload.decode()]


async def test_what_is_appended_to_listening_streams_is_batched_alike(
    engine: Engine, batches: list[list[base.StreamWrite]]
):
    session_id = await calls.session(engine)
    await asyncio.gather(*(engine.log.append(session_id, b"%d" % i) for i in range(3_000)))
    assert largest(batches)[1] == log.BATCH_EVENTS
    assert await calls.stored(engine, session_id) == [str(i) for i in range(3_000)]


def limit_variables(connection: BaseDatabaseWrapper, **_: object) -> None:
    # SQLite's default since 3.32; distributions build it with more.
    if connection.vendor == "sqlite":
        connection.connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 32_766)


@pytest.fixture
def few_variables() -> Iterator[None]:
    """Statements take as many parameters as SQLite's default has it, and no more."""
    connection_created.connect(limit_variables)
    yield
    connection_created.disconnect(limit_variables)


@pytest.mark.usefixtures("few_variables")
async def test_thousands_of_calls_may_begin_at_once(engine: Engine):
    waiting = [calls.Call(engine, None) for _ in range(3_000)]
    with busy(engine):
        for call in waiting:
            call.open()
    await asyncio.wait_for(asyncio.gather(*(call.opened for call in waiting)), 20)


@pytest.mark.usefixtures("few_variables")
async def test_thousands_of_streams_may_be_appended_to_at_once(engine: Engine):
    outcomes = await asyncio.wait_for(
        asyncio.gather(*(engine.log.append(ids.new(), b"1") for _ in range(7_000)), return_exceptions=True), 20
    )
    assert {type(outcome) for outcome in outcomes} == {exceptions.StreamLost}


# Full outboxes


async def test_a_call_that_awaits_waits_for_room(engine: Engine, settings: Settings):
    change(settings, OUTBOX_EVENTS=10)
    call = await calls.opened(engine)
    with busy(engine):
        for i in range(10):
            await call.emit(b"%d" % i)
        waits = asyncio.ensure_future(call.emit(b"10"))
        await asyncio.sleep(0)
        assert call._waiting_events == 11
        assert not waits.done()
    await waits
    assert call._waiting_events < 10
    await calls.flush(engine)
    assert await calls.stored(engine, call.id) == [str(i) for i in range(11)]


async def test_a_call_that_waits_for_its_bytes_waits_for_room(engine: Engine, settings: Settings):
    change(settings, OUTBOX_BYTES=100)
    call = await calls.opened(engine)
    with busy(engine):
        await call.emit(b"x" * 100)
        waits = asyncio.ensure_future(call.emit(b"y"))
        await asyncio.sleep(0)
        assert not waits.done()
    await waits
    assert await calls.stored(engine, call.id) == ["x" * 100, "y"]


async def test_a_call_that_never_awaits_fails_in_the_end(engine: Engine, settings: Settings):
    change(settings, OUTBOX_EVENTS=10)
    call = await calls.opened(engine)
    with busy(engine):
        for i in range(10 * appender.OVERRUN):
            call.emit(b"%d" % i)
        with pytest.raises(appender.OutboxFull):
            call.emit(b"x")
        # The final event always has room.
        call.end(b"null", StreamState.ANSWERED)
    await calls.flush(engine)
    assert await calls.stored(engine, call.id) == [*(str(i) for i in range(40)), "null"]


async def test_a_call_whose_outbox_stays_full_fails(engine: Engine, settings: Settings):
    change(settings, OUTBOX_EVENTS=1, EMIT_TIMEOUT_SECONDS=0.05)
    call = await calls.opened(engine)
    with busy(engine):
        await call.emit(b"1")
        with pytest.raises(appender.OutboxFull):
            await call.emit(b"2")
        with pytest.raises(appender.OutboxFull):
            await calls.in_thread(call.emit, b"3")


async def test_a_call_that_ends_elsewhere_waits_no_longer(engine: Engine, settings: Settings):
    change(settings, OUTBOX_EVENTS=1)
    call = await calls.opened(engine)
    with busy(engine):
        await call.emit(b"1")
        here = asyncio.ensure_future(call.emit(b"2"))
        there = asyncio.ensure_future(calls.in_thread(call.emit, b"3"))
        await calls.until(lambda: call._waiting_events == 3)
        call.fail(exceptions.CallCancelled())
        for waiting in (here, there):
            with pytest.raises(exceptions.CallCancelled):
                await waiting
    with pytest.raises(exceptions.CallCancelled):
        call.emit(b"4")


async def test_a_tools_thread_blocks_until_there_is_room(engine: Engine, settings: Settings):
    change(settings, OUTBOX_EVENTS=10)
    call = await calls.opened(engine)
    emitted: list[int] = []

    def tool() -> None:
        for i in range(1_000):
            call.emit(b"%d" % i)
            emitted.append(i)

    with busy(engine):
        running = asyncio.ensure_future(calls.in_thread(tool))
        await calls.until(lambda: call._waiting_events == 11)
        # The eleventh is in the outbox, and its emit waits.
        assert len(emitted) == 10
    await running
    assert len(emitted) == 1_000
    call.end(None, StreamState.ANSWERED)
    await calls.drain(engine, call)
    assert await calls.stored(engine, call.id) == [str(i) for i in range(1_000)]


async def test_a_tool_inside_atomic_does_not_wait_and_its_newest_progress_arrives(engine: Engine, settings: Settings):
    change(settings, OUTBOX_EVENTS=10)
    call = await calls.opened(engine)

    def tool() -> None:
        with transaction.atomic(using="log"):
            # On SQLite it holds the lock that the log's own commit needs.
            writing.session(engine.store)
            for i in range(1_000):
                call.emit(b"%d" % i, newest_wins=True)

    with busy(engine):
        await calls.in_thread(tool)
        assert call._waiting_events <= 11
    call.end(b'"end"', StreamState.ANSWERED)
    await calls.drain(engine, call)
    assert await calls.stored(engine, call.id) == [*(str(i) for i in range(9)), "999", '"end"']


async def test_a_tool_that_writes_in_atomic_on_the_logs_own_database_reports_each_row(engine: Engine):
    call = await calls.opened(engine)
    started_at = asyncio.get_running_loop().time()

    def tool() -> None:
        with transaction.atomic(using="log"):
            for i in range(1_000):
                writing.session(engine.store)
                call.emit(b"%d" % i, newest_wins=True)

    await calls.in_thread(tool)
    call.end(b'"end"', StreamState.ANSWERED)
    await calls.drain(engine, call)
    stored = await calls.stored(engine, call.id)
    progress = [int(payload) for payload in stored[:-1]]
    assert progress == sorted(set(progress))
    assert stored[-2:] == ["999", '"end"']
    # Less than the busy time-out of SQLite: nobody waited for anybody.
    assert asyncio.get_running_loop().time() - started_at < 20


async def test_other_messages_inside_atomic_are_kept_up_to_the_byte_cap(engine: Engine, settings: Settings):
    change(settings, OUTBOX_EVENTS=10, OUTBOX_BYTES=1_000)
    call = await calls.opened(engine)

    def tool() -> int:
        with transaction.atomic(using="log"):
            for i in range(1_000):
                try:
                    call.emit(b"x" * 40)
                except appender.OutboxFull:
                    return i
        return -1

    with busy(engine):
        assert await calls.in_thread(tool) == 1_000 * appender.OVERRUN // 40


# A database that is down


async def test_while_the_database_is_down_calls_wait_and_new_ones_are_refused(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(committer, "DOWN_SECONDS", 0.2)
    monkeypatch.setattr(committer, "RETRY_SECONDS", (0.02,))
    async with started() as engine:
        session_id = await calls.session(engine)
        call = await calls.opened(engine, session_id)
        received: list[str] = []
        following = asyncio.create_task(calls.followed(engine, call.id, into=received))
        call.emit(b"1")
        await calls.flush(engine)
        # From here on it needs no store: one that has to read it then is told to come again.
        await calls.until(lambda: received == ["1"])
        engine.log.require_up()
        proxy.go_down()
        call.emit(b"2")
        listening = engine.log.append(session_id, b'"l"')
        refused = calls.Call(engine, session_id, request_id="2")
        refused.open()
        with pytest.raises(exceptions.Unavailable):
            await refused.opened
        with pytest.raises(exceptions.Unavailable):
            engine.log.require_up()
        call.emit(b"3")
        assert not listening.done()
        proxy.come_up()
        await listening
        call.end(b"4", StreamState.ANSWERED)
        await calls.flush(engine)
        engine.log.require_up()
        assert await calls.stored(engine, call.id) == ["1", "2", "3", "4"]
        assert await following == ["1", "2", "3", "4"]
        assert await calls.stored(engine, session_id) == ['"l"']
        assert call.failures == []
        assert [type(error) for error in refused.failures] == [exceptions.Unavailable]
        await calls.opened(engine, session_id, request_id="2")


async def test_calls_that_come_while_a_batch_is_tried_again_are_refused_with_it(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(committer, "DOWN_SECONDS", 0.2)
    monkeypatch.setattr(committer, "RETRY_SECONDS", (0.02,))
    async with started() as engine:
        session_id = await calls.session(engine)
        call = await calls.opened(engine, session_id)
        proxy.go_down()
        call.emit(b"1")
        await calls.until(lambda: engine.log._committer._down_since is not None)
        refused = calls.Call(engine, session_id, request_id="2")
        refused.open()
        async with asyncio.timeout(5):
            with pytest.raises(exceptions.Unavailable):
                await refused.opened
        proxy.come_up()
        call.end(b"2", StreamState.ANSWERED)
        await calls.flush(engine)
        assert await calls.stored(engine, call.id) == ["1", "2"]
        await calls.opened(engine, session_id, request_id="2")


async def test_a_short_outage_refuses_nobody(proxy: Proxy):
    async with started() as engine:
        session_id = await calls.session(engine)
        proxy.go_down()
        call = calls.Call(engine, session_id)
        call.open()
        await calls.until(lambda: engine.log._committer._down_since is not None)
        engine.log.require_up()
        proxy.come_up()
        await call.opened
        assert engine.log._committer._down_since is None


async def test_without_news_the_log_notices_by_itself_that_the_database_is_back(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(committer, "DOWN_SECONDS", 0.0)
    monkeypatch.setattr(committer, "RETRY_SECONDS", (0.02,))
    async with started() as engine:
        proxy.go_down()
        call = calls.Call(engine, None)
        call.open()
        with pytest.raises(exceptions.Unavailable):
            await call.opened
        proxy.come_up()
        await calls.until(lambda: not engine.log._committer.is_down())
        engine.log.require_up()
