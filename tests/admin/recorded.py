"""What a log may hold, hostile parts and secrets included, and people with some permissions."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import Permission, User

from streamable_http import ids, models
from streamable_http.models import StreamState
from streamable_http.stores import base
from streamable_http.stores.db import DatabaseStore
from tests.stores import writing

SECRET = "hunter2"
HOSTILE = "<script>alert(1)</script>\u202egpj.exe\x07"
"""Markup, an override of direction and a bell."""


def message(**members: Any) -> str:
    return json.dumps({"jsonrpc": "2.0", **members})


def facts(**headers: str) -> str:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return json.dumps({"method": "POST", "headers": named, "client": "192.0.2.1", "principal": "user:7"})


def person(*permissions: str, is_staff: bool = True) -> User:
    """Make a user who has these permissions of ours."""
    user = User.objects.create_user(f"person{User.objects.count()}", password="secret", is_staff=is_staff)
    codenames = [permission.partition(".")[2] for permission in permissions]
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    return user


@dataclass
class Recorded:
    """A session in which a tool was called, asked the client, and was resumed; and another tool failed."""

    store: DatabaseStore
    session_id: int
    call_id: int
    failed_id: int

    @property
    def session_path(self) -> str:
        return f"/admin/streamable_http/session/{self.session_id}/"

    @property
    def call_path(self) -> str:
        return f"/admin/streamable_http/stream/{self.call_id}/"


def session(store: DatabaseStore) -> Recorded:
    """Record the session."""
    session_id = writing.session_of(store, "user:7", client_info={"name": HOSTILE, "version": "1"})
    ask = writing.ask(session_id, wire_id="a" * 32)
    request = message(
        id=1, method="tools/call", params={"name": "count", "arguments": {"password": SECRET, "who": HOSTILE}}
    )
    call = writing.begin(
        session_id,
        message(method="notifications/progress", params={"progressToken": 1, "progress": 1}),
        message(id=ask.wire_id, method=ask.method, params={"message": "Sure?"}),
        message(id=1, result={"content": [{"type": "text", "text": HOSTILE}], "token": SECRET}),
        asks=[ask],
        end=StreamState.ANSWERED,
        name="count",
        record=writing.record(method="tools/call", payload=request, facts=facts(user_agent=HOSTILE, x_key="••••")),
    )
    failed = writing.begin(
        session_id,
        message(id=2, error={"code": -32602, "message": "no such tool"}),
        end=StreamState.ANSWERED,
        request_id="2",
        name="nothing",
        record=writing.record(method="tools/call", payload=message(id=2, method="tools/call"), facts=facts()),
    )
    reply = message(id=ask.wire_id, result={"action": "accept"})
    resume = {**json.loads(facts(last_event_id=f"{call.stream_id:x}.2")), "method": "GET"}
    store.write(
        [call, failed],
        [
            writing.record(session_id=session_id, method="", payload=reply, facts=facts()),
            writing.record(session_id=session_id, method="", payload="", facts=json.dumps(resume)),
        ],
    )
    return Recorded(store, session_id, call.stream_id, failed.stream_id)


def long_stream(store: DatabaseStore, session_id: int | None, events: int) -> int:
    """Record a call with so many events; its id."""
    payloads = [message(method="notifications/message", params={"data": n}) for n in range(1, events)]
    answer = message(id=9, result={})
    call = writing.begin(
        session_id, *payloads, answer, end=StreamState.ANSWERED, request_id="9", record=writing.record()
    )
    store.write([call], [])
    return call.stream_id


def resent(recorded: Recorded) -> int:
    """Record that the call was sent again; the id of the new one."""
    write: base.StreamWrite = writing.begin(
        None, message(id=1, result={}), end=StreamState.ANSWERED, stream_id=ids.new()
    )
    recorded.store.write([write], [])
    models.Stream.objects.filter(pk=write.stream_id).update(resent_from=recorded.call_id)
    return write.stream_id
