"""What goes into a store, with only that spelled out which a test is about."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

from streamable_http import ids
from streamable_http.models import StreamState
from streamable_http.stores import base


def facts(**changes: Any) -> base.SessionFacts:
    values: dict[str, Any] = {
        "id": ids.new(),
        "server": "test",
        "principal": "",
        "revision": "2025-11-25",
        "client_info": {"name": "client", "version": "1"},
        "capabilities": {},
    }
    return base.SessionFacts(**{**values, **changes})


def session(store: base.Store, digest: str | None = None) -> int:
    """Open a session; its id."""
    opened = facts()
    store.open_session(opened, digest or secrets.token_hex(32), None)
    return opened.id


def session_of(store: base.Store, principal: str, **changes: Any) -> int:
    """Open a session of a principal; its id."""
    opened = facts(principal=principal, **changes)
    store.open_session(opened, secrets.token_hex(32), None)
    return opened.id


def opening(session_id: int | None, **changes: Any) -> base.Opening:
    values: dict[str, Any] = {
        "session_id": session_id,
        "owner_id": 1,
        "follower": None,
        "request_id": "1",
        "method": "tools/call",
        "name": "tool",
        "arguments": "",
        "record": None,
    }
    return base.Opening(**{**values, **changes})


def begin(
    session_id: int | None,
    *payloads: str,
    stream_id: int | None = None,
    end: StreamState = StreamState.OPEN,
    asks: Sequence[base.NewAsk] = (),
    **changes: Any,
) -> base.StreamWrite:
    """A write that begins a stream; ``changes`` are of its opening."""
    return base.StreamWrite(
        stream_id=stream_id or ids.new(),
        epoch=1,
        opening=opening(session_id, **changes),
        payloads=list(payloads),
        stored_bytes=size(payloads),
        asks=list(asks),
        end=end,
    )


def append(
    stream_id: int,
    *payloads: str,
    epoch: int | None = 1,
    end: StreamState = StreamState.OPEN,
    asks: Sequence[base.NewAsk] = (),
) -> base.StreamWrite:
    return base.StreamWrite(
        stream_id=stream_id,
        epoch=epoch,
        payloads=list(payloads),
        stored_bytes=size(payloads),
        asks=list(asks),
        end=end,
    )


def record(**changes: Any) -> base.NewRecord:
    values: dict[str, Any] = {
        "id": ids.new(),
        "session_id": None,
        "method": "ping",
        "payload": "{}",
        "facts": "{}",
    }
    return base.NewRecord(**{**values, **changes})


def ask(session_id: int, **changes: Any) -> base.NewAsk:
    values: dict[str, Any] = {
        "id": ids.new(),
        "session_id": session_id,
        "wire_id": secrets.token_hex(16),
        "method": "elicitation/create",
        "deadline_seconds": 300.0,
    }
    return base.NewAsk(**{**values, **changes})


def size(payloads: Sequence[str]) -> int:
    return sum(len(payload.encode("utf-8", "surrogatepass")) for payload in payloads)


def stream(store: base.Store, session_id: int | None, *payloads: str, **changes: Any) -> int:
    """Begin a stream that is open; its id."""
    write = begin(session_id, *payloads, **changes)
    [outcome] = store.write([write], [])
    assert isinstance(outcome, base.Written)
    return write.stream_id


def notify(store: base.Store, topic: str, payload: str, *, is_for_all: bool) -> list[int]:
    """Tell whoever is to be told, group by group; the ids of the streams that it went to."""
    groups = store.audience("test", topic, is_for_all=is_for_all)
    return [told for some in groups for told in store.notify(some, topic, payload, is_for_all=is_for_all)]


def events(store: base.Store, stream_id: int) -> list[tuple[int, str]]:
    """Everything that is kept of a stream."""
    page = store.read(stream_id, 0, 1_000_000)
    assert page is not None
    return [tuple(event) for event in page.events]


def numbered(*payloads: str) -> list[tuple[int, str]]:
    return list(enumerate(payloads, 1))
