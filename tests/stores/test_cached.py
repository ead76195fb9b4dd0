"""What is special about copies in Django's cache; that nobody else sees them is in the contract."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
import redis as redis_client
from django.core.cache import caches
from django.core.exceptions import ImproperlyConfigured
from pytest_django import Settings

from streamable_http import exceptions, models
from streamable_http.models import SessionState, StreamState
from streamable_http.stores import base, cached, delegating
from streamable_http.stores.cached import CachedStore
from streamable_http.stores.db import DatabaseStore
from tests import services
from tests.stores import writing
from tests.stores.conftest import SmallPages

pytestmark = pytest.mark.parametrize(
    ("log_database", "cache"), [("sqlite", "locmem"), ("postgres", "redis")], indirect=True, scope="module"
)

PAYLOADS = [str(number) for number in range(1, 9)]


@pytest.fixture
def behind(store: SmallPages) -> DatabaseStore:
    """The store behind the cache."""
    assert isinstance(store.inner, DatabaseStore)
    return store.inner


def pages(store: base.Store, stream_id: int, after: int = 0) -> list[list[int]]:
    """Follow a stream to its head; the sequences of each page."""
    found = []
    while True:
        page = store.read(stream_id, after, SmallPages.page_events)
        assert page is not None
        assert page.events == [(sequence, str(sequence)) for sequence, _ in page.events]
        if after >= page.head:
            return found
        found.append([sequence for sequence, _ in page.events])
        after = found[-1][-1]


def spoil(behind: DatabaseStore, stream_id: int) -> None:
    """Change the payloads behind the cache, so that it is seen where a page comes from."""
    models.Event.objects.using(behind.alias).filter(stream_id=stream_id).update(payload="spoiled")


def payloads(store: base.Store, stream_id: int, after: int, limit: int = 3) -> list[str]:
    page = store.read(stream_id, after, limit)
    assert page is not None
    return [event.payload for event in page.events]


# Pages


def test_a_whole_page_that_was_read_once_comes_from_the_cache(store: SmallPages, behind: DatabaseStore) -> None:
    stream_id = writing.stream(store, None, *PAYLOADS)
    assert pages(store, stream_id) == [[1, 2, 3], [4, 5, 6], [7, 8]]
    spoil(behind, stream_id)
    assert payloads(store, stream_id, 0) == ["1", "2", "3"]
    assert payloads(store, stream_id, 3) == ["4", "5", "6"]
    assert payloads(store, stream_id, 6) == ["spoiled", "spoiled"]


def test_a_cursor_within_a_page_gets_the_rest_of_it(store: SmallPages, behind: DatabaseStore) -> None:
    stream_id = writing.stream(store, None, *PAYLOADS)
    # Up to the border first, so that the pages behind it are whole.
    assert pages(store, stream_id, 2) == [[3], [4, 5, 6], [7, 8]]
    spoil(behind, stream_id)
    assert payloads(store, stream_id, 4) == ["5", "6"]
    assert payloads(store, stream_id, 4, 1) == ["5"]
    assert payloads(store, stream_id, 2) == ["spoiled"]


def test_a_page_that_is_not_full_yet_is_not_kept(store: SmallPages) -> None:
    stream_id = writing.stream(store, None, "1", "2")
    assert pages(store, stream_id) == [[1, 2]]
    store.write([writing.append(stream_id, "3", "4")], [])
    assert pages(store, stream_id) == [[1, 2, 3], [4]]


def test_who_wants_everything_reads_past_the_cache(store: SmallPages, behind: DatabaseStore) -> None:
    stream_id = writing.stream(store, None, *PAYLOADS)
    pages(store, stream_id)
    spoil(behind, stream_id)
    assert payloads(store, stream_id, 0, 1_000) == ["spoiled"] * 8


def test_head_and_state_are_those_of_now(store: SmallPages, behind: DatabaseStore) -> None:
    stream_id = writing.stream(store, None, *PAYLOADS)
    pages(store, stream_id)
    behind.write([writing.append(stream_id, "9", end=StreamState.ANSWERED)], [])
    page = store.read(stream_id, 0, 3)
    assert page is not None
    assert (page.state, page.head, page.earliest) == (StreamState.ANSWERED, 9, 1)
    assert [event.payload for event in page.events] == ["1", "2", "3"]


def test_a_trimmed_stream_tells_its_gap(store: SmallPages, behind: DatabaseStore, settings: Settings) -> None:
    stream_id = writing.stream(store, None, *PAYLOADS)
    pages(store, stream_id)
    settings.STREAMABLE_HTTP = {**settings.STREAMABLE_HTTP, "MAX_STREAM_EVENTS": 7}
    behind.write([writing.append(stream_id, "9")], [])
    page = store.read(stream_id, 0, 3)
    assert page is not None
    assert page.earliest == 3
    assert page.events[0].sequence == 3
    spoil(behind, stream_id)
    # What is still kept of the page goes on from there.
    assert payloads(store, stream_id, 2) == ["3"]


def test_what_can_no_longer_be_resumed_is_not_served_from_a_copy(store: SmallPages, behind: DatabaseStore) -> None:
    stream_id = writing.stream(store, None, *PAYLOADS, end=StreamState.ANSWERED)
    pages(store, stream_id)
    spoil(behind, stream_id)
    models.Stream.objects.using(behind.alias).filter(pk=stream_id).update(earliest=9)
    for after in range(8):
        page = store.read(stream_id, after, 3)
        assert page is not None
        assert page == behind.read(stream_id, after, 3 - after % 3)
        assert page.earliest == 9


def test_a_deleted_stream_is_unknown_at_once(store: SmallPages, behind: DatabaseStore) -> None:
    stream_id = writing.stream(store, None, *PAYLOADS)
    pages(store, stream_id)
    models.Stream.objects.using(behind.alias).filter(pk=stream_id).delete()
    assert store.read(stream_id, 0, 3) is None


def test_a_copy_beyond_the_head_is_of_another_log(store: SmallPages, behind: DatabaseStore) -> None:
    stream_id = writing.stream(store, None, *PAYLOADS)
    pages(store, stream_id)
    models.Stream.objects.using(behind.alias).filter(pk=stream_id).update(head=2)
    spoil(behind, stream_id)
    assert payloads(store, stream_id, 0) == ["spoiled", "spoiled"]


def test_a_large_page_is_not_kept(store: SmallPages, behind: DatabaseStore) -> None:
    stream_id = writing.stream(store, None, *["x" * (cached.MAX_PAGE_BYTES // 3)] * 3)
    store.read(stream_id, 0, 3)
    spoil(behind, stream_id)
    assert payloads(store, stream_id, 0) == ["spoiled"] * 3


# Sessions


def test_facts_that_were_found_once_come_from_the_cache(store: SmallPages, behind: DatabaseStore) -> None:
    facts = writing.facts(principal="user:1", client_info={"name": "é\udc80", "n": [1.5, None, {"a": True}]})
    behind.open_session(facts, "d", None)
    assert store.find_session("d") == facts
    models.Session.objects.using(behind.alias).update(principal="user:2")
    assert store.find_session("d") == facts


def test_that_there_is_no_session_is_not_kept(store: SmallPages, behind: DatabaseStore) -> None:
    assert store.find_session("d") is None
    session_id = writing.session(behind, "d")
    found = store.find_session("d")
    assert found is not None
    assert found.id == session_id


@pytest.mark.parametrize("state", [SessionState.TERMINATED, SessionState.EXPIRED])
def test_nothing_is_opened_in_an_ended_session_that_is_still_found(
    store: SmallPages, behind: DatabaseStore, state: SessionState
) -> None:
    session_id = writing.session(store, "d")
    store.find_session("d")
    behind.end_session(session_id, state)
    assert store.find_session("d") is not None
    assert not store.is_open(session_id)
    [outcome] = store.write([writing.begin(session_id)], [])
    assert isinstance(outcome, exceptions.UnknownSession)


# What may be in a cache


@pytest.mark.parametrize(
    "value",
    [
        7,
        "text",
        [1, 0, ["a", "b", "c"]],
        b"",
        b"\xff",
        b"null",
        b"[]",
        b"[[[",
        b'{"a":1,"b":2,"c":3}',
        lambda stream_id: [stream_id + 1, 0, ["a", "b", "c"]],
        lambda stream_id: [stream_id, 3, ["a", "b", "c"]],
        lambda stream_id: [stream_id, 0, ["a", "b"]],
        lambda stream_id: [stream_id, 0, ["a", "b", 3]],
        lambda stream_id: [stream_id, 0, {"a": 1, "b": 2, "c": 3}],
        lambda stream_id: [stream_id, 0, None],
    ],
)
def test_what_is_no_copy_of_the_page_is_replaced(store: SmallPages, behind: DatabaseStore, value: Any) -> None:
    stream_id = writing.stream(store, None, *PAYLOADS)
    key = cached._named(cached._Place(stream_id, 0, 3).key)
    caches["log"].set(key, orjson.dumps(value(stream_id)) if callable(value) else value)
    assert payloads(store, stream_id, 0) == ["1", "2", "3"]
    spoil(behind, stream_id)
    assert payloads(store, stream_id, 0) == ["1", "2", "3"]


@pytest.mark.parametrize("value", [7, b"", b"[1]", b'["d",{}]', b'["d",{"id":1}]', b'["d",7]', b'["other",%s]'])
def test_what_is_no_copy_of_the_session_is_replaced(store: SmallPages, behind: DatabaseStore, value: Any) -> None:
    facts = writing.facts()
    behind.open_session(facts, "d", None)
    if isinstance(value, bytes):
        value = value.replace(b"%s", orjson.dumps(writing.facts()))
    caches["log"].set(cached._named("session.d"), value)
    assert store.find_session("d") == facts
    models.Session.objects.using(behind.alias).all().delete()
    assert store.find_session("d") == facts


def test_copies_are_kept_for_so_long_only(log_database: str, cache: str, behind: DatabaseStore) -> None:
    store = SmallPages(cache, seconds=0)
    stream_id = writing.stream(store, None, *PAYLOADS)
    pages(store, stream_id)
    spoil(behind, stream_id)
    assert payloads(store, stream_id, 0) == ["spoiled"] * 3


# Caches that fail


@pytest.fixture
def failing(store: SmallPages, settings: Settings) -> Iterator[tuple[SmallPages, services.OwnService]]:
    """A store whose cache is a Redis of the test's own, and that Redis."""
    with services.own_redis() as server:
        settings.CACHES = {
            **settings.CACHES,
            "own": {
                "BACKEND": "django_redis.cache.RedisCache",
                "LOCATION": server.url,
                "OPTIONS": {"SOCKET_CONNECT_TIMEOUT": 0.5, "SOCKET_TIMEOUT": 0.5},
            },
        }
        kept = {"BACKEND": "streamable_http.stores.db.DatabaseStore"}
        yield SmallPages("own", kept), server
        caches["own"].client.get_client().connection_pool.disconnect()


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == cached.__name__]


