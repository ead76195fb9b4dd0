"""Serve requests of each kind in this process without the garbage collector; print what was left for it.

As JSON: how many objects of which type.
"""

from __future__ import annotations

import asyncio
import collections
import gc
import json
import logging

from tests.site.asgi import application

REPEATED = 5

SETTLE_SECONDS = 1
"""What is written behind is written by then."""

HEADERS = [
    (b"host", b"127.0.0.1"),
    (b"content-type", b"application/json"),
    (b"accept", b"application/json, text/event-stream"),
]


async def post(body, headers):
    """Send one request and return the headers of the response."""
    sent = []
    coming = [{"type": "http.request", "body": body, "more_body": False}]
    never = asyncio.Event()

    async def receive():
        if not coming:
            await never.wait()
        return coming.pop()

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/mcp",
        "scheme": "http",
        "query_string": b"",
        "headers": headers,
    }
    await application(scope, receive, send)
    return dict(sent[0]["headers"])


def request(method, **params):
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()


def call(tool, **arguments):
    return request("tools/call", name=tool, arguments=arguments)


OPENING = request(
    "initialize", protocolVersion="2025-11-25", capabilities={}, clientInfo={"name": "garbage", "version": "1"}
)
BODIES = [
    request("ping"),
    request("tools/list"),
    request("nonsense"),
    request("initialize"),
    request("resources/read", uri="site://page"),
    call("add", a=1, b=2),
    call("add", a="x"),
    call("count", n=3),
    call("block", seconds=0),
    call("misbehave", kind="ValueError"),
    b"{",
]
TOO_LARGE = bytes(5_000_000)


async def main():
    gc.disable()
    session_id = (await post(OPENING, HEADERS))[b"mcp-session-id"]
    headers = [*HEADERS, (b"mcp-session-id", session_id), (b"mcp-protocol-version", b"2025-11-25")]
    await post_all(headers)
    gc.collect()
    await post_all(headers)
    gc.set_debug(gc.DEBUG_SAVEALL)
    gc.collect()
    return collections.Counter(type(thing).__name__ for thing in gc.garbage)


async def post_all(headers):
    """Send each kind of request, some times, and let what is written behind be written."""
    for body in BODIES * REPEATED:
        await post(body, headers)
    # Once: its sender is given some seconds to read the answer.
    await post(TOO_LARGE, headers)
    await asyncio.sleep(SETTLE_SECONDS)


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    print(json.dumps(asyncio.run(main())))  # noqa: T201
