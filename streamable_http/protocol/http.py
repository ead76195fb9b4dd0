"""HTTP as the protocol sees it: request and response values, header names, ``Accept`` and ``Origin``.

Shells translate a framework's native objects to these and back.
"""

from __future__ import annotations

import functools
import types
from collections.abc import AsyncGenerator, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from streamable_http import exceptions

ACCEPT: Final = "accept"
CONTENT_ENCODING: Final = "content-encoding"
CONTENT_LENGTH: Final = "content-length"
CONTENT_TYPE: Final = "content-type"
HOST: Final = "host"
LAST_EVENT_ID: Final = "last-event-id"
ORIGIN: Final = "origin"
PROTOCOL_VERSION: Final = "mcp-protocol-version"
RECOVERED: Final = "streamable-http-recovered"
SESSION_ID: Final = "mcp-session-id"

JSON: Final = "application/json"
EVENT_STREAM: Final = "text/event-stream"

SINGLE: Final = frozenset(
    {
        "authorization",
        CONTENT_ENCODING,
        CONTENT_LENGTH,
        CONTENT_TYPE,
        HOST,
        LAST_EVENT_ID,
        ORIGIN,
        PROTOCOL_VERSION,
        SESSION_ID,
    }
)
"""Headers that may stand once: whoever sends two hopes that two readers pick different ones."""

_FORBIDDEN: Final = frozenset("\r\n\0")

DEFAULT_PORTS: Final = {"http": 80, "https": 443}


class Headers:
    """Request headers: names in any case, values stripped of optional white space (RFC 9110, section 5.5)."""

    __slots__ = ("_values", "malformed", "repeated")

    def __init__(self, raw: Iterable[tuple[bytes, bytes]]) -> None:
        values: dict[str, str] = {}
        self.repeated: str | None = None
        self.malformed: str | None = None
        for raw_name, raw_value in raw:
            name = _name(raw_name)
            value = raw_value.decode("latin-1").strip(" \t")
            if not value.isprintable() and not _FORBIDDEN.isdisjoint(value):
                self.malformed = name
            if name in values:
                if name in SINGLE:
                    self.repeated = name
                # RFC 9110, section 5.3: repeated fields combine to one list.
                value = f"{values[name]}, {value}"
            values[name] = value
        self._values = values

    def get(self, name: str) -> str | None:
        """Return the value of a header, named in lower case, or ``None``."""
        return self._values.get(name)

    @property
    def mapping(self) -> Mapping[str, str]:
        """All of them by name, to read."""
        return types.MappingProxyType(self._values)

    def items(self) -> Iterable[tuple[str, str]]:
        """Return all names, in lower case, with their values."""
        return self._values.items()


@dataclass(slots=True, kw_only=True)
class Request:
    """One HTTP request, its body read."""

    method: str
    """In upper case."""

    path: str
    scheme: str
    """``http`` or ``https``, as the client sees it."""

    headers: Headers
    body: bytes = b""
    query: bytes = b""
    client: str = ""
    """The peer's address, where the server tells."""

    version: str = "1.1"
    """Of HTTP, as ASGI has it: ``1.1``, ``2``."""

    @property
    def can_be_closed(self) -> bool:
        """Whether its answer may have the connection closed: later versions know no such header (RFC 9113, 8.2.2)."""
        return self.version.startswith("1")


