"""What can be sent again, read from real databases."""

from __future__ import annotations

import json
from typing import Any

import pytest

from streamable_http import ids, redaction
from streamable_http.models import StreamState
from streamable_http.replay import recorded
from streamable_http.stores.db import DatabaseStore
from tests.stores import writing

REQUEST = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "tool", "arguments": {"a": 1}}}
PROGRESS = {"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": 1, "progress": 1}}
ASK = {"jsonrpc": "2.0", "id": "wire", "method": "elicitation/create", "params": {"message": "?"}}
REPLY = {"jsonrpc": "2.0", "id": "wire", "result": {"action": "accept"}}
RESPONSE = {"jsonrpc": "2.0", "id": 1, "result": {"content": [], "token": "secret"}}


@pytest.fixture
def store(log_alias: str) -> DatabaseStore:
    return DatabaseStore(log_alias)


def write(store: DatabaseStore, session_id: int | None, *messages: Any, **changes: Any) -> int:
    """A call with these events, the last of which answers it; its stream."""
    values: dict[str, Any] = {
        "end": StreamState.ANSWERED,
        "record": writing.record(method="tools/call", payload=json.dumps(REQUEST)),
        **changes,
    }
    return writing.stream(store, session_id, *map(json.dumps, messages), **values)


def note(store: DatabaseStore, session_id: int, message: dict[str, Any], **changes: Any) -> None:
    """Record something that came in."""
    values = {"method": message.get("method", ""), "payload": json.dumps(message), **changes}
    store.write([], [writing.record(session_id=session_id, **values)])


def test_an_exchange_is_a_request_and_what_came_of_it(store: DatabaseStore) -> None:
    session_id = writing.session(store)
    stream_id = write(store, session_id, PROGRESS, ASK, RESPONSE)
    note(store, session_id, REPLY)
    exchange = recorded.of_stream(stream_id)
    assert exchange.request == REQUEST
    assert exchange.notifications == (PROGRESS,)
    assert exchange.asks == (ASK,)
    assert exchange.replies == ({"result": {"action": "accept"}},)
    assert exchange.response is not None
    assert exchange.response["result"] == {"content": [], "token": redaction.MASK}
    assert exchange.refusal == ""


def test_a_reply_that_was_not_recorded_is_missed(store: DatabaseStore) -> None:
    exchange = recorded.of_stream(write(store, writing.session(store), ASK, RESPONSE))
    assert exchange.replies == (None,)
    assert exchange.refusal == "a reply of its client was not recorded"


@pytest.mark.parametrize("state", [StreamState.OPEN, StreamState.CANCELLED, StreamState.LOST])
def test_what_was_not_answered_has_no_response(store: DatabaseStore, state: StreamState) -> None:
    exchange = recorded.of_stream(write(store, writing.session(store), PROGRESS, end=state))
    assert exchange.response is None
    assert exchange.notifications == (PROGRESS,)


def test_a_large_answer_is_known_by_its_digest(store: DatabaseStore) -> None:
    large = {**RESPONSE, "result": {"text": "x" * redaction.MAX_MESSAGE_BYTES}}
    exchange = recorded.of_stream(write(store, writing.session(store), PROGRESS, large))
    assert exchange.response is not None
    assert recorded.is_folded(exchange.response)
    assert exchange.notifications == (PROGRESS,)


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        (None, "was not recorded"),
        (json.dumps({**REQUEST, "params": {"password": redaction.MASK}}), "was redacted"),
        (redaction.fold_message(b"{}"), "was redacted"),
    ],
)
def test_what_is_incomplete_is_not_sent(store: DatabaseStore, payload: str | None, why: str) -> None:
    record = None if payload is None else writing.record(payload=payload)
    exchange = recorded.of_stream(write(store, writing.session(store), RESPONSE, record=record))
    assert why in exchange.refusal


def test_a_session_is_its_requests_in_order(store: DatabaseStore) -> None:
    session_id = writing.session(store)
    other = writing.session(store)
    note(store, session_id, {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {}})
    first = write(store, session_id, RESPONSE)
    note(store, session_id, {"jsonrpc": "2.0", "id": 5, "method": "logging/setLevel", "params": {"level": "debug"}})
    note(store, session_id, {"jsonrpc": "2.0", "method": "notifications/initialized"})
    note(store, session_id, {}, payload="")
    second = write(store, session_id, RESPONSE, request_id="2")
    write(store, other, RESPONSE)
    found = [(exchange.stream_id, exchange.method) for exchange in recorded.of_session(session_id)]
    assert found == [(first, "tools/call"), (None, "logging/setLevel"), (second, "tools/call")]


def test_what_is_not_there_is_not_found(store: DatabaseStore) -> None:
    with pytest.raises(LookupError, match="there is no stream"):
        recorded.of_stream(ids.new())
    assert list(recorded.of_session(ids.new())) == []
