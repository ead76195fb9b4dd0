"""What is special about the store in a database: its connections, its errors, its rows."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import connections, transaction
from django.utils import timezone
from pytest_django import Settings

from streamable_http import exceptions, ids, models
from streamable_http.models import StreamState
from streamable_http.stores import base
from streamable_http.stores.db import DatabaseStore
from tests.stores import writing

on_sqlite = pytest.mark.parametrize("log_database", ["sqlite"], indirect=True, scope="module")
on_postgres = pytest.mark.parametrize("log_database", ["postgres"], indirect=True, scope="module")


@pytest.fixture(autouse=True)
def _closed(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "log_database" in request.fixturenames:
        connections[request.getfixturevalue("log_database")].close()


def elsewhere(function: Callable[[], Any]) -> None:
    """Run something on another connection, now."""

    def run() -> None:
        try:
            function()
        finally:
            connections.close_all()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()


def test_the_records_that_a_worker_dropped_are_noted_with_its_lease(log_database: str) -> None:
    store = DatabaseStore()
    worker_id = ids.new()
    store.register_worker(worker_id, "host", 1, 15)
    assert store.renew_worker(worker_id, 15, 7)
    assert models.Worker.objects.using(log_database).get(pk=worker_id).dropped_records == 7


def test_a_database_that_will_not_do_is_refused_with_what_to_do(settings: Settings) -> None:
    connections.databases["other"] = {**connections.databases["default"], "ENGINE": "django.db.backends.dummy"}
    try:
        with pytest.raises(ImproperlyConfigured, match=r"STREAMABLE_HTTP\['DATABASE'\]"):
            DatabaseStore("other")
    finally:
        del connections["other"]
        del connections.databases["other"]


def test_without_an_option_it_is_in_the_database_of_the_setting(settings: Settings) -> None:
    settings.STREAMABLE_HTTP = {"DATABASE": "default"}
    assert DatabaseStore().alias == "default"


# Rows


def test_a_record_that_opened_a_stream_has_its_id(store: DatabaseStore) -> None:
    session_id = writing.session(store)
    write = writing.begin(session_id, record=writing.record(method="tools/call", payload='{"a":1}'))
    loose = writing.record(session_id=session_id)
    store.write([write, writing.begin(session_id, record=writing.record(method="refused"))], [loose])
    rows = models.Record.objects.using(store.alias).order_by("pk").values_list("pk", "session_id", "method", "payload")
    assert list(rows) == [
        (write.stream_id, None, "tools/call", '{"a":1}'),
        (loose.id, session_id, "ping", "{}"),
    ]


def test_a_stream_row_has_everything_of_its_opening(store: DatabaseStore) -> None:
    session_id = writing.session(store)
    stream_id = writing.stream(
        store, session_id, "é", owner_id=7, follower=8, name="add", arguments='{"x":1}', request_id='"r"'
    )
    row = models.Stream.objects.using(store.alias).get(pk=stream_id)
    assert (row.session_id, row.owner_id, row.follower, row.request_id) == (session_id, 7, 8, '"r"')
    assert (row.method, row.name, row.arguments) == ("tools/call", "add", '{"x":1}')
    assert (row.epoch, row.head, row.earliest, row.stored_bytes) == (1, 1, 1, 2)
    assert abs(timezone.now() - row.created_at) < timedelta(minutes=1)
    assert row.ended_at is None


@pytest.mark.parametrize("in_one_write", [True, False])
def test_the_end_of_a_stream_has_its_time(store: DatabaseStore, in_one_write: bool) -> None:
    end = {"end": StreamState.ANSWERED}
    stream_id = writing.stream(store, None, **(end if in_one_write else {}))
    if not in_one_write:
        store.write([writing.append(stream_id, "a", **end)], [])
    row = models.Stream.objects.using(store.alias).get(pk=stream_id)
    assert row.ended_at is not None
    assert row.created_at <= row.ended_at <= timezone.now()


def test_all_are_subscribed_in_the_order_of_their_sessions(store: DatabaseStore) -> None:
    sessions = [writing.session(store) for _ in range(5)]
    for session_id in reversed(sessions):
        # PostgreSQL moves what is updated, and then finds the rows in that order.
        store.touch([session_id])
    writing.notify(store, "topic", "x", is_for_all=True)
    subscriptions = models.Subscription.objects.using(store.alias).order_by("pk")
    assert list(subscriptions.values_list("session_id", flat=True)) == sessions


def test_trimming_deletes_rows(store: DatabaseStore, settings: Settings) -> None:
    settings.STREAMABLE_HTTP = {**settings.STREAMABLE_HTTP, "MAX_STREAM_EVENTS": 2}
    stream_id = writing.stream(store, None, "1", "2", "3")
    other = writing.stream(store, None, "1", "2")
    rows = models.Event.objects.using(store.alias)
    assert list(rows.filter(stream_id=stream_id).values_list("sequence", flat=True)) == [2, 3]
    assert rows.filter(stream_id=other).count() == 2


def test_workers_that_are_dead_and_own_nothing_are_forgotten(store: DatabaseStore) -> None:
    for worker_id in (1, 2, 3):
        store.register_worker(worker_id, "host", 1, 60)
    orphan = writing.stream(store, None, owner_id=2)
    store.retire_worker(1)
    store.retire_worker(2)
    assert store.end_orphans(str, 10) == [orphan]
    assert list(models.Worker.objects.using(store.alias).values_list("pk", flat=True)) == [3]


def test_a_taken_call_comes_with_the_facts_of_its_request(store: DatabaseStore) -> None:
    store.register_worker(1, "host", 1, 60)
    session_id = writing.session(store)
    record = writing.record(facts='{"headers":{}}')
    recorded = writing.stream(store, session_id, request_id="1", owner_id=2, arguments="{}", record=record)
    unrecorded = writing.stream(store, session_id, request_id="2", owner_id=2, arguments="{}")
    taken = {orphan.stream_id: orphan.facts for orphan in store.take_orphans(1, ["test"], 10)}
    assert taken == {recorded: '{"headers":{}}', unrecorded: ""}
    rows = models.Stream.objects.using(store.alias).exclude(pk=session_id).values_list("owner_id", "arguments")
    assert list(rows) == [(1, ""), (1, "")]


@on_postgres
def test_a_question_that_is_committed_while_its_call_is_taken_keeps_the_call_from_it(store: DatabaseStore) -> None:
    store.register_worker(1, "host", 1, 60)
    session_id = writing.session(store)
    stream_id = writing.stream(store, session_id, owner_id=2, arguments="{}")
    taken: list[base.Orphan] = []

    def take() -> None:
        taken.extend(store.take_orphans(1, ["test"], 10))
        connections.close_all()

    taking = threading.Thread(target=take)
    # The dead worker was in the middle of a commit, and holds the stream's row.
    with transaction.atomic(using=store.alias):
        streams = models.Stream.objects.using(store.alias).filter(pk=stream_id)
        streams.update(head=1)
        models.Ask.objects.using(store.alias).create(
            id=1,
            session_id=session_id,
            stream_id=stream_id,
            wire_id="a",
            method="m",
            created_at=timezone.now(),
            deadline_at=timezone.now(),
        )
        taking.start()
        until_blocked(store.alias)
    taking.join(60)
    assert taken == []
    assert streams.values_list("epoch", flat=True).get() == 1


def until_blocked(alias: str) -> None:
    """Wait until a connection waits for a lock of this one."""
    deadline = time.monotonic() + 30
    with connections[alias].cursor() as cursor:
        while True:
            cursor.execute(
                "SELECT count(*) FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid))"
            )
            if cursor.fetchone()[0]:
                return
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_a_page_that_is_trimmed_while_it_is_read_is_no_mixture(store: DatabaseStore) -> None:
    stream_id = writing.stream(store, None, "1", "2", "3", "4", "5")
    seen = 0

    def trim_before_events(execute: Any, *arguments: Any) -> Any:
        nonlocal seen
        seen += 1
        if seen == 2:
            elsewhere(lambda: trim(store, stream_id, 4))
        return execute(*arguments)

    with connections[store.alias].execute_wrapper(trim_before_events):
        page = store.read(stream_id, 0, 10)
    assert page is not None
    # Whoever reads behind 0 must see that something is missing.
    assert not page.events or page.events[0].sequence != 1
    assert [event.sequence for event in page.events] == [4, 5]


def trim(store: DatabaseStore, stream_id: int, earliest: int) -> None:
    connections[store.alias].ensure_connection()
    dialect = store._dialect(connections[store.alias])
    dialect.begin()
    dialect.trim(stream_id, earliest)
    dialect.commit()


# Errors


@on_postgres
def test_nul_in_a_payload_is_data_that_cannot_be_stored(store: DatabaseStore) -> None:
    stream_id = writing.stream(store, None)
    with pytest.raises(exceptions.StoreError) as raised:
        store.write([writing.append(stream_id, '"\x00"')], [])
    assert not isinstance(raised.value, exceptions.StoreUnavailable)
    assert store.write([writing.append(stream_id, "a")], []) == [base.Written(1, 1)]


@on_postgres
def test_a_connection_that_the_server_ended_is_said_to_be_unavailable_and_replaced(store: DatabaseStore) -> None:
    stream_id = writing.stream(store, None)
    for use in (lambda: store.write([writing.append(stream_id, "a")], []), lambda: store.poll([stream_id])):
        with connections[store.alias].cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            (pid,) = cursor.fetchone()
        elsewhere(lambda: terminate(store, pid))  # noqa: B023
        with pytest.raises(exceptions.StoreUnavailable):
            use()
        use()
    assert writing.events(store, stream_id) == writing.numbered("a")


def terminate(store: DatabaseStore, pid: int) -> None:
    with connections[store.alias].cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])


@on_sqlite
def test_a_database_that_is_locked_for_too_long_is_unavailable(store: DatabaseStore) -> None:
    path = connections[store.alias].settings_dict["NAME"]
    connections[store.alias].ensure_connection()
    connections[store.alias].connection.execute("PRAGMA busy_timeout = 10")
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(exceptions.StoreUnavailable, match="locked"):
            store.write([writing.begin(None)], [])
        other.execute("ROLLBACK")
    assert store.write([writing.begin(None)], []) == [base.Written(0, 0)]


# Commits that broke off


def test_a_commit_that_happened_is_told_from_one_that_did_not(store: DatabaseStore) -> None:
    session_id = writing.session(store)
    stream_id = writing.stream(store, session_id)
    for write in (writing.begin(session_id, request_id="2"), writing.append(stream_id, "a")):
        assert not store.committed(receipt(store, write, ends="rollback"))
        assert store.committed(receipt(store, write, ends="commit"))


def receipt(store: DatabaseStore, write: base.StreamWrite, *, ends: str) -> Any:
    """What is known of a write whose COMMIT or ROLLBACK was the last that was heard of it."""
    dialect = store._dialect

    class Breaking(dialect):  # type: ignore[misc, valid-type]
        def commit(self) -> None:
            getattr(super(), ends)()
            self.connection.connection.close()
            # An error of the driver's own, since the connection is gone.
            super().commit()

    store._dialect = Breaking
    try:
        with pytest.raises(base.CommitUncertain) as raised:
            store.write([write], [])
    finally:
        store._dialect = dialect
    return raised.value.receipt


@on_postgres
def test_a_transaction_that_still_runs_is_neither(store: DatabaseStore) -> None:
    connections[store.alias].ensure_connection()
    dialect = store._dialect(connections[store.alias])
    running = dialect.begin()
    told: list[Exception] = []

    def ask() -> None:
        try:
            store.committed((running, None))
        except exceptions.StoreUnavailable as error:
            told.append(error)

    elsewhere(ask)
    dialect.commit()
    assert len(told) == 1
    assert store.committed((running, None))


@on_sqlite
def test_a_commit_waits_for_the_disk_only_when_the_write_ahead_log_is_long(store: DatabaseStore) -> None:
    connections[store.alias].ensure_connection()
    [(pages,)] = connections[store.alias].connection.execute("PRAGMA wal_autocheckpoint").fetchall()
    assert pages == 20_000


@on_sqlite
def test_tidying_copies_the_write_ahead_log_back(store: DatabaseStore) -> None:
    writing.stream(store, None, *"abc")
    connections[store.alias].ensure_connection()
    store.tidy()
    # A checkpoint that finds nothing to do says how much of the log is copied: all of it.
    raw = connections[store.alias].connection
    [(busy, log_pages, copied_pages)] = raw.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
    assert (busy, copied_pages) == (0, log_pages)
