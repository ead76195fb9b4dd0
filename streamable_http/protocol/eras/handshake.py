"""The handshake era: ``initialize``, sessions, GET streams, ``Last-Event-ID`` (2025-03-26 to 2025-11-25)."""

from __future__ import annotations

import re
from typing import Any, Final

from streamable_http import exceptions
from streamable_http.protocol import http, revisions

INITIALIZE: Final = "initialize"

_SESSION_ID: Final = re.compile(r"[!-~]{1,128}")
"""Visible ASCII characters, 0x21 to 0x7E (2025-11-25, Session Management); ours are far shorter than this."""


def header_revision(headers: http.Headers) -> str | None:
    """Return the revision that a request's header names, or ``None`` where it names none.

    Raises:
        InvalidHeader: the header is empty.
        UnsupportedRevision: "If the server receives a request with an invalid or unsupported
            MCP-Protocol-Version, it MUST respond with 400 Bad Request."
    """
    value = headers.get(http.PROTOCOL_VERSION)
    if value is None or value in revisions.HANDSHAKE:
        return value
    if not value:
        raise exceptions.InvalidHeader("MCP-Protocol-Version", value)
    raise exceptions.UnsupportedRevision(value, revisions.SUPPORTED)


def session_id(headers: http.Headers) -> str | None:
    """Return the session id that a request carries.

    Raises:
        UnknownSession: it cannot be one of ours.
    """
    value = headers.get(http.SESSION_ID)
    if value is not None and _SESSION_ID.fullmatch(value) is None:
        raise exceptions.UnknownSession
    return value


def negotiate(params: dict[str, Any]) -> str:
    """Return the revision to answer ``initialize`` with: the client's, or the newest that we offer.

    Raises:
        InvalidParams: a member of ``InitializeRequest`` is missing or of another type.
    """
    requested = params.get("protocolVersion")
    if not isinstance(requested, str):
        raise exceptions.InvalidParams('"protocolVersion" must be a string')
    info = params.get("clientInfo")
    if not isinstance(info, dict) or not isinstance(info.get("name"), str):
        raise exceptions.InvalidParams('"clientInfo" must be an object with a string "name"')
    if not isinstance(info.get("version"), str):
        raise exceptions.InvalidParams('"clientInfo" must have a string "version"')
    if not isinstance(params.get("capabilities"), dict):
        raise exceptions.InvalidParams('"capabilities" must be an object')
    return requested if requested in revisions.HANDSHAKE else revisions.OFFERED
