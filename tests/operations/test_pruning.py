"""What operators do, on real databases."""

from __future__ import annotations

import math

import pytest
from django.db import connections
from pytest_django import Settings

from streamable_http import models, operations
from streamable_http.delivery import retention
from streamable_http.models import SessionState, StreamState
from streamable_http.stores.base import Pruned
from streamable_http.stores.db import DatabaseStore
from tests.stores import writing
from tests.stores.aging import pass_seconds


@pytest.fixture
def store(log_alias: str, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> DatabaseStore:
    """Where everything that has ended is due."""
    settings.STREAMABLE_HTTP = {**settings.STREAMABLE_HTTP, "RESUMABLE_SECONDS": 0.0, "HISTORY_DAYS": 0.0}
    monkeypatch.setattr(retention, "BATCH", 3)
    return DatabaseStore(log_alias)


def ended_session(store: DatabaseStore) -> int:
    session_id = writing.session(store)
    for number in range(4):
        call = writing.begin(session_id, "1", "2", request_id=str(number), record=writing.record())
        store.write([call], [])
    store.end_session(session_id, SessionState.TERMINATED)
    pass_seconds(store, 60)
    return session_id


def test_pruning_goes_on_until_nothing_is_left(store: DatabaseStore) -> None:
    ended_session(store)
    told: list[Pruned] = []
    pruned = operations.prune(on_batch=told.append)
    assert pruned == Pruned(sessions=1, streams=5, events=8, records=4)
    assert len(told) > 3
    assert told[-1] == pruned
    assert models.Session.objects.using(store.alias).count() == 0
    assert operations.prune() == Pruned()


def test_a_dry_run_says_what_would_be_pruned_and_changes_nothing(store: DatabaseStore) -> None:
    ended_session(store)
    due = operations.prune(dry_run=True)
    assert models.Event.objects.using(store.alias).count() == 8
    assert models.Stream.objects.using(store.alias).filter(redacted_at=None).count() == 5
    assert operations.prune() == due


def test_an_age_may_be_given_instead_of_the_settings(store: DatabaseStore) -> None:
    ended_session(store)
    assert operations.prune(history_days=1) == Pruned(redacted=5)
    assert operations.prune(history_days=0).sessions == 1


def test_nothing_is_deleted_before_it_can_no_longer_be_resumed(store: DatabaseStore, settings: Settings) -> None:
    settings.STREAMABLE_HTTP = {**settings.STREAMABLE_HTTP, "RESUMABLE_SECONDS": 600.0}
    session_id = writing.session(store)
    stream_id = writing.stream(store, session_id, "1", end=StreamState.ANSWERED)
    pass_seconds(store, 60)
    assert operations.prune(history_days=0) == Pruned()
    assert writing.events(store, stream_id) == writing.numbered("1")


@pytest.mark.parametrize("days", [-1, math.nan])
def test_an_age_that_is_none_is_refused(days: float) -> None:
    with pytest.raises(ValueError, match="should not be negative"):
        operations.prune(history_days=days)


@pytest.mark.parametrize("log_alias", ["sqlite"], indirect=True)
def test_the_write_ahead_log_is_copied_back_meanwhile(store: DatabaseStore) -> None:
    ended_session(store)
    operations.prune()
    raw = connections[store.alias].connection
    [(busy, log_pages, copied_pages)] = raw.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
    assert (busy, copied_pages) == (0, log_pages)


def test_what_becomes_due_meanwhile_is_left_for_the_next_time(store: DatabaseStore) -> None:
    ended_session(store)
    session_id = writing.session(store)

    def write_more(so_far: Pruned) -> None:
        writing.stream(store, session_id, "1", end=StreamState.ANSWERED)

    assert operations.prune(on_batch=write_more).sessions == 1
    assert models.Stream.objects.using(store.alias).filter(session_id=session_id).count() > 1
