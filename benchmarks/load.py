"""The load: MCP over keep-alive HTTP/1.1 connections, with as little code of its own as possible.

The load must never be what is measured. A general HTTP client costs several times what a fast server does, so
this one knows only what the workloads need: it writes prepared bytes and has httptools, a C parser, read the
response. Answers are checked in full, streams only after their last byte was timed.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import httptools

from benchmarks import answers

HOST: Final = "127.0.0.1"
REVISION: Final = "2025-11-25"

_request_ids = itertools.count(1)
"""Ids of the whole run: the official SDK names a stream after its request alone, whatever the session."""

_INITIALIZE: Final = (
    b'{"jsonrpc":"2.0","id":%d,"method":"initialize","params":{"protocolVersion":"2025-11-25",'
    b'"capabilities":{},"clientInfo":{"name":"load","version":"1.0"}}}'
)
_INITIALIZED: Final = b'{"jsonrpc":"2.0","method":"notifications/initialized"}'
_ADD: Final = b'{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"%b","arguments":{"a":%d,"b":%d}}}'
_BURST: Final = (
    b'{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"burst",'
    b'"arguments":{"n":%d,"size":%d},"_meta":{"progressToken":%d}}}'
)


@dataclass(frozen=True, slots=True)
class Response:
    """A response with its whole body."""

    status: int
    headers: dict[bytes, bytes]
    """Names are lower case."""

    body: bytearray
    """Without the transfer coding."""

    @property
    def is_event_stream(self) -> bool:
        return self.headers.get(b"content-type", b"").startswith(b"text/event-stream")


class Connection(asyncio.Protocol):
    """One keep-alive connection, one request at a time."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[Response] | None = None
        self._is_whole: Callable[[bytearray], bool] | None = None
        self._headers: dict[bytes, bytes] = {}
        self._body = bytearray()

    @classmethod
    async def open(cls, port: int) -> Connection:
        """Connect to a server on this machine."""
        _, connection = await asyncio.get_running_loop().create_connection(cls, HOST, port)
        return connection

    def fetch(self, request: bytes, is_whole: Callable[[bytearray], bool] | None = None) -> asyncio.Future[Response]:
        """Send a request; the future has its response.

        ``is_whole`` says for a stream that its server leaves open whether the body so far is all that is wanted.
        Such a connection is of no more use.
        """
        if self._transport is None:
            raise ConnectionError("the connection is closed")
        self._is_whole = is_whole
        self._waiter = waiter = self._loop.create_future()
        self._transport.write(request)
        return waiter

    def close(self) -> None:
        """Close the connection; what is under way fails."""
        if self._transport is not None:
            self._transport.close()

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # the base class names the base

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)
        if self._is_whole is not None and self._is_whole(self._body):
            self._answer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_exception(ConnectionError(f"the server closed the connection within a response: {exc}"))

    # What httptools calls

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.lower()] = value

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        self._answer()

    def _answer(self) -> None:
        waiter, self._waiter = self._waiter, None
        response = Response(self._parser.get_status_code(), self._headers, self._body)
        self._headers, self._body = {}, bytearray()
        if waiter is not None and not waiter.done():
            waiter.set_result(response)


