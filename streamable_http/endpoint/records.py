"""What is kept of a request for inspection, redacted before it is stored."""

from __future__ import annotations

from typing import Any

from streamable_http import ids, redaction
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
) -> base.NewRecord:
    """Return the record of a message that came in; ``message`` is as it goes on the wire."""
    facts = {
        "method": request.method,
        "headers": redaction.redact_headers(request.headers.items()),
        "client": request.client,
        "principal": principal.key,
    }
    return base.NewRecord(
        id=ids.new(),
        session_id=session_id,
        method=_column(message.get("method", "")),
        payload=_payload(request, message),
        facts=jsonrpc.dumps(facts).decode(),
    )


def stream(opening: base.Opening, payloads: list[str]) -> base.StreamWrite:
    """Return the redacted stream of an exchange that has ended and cannot be resumed."""
    redacted = [redaction.redact_text(payload) for payload in payloads]
    return base.StreamWrite(
        stream_id=ids.new(),
        epoch=1,
        opening=opening,
        payloads=redacted,
        stored_bytes=sum(len(payload.encode()) for payload in redacted),
        end=StreamState.ANSWERED,
    )


def _payload(request: http.Request, message: dict[str, Any]) -> str:
    if len(request.body) > redaction.MAX_MESSAGE_BYTES:
        # By its size as it came, before anything walks through it; in a batch that is the size of all.
        return redaction.fold_message(request.body, method=_column(message.get("method", "")))
    return jsonrpc.dumps(redaction.redact(message)).decode()


def _column(text: str) -> str:
    """Return text that every database takes in a character column: no NUL, no lone surrogates."""
    return text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")
