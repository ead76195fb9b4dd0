"""A stream that this process writes: its outbox, and what became of it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, Final, Protocol, Self

from streamable_http import conf, exceptions, ids
from streamable_http.delivery.outbox import Outbox
from streamable_http.models import StreamState
from streamable_http.stores import base

OVERRUN: Final = 4
"""A call that does not wait for room may overrun its outbox by this factor before it fails."""


class OutboxFull(exceptions.ToolError):
    """A call emits faster than its events are committed, and did not wait, or waited too long."""

    def __str__(self) -> str:
        return "the outbox of this call is full; await what report_progress() and log() return"


class StreamFull(exceptions.ToolError):
    """A call emitted more than ``MAX_STREAM_BYTES``."""

    def __str__(self) -> str:
        return "this call has emitted more bytes than its stream may hold"


class CallTooLong(exceptions.StreamableHTTPError):
    """A call ran for longer than ``MAX_STREAM_SECONDS``."""

    def __str__(self) -> str:
        return "the call ran for longer than it may"


class WorkerStopped(exceptions.StreamableHTTPError):
    """The worker ends, and a call of it had not ended by then."""

    def __str__(self) -> str:
        return "the worker that ran this call was stopped"


def do_nothing(error: exceptions.StreamableHTTPError) -> None:
    """Be told that a stream failed for which nobody works."""


class _Ready:
    """Awaiting it returns at once; one object serves every emit that need not wait."""

    def __await__(self) -> Generator[Any, None, None]:
        yield from ()


READY: Final = _Ready()


class Room:
    """Awaiting it waits for room; not awaiting it is fine, too."""

    __slots__ = ("_wait",)

    def __init__(self, wait: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._wait = wait

    def __await__(self) -> Generator[Any, None, None]:
        return self._wait().__await__()


class Writer(Protocol):
    """What an appender needs of the log."""

    loop: asyncio.AbstractEventLoop
    thread_id: int
    """Of the event loop."""

    lock: threading.Lock
    """Guards the outboxes."""

    must_not_wait: Callable[[], bool]
    """Whether this thread is in a transaction that a commit could be waiting for."""

    def queue(self, appender: Appender) -> None:
        """Have an appender taken with the next batch; called under the lock."""

    def kick(self) -> None:
        """Have the writing thread look."""

    def wait_for_room(self, appender: Appender) -> None:
        """Block a tool's thread until its outbox has room."""

    def announce_room(self) -> None:
        """Tell the threads that wait for room to look again."""


