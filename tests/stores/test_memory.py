"""What is special about the store in memory; what it has in common with the others is in the contract."""

from __future__ import annotations

import pytest
from pytest_django import Settings

from streamable_http import exceptions
from streamable_http.models import SessionState, StreamState
from streamable_http.stores.memory import MemoryStore
from tests.stores import writing


def test_two_stores_have_nothing_in_common() -> None:
    first, second = MemoryStore(), MemoryStore()
    session_id = writing.session(first, "digest")
    assert second.find_session("digest") is None
    assert second.read(session_id, 0, 1) is None


def test_its_commits_are_never_uncertain() -> None:
    with pytest.raises(exceptions.StoreError):
        MemoryStore().committed(None)


def test_data_that_no_database_would_take_is_refused_before_anything_is_written() -> None:
    store = MemoryStore()
    good, bad = writing.begin(None, "a"), writing.begin(None, "\ud800")
    with pytest.raises(exceptions.StoreError):
        store.write([good, bad], [])
    assert store.read(good.stream_id, 0, 1) is None


def test_a_page_is_not_changed_by_what_comes_later() -> None:
    store = MemoryStore()
    stream_id = writing.stream(store, None, "a")
    page = store.read(stream_id, 0, 10)
    store.write([writing.append(stream_id, "b")], [])
    assert page is not None
    assert [event.payload for event in page.events] == ["a"]


def test_what_ended_long_ago_is_forgotten_and_what_is_open_is_not(settings: Settings) -> None:
    store = MemoryStore()
    ended, going_on = writing.session(store, "ended"), writing.session(store, "open")
    asked = writing.ask(going_on)
    answered = writing.begin(going_on, "a", end=StreamState.ANSWERED, asks=[asked])
    running = writing.begin(going_on, "b", request_id="2")
    store.write([answered, running], [])
    store.end_session(ended, SessionState.TERMINATED)
    store.tidy()
    assert store.read(answered.stream_id, 0, 10) is not None
    settings.STREAMABLE_HTTP = {"SESSION_IDLE_SECONDS": -1}
    store.tidy()
    assert store.read(answered.stream_id, 0, 10) is None
    assert store.read(ended, 0, 10) is None
    assert store.read(running.stream_id, 0, 10) is not None
    assert store.find_session("open") is not None
    assert (len(store._sessions), len(store._digests), len(store._asks)) == (1, 1, 0)
