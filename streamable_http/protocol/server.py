"""The server's side of the protocol: what is admitted, and what an error looks like.

:func:`admit` decides once. After it, nobody asks for a version: code reads a fact by its name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from streamable_http import exceptions
from streamable_http.protocol import cursors, http, jsonrpc, revisions
from streamable_http.protocol.eras import handshake

METHODS: Final = {
    revisions.Mode.SESSIONS: ("POST", "GET", "DELETE"),
    revisions.Mode.SESSIONLESS: ("POST",),
}
"""HTTP methods that are served."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What an endpoint admits."""

    mode: revisions.Mode
    max_depth: int
    """Levels of nesting in a body."""

    allowed_origins: frozenset[str]
    max_batch: int = 100
    """Messages in a batch."""


@dataclass(slots=True, kw_only=True)
class Admission:
    """A request that may go on: what it says, and by which rules."""

    message: jsonrpc.Message | jsonrpc.Batch | None
    """What was POSTed; ``None`` for GET and DELETE. Whether the revision has batches is known with the session."""

    revision: str | None
    """As the header has it. Inside a session the session's own revision decides instead."""

    session_id: str | None
    """The secret, as it came."""

    cursor: cursors.Cursor | None
    """Where a GET wants to resume; ``cursors.NOWHERE`` if that cannot be read."""

    acceptable: http.Acceptable

    @property
    def opens_session(self) -> bool:
        """Whether this is ``initialize``."""
        return isinstance(self.message, jsonrpc.Request) and self.message.method == handshake.INITIALIZE


def admit(request: http.Request, policy: Policy) -> Admission:
    """Check a request by everything that needs no session, and read its message.

    Its method is one of :data:`METHODS`: others are refused before anybody is authenticated.

    Raises:
        ProtocolError: one of its kinds; :func:`refuse` makes the response.
    """
    headers = request.headers
    http.require_safe_values(headers)
    http.require_single_headers(headers)
    http.require_origin(request, policy.allowed_origins)
    revision = handshake.header_revision(headers)
    session_id = handshake.session_id(headers) if policy.mode is revisions.Mode.SESSIONS else None
    acceptable = http.accept(headers.get(http.ACCEPT))
    if request.method == "POST":
        message = _admit_message(request, policy, acceptable)
        cursor = None
    else:
        message = None
        cursor = _admit_cursor(request, acceptable)
    admission = Admission(
        message=message, revision=revision, session_id=session_id, cursor=cursor, acceptable=acceptable
    )
    if policy.mode is revisions.Mode.SESSIONS and session_id is None and not admission.opens_session:
        raise exceptions.MissingSession
    return admission


def readmit(request: http.Request, policy: Policy, *, revision: str) -> Admission:
    """Admit a call again that runs again, by its message alone: neither its session id nor its credentials are kept.

    Raises:
        ProtocolError: the message is not admitted any more.
    """
    return Admission(
        message=jsonrpc.parse(jsonrpc.loads(request.body, max_depth=policy.max_depth)),
        revision=revision,
        session_id=None,
        cursor=None,
        acceptable=http.Acceptable(json=False, event_stream=True),
    )


def require_batches(facts: revisions.Facts) -> None:
    """Refuse a batch where the revision has none; which one holds may be known by the session alone.

    Raises:
        InvalidRequest: it has none.
    """
    if not facts.batches:
        raise exceptions.InvalidRequest("a body is one message; batches were removed in 2025-06-18")


def requests_of(batch: jsonrpc.Batch) -> list[jsonrpc.Request]:
    """Return the requests of a batch.

    Raises:
        InvalidRequest: one of them is ``initialize``, which "MUST NOT be part of a JSON-RPC batch" (2025-03-26,
            Lifecycle), or two have the same id.
    """
    found = [message for message in batch.messages if isinstance(message, jsonrpc.Request)]
    if any(request.method == handshake.INITIALIZE for request in found):
        raise exceptions.InvalidRequest('"initialize" cannot be part of a batch')
    if len({(type(request.id), request.id) for request in found}) != len(found):
        raise exceptions.InvalidRequest("two requests of a batch have the same id")
    return found


def negotiate(request: jsonrpc.Request) -> str:
    """Return the revision to answer ``initialize`` with.

    Raises:
        InvalidParams: it does not say what the client speaks and is.
    """
    return handshake.negotiate(request.params)


def refuse(
    error: exceptions.ProtocolError, *, facts: revisions.Facts, request_id: jsonrpc.RequestId | None
) -> http.Response:
    """Turn an error into a response: the body is a JSON-RPC error where the revision allows one."""
    if request_id is None and not facts.errors_without_id:
        return http.Response(error.http_status, dict(error.headers))
    body = jsonrpc.dumps(jsonrpc.error(request_id, error))
    return http.Response(error.http_status, {http.CONTENT_TYPE: http.JSON, **error.headers}, body)


def request_id_of(request: http.Request, policy: Policy) -> jsonrpc.RequestId | None:
    """Return the id to echo in an error for a request that was not admitted; ``None`` where none can be read.

    The id of a response is one of ours, not the client's: its error has no ``id`` (2025-11-25, Sending Messages, 4).
    """
    if request.method != "POST" or not request.body:
        return None
    try:
        value = jsonrpc.loads(request.body, max_depth=policy.max_depth)
        return jsonrpc.parse_id(value.get("id")) if isinstance(value, dict) and "method" in value else None
    except exceptions.ProtocolError:
        return None


def _admit_message(
    request: http.Request, policy: Policy, acceptable: http.Acceptable
) -> jsonrpc.Message | jsonrpc.Batch:
    if not acceptable.json and not acceptable.event_stream:
        raise exceptions.NotAcceptable((http.JSON, http.EVENT_STREAM))
    http.require_json_body(request.headers)
    value = jsonrpc.loads(request.body, max_depth=policy.max_depth)
    if isinstance(value, list):
        return jsonrpc.parse_batch(value, max_messages=policy.max_batch)
    return jsonrpc.parse(value)


def _admit_cursor(request: http.Request, acceptable: http.Acceptable) -> cursors.Cursor | None:
    if request.method != "GET":
        return None
    if not acceptable.event_stream:
        raise exceptions.NotAcceptable((http.EVENT_STREAM,))
    last_event_id = request.headers.get(http.LAST_EVENT_ID)
    if last_event_id is None:
        return None
    try:
        return cursors.parse(last_event_id)
    except exceptions.InvalidCursor:
        # Not refused yet: if the session has ended, the answer MUST be 404 (2025-11-25, Session Management, 3),
        # also to a cursor of the server that was here before.
        return cursors.NOWHERE
