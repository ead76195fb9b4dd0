"""Every error this package raises, and what it looks like on the wire.

::

    StreamableHTTPError
    ├── ProtocolError                 answered to the peer: HTTP status, JSON-RPC code
    │   ├── ParseError                400  -32700
    │   ├── InvalidRequest            400  -32600
    │   │   ├── InvalidHeader         400  -32600
    │   │   ├── UnsupportedRevision   400  -32600
    │   │   ├── MissingSession        400  -32600
    │   │   ├── InvalidCursor         400  -32600
    │   │   └── RequestIdInFlight     400  -32600
    │   ├── InvalidParams             400  -32602
    │   ├── MethodNotFound            200  -32601
    │   ├── CallFailed                200  any code; raised by handlers on purpose
    │   │   └── UrlElicitationRequired  200  -32042
    │   ├── InternalError             200  -32603
    │   ├── Unauthorized              401  -32600
    │   ├── Forbidden                 403  -32600
    │   │   └── OriginNotAllowed      403  -32600
    │   ├── UnknownSession            404  -32600
    │   ├── MethodNotAllowed          405  -32600
    │   ├── NotAcceptable             406  -32600
    │   ├── RequestTimeout            408  -32600
    │   ├── TakenTooOften             409  -32600
    │   ├── BodyTooLarge              413  -32600
    │   ├── UnsupportedMediaType      415  -32600
    │   ├── TooManyRequests           429  -32600
    │   └── Unavailable               503  -32603
    │       └── WorkerStopping        503  -32603
    ├── ToolError                     raised by tools: an error result, in band
    ├── ResourceNotFound              raised by resources: -32002 with the URI (a LookupError, too)
    ├── AskError                      an ask that got no usable answer
    │   ├── AskRefused                the mode, the client or the place cannot be asked
    │   └── AskTimeout                the deadline passed
    ├── CallCancelled                 the call that this code serves is over
    └── StoreError
        ├── StreamLost                fenced: another epoch owns the stream, or it ended
        └── StoreUnavailable          the database did not answer

Errors carry facts; ``str()`` makes the sentence. The endpoint turns a :class:`ProtocolError` into a
response in a single place.
"""

# ruff: noqa: N818  names say what happened; most are the field's own terms

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
WORKER_LOST = -32000
"""Implementation-defined (JSON-RPC 2.0, section 5.1): the worker that ran the call died, gave up or was stopped."""

EVENTS_TRIMMED = -32001
"""Implementation-defined: the events after the cursor are no longer kept."""

RESOURCE_NOT_FOUND = -32002
"""2025-11-25, Resources, Error Handling."""

URL_ELICITATION_REQUIRED = -32042
"""2025-11-25, Elicitation, URL Elicitation Required Error."""


class StreamableHTTPError(Exception):
    """Base of everything this package raises."""