class Client:
    """An MCP client on one connection: just what the workloads do."""

    def __init__(self, connection: Connection, port: int, *, token: str | None = None) -> None:
        self._connection = connection
        self._port = port
        self._common = (
            f"Host: {HOST}:{port}\r\nMCP-Protocol-Version: {REVISION}\r\n"
            + (f"Authorization: Token {token}\r\n" if token else "")
        ).encode()
        self._prepare()

    @classmethod
    async def open(cls, port: int, *, token: str | None = None) -> Client:
        """Connect, without a session."""
        return cls(await Connection.open(port), port, token=token)

    async def open_session(self) -> None:
        """Do the handshake of the 2025-11-25 revision."""
        request_id = next(_request_ids)
        response = await self._connection.fetch(self._post(_INITIALIZE % request_id))
        answers.check_initialized(answers.only_message(response, ids=False), request_id, REVISION)
        session_id = response.headers.get(b"mcp-session-id", b"")
        answers.require(bool(session_id), "initialize was answered without a session id")
        self._common += b"Mcp-Session-Id: %b\r\n" % session_id
        self._prepare()
        accepted = await self._connection.fetch(self._post(_INITIALIZED))
        answers.require(accepted.status == 202, "a notification was answered with %s", accepted.status)

    async def add(self, tool: bytes, *, stream: bool) -> None:
        """Call a tool that adds, answered by JSON or by a stream, and check its answer."""
        request_id = next(_request_ids)
        a, b = request_id % 1009, request_id % 509
        response = await self._connection.fetch(self._post(_ADD % (request_id, tool, a, b)))
        answers.require(
            response.is_event_stream is stream, "status %s: %s", response.status, bytes(response.body[:300])
        )
        answers.check_result(answers.only_message(response, ids=stream), request_id, a + b)

    async def burst(self, count: int, size: int) -> tuple[float, Burst]:
        """Call the tool that reports progress ``count`` times; return the seconds it took and what came."""
        request_id = next(_request_ids)
        request = self._post(_BURST % (request_id, count, size, request_id))
        started = time.perf_counter()
        response = await self._connection.fetch(request)
        seconds = time.perf_counter() - started
        burst = Burst(request_id, count, size, answers.stream_events(response))
        burst.check()
        return seconds, burst

    async def resume(self, burst: Burst) -> float:
        """Read a whole stream again from behind its first event; return the seconds it took."""
        connection = await Connection.open(self._port)
        first = burst.events[0]
        request = b"GET /mcp HTTP/1.1\r\n%bAccept: text/event-stream\r\nLast-Event-ID: %b\r\n\r\n" % (
            self._common,
            first.id,
        )
        started = time.perf_counter()
        response = await connection.fetch(request, answers.has_result)
        seconds = time.perf_counter() - started
        connection.close()
        burst.check_replay(answers.stream_events(response))
        return seconds

    async def listen(self) -> None:
        """Open the session's listening stream on this connection, which is then of use for nothing else."""
        request = b"GET /mcp HTTP/1.1\r\n%bAccept: text/event-stream\r\n\r\n" % self._common
        response = await self._connection.fetch(request, lambda body: b"\n\n" in body)
        answers.require(response.is_event_stream, "a GET was answered with %s", response.status)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _prepare(self) -> None:
        self._post_head = (
            b"POST /mcp HTTP/1.1\r\n%bAccept: application/json, text/event-stream\r\n"
            b"Content-Type: application/json\r\nContent-Length: " % self._common
        )

    def _post(self, body: bytes) -> bytes:
        return b"%b%d\r\n\r\n%b" % (self._post_head, len(body), body)


@dataclass(frozen=True, slots=True)
class Burst:
    """A call that reported progress, and the stream that came."""

    request_id: int
    count: int
    size: int
    events: list[answers.Event]

    def check(self) -> None:
        """Check number, order, ids and content of all events."""
        answers.check_consecutive(self.events)
        *reports, last = [event.data for event in self.events if event.data]
        answers.check_progress(reports, self.request_id, self.count, self.size)
        answers.check_result(answers.loads(last), self.request_id, self.count)

    def check_replay(self, replayed: list[answers.Event]) -> None:
        """Check that a resume from behind the first event gave the same events with the same ids."""
        answers.check_consecutive(replayed)
        # The official SDK gives the resumed connection an id of its own to come back with, behind the result.
        messages = [event for event in replayed if event.data]
        facts = (len(messages), self.events[0].id, len(self.events) - 1)
        answers.require(messages == self.events[1:], "%s events behind %s, and not the same %s as at first", *facts)