class Appender:
    """A stream that this process writes: what waits for its commit, and how it stands.

    :meth:`emit` and :meth:`end` are safe in any thread; everything else belongs to the event loop.
    """

    def __init__(
        self,
        log: Writer,
        stream_id: int,
        opening: base.Opening | None,
        *,
        on_opened: Callable[[], None] | None = None,
        on_failure: Callable[[exceptions.StreamableHTTPError], None],
    ) -> None:
        """Both callbacks run on the event loop, also when nobody awaits :attr:`opened` any more."""
        self.id = stream_id
        self.session_id = opening.session_id if opening is not None else None
        self.follower = opening.follower if opening is not None else None
        self.epoch = 1
        self.begun_at = log.loop.time()
        self.log_level = "info"
        self.is_over = False
        """Whether the stream has ended, by us or by others."""

        self.opened: asyncio.Future[None] = log.loop.create_future()
        """Done with the opening commit; raises what the store refused it with."""

        self._log = log
        self._opening = opening
        self._on_opened = on_opened
        self._on_failure = on_failure
        self._outbox = Outbox()
        self._asks: list[base.NewAsk] = []
        self._end = StreamState.OPEN
        self._ending = base.UNKNOWN_ENDING
        # What waits for its commit, including what is being committed.
        self._waiting_events = 0
        self._waiting_bytes = 0
        self._newest: int | None = None
        self._is_queued = False
        self._is_opening = False
        self._is_exhausted = False
        self._limit_events = conf.settings.OUTBOX_EVENTS
        self._limit_bytes = conf.settings.OUTBOX_BYTES
        self._room: asyncio.Future[None] | None = None

    @classmethod
    def of_orphan(
        cls, log: Writer, orphan: base.Orphan, *, on_failure: Callable[[exceptions.StreamableHTTPError], None]
    ) -> Self:
        """Return a stream that goes on where a dead worker's ended; it was opened long since."""
        stream = cls(log, orphan.stream_id, None, on_failure=on_failure)
        stream.session_id = orphan.session.id
        stream.epoch = orphan.epoch
        stream.log_level = orphan.log_level
        stream.opened.set_result(None)
        return stream

    # Writing, in any thread

    def emit(self, payload: bytes, *, newest_wins: bool = False, ask: base.NewAsk | None = None) -> Awaitable[None]:
        """Put one message into the outbox.

        On the event loop it returns at once; awaiting what it returns waits for room. In another thread it waits
        itself, except inside ``atomic()``, where the commit could be waiting for that very transaction: there
        progress that finds no room replaces the progress before it (``newest_wins``).

        Raises:
            CallCancelled: the stream is over.
            OutboxFull: there was no room for too long.
            StreamFull: over ``MAX_STREAM_BYTES``.
        """
        is_full = self._put(payload.decode(), len(payload), newest_wins, ask)
        if not is_full:
            return READY
        if threading.get_ident() == self._log.thread_id:
            return Room(self._wait_for_room)
        if not self._log.must_not_wait():
            self._log.wait_for_room(self)
        return READY

    def end(self, payload: bytes | None, state: StreamState, ending: base.Ending = base.UNKNOWN_ENDING) -> None:
        """Add the final event, if there is one, and end the stream. The final event always has room."""
        with self._log.lock:
            if self.is_over:
                return
            self.is_over = True
            self._end = state
            self._ending = ending
            if payload is not None:
                self._add(payload.decode(), len(payload))
            self._queue()
        self._log.kick()

    def open(self) -> None:
        """Ask for the opening commit."""
        with self._log.lock:
            self._queue()
        self._log.kick()

    def _put(self, payload: str, size: int, newest_wins: bool, ask: base.NewAsk | None) -> bool:
        log = self._log
        with log.lock:
            if self.is_over:
                raise exceptions.CallCancelled
            if self._is_exhausted:
                raise StreamFull
            is_full = self.is_full
            if is_full and newest_wins and self._newest is not None and log.must_not_wait():
                self._replace(payload, size)
                return True
            self._require_bound(size)
            self._add(payload, size)
            self._newest = len(self._outbox) - 1 if newest_wins else None
            if ask is not None:
                self._asks.append(ask)
            self._queue()
        log.kick()
        return is_full

    @property
    def is_full(self) -> bool:
        """Whether the next emit should wait."""
        return self._waiting_events >= self._limit_events or self._waiting_bytes >= self._limit_bytes

    def _require_bound(self, size: int) -> None:
        if self._waiting_bytes + size > OVERRUN * self._limit_bytes:
            raise OutboxFull
        if self._waiting_events >= OVERRUN * self._limit_events and not self._log.must_not_wait():
            raise OutboxFull

    def _add(self, payload: str, size: int) -> None:
        self._outbox.add(payload, size)
        self._waiting_events += 1
        self._waiting_bytes += size

    def _replace(self, payload: str, size: int) -> None:
        assert self._newest is not None
        self._waiting_bytes += self._outbox.replace(self._newest, payload, size)

    def _queue(self) -> None:
        """Have the log take this stream with its next batch; once, however much there is to take."""
        if not self._is_queued and not self._is_opening:
            self._is_queued = True
            self._log.queue(self)

    # In the log's thread, under its lock

    def fits(self, size_bytes: int) -> bool:
        """Tell whether a write of so many bytes could take something."""
        return self._outbox.fits(size_bytes)

    def take(self, events: int, size_bytes: int) -> base.StreamWrite:
        """Return the next write of this stream, of at most so many events and bytes.

        Behind an opening nothing is taken until it is settled: under another id if this one was taken.
        """
        payloads, size = self._outbox.take(events, size_bytes)
        self._newest = None
        self._is_opening = self._opening is not None
        self._is_queued = bool(self._outbox) and not self._is_opening
        asks, self._asks = self._asks, []
        opening, self._opening = self._opening, None
        ends = not self._outbox
        return base.StreamWrite(
            stream_id=self.id,
            epoch=self.epoch,
            opening=opening,
            payloads=payloads,
            stored_bytes=size,
            asks=asks,
            end=self._end if ends else StreamState.OPEN,
            ending=self._ending if ends else base.UNKNOWN_ENDING,
        )

    @property
    def has_begun(self) -> bool:
        """Whether its opening has been taken, so that it may be committed by now."""
        return self._opening is None

    @property
    def is_queued(self) -> bool:
        """Whether something is left in the outbox after :meth:`take`."""
        return self._is_queued

    # On the event loop

    def settle(self, write: base.StreamWrite, outcome: base.Outcome) -> None:
        """Take what became of a write."""
        with self._log.lock:
            self._waiting_events -= len(write.payloads)
            self._waiting_bytes -= write.stored_bytes
            self._is_opening = False
        if isinstance(outcome, base.Written):
            self._is_exhausted = outcome.stored_bytes > conf.settings.MAX_STREAM_BYTES
            if write.opening is not None:
                self.log_level = outcome.log_level or self.log_level
                self._note_opened()
                self._go_on(write)
            self._free_room()
            if write.end != StreamState.OPEN:
                # Nothing can fail any more. Whoever works for it refers to it: together they would be a cycle.
                self._on_failure = do_nothing
        elif isinstance(outcome, base.StreamIdTaken):
            self._redraw(write)
        else:
            self.fail(outcome)

    def fail(self, error: exceptions.StreamableHTTPError) -> None:
        """Give the stream up: nothing more of it is written, and whoever works for it is told."""
        with self._log.lock:
            self._outbox.clear()
            self._waiting_events = self._waiting_bytes = 0
            self.is_over = True
        if not self.opened.done():
            self.opened.set_exception(error)
            self.opened.exception()  # it is also raised where it is awaited; nobody may be there
        self._free_room()
        self._on_failure(error)

    def give_up(self) -> None:
        """Have whoever works for it end it, because it runs too long; its final event still goes in."""
        self._on_failure(CallTooLong())

    def _go_on(self, write: base.StreamWrite) -> None:
        """Queue what came while the opening was being committed."""
        has_ended_since = self._end != StreamState.OPEN and write.end == StreamState.OPEN
        with self._log.lock:
            if not self._outbox and not has_ended_since:
                return
            self._queue()
        self._log.kick()

    def _note_opened(self) -> None:
        if not self.opened.done():
            self.opened.set_result(None)
        on_opened, self._on_opened = self._on_opened, None
        if on_opened is not None:
            on_opened()

    def reopen(self) -> None:
        """Let a rejected stream, whose row is still ours, take its final event."""
        self.is_over = False

    def _redraw(self, write: base.StreamWrite) -> None:
        """Try the opening again under another id; nobody has seen the first."""
        with self._log.lock:
            self.id = ids.new()
            self._opening = write.opening
            self._outbox.put_back(write.payloads, write.stored_bytes)
            self._newest = None
            self._asks[:0] = write.asks
            self._waiting_events += len(write.payloads)
            self._waiting_bytes += write.stored_bytes
            self._queue()
        self._log.kick()

    async def _wait_for_room(self) -> None:
        try:
            async with asyncio.timeout(conf.settings.EMIT_TIMEOUT_SECONDS):
                while self.is_full and not self.is_over:
                    if self._room is None:
                        self._room = self._log.loop.create_future()
                    await asyncio.shield(self._room)
        except TimeoutError:
            raise OutboxFull from None
        if self.is_over:
            raise exceptions.CallCancelled

    def _free_room(self) -> None:
        room, self._room = self._room, None
        if room is not None and not room.done():
            room.set_result(None)
        self._log.announce_room()
