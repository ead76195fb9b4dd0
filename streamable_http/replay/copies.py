"""A recorded request as something to paste. Secrets that the server does not know are shell variables."""

from __future__ import annotations

import contextlib
import json
import pprint
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import quote

from streamable_http import redaction
from streamable_http.protocol import http
from streamable_http.replay import messages
from streamable_http.replay.entries import Direction, Entry, Kind

_CALLS: Final = {
    "tools/call": "client.call_tool({name}, {arguments})",
    "prompts/get": "client.get_prompt({name}, {arguments})",
    "resources/read": "client.read_resource({uri})",
    "tools/list": "client.list_tools()",
    "prompts/list": "client.list_prompts()",
    "resources/list": "client.list_resources()",
    "resources/templates/list": "client.list_resource_templates()",
}
"""How the official Python client (``mcp``) calls them."""

_KEPT: Final = (http.PROTOCOL_VERSION, http.LAST_EVENT_ID, "accept", http.CONTENT_TYPE)
"""Headers that are sent again as they were recorded."""

_NOT_SENT: Final = frozenset(
    (
        # The client's own affair, or that of the connection (RFC 9110, section 7.6.1).
        "accept-charset",
        "cookie",
        "dnt",
        "expect",
        "http2-settings",
        "if-modified-since",
        "if-none-match",
        "keep-alive",
        "pragma",
        "priority",
        "range",
        "set-cookie",
        "te",
        "trailer",
        "upgrade",
        "upgrade-insecure-requests",
        # What tracing and proxies add.
        "baggage",
        "cdn-loop",
        "cf-connecting-ip",
        "cf-ipcountry",
        "cf-ray",
        "cf-visitor",
        "client-ip",
        "fastly-client-ip",
        "tracestate",
        "true-client-ip",
        "x-amzn-trace-id",
        "x-client-ip",
        "x-cloud-trace-context",
        "x-correlation-id",
        "x-original-forwarded-for",
    )
)
"""Masked headers that no copy has, as well as those that begin like :data:`_NOT_SENT_PREFIXES`."""

_NOT_SENT_PREFIXES: Final = ("proxy-", "sec-", "x-b3-", "x-envoy-", "x-forwarded-")

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{0,127}", re.ASCII)
"""Headers that a copy may have. HTTP has more, such as ``x-$(id)``."""

_NO_VARIABLE: Final = re.compile(r"[^A-Z0-9]", re.ASCII)

DEFAULT_PATH: Final = "/mcp"
"""Of what was recorded without one."""

_MAX_DEPTH: Final = 100
"""Python reads 200 brackets within each other at most."""

NOT_WHOLE: Final = "What was masked or folded before it was stored is missing here."


def as_curl(entry: Entry, url: str) -> str:
    """Return a ``curl`` command, safe to paste into a POSIX shell.

    ``$MCP_SESSION_ID``, ``$TOKEN`` and variables named like other headers stand for what the server does not know.

    Raises:
        ValueError: nothing came in here, or it may not be seen.
    """
    headers = _require_request(entry)
    method = str(entry.facts.get("method") or "POST")
    words = ["curl", "--no-buffer", "--request", shlex.quote(_line(method))]
    for name in _KEPT:
        if isinstance(value := headers.get(name), str):
            words += ["--header", shlex.quote(f"{name}: {_line(value)}")]
    # In double quotes, so that the shell puts the secret in.
    words += ["--header", f'"{http.SESSION_ID}: $MCP_SESSION_ID"'] if http.SESSION_ID in headers else []
    for name, scheme, variable in _secrets(headers):
        words += ["--header", f'"{name}: {scheme}${variable}"']
    words += ["--data-binary", shlex.quote(_escaped(entry.payload))] if entry.payload else []
    words.append(shlex.quote(url))
    return (f"# {NOT_WHOLE}\n" if not _is_whole(entry) else "") + " ".join(words)


def as_python(entry: Entry, url: str) -> str:
    """Return a call with the official Python client, safe to paste: everything from the log is a literal.

    Raises:
        ValueError: nothing came in here, it may not be seen, or that client has no call for it.
    """
    headers = _require_request(entry)
    params = _require_call(entry)
    call = _CALLS[entry.method].format(**{name: _literal(params.get(name)) for name in ("name", "arguments", "uri")})
    secrets = list(_secrets(headers))
    lines = [
        *([f"# {NOT_WHOLE}"] if not _is_whole(entry) else []),
        "import asyncio",
        *(["import os", "", "import httpx"] if secrets else [""]),
        "from mcp import Client",
        *(["from mcp.client.streamable_http import streamable_http_client"] if secrets else []),
        "",
        "",
        "async def main():",
        *_connected(url, call, secrets),
        "",
        "",
        "asyncio.run(main())",
    ]
    return "\n".join(lines) + "\n"


