"""A client that hides nothing: it speaks MCP by hand, cuts where it is told to, and remembers every event id.

Whatever it receives is held against the schema of its revision.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import itertools
import json
import secrets
import ssl
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx

from streamable_http.protocol import cursors, http, sse
from tests import schemas

BASE_HEADERS = {"accept": "application/json, text/event-stream", "content-type": "application/json"}

TRIES = 200
"""New connections that are made until a certain worker takes one."""

_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Not used, but httpx would make one for each client, which takes longer than a call."""


class Examiner:
    """Holds what comes back against the schema; it remembers what was asked, so that it knows what is answered."""

    def __init__(self) -> None:
        self._requested: dict[str, dict[str, set[str]]] = {}

    def note(self, session_id: str, body: Any) -> None:
        """Remember the requests that go out in a session; ids may be used again, so several methods may have one."""
        requested = self._requested.setdefault(session_id, {})
        for message in body if isinstance(body, list) else [body]:
            if isinstance(message, dict) and isinstance(message.get("method"), str) and "id" in message:
                requested.setdefault(json.dumps(message["id"]), set()).add(message["method"])

    def examine(self, session_id: str, revision: str, message: Any) -> None:
        """Refuse what a server may not send.

        Raises:
            Violation: with what is wrong.
        """
        if isinstance(message, list) and revision == schemas.R2025_03_26:
            assert message, "an empty batch"
            for part in message:
                self.examine(session_id, revision, part)
            return
        requested = set()
        if isinstance(message, dict):
            requested = self._requested.get(session_id, {}).get(json.dumps(message.get("id")), set())
        if "initialize" in requested and isinstance(message.get("result"), dict):
            # The first word of a session says by which rules the session goes.
            revision = message["result"].get("protocolVersion", revision)
        schemas.check(message, revision=revision, requested=requested)


EXAMINER = Examiner()
"""Of all clients: a session may be read by another one than asked."""


class Connection:
    """One open answer of events; iterating reads on where the last reader stopped."""

    def __init__(self, response: httpx.Response, *, examine: Callable[[Any], None]) -> None:
        self.response = response
        self._examine = examine
        self.raw = b""
        self._decoder = sse.Decoder()
        self._events = self._read()

    @property
    def pid(self) -> int:
        """The process that serves it."""
        return int(self.response.headers["x-pid"])

    @property
    def retry_ms(self) -> int | None:
        """The reconnection time that the server told last."""
        return self._decoder.retry_ms

    def __aiter__(self) -> Connection:
        return self

    async def __anext__(self) -> sse.Event:
        return await anext(self._events)

    async def rest(self) -> list[sse.Event]:
        """Read until the server ends it."""
        return [event async for event in self]

    async def aclose(self) -> None:
        """Read no more."""
        await self._events.aclose()

    async def _read(self) -> AsyncIterator[sse.Event]:
        async for chunk in self.response.aiter_raw():
            self.raw += chunk
            for event in self._decoder.decode(chunk):
                if event.data:
                    self._examine(json.loads(event.data))
                yield event


