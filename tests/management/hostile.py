"""Rows that would harm whoever prints them as they are."""

from __future__ import annotations

import json
from dataclasses import dataclass

from streamable_http import ids
from streamable_http.models import StreamState
from streamable_http.stores import base
from streamable_http.stores.db import DatabaseStore
from tests.stores import writing

HOSTILE = "\x1b]0;owned\x07\x1b[31mred\u202eevil\r\x9b2J\x7f[bold]m[/bold]"
"""A title, a color, an override, a return, an erased screen, a deletion, and markup of rich."""

IN_JSON = HOSTILE + "\0"
"""Databases take NUL in JSON alone."""


@dataclass
class Rows:
    session_id: int
    stream_id: int

    @property
    def session(self) -> str:
        return f"{self.session_id:x}"

    @property
    def stream(self) -> str:
        return f"{self.stream_id:x}"


def write(store: DatabaseStore) -> Rows:
    """A session in which everything that a client or a tool may choose is hostile."""
    session = writing.facts(
        server=HOSTILE, principal=HOSTILE, client_info={"name": IN_JSON, "version": IN_JSON}, revision="2025-11-25"
    )
    store.open_session(session, "digest", None)
    stream_id = ids.new()
    request = {
        "jsonrpc": "2.0",
        "id": IN_JSON,
        "method": HOSTILE,
        "params": {"name": IN_JSON, "arguments": {IN_JSON: IN_JSON}},
    }
    answer = {"jsonrpc": "2.0", "id": IN_JSON, "result": {"content": [{"type": "text", "text": IN_JSON}]}}
    facts = {"method": "POST", "headers": {HOSTILE: IN_JSON}, "client": IN_JSON, "principal": IN_JSON}
    record = writing.record(
        method=HOSTILE, payload=json.dumps(request, ensure_ascii=False), facts=json.dumps(facts, ensure_ascii=False)
    )
    call = writing.begin(
        session.id,
        json.dumps({"jsonrpc": "2.0", "method": HOSTILE, "params": {"data": IN_JSON}}, ensure_ascii=False),
        json.dumps(answer, ensure_ascii=False),
        stream_id=stream_id,
        end=StreamState.ANSWERED,
        request_id=json.dumps(IN_JSON),
        method=HOSTILE,
        name=HOSTILE,
        record=record,
    )
    [outcome] = store.write([call], [])
    assert isinstance(outcome, base.Written), outcome
    return Rows(session.id, stream_id)


def is_harmless(printed: str) -> bool:
    """Whether nothing in what was printed is obeyed by a terminal."""
    return printed.replace("\n", "").isprintable()
