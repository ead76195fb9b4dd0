"""What operators end, on real databases, beside an engine that serves."""

from __future__ import annotations

import contextlib
import logging
import os
import pwd
import sqlite3
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.db import OperationalError, connections

from streamable_http import exceptions, models, operations, signals
from streamable_http.delivery import engine as engines
from streamable_http.delivery import follow, retention
from streamable_http.models import SessionState, StreamState
from streamable_http.operations import audit, pruning
from streamable_http.stores import base
from streamable_http.stores.db import DatabaseStore
from tests.delivery import calls
from tests.delivery.conftest import started
from tests.stores import writing


@pytest.fixture
def store(log_alias: str) -> DatabaseStore:
    return DatabaseStore(log_alias)


def state_of(store: DatabaseStore, stream_id: int) -> str:
    return models.Stream.objects.using(store.alias).get(pk=stream_id).state


def test_a_session_that_is_terminated_is_over_with_its_calls(store: DatabaseStore) -> None:
    session_id = writing.session(store)
    stream_id = writing.stream(store, session_id)
    assert operations.terminate_session(session_id)
    session = models.Session.objects.using(store.alias).get()
    assert session.state == SessionState.TERMINATED
    assert state_of(store, stream_id) == StreamState.TERMINATED
    assert not operations.terminate_session(session_id)


@pytest.mark.parametrize(
    "deed", [operations.terminate_session, operations.close_stream, operations.cancel_call, operations.purge_session]
)
def test_what_there_is_not_is_said_to_be_unknown(store: DatabaseStore, deed: Any) -> None:
    with pytest.raises(LookupError, match="there is no"):
        deed(17)


def test_a_session_that_ends_is_told_of(store: DatabaseStore) -> None:
    told: list[dict[str, Any]] = []

    def note(**facts: Any) -> None:
        told.append({name: facts[name] for name in ("session_id", "state")})

    signals.session_ended.connect(note)
    try:
        session_id = writing.session(store)
        operations.terminate_session(session_id)
    finally:
        signals.session_ended.disconnect(note)
    assert told == [{"session_id": session_id, "state": "terminated"}]


def test_a_call_that_is_cancelled_ends_and_its_session_goes_on(store: DatabaseStore) -> None:
    session_id = writing.session(store)
    stream_id = writing.stream(store, session_id)
    assert operations.cancel_call(stream_id)
    assert state_of(store, stream_id) == StreamState.CANCELLED
    assert not operations.cancel_call(stream_id)
    assert store.is_open(session_id)


def test_a_listening_stream_has_no_call_to_cancel(store: DatabaseStore) -> None:
    session_id = writing.session(store)
    with pytest.raises(LookupError, match="not of a call"):
        operations.cancel_call(session_id)


def test_a_stream_that_nobody_follows_cannot_be_closed(store: DatabaseStore) -> None:
    stream_id = writing.stream(store, writing.session(store))
    assert not operations.close_stream(stream_id)


def test_a_stream_that_was_closed_is_followed_by_nobody(store: DatabaseStore) -> None:
    session_id = writing.session(store)
    for _ in range(base.TAKEOVER_LIMIT + 1):
        assert store.take(session_id, 5)
        assert operations.close_stream(session_id)
        assert not operations.close_stream(session_id)
        assert models.Stream.objects.using(store.alias).get(pk=session_id).follower is None


async def test_a_running_call_is_stopped_and_its_reader_told(log_alias: str) -> None:
    async with started() as engine:
        engines._engine = engine
        try:
            call = await calls.opened(engine, await calls.session(engine))
            assert await calls.in_thread(operations.cancel_call, call.id)
            await calls.until(lambda: bool(call.failures))
            assert [type(error) for error in call.failures] == [exceptions.CallCancelled]
            assert await calls.followed(engine, call.id) == []
        finally:
            engines._engine = None


async def test_a_connection_that_is_closed_ends_and_the_call_goes_on(log_alias: str) -> None:
    async with started() as engine:
        call = await calls.opened(engine, await calls.session(engine))
        call.emit(b"1")
        await engine.read(engine.store.take, call.id, 5)
        pages = engine.follows.follow(call.id, 0, follower=5)
        await anext(pages)
        assert await calls.in_thread(operations.close_stream, call.id)
        with pytest.raises(follow.Superseded):
            async for _ in pages:
                pass
        assert await calls.state(engine, call.id) == StreamState.OPEN


