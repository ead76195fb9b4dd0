"""Clients at work: they call, listen, answer and cancel, come again with their cursors, and write down what they get.

What a client may do after a fault is the specification's: a call is never sent twice, a broken stream is resumed by
``Last-Event-ID``, and what has the event id of something received before is not handed to the application.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import json
import random
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Final

import httpx

from streamable_http.protocol import sse
from tests.acceptance.waiting import until
from tests.acceptance.wire import BASE_HEADERS, notification, reply
from tests.faults import facts

SESSIONS: Final = 5
CALLS_AT_ONCE: Final = 4
"""Of each session."""

TIMEOUT: Final = httpx.Timeout(connect=5, read=6, write=5, pool=None)
"""A connection that is silent for three keep-alive intervals counts as broken."""

RETRY_SECONDS: Final = 0.3
UNKNOWN_RETRY_SECONDS: Final = 1.0

BUSY: Final = frozenset({409, 429, 503})
"""Answers that ask to come again later."""

REVISION: Final = "2025-11-25"

ANNOUNCED: Final = 5
RECITED: Final = (10, 40)
DELAY_MS: Final = (100, 300)
PADDING: Final = 16_384
"""Enough in some seconds to fill what lies between a worker and a reader that has stalled."""

LONG: Final = 100
"""For a call that is to be cancelled; it ends by itself if it was taken and its client never learned that."""


@dataclass(eq=False)
class Exchange:
    """A connection on which a stream is being read."""

    session: Session
    reader: facts.Reader
    port: int
    """Of the client's end."""

    @property
    def is_bulky(self) -> bool:
        """Whether it carries so much that a reader which stalls fills what lies between."""
        received = self.reader.application
        return bool(received) and len(received[-1].payload) > PADDING


class Seen:
    """What a client process has handed on of a stream, and where it goes on."""

    def __init__(self, reader: facts.Reader, last_id: str | None = None) -> None:
        self.reader = reader
        self.last_id = last_id
        self._ids: set[str] = set()

    def take(self, connection: facts.Connection, event: sse.Event) -> dict[str, Any] | None:
        """Note an event; return its message unless it is a repeat."""
        if event.id:
            self.last_id = event.id
            if self.reader.stream is None:
                self.reader.stream = int(event.id.partition(".")[0], 16)
        if not event.data:
            if connection.cursor is None:
                connection.cursor = event.id
            return None
        delivery = facts.Delivery(event.id, event.data, time.monotonic())
        connection.deliveries.append(delivery)
        if event.id in self._ids:
            return None
        self._ids.add(event.id)
        self.reader.application.append(delivery)
        return json.loads(event.data)


