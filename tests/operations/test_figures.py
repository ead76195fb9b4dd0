"""The figures of a time range, on real databases."""

from __future__ import annotations

import itertools
import time

import pytest
from django.db import connections
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from streamable_http import ids, models, operations
from streamable_http.models import StreamState
from streamable_http.operations import figures as counting
from streamable_http.stores import base
from streamable_http.stores.db import DatabaseStore
from tests.stores import writing


@pytest.fixture
def store(log_alias: str) -> DatabaseStore:
    return DatabaseStore(log_alias)


def call(store: DatabaseStore, outcome: str, *, name: str = "tool", age_seconds: float = 0, ms: float = 5) -> None:
    stream_id = ids.first_at(time.time() - age_seconds) + ids.new() % 1_000
    write = writing.begin(None, "1", name=name, stream_id=stream_id, end=StreamState.ANSWERED)
    write.ending = base.Ending(outcome, ms)
    store.write([write], [])


def test_calls_and_errors_are_counted_in_slices_of_the_range_without_gaps(store: DatabaseStore) -> None:
    call(store, "result", age_seconds=1)
    call(store, "error", age_seconds=1)
    call(store, "tool_error", age_seconds=1_800)
    call(store, "result", age_seconds=7_500)
    figures = operations.statistics(3_600)
    assert (figures.calls, figures.errors) == (3, 2)
    assert figures.bucket_seconds == 60
    assert len(figures.buckets) == 61
    moments = [bucket.at.timestamp() for bucket in figures.buckets]
    assert {later - earlier for earlier, later in itertools.pairwise(moments)} == {60}
    assert sum(bucket.calls for bucket in figures.buckets) == 3
    assert operations.statistics(4 * 3_600).calls == 4


def test_the_longest_range_has_no_more_slices_than_a_chart_shows(store: DatabaseStore) -> None:
    figures = operations.statistics(counting.MAX_SECONDS)
    assert 100 <= len(figures.buckets) <= counting.BUCKETS + 1


@pytest.mark.parametrize("seconds", [0, 59, 31 * 86_400 + 1, float("nan"), float("inf")])
def test_a_range_that_is_none_is_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match="seconds is"):
        operations.statistics(seconds)


def test_tools_are_listed_the_busiest_first_with_the_percentiles_of_their_durations(store: DatabaseStore) -> None:
    for ms in range(1, 101):
        call(store, "result", ms=ms)
    call(store, "error", name="other")
    busiest, other = operations.statistics(60).methods
    assert (busiest.name, busiest.calls, busiest.errors) == ("tool", 100, 0)
    assert (busiest.p50_ms, busiest.p95_ms, busiest.p99_ms) == (50, 95, 99)
    assert (other.name, other.calls, other.errors, other.p50_ms) == ("other", 1, 1, 5)


def test_nothing_has_no_percentile() -> None:
    assert counting.percentile([], 50) is None


def test_what_is_open_and_who_is_there(store: DatabaseStore) -> None:
    worker_id = ids.new()
    store.register_worker(worker_id, "host", 17, 15)
    store.renew_worker(worker_id, 15, 3)
    store.register_worker(ids.new(), "gone", 18, -15)
    session_id = writing.session_of(store, "", client_info={"name": "a", "version": "1"})
    writing.session_of(store, "", client_info={"name": "a", "version": "1", "title": "A"})
    writing.session_of(store, "", client_info={"odd": True})
    writing.stream(store, session_id, owner_id=worker_id)
    store.take(session_id, 5)
    figures = operations.statistics(60)
    assert (figures.open_sessions, figures.open_streams, figures.followed_streams) == (3, 1, 1)
    assert figures.clients == (("a 1", 2), ("", 1))
    assert figures.dropped_records == 3
    seen = {worker.host: (worker.pid, worker.is_alive, worker.open_streams) for worker in figures.workers}
    assert seen == {"host": (17, True, 1), "gone": (18, False, 0)}


def test_workers_are_known_without_all_the_other_figures(store: DatabaseStore) -> None:
    store.register_worker(1, "host", 17, 15)
    store.register_worker(2, "gone", 18, -1)
    store.register_worker(3, "idle", 19, 15)
    session_id = writing.session(store)
    for number in range(2):
        writing.stream(store, session_id, owner_id=1, request_id=str(number))
    writing.stream(store, session_id, owner_id=2, request_id="2")
    with CaptureQueriesContext(connections[store.alias]) as queries:
        workers = operations.workers()
    assert [(each.id, each.is_alive, each.open_streams) for each in workers] == [
        (3, True, 0),
        (2, False, 1),
        (1, True, 2),
    ]
    assert len(queries) == 2
    assert tuple(workers) == operations.statistics(60).workers
    assert operations.open_calls_by_worker([1, 3]) == {1: 2}


def test_calls_are_counted_in_a_fixed_number_of_queries_however_many_there_are(store: DatabaseStore) -> None:
    now = timezone.now()
    first = ids.first_at(time.time() - 3_000)
    models.Stream.objects.using(store.alias).bulk_create(
        [
            models.Stream(
                id=first + (i * 10_000 << ids.RANDOM_BITS),
                method="tools/call",
                name=f"tool {i % 50}",
                state=StreamState.ANSWERED,
                outcome="result" if i % 10 else "error",
                duration_ms=i % 100,
                created_at=now,
                ended_at=now,
            )
            for i in range(200)
        ]
    )
    with CaptureQueriesContext(connections[store.alias]) as queries:
        figures = operations.statistics(3_600)
    assert (figures.calls, figures.errors) == (200, 20)
    assert len(figures.methods) == counting.LISTED
    assert len(queries) == 8