def test_only_a_session_that_is_over_is_purged_and_nothing_of_it_stays(store: DatabaseStore) -> None:
    session_id, other = writing.session(store), writing.session(store)
    for kept in (session_id, other):
        store.write([writing.begin(kept, "1", "2", record=writing.record(), asks=[writing.ask(kept)])], [])
        store.subscribe(kept, "topic", 10)
    store.write([], [writing.record(session_id=session_id)])
    assert not operations.purge_session(session_id)
    operations.terminate_session(session_id)
    assert operations.purge_session(session_id)
    counts = [
        model.objects.using(store.alias).count()
        for model in (models.Session, models.Stream, models.Event, models.Record, models.Ask, models.Subscription)
    ]
    assert counts == [1, 2, 2, 1, 1, 1]


@contextlib.contextmanager
def outage(store: DatabaseStore) -> Iterator[None]:
    """Whoever writes is told that the database does not answer."""
    connection = connections[store.alias]
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor, pytest.raises(OperationalError):
            cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        yield
        return
    connection.connection.execute("PRAGMA busy_timeout = 10")
    with contextlib.closing(sqlite3.connect(connection.settings_dict["NAME"], isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


def long_session(store: DatabaseStore) -> tuple[int, int]:
    """A session that is over, and its call with more events than a batch takes."""
    session_id = writing.session(store)
    stream_id = writing.stream(store, session_id, *"abcde")
    store.end_session(session_id, SessionState.TERMINATED)
    return session_id, stream_id


def test_a_purge_in_an_outage_is_unavailable_and_can_be_done_later(store: DatabaseStore) -> None:
    session_id, _ = long_session(store)
    with outage(store), pytest.raises(exceptions.StoreUnavailable):
        operations.purge_session(session_id)
    assert operations.purge_session(session_id)


def test_a_purge_that_an_outage_interrupts_leaves_no_silent_gap(
    store: DatabaseStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    session_id, stream_id = long_session(store)
    monkeypatch.setattr(retention, "BATCH", 2)
    with contextlib.ExitStack() as outages:
        monkeypatch.setattr(DatabaseStore, "tidy", lambda store: outages.enter_context(outage(store)))
        with pytest.raises(exceptions.StoreUnavailable):
            operations.purge_session(session_id)
    monkeypatch.undo()
    assert models.Event.objects.using(store.alias).count() == 3
    assert store.read(stream_id, 0, 10) == base.Page([], StreamState.TERMINATED, 5, 6)
    assert operations.purge_session(session_id)


def test_a_purge_pauses_after_each_batch(store: DatabaseStore, monkeypatch: pytest.MonkeyPatch) -> None:
    session_id, _ = long_session(store)
    monkeypatch.setattr(retention, "BATCH", 2)
    pauses: list[float] = []
    monkeypatch.setattr(pruning.time, "sleep", pauses.append)
    assert operations.purge_session(session_id)
    assert len(pauses) == 4
    assert min(pauses) >= retention.PAUSE_SECONDS


# Who did it


@pytest.mark.django_db
def test_a_deed_of_a_user_is_in_the_admins_log_with_its_reason() -> None:
    boss = User.objects.create(username="boss")
    store = DatabaseStore("default")
    session_id = writing.session(store)
    operations.terminate_session(session_id, user=boss, reason="it loops")
    entry = LogEntry.objects.get()
    assert entry.user == boss
    assert entry.object_id == str(session_id)
    assert entry.get_change_message() == "Terminated: it loops"


@pytest.mark.django_db
def test_a_reason_with_control_characters_is_kept_in_one_line() -> None:
    boss = User.objects.create(username="boss")
    session_id = writing.session(DatabaseStore("default"))
    operations.terminate_session(session_id, user=boss, reason="a\0b\nc\u202e\ud800")
    assert LogEntry.objects.get().get_change_message() == "Terminated: a\\x00b\\nc\\u202e\\ud800"


def test_a_deed_on_the_command_line_is_in_the_log_without_lines_of_its_own(
    store: DatabaseStore, caplog: pytest.LogCaptureFixture
) -> None:
    session_id = writing.session(store)
    operations.terminate_session(session_id, reason="a\nb\x1b[31m")
    [record] = [record for record in caplog.records if record.name == "streamable_http.audit"]
    who = f"{pwd.getpwuid(os.getuid()).pw_name} at the command line"
    assert record.getMessage() == f"session {session_id:x}: Terminated: a\\nb\\x1b[31m, by {who}"
    assert record.levelno == logging.WARNING


def test_the_command_line_is_known_by_the_operating_systems_user(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "somebody-else")
    assert "somebody-else" not in audit.command_line()
    monkeypatch.setattr(audit.os, "getuid", lambda: 4_000_000_000)
    assert audit.command_line() == "4000000000 at the command line"