class Session:
    """One client with its session."""

    def __init__(self, name: str, clients: Clients) -> None:
        self.name = name
        self.listener = facts.Reader(name, None)
        self.is_stopping = False
        self._clients = clients
        self._dice = random.Random(f"{clients.seed} {name}")
        self._ids = itertools.count(1)
        self._headers = dict(BASE_HEADERS)
        self._secret = ""
        self._side: set[asyncio.Task[None]] = set()

    @property
    def digest(self) -> str:
        """What the database knows the session by."""
        return hashlib.sha256(self._secret.encode()).hexdigest()

    async def open(self) -> None:
        """Open the session; before there are any faults."""
        params = {
            "protocolVersion": REVISION,
            "capabilities": {"elicitation": {}},
            "clientInfo": {"name": self.name, "version": "1"},
        }
        message = {"jsonrpc": "2.0", "id": "opening", "method": "initialize", "params": params}
        response = await self._clients.http.post(self._clients.url, json=message, headers=self._headers)
        response.raise_for_status()
        self._secret = response.headers["mcp-session-id"]
        self._headers |= {"mcp-session-id": self._secret, "mcp-protocol-version": REVISION}
        await self._tell(notification("notifications/initialized"))

    # Listening

    async def listen(self) -> None:
        """Follow the listening stream over as many connections as it takes, for ever."""
        self._clients.readers.append(self.listener)
        seen = Seen(self.listener)
        while True:
            pause = await self._attempt(seen, None, lambda message: None)
            await asyncio.sleep(pause)

    # Calling

    async def work(self) -> None:
        """Make calls of all kinds, one after the other, until :attr:`is_stopping`."""
        while not self.is_stopping:
            kind = self._dice.choices(list(CALLS), weights=[weight for _, weight in CALLS.values()])[0]
            make, _ = CALLS[kind]
            await make(self)

    async def _recite(self, padding: int = 0) -> None:
        mark = self._mark()
        n = self._dice.randint(*RECITED)
        await self._call(mark, "recite", mark=mark, n=n, delay_ms=self._dice.uniform(*DELAY_MS), padding=padding)

    async def _recite_much(self) -> None:
        await self._recite(PADDING)

    async def _announce(self) -> None:
        mark = self._mark()
        await self._call(mark, "announce", mark=mark, n=ANNOUNCED, delay_ms=self._dice.uniform(*DELAY_MS))

    async def _ask(self) -> None:
        await self._call(self._mark(), "ask")

    async def _cancel(self) -> None:
        mark = self._mark()
        enough = self._dice.randint(2, 20)
        await self._call(mark, "recite", mark=mark, n=LONG, delay_ms=self._dice.uniform(*DELAY_MS), enough=enough)

    def _mark(self) -> str:
        """Return what names a call, and nothing of any other session."""
        return f"{self.name}:{next(self._ids)}"

    async def _call(self, mark: str, tool: str, /, *, enough: int | None = None, **arguments: Any) -> None:
        """Make one call and read its stream to the end; ``enough``: cancel after so many messages."""
        reader = facts.Reader(self.name, mark)
        self._clients.readers.append(reader)
        params = {"name": tool, "arguments": arguments, "_meta": {"progressToken": mark}}
        request = {"jsonrpc": "2.0", "id": mark, "method": "tools/call", "params": params}
        seen = Seen(reader)

        def receive(message: dict[str, Any]) -> None:
            if message.get("method") == "elicitation/create":
                reader.answered = f"{mark}, once"
                self._aside(reply(message, action="accept", content={"name": reader.answered}))
            elif "method" not in message:
                reader.ended_at = time.monotonic()
            elif enough is not None and not reader.is_cancelled and len(reader.application) >= enough:
                reader.is_cancelled = True
                self._aside(notification("notifications/cancelled", requestId=mark))

        pause = await self._attempt(seen, request, receive)
        while reader.ended_at is None and seen.last_id is not None:
            await asyncio.sleep(pause)
            pause = await self._attempt(seen, None, receive)
        if seen.last_id is None:
            # Nobody knows whether it was taken, so it is not sent again.
            await asyncio.sleep(pause)

    def _aside(self, message: dict[str, Any]) -> None:
        task = asyncio.ensure_future(self._tell(message))
        self._side.add(task)
        task.add_done_callback(self._side.discard)

    async def _tell(self, message: dict[str, Any]) -> None:
        """Send a notification or a reply until somebody takes it; twice does no harm."""
        while True:
            with contextlib.suppress(httpx.TransportError):
                response = await self._clients.http.post(self._clients.url, json=message, headers=self._headers)
                if response.status_code not in BUSY:
                    if response.status_code != 202:
                        self.listener.refusals.append(f"{message} was answered with {response.status_code}")
                    return
            await asyncio.sleep(RETRY_SECONDS)

    # Reading

    async def rival(self, reader: facts.Reader, seconds: float) -> bool:
        """Resume somebody's stream as another client with the same cursor; read it for so long.

        Return whether the other one was being read when this one was let in.
        """
        last = reader.application[-1].event_id if reader.application else f"{reader.stream:x}.0"
        rival = facts.Reader(self.name, reader.request_id, is_rival=True)
        self._clients.readers.append(rival)
        let_in: list[bool] = []

        def begin() -> None:
            let_in.append(any(exchange.reader is reader for exchange in self._clients.open))

        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._attempt(Seen(rival, last), None, lambda message: None, on_begin=begin)
        return let_in == [True]

    async def _attempt(
        self,
        seen: Seen,
        request: dict[str, Any] | None,
        receive: Callable[[dict[str, Any]], None],
        *,
        on_begin: Callable[[], None] = lambda: None,
    ) -> float:
        """Open one connection and read it to its end. Return how many seconds to wait before the next one."""
        reader = seen.reader
        try:
            async with self._opened(seen, request) as response:
                if response.status_code == 204:
                    # Nothing more will come.
                    reader.ended_at = time.monotonic()
                    return RETRY_SECONDS
                if response.status_code in BUSY:
                    seconds = float(response.headers.get("retry-after", UNKNOWN_RETRY_SECONDS))
                    return _hold_up(reader, seconds, f"an answer {response.status_code}")
                if response.status_code != 200:
                    await response.aread()
                    reader.refusals.append(f"{seen.last_id}: {response.status_code} {response.text}")
                    return UNKNOWN_RETRY_SECONDS
                on_begin()
                return await self._read(seen, response, receive)
        except httpx.TransportError as error:
            return _hold_up(reader, RETRY_SECONDS, repr(error))

    @contextlib.asynccontextmanager
    async def _opened(self, seen: Seen, request: dict[str, Any] | None) -> AsyncIterator[httpx.Response]:
        cursor = {} if seen.last_id is None else {"last-event-id": seen.last_id}
        headers = {**self._headers, **cursor}
        method = "GET" if request is None else "POST"
        async with self._clients.http.stream(method, self._clients.url, headers=headers, json=request) as response:
            yield response

    async def _read(self, seen: Seen, response: httpx.Response, receive: Callable[[dict[str, Any]], None]) -> float:
        is_recovered = response.headers.get("streamable-http-recovered") != "false"
        connection = facts.Connection(seen.last_id, is_recovered)
        seen.reader.connections.append(connection)
        port = response.extensions["network_stream"].get_extra_info("client_addr")[1]
        exchange = Exchange(self, seen.reader, port)
        decoder = sse.Decoder()
        self._clients.open.append(exchange)
        try:
            async for chunk in response.aiter_raw():
                for event in decoder.decode(chunk):
                    message = seen.take(connection, event)
                    if message is not None:
                        receive(message)
        finally:
            self._clients.open.remove(exchange)
        seconds = RETRY_SECONDS if decoder.retry_ms is None else decoder.retry_ms / 1000
        return _hold_up(seen.reader, seconds, "the end of a connection")


