"""``manage.py mcp_prune``, as it is typed."""

from __future__ import annotations

import io
import json

import pytest
from django.core.management import CommandError, call_command
from django.db import connections
from pytest_django import Settings

from streamable_http import models
from streamable_http.models import SessionState
from streamable_http.stores.db import DatabaseStore
from tests.stores import writing
from tests.stores.aging import pass_seconds


def run(*arguments: str) -> str:
    output = io.StringIO()
    call_command("mcp_prune", *arguments, stdout=output)
    return output.getvalue()


@pytest.fixture
def store(log_alias: str, settings: Settings) -> DatabaseStore:
    """With a session that ended two hours ago, of which one call had two events and a record."""
    settings.STREAMABLE_HTTP = {**settings.STREAMABLE_HTTP, "RESUMABLE_SECONDS": 60.0}
    store = DatabaseStore(log_alias)
    session_id = models_of_old(store)
    store.end_session(session_id, SessionState.TERMINATED)
    pass_seconds(store, 7_200)
    return store


def models_of_old(store: DatabaseStore) -> int:
    """A session that was opened long ago, as its id says."""
    session_id = 1_700_000_000_000 << 20
    store.open_session(writing.facts(id=session_id), "digest", None)
    call = writing.begin(session_id, "1", "2", stream_id=session_id + 1, record=writing.record())
    store.write([call], [])
    return session_id


def test_prune_says_what_it_did(store: DatabaseStore) -> None:
    assert run() == "Redacted 2 streams.\nDeleted 0 sessions, 0 streams, 0 events, 0 records.\n"
    expected = "Redacted 0 streams.\nDeleted 1 sessions, 2 streams, 2 events, 1 records.\n"
    assert run("--older-than", "72m") == expected
    assert models.Session.objects.using(store.alias).count() == 0


def test_a_dry_run_only_says_it(store: DatabaseStore) -> None:
    expected = "Would redact 0 streams.\nWould delete 1 sessions, 2 streams, 2 events, 1 records.\n"
    for _ in range(2):
        assert run("--dry-run", "--older-than", "0.05") == expected


def test_whoever_wants_to_know_is_told_of_each_batch(store: DatabaseStore) -> None:
    errors = io.StringIO()
    call_command("mcp_prune", verbosity=2, stdout=io.StringIO(), stderr=errors)
    first = errors.getvalue().splitlines()[0]
    assert first == "so far: 2 streams redacted; 0 sessions, 0 streams, 0 events, 0 records deleted"


def test_a_batch_may_be_smaller(store: DatabaseStore) -> None:
    errors = io.StringIO()
    call_command("mcp_prune", "--batch=1", verbosity=2, stdout=io.StringIO(), stderr=errors)
    assert {line.partition(" streams")[0] for line in errors.getvalue().splitlines()} == {"so far: 1", "so far: 2"}


def test_a_program_gets_json(store: DatabaseStore) -> None:
    assert json.loads(run("--json")) == {
        "dry_run": False,
        "pruned": {"redacted": 2, "sessions": 0, "streams": 0, "events": 0, "records": 0},
    }


@pytest.mark.parametrize("days", ["-1", "nan", "inf", "a month"])
def test_an_age_that_is_none_is_refused(days: str) -> None:
    with pytest.raises(CommandError, match="is no duration"):
        run(f"--older-than={days}")


@pytest.mark.parametrize("log_alias", ["sqlite"], indirect=True)
def test_a_store_that_fails_is_an_error_and_no_traceback(store: DatabaseStore) -> None:
    with connections[store.alias].cursor() as cursor:
        cursor.execute("DROP TABLE streamable_http_event")
    with pytest.raises(CommandError, match="the store failed: no such table"):
        run()