FORMS: Final[Mapping[str, Callable[[Entry, str], str]]] = {"curl": as_curl, "python": as_python}
"""All that there are, by name."""


def forms_of(entry: Entry) -> tuple[str, ...]:
    """Return the names of :data:`FORMS` that an entry can be had in: those that would not raise."""
    return tuple(form for form in FORMS if _has(entry, form))


def _has(entry: Entry, form: str) -> bool:
    with contextlib.suppress(ValueError):
        _REQUIRED[form](entry)
        return True
    return False


def path_of(entry: Entry) -> str:
    """Return the path that a request came to, as it stands in a URL; the usual one where that is not known."""
    path = entry.facts.get("path")
    return quote(path, errors="replace") if isinstance(path, str) and path.startswith("/") else DEFAULT_PATH


def _connected(url: str, call: str, secrets: Iterable[tuple[str, str, str]]) -> list[str]:
    if not secrets:
        return [f"    async with Client({url!r}) as client:", f"        print(await {call})"]
    return [
        "    headers = {",
        *(f'        "{name}": f"{scheme}{{os.environ[\'{variable}\']}}",' for name, scheme, variable in secrets),
        "    }",
        "    async with httpx.AsyncClient(headers=headers) as http:",
        f"        async with Client(streamable_http_client({url!r}, http_client=http)) as client:",
        f"            print(await {call})",
    ]


def _require_request(entry: Entry) -> dict[str, Any]:
    """Return the headers of a request that may be seen."""
    if entry.direction is not Direction.IN:
        raise ValueError("only what came in can be sent again")
    if not entry.facts:
        raise ValueError("what was said may not be seen, or was not recorded")
    headers = entry.facts.get("headers")
    return headers if isinstance(headers, dict) else {}


def _secrets(headers: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield the masked headers that have to be sent: name, scheme with its space, and variable."""
    for name, value in headers.items():
        if name == "authorization":
            scheme = redaction.scheme_of(str(value))
            yield (name, f"{scheme} ", "TOKEN") if scheme else (name, "", "AUTHORIZATION")
        elif value == redaction.MASK and _is_sent(name):
            yield name, "", _variable(name)


def _is_sent(name: str) -> bool:
    is_left_out = name in _NOT_SENT or name in (http.SESSION_ID, *_KEPT) or name.startswith(_NOT_SENT_PREFIXES)
    return _NAME.fullmatch(name) is not None and not is_left_out


def _variable(name: str) -> str:
    variable = _NO_VARIABLE.sub("_", name.upper())
    # The client chose the name: not one that a shell has already, such as PATH or AWS_SECRET_ACCESS_KEY.
    return variable if variable.startswith("X_") else f"HEADER_{variable}"


def _require_call(entry: Entry) -> dict[str, Any]:
    """Return the parameters of a request that the Python client can make, and that Python can read."""
    _require_request(entry)
    message = messages.loads(entry.payload or "")
    params = message.get("params") if isinstance(message, dict) else None
    if entry.method not in _CALLS or not isinstance(params, dict | None):
        raise ValueError(f"the Python client has no call for {entry.method or 'this'}")
    if _is_deep(params):
        raise ValueError("this is nested too deep for Python")
    return params or {}


_REQUIRED: Final[Mapping[str, Callable[[Entry], object]]] = {"curl": _require_request, "python": _require_call}
"""What raises for the entries that a form cannot be had of."""


def _is_whole(entry: Entry) -> bool:
    if entry.kind is Kind.REPLY or "folded" in entry.facts:
        # The id of a reply counts, and is never shown.
        return False
    try:
        return redaction.is_whole([entry.facts.get("path"), messages.loads(entry.payload or "")])
    except RecursionError:
        return False


def _line(value: str) -> str:
    # Pasted, control characters are keys that are pressed, whatever quotes they stand in.
    return "".join(character if character.isprintable() else " " for character in value)


def _escaped(payload: str) -> str:
    """Return the same JSON without control characters and overrides of direction: they stand in strings only."""
    return "".join(character if character.isprintable() else json.dumps(character)[1:-1] for character in payload)


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(_MAX_DEPTH):
        level = [child for parent in level for child in _children(parent)]
        if not level:
            return False
    return True


def _children(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _literal(value: Any) -> str:
    # On one line: wherever it stands, nothing of it is code.
    return pprint.pformat(value, width=1_000_000, compact=True, sort_dicts=False) if value is not None else "None"