def _hold_up(reader: facts.Reader, seconds: float, why: str) -> float:
    """Note that a client can get nothing for so long, unless it is through; return the seconds."""
    if reader.ended_at is None:
        reader.held_up_until, reader.held_up_by = time.monotonic() + seconds, why
    return seconds


CALLS: Final = {
    "recite": (Session._recite, 6),
    "recite much": (Session._recite_much, 1),
    "announce": (Session._announce, 2),
    "ask": (Session._ask, 2),
    "cancel": (Session._cancel, 2),
}
"""How each kind is made, and how often of all."""


class Clients:
    """All of them, against one proxy."""

    def __init__(self, url: str, seed: int) -> None:
        self.url = f"{url}/mcp"
        self.seed = seed
        # A connection for each request: any worker may get it.
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        self.http = httpx.AsyncClient(timeout=TIMEOUT, trust_env=False, limits=limits)
        self.sessions: list[Session] = []
        self.readers: list[facts.Reader] = []
        self.open: list[Exchange] = []
        """What is being read now."""

        self._listening: list[asyncio.Task[None]] = []
        self._working: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Open the sessions, listen, and begin to call."""
        self.sessions = [Session(f"s{number}", self) for number in range(SESSIONS)]
        for session in self.sessions:
            await session.open()
            self._listening.append(asyncio.create_task(session.listen()))
        # A listener without a cursor that is cut could not say what it has seen.
        await until(lambda: all(session.listener.stream for session in self.sessions), timeout_seconds=30)
        self._working = [
            asyncio.create_task(session.work()) for session in self.sessions for _ in range(CALLS_AT_ONCE)
        ]

    async def finish(self, *, timeout_seconds: float) -> None:
        """Make no new calls, and read those that run to their ends; what has none by then is left without."""
        for session in self.sessions:
            session.is_stopping = True
        await asyncio.wait(self._working, timeout=timeout_seconds)

    async def stop(self) -> None:
        """End, whatever it waits for."""
        for task in (*self._listening, *self._working):
            task.cancel()
        outcomes = await asyncio.gather(*self._listening, *self._working, return_exceptions=True)
        await self.http.aclose()
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome
