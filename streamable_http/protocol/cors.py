"""Pages of other sites that may call: what their browsers ask before, and what they may read after (Fetch, 3.3).

Which origins may call at all is checked for every request: see :func:`streamable_http.protocol.http.require_origin`.
"""

from __future__ import annotations

import re
from typing import Final

from streamable_http import exceptions
from streamable_http.protocol import http

MAX_AGE_SECONDS: Final = 7_200
"""How long a browser may remember that it may call; Chromium remembers nothing for longer."""

EXPOSED: Final = "Mcp-Session-Id, Streamable-HTTP-Recovered, Retry-After, WWW-Authenticate"
"""Headers of a response that a page may read, beside those that it always may."""

VARY: Final = {"vary": "Origin"}

_REQUESTED_METHOD: Final = "access-control-request-method"
_REQUESTED_HEADERS: Final = "access-control-request-headers"

# RFC 9110, section 5.6.2
_TOKENS: Final = re.compile(r"[\w!#$%&'*+.^`|~-]+(?:[ \t]*,[ \t]*[\w!#$%&'*+.^`|~-]+)*", re.ASCII)


def preflight(request: http.Request, methods: tuple[str, ...], allowed: frozenset[str]) -> http.Response:
    """Answer a request of a method that is not served, unless it is a browser that asks whether its page may call.

    It may send whatever headers it likes: none of them opens anything to a page that those of ``allowed`` do not.

    Raises:
        MethodNotAllowed: it is no such request, or the page may not call.
    """
    origin = request.headers.get(http.ORIGIN)
    if request.method != "OPTIONS" or origin is None or request.headers.get(_REQUESTED_METHOD) is None:
        raise exceptions.MethodNotAllowed(methods)
    try:
        http.require_origin(request, allowed)
    except exceptions.OriginNotAllowed:
        raise exceptions.MethodNotAllowed(methods) from None
    headers = {
        "access-control-allow-origin": origin,
        "access-control-allow-methods": ", ".join(methods),
        "access-control-max-age": str(MAX_AGE_SECONDS),
        **VARY,
    }
    requested = request.headers.get(_REQUESTED_HEADERS) or ""
    if _TOKENS.fullmatch(requested):
        headers["access-control-allow-headers"] = requested
    return http.Response(204, headers)


def expose(request: http.Request, response: http.Response, allowed: frozenset[str]) -> http.Response:
    """Let the page of an allowed origin read a response, an error as well. The own origin needs no leave."""
    if not allowed:
        return response
    origin = request.headers.get(http.ORIGIN)
    # Whatever the origin: a cache must not give this answer to another one (Fetch, 3.3.5).
    response.headers = {**response.headers, **VARY}
    if origin in allowed:
        response.headers["access-control-allow-origin"] = origin
        response.headers["access-control-expose-headers"] = EXPOSED
    return response
