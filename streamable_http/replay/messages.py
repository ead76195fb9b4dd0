"""A stored message as it may be shown, and what it says of itself. Anything may be in it; nothing here raises."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from streamable_http import exceptions, redaction
from streamable_http.escaping import storable
from streamable_http.protocol import jsonrpc

_ANY_DEPTH: Final = 1_000
"""For what was stored already."""

_HEAD_CHARACTERS: Final = 1_024

_HEAD: Final = re.compile(
    r'\{"jsonrpc":"2\.0"(?:,"id":("[^"\\]{0,256}"|-?[0-9]{1,20}))?'
    r',"(?:method":"(?P<method>[^"\\]{1,256})"|(?P<answer>result|error)":)'
)
"""How we write a message; the beginning of one that is too large to be read."""

INDENTED_CHARACTERS: Final = 262_144
"""JSON that would be longer when it is indented, which deep nesting makes it, stays on one line."""

_INDENTED: Final = json.JSONEncoder(indent=2, ensure_ascii=False)

_WIRE_ID: Final = re.compile(r"(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])")


@dataclass(frozen=True, slots=True)
class Message:
    """What a message says of itself."""

    method: str = ""
    request_id: str = ""
    """As JSON; empty without one."""

    is_answer: bool = False
    """Whether it is a JSON-RPC response."""

    is_error: bool = False
    """Whether it is an error, or a result with ``isError``."""


NOTHING: Final = Message()
"""Of what is no message, or was folded as a whole."""


def read(payload: str) -> Message:
    """Return what a stored message says; of a large one, what its beginning tells."""
    if len(payload) > redaction.MAX_MESSAGE_BYTES:
        return _read_head(payload[:_HEAD_CHARACTERS])
    value = loads(payload)
    if not isinstance(value, dict) or ("folded" in value and "jsonrpc" not in value):
        return NOTHING
    method = value.get("method")
    result = value.get("result")
    return Message(
        method=storable(method)[: jsonrpc.MAX_METHOD_CHARACTERS] if isinstance(method, str) else "",
        request_id=_request_id(value.get("id")),
        is_answer="method" not in value and ("result" in value or "error" in value),
        is_error="error" in value or (isinstance(result, dict) and result.get("isError") is True),
    )


def redact(payload: str) -> str:
    """Return a message in UTF-8 without NUL, with secrets masked; wire ids of asks are still in it."""
    return storable(redaction.redact_text(storable(payload)))


def rename(shown: str, names: Mapping[str, str]) -> str:
    """Return a text with names instead of the wire ids that have one."""
    return _WIRE_ID.sub(lambda found: names.get(found[0], found[0]), shown) if names else shown


def pretty(payload: str) -> str:
    """Return a JSON message laid out for people; what is no JSON, is nested too deep or would be too long, as it is.

    Foreign text: whoever shows it escapes it.
    """
    pieces, size = [], 0
    try:
        for piece in _INDENTED.iterencode(json.loads(payload)):
            pieces.append(piece)
            size += len(piece)
            if size > INDENTED_CHARACTERS:
                return payload
    except (ValueError, RecursionError):
        return payload
    return "".join(pieces)


def loads(payload: str) -> Any:
    """Return parsed JSON; ``None`` where it is none."""
    try:
        return jsonrpc.loads(payload.encode(), max_depth=_ANY_DEPTH)
    except (exceptions.ParseError, UnicodeEncodeError, RecursionError):
        return None


def is_wire_id(request_id: str) -> bool:
    """Tell whether a request id (JSON) may be one of an ask of ours."""
    return len(request_id) == 34 and _WIRE_ID.fullmatch(request_id[1:-1]) is not None


def wire_ids(shown: str) -> set[str]:
    """Return everything in a text that may be the wire id of an ask.

    In the text as it is shown: as it is stored, one may be written with escapes, or in what is folded.
    """
    return set(_WIRE_ID.findall(shown))


def size_bytes(payload: str) -> int:
    """Return how large a message is as it is stored."""
    return len(payload.encode("utf-8", "surrogatepass"))


def _read_head(head: str) -> Message:
    found = _HEAD.match(head)
    if found is None:
        return NOTHING
    answer = found["answer"]
    return Message(found["method"] or "", found[1] or "", answer is not None, answer == "error")


def _request_id(value: Any) -> str:
    try:
        return jsonrpc.dumps(jsonrpc.parse_id(value)).decode()
    except (exceptions.InvalidRequest, TypeError):
        return ""
