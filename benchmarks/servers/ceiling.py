"""A bare ASGI application that only pretends: the most that Python under uvicorn can do.

It parses the request, does the work and writes the right bytes. No checks, no sessions, no store. A call with a
session id is answered by an event stream, one without by JSON. It also shows what the load can drive.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import orjson

Send = Callable[[dict[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[dict[str, Any]]]

BATCH = 100
"""Events of a burst that go out as one chunk."""

JSON_HEADERS = [(b"content-type", b"application/json")]
STREAM_HEADERS = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache")]

kept: dict[str, list[bytes]] = {}
"""The encoded events of bursts, by stream."""


async def application(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Answer one request."""
    if scope["type"] != "http":
        return
    headers = dict(scope["headers"])
    if scope["method"] == "GET":
        await resume(headers[b"last-event-id"].decode(), send)
        return
    message = orjson.loads(await read_body(receive))
    method = message["method"]
    if method == "tools/call":
        await call(message, stream=b"mcp-session-id" in headers, send=send)
    elif method == "initialize":
        body = orjson.dumps({"jsonrpc": "2.0", "id": message["id"], "result": initialized()})
        await answer(send, 200, [*JSON_HEADERS, (b"mcp-session-id", b"session")], body)
    else:
        await answer(send, 202, [], b"")


async def read_body(receive: Receive) -> bytes:
    """Return the whole body."""
    event = await receive()
    body: bytes = event["body"]
    while event["more_body"]:
        event = await receive()
        body += event["body"]
    return body


async def call(message: dict[str, Any], *, stream: bool, send: Send) -> None:
    """Run the tool that a message names."""
    params = message["params"]
    arguments = params["arguments"]
    if params["name"] == "burst":
        await burst(message["id"], params["_meta"]["progressToken"], arguments, send)
        return
    if params["name"] == "add_slowly":
        await asyncio.sleep(0.005)
    body = result(message["id"], arguments["a"] + arguments["b"])
    if stream:
        name = message["id"]
        body = b"id: %d.0\ndata: \n\nid: %d.1\ndata: %b\n\n" % (name, name, body)
    await answer(send, 200, STREAM_HEADERS if stream else JSON_HEADERS, body, chunked=stream)


async def burst(request_id: int, token: int, arguments: dict[str, int], send: Send) -> None:
    """Report progress, in batches, and keep the events for a resume."""
    count, text = arguments["n"], "x" * arguments["size"]
    events = kept[str(request_id)] = [b"id: %d.0\ndata: \n\n" % request_id]
    await send({"type": "http.response.start", "status": 200, "headers": STREAM_HEADERS})
    for number in range(1, count + 1):
        params = {"progressToken": token, "progress": number, "total": count} | ({"message": text} if text else {})
        body = orjson.dumps({"jsonrpc": "2.0", "method": "notifications/progress", "params": params})
        events.append(b"id: %d.%d\ndata: %b\n\n" % (request_id, number, body))
        if number % BATCH == 0:
            await send_chunk(send, events[number - BATCH + (number > BATCH) : number + 1])
    events.append(b"id: %d.%d\ndata: %b\n\n" % (request_id, count + 1, result(request_id, count)))
    await send_chunk(send, events[count - count % BATCH + 1 :], last=True)


async def resume(last_event_id: str, send: Send) -> None:
    """Send what a burst kept behind an event."""
    stream, _, sequence = last_event_id.rpartition(".")
    events = kept[stream]
    await send({"type": "http.response.start", "status": 200, "headers": STREAM_HEADERS})
    for start in range(int(sequence) + 1, len(events), BATCH):
        await send_chunk(send, events[start : start + BATCH])
    await send_chunk(send, [], last=True)


async def send_chunk(send: Send, events: list[bytes], *, last: bool = False) -> None:
    """Send encoded events as one chunk."""
    await send({"type": "http.response.body", "body": b"".join(events), "more_body": not last})


async def answer(
    send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes, *, chunked: bool = False
) -> None:
    """Send a whole response."""
    length = [] if chunked else [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers + length})
    await send({"type": "http.response.body", "body": body})


def initialized() -> dict[str, Any]:
    """Return the result of ``initialize``."""
    return {
        "protocolVersion": "2025-11-25",
        "capabilities": {"tools": {}},
        "serverInfo": {"name": "ceiling", "version": "1.0"},
    }


def result(request_id: int, value: int) -> bytes:
    """Return the response of a tool that gave ``value``."""
    content = [{"type": "text", "text": str(value)}]
    return orjson.dumps(
        {"jsonrpc": "2.0", "id": request_id, "result": {"content": content, "structuredContent": {"result": value}}}
    )
