"""The API over a log in a database of its own, and over one that does not answer."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connections
from pytest_django import DjangoDbBlocker, Settings
from rest_framework.test import APIClient

from streamable_http.models import StreamState
from streamable_http.stores.db import DatabaseStore
from tests import services
from tests.services import OwnService
from tests.stores import writing

ROOT = "/api/mcp/"
ANSWER = '{"jsonrpc":"2.0","id":1,"result":{}}'


@pytest.fixture
def client() -> APIClient:
    """Somebody with all rights, whom no database knows."""
    client = APIClient(raise_request_exception=False)
    client.force_authenticate(User(username="root", is_staff=True, is_superuser=True))
    return client


def content(response: Any) -> bytes:
    return b"".join(response.streaming_content) if response.streaming else response.content


def test_everything_is_read_from_the_database_of_the_log(
    client: APIClient, log_alias: str, settings: Settings
) -> None:
    settings.DATABASE_ROUTERS = []
    store = DatabaseStore(log_alias)
    session_id = writing.session_of(store, "user:alice")
    stream_id = writing.stream(store, session_id, ANSWER, end=StreamState.ANSWERED, record=writing.record())
    connections["default"].close()
    for url in (
        "sessions/",
        "sessions/?q=alice",
        f"sessions/?q={session_id:x}",
        f"sessions/{session_id:x}/",
        f"sessions/{session_id:x}/events/",
        f"sessions/{session_id:x}/events/?text=result&errors=false",
        f"sessions/{session_id:x}/recent/?since=2020-01-01T00:00:00Z",
        f"sessions/{session_id:x}/export/",
        f"streams/?session={session_id:x}",
        f"streams/{stream_id:x}/",
        f"streams/{stream_id:x}/events/",
        f"streams/{stream_id:x}/replay/",
        f"streams/{stream_id:x}/export/",
        f"streams/{stream_id:x}/resume/",
        f"streams/{stream_id:x}/resend/",
    ):
        response = client.get(ROOT + url)
        assert response.status_code == 200, url
        body = content(response)
        assert f"{session_id:x}".encode() in body or f"{stream_id:x}".encode() in body, url
    assert client.get(f"{ROOT}statistics/").json()["calls"] == 1
    assert connections["default"].connection is None


def test_a_database_that_does_not_answer_is_told_from_a_mistake(
    client: APIClient, own_postgres: OwnService, settings: Settings, django_db_blocker: DjangoDbBlocker
) -> None:
    settings.STREAMABLE_HTTP = {"DATABASE": "log"}
    with django_db_blocker.unblock(), services.django_alias(own_postgres.url, alias="log"):
        session_id = writing.session(DatabaseStore("log"))
        own_postgres.stop()
        for method, url in (
            ("get", "sessions/"),
            ("get", f"sessions/{session_id:x}/"),
            ("get", f"sessions/{session_id:x}/events/"),
            ("get", f"sessions/{session_id:x}/export/"),
            ("post", f"sessions/{session_id:x}/terminate/"),
            ("delete", f"sessions/{session_id:x}/"),
            ("get", "streams/"),
            ("get", f"streams/{session_id:x}/"),
            ("get", f"streams/{session_id:x}/replay/?format=sse"),
            ("get", f"streams/{session_id:x}/resume/"),
            ("get", f"streams/{session_id:x}/resend/"),
            ("get", "statistics/"),
            ("get", "workers/"),
        ):
            response = getattr(client, method)(ROOT + url)
            assert response.status_code == 503, url
            assert response.headers["Retry-After"] == "5"
            assert response.headers["Content-Type"] == "application/json"
            assert list(response.json()) == ["detail"]
