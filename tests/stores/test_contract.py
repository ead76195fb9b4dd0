"""What every store does, whatever it is made of."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connections
from pytest_django import Settings

from streamable_http import exceptions, ids
from streamable_http.models import SessionState, StreamState
from streamable_http.protocol import jsonrpc
from streamable_http.stores import base
from tests.stores import writing
from tests.stores.aging import pass_seconds

STORES = [
    ("memory", None),
    ("sqlite", None),
    ("sqlite", "locmem"),
    ("postgres", None),
    ("postgres", "locmem"),
    ("postgres", "redis"),
]
pytestmark = pytest.mark.parametrize(("log_database", "cache"), STORES, indirect=True, scope="module")

ENDED = [state for state in StreamState if state != StreamState.OPEN]


def change(settings: Settings, **changes: Any) -> None:
    settings.STREAMABLE_HTTP = {**getattr(settings, "STREAMABLE_HTTP", {}), **changes}


def status(store: base.Store, stream_id: int) -> base.Status:
    return store.poll([stream_id])[stream_id]


def in_threads(function: Callable[[int], Any], count: int) -> list[Any]:
    """Run ``function(0)``, ``function(1)``, … at the same time."""
    barrier = threading.Barrier(count)

    def run(number: int) -> Any:
        try:
            barrier.wait()
            return function(number)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


# Openings


def test_an_opening_in_an_open_session_begins_a_stream(store: base.Store):
    session_id = writing.session(store)
    write = writing.begin(session_id)
    assert store.write([write], []) == [base.Written(0, 0, "info")]
    assert store.read(write.stream_id, 0, 10) == base.Page([], StreamState.OPEN, 0, 1)


def test_an_opening_tells_the_sessions_log_level(store: base.Store):
    session_id = writing.session(store)
    store.set_log_level(session_id, "error")
    [outcome] = store.write([writing.begin(session_id)], [])
    assert isinstance(outcome, base.Written)
    assert outcome.log_level == "error"


def test_an_opening_in_a_session_that_never_was_is_refused(store: base.Store):
    write = writing.begin(ids.new())
    [outcome] = store.write([write], [])
    assert isinstance(outcome, exceptions.UnknownSession)
    assert store.read(write.stream_id, 0, 10) is None


@pytest.mark.parametrize("state", [SessionState.TERMINATED, SessionState.EXPIRED])
def test_an_opening_in_an_ended_session_is_refused(store: base.Store, state: SessionState):
    session_id = writing.session(store)
    store.end_session(session_id, state)
    write = writing.begin(session_id)
    [outcome] = store.write([write], [])
    assert isinstance(outcome, exceptions.UnknownSession)
    assert store.read(write.stream_id, 0, 10) is None


def test_an_opening_without_a_session_is_checked_against_nothing(store: base.Store):
    writes = [writing.begin(None, "a"), writing.begin(None, "b")]
    assert store.write(writes, []) == [base.Written(1, 1), base.Written(1, 1)]


def test_what_was_skipped_is_counted_and_read_as_trimmed(store: base.Store, settings: Settings):
    change(settings, MAX_STREAM_EVENTS=4)
    write = writing.begin(None, '"e"', '"f"', end=StreamState.ANSWERED, skipped=10)
    store.write([write], [])
    page = store.read(write.stream_id, 10, 10)
    assert page is not None
    assert ([event.sequence for event in page.events], page.head, page.earliest) == ([11, 12], 12, 11)


def test_a_request_id_in_flight_is_refused_across_batches(store: base.Store):
    session_id = writing.session(store)
    writing.stream(store, session_id, request_id='"a"')
    [outcome] = store.write([writing.begin(session_id, request_id='"a"')], [])
    assert isinstance(outcome, exceptions.RequestIdInFlight)


def test_a_request_id_in_flight_is_refused_within_one_batch(store: base.Store):
    session_id = writing.session(store)
    writes = [writing.begin(session_id, "a", request_id="7"), writing.begin(session_id, "b", request_id="7")]
    first, second = store.write(writes, [])
    assert first == base.Written(1, 1, "info")
    assert isinstance(second, exceptions.RequestIdInFlight)
    assert store.read(writes[1].stream_id, 0, 10) is None


def test_one_of_many_that_open_the_same_request_id_at_once_gets_it(store: base.Store):
    session_id = writing.session(store)

    def race(number: int) -> base.Outcome:
        return store.write([writing.begin(session_id, request_id="7")], [])[0]

    outcomes = in_threads(race, 6)
    assert sum(isinstance(outcome, base.Written) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, exceptions.RequestIdInFlight) for outcome in outcomes) == 5


def test_a_number_and_a_string_are_different_request_ids(store: base.Store):
    session_id = writing.session(store)
    writing.stream(store, session_id, request_id="7")
    [outcome] = store.write([writing.begin(session_id, request_id='"7"')], [])
    assert isinstance(outcome, base.Written)


@pytest.mark.parametrize("state", ENDED)
def test_a_request_id_is_free_again_when_its_call_has_ended(store: base.Store, state: StreamState):
    session_id = writing.session(store)
    stream_id = writing.stream(store, session_id)
    store.write([writing.append(stream_id, end=state)], [])
    [outcome] = store.write([writing.begin(session_id)], [])
    assert isinstance(outcome, base.Written)


def test_a_request_id_is_only_in_flight_in_its_own_session(store: base.Store):
    writing.stream(store, writing.session(store))
    [outcome] = store.write([writing.begin(writing.session(store))], [])
    assert isinstance(outcome, base.Written)


def test_a_session_has_only_so_many_calls_open(store: base.Store, settings: Settings):
    change(settings, MAX_OPEN_STREAMS=2)
    session_id = writing.session(store)
    first = writing.stream(store, session_id, request_id="1")
    outcomes = store.write([writing.begin(session_id, request_id=str(i)) for i in (2, 3)], [])
    assert isinstance(outcomes[0], base.Written)
    assert isinstance(outcomes[1], exceptions.TooManyRequests)
    [outcome] = store.write([writing.begin(session_id, request_id="4")], [])
    assert isinstance(outcome, exceptions.TooManyRequests)
    store.write([writing.append(first, end=StreamState.ANSWERED)], [])
    [outcome] = store.write([writing.begin(session_id, request_id="4")], [])
    assert isinstance(outcome, base.Written)


def test_the_listening_stream_is_no_open_call(store: base.Store, settings: Settings):
    change(settings, MAX_OPEN_STREAMS=1)
    [outcome] = store.write([writing.begin(writing.session(store))], [])
    assert isinstance(outcome, base.Written)


def test_a_stream_id_that_is_taken_is_refused_and_the_stream_left_alone(store: base.Store):
    session_id = writing.session(store)
    stream_id = writing.stream(store, session_id, "a")
    other = writing.session(store)
    [outcome] = store.write([writing.begin(other, "b", stream_id=stream_id)], [])
    assert isinstance(outcome, base.StreamIdTaken)
    assert writing.events(store, stream_id) == writing.numbered("a")
    assert store.find_stream(other, stream_id) is None


def test_a_call_may_begin_and_end_in_one_write(store: base.Store):
    session_id = writing.session(store)
    write = writing.begin(session_id, "é", "b", end=StreamState.ANSWERED)
    assert store.write([write], []) == [base.Written(2, 3, "info")]
    assert store.read(write.stream_id, 0, 10) == base.Page(
        [base.Event(1, "é"), base.Event(2, "b")], StreamState.ANSWERED, 2, 1
    )
    [outcome] = store.write([writing.append(write.stream_id, "c")], [])
    assert isinstance(outcome, exceptions.StreamLost)


# Appends


def test_appends_are_numbered_from_one_without_gap(store: base.Store):
    stream_id = writing.stream(store, writing.session(store), "1", "2")
    assert store.write([writing.append(stream_id, "3", "4", "5")], []) == [base.Written(5, 5)]
    assert store.write([writing.append(stream_id)], []) == [base.Written(5, 5)]
    assert store.write([writing.append(stream_id, "6")], []) == [base.Written(6, 6)]
    assert writing.events(store, stream_id) == writing.numbered("1", "2", "3", "4", "5", "6")


def test_an_append_of_another_epoch_is_lost(store: base.Store):
    stream_id = writing.stream(store, writing.session(store), "a")
    for epoch in (0, 2):
        [outcome] = store.write([writing.append(stream_id, "b", epoch=epoch)], [])
        assert isinstance(outcome, exceptions.StreamLost)
        assert outcome.stream_id == stream_id
    assert writing.events(store, stream_id) == writing.numbered("a")
    assert status(store, stream_id) == base.Status(1, 1, StreamState.OPEN, None)


@pytest.mark.parametrize("state", ENDED)
def test_nothing_is_appended_to_a_stream_that_has_ended(store: base.Store, state: StreamState):
    stream_id = writing.stream(store, writing.session(store), "a")
    store.write([writing.append(stream_id, end=state)], [])
    for epoch in (1, None):
        [outcome] = store.write([writing.append(stream_id, "b", epoch=epoch, end=StreamState.ANSWERED)], [])
        assert isinstance(outcome, exceptions.StreamLost)
    assert writing.events(store, stream_id) == writing.numbered("a")
    assert status(store, stream_id).state == state


def test_nothing_is_appended_to_a_stream_that_never_was(store: base.Store):
    stream_id = ids.new()
    [outcome] = store.write([writing.append(stream_id, "a")], [])
    assert isinstance(outcome, exceptions.StreamLost)
    assert store.read(stream_id, 0, 10) is None


def test_anybody_appends_to_a_listening_stream(store: base.Store):
    session_id = writing.session(store)
    assert store.write([writing.append(session_id, "a", epoch=None)], []) == [base.Written(1, 1)]
    assert store.write([writing.append(session_id, "b", "c", epoch=None)], []) == [base.Written(3, 3)]
    assert writing.events(store, session_id) == writing.numbered("a", "b", "c")


def test_appends_from_many_threads_at_once_leave_no_gap(store: base.Store):
    session_id = writing.session(store)
    mine = [writing.stream(store, session_id, request_id=str(i)) for i in range(4)]

    def write(number: int) -> None:
        for round_ in range(10):
            payload = f"{number}.{round_}"
            writes = [writing.append(session_id, payload, epoch=None), writing.append(mine[number], payload)]
            # Against the order of ids, in which the rows are locked.
            assert all(isinstance(outcome, base.Written) for outcome in store.write(writes[:: 1 - number % 2 * 2], []))

    in_threads(write, 4)
    shared = writing.events(store, session_id)
    assert [sequence for sequence, _ in shared] == list(range(1, 41))
    for number, stream_id in enumerate(mine):
        expected = [f"{number}.{round_}" for round_ in range(10)]
        assert writing.events(store, stream_id) == writing.numbered(*expected)
        assert [payload for _, payload in shared if payload.startswith(f"{number}.")] == expected


def test_one_write_that_is_refused_leaves_the_others_of_its_batch_alone(store: base.Store):
    session_id = writing.session(store)
    kept, fenced = (writing.stream(store, session_id, request_id=i) for i in ("1", "2"))
    opened = writing.begin(session_id, "x", request_id="3")
    outcomes = store.write(
        [
            writing.append(fenced, "lost", epoch=2),
            opened,
            writing.begin(session_id, "lost", request_id="1"),
            writing.append(kept, "a", "b"),
            writing.begin(ids.new(), "lost"),
            writing.append(session_id, "c", epoch=None),
        ],
        [],
    )
    assert [type(outcome) for outcome in outcomes] == [
        exceptions.StreamLost,
        base.Written,
        exceptions.RequestIdInFlight,
        base.Written,
        exceptions.UnknownSession,
        base.Written,
    ]
    assert writing.events(store, kept) == writing.numbered("a", "b")
    assert writing.events(store, fenced) == []
    assert writing.events(store, opened.stream_id) == writing.numbered("x")
    assert writing.events(store, session_id) == writing.numbered("c")


@pytest.mark.parametrize("payload", ['"\ud800"', '"a\udfff"'])
def test_data_that_cannot_be_stored_leaves_nothing_of_its_batch(store: base.Store, payload: str):
    session_id = writing.session(store)
    kept, poisoned = (writing.stream(store, session_id, request_id=i) for i in ("1", "2"))
    with pytest.raises(exceptions.StoreError) as raised:
        store.write([writing.append(kept, "a"), writing.append(poisoned, payload)], [])
    assert not isinstance(raised.value, exceptions.StoreUnavailable)
    assert writing.events(store, kept) == writing.events(store, poisoned) == []
    assert store.write([writing.append(kept, "a")], []) == [base.Written(1, 1)]


def test_an_empty_batch_is_written(store: base.Store):
    assert store.write([], []) == []


def test_records_are_taken_beside_writes(store: base.Store):
    session_id = writing.session(store)
    write = writing.begin(session_id, record=writing.record(session_id=session_id))
    assert store.write([write], [writing.record(), writing.record(session_id=session_id)]) == [
        base.Written(0, 0, "info")
    ]


# Reading


def test_a_page_has_what_is_behind_the_cursor_up_to_the_limit(store: base.Store):
    stream_id = writing.stream(store, writing.session(store), "a", "b", "c", "d")
    page = store.read(stream_id, 1, 2)
    assert page == base.Page([base.Event(2, "b"), base.Event(3, "c")], StreamState.OPEN, 4, 1)


def test_a_page_behind_the_head_is_empty_and_tells_the_head(store: base.Store):
    stream_id = writing.stream(store, writing.session(store), "a", "b")
    for after in (2, 3, 2**63 - 1):
        assert store.read(stream_id, after, 10) == base.Page([], StreamState.OPEN, 2, 1)


def test_pages_follow_one_another_without_gap(store: base.Store):
    payloads = [str(i) for i in range(23)]
    stream_id = writing.stream(store, writing.session(store), *payloads)
    seen: list[base.Event] = []
    while page := store.read(stream_id, len(seen), 5):
        seen += page.events
        if len(seen) == page.head:
            break
    assert seen == writing.numbered(*payloads)


def test_an_unknown_stream_has_no_page(store: base.Store):
    assert store.read(ids.new(), 0, 10) is None


def test_payloads_come_back_as_they_were(store: base.Store):
    payloads = ['{"a":"\\u0000"}', "\U0001f600", "%s %(x)s ? $1 :a", "'; DROP TABLE x; --", "x" * 100_000]
    stream_id = writing.stream(store, writing.session(store), *payloads)
    assert writing.events(store, stream_id) == writing.numbered(*payloads)


def test_bytes_are_counted_in_utf_8(store: base.Store):
    stream_id = writing.stream(store, writing.session(store), "é")
    [outcome] = store.write([writing.append(stream_id, "\U0001f600", "a")], [])
    assert outcome == base.Written(3, 7)


# Trimming


def test_beyond_the_cap_the_oldest_events_are_gone(store: base.Store, settings: Settings):
    change(settings, MAX_STREAM_EVENTS=5)
    session_id = writing.session(store)
    stream_id = writing.stream(store, session_id, "1", "2", "3", "4")
    assert store.write([writing.append(stream_id, "5")], []) == [base.Written(5, 5)]
    assert writing.events(store, stream_id) == writing.numbered("1", "2", "3", "4", "5")
    store.write([writing.append(stream_id, "6", "7")], [])
    page = store.read(stream_id, 2, 10)
    assert page is not None
    assert (page.head, page.earliest) == (7, 3)
    assert page.events == [(i, str(i)) for i in range(3, 8)]
    found = store.find_stream(session_id, stream_id)
    assert found is not None
    assert (found[0].head, found[0].earliest) == (7, 3)


def test_trimmed_events_are_read_by_nobody(store: base.Store, settings: Settings):
    change(settings, MAX_STREAM_EVENTS=3)
    stream_id = writing.stream(store, writing.session(store), "1", "2")
    store.write([writing.append(stream_id, "3", "4", "5")], [])
    page = store.read(stream_id, 0, 100)
    assert page is not None
    assert page.earliest == 3
    assert page.events == [(i, str(i)) for i in range(3, 6)]


@pytest.mark.parametrize("opened_with", [0, 2, 9])
def test_a_single_write_beyond_the_cap_keeps_the_newest(store: base.Store, settings: Settings, opened_with: int):
    change(settings, MAX_STREAM_EVENTS=3)
    first = [str(i) for i in range(1, opened_with + 1)]
    rest = [str(i) for i in range(opened_with + 1, 11)]
    stream_id = writing.stream(store, writing.session(store), *first)
    store.write([writing.append(stream_id, *rest, end=StreamState.ANSWERED)], [])
    page = store.read(stream_id, 0, 100)
    assert page is not None
    assert (page.head, page.earliest) == (10, 8)
    assert page.events == [(8, "8"), (9, "9"), (10, "10")]


def test_an_opening_beyond_the_cap_keeps_the_newest(store: base.Store, settings: Settings):
    change(settings, MAX_STREAM_EVENTS=3)
    stream_id = writing.stream(store, writing.session(store), "1", "2", "3", "4", end=StreamState.ANSWERED)
    page = store.read(stream_id, 0, 100)
    assert page is not None
    assert (page.head, page.earliest) == (4, 2)
    assert page.events == [(2, "2"), (3, "3"), (4, "4")]


def test_trimmed_events_count_no_longer_as_stored(store: base.Store, settings: Settings):
    change(settings, MAX_STREAM_EVENTS=2)
    stream_id = writing.stream(store, writing.session(store), "ééé", "b")
    store.write([writing.append(stream_id, "c")], [])
    [outcome] = store.write([writing.append(stream_id)], [])
    assert outcome == base.Written(3, 2)


# Polling


def test_a_poll_tells_of_each_stream_that_there_is(store: base.Store):
    session_id = writing.session(store)
    stream_id = writing.stream(store, session_id, "a", "b", follower=5)
    assert store.poll([stream_id, session_id, ids.new()]) == {
        stream_id: base.Status(2, 1, StreamState.OPEN, 5),
        session_id: base.Status(0, 1, StreamState.OPEN, None),
    }


def test_a_poll_takes_more_streams_than_one_statement_can_name(store: base.Store):
    session_id = writing.session(store)
    assert set(store.poll([session_id, *(ids.new() for _ in range(1_200))])) == {session_id}


def test_a_poll_of_nothing_is_empty(store: base.Store):
    assert store.poll([]) == {}


# Sessions


def test_a_session_is_found_by_its_digest(store: base.Store):
    facts = writing.facts(
        principal="user:1", client_info={"name": "é", "n": [1, {"a": None}]}, capabilities={"roots": {"x": True}}
    )
    store.open_session(facts, "d1", writing.record(session_id=facts.id))
    assert store.find_session("d1") == facts
    assert store.find_session("d2") is None
    assert store.is_open(facts.id)
    assert not store.is_open(facts.id + 1)


def test_a_session_has_a_listening_stream_of_its_own_id(store: base.Store):
    session_id = writing.session(store)
    assert store.find_stream(session_id, session_id) == (base.Page([], StreamState.OPEN, 0, 1), "")


@pytest.mark.parametrize("state", [SessionState.TERMINATED, SessionState.EXPIRED])
def test_an_ended_session_is_gone_and_so_are_its_open_streams(store: base.Store, state: SessionState):
    session_id = writing.session(store, "d")
    running = writing.stream(store, session_id, "a", request_id="1")
    answered = writing.stream(store, session_id, request_id="2")
    store.write([writing.append(answered, end=StreamState.ANSWERED)], [])
    other = writing.stream(store, writing.session(store))
    assert sorted(store.end_session(session_id, state)) == [session_id, running]
    assert store.find_session("d") is None
    assert not store.is_open(session_id)
    for stream_id in (session_id, running):
        assert status(store, stream_id).state.value == state.value
        assert status(store, stream_id).epoch == 2
    assert status(store, answered).state == StreamState.ANSWERED
    assert status(store, other).state == StreamState.OPEN
    [outcome] = store.write([writing.append(running, "b", epoch=2)], [])
    assert isinstance(outcome, exceptions.StreamLost)


def test_a_session_ends_once(store: base.Store):
    session_id = writing.session(store)
    assert store.end_session(session_id, SessionState.TERMINATED)
    assert store.end_session(session_id, SessionState.EXPIRED) == []
    assert status(store, session_id).state == StreamState.TERMINATED
    assert store.end_session(ids.new(), SessionState.TERMINATED) == []


def test_one_of_many_that_end_a_session_at_once_does_it(store: base.Store):
    session_id = writing.session(store)
    outcomes = in_threads(lambda _: store.end_session(session_id, SessionState.TERMINATED), 5)
    assert sorted(outcomes) == [[], [], [], [], [session_id]]
    assert status(store, session_id).epoch == 2


def test_an_idle_session_expires_and_a_used_one_does_not(store: base.Store):
    idle, used = writing.session(store, "idle"), writing.session(store, "used")
    pass_seconds(store, 100)
    store.touch([used, ids.new()])
    assert store.expire_sessions(110, 10) == []
    assert store.expire_sessions(60, 10) == [idle]
    assert status(store, idle).state == StreamState.EXPIRED
    assert store.find_session("idle") is None
    assert store.find_session("used") is not None
    assert store.expire_sessions(60, 10) == []


def test_a_session_with_an_open_call_does_not_expire(store: base.Store):
    session_id = writing.session(store)
    stream_id = writing.stream(store, session_id)
    pass_seconds(store, 100)
    assert store.expire_sessions(60, 10) == []
    store.write([writing.append(stream_id, end=StreamState.ANSWERED)], [])
    assert store.expire_sessions(60, 10) == [session_id]


def test_only_so_many_sessions_expire_at_once(store: base.Store):
    sessions = {writing.session(store) for _ in range(5)}
    pass_seconds(store, 100)
    first = store.expire_sessions(60, 3)
    assert len(first) == 3
    rest = store.expire_sessions(60, 3)
    assert len(rest) == 2
    assert {*first, *rest} == sessions


def test_a_call_that_is_answered_with_its_opening_keeps_no_request_id_from_the_same_batch(store: base.Store):
    session_id = writing.session(store)
    answered = writing.begin(session_id, "a", end=StreamState.ANSWERED)
    next_one, same_again = writing.begin(session_id), writing.begin(session_id)
    outcomes = store.write([answered, next_one, same_again], [])
    assert outcomes[:2] == [base.Written(1, 1, "info"), base.Written(0, 0, "info")]
    assert isinstance(outcomes[2], exceptions.RequestIdInFlight)


# Too many sessions


def test_sessions_are_counted_while_they_are_open_of_everybody_and_of_one(store: base.Store):
    ada, bob = writing.session_of(store, "user:1"), writing.session_of(store, "user:2")
    writing.session_of(store, "user:2")
    assert (store.count_sessions(), store.count_sessions("user:1"), store.count_sessions("user:2")) == (3, 1, 2)
    store.end_session(ada, SessionState.TERMINATED)
    store.end_session(bob, SessionState.EXPIRED)
    assert (store.count_sessions(), store.count_sessions("user:1"), store.count_sessions("user:2")) == (1, 0, 1)


def test_the_session_that_was_idle_the_longest_gives_way(store: base.Store):
    oldest, older = writing.session(store), writing.session(store)
    store.touch([oldest])
    pass_seconds(store, 100)
    writing.session(store)
    store.touch([older])
    pass_seconds(store, 100)
    assert store.make_room() == [oldest]
    assert not store.is_open(oldest)
    assert store.is_open(older)


def test_a_session_gives_way_to_its_own_principal_only(store: base.Store):
    ada, bob = writing.session_of(store, "user:1"), writing.session_of(store, "user:2")
    pass_seconds(store, 100)
    assert store.make_room("user:2") == [bob]
    assert store.make_room("user:2") == []
    assert store.is_open(ada)


def test_a_session_that_is_in_use_gives_way_to_nobody(store: base.Store):
    calling, listening = writing.session(store), writing.session(store)
    store.write([writing.begin(calling)], [])
    assert store.take(listening, 1)
    pass_seconds(store, 10_000)
    writing.session(store)
    store.touch([listening])
    pass_seconds(store, base.GIVE_WAY_SECONDS / 2)
    assert store.make_room() == []


@pytest.mark.parametrize("principal", ["user:1", None])
def test_a_listening_connection_of_a_dead_worker_spares_nobody(store: base.Store, principal: str | None):
    listening = writing.session_of(store, "user:1")
    assert store.take(listening, 1)
    for _ in range(3):
        # While its worker lives, that touches it.
        pass_seconds(store, base.GIVE_WAY_SECONDS / 2)
        assert store.make_room(principal) == []
        store.touch([listening])
    pass_seconds(store, base.GIVE_WAY_SECONDS + 1)
    assert store.make_room(principal) == [listening]


def test_of_ones_own_sessions_the_one_that_listens_is_spared(store: base.Store):
    listening, silent = writing.session_of(store, "user:1"), writing.session_of(store, "user:1")
    assert store.take(listening, 1)
    pass_seconds(store, base.GIVE_WAY_SECONDS / 2)
    assert store.make_room("user:1") == [silent]
    assert store.make_room("user:1") == []


# Subscriptions


def told(store: base.Store, session_id: int) -> list[str]:
    page = store.read(session_id, 0, 100)
    assert page is not None
    return [event.payload for event in page.events]


def test_only_subscribed_sessions_are_told_of_a_resource(store: base.Store):
    listener, other = writing.session(store), writing.session(store)
    store.subscribe(listener, "books://1", 10)
    store.subscribe(other, "books://2", 10)
    assert writing.notify(store, "books://1", "changed", is_for_all=False) == [listener]
    assert (told(store, listener), told(store, other)) == (["changed"], [])


def test_all_sessions_of_a_server_are_told_of_its_lists(store: base.Store):
    one, two = writing.session(store), writing.session(store)
    other = writing.session_of(store, "", server="other")
    ended = writing.session(store)
    store.end_session(ended, SessionState.TERMINATED)
    assert sorted(writing.notify(store, "lists", "changed", is_for_all=True)) == sorted([one, two])
    assert [told(store, session_id) for session_id in (one, two, other, ended)] == [["changed"], ["changed"], [], []]


@pytest.mark.parametrize("is_for_all", [False, True])
def test_what_is_still_unread_is_not_said_again(store: base.Store, is_for_all: bool):
    session_id = writing.session(store)
    store.subscribe(session_id, "topic", 10)
    writing.notify(store, "topic", "1", is_for_all=is_for_all)
    assert writing.notify(store, "topic", "2", is_for_all=is_for_all) == []
    store.offer(session_id, 1)
    assert writing.notify(store, "topic", "3", is_for_all=is_for_all) == [session_id]
    assert told(store, session_id) == ["1", "3"]
    store.offer(session_id, 1)
    assert writing.notify(store, "topic", "4", is_for_all=is_for_all) == []


def test_what_is_offered_of_one_session_stays_unread_in_another(store: base.Store):
    one, other = writing.session(store), writing.session(store)
    writing.notify(store, "topic", "1", is_for_all=True)
    store.offer(one, 1)
    store.offer(ids.new(), 1)
    assert writing.notify(store, "topic", "2", is_for_all=True) == [one]
    assert (told(store, one), told(store, other)) == (["1", "2"], ["1"])


def test_what_was_trimmed_unread_is_said_again(store: base.Store, settings: Settings):
    change(settings, MAX_STREAM_EVENTS=2)
    session_id = writing.session(store)
    store.subscribe(session_id, "topic", 10)
    writing.notify(store, "topic", "1", is_for_all=False)
    store.write([writing.append(session_id, "a", epoch=None)], [])
    assert writing.notify(store, "topic", "2", is_for_all=False) == []
    store.write([writing.append(session_id, "b", epoch=None)], [])
    assert writing.notify(store, "topic", "3", is_for_all=False) == [session_id]
    assert told(store, session_id) == ["b", "3"]


@pytest.mark.parametrize("is_for_all", [False, True])
def test_an_audience_comes_in_groups(store: base.Store, monkeypatch: pytest.MonkeyPatch, is_for_all: bool):
    monkeypatch.setattr(base, "NEWS_AT_ONCE", 2)
    sessions = sorted(writing.session(store) for _ in range(5))
    for session_id in sessions:
        store.subscribe(session_id, "topic", 10)
    groups = store.audience("test", "topic", is_for_all=is_for_all)
    assert [sorted(group) for group in groups] == [sessions[:2], sessions[2:4], sessions[4:]]
    assert sorted(writing.notify(store, "topic", "x", is_for_all=is_for_all)) == sessions


@pytest.mark.parametrize("is_for_all", [False, True])
def test_who_has_gone_since_the_audience_was_asked_for_is_not_told(store: base.Store, is_for_all: bool):
    ended, unsubscribed, kept = [writing.session(store) for _ in range(3)]
    for session_id in (ended, unsubscribed, kept):
        store.subscribe(session_id, "topic", 10)
    [group] = store.audience("test", "topic", is_for_all=is_for_all)
    store.end_session(ended, SessionState.TERMINATED)
    store.unsubscribe(unsubscribed, "topic")
    expected = [unsubscribed, kept] if is_for_all else [kept]
    assert sorted(store.notify([*group, ids.new()], "topic", "x", is_for_all=is_for_all)) == sorted(expected)


def test_one_of_many_that_say_the_same_at_once_is_heard(store: base.Store):
    session_id = writing.session(store)
    store.subscribe(session_id, "topic", 10)
    in_threads(lambda number: writing.notify(store, "topic", str(number), is_for_all=False), 4)
    assert len(told(store, session_id)) == 1


def test_an_unsubscribed_session_is_told_nothing(store: base.Store):
    session_id = writing.session(store)
    store.subscribe(session_id, "topic", 10)
    store.unsubscribe(session_id, "topic")
    store.unsubscribe(session_id, "topic")
    assert writing.notify(store, "topic", "x", is_for_all=False) == []


def test_subscriptions_are_limited_and_the_same_one_counts_once(store: base.Store):
    session_id = writing.session(store)
    for topic in ("a", "b", "a"):
        store.subscribe(session_id, topic, 2)
    with pytest.raises(exceptions.TooManyRequests):
        store.subscribe(session_id, "c", 2)


def test_a_topic_may_be_long(store: base.Store):
    session_id = writing.session(store)
    topic = "books://" + "é" * 100_000
    store.subscribe(session_id, topic, 10)
    assert writing.notify(store, topic, "x", is_for_all=False) == [session_id]


# Streams


def test_a_stream_is_found_in_its_own_session_only(store: base.Store):
    session_id, other = writing.session(store), writing.session(store)
    stream_id = writing.stream(store, session_id, "a", request_id='"x"')
    assert store.find_stream(session_id, stream_id) == (base.Page([], StreamState.OPEN, 1, 1), '"x"')
    assert store.find_stream(other, stream_id) is None
    assert store.find_stream(session_id, ids.new()) is None


def test_what_was_handed_only_goes_forward(store: base.Store):
    session_id = writing.session(store)
    assert store.handed(session_id) == 0
    store.hand(session_id, 5)
    store.hand(session_id, 3)
    assert store.handed(session_id) == 5


def test_nothing_was_handed_of_a_stream_that_never_was(store: base.Store):
    store.hand(ids.new(), 5)
    assert store.handed(ids.new()) == 0
    assert not store.take(ids.new(), 1)
    store.release(ids.new(), 1)


def test_the_newer_follower_wins(store: base.Store):
    session_id = writing.session(store)
    assert store.take(session_id, 10)
    assert status(store, session_id).follower == 10
    assert store.take(session_id, 11)
    assert status(store, session_id).follower == 11


def test_only_the_follower_that_is_there_is_released(store: base.Store):
    session_id = writing.session(store)
    store.take(session_id, 10)
    store.take(session_id, 11)
    store.release(session_id, 10)
    assert status(store, session_id).follower == 11
    store.release(session_id, 11)
    assert status(store, session_id).follower is None


def test_takeovers_are_limited_for_a_while(store: base.Store):
    session_id = writing.session(store)
    assert store.take(session_id, 1)
    for follower in range(2, 2 + base.TAKEOVER_LIMIT):
        assert store.take(session_id, follower)
    assert not store.take(session_id, 9)
    assert status(store, session_id).follower == 1 + base.TAKEOVER_LIMIT
    pass_seconds(store, base.TAKEOVER_WINDOW_SECONDS + 1)
    assert store.take(session_id, 9)
    # A new window has begun with that one.
    for follower in range(10, 9 + base.TAKEOVER_LIMIT):
        assert store.take(session_id, follower)
    assert not store.take(session_id, 20)


def test_a_stream_that_nobody_follows_is_free_however_often_it_was_taken(store: base.Store):
    session_id = writing.session(store)
    for follower in range(1, 10):
        assert store.take(session_id, follower)
        store.release(session_id, follower)


def test_a_stream_that_has_ended_is_free_for_all(store: base.Store):
    session_id = writing.session(store)
    stream_id = writing.stream(store, session_id, follower=1)
    store.write([writing.append(stream_id, end=StreamState.ANSWERED)], [])
    assert all(store.take(stream_id, follower) for follower in range(2, 12))


def test_a_cancelled_call_takes_no_more_events(store: base.Store):
    session_id = writing.session(store)
    stream_id = writing.stream(store, session_id, "a", request_id='"x"')
    other = writing.stream(store, session_id, request_id='"y"')
    assert store.cancel(session_id, '"x"') == stream_id
    assert status(store, stream_id) == base.Status(1, 2, StreamState.CANCELLED, None)
    assert status(store, other).state == StreamState.OPEN
    for epoch in (1, 2):
        [outcome] = store.write([writing.append(stream_id, "b", epoch=epoch)], [])
        assert isinstance(outcome, exceptions.StreamLost)
    assert store.cancel(session_id, '"x"') is None


def test_a_call_is_cancelled_in_its_own_session_only(store: base.Store):
    stream_id = writing.stream(store, writing.session(store))
    assert store.cancel(writing.session(store), "1") is None
    assert status(store, stream_id).state == StreamState.OPEN


# Asks


def asked(store: base.Store, session_id: int) -> base.NewAsk:
    ask = writing.ask(session_id)
    stream_id = writing.stream(store, session_id, request_id=str(ask.id))
    store.write([writing.append(stream_id, "ask", asks=[ask])], [])
    return ask


def test_the_first_reply_to_an_ask_counts(store: base.Store):
    session_id = writing.session(store)
    ask = asked(store, session_id)
    assert store.replies([ask.id]) == {}
    assert store.reply(session_id, ask.wire_id, '{"result":1}') == ask.id
    assert store.reply(session_id, ask.wire_id, '{"result":2}') is None
    assert store.replies([ask.id, ids.new()]) == {ask.id: '{"result":1}'}


def test_a_reply_that_was_delivered_is_not_kept(store: base.Store):
    session_id = writing.session(store)
    new = asked(store, session_id)
    assert store.reply(session_id, new.wire_id, "secret") == new.id
    store.forget_reply(new.id)
    assert store.replies([new.id]) == {new.id: ""}
    assert store.reply(session_id, new.wire_id, "again") is None


def test_one_of_many_that_reply_at_once_counts(store: base.Store):
    session_id = writing.session(store)
    ask = asked(store, session_id)
    outcomes = in_threads(lambda number: store.reply(session_id, ask.wire_id, str(number)), 6)
    assert sum(outcome == ask.id for outcome in outcomes) == 1
    assert store.replies([ask.id]) == {ask.id: str(outcomes.index(ask.id))}


def test_a_reply_from_another_session_is_none(store: base.Store):
    session_id = writing.session(store)
    ask = asked(store, session_id)
    assert store.reply(writing.session(store), ask.wire_id, "{}") is None
    assert store.reply(session_id, "other", "{}") is None
    assert store.replies([ask.id]) == {}
    assert store.reply(session_id, ask.wire_id, "{}") == ask.id


def test_an_ask_that_was_withdrawn_takes_no_reply(store: base.Store):
    session_id = writing.session(store)
    ask = asked(store, session_id)
    store.withdraw(ask.id)
    assert store.reply(session_id, ask.wire_id, "{}") is None
    assert store.replies([ask.id]) == {}


def test_an_ask_that_was_answered_is_not_withdrawn(store: base.Store):
    session_id = writing.session(store)
    ask = asked(store, session_id)
    store.reply(session_id, ask.wire_id, "{}")
    store.withdraw(ask.id)
    assert store.replies([ask.id]) == {ask.id: "{}"}


def test_an_ask_on_a_stream_that_was_fenced_is_not_asked(store: base.Store):
    session_id = writing.session(store)
    stream_id = writing.stream(store, session_id)
    ask = writing.ask(session_id)
    store.write([writing.append(stream_id, "ask", epoch=2, asks=[ask])], [])
    assert store.reply(session_id, ask.wire_id, "{}") is None


def test_an_ask_may_come_with_the_opening(store: base.Store):
    session_id = writing.session(store)
    ask = writing.ask(session_id)
    store.write([writing.begin(session_id, "ask", asks=[ask])], [])
    assert store.reply(session_id, ask.wire_id, "{}") == ask.id


# Workers


def test_a_lease_is_renewed_while_it_lasts(store: base.Store):
    worker_id = ids.new()
    store.register_worker(worker_id, "host", 1, 15)
    pass_seconds(store, 14)
    assert store.renew_worker(worker_id, 15)
    pass_seconds(store, 14)
    assert store.renew_worker(worker_id, 15)


def test_a_lease_that_has_run_out_is_not_renewed(store: base.Store):
    worker_id = ids.new()
    store.register_worker(worker_id, "host", 1, 15)
    pass_seconds(store, 16)
    assert not store.renew_worker(worker_id, 15)
    assert not store.renew_worker(worker_id, 15)


def test_a_lease_that_never_was_is_not_renewed(store: base.Store):
    assert not store.renew_worker(ids.new(), 15)


def test_a_retired_worker_does_not_renew(store: base.Store):
    worker_id = ids.new()
    store.register_worker(worker_id, "host", 1, 15)
    store.retire_worker(worker_id)
    assert not store.renew_worker(worker_id, 15)


# Orphans


def closing(request_id: jsonrpc.RequestId) -> str:
    return f"lost {request_id!r}"


def worker(store: base.Store, lease_seconds: float = 15) -> int:
    worker_id = ids.new()
    store.register_worker(worker_id, "host", 1, lease_seconds)
    return worker_id


def test_the_streams_of_a_dead_worker_are_ended_with_a_closing_event(store: base.Store):
    session_id = writing.session(store)
    dead, alive = worker(store), worker(store, 60)
    orphan = writing.stream(store, session_id, "a", request_id='"x"', owner_id=dead)
    kept = writing.stream(store, session_id, request_id="2", owner_id=alive)
    assert store.end_orphans(closing, 10) == []
    pass_seconds(store, 16)
    assert store.end_orphans(closing, 10) == [orphan]
    assert writing.events(store, orphan) == writing.numbered("a", "lost 'x'")
    assert status(store, orphan) == base.Status(2, 2, StreamState.LOST, None)
    assert status(store, kept).state == StreamState.OPEN
    assert status(store, session_id).state == StreamState.OPEN
    assert store.end_orphans(closing, 10) == []


def test_what_a_dead_worker_writes_afterwards_is_lost(store: base.Store):
    session_id = writing.session(store)
    dead = worker(store)
    orphan = writing.stream(store, session_id, owner_id=dead)
    pass_seconds(store, 16)
    store.end_orphans(closing, 10)
    for epoch in (1, 2):
        [outcome] = store.write([writing.append(orphan, "b", epoch=epoch)], [])
        assert isinstance(outcome, exceptions.StreamLost)
    assert writing.events(store, orphan) == writing.numbered("lost 1")


def test_the_request_id_of_an_orphan_is_free_again(store: base.Store):
    session_id = writing.session(store)
    writing.stream(store, session_id, owner_id=worker(store))
    pass_seconds(store, 16)
    store.end_orphans(closing, 10)
    [outcome] = store.write([writing.begin(session_id)], [])
    assert isinstance(outcome, base.Written)


def test_the_streams_of_a_retired_worker_are_ended_at_once(store: base.Store):
    retired = worker(store)
    orphan = writing.stream(store, writing.session(store), request_id="7", owner_id=retired)
    store.retire_worker(retired)
    assert store.end_orphans(closing, 10) == [orphan]
    assert writing.events(store, orphan) == writing.numbered("lost 7")


def test_only_so_many_orphans_are_ended_at_once(store: base.Store):
    dead = worker(store)
    orphans = {writing.stream(store, writing.session(store), owner_id=dead) for _ in range(5)}
    pass_seconds(store, 16)
    first = store.end_orphans(closing, 3)
    rest = store.end_orphans(closing, 3)
    assert (len(first), len(rest)) == (3, 2)
    assert {*first, *rest} == orphans


def test_each_orphan_is_ended_once_however_many_look(store: base.Store):
    dead = worker(store)
    orphans = [writing.stream(store, writing.session(store), "a", owner_id=dead) for _ in range(10)]
    pass_seconds(store, 16)
    ended = in_threads(lambda _: store.end_orphans(closing, 10), 4)
    assert sorted(stream_id for some in ended for stream_id in some) == orphans
    for stream_id in orphans:
        assert writing.events(store, stream_id) == writing.numbered("a", "lost 1")


def test_a_stream_that_a_forgotten_worker_opens_is_ended_too(store: base.Store):
    # A worker that was paused in the middle of an opening, and whose row is gone when it goes on.
    dead = worker(store)
    pass_seconds(store, 16)
    assert store.end_orphans(closing, 10) == []
    late = writing.stream(store, writing.session(store), owner_id=dead)
    assert store.end_orphans(closing, 10) == [late]
    assert writing.events(store, late) == writing.numbered("lost 1")


def test_what_has_no_owner_is_no_orphan(store: base.Store):
    session_id = writing.session(store)
    unowned = writing.stream(store, session_id, owner_id=None)
    store.retire_worker(worker(store))
    assert store.end_orphans(closing, 10) == []
    assert status(store, unowned).state == StreamState.OPEN
    assert status(store, session_id).state == StreamState.OPEN


# Reruns


def rerunnable(store: base.Store, session_id: int, owner_id: int, *payloads: str, **changes: Any) -> int:
    return writing.stream(store, session_id, *payloads, owner_id=owner_id, **{"arguments": '{"name":"t"}', **changes})


def test_a_living_worker_takes_the_call_of_a_dead_one(store: base.Store):
    session_id = writing.session(store)
    store.set_log_level(session_id, "error")
    dead, alive = worker(store), worker(store, 60)
    stream_id = rerunnable(store, session_id, dead, "a", "b", request_id='"x"')
    assert store.take_orphans(alive, ["test"], 10) == []
    pass_seconds(store, 16)
    [orphan] = store.take_orphans(alive, ["test"], 10)
    assert (orphan.stream_id, orphan.epoch, orphan.earliest, orphan.head) == (stream_id, 2, 1, 2)
    assert (orphan.session.id, orphan.session.client_info["name"], orphan.log_level) == (session_id, "client", "error")
    assert (orphan.request_id, orphan.method, orphan.arguments) == ('"x"', "tools/call", '{"name":"t"}')
    assert status(store, stream_id) == base.Status(2, 2, StreamState.OPEN, None)


def test_what_the_dead_worker_of_a_taken_call_writes_is_lost_and_its_new_one_goes_on(store: base.Store):
    dead, alive = worker(store), worker(store, 60)
    stream_id = rerunnable(store, writing.session(store), dead, "a")
    pass_seconds(store, 16)
    [orphan] = store.take_orphans(alive, ["test"], 10)
    old = writing.append(stream_id, "old", epoch=1)
    new = writing.append(stream_id, "b", epoch=orphan.epoch, end=StreamState.ANSWERED)
    [lost] = store.write([old], [])
    assert isinstance(lost, exceptions.StreamLost)
    assert store.write([new], []) == [base.Written(2, 2)]
    assert writing.events(store, stream_id) == writing.numbered("a", "b")


def test_a_taken_call_belongs_to_a_living_worker_and_is_no_orphan(store: base.Store):
    dead, alive = worker(store), worker(store, 60)
    stream_id = rerunnable(store, writing.session(store), dead)
    pass_seconds(store, 16)
    assert len(store.take_orphans(alive, ["test"], 10)) == 1
    assert store.take_orphans(alive, ["test"], 10) == []
    assert store.end_orphans(closing, 10) == []
    assert status(store, stream_id).state == StreamState.OPEN


def test_a_call_is_taken_once_and_then_ends_with_its_second_worker(store: base.Store):
    first, second, third = worker(store), worker(store, 30), worker(store, 60)
    stream_id = rerunnable(store, writing.session(store), first, "a")
    pass_seconds(store, 16)
    assert len(store.take_orphans(second, ["test"], 10)) == 1
    pass_seconds(store, 16)
    assert store.take_orphans(third, ["test"], 10) == []
    assert store.end_orphans(closing, 10) == [stream_id]
    assert writing.events(store, stream_id) == writing.numbered("a", "lost 1")


def test_of_many_that_take_at_once_one_gets_each_call(store: base.Store):
    dead = worker(store)
    living = [worker(store, 60) for _ in range(4)]
    stream_ids = [rerunnable(store, writing.session(store), dead) for _ in range(10)]
    pass_seconds(store, 16)
    taken = in_threads(lambda number: store.take_orphans(living[number], ["test"], 10), 4)
    assert sorted(orphan.stream_id for some in taken for orphan in some) == stream_ids
    assert all(status(store, stream_id).epoch == 2 for stream_id in stream_ids)


def test_of_one_that_takes_and_one_that_ends_at_once_one_gets_each_call(store: base.Store):
    dead, alive = worker(store), worker(store, 60)
    stream_ids = [rerunnable(store, writing.session(store), dead) for _ in range(10)]
    pass_seconds(store, 16 + base.RERUN_SECONDS)
    work = [lambda: store.take_orphans(alive, ["test"], 10), lambda: store.end_orphans(closing, 10)]
    taken, ended = in_threads(lambda number: work[number](), 2)
    assert sorted([*(orphan.stream_id for orphan in taken), *ended]) == stream_ids
    assert {status(store, stream_id).epoch for stream_id in stream_ids} == {2}


def test_a_call_without_arguments_is_not_taken(store: base.Store):
    dead, alive = worker(store), worker(store, 60)
    stream_id = writing.stream(store, writing.session(store), owner_id=dead)
    pass_seconds(store, 16)
    assert store.take_orphans(alive, ["test"], 10) == []
    assert store.end_orphans(closing, 10) == [stream_id]


@pytest.mark.parametrize("is_answered", [False, True])
def test_a_call_whose_client_was_asked_is_not_taken(store: base.Store, is_answered: bool):
    session_id = writing.session(store)
    dead, alive = worker(store), worker(store, 60)
    ask = writing.ask(session_id)
    stream_id = rerunnable(store, session_id, dead, "?", asks=[ask])
    if is_answered:
        store.reply(session_id, ask.wire_id, "{}")
    pass_seconds(store, 16)
    assert store.take_orphans(alive, ["test"], 10) == []
    assert store.end_orphans(closing, 10) == [stream_id]


def test_a_call_of_another_server_is_left_for_a_worker_that_knows_it(store: base.Store):
    dead, alive = worker(store), worker(store, 60)
    session_id = writing.session_of(store, "", server="other")
    stream_id = rerunnable(store, session_id, dead)
    pass_seconds(store, 16)
    assert store.take_orphans(alive, ["test"], 10) == []
    assert store.end_orphans(closing, 10) == []
    assert [orphan.stream_id for orphan in store.take_orphans(alive, ["test", "other"], 10)] == [stream_id]


def test_a_call_that_nobody_takes_is_ended_a_little_later(store: base.Store):
    stream_id = rerunnable(store, writing.session(store), worker(store), "a")
    pass_seconds(store, 16)
    assert store.end_orphans(closing, 10) == []
    pass_seconds(store, base.RERUN_SECONDS)
    assert store.end_orphans(closing, 10) == [stream_id]
    assert writing.events(store, stream_id) == writing.numbered("a", "lost 1")


def test_a_call_of_an_ended_session_is_not_taken(store: base.Store):
    session_id = writing.session(store)
    dead, alive = worker(store), worker(store, 60)
    stream_id = rerunnable(store, session_id, dead)
    pass_seconds(store, 16)
    store.end_session(session_id, SessionState.TERMINATED)
    assert store.take_orphans(alive, ["test"], 10) == []
    assert status(store, stream_id).state == StreamState.TERMINATED


def test_a_call_without_a_session_is_not_taken(store: base.Store):
    dead, alive = worker(store), worker(store, 60)
    writing.stream(store, None, owner_id=dead, arguments="{}")
    pass_seconds(store, 16)
    assert store.take_orphans(alive, ["test"], 10) == []


def test_a_worker_without_a_lease_takes_nothing(store: base.Store):
    dead, late = worker(store), worker(store)
    stream_id = rerunnable(store, writing.session(store), dead)
    pass_seconds(store, 16)
    assert store.take_orphans(late, ["test"], 10) == []
    assert store.take_orphans(ids.new(), ["test"], 10) == []
    assert status(store, stream_id).epoch == 1


def test_only_so_many_calls_are_taken_at_once(store: base.Store):
    dead, alive = worker(store), worker(store, 60)
    for _ in range(5):
        rerunnable(store, writing.session(store), dead)
    pass_seconds(store, 16)
    assert [len(store.take_orphans(alive, ["test"], 3)) for _ in range(3)] == [3, 2, 0]


def test_a_taken_call_can_be_cancelled(store: base.Store):
    session_id = writing.session(store)
    dead, alive = worker(store), worker(store, 60)
    stream_id = rerunnable(store, session_id, dead, request_id="7")
    pass_seconds(store, 16)
    assert len(store.take_orphans(alive, ["test"], 10)) == 1
    assert store.cancel(session_id, "7") == stream_id
    assert status(store, stream_id) == base.Status(0, 3, StreamState.CANCELLED, None)


def test_a_taken_call_that_was_trimmed_tells_what_is_kept(store: base.Store, settings: Settings):
    change(settings, MAX_STREAM_EVENTS=2)
    dead, alive = worker(store), worker(store, 60)
    stream_id = rerunnable(store, writing.session(store), dead, "a")
    store.write([writing.append(stream_id, "b", "c", "d")], [])
    pass_seconds(store, 16)
    [orphan] = store.take_orphans(alive, ["test"], 10)
    assert (orphan.earliest, orphan.head) == (3, 4)


# Retention

HOUR_SECONDS = 3_600.0
DAY_SECONDS = 86_400.0
KEPT = base.Retention(HOUR_SECONDS, DAY_SECONDS)
EVERYTHING_ENDED = base.Retention(-1, -1)


def prune(store: base.Store, kept: base.Retention, *, limit: int = 100) -> base.Pruned:
    pruned = base.Pruned()
    while (batch := store.prune(kept, str.upper, limit)) is not None:
        pruned += batch
    return pruned


def ended_call(store: base.Store, session_id: int | None, *payloads: str, **changes: Any) -> int:
    return writing.stream(store, session_id, *payloads, end=StreamState.ANSWERED, **changes)


def made_before(seconds: float) -> int:
    """An id from so long ago."""
    return ids.first_at(time.time() - seconds) + next(COUNTER)


COUNTER = itertools.count()


def test_without_anything_due_nothing_is_pruned(store: base.Store):
    session_id = writing.session(store)
    stream_id = ended_call(store, session_id, "a")
    pass_seconds(store, HOUR_SECONDS / 2)
    assert store.prunable(KEPT) == base.Pruned()
    assert store.prune(KEPT, str.upper, 100) is None
    assert writing.events(store, stream_id) == writing.numbered("a")


def test_what_ended_long_ago_can_no_longer_be_resumed_and_says_so(store: base.Store):
    session_id = writing.session(store)
    stream_id = ended_call(store, session_id, "a", "b", "c")
    pass_seconds(store, HOUR_SECONDS + 60)
    assert store.prunable(KEPT).redacted == 1
    assert prune(store, KEPT).redacted == 1
    # Nobody gets what is left for what was sent, and everybody sees that something is gone.
    for after in range(3):
        assert store.read(stream_id, after, 10) == base.Page([], StreamState.ANSWERED, 3, 4)
    assert store.find_stream(session_id, stream_id) == (base.Page([], StreamState.ANSWERED, 3, 4), "1")
    assert store.prunable(KEPT).redacted == 0


def test_what_goes_on_is_never_pruned(store: base.Store):
    session_id = writing.session(store, "digest")
    stream_id = writing.stream(store, session_id, "a")
    store.write([writing.append(session_id, "news", epoch=None)], [])
    store.subscribe(session_id, "topic", 10)
    alone = writing.stream(store, None, "b")
    pass_seconds(store, 100 * DAY_SECONDS)
    assert prune(store, EVERYTHING_ENDED) == base.Pruned()
    assert writing.events(store, stream_id) == writing.numbered("a")
    assert writing.events(store, session_id) == writing.numbered("news")
    assert writing.events(store, alone) == writing.numbered("b")
    assert store.find_session("digest") is not None
    assert writing.notify(store, "topic", "more", is_for_all=False) == [session_id]


def test_an_ended_call_of_a_session_that_goes_on_is_deleted_alone(store: base.Store):
    session_id = writing.session(store, "digest")
    gone, kept = ended_call(store, session_id, "a"), writing.stream(store, session_id, "b")
    assert prune(store, EVERYTHING_ENDED).streams == 1
    assert store.read(gone, 0, 10) is None
    assert store.find_stream(session_id, gone) is None
    assert writing.events(store, kept) == writing.numbered("b")
    assert store.is_open(session_id)


def test_an_ended_session_is_deleted_with_all_that_belongs_to_it(store: base.Store):
    session_id, other = writing.session(store, "digest"), writing.session(store)
    asked = writing.ask(session_id)
    call = writing.stream(store, session_id, "a", asks=[asked])
    store.reply(session_id, asked.wire_id, "{}")
    store.subscribe(session_id, "topic", 10)
    store.end_session(session_id, SessionState.TERMINATED)
    due = store.prunable(EVERYTHING_ENDED)
    assert (due.redacted, due.sessions, due.streams) == (0, 1, 2)
    assert prune(store, EVERYTHING_ENDED).streams == 2
    assert store.poll([session_id, call, other]).keys() == {other}
    assert store.replies([asked.id]) == {}
    assert store.prunable(EVERYTHING_ENDED) == base.Pruned()


def test_history_may_be_kept_for_ever(store: base.Store):
    session_id = writing.session(store)
    stream_id = ended_call(store, session_id, "a")
    assert prune(store, base.Retention(-1, None)).streams == 0
    assert store.prunable(base.Retention(-1, None)) == base.Pruned()
    assert store.find_stream(session_id, stream_id) is not None


def test_history_is_deleted_when_it_is_old_enough_and_not_before(store: base.Store):
    session_id = made_before(3 * DAY_SECONDS)
    store.open_session(writing.facts(id=session_id), "digest", None)
    old = ended_call(store, session_id, "a", stream_id=made_before(2 * DAY_SECONDS))
    pass_seconds(store, 1.5 * DAY_SECONDS)
    recent = ended_call(store, session_id, "a", stream_id=made_before(2 * DAY_SECONDS), request_id="2")
    assert prune(store, KEPT).streams == 1
    assert store.poll([old, recent]).keys() == {recent}


def test_a_batch_takes_only_so_much_and_the_next_one_goes_on(store: base.Store):
    session_id = writing.session(store)
    calls = [ended_call(store, session_id, *"abc", request_id=str(i)) for i in range(5)]
    assert prune(store, EVERYTHING_ENDED, limit=2).streams == 5
    assert store.poll(calls) == {}


def test_many_prune_at_once_and_each_stream_goes_once(store: base.Store):
    session_id = writing.session(store)
    for number in range(20):
        ended_call(store, session_id, *"abc", request_id=str(number))
    pruned = sum(in_threads(lambda _: prune(store, EVERYTHING_ENDED, limit=7), 4), base.Pruned())
    assert pruned.streams == 20
    assert store.prunable(EVERYTHING_ENDED) == base.Pruned()


def purge(store: base.Store, session_id: int, *, limit: int = 100) -> list[base.Pruned]:
    """What each batch deleted."""
    return list(iter(lambda: store.purge(session_id, limit), None))


def test_a_session_that_is_over_is_purged_with_all_that_belongs_to_it_and_nothing_else(store: base.Store):
    session_id, other = writing.session(store, "digest"), writing.session(store)
    asked = writing.ask(session_id)
    call = writing.stream(store, session_id, "a", asks=[asked])
    store.reply(session_id, asked.wire_id, "{}")
    kept = ended_call(store, other, "b")
    store.end_session(session_id, SessionState.TERMINATED)
    pruned = sum(purge(store, session_id), base.Pruned())
    assert (pruned.sessions, pruned.streams) == (1, 2)
    assert store.poll([session_id, call, other, kept]).keys() == {other, kept}
    assert store.replies([asked.id]) == {}
    assert writing.events(store, kept) == writing.numbered("b")
    assert store.purge(session_id, 100) is None


def test_a_session_that_is_open_or_never_was_is_not_purged(store: base.Store):
    session_id = writing.session(store)
    ended = ended_call(store, session_id, "a")
    assert store.purge(session_id, 100) is None
    assert store.purge(ids.new(), 100) is None
    assert writing.events(store, ended) == writing.numbered("a")


def test_a_batch_of_a_purge_takes_only_so_much_and_the_last_one_takes_the_session(store: base.Store):
    session_id = writing.session(store)
    calls = [ended_call(store, session_id, "a", request_id=str(i)) for i in range(5)]
    store.end_session(session_id, SessionState.TERMINATED)
    batches = purge(store, session_id, limit=2)
    assert max(max(batch.streams, batch.events) for batch in batches) <= 2
    assert sum(batch.streams for batch in batches) == 6
    assert [batch.sessions for batch in batches] == [0] * (len(batches) - 1) + [1]
    assert store.poll(calls) == {}


def test_a_purge_that_was_interrupted_leaves_no_silent_gap(store: base.Store):
    session_id = writing.session(store)
    call = ended_call(store, session_id, *"abcde")
    store.end_session(session_id, SessionState.TERMINATED)
    # With a cache in front, there are copies of it now.
    assert [tuple(event) for event in store.read(call, 0, 3).events] == writing.numbered(*"abc")  # type: ignore[union-attr]
    while store.purge(session_id, 2) is not None:
        for after in range(5):
            page = store.read(call, after, 10)
            assert page is None or page.events[:1] == [] or page.events[0].sequence == after + 1
            assert page is None or page.events or page.earliest > after + 1


def test_many_purge_and_prune_at_once_and_each_stream_goes_once(store: base.Store):
    session_id = writing.session(store)
    for number in range(20):
        ended_call(store, session_id, *"abc", request_id=str(number))
    store.end_session(session_id, SessionState.TERMINATED)

    def delete(number: int) -> base.Pruned:
        if number % 2:
            return prune(store, EVERYTHING_ENDED, limit=7)
        return sum(purge(store, session_id, limit=7), base.Pruned())

    pruned = sum(in_threads(delete, 4), base.Pruned())
    assert (pruned.sessions, pruned.streams) == (1, 21)
