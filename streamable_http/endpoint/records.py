"""What is kept of a request for inspection, redacted before it is stored."""

from __future__ import annotations

import dataclasses
from typing import Any

from streamable_http import escaping, ids, redaction
from streamable_http.delivery import ring
from streamable_http.endpoint import principals
from streamable_http.models import StreamState
from streamable_http.protocol import http, jsonrpc
from streamable_http.stores import base


def make(
    request: http.Request,
    message: dict[str, Any],
    *,
    session_id: int | None,
    principal: principals.Principal,
    record_id: int | None = None,
) -> base.NewRecord:
    """Return the record of a message that came in; ``message`` is as it goes on the wire."""
    return _make(
        request,
        session_id,
        principal,
        record_id,
        method=escaping.storable(message.get("method", "")),
        payload=_payload(request, message),
    )


def _make(
    request: http.Request,
    session_id: int | None,
    principal: principals.Principal,
    record_id: int | None,
    *,
    method: str,
    payload: str,
) -> base.NewRecord:
    facts = {
        "method": request.method,
        "path": redaction.redact_path(escaping.storable(request.path)),
        "headers": redaction.redact_headers(request.headers.items()),
        "client": request.client,
        "principal": principal.key,
    }
    return base.NewRecord(
        id=ids.new() if record_id is None else record_id,
        session_id=session_id,
        method=method,
        payload=payload,
        facts=jsonrpc.dumps(facts).decode(),
    )


def connection(
    request: http.Request, *, session_id: int | None, principal: principals.Principal, record_id: int
) -> base.NewRecord:
    """Return the record of a GET or a DELETE, which bring no message."""
    return _make(request, session_id, principal, record_id, method="", payload="")


def stream(
    stream_id: int, opening: base.Opening, transcript: ring.Transcript, state: StreamState, ending: base.Ending
) -> base.StreamWrite:
    """Return the redacted stream of an exchange that has ended and cannot be resumed."""
    redacted = [redaction.redact_text(payload) for payload in transcript.messages]
    return base.StreamWrite(
        stream_id=stream_id,
        epoch=1,
        opening=dataclasses.replace(opening, skipped=transcript.skipped),
        payloads=redacted,
        stored_bytes=sum(len(payload.encode()) for payload in redacted),
        end=state,
        ending=ending,
    )


def _payload(request: http.Request, message: dict[str, Any]) -> str:
    if len(request.body) > redaction.MAX_MESSAGE_BYTES:
        # By its size as it came, before anything walks through it; in a batch that is the size of all.
        return redaction.fold_message(request.body, method=escaping.storable(message.get("method", "")))
    return jsonrpc.dumps(redaction.redact(message)).decode()
