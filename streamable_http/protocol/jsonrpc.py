"""JSON-RPC 2.0 messages: parse with limits, serialize.

MCP narrows JSON-RPC: ids are strings or integers and never null, ``params`` is an object
(2025-11-25, Messages).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from streamable_http import exceptions

RequestId = str | int

MAX_ID_CHARACTERS: Final = 256
"""Longest string taken as a request id; ids are stored and indexed."""

MAX_METHOD_CHARACTERS: Final = 256


@dataclass(slots=True)
class Request:
    """A message that wants an answer."""

    id: RequestId
    method: str
    params: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Notification:
    """A message that wants none."""

    method: str
    params: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Response:
    """The answer to a request; exactly one of ``result`` and ``error`` is set."""

    id: RequestId
    result: dict[str, Any] | None = None
    error: dict[str, Any] | None = None


Message = Request | Notification | Response


@dataclass(slots=True)
class Batch:
    """Several messages at once, as 2025-03-26 alone has them."""

    messages: list[Message]


def loads(body: bytes, *, max_depth: int) -> Any:
    """Parse JSON: UTF-8 without a mark, finite numbers, the last of duplicate keys, at most ``max_depth`` levels.

    Integers are exact from -2**63 to 2**64 - 1; beyond, they become the nearest double, as at peers written in
    JavaScript. JSON promises no more (RFC 8259, section 6), and telling them apart would cost a second scan.
    orjson itself stops at 1,024 levels.

    Raises:
        ParseError: it is not that.
    """
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        value = _loads_lone_surrogates(body, error)
    # Fewer brackets than levels allowed: the usual case needs no walk.
    if body.count(b"{") + body.count(b"[") > max_depth and _is_deeper(value, max_depth):
        raise exceptions.ParseError(f"nested deeper than {max_depth} levels")
    return value


def dumps(value: Any) -> bytes:
    """Serialize to compact JSON in UTF-8; never contains a line break.

    Lone surrogates, which have no UTF-8, are written as escapes.

    Raises:
        TypeError: not JSON-serializable, cyclic or too deep.
    """
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError as error:
        if "surrogates" not in str(error):
            raise
    try:
        return json.dumps(value, separators=(",", ":"), allow_nan=False).encode("ascii")
    except (ValueError, RecursionError) as second:
        raise TypeError(str(second)) from None


def parse(value: Any) -> Message:
    """Read one message from parsed JSON.

    Raises:
        InvalidRequest: not a JSON-RPC 2.0 message as MCP narrows it.
        InvalidParams: ``params`` is not an object.
    """
    if not isinstance(value, dict):
        raise exceptions.InvalidRequest("a message is a JSON object")
    if value.get("jsonrpc") != "2.0":
        raise exceptions.InvalidRequest('"jsonrpc" must be "2.0"')
    if "method" in value:
        return _parse_call(value)
    return _parse_response(value)


def parse_batch(value: list[Any], *, max_messages: int) -> Batch:
    """Read the messages of a batch; one that is none spoils all.

    Raises:
        InvalidRequest: it is empty, too long, or one is not a message.
        InvalidParams: the ``params`` of one are not an object.
    """
    if not value:
        raise exceptions.InvalidRequest("a batch has at least one message")
    if len(value) > max_messages:
        raise exceptions.InvalidRequest(f"a batch has at most {max_messages} messages")
    return Batch([parse(item) for item in value])


def request(message: Request) -> dict[str, Any]:
    """Return a request as it goes on the wire."""
    return {"jsonrpc": "2.0", "id": message.id, "method": message.method, "params": message.params}


def notification(method: str, params: dict[str, Any]) -> dict[str, Any]:
    """Return a notification as it goes on the wire."""
    return {"jsonrpc": "2.0", "method": method, "params": params}


def result(request_id: RequestId, value: dict[str, Any]) -> dict[str, Any]:
    """Return a success response as it goes on the wire."""
    return {"jsonrpc": "2.0", "id": request_id, "result": value}


def error(request_id: RequestId | None, problem: exceptions.ProtocolError) -> dict[str, Any]:
    """Return an error response as it goes on the wire; without ``id`` where none could be read."""
    body: dict[str, Any] = {"code": problem.code, "message": str(problem)}
    if problem.data is not None:
        body["data"] = problem.data
    if request_id is None:
        return {"jsonrpc": "2.0", "error": body}
    return {"jsonrpc": "2.0", "id": request_id, "error": body}


def _parse_call(value: dict[str, Any]) -> Request | Notification:
    method = value["method"]
    if not isinstance(method, str) or not 0 < len(method) <= MAX_METHOD_CHARACTERS:
        raise exceptions.InvalidRequest(f'"method" must be a string of 1 to {MAX_METHOD_CHARACTERS} characters')
    if "result" in value or "error" in value:
        raise exceptions.InvalidRequest('"method" and "result" or "error" exclude each other')
    request_id = parse_id(value["id"]) if "id" in value else None
    params = value.get("params", {})
    if not isinstance(params, dict):
        raise exceptions.InvalidParams('"params" must be an object')
    if request_id is None:
        return Notification(method, params)
    return Request(request_id, method, params)


def _parse_response(value: dict[str, Any]) -> Response:
    if ("result" in value) == ("error" in value):
        raise exceptions.InvalidRequest('a message has "method", or one of "result" and "error"')
    if "id" not in value:
        raise exceptions.InvalidRequest('a response has an "id"')
    request_id = parse_id(value["id"])
    if "result" in value:
        if not isinstance(value["result"], dict):
            raise exceptions.InvalidRequest('"result" must be an object')
        return Response(request_id, result=value["result"])
    problem = value["error"]
    if not isinstance(problem, dict) or type(problem.get("code")) is not int:
        raise exceptions.InvalidRequest('"error" must be an object with an integer "code"')
    if not isinstance(problem.get("message"), str):
        raise exceptions.InvalidRequest('"error" must have a string "message"')
    return Response(request_id, error=problem)


def parse_id(value: Any) -> RequestId:
    """Read a request id.

    Raises:
        InvalidRequest: null, a number with a fraction, a boolean, or too long.
    """
    # bool is an int in Python, and no id in MCP.
    if isinstance(value, str) and len(value) <= MAX_ID_CHARACTERS:
        return value
    if type(value) is int:
        return value
    raise exceptions.InvalidRequest(f'"id" must be an integer or a string of at most {MAX_ID_CHARACTERS} characters')


def _loads_lone_surrogates(body: bytes, error: orjson.JSONDecodeError) -> Any:
    """Parse again what orjson refuses for a lone surrogate alone; JSON allows it (RFC 8259, section 8.2)."""
    if "surrogate" not in str(error):
        raise exceptions.ParseError(str(error)) from None
    try:
        return json.loads(
            body.decode(), parse_constant=_refuse_constant, parse_float=_parse_finite, parse_int=_parse_integer
        )
    except (ValueError, RecursionError) as second:
        raise exceptions.ParseError(str(second)) from None


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _parse_integer(text: str) -> int | float:
    # As orjson has it. No integer of 64 bits is longer, and a longer one costs no conversion of its digits.
    if len(text) <= 20 and -(2**63) <= (number := int(text)) < 2**64:
        return number
    return _parse_finite(text)


def _parse_finite(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise ValueError("number is infinity when parsed as double")
    return number


def _is_deeper(value: Any, max_depth: int) -> bool:
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(max_depth):
        level = [child for container in level for child in _children(container) if isinstance(child, dict | list)]
        if not level:
            return False
    return bool(level)


def _children(container: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return container.values() if isinstance(container, dict) else container
