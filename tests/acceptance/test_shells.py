"""The mount and the view: one endpoint in one process, and the same bytes; and the view under WSGI."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from tests.acceptance.conftest import SHELLS, WSGI_APPLICATION, RunningSite, Site
from tests.acceptance.waiting import until
from tests.acceptance.wire import Received, Wire, notification

pytestmark = pytest.mark.acceptance

OWN_HEADERS = {"date", "x-pid"}
"""Of the server and of the test project."""

OTHERS_FIRST_ID = "1000.0"


# The same bytes

Step = Callable[[Wire], Awaitable[httpx.Response]]


async def _resume_from_the_beginning(wire: Wire) -> httpx.Response:
    received = Received()
    async with wire.stream(wire.call("count", n=3)) as connection:
        await received.read(connection)
    async with wire.resume(f"{received.stream_id:x}.0") as connection:
        await connection.rest()
    connection.response._content = connection.raw
    return connection.response


STEPS: dict[str, Step] = {
    "ping": lambda wire: wire.post(wire.request("ping")),
    "list": lambda wire: wire.post(wire.request("tools/list")),
    "notification": lambda wire: wire.post(notification("notifications/initialized")),
    "whole answer": lambda wire: wire.post(wire.call("add", a=1, b=2)),
    "stream": lambda wire: wire.post(wire.call("count", n=20)),
    "JSON": lambda wire: wire.post(wire.call("count", n=20), headers={"accept": "application/json"}),
    "resume": _resume_from_the_beginning,
    "unknown method": lambda wire: wire.post(wire.request("no/such")),
    "unknown tool": lambda wire: wire.post(wire.call("no_such")),
    "no JSON": lambda wire: wire.send("POST", content=b"{"),
    "no body": lambda wire: wire.send("POST", content=b""),
    "not UTF-8": lambda wire: wire.send("POST", content=b'{"a": "\xff"}'),
    "content type": lambda wire: wire.post({}, headers={"content-type": "text/plain"}),
    "form": lambda wire: wire.send(
        "POST", content=b"a=1", headers={"content-type": "application/x-www-form-urlencoded"}
    ),
    "compressed": lambda wire: wire.post({}, headers={"content-encoding": "gzip"}),
    "accept": lambda wire: wire.post(wire.request("ping"), headers={"accept": "text/html"}),
    "origin": lambda wire: wire.post(wire.request("ping"), headers={"origin": "https://evil.example"}),
    "host": lambda wire: wire.post(wire.request("ping"), headers={"host": "evil.example"}),
    "revision": lambda wire: wire.post(wire.request("ping"), headers={"mcp-protocol-version": "1999-01-01"}),
    "foreign cursor": lambda wire: wire.get(OTHERS_FIRST_ID),
    "bad cursor": lambda wire: wire.get("nonsense"),
    "foreign session": lambda wire: wire.post(wire.request("ping"), headers={"mcp-session-id": "A" * 43}),
    "PUT": lambda wire: wire.send("PUT", content=b"{}"),
    "HEAD": lambda wire: wire.send("HEAD"),
    "TRACE": lambda wire: wire.send("TRACE"),
    "OPTIONS": lambda wire: wire.send("OPTIONS"),
    "DELETE": lambda wire: wire.delete(),
}


@pytest.fixture
def pair(site: RunningSite) -> list[Wire]:
    """A session through each shell, not opened yet."""
    return [Wire(site.server.url + path) for path in SHELLS.values()]


async def test_both_shells_send_the_same_bytes(pair: list[Wire]) -> None:
    opened = [await wire.initialize() for wire in pair]
    assert sent(opened[0]) == sent(opened[1])
    for name, step in STEPS.items():
        mounted, viewed = [sent(await step(wire)) for wire in pair]
        assert mounted == viewed, name


def sent(response: httpx.Response) -> tuple[int, dict[str, str], bytes]:
    """What a server sent, apart from what differs from stream to stream and from session to session."""
    headers = {name: value for name, value in response.headers.items() if name not in OWN_HEADERS}
    if "mcp-session-id" in headers:
        headers["mcp-session-id"] = f"{len(headers['mcp-session-id'])} characters"
    return response.status_code, headers, re.sub(rb"(?m)^id: [0-9a-f]+\.", b"id: stream.", response.content)


async def test_nothing_has_a_length_that_may_have_none(site: RunningSite, mcp_path: str) -> None:
    wire = Wire(site.server.url + mcp_path)
    await wire.initialize()
    streamed = await wire.post(wire.call("count", n=20))
    ended = await wire.delete()
    assert "content-length" not in streamed.headers
    # RFC 9110, section 8.6
    assert ended.status_code == 204
    assert "content-length" not in ended.headers


# One endpoint


async def test_a_session_is_good_through_both_shells(pair: list[Wire]) -> None:
    mounted, viewed = pair
    await mounted.initialize()
    viewed.headers = mounted.headers
    received = Received()
    async with viewed.stream(viewed.call("count", n=500, delay_ms=2)) as connection:
        await received.read_events(connection, 10)
    async with mounted.resume(received.last_id) as connection:
        await received.read_events(connection, 10)
    async with viewed.resume(received.last_id) as connection:
        await received.read(connection)
    assert received.numbers == list(range(1, 501))
    assert (await viewed.delete()).status_code == 204
    assert (await mounted.post(mounted.request("ping"))).status_code == 404


# Readers


async def test_a_call_goes_on_when_its_reader_is_gone(site: RunningSite, mcp_path: str) -> None:
    wire = Wire(site.server.url + mcp_path)
    await wire.initialize()
    received = Received()
    async with wire.stream(wire.call("count", n=100, delay_ms=5)) as connection:
        await received.read_events(connection, 1)
    await until(lambda: site.state(received.stream_id) == "answered")
    followers = "SELECT follower FROM streamable_http_stream WHERE id = ?"
    await until(lambda: site.rows(followers, received.stream_id) == [(None,)])
    assert len(site.events(received.stream_id)) == 101


async def test_a_reader_that_takes_nothing_is_disconnected(new_site: Site, mcp_path: str) -> None:
    server = new_site.serve(settings={"SEND_TIMEOUT_SECONDS": 1})
    wire = Wire(server.url + mcp_path)
    await wire.initialize()
    body = json.dumps(wire.call("count", n=60_000)).encode()
    headers = {**wire.headers, "host": f"127.0.0.1:{server.port}", "content-length": str(len(body))}
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    with socket.socket() as reader:
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader.connect(("127.0.0.1", server.port))
        reader.sendall(f"POST {mcp_path} HTTP/1.1\r\n{head}\r\n".encode() + body)
        await until(lambda: "it took nothing for 1 s" in server.output, timeout_seconds=60)
    assert await wire.result("add", a=1, b=2) == 3


# Django's own settings


@pytest.mark.parametrize("size", [3_000_000, 4_300_000])
async def test_the_body_limit_is_ours_and_not_djangos(site: RunningSite, mcp_path: str, size: int) -> None:
    # DATA_UPLOAD_MAX_MEMORY_SIZE is 2.5 MiB, MAX_BODY_BYTES 4 MiB.
    wire = Wire(site.server.url + mcp_path)
    await wire.initialize()
    request = wire.request("ping", {"_meta": {"padding": "x" * size}})
    response = await wire.post(request)
    if size < 4_000_000:
        assert response.status_code == 200
        return
    assert response.status_code == 413
    assert response.json()["error"]["message"] == "the request body is larger than 4194304 bytes"


# WSGI


@pytest.fixture
def wsgi(new_site: Site) -> Wire:
    server = new_site.serve(WSGI_APPLICATION, server="granian-wsgi", settings={"MAX_BODY_BYTES": 100_000})
    return Wire(server.url + SHELLS["view"])


async def test_under_wsgi_calls_are_answered_without_sessions_and_by_json(wsgi: Wire) -> None:
    opened = await wsgi.initialize()
    assert "mcp-session-id" not in opened.headers
    assert (await wsgi.post(notification("notifications/initialized"))).status_code == 202
    for call in (wsgi.call("add", a=1, b=2), wsgi.call("count", n=20)):
        response = await wsgi.post(call)
        assert response.status_code == 200
        assert response.headers["content-type"] == "application/json"
        assert response.json()["id"] == call["id"]
    assert response.json()["result"]["content"][0]["text"] == "counted to 20"
    asked = (await wsgi.post(wsgi.call("ask"))).json()["result"]
    assert asked["isError"] is True
    assert "session" in asked["content"][0]["text"]


async def test_under_wsgi_all_else_is_refused_in_json_rpc(wsgi: Wire) -> None:
    await wsgi.initialize()
    large: dict[str, Any] = wsgi.request("ping", {"_meta": {"padding": "x" * 100_000}})
    refused = {
        405: await wsgi.get(),
        406: await wsgi.post(wsgi.request("ping"), headers={"accept": "text/html"}),
        413: await wsgi.post(large),
        415: await wsgi.post(wsgi.request("ping"), headers={"content-type": "text/plain"}),
        403: await wsgi.post(wsgi.request("ping"), headers={"origin": "https://evil.example"}),
    }
    for status, response in refused.items():
        assert response.status_code == status
        assert response.json()["error"]["code"] == -32600
    assert refused[405].headers["allow"] == "POST"


async def test_under_wsgi_calls_run_beside_each_other(wsgi: Wire) -> None:
    await wsgi.initialize()

    async def running() -> int:
        return (await wsgi.post(wsgi.call("running"))).json()["result"]["structuredContent"]["result"]

    counting = asyncio.ensure_future(wsgi.post(wsgi.call("count", n=100, delay_ms=10)))
    await until(running)
    assert (await counting).json()["result"]["content"][0]["text"] == "counted to 100"
    assert await running() == 0
