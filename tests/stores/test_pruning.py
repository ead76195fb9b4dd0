"""What has ended is redacted and deleted in the database, beside everybody who reads and writes."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import pytest
from django.db import connections, transaction
from django.test.utils import CaptureQueriesContext

from streamable_http import ids, models, redaction
from streamable_http.models import SessionState, StreamState
from streamable_http.stores import base, pruning
from streamable_http.stores.db import DatabaseStore
from tests.stores import writing
from tests.stores.aging import pass_seconds

T = TypeVar("T")

on_sqlite = pytest.mark.parametrize("log_database", ["sqlite"], indirect=True, scope="module")
on_postgres = pytest.mark.parametrize("log_database", ["postgres"], indirect=True, scope="module")

AT_ONCE = base.Retention(-1, -1)
"""What has ended is due."""

NOT_RESUMABLE = base.Retention(-1, None)


def prune(store: base.Store, kept: base.Retention = AT_ONCE, *, limit: int = 100) -> base.Pruned:
    pruned = base.Pruned()
    while (batch := store.prune(kept, redaction.redact_text, limit)) is not None:
        pruned += batch
    return pruned


def ended_call(store: base.Store, session_id: int | None, *payloads: str, **changes: Any) -> int:
    return writing.stream(store, session_id, *payloads, end=StreamState.ANSWERED, **changes)


def elsewhere(run: Callable[[], object]) -> None:
    """Run something in a thread, which has connections of its own."""

    def guarded() -> None:
        try:
            run()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        pool.submit(guarded).result()


def stored(store: DatabaseStore, stream_id: int) -> list[str]:
    rows = models.Event.objects.using(store.alias).filter(stream_id=stream_id).order_by("sequence")
    return list(rows.values_list("payload", flat=True))


def row(store: DatabaseStore, stream_id: int) -> models.Stream:
    return models.Stream.objects.using(store.alias).get(pk=stream_id)


# Redacting

SECRET = '{"password":"hunter2"}'
MASKED = f'{{"password":"{redaction.MASK}"}}'


def test_what_was_kept_verbatim_to_be_resumed_is_redacted(store: DatabaseStore) -> None:
    session_id = writing.session(store)
    asked = writing.ask(session_id)
    stream_id = writing.stream(store, session_id, SECRET, '{"a":1}', arguments=SECRET, asks=[asked])
    store.reply(session_id, asked.wire_id, SECRET)
    assert prune(store, NOT_RESUMABLE) == base.Pruned()
    assert stored(store, stream_id) == [SECRET, '{"a":1}']
    store.write([writing.append(stream_id, SECRET, end=StreamState.ANSWERED)], [])
    assert prune(store, NOT_RESUMABLE) == base.Pruned(redacted=1)
    assert stored(store, stream_id) == [MASKED, '{"a":1}', MASKED]
    stream = row(store, stream_id)
    assert (stream.arguments, stream.earliest, stream.stored_bytes) == (MASKED, 4, 2 * len(MASKED.encode()) + 7)
    assert stream.redacted_at is not None
    assert models.Ask.objects.using(store.alias).get(pk=asked.id).reply == ""


def test_a_stream_without_events_is_looked_at_once(store: DatabaseStore) -> None:
    stream_id = ended_call(store, writing.session(store), arguments=SECRET)
    assert prune(store, NOT_RESUMABLE).redacted == 1
    assert (row(store, stream_id).arguments, row(store, stream_id).earliest) == (MASKED, 1)
    assert store.prune(NOT_RESUMABLE, redaction.redact_text, 100) is None


def test_an_exchange_that_could_never_be_resumed_was_redacted_before_it_was_stored(store: DatabaseStore) -> None:
    stream_id = ended_call(store, None, SECRET)
    assert store.prune(NOT_RESUMABLE, redaction.redact_text, 100) is None
    assert stored(store, stream_id) == [SECRET]


def test_what_cannot_be_read_is_folded_and_holds_nothing_up(store: DatabaseStore) -> None:
    stream_id = ended_call(store, writing.session(store), '{"a":', SECRET)
    assert prune(store, NOT_RESUMABLE).redacted == 1
    assert "folded" in stored(store, stream_id)[0]
    assert stored(store, stream_id)[1] == MASKED


def test_a_long_stream_is_redacted_from_its_beginning_and_its_rest_can_be_resumed(store: DatabaseStore) -> None:
    payloads = [f'{{"password":{number}}}' for number in range(1, 6)]
    stream_id = ended_call(store, writing.session(store), *payloads)
    sent = writing.numbered(*payloads)
    for earliest in (3, 5):
        assert store.prune(NOT_RESUMABLE, redaction.redact_text, 2) == base.Pruned()
        for after in range(5):
            page = store.read(stream_id, after, 10)
            assert page is not None
            assert page.earliest == earliest
            assert [tuple(event) for event in page.events] == sent[max(after, earliest - 1) :]
        assert stored(store, stream_id) == [MASKED] * (earliest - 1) + payloads[earliest - 1 :]
    assert store.prune(NOT_RESUMABLE, redaction.redact_text, 2) == base.Pruned(redacted=1)
    assert stored(store, stream_id) == [MASKED] * 5
    assert row(store, stream_id).stored_bytes == 5 * len(MASKED.encode())


def test_a_batch_ends_before_it_reads_too_many_bytes(store: DatabaseStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pruning, "BATCH_BYTES", 100)
    session_id = writing.session(store)
    for number in range(3):
        ended_call(store, session_id, '"' + "x" * 60 + '"', request_id=str(number))
    batches = [store.prune(NOT_RESUMABLE, redaction.redact_text, 100) for _ in range(4)]
    assert batches == [base.Pruned(redacted=1)] * 3 + [None]


def test_a_page_that_is_redacted_while_it_is_read_has_no_redacted_event(store: DatabaseStore) -> None:
    stream_id = ended_call(store, writing.session(store), SECRET, SECRET)
    seen = itertools.count(1)

    def redact_before_events(execute: Any, *arguments: Any) -> Any:
        if next(seen) == 2:
            elsewhere(lambda: prune(store, NOT_RESUMABLE))
        return execute(*arguments)

    with connections[store.alias].execute_wrapper(redact_before_events):
        page = store.read(stream_id, 0, 10)
    assert page == base.Page([], StreamState.ANSWERED, 2, 3)


def test_a_stream_that_another_worker_redacts_meanwhile_is_left_to_it(store: DatabaseStore) -> None:
    payloads = ['"a"', '"b"']
    for limit, expected in ((100, ['"other"', '"other"']), (1, ['"other"', '"b"'])):
        prune(store, NOT_RESUMABLE)
        stream_id = ended_call(store, writing.session(store), *payloads)

        def redact(payload: str, limit: int = limit) -> str:
            # The other one is done before this one's transaction begins.
            elsewhere(lambda: store.prune(NOT_RESUMABLE, lambda _: '"other"', limit))
            return '"mine"'

        assert store.prune(NOT_RESUMABLE, redact, limit) == base.Pruned()
        assert stored(store, stream_id) == expected


@on_postgres
def test_rows_that_another_worker_is_at_are_passed_over(store: DatabaseStore) -> None:
    session_id = writing.session(store)
    first = ended_call(store, session_id, request_id="1")
    second = ended_call(store, session_id, request_id="2")
    for kept, expected in ((NOT_RESUMABLE, base.Pruned(redacted=1)), (AT_ONCE, base.Pruned(streams=1))):
        with transaction.atomic(using=store.alias):
            list(models.Stream.objects.using(store.alias).filter(pk=first).select_for_update())
            pruned: list[base.Pruned | None] = []
            elsewhere(lambda: pruned.append(store.prune(kept, redaction.redact_text, 100)))  # noqa: B023
        assert pruned == [expected]
        prune(store, NOT_RESUMABLE)
    assert store.poll([first, second]).keys() == {first}


# Deleting


def test_everything_of_an_ended_session_is_deleted(store: DatabaseStore) -> None:
    session_id, going_on = writing.session(store), writing.session(store)
    asked = writing.ask(session_id)
    call = writing.begin(session_id, "1", "2", record=writing.record(), asks=[asked])
    store.write([call], [writing.record(session_id=session_id), writing.record()])
    store.subscribe(session_id, "topic", 10)
    kept = writing.begin(going_on, "1", record=writing.record())
    store.write([kept], [])
    store.end_session(session_id, SessionState.TERMINATED)
    due = store.prunable(AT_ONCE)
    assert due == base.Pruned(sessions=1, streams=2, events=2, records=3)
    assert prune(store) == due
    left = {model: set(model.objects.using(store.alias).values_list("pk", flat=True)) for model in MODELS}
    assert left == {
        models.Session: {going_on},
        models.Stream: {going_on, kept.stream_id},
        models.Event: left[models.Event],
        models.Record: {kept.stream_id},
        models.Ask: set(),
        models.Subscription: set(),
    }
    assert stored(store, kept.stream_id) == ["1"]
    assert len(left[models.Event]) == 1


MODELS = (models.Session, models.Stream, models.Event, models.Record, models.Ask, models.Subscription)


def test_a_record_that_opened_a_call_stays_as_long_as_the_call(store: DatabaseStore) -> None:
    running = writing.begin(writing.session(store), record=writing.record())
    store.write([running], [writing.record()])
    assert prune(store) == base.Pruned(records=1)
    assert models.Record.objects.using(store.alias).get().pk == running.stream_id


def test_rows_are_as_old_as_the_databases_clock_says(store: DatabaseStore, monkeypatch: pytest.MonkeyPatch) -> None:
    session_id = writing.session(store)
    stream_id = ended_call(store, session_id, "1")
    store.end_session(session_id, SessionState.TERMINATED)
    now = time.time()
    monkeypatch.setattr(pruning.time, "time", lambda: now + 1_000_000)
    assert store.prune(base.Retention(60, 60), redaction.redact_text, 100) is None
    assert stored(store, stream_id) == ["1"]


def test_rows_that_are_too_young_to_be_old_are_not_even_looked_at(store: DatabaseStore) -> None:
    stream_id = ended_call(store, None, stream_id=ids.first_at(time.time() - 30))
    pass_seconds(store, 1_000)
    assert prune(store, base.Retention(60, 60)) == base.Pruned()
    old_id = ended_call(store, None, stream_id=ids.first_at(time.time() - 90))
    pass_seconds(store, 1_000)
    assert prune(store, base.Retention(60, 60)).streams == 1
    assert store.poll([stream_id, old_id]).keys() == {stream_id}


@on_sqlite
@pytest.mark.parametrize("kept", [NOT_RESUMABLE, AT_ONCE])
def test_every_statement_finds_its_rows_by_an_index(store: DatabaseStore, kept: base.Retention) -> None:
    session_id = writing.session(store)
    call = writing.begin(session_id, SECRET, record=writing.record(), arguments=SECRET, asks=[writing.ask(session_id)])
    store.write([call], [writing.record()])
    store.end_session(session_id, SessionState.TERMINATED)
    with CaptureQueriesContext(connections[store.alias]) as captured:
        prune(store, kept)
    statements = [query["sql"] for query in captured if query["sql"].startswith(("SELECT", "UPDATE", "DELETE"))]
    assert len(statements) > 5
    for statement in statements:
        steps = connections[store.alias].connection.execute(f"EXPLAIN QUERY PLAN {statement}").fetchall()
        assert not [step for *_, step in steps if step.startswith("SCAN") and "CONSTANT" not in step], statement


# Beside readers and writers

CALLS = 60
EVENTS = 4


def test_readers_and_writers_beside_it_see_all_or_see_that_something_is_gone(store: DatabaseStore) -> None:
    session_id = writing.session(store)
    begun: list[int] = []
    is_over = threading.Event()

    def write(number: int) -> int:
        for call in range(CALLS):
            stream_id = writing.stream(store, session_id, payload(1), request_id=f'"{number}.{call}"')
            begun.append(stream_id)
            for sequence in range(2, EVENTS + 1):
                end = StreamState.ANSWERED if sequence == EVENTS else StreamState.OPEN
                [outcome] = store.write([writing.append(stream_id, payload(sequence), end=end)], [])
                # What goes on is never touched.
                assert isinstance(outcome, base.Written)
                assert outcome.head == sequence
        return CALLS

    def read(number: int) -> int:
        drawn = random.Random(number)
        while not is_over.is_set():
            stream_id = drawn.choice(begun[-20:] or [session_id])
            after = drawn.randrange(EVENTS)
            page = store.read(stream_id, after, 10)
            if page is not None and page.head > after:
                require_no_silent_gap(page, after)
        return 0

    def prune_for_ever(number: int) -> int:
        pruned = base.Pruned()
        while not is_over.is_set():
            pruned += store.prune(AT_ONCE, redaction.redact_text, 3) or base.Pruned()
        return pruned.streams

    with ThreadPoolExecutor(6) as pool:
        beside = [pool.submit(_closing, run, i) for run in (read, prune_for_ever) for i in range(2)]
        try:
            written = sum(pool.map(lambda i: _closing(write, i), range(2)))
        finally:
            is_over.set()
        pruned = sum(each.result() for each in beside)
    assert pruned + prune(store).streams == written == 2 * CALLS
    assert models.Stream.objects.using(store.alias).count() == 1
    assert models.Event.objects.using(store.alias).count() == 0


def payload(sequence: int) -> str:
    return f'{{"token":{sequence}}}'


def require_no_silent_gap(page: base.Page, after: int) -> None:
    """Whoever reads behind ``after`` gets what was sent, one after the other, or sees that it is gone."""
    assert [event.payload for event in page.events] == [payload(event.sequence) for event in page.events]
    if page.events and page.events[0].sequence == after + 1:
        assert [event.sequence for event in page.events] == list(range(after + 1, page.head + 1))
    else:
        assert page.earliest > after + 1


def _closing(run: Callable[[int], T], number: int) -> T:
    try:
        return run(number)
    finally:
        connections.close_all()


def test_a_log_that_is_pruned_grows_no_further(store: DatabaseStore) -> None:
    sizes = []
    for _ in range(12):
        for number in range(10):
            session_id = writing.session(store)
            calls = [
                writing.begin(session_id, *[f'{{"x":"{"y" * 500}"}}'] * 5, request_id=str(i), record=writing.record())
                for i in range(16)
            ]
            store.write(calls, [writing.record(session_id=session_id) for _ in range(5)])
            store.end_session(
                session_id, random.Random(number).choice([SessionState.TERMINATED, SessionState.EXPIRED])
            )
        prune(store, limit=500)
        sizes.append(_size(store))
    assert sum(model.objects.using(store.alias).count() for model in MODELS) == 0
    # The space of what was deleted is used again.
    assert max(sizes[2:]) <= sizes[1] * 1.1


def _size(store: DatabaseStore) -> int:
    if connections[store.alias].vendor == "postgresql":
        with connections[store.alias].cursor() as cursor:
            # What the server's own process does now and then.
            cursor.execute("VACUUM")
            cursor.execute("SELECT pg_database_size(current_database())")
            return int(cursor.fetchone()[0])
    [(pages,)] = connections[store.alias].connection.execute("PRAGMA page_count").fetchall()
    return int(pages)


@pytest.fixture(autouse=True)
def _closed(store: DatabaseStore) -> Iterator[None]:
    yield
    connections[store.alias].close()


def test_a_long_stream_is_deleted_in_portions_and_whoever_reads_it_sees_that_something_is_gone(
    store: DatabaseStore,
) -> None:
    stream_id = ended_call(store, writing.session(store), "1", "2", "3", "4", "5")
    assert store.prune(AT_ONCE, redaction.redact_text, 2) == base.Pruned(events=2)
    for after in range(5):
        assert store.read(stream_id, after, 10) == base.Page([], StreamState.ANSWERED, 5, 6)
    assert prune(store, limit=2) == base.Pruned(streams=1, events=3)


# Purging


def test_the_records_of_a_session_are_purged_in_portions_too(store: DatabaseStore) -> None:
    session_id, other = writing.session(store), writing.session(store)
    call = writing.begin(session_id, "1", "2", "3", record=writing.record())
    store.write([call], [writing.record(session_id=each) for each in (*[session_id] * 5, other)])
    store.subscribe(session_id, "topic", 10)
    store.end_session(session_id, SessionState.TERMINATED)
    assert list(iter(lambda: store.purge(session_id, 2), None)) == [
        base.Pruned(events=2),
        base.Pruned(streams=2, events=1, records=1),
        base.Pruned(records=2),
        base.Pruned(records=2),
        base.Pruned(records=1),
        base.Pruned(sessions=1),
    ]
    left = {model: model.objects.using(store.alias).count() for model in MODELS}
    assert left == dict(zip(MODELS, (1, 1, 0, 1, 0, 0), strict=True))


def test_what_was_sent_again_is_purged_with_what_it_repeats(store: DatabaseStore) -> None:
    session_id = writing.session(store)
    call = writing.stream(store, session_id, "1", end=StreamState.ANSWERED)
    again = writing.stream(store, None, "2", end=StreamState.ANSWERED, resent_from=call)
    writing.stream(store, None, "3", end=StreamState.ANSWERED, resent_from=again)
    other = writing.stream(store, None, "4", end=StreamState.ANSWERED)
    store.end_session(session_id, SessionState.TERMINATED)
    while store.purge(session_id, 100) is not None:
        pass
    assert list(models.Event.objects.using(store.alias).values_list("stream_id", flat=True)) == [other]


def test_of_a_stream_whose_purge_was_interrupted_nothing_is_read_as_if_it_were_all(store: DatabaseStore) -> None:
    session_id = writing.session(store)
    stream_id = ended_call(store, session_id, "1", "2", "3", "4", "5")
    store.end_session(session_id, SessionState.TERMINATED)
    assert store.purge(session_id, 2) == base.Pruned(events=2)
    assert stored(store, stream_id) == ["3", "4", "5"]
    for after in range(5):
        assert store.read(stream_id, after, 10) == base.Page([], StreamState.ANSWERED, 5, 6)


@on_postgres
def test_streams_that_another_worker_deletes_are_waited_for(store: DatabaseStore) -> None:
    session_id = writing.session(store)
    store.end_session(session_id, SessionState.TERMINATED)
    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic(using=store.alias):
            models.Stream.objects.using(store.alias).filter(pk=session_id).delete()
            purged = pool.submit(_closing, lambda _: store.purge(session_id, 100), 0)
            while not (somebody_waits(store) or purged.done()):
                pass
        assert purged.result() == base.Pruned(sessions=1)


def somebody_waits(store: DatabaseStore) -> bool:
    """Whether another connection waits for what this one has locked."""
    waiting = "SELECT 1 FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid))"
    with connections[store.alias].cursor() as cursor:
        return cursor.execute(waiting).fetchone() is not None
