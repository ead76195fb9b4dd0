"""The stream of an exchange that cannot be resumed: a bounded ring in this process.

It has the log's appender's face, and is followed in the same pages. A slow reader blocks ``emit``; one that takes
nothing for ``SEND_TIMEOUT_SECONDS`` is disconnected by whoever sends.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from streamable_http import conf, exceptions
from streamable_http.delivery import appender
from streamable_http.models import StreamState
from streamable_http.stores import base

RING_EVENTS: Final = 64
RING_BYTES: Final = 1024 * 1024

_room: Final = threading.Condition()
"""Guards all rings: what it guards takes a microsecond, and a condition for each call would cost more."""


@dataclass(frozen=True, slots=True)
class Transcript:
    """What was said, for the record: the newest :data:`RING_EVENTS` messages, and how many went before them."""

    messages: list[str]
    skipped: int


OnEnd = Callable[[Transcript, StreamState, base.Ending], None]


class Ring:
    """One stream; :meth:`emit` and :meth:`end` are safe in any thread."""

    def __init__(
        self,
        *,
        session_id: int | None = None,
        request_id: str = "",
        on_failure: Callable[[exceptions.StreamableHTTPError], None] | None = None,
        on_end: OnEnd | None = None,
    ) -> None:
        """``on_end`` is told what was said and how it ended.

        ``request_id`` is JSON; ``on_failure`` is told why the stream was given up, as an appender's is.
        """
        self.session_id = session_id
        self.request_id = request_id
        self.log_level = "info"
        self.is_over = False
        self._is_abandoned = False
        self._on_failure = on_failure
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self.begun_at = self._loop.time()
        self._thread_id = threading.get_ident()
        self._events: list[base.Event] = []
        self._transcript: deque[str] = deque()
        self._transcript_size = 0
        self._skipped = 0
        self._bytes = 0
        self._head = 0
        # The reader waits for news, a writer on the event loop for room; at most one of each.
        self._news: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None

    def emit(self, payload: bytes, *, newest_wins: bool = False, ask: base.NewAsk | None = None) -> Awaitable[None]:
        """Add one message; as :meth:`~streamable_http.delivery.appender.Appender.emit`."""
        if self.is_over:
            raise exceptions.CallCancelled
        on_loop = threading.get_ident() == self._thread_id
        if self.is_full and not on_loop:
            self._wait_for_room_blocking()
        if len(self._events) >= appender.OVERRUN * RING_EVENTS or self._bytes >= appender.OVERRUN * RING_BYTES:
            raise appender.OutboxFull
        self._add(payload)
        self._announce(on_loop)
        return appender.Room(self._wait_for_room) if self.is_full and on_loop else appender.READY

    def end(self, payload: bytes | None, state: StreamState, ending: base.Ending = base.UNKNOWN_ENDING) -> None:
        """Add the final message, if there is one, and end the stream."""
        if self.is_over:
            return
        if payload is not None:
            self._add(payload)
        self.is_over = True
        with _room:
            _room.notify_all()
        self._announce(threading.get_ident() == self._thread_id)
        # Whoever works for it refers to it: together they would be a cycle.
        self._on_failure = None
        if self._on_end is not None:
            self._on_end(Transcript(list(self._transcript), self._skipped), state, ending)

    def fail(self, error: exceptions.StreamableHTTPError) -> None:
        """Give the stream up: whoever works for it is told, and it ends without an answer; on the event loop."""
        on_failure = self._on_failure
        self.end(None, StreamState.CANCELLED)
        if on_failure is not None:
            on_failure(error)

    def give_up(self) -> None:
        """Have whoever works for it end it, because it runs too long; its final message still goes in."""
        if self._on_failure is not None:
            self._on_failure(appender.CallTooLong())

    def abandon(self) -> None:
        """Note that nobody reads any more: messages go to the record alone, and nobody waits for room."""
        self._is_abandoned = True
        self._take()

    @property
    def is_full(self) -> bool:
        """Whether the next emit should wait."""
        return len(self._events) >= RING_EVENTS or self._bytes >= RING_BYTES

    async def page(self, idle_seconds: float) -> list[base.Event]:
        """Return what waits, as soon as something does; nothing after so long, or at the end."""
        if not self._events and not self.is_over:
            await self._wait_for_news(idle_seconds)
        return self._take()

    async def follow(self, *, idle_seconds: float) -> AsyncIterator[list[base.Event]]:
        """Yield lists of events until the stream has ended; an empty one after each ``idle_seconds`` of silence."""
        while True:
            is_over = self.is_over
            events = await self.page(idle_seconds)
            if is_over and not events:
                return
            yield events

    def _take(self) -> list[base.Event]:
        with _room:
            was_full = self.is_full
            events, self._events = self._events, []
            self._bytes = 0
            if was_full:
                _room.notify_all()
        if was_full:
            self._free_room()
        return events

    def _add(self, payload: bytes) -> None:
        text = payload.decode()
        if not self._is_abandoned:
            with _room:
                self._head += 1
                self._events.append(base.Event(self._head, text))
                self._bytes += len(payload)
        if self._on_end is not None:
            self._note(text)

    def _note(self, text: str) -> None:
        self._transcript.append(text)
        self._transcript_size += len(text)
        # The newest is kept, however large: it may be what the call came to.
        while len(self._transcript) > RING_EVENTS or (
            self._transcript_size > RING_BYTES and len(self._transcript) > 1
        ):
            self._transcript_size -= len(self._transcript.popleft())
            self._skipped += 1

    def _announce(self, on_loop: bool) -> None:
        if on_loop:
            self._ring()
        else:
            self._loop.call_soon_threadsafe(self._ring)

    def _ring(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)
        if self.is_over:
            self._free_room()

    def _free_room(self) -> None:
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    async def _wait_for_news(self, seconds: float) -> None:
        self._news = self._loop.create_future()
        timer = self._loop.call_later(seconds, self._ring)
        try:
            await self._news
        finally:
            timer.cancel()

    async def _wait_for_room(self) -> None:
        try:
            async with asyncio.timeout(conf.settings.EMIT_TIMEOUT_SECONDS):
                while self.is_full and not self.is_over:
                    if self._room is None or self._room.done():
                        self._room = self._loop.create_future()
                    await asyncio.shield(self._room)
        except TimeoutError:
            raise appender.OutboxFull from None

    def _wait_for_room_blocking(self) -> None:
        with _room:
            has_room = _room.wait_for(lambda: self.is_over or not self.is_full, conf.settings.EMIT_TIMEOUT_SECONDS)
        if self.is_over:
            raise exceptions.CallCancelled
        if not has_room:
            raise appender.OutboxFull
