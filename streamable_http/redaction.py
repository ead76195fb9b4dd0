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

CREDENTIALS: Final = frozenset(("authorization", "proxy-authorization"))
"""Headers whose secret has a scheme before it (RFC 9110, section 11.4)."""

_SCHEMES: Final = ("Api-Key", "Basic", "Bearer", "Digest", "DPoP", "JWT", "Token")
"""Those that are shown; any other first word may be the secret itself."""

_SCHEME: Final = re.compile(rf"({'|'.join(_SCHEMES)}) (?=[^ ])", re.ASCII | re.IGNORECASE)

_MASKED_CREDENTIALS: Final = re.compile(_SCHEME.pattern + MASK, re.ASCII | re.IGNORECASE)

MAX_PATH_CHARACTERS: Final = 512

_ANY_DEPTH: Final = 1_000

_FOLDED_DATA: Final = re.compile(r"data:[^,]{0,128},… \[folded: \d+ bytes, sha256 [0-9a-f]{64}\]")

_FOLDED: Final = re.compile(r"… \[folded: \d+ bytes, sha256 [0-9a-f]{64}\]\Z")

_MEASURE: Final = re.compile(r"\d+ bytes, sha256 [0-9a-f]{64}")

_SEPARATORS: Final = re.compile(r"[^a-z0-9]")

_USER: Final = re.compile(r"//[^/?#\s]*@")

_PARAMETER: Final = re.compile(r"(?<=[?&#;])([\w.\[\]-]{1,128})=[^&#;\s\"'<>]+")
"""A name and a value in a URL."""


def redact(value: Any) -> Any:
    """Return a copy of parsed JSON with secrets masked and large strings folded.

    A string that is JSON itself, such as the text beside a structured result, is looked through as well; of a URL,
    who logs in and the parameters that are named like secrets are masked.
    """
    kind = type(value)
    if kind is str:
        return _shown(value)
    if kind is dict:
        return {key: _masked_member(member) if is_sensitive(key) else redact(member) for key, member in value.items()}
    if kind is list:
        return [redact(item) for item in value]
    return value


def redact_text(text: str) -> str:
    """Return a JSON message with secrets masked; a large one is folded as a whole.

    So is one that cannot be read. What is redacted already stays as it is.
    """
    encoded = text.encode()
    if len(encoded) <= MAX_MESSAGE_BYTES:
        # Too deep to be walked through, or to be written again, is as good as unreadable.
        with contextlib.suppress(exceptions.ParseError, RecursionError, TypeError):
            return jsonrpc.dumps(redact(jsonrpc.loads(encoded, max_depth=_ANY_DEPTH))).decode()
    return fold_message(encoded)


def is_whole(value: Any) -> bool:
    """Tell whether nothing in parsed JSON was masked or folded, so that it is what was sent."""
    if isinstance(value, str):
        return MASK not in value and _FOLDED.search(value) is None
    if isinstance(value, dict):
        measure = value.get("folded")
        is_folded = isinstance(measure, str) and _MEASURE.fullmatch(measure) is not None
        return not is_folded and all(map(is_whole, value.values()))
    return all(map(is_whole, value)) if isinstance(value, list) else True


def fold_message(encoded: bytes, *, method: str = "") -> str:
    """Return the method, size and digest of a JSON message."""
    return jsonrpc.dumps({"method": method, "folded": _measure(encoded)}).decode()


def redact_headers(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return headers, named in lower case, with the values of those masked that are not known to be harmless.

    Of a URL, as in ``Referer``, the query and who logs in are masked wherever it stands. Of credentials a known scheme
    is left: ``Bearer ••••``.
    """
    shown = _shown_headers(conf.settings.RECORD_HEADERS)
    return {name: _shown_header(value) if name in shown else _masked_header(name, value) for name, value in headers}


def redact_path(path: str) -> str:
    """Return the path of a URL; a long one folded, and what looks like a query or a login masked."""
    return _shown_header(path) if len(path) <= MAX_PATH_CHARACTERS else _folded(path[:SHOWN_CHARACTERS], path)


def scheme_of(credentials: str) -> str:
    """Return the scheme of credentials that :func:`redact_headers` masked; empty where none is known."""
    match = _MASKED_CREDENTIALS.fullmatch(credentials)
    return match[1] if match else ""


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
        return _folded(f"{media_type},", text)
    # Before it is cut: what is left of a cut secret would not be known for one.
    masked = _masked(text)
    return _folded(masked[:SHOWN_CHARACTERS], text) if len(text) > MAX_CHARACTERS else masked


def _masked(text: str) -> str:
    """Return a string with the secrets masked that it tells of."""
    if text.lstrip()[:1] in ("{", "["):
        # Too deep is as good as no JSON.
        with contextlib.suppress(exceptions.ParseError, RecursionError, TypeError):
            held = jsonrpc.loads(text.encode("utf-8", "surrogatepass"), max_depth=_ANY_DEPTH)
            redacted = redact(held)
            # Where there is nothing to mask, it stays as it was written.
            return text if redacted == held else jsonrpc.dumps(redacted).decode()
    if "://" not in text:
        return text
    if "@" in text:
        text = _USER.sub(f"//{MASK}@", text)
    return _PARAMETER.sub(_masked_parameter, text) if "=" in text else text


def _masked_parameter(found: re.Match[str]) -> str:
    return f"{found[1]}={MASK}" if is_sensitive(found[1]) else found[0]


def _folded(shown: str, text: str) -> str:
    """Return what is shown of a text, with its size and digest."""
    return f"{shown}… [folded: {_measure(text.encode('utf-8', 'surrogatepass'))}]"


def _masked_member(member: Any) -> str:
    # Masked already, when it was stored.
    return member if type(member) is str and scheme_of(member) else MASK


def _masked_header(name: str, value: str) -> str:
    match = _SCHEME.match(value) if name in CREDENTIALS else None
    return f"{match[0]}{MASK}" if match else MASK


def _shown_header(value: str) -> str:
    if "?" not in value and "@" not in value:
        return value
    if "@" in value:
        value = _USER.sub(f"//{MASK}@", value)
    before, _, query = value.partition("?")
    return f"{before}?{MASK}" if before and query else value


def _measure(encoded: bytes) -> str:
    return f"{len(encoded)} bytes, sha256 {hashlib.sha256(encoded).hexdigest()}"
