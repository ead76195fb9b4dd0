"""Bad input 71 and the header half of 40: the HTTP servers' own affair, held to what ``docs/http-servers.md`` says."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator

import httpx
import pytest

from tests.acceptance import raw
from tests.acceptance.conftest import Site
from tests.acceptance.wire import Wire

pytestmark = [pytest.mark.acceptance, pytest.mark.parametrize("new_site_url", ["sqlite"], indirect=True)]

SMUGGLED = b'{"jsonrpc":"2.0","id":"smuggled","method":"ping"}'

SERVERS = ["uvicorn", "daphne", "granian"]


@pytest.fixture(params=SERVERS)
async def wire(new_site: Site, request: pytest.FixtureRequest) -> AsyncIterator[Wire]:
    wire = Wire(f"{new_site.serve(server=request.param).url}/mcp")
    await wire.initialize()
    yield wire
    await raw.assert_serving(wire)


def ping(request_id: object) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": request_id, "method": "ping"}).encode()


async def test_71_bad_framing(wire: Wire) -> None:
    """One test for all, since the server takes longer to start than they take to run."""
    await pipelined_requests_are_answered_in_order(wire)
    await a_request_with_length_and_chunks_smuggles_nothing(wire)
    await other_framings_that_two_readers_read_differently_smuggle_nothing(wire)
    await heads_that_never_end_hold_up_nobody_else(wire)


async def pipelined_requests_are_answered_in_order(wire: Wire) -> None:
    async with raw.connected(wire.url) as connection:
        await connection.send(b"".join(raw.request(wire, ping(number)) for number in range(5)))
        answers = await connection.answers()
    assert [answer.status for answer in answers] == [200] * 5
    assert [json.loads(answer.body)["id"] for answer in answers] == list(range(5))

    # Also behind one that is refused, and behind one that streams.
    async with raw.connected(wire.url) as connection:
        call = httpx.Request("POST", wire.url, json=wire.call("count", n=3)).content
        await connection.send(raw.request(wire, b"{") + raw.request(wire, call) + raw.request(wire, ping("last")))
        answers = await connection.answers()
    assert [answer.status for answer in answers] == [400, 200, 200]
    assert b"counted to 3" in answers[1].body
    assert json.loads(answers[2].body)["id"] == "last"


async def a_request_with_length_and_chunks_smuggles_nothing(wire: Wire) -> None:
    hidden = raw.request(wire, SMUGGLED)
    chunked = b"transfer-encoding: chunked"
    for lines in (
        (b"content-length: 5", chunked),
        (chunked, b"content-length: 5"),
        (chunked, f"content-length: {5 + len(hidden)}".encode()),
    ):
        async with raw.connected(wire.url) as connection:
            await connection.send(raw.request(wire, b"0\r\n\r\n" + hidden, *lines, length=False))
            answers = await connection.answers()
        # A server may refuse it, or read the chunks and close: no second answer on this connection.
        assert [answer.status for answer in answers] == [400]
        assert b"smuggled" not in b"".join(answer.body for answer in answers)


async def other_framings_that_two_readers_read_differently_smuggle_nothing(wire: Wire) -> None:
    hidden = raw.request(wire, SMUGGLED)
    for lines, body in (
        ((b"content-length: 1", b"content-length: 2"), b"12"),
        ((b"content-length: +5",), b"0\r\n\r\n"),
        ((b"transfer-encoding: xchunked", b"content-length: 5"), b"0\r\n\r\n"),
        ((b"transfer-encoding: chunked, identity",), b"0\r\n\r\n"),
        ((b"transfer-encoding : chunked",), b"0\r\n\r\n"),
        ((b"content-length : 5",), b"0\r\n\r\n"),
        ((b"transfer-encoding: chunked",), b"0x5\r\n12345\r\n0\r\n\r\n"),
        ((b"transfer-encoding: chunked",), b"-5\r\n12345\r\n0\r\n\r\n"),
    ):
        async with raw.connected(wire.url) as connection:
            await connection.send(raw.request(wire, body + hidden, *lines, length=False))
            answers = await connection.answers()
        assert all(answer.status in (400, 500, 501) for answer in answers), (lines, body)
        assert b"smuggled" not in b"".join(answer.body for answer in answers)


async def heads_that_never_end_hold_up_nobody_else(wire: Wire) -> None:
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(100):
            connection = await stack.enter_async_context(raw.connected(wire.url))
            await connection.send(b"POST /mcp HTTP/1.1\r\nhost: 127.0.0.1\r\nx-slow: ")
        await raw.assert_serving(wire)