@dataclass(slots=True)
class Response:
    """One HTTP response: a body, or a stream of chunks."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    stream: AsyncGenerator[bytes, None] | None = None
    """Chunks, sent as they come. Whoever takes the response closes the generator, also when nobody listens."""


@dataclass(frozen=True, slots=True)
class Acceptable:
    """Which of our two media types the client takes."""

    json: bool
    event_stream: bool


_ANYTHING: Final = Acceptable(json=True, event_stream=True)
_USUAL: Final = {
    None: _ANYTHING,
    "*/*": _ANYTHING,
    "application/json, text/event-stream": _ANYTHING,
    "application/json,text/event-stream": _ANYTHING,
    "text/event-stream, application/json": _ANYTHING,
    JSON: Acceptable(json=True, event_stream=False),
    EVENT_STREAM: Acceptable(json=False, event_stream=True),
}


def accept(value: str | None) -> Acceptable:
    """Read an ``Accept`` header (RFC 9110, section 12.5.1): the most specific range decides, ``q=0`` excludes."""
    usual = _USUAL.get(value)
    if usual is not None:
        return usual
    qualities: dict[str, float] = {}
    for item in (value or "").lower().split(","):
        media_range, *parameters = (part.strip() for part in item.split(";"))
        qualities[media_range] = _quality(parameters)
    return Acceptable(json=_accepts(qualities, JSON), event_stream=_accepts(qualities, EVENT_STREAM))


def require_json_body(headers: Headers) -> None:
    """Refuse bodies that are not plain JSON.

    A form's ``text/plain`` is what a cross-site page can send without a preflight; a compressed body could be a
    bomb.

    Raises:
        UnsupportedMediaType: it is something else.
    """
    content_type = headers.get(CONTENT_TYPE) or ""
    if content_type != JSON and content_type.partition(";")[0].strip().lower() != JSON:
        raise exceptions.UnsupportedMediaType(content_type or "no Content-Type")
    encoding = headers.get(CONTENT_ENCODING)
    if encoding and encoding.lower() != "identity":
        raise exceptions.UnsupportedMediaType(f"Content-Encoding {encoding}")


def require_safe_values(headers: Headers) -> None:
    """Refuse CR, LF and NUL in values: "invalid and dangerous" (RFC 9110, section 5.5).

    Raises:
        InvalidHeader: a value has one of them.
        InvalidCursor: it is that of ``Last-Event-ID``, where every bad value looks the same.
    """
    if headers.malformed == LAST_EVENT_ID:
        raise exceptions.InvalidCursor
    if headers.malformed is not None:
        raise exceptions.InvalidHeader(headers.malformed, headers.get(headers.malformed))


def require_single_headers(headers: Headers) -> None:
    """Refuse a request that repeats a header which may stand once.

    Raises:
        InvalidHeader: it does.
    """
    if headers.repeated is not None:
        raise exceptions.InvalidHeader(headers.repeated, repeated=True)


def require_origin(request: Request, allowed: frozenset[str]) -> None:
    """Refuse browsers of other sites (2025-11-25, Security Warning: servers MUST validate ``Origin``).

    Without an ``Origin`` it is no browser. Its own origin is the request's scheme, host and port; ``allowed``
    holds others, such as ``https://app.example.com``.

    Raises:
        OriginNotAllowed: it is another one.
    """
    origin = request.headers.get(ORIGIN)
    if origin is None or origin in allowed:
        return
    if origin.lower() != own_origin(request.scheme, request.headers.get(HOST) or ""):
        raise exceptions.OriginNotAllowed(origin)


def own_origin(scheme: str, host: str) -> str | None:
    """Return the origin that a browser sends for a page of this host, or ``None`` for a malformed host."""
    try:
        parts = urlsplit(f"{scheme}://{host}")
        port = parts.port
    except ValueError:
        return None
    if parts.hostname is None or parts.netloc != host or "@" in host:
        return None
    name = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    if port is None or port == DEFAULT_PORTS.get(scheme):
        return f"{scheme}://{name}"
    return f"{scheme}://{name}:{port}"


@functools.lru_cache(maxsize=512)
def _name(raw_name: bytes) -> str:
    return raw_name.decode("latin-1").lower()


def _quality(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0


def _accepts(qualities: dict[str, float], media_type: str) -> bool:
    main_type = media_type.partition("/")[0]
    for media_range in (media_type, f"{main_type}/*", "*/*"):
        if media_range in qualities:
            return qualities[media_range] > 0
    return False
