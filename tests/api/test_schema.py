"""The API is what its schema says, whatever is asked: schemathesis asks, of the real application."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import hypothesis
import pytest
import schemathesis
from django.contrib.auth.models import User
from django.core.wsgi import get_wsgi_application
from rest_framework.authtoken.models import Token
from rest_framework.request import Request
from rest_framework.test import APIClient, APIRequestFactory
from schemathesis.config import SchemathesisConfig

from streamable_http.api import fields
from streamable_http.api.schema import Generator
from streamable_http.models import StreamState
from streamable_http.stores.db import DatabaseStore
from tests.api.conftest import request
from tests.stores import writing

SCHEMA = "/api/mcp/schema/?format=json"

ANSWER = '{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"\\u0000 <b>🙂</b> \\ud800"}]}}'
PROGRESS = '{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}'
ASK = '{"jsonrpc":"2.0","id":"ask","method":"elicitation/create","params":{"message":"Which?"}}'


@pytest.fixture
def token(transactional_db: None) -> str:
    """Of somebody with all rights."""
    return Token.objects.create(user=User.objects.create_superuser("root")).key


def new_session(store: DatabaseStore) -> int:
    """A session with a call that was answered, one that failed, and one that waits for an answer."""
    session_id = writing.session_of(store, "user:alice", server="bookshop")
    writing.stream(store, session_id, PROGRESS, ANSWER, end=StreamState.ANSWERED, record=request())
    writing.stream(store, session_id, end=StreamState.LOST, request_id='"two"', record=request(2))
    ask = writing.ask(session_id)
    writing.stream(store, session_id, ASK, request_id="3", asks=[ask], record=request(3))
    return session_id


def new_stream(store: DatabaseStore) -> int:
    """A running call that somebody follows."""
    return writing.stream(store, writing.session(store), PROGRESS, follower=7, record=request())


MAKERS: dict[str, Callable[[DatabaseStore], int]] = {"sessions": new_session, "streams": new_stream}


described = schemathesis.openapi.from_dict(
    Generator(urlconf="streamable_http.api.urls").get_schema(Request(APIRequestFactory().get(SCHEMA)), public=True),
    config=SchemathesisConfig.from_dict({"generation": {"with-security-parameters": False}}),
)
described.app = get_wsgi_application()


@described.parametrize()
@hypothesis.settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    # What one example writes is no harm to the next.
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture, hypothesis.HealthCheck.too_slow],
)
def test_every_answer_is_as_the_schema_says(case: Any, store: DatabaseStore, token: str) -> None:
    id = str((case.path_parameters or {}).get("id", ""))
    # Every second id is one that there is.
    if re.fullmatch(fields.ID, id) and int(id[-1], 16) % 2:
        case.path_parameters["id"] = f"{MAKERS[case.path.split('/')[1]](store):x}"
    # A cursor is of a page with the same filters, which no schema can say.
    has_cursor = case.operation.definition.raw["operationId"] == "sessions_events" and "cursor" in (case.query or {})
    excluded = [schemathesis.checks.positive_data_acceptance] if has_cursor else []
    case.call_and_validate(headers={"Authorization": f"Token {token}"}, excluded_checks=excluded)


def test_the_schema_that_is_served_is_that_one(token: str) -> None:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Token {token}")
    assert client.get(SCHEMA).json() == json.loads(json.dumps(described.raw_schema))


def test_the_schema_names_every_operation_and_where_it_stands(token: str) -> None:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Token {token}")
    schema = client.get(SCHEMA).json()
    assert schema["servers"] == [{"url": "/api/mcp"}]
    operations = {each["operationId"] for path in schema["paths"].values() for each in path.values()}
    assert operations == {
        "schema",
        "sessions_destroy",
        "sessions_events",
        "sessions_export",
        "sessions_list",
        "sessions_recent",
        "sessions_retrieve",
        "sessions_terminate",
        "statistics",
        "streams_cancel",
        "streams_close",
        "streams_events",
        "streams_export",
        "streams_list",
        "streams_replay",
        "streams_resend",
        "streams_resume",
        "streams_retrieve",
        "streams_review",
        "workers_list",
    }
    replay = schema["paths"]["/streams/{id}/replay/"]["get"]
    assert set(replay["responses"]["200"]["content"]) == {"application/jsonl", "text/event-stream"}
    assert "payload" not in schema["components"]["schemas"]["EntryAnswer"]["required"]
    assert {"409", "504"} <= set(schema["paths"]["/streams/{id}/resend/"]["post"]["responses"])
    assert "Retry-After" in replay["responses"]["503"]["headers"]


def test_the_schema_is_yaml_for_who_does_not_ask_for_json(token: str) -> None:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Token {token}")
    response = client.get("/api/mcp/schema/")
    assert response.headers["Content-Type"].startswith("application/vnd.oai.openapi")
    assert response.content.startswith(b"openapi: 3.")
