"""What must not be stored or shown: secrets are masked, large values are folded.

Applied before storing to everything that the log does not need verbatim, and on read to the rest.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import re
from collections.abc import Iterable
from typing import Any, Final

from streamable_http import conf, exceptions
from streamable_http.protocol import jsonrpc

MASK: Final = "••••"

MAX_CHARACTERS: Final = 2_048
"""Longer strings are folded to their beginning, size and digest."""

SHOWN_CHARACTERS: Final = 128

MAX_MESSAGE_BYTES: Final = 32_768
"""Longer messages are folded as a whole, unread: looking for secrets in megabytes would hold everybody up."""

SENSITIVE: Final = (
    "accesskey",
    "apikey",
    "authorization",
    "cookie",
    "credential",
    "passphrase",
    "passwd",
    "password",
    "privatekey",
    "pwd",
    "requeststate",
    "secret",
    "secretkey",
    "sessionid",
    "token",
)
"""How the names end whose values are masked, in lower case without separators, one or several of them:
``X-Auth-Token``, ``db_password``, ``apiKeys``.

``STREAMABLE_HTTP["REDACT_NAMES"]`` adds to them.
"""

HARMLESS: Final = frozenset(
    (
        "budgettokens",
        "cachedtokens",
        "completiontokens",
        "inputtokens",
        "maxcompletiontokens",
        "maxoutputtokens",
        "maxtokens",
        "outputtokens",
        "progresstoken",
        "prompttokens",
        "reasoningtokens",
        "totaltokens",
    )
)
"""Names that end like a secret's and hold none: what a report refers to, and how many tokens a model takes."""

SHOWN_HEADERS: Final = frozenset(
    (
        "accept",
        "accept-encoding",
        "accept-language",
        "cache-control",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "forwarded",
        "host",
        "last-event-id",
        "mcp-method",
        "mcp-name",
        "mcp-protocol-version",
        "origin",
        "referer",
        "sec-fetch-dest",
        "sec-fetch-mode",
        "sec-fetch-site",
        "traceparent",
        "transfer-encoding",
        "user-agent",
        "via",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-real-ip",
        "x-request-id",
    )
)
"""Headers whose values are kept; those of all others may be secrets, whatever they are called.

``STREAMABLE_HTTP["RECORD_HEADERS"]`` adds to them.
"""

_ANY_DEPTH: Final = 1_000

_FOLDED_DATA: Final = re.compile(r"data:[^,]{0,128},… \[folded: \d+ bytes, sha256 [0-9a-f]{64}\]")

_SEPARATORS: Final = re.compile(r"[^a-z0-9]")

_USER: Final = re.compile(r"//[^/?#\s]*@")


def redact(value: Any) -> Any:
    """Return a copy of parsed JSON with secrets masked and large strings folded."""
    kind = type(value)
    if kind is str:
        return _shown(value)
    if kind is dict:
        return {key: MASK if is_sensitive(key) else redact(member) for key, member in value.items()}
    if kind is list:
        return [redact(item) for item in value]
    return value


def redact_text(text: str) -> str:
    """Return a JSON message with secrets masked; a large one is folded as a whole.

    So is one that cannot be read. What is redacted already stays as it is.
    """
    encoded = text.encode()
    if len(encoded) <= MAX_MESSAGE_BYTES:
        with contextlib.suppress(exceptions.ParseError):
            return jsonrpc.dumps(redact(jsonrpc.loads(encoded, max_depth=_ANY_DEPTH))).decode()
    return fold_message(encoded)


def fold_message(encoded: bytes, *, method: str = "") -> str:
    """Return the method, size and digest of a JSON message."""
    return jsonrpc.dumps({"method": method, "folded": _measure(encoded)}).decode()


def fold(text: str) -> str:
    """Return the beginning of a string, with its size and digest."""
    return f"{text[:SHOWN_CHARACTERS]}… [folded: {_measure(text.encode('utf-8', 'surrogatepass'))}]"


def redact_headers(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return headers, named in lower case, with the values of those masked that are not known to be harmless.

    Of a URL, as in ``Referer``, the query and who logs in are masked wherever it stands.
    """
    shown = _shown_headers(conf.settings.RECORD_HEADERS)
    return {name: _shown_header(value) if name in shown else MASK for name, value in headers}


def is_sensitive(name: str) -> bool:
    """Tell whether a member of this name holds a secret."""
    # By its end alone, so that no long name is kept.
    return _is_sensitive(name[-SHOWN_CHARACTERS:], conf.settings.REDACT_NAMES)


@functools.lru_cache(maxsize=8)
def _shown_headers(more: tuple[str, ...]) -> frozenset[str]:
    return SHOWN_HEADERS.union(name.lower() for name in more)


@functools.lru_cache(maxsize=4_096)
def _is_sensitive(name: str, more: tuple[str, ...]) -> bool:
    plain = _plain(name)
    secrets = (*SENSITIVE, *filter(None, map(_plain, more)))
    return plain not in HARMLESS and (plain.endswith(secrets) or plain.removesuffix("s").endswith(secrets))


def _plain(name: str) -> str:
    return _SEPARATORS.sub("", name.lower())


def _shown(text: str) -> str:
    if text[4:5] == ":" and text[:4].lower() == "data":
        if _FOLDED_DATA.fullmatch(text):
            return text
        # What kind of data is no secret; the data may be.
        media_type = text[:SHOWN_CHARACTERS].partition(",")[0]
        return f"{media_type},… [folded: {_measure(text.encode('utf-8', 'surrogatepass'))}]"
    return fold(text) if len(text) > MAX_CHARACTERS else text


def _shown_header(value: str) -> str:
    if "?" not in value and "@" not in value:
        return value
    if "@" in value:
        value = _USER.sub(f"//{MASK}@", value)
    before, _, query = value.partition("?")
    return f"{before}?{MASK}" if before and query else value


def _measure(encoded: bytes) -> str:
    return f"{len(encoded)} bytes, sha256 {hashlib.sha256(encoded).hexdigest()}"
