"""A session as clients and tools fill it, message by message."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from streamable_http import ids
from streamable_http.models import StreamState
from streamable_http.protocol import jsonrpc
from streamable_http.stores.db import DatabaseStore
from tests.stores import writing


def message(**members: Any) -> str:
    return jsonrpc.dumps({"jsonrpc": "2.0", **members}).decode()


def request(method: str, params: dict[str, Any], request_id: Any = 1) -> str:
    return message(id=request_id, method=method, params=params)


def result(value: dict[str, Any], request_id: Any = 1) -> str:
    return message(id=request_id, result=value)


def progress(step: int) -> str:
    return message(method="notifications/progress", params={"progressToken": 1, "progress": step})


def counted(times: int) -> Iterator[str]:
    return (progress(step) for step in range(1, times + 1))


class Conversation:
    """Writes a session's messages the way the endpoint does."""

    def __init__(self, store: DatabaseStore) -> None:
        self.store = store
        self.session_id = writing.session(store)

    def call(
        self,
        *payloads: str,
        tool: str = "search",
        arguments: dict[str, Any] | None = None,
        end: StreamState = StreamState.ANSWERED,
        alone: bool = False,
        request_id: str = "1",
    ) -> int:
        """Call a tool; the id of the stream."""
        params = {"name": tool, "arguments": arguments or {}}
        record = writing.record(
            method="tools/call",
            payload=request("tools/call", params, jsonrpc.loads(request_id.encode(), max_depth=1)),
            facts=facts("POST", authorization="••••", accept="application/json, text/event-stream"),
        )
        session_id = None if alone else self.session_id
        changes = {"request_id": request_id, "name": tool, "record": record}
        return writing.stream(self.store, session_id, *payloads, end=end, **changes)

    def append(self, stream_id: int, *payloads: str, end: StreamState = StreamState.OPEN) -> None:
        self.store.write([writing.append(stream_id, *payloads, end=end)], [])

    def listen(self, *payloads: str) -> None:
        """Tell the listening stream something."""
        self.store.write([writing.append(self.session_id, *payloads, epoch=None)], [])

    def ask(self, stream_id: int, method: str = "elicitation/create", **params: Any) -> tuple[int, str]:
        """Ask the client something; the id of the ask, and its wire id."""
        new = writing.ask(self.session_id, method=method)
        self.store.write([writing.append(stream_id, request(method, params, new.wire_id), asks=[new])], [])
        return new.id, new.wire_id

    def reply(self, wire_id: str, value: dict[str, Any]) -> int:
        return self.say("", result(value, wire_id))

    def say(self, method: str, payload: str, about: str | None = None) -> int:
        """Record something that came in and opened no stream; the id of the record."""
        record = writing.record(
            session_id=self.session_id, method=method, payload=payload, facts=about or facts("POST")
        )
        self.store.write([], [record])
        return record.id

    def get(self, last_event_id: str | None = None) -> int:
        headers = {} if last_event_id is None else {"last-event-id": last_event_id}
        return self.say("", "", facts("GET", **headers))

    def delete(self) -> int:
        return self.say("", "", facts("DELETE"))


def facts(http_method: str, **headers: str) -> str:
    told = {"method": http_method, "headers": headers, "client": "127.0.0.1", "principal": "user:1"}
    return jsonrpc.dumps(told).decode()


def many(store: DatabaseStore, session_id: int, calls: int, payloads: Callable[[int], list[str]]) -> list[int]:
    """Write many calls at once; the ids of their streams."""
    writes = [
        writing.begin(
            session_id,
            *payloads(number),
            stream_id=ids.new(),
            end=StreamState.ANSWERED,
            request_id=str(number),
            record=writing.record(method="tools/call", payload=request("tools/call", {"n": number}, number)),
        )
        for number in range(calls)
    ]
    store.write(writes, [])
    return [write.stream_id for write in writes]
