"""A recorded request, sent again for real: as whoever asks for it, in a new exchange that refers to the old one."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Final

from streamable_http import authentication, exceptions, ids, models, redaction, shells
from streamable_http.endpoint import calls, registry
from streamable_http.endpoint.endpoint import Endpoint
from streamable_http.operations import audit, ending
from streamable_http.protocol import http, jsonrpc, revisions
from streamable_http.server import MCPServer
from streamable_http.tables import rows_of

RESEND_SECONDS: Final = 60.0
"""How long a request that is sent again may take: whoever sent it waits, and a request or a command is held meanwhile.

As long as ``TIMEOUT_SECONDS`` of requests to other servers; nginx and gunicorn give up after 60 and 30 s.
"""

_ANY_DEPTH: Final = 1_000
"""For what we stored ourselves."""

NOT_RECORDED: Final = "its request was not recorded"
NOT_WHOLE: Final = "its request is not whole: secrets in it are masked, or large values folded"
NO_SERVER: Final = "no server of this project has what it asks for"
SEVERAL_SERVERS: Final = "it came without a session, and several servers of this project have what it asks for"
NO_CALL: Final = "only a request that runs a tool, a prompt or a resource can be sent again"

NOT_HARMLESS: Final = "This is not declared to be idempotent: what it did the first time, it will do again."
CANNOT_ASK: Final = "It was asked something by the server. Sent again, it cannot be, and may fail for that."


class ResendTimeout(exceptions.StreamableHTTPError):
    """What was sent again did not end in time, and was cancelled."""

    def __init__(self, stream_id: int, seconds: float) -> None:
        super().__init__(stream_id, seconds)
        self.stream_id = stream_id
        """Of the new exchange, which is recorded as cancelled."""

        self.seconds = seconds

    def __str__(self) -> str:
        return (
            f"the call did not end within {self.seconds:g} s and was cancelled; it is recorded as stream "
            f"{self.stream_id:x}, and what it had done by then is not undone"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Resend:
    """What would be sent again, or what came of it."""

    stream_id: int
    """Of the old exchange; of the new one once it was sent."""

    server: str
    method: str
    name: str
    """Of the tool; empty otherwise."""

    request: str
    """The JSON-RPC message, redacted."""

    warnings: tuple[str, ...] = ()
    """Sentences to show before, such as that the tool is not idempotent."""

    refusal: str = ""
    """Why it cannot be sent again, such as that it was redacted; empty where it can."""

    response: str = ""
    """The JSON-RPC response, redacted."""


def review(stream_id: int) -> Resend:
    """Return what :func:`resend` would do.

    Raises:
        LookupError: there is no such stream, or it is a listening stream.
    """
    stream = ending.find_stream(stream_id)
    if not stream.method:
        raise LookupError(f"the stream {stream} is not of a call")
    record = rows_of(models.Record).filter(pk=stream_id).first()
    # As it may be shown: what became a secret since it was recorded is masked here, and must not be sent so.
    payload = redaction.redact_text(record.payload) if record is not None and record.payload else ""
    found = Resend(
        stream_id=stream_id,
        server="",
        method=stream.method,
        name=stream.name,
        request=payload,
    )
    if not payload:
        return dataclasses.replace(found, refusal=NOT_RECORDED)
    request = _request_of(payload)
    if request is None:
        return dataclasses.replace(found, refusal=NOT_WHOLE)
    servers = _servers(stream)
    if len(servers) != 1:
        return dataclasses.replace(found, refusal=SEVERAL_SERVERS if servers else NO_SERVER)
    [server] = servers
    if not server.runs_user_code(request):
        return dataclasses.replace(found, refusal=NO_CALL)
    warnings = []
    if not server.may_start_early(request):
        warnings.append(NOT_HARMLESS)
    if rows_of(models.Ask).filter(stream_id=stream_id).exists():
        warnings.append(CANNOT_ASK)
    return dataclasses.replace(found, server=server.name, warnings=tuple(warnings))


def resend(stream_id: int, *, user: Any, reason: str = "") -> Resend:
    """Send a stream's request again, in this process, with the rights of ``user`` and nobody else's; audited.

    It goes without a session, so that the tool cannot ask anything. Blocks until it has ended, :data:`RESEND_SECONDS`
    at most; not on an event loop. A tool that is a plain function goes on in its thread, and what it says is dropped.

    Raises:
        LookupError: there is no such stream.
        ValueError: it is refused, with the reason.
        ResendTimeout: it took too long, and was cancelled.
    """
    reviewed = review(stream_id)
    if reviewed.refusal:
        raise ValueError(reviewed.refusal)
    stream = ending.find_stream(stream_id)
    request = _http_request(reviewed.request)
    new_id = ids.new()
    audit.note(user, stream, "Sent again", reason=reason)
    try:
        response = shells.run(
            _send(user, request, reviewed.server, calls.Resending(new_id, stream_id), _revision(stream))
        )
    except exceptions.ProtocolError as error:
        raise ValueError(str(error)) from error
    return dataclasses.replace(reviewed, stream_id=new_id, response=redaction.redact_text(response.decode()))


async def _send(user: Any, request: http.Request, server: str, resending: calls.Resending, revision: str) -> bytes:
    endpoint = Endpoint(registry.find(server), authentication.authenticator(), authentication.DRFGate)
    principal = await authentication.acting(user, request)
    try:
        return await endpoint.resend(request, principal, resending, revision=revision, limit_seconds=RESEND_SECONDS)
    except exceptions.CallCancelled:
        raise ResendTimeout(resending.stream_id, RESEND_SECONDS) from None


def _request_of(payload: str) -> jsonrpc.Request | None:
    """Return the request of a record, if it is whole."""
    try:
        message = jsonrpc.loads(payload.encode(), max_depth=_ANY_DEPTH)
        if not redaction.is_whole(message):
            return None
        request = jsonrpc.parse(message)
    except (exceptions.ProtocolError, UnicodeEncodeError):
        return None
    return request if isinstance(request, jsonrpc.Request) else None


def _servers(stream: models.Stream) -> list[MCPServer]:
    """Return the servers that a call may have gone to; a stream without a session does not tell."""
    servers = registry.servers()
    if stream.session_id is not None:
        session = _session(stream)
        return [servers[session.server]] if session is not None and session.server in servers else []
    if stream.name:
        return [server for server in servers.values() if stream.name in server.tools]
    return list(servers.values())


def _revision(stream: models.Stream) -> str:
    session = _session(stream)
    return session.revision if session is not None and session.revision in revisions.HANDSHAKE else revisions.OFFERED


def _session(stream: models.Stream) -> models.Session | None:
    return rows_of(models.Session).filter(streams=stream.pk).first()


def _http_request(message: str) -> http.Request:
    headers = [(b"content-type", http.JSON.encode()), (b"user-agent", b"django-streamable-http (sent again)")]
    return http.Request(
        method="POST", path="/", scheme="http", headers=http.Headers(headers), body=message.encode(), client=""
    )