class ProtocolError(StreamableHTTPError):
    """A request that is answered with an error.

    ``http_status`` and ``code`` say how; ``data`` (JSON-serializable or ``None``) goes into the
    JSON-RPC error; ``headers`` are added to the HTTP response.
    """

    http_status: ClassVar[int] = 400
    code: int = INVALID_REQUEST

    def __init__(self, reason: str = "", *, data: Any = None, headers: dict[str, str] | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.data = data
        self.headers = headers or {}

    def __str__(self) -> str:
        return self.reason


class ParseError(ProtocolError):
    """The body is not JSON, or JSON that we do not take (depth, number range)."""

    code = PARSE_ERROR

    def __str__(self) -> str:
        return f"parse error: {self.reason}"


class InvalidRequest(ProtocolError):
    """JSON, but not a JSON-RPC message that may stand here."""

    def __str__(self) -> str:
        return f"invalid request: {self.reason}"


class InvalidHeader(InvalidRequest):
    """A header that is missing, empty, repeated or malformed."""

    def __init__(self, name: str, value: str | None = None, *, repeated: bool = False) -> None:
        super().__init__("")
        self.name = name
        self.value = value
        self.repeated = repeated

    def __str__(self) -> str:
        if self.repeated:
            return f"repeated {self.name} header"
        if self.value is None:
            return f"missing {self.name} header"
        if not self.value:
            return f"empty {self.name} header"
        shown = self.value if len(self.value) <= 64 else f"{self.value[:64]}…"
        return f"invalid {self.name} header: {shown}"


class UnsupportedRevision(InvalidRequest):
    """A protocol version that this endpoint does not serve."""

    def __init__(self, requested: str, supported: tuple[str, ...]) -> None:
        super().__init__("", data={"requested": requested[:64], "supported": list(supported)})
        self.requested = requested
        self.supported = supported

    def __str__(self) -> str:
        return f"unsupported protocol version {self.requested[:64]!r}; supported are {', '.join(self.supported)}"


class MissingSession(InvalidRequest):
    """A request other than ``initialize`` without a session id, where sessions are in use."""

    def __str__(self) -> str:
        return "missing Mcp-Session-Id header; send initialize first"


class InvalidCursor(InvalidRequest):
    """A ``Last-Event-ID`` that cannot be honored.

    Malformed, unknown, foreign and future ones look exactly the same, so that nobody learns which
    streams exist.
    """

    def __str__(self) -> str:
        return "invalid Last-Event-ID"


class RequestIdInFlight(InvalidRequest):
    """A request id that another running call of the session uses."""

    def __str__(self) -> str:
        return "a call with this request id is still in flight"


class InvalidParams(ProtocolError):
    """``params`` of the wrong type or shape."""

    code = INVALID_PARAMS

    def __str__(self) -> str:
        return f"invalid params: {self.reason}"


class MethodNotFound(ProtocolError):
    """A method that the server does not have."""

    http_status = 200
    code = METHOD_NOT_FOUND

    def __init__(self, method: str) -> None:
        super().__init__("")
        self.method = method

    def __str__(self) -> str:
        return f"method not found: {self.method[:128]}"


class CallFailed(ProtocolError):
    """A call that ends with a JSON-RPC error of the caller's choosing."""

    http_status = 200

    def __init__(self, code: int, reason: str, *, data: Any = None) -> None:
        super().__init__(reason, data=data)
        self.code = code


class UrlElicitationRequired(CallFailed):
    """The user has to visit pages before the call can be made again.

    ``elicitations`` are objects with ``params()``, or dicts as they go on the wire: ``mode`` (``url``),
    ``elicitationId``, ``url``, ``message``.
    """

    def __init__(self, elicitations: Sequence[Any], reason: str = "this needs the user to visit a page first") -> None:
        given = [each if isinstance(each, Mapping) else each.params() for each in elicitations]
        super().__init__(URL_ELICITATION_REQUIRED, reason, data={"elicitations": [dict(each) for each in given]})
        self.elicitations = tuple(elicitations)


class InternalError(ProtocolError):
    """A fault of ours. The reason never holds a traceback or a secret."""

    http_status = 200
    code = INTERNAL_ERROR

    def __str__(self) -> str:
        return self.reason or "internal error"


class Unauthorized(ProtocolError):
    """No credentials, or wrong ones."""

    http_status = 401

    def __str__(self) -> str:
        return self.reason or "authentication required"


class Forbidden(ProtocolError):
    """The principal may not do this."""

    http_status = 403

    def __str__(self) -> str:
        return self.reason or "forbidden"


class OriginNotAllowed(Forbidden):
    """An ``Origin`` that is neither our own nor in ``ALLOWED_ORIGINS`` (2025-11-25, Security Warning)."""

    def __init__(self, origin: str) -> None:
        super().__init__("")
        self.origin = origin

    def __str__(self) -> str:
        return f"origin not allowed: {self.origin[:128]}"


class UnknownSession(ProtocolError):
    """A session that never existed, has ended, or belongs to somebody else; they look the same."""

    http_status = 404

    def __str__(self) -> str:
        return "session not found"


class MethodNotAllowed(ProtocolError):
    """An HTTP method that is not served here."""

    http_status = 405

    def __init__(self, allowed: tuple[str, ...]) -> None:
        super().__init__("", headers={"allow": ", ".join(allowed)})
        self.allowed = allowed

    def __str__(self) -> str:
        return f"method not allowed; allowed are {', '.join(self.allowed)}"


class NotAcceptable(ProtocolError):
    """An ``Accept`` that excludes every type that the answer could have."""

    http_status = 406

    def __init__(self, offered: tuple[str, ...]) -> None:
        super().__init__("")
        self.offered = offered

    def __str__(self) -> str:
        return f"not acceptable; the answer would be {' or '.join(self.offered)}"


class RequestTimeout(ProtocolError):
    """A body that did not arrive in time."""

    http_status = 408

    def __str__(self) -> str:
        return "the request body did not arrive in time"


class TakenTooOften(ProtocolError):
    """Too many connections took a stream from one another just now."""

    http_status = 409

    def __init__(self, *, retry_after_seconds: int) -> None:
        super().__init__("", headers={"retry-after": str(retry_after_seconds)})

    def __str__(self) -> str:
        return "other connections keep taking over this stream"


class BodyTooLarge(ProtocolError):
    """A body over ``MAX_BODY_BYTES``."""

    http_status = 413

    def __init__(self, limit_bytes: int) -> None:
        super().__init__("")
        self.limit_bytes = limit_bytes

    def __str__(self) -> str:
        return f"the request body is larger than {self.limit_bytes} bytes"


class UnsupportedMediaType(ProtocolError):
    """A body that is not ``application/json``, or is compressed."""

    http_status = 415

    def __str__(self) -> str:
        return f"unsupported media type: {self.reason[:128]}"


class TooManyRequests(ProtocolError):
    """Over a limit; ``Retry-After`` says when to come back."""

    http_status = 429

    def __init__(self, reason: str, *, retry_after_seconds: int) -> None:
        super().__init__(reason, headers={"retry-after": str(retry_after_seconds)})


class Unavailable(ProtocolError):
    """The store does not answer, or the worker can take nothing more."""

    http_status = 503
    code = INTERNAL_ERROR

    def __init__(self, reason: str, *, retry_after_seconds: int = 5) -> None:
        super().__init__(reason, headers={"retry-after": str(retry_after_seconds)})


class WorkerStopping(Unavailable):
    """The worker is about to end; the next request may reach another one."""

    def __init__(self, *, closes: bool) -> None:
        """``closes``: have the connection closed."""
        super().__init__("this worker is about to end", retry_after_seconds=1)
        if closes:
            self.headers = {**self.headers, "connection": "close"}


class ToolError(StreamableHTTPError):
    """Raise it in a tool: the text becomes an error result (``isError``) that the model can read."""


class ResourceNotFound(StreamableHTTPError, LookupError):
    """Raise it in a resource: there is nothing behind this URI (2025-11-25, Resources, Error Handling)."""

    def __str__(self) -> str:
        return super().__str__() or "resource not found"


class AskError(StreamableHTTPError):
    """An ask (elicitation, sampling, roots) that got no usable answer."""


class AskRefused(AskError):
    """The client cannot be asked here; the message says why."""


class AskTimeout(AskError):
    """No reply before the deadline."""

    def __init__(self, deadline_seconds: float) -> None:
        super().__init__(deadline_seconds)
        self.deadline_seconds = deadline_seconds

    def __str__(self) -> str:
        return f"the client did not reply within {self.deadline_seconds:g} s"


class CallCancelled(StreamableHTTPError):
    """The call is over (cancelled, lost or its session ended); nothing it writes counts any more."""

    def __str__(self) -> str:
        return "the call was cancelled"


class StoreError(StreamableHTTPError):
    """Something that the store could not do."""


class StreamLost(StoreError):
    """The stream has another epoch or has ended; nothing was written."""

    def __init__(self, stream_id: int) -> None:
        super().__init__(stream_id)
        self.stream_id = stream_id

    def __str__(self) -> str:
        return f"stream {self.stream_id:x} is no longer ours to write"


class StoreUnavailable(StoreError):
    """The database did not answer."""