class Received:
    """What a client got of one stream, over all its connections."""

    def __init__(self) -> None:
        self.events: list[sse.Event] = []
        """With data, as they came."""

        self.primes: list[sse.Event] = []
        """Without data."""

        self.last_id: str | None = None

    async def read(self, connection: Connection, *, until: Callable[[], bool] = lambda: False) -> None:
        """Read until the connection ends, or until there is what was waited for."""
        async for event in connection:
            self.add(event)
            if until():
                return

    async def read_events(self, connection: Connection, number: int) -> None:
        """Read so many more events with data."""
        wanted = len(self.events) + number
        await self.read(connection, until=lambda: len(self.events) >= wanted)

    def add(self, event: sse.Event) -> None:
        """Take an event."""
        self.last_id = event.id or self.last_id
        (self.events if event.data else self.primes).append(event)

    @property
    def ids(self) -> list[str]:
        """The ids of the events with data."""
        return [event.id for event in self.events]

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The JSON-RPC messages."""
        return [json.loads(event.data) for event in self.events]

    @property
    def numbers(self) -> list[int]:
        """What the messages counted: progress, or the data of log messages."""
        counted = [message["params"] for message in self.messages if "params" in message]
        return [params["progress"] if "progress" in params else params["data"] for params in counted]

    @property
    def answer(self) -> dict[str, Any]:
        """The last message, which must be a response."""
        last = self.messages[-1]
        assert "method" not in last, last
        return last

    @property
    def result(self) -> Any:
        """What the tool returned: structured, or else the text."""
        result = self.answer["result"]
        assert not result.get("isError"), result
        structured = result.get("structuredContent")
        if structured is None:
            (block,) = result["content"]
            return block["text"]
        return structured["result"] if set(structured) == {"result"} else structured

    @property
    def stream_id(self) -> int:
        """The stream, as its row is named."""
        assert self.last_id is not None
        return cursors.parse(self.last_id).stream_id


class Wire:
    """One session. Each request gets a connection of its own, so that any worker may serve it."""

    def __init__(self, url: str, *, revision: str = "2025-11-25", headers: dict[str, str] | None = None) -> None:
        self.url = url
        self.revision = revision
        self.headers = {**BASE_HEADERS, **(headers or {})}
        self.pids: set[str] = set()
        self._ids = itertools.count(1)
        self._pinned: httpx.AsyncClient | None = None
        self._alone = secrets.token_hex(8)  # stands for a session where there is none

    async def initialize(self, *, capabilities: dict[str, Any] | None = None) -> httpx.Response:
        """Open the session."""
        params = {
            "protocolVersion": self.revision,
            "capabilities": capabilities or {},
            "clientInfo": {"name": "wire", "version": "1"},
        }
        response = await self.post(self.request("initialize", params))
        assert response.status_code == 200, response.text
        assert response.json()["result"]["protocolVersion"] == self.revision
        if "mcp-session-id" in response.headers:
            self.headers["mcp-session-id"] = response.headers["mcp-session-id"]
        self.headers["mcp-protocol-version"] = self.revision
        await self.post(notification("notifications/initialized"))
        return response

    def request(self, method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return a request with the next id."""
        return {"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": params or {}}

    def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """Return a tool call with the next id, which wants progress."""
        request = self.request("tools/call", {"name": tool, "arguments": arguments})
        request["params"]["_meta"] = {"progressToken": request["id"]}
        return request

    async def result(self, tool: str, **arguments: Any) -> Any:
        """Call a tool and return what it returned."""
        received = Received()
        async with self.stream(self.call(tool, **arguments)) as connection:
            await received.read(connection)
        return received.result

    async def post(self, message: Any, *, headers: dict[str, str] | None = None) -> httpx.Response:
        """POST a message and read the whole answer."""
        return await self.send("POST", headers=headers, json=message)

    async def get(self, last_event_id: str | None = None) -> httpx.Response:
        """GET and read the whole answer."""
        return await self.send("GET", headers={} if last_event_id is None else {"last-event-id": last_event_id})

    async def delete(self) -> httpx.Response:
        """End the session."""
        return await self.send("DELETE")

    async def send(self, method: str, *, headers: dict[str, str] | None = None, **options: Any) -> httpx.Response:
        """Send whatever it is and read the whole answer, except a stream that a GET opened, which has no end.

        ``headers`` come on top of the session's.
        """
        headers = {**self.headers, **(headers or {})}
        self._note(headers, options)
        async with self._client() as client, client.stream(method, self.url, headers=headers, **options) as response:
            if method != "GET" or response.status_code != 200:
                await response.aread()
                self._examine_body(headers, response)
        self.pids.add(response.headers.get("x-pid", ""))
        return response

    @contextlib.asynccontextmanager
    async def stream(self, message: Any) -> AsyncIterator[Connection]:
        """POST a message and read its events; leaving the context cuts the connection."""
        async with self._opened("POST", json=message) as connection:
            yield connection

    @contextlib.asynccontextmanager
    async def resume(self, last_event_id: str | None) -> AsyncIterator[Connection]:
        """GET from a cursor, or the listening stream without one."""
        headers = {} if last_event_id is None else {"last-event-id": last_event_id}
        async with self._opened("GET", headers=headers) as connection:
            yield connection

    @contextlib.asynccontextmanager
    async def on_worker(self, wanted: Callable[[int], bool]) -> AsyncIterator[Wire]:
        """Give the same session on one kept connection to a worker with a wanted process id."""
        for _ in range(TRIES):
            async with _new_client() as client:
                pinned = copy.copy(self)
                pinned._pinned = client
                response = await pinned.post(self.request("ping"))
                if wanted(int(response.headers["x-pid"])):
                    yield pinned
                    return
        raise AssertionError(f"no such worker took any of {TRIES} connections")

    @contextlib.asynccontextmanager
    async def _opened(
        self, method: str, *, headers: dict[str, str] | None = None, **options: Any
    ) -> AsyncIterator[Connection]:
        headers = {**self.headers, **(headers or {})}
        self._note(headers, options)
        async with (
            self._client() as client,
            client.stream(method, self.url, headers=headers, **options) as response,
        ):
            self.pids.add(response.headers.get("x-pid", ""))
            if response.status_code != 200:
                await response.aread()
                self._examine_body(headers, response)
                response.raise_for_status()
            examine = functools.partial(self._examine, headers)
            async with contextlib.aclosing(Connection(response, examine=examine)) as connection:
                yield connection

    # What the schema says of it

    def _note(self, headers: dict[str, str], options: dict[str, Any]) -> None:
        body = options.get("json")
        if isinstance(content := options.get("content"), bytes):
            with contextlib.suppress(ValueError, RecursionError):
                body = json.loads(content)
        EXAMINER.note(self._conversation(headers), body)

    def _examine(self, headers: dict[str, str], message: Any) -> None:
        # Inside a session its own revision decides, except for what an error looks like before the session is known.
        is_of_nobody = isinstance(message, dict) and "error" in message and "id" not in message
        named = headers.get("mcp-protocol-version", "")
        is_named = named in schemas.REVISIONS and (is_of_nobody or "mcp-session-id" not in headers)
        revision = named if is_named else self.revision
        EXAMINER.examine(self._conversation(headers), revision, message)

    def _examine_body(self, headers: dict[str, str], response: httpx.Response) -> None:
        """Examine a whole answer, if it is one of the endpoint."""
        assert response.status_code != 202 or not response.content, response.text
        content_type = response.headers.get("content-type", "")
        if response.request.method == "HEAD":
            return
        if content_type == http.JSON:
            self._examine(headers, response.json())
        elif content_type == http.EVENT_STREAM:
            for event in sse.Decoder().decode(response.content):
                if event.data:
                    self._examine(headers, json.loads(event.data))

    def _conversation(self, headers: dict[str, str]) -> str:
        return headers.get("mcp-session-id", self._alone)

    @contextlib.asynccontextmanager
    async def _client(self) -> AsyncIterator[httpx.AsyncClient]:
        if self._pinned is not None:
            yield self._pinned
            return
        async with _new_client() as client:
            yield client


def _new_client() -> httpx.AsyncClient:
    return httpx.AsyncClient(timeout=30, trust_env=False, verify=_TLS, limits=httpx.Limits(max_connections=1))


def notification(method: str, **params: Any) -> dict[str, Any]:
    """Return a notification."""
    return {"jsonrpc": "2.0", "method": method, "params": params}


def reply(request: dict[str, Any], **result: Any) -> dict[str, Any]:
    """Return the response to a request of the server."""
    return {"jsonrpc": "2.0", "id": request["id"], "result": result}
