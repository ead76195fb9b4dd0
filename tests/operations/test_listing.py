"""Which sessions there are and what each came to, on real databases."""

from __future__ import annotations

import pytest
from django.db import connections
from django.test.utils import CaptureQueriesContext

from streamable_http import models, operations
from streamable_http.models import Outcome, SessionState, StreamState
from streamable_http.operations import listing
from streamable_http.stores import base
from streamable_http.stores.db import DatabaseStore
from tests.stores import writing


@pytest.fixture
def store(log_alias: str) -> DatabaseStore:
    return DatabaseStore(log_alias)


def ended(session_id: int, outcome: str, **changes: object) -> base.StreamWrite:
    write = writing.begin(session_id, "12345", "1", end=StreamState.ANSWERED, **changes)
    write.ending = base.Ending(outcome, 5.0)
    return write


def found(**conditions: str) -> list[int]:
    return [session.pk for session in operations.find_sessions(**conditions)]


def test_sessions_are_found_newest_first_and_by_what_they_are(store: DatabaseStore) -> None:
    first = writing.session_of(store, "user:1", server="a")
    second = writing.session_of(store, "user:2", server="b", client_info={"name": "Inspector", "version": "2"})
    store.end_session(first, SessionState.TERMINATED)
    assert found() == [second, first]
    assert found(state="open") == [second]
    assert found(server="a") == [first]
    assert found(principal="user:2") == [second]
    assert found(text="inspect") == [second]
    assert found(text="user:") == [second, first]
    assert found(text=f"{first:x}") == [first]
    assert found(text=f"{first:X}"[:8]) in ([first], [second, first])
    assert found(text="nobody\0") == []


def test_a_short_id_that_no_database_can_hold_finds_nothing(store: DatabaseStore) -> None:
    assert found(text="f" * 16) == []


def test_a_session_is_summed_up(store: DatabaseStore) -> None:
    session_id = writing.session(store)
    lost = writing.begin(session_id, request_id="4", end=StreamState.LOST)
    store.register_worker(1, "host", 17, 15)
    store.write([ended(session_id, outcome) for outcome in ("result", "error", "tool_error")], [])
    store.write([lost], [])
    store.write([writing.begin(session_id, "1")], [])
    store.write([writing.append(session_id, "listened", epoch=None)], [])
    summary = operations.summarize([session_id])[session_id]
    assert summary == operations.Summary(calls=5, open_calls=1, events=8, stored_bytes=27, errors=3, worker="host:17")


def test_a_session_without_calls_comes_to_nothing(store: DatabaseStore) -> None:
    session_id = writing.session(store)
    assert operations.summarize([session_id, 17]) == {session_id: operations.Summary(), 17: operations.Summary()}


def test_many_sessions_take_as_many_queries_as_one(store: DatabaseStore) -> None:
    session_ids = [writing.session(store) for _ in range(30)]
    for session_id in session_ids:
        store.write([ended(session_id, "result")], [])
    with CaptureQueriesContext(connections[store.alias]) as queries:
        operations.summarize(session_ids)
    assert len(queries) == 2


@pytest.mark.parametrize("said", ["\0", "\ud800", "(", "%", "\\"])
def test_nothing_that_is_looked_for_breaks_the_search(store: DatabaseStore, said: str) -> None:
    writing.session_of(store, "user:1")
    assert found(text=f"x{said}") == found(state=said) == found(server=said) == found(principal=said) == []


# What a client calls itself


@pytest.mark.parametrize(
    ("client_info", "client"),
    [
        ('{"name": "inspector", "version": "2.12"}', "inspector 2.12"),
        ('{"name": "inspector"}', "inspector"),
        ('{"version": "2.12"}', "2.12"),
        ('{"name": {"no": "text"}, "version": 3}', ""),
        ("[1, 2]", ""),
        ("not JSON", ""),
        ("", ""),
        ("[" * 100_000, ""),
        ('{"name": "\ud800"}', ""),
    ],
)
def test_a_client_is_what_it_calls_itself(client_info: str, client: str) -> None:
    assert str(operations.client_of(client_info)) == client


def test_what_a_client_calls_itself_is_redacted() -> None:
    data = operations.client_of('{"name": "data:text/plain;base64,aHVudGVyMg==", "version": "1"}')
    assert data.name.startswith("data:text/plain;base64,… [folded: ")
    assert data.version == "1"


# What failed


@pytest.mark.parametrize("state", StreamState)
@pytest.mark.parametrize("outcome", ["", *Outcome])
def test_what_has_failed_is_the_same_for_a_row_and_for_the_database(
    store: DatabaseStore, state: str, outcome: str
) -> None:
    stream_id = writing.stream(store, writing.session(store))
    streams = models.Stream.objects.using(store.alias).filter(pk=stream_id)
    streams.update(state=state, outcome=outcome)
    assert streams.filter(listing.FAILED).exists() == streams.get().has_failed