def test_without_its_redis_it_is_slower_and_says_so_once(
    failing: tuple[SmallPages, services.OwnService],
    behind: DatabaseStore,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    store, server = failing
    stream_id = writing.stream(store, None, *PAYLOADS)
    writing.session(store, "d")
    assert pages(store, stream_id) == [[1, 2, 3], [4, 5, 6], [7, 8]]
    server.stop()
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert pages(store, stream_id) == [[1, 2, 3], [4, 5, 6], [7, 8]]
            assert store.find_session("d") is not None
    [warning] = warnings_of(caplog)
    assert "the cache 'own' failed" in warning
    # It comes back, empty.
    server.start()
    monkeypatch.setattr(store.cache, "_rests_until", 0.0)
    assert pages(store, stream_id) == [[1, 2, 3], [4, 5, 6], [7, 8]]
    spoil(behind, stream_id)
    assert payloads(store, stream_id, 0) == ["1", "2", "3"]


def test_a_redis_that_hangs_is_left_alone(
    failing: tuple[SmallPages, services.OwnService], caplog: pytest.LogCaptureFixture
) -> None:
    store, server = failing
    stream_id = writing.stream(store, None, *PAYLOADS)
    assert pages(store, stream_id) == [[1, 2, 3], [4, 5, 6], [7, 8]]
    with redis_client.Redis.from_url(server.url) as client:
        client.client_pause(600_000)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert pages(store, stream_id) == [[1, 2, 3], [4, 5, 6], [7, 8]]
    assert len(warnings_of(caplog)) == 1


def test_a_flushed_redis_is_filled_again(
    failing: tuple[SmallPages, services.OwnService], behind: DatabaseStore, caplog: pytest.LogCaptureFixture
) -> None:
    store, server = failing
    stream_id = writing.stream(store, None, *PAYLOADS)
    pages(store, stream_id)
    with redis_client.Redis.from_url(server.url) as client:
        client.flushall()
        assert pages(store, stream_id) == [[1, 2, 3], [4, 5, 6], [7, 8]]
        assert client.dbsize() == 2
    assert warnings_of(caplog) == []


@pytest.mark.parametrize("raw", [b"garbage", b"\x80\x7f", b"\x80\x04cno_such_module\nClass\n."])
def test_a_value_that_cannot_be_unpickled_is_dropped_and_the_cache_used_on(
    failing: tuple[SmallPages, services.OwnService],
    behind: DatabaseStore,
    caplog: pytest.LogCaptureFixture,
    raw: bytes,
) -> None:
    store, server = failing
    stream_id = writing.stream(store, None, *PAYLOADS)
    pages(store, stream_id)
    with redis_client.Redis.from_url(server.url) as client:
        [key] = client.keys("*.0-3")
        client.set(key, raw)
    assert payloads(store, stream_id, 0) == ["1", "2", "3"]
    spoil(behind, stream_id)
    assert payloads(store, stream_id, 0) == ["1", "2", "3"]
    assert warnings_of(caplog) == []


def test_a_cache_that_failed_is_tried_again_after_its_rest(
    store: SmallPages, behind: DatabaseStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream_id = writing.stream(store, None, *PAYLOADS)
    store.cache._rest(OSError("away"))
    assert store.cache._rests_until > time.monotonic()
    pages(store, stream_id)
    store.cache._rests_until -= cached.REST_SECONDS
    spoil(behind, stream_id)
    assert payloads(store, stream_id, 0) == ["spoiled"] * 3


# Options


def test_by_default_it_is_in_front_of_the_database(cache: str, log_database: str) -> None:
    store = CachedStore()
    assert store.cache.alias == "default"
    inner = delegating.innermost(store)
    assert isinstance(inner, DatabaseStore)
    assert inner.alias == log_database


def test_a_cache_that_is_not_there_is_refused_with_what_to_do(cache: str, log_database: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="No cache 'nowhere' in CACHES; add it"):
        CachedStore("nowhere")
