"""The log's one writer: what waits is committed as a group, then published.

One thread per process takes all that waits, commits it in one transaction, and hands the result to the event
loop, which publishes sequences, wakes followers and resolves whoever waits. A batch costs one hop to the thread
and one back, whatever its size.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from streamable_http import conf, exceptions
from streamable_http.delivery import committer
from streamable_http.delivery.appender import Appender, OutboxFull
from streamable_http.delivery.outbox import Outbox
from streamable_http.stores import base

logger = logging.getLogger(__name__)

T = TypeVar("T")

BATCH_EVENTS: Final = 500
BATCH_BYTES: Final = 4 * 1024 * 1024
BATCH_STREAMS: Final = 500

UNOWNED_WAITING: Final = 20_000
"""Events that wait for streams without an owner; beyond it new ones are refused."""

BEHIND_WAITING: Final = 1_000
"""Exchanges that wait to be recorded behind; beyond it new ones are dropped and counted."""

BEHIND_BYTES: Final = 16 * 1024 * 1024
"""Bytes of messages that wait to be recorded behind; beyond it new ones are dropped and counted."""

BEHIND_AT_ONCE: Final = 200
"""Exchanges recorded in one batch."""

BEHIND_SECONDS: Final = 0.25
"""Time between two batches of records, so that a busy worker spends little on them."""


@dataclass(slots=True)
class _Command:
    """Something rare to do in the log's thread, so that it never contends with the log's own commits."""

    function: Callable[[], Any]
    future: asyncio.Future[Any]


@dataclass(frozen=True, slots=True)
class Recorded:
    """What is written behind of an exchange that cannot be resumed: redacted, and dropped under pressure."""

    record: base.NewRecord | None
    """Of a message that opened no stream."""

    stream: base.StreamWrite | None


@dataclass(slots=True)
class _Unowned:
    """What waits for a stream that nobody owns."""

    stream_id: int
    outbox: Outbox = field(default_factory=Outbox)
    futures: list[asyncio.Future[base.Written]] = field(default_factory=list)

    def take(self, events: int, size_bytes: int) -> committer.Item:
        """Return the next write, which resolves its events' futures."""
        payloads, size = self.outbox.take(events, size_bytes)
        futures = self.futures[: len(payloads)]
        del self.futures[: len(payloads)]
        write = base.StreamWrite(stream_id=self.stream_id, epoch=None, payloads=payloads, stored_bytes=size)
        return committer.Item(write, functools.partial(_resolve_all, futures))


@dataclass(slots=True)
class _Batch:
    items: list[committer.Item] = field(default_factory=list)
    records: list[base.NewRecord] = field(default_factory=list)
    commands: list[_Command] = field(default_factory=list)
    events_left: int = BATCH_EVENTS
    bytes_left: int = BATCH_BYTES

    def has_room_for(self, source: Appender | Outbox) -> bool:
        # A single event may be larger than a batch; then it has one for itself.
        has_bytes = not self.items or source.fits(self.bytes_left)
        return has_bytes and self.events_left > 0 and len(self.items) < BATCH_STREAMS

    def add(self, item: committer.Item) -> None:
        self.items.append(item)
        self.events_left -= len(item.write.payloads)
        self.bytes_left -= item.write.stored_bytes

    def __bool__(self) -> bool:
        return bool(self.items or self.records or self.commands)


class Log:
    """The writer. Made on the event loop that it publishes to."""

    def __init__(
        self,
        store: base.Store,
        *,
        publish: Callable[[base.StreamWrite, base.Written], None],
        has_lease: Callable[[], bool],
        must_not_wait: Callable[[], bool],
        on_thread_end: Callable[[], None],
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.thread_id = threading.get_ident()
        self.lock = threading.Lock()
        self.must_not_wait = must_not_wait
        self._committer = committer.Committer(
            store, post=self._post, has_lease=has_lease, take_openings=self._take_openings
        )
        self._publish = publish
        self._on_thread_end = on_thread_end
        self._room = threading.Condition()
        # What the thread takes with its next batch, and what the event loop holds back until the end of its turn.
        self._queued: list[Appender] = []
        self._staged: list[Appender] = []
        self._commands: list[_Command] = []
        self._staged_commands: list[_Command] = []
        self._unowned: dict[int, _Unowned] = {}
        self._unowned_waiting = 0
        self._behind: list[tuple[int, Callable[[], Recorded]]] = []
        self._behind_bytes = 0
        self._behind_timer: asyncio.TimerHandle | None = None
        self._is_behind_due = False
        self._dropped = 0
        self._wake = threading.Event()
        self._is_kicked = False
        self._is_stopping = False
        self._thread = threading.Thread(target=self._work, name="streamable-http-log", daemon=True)
        self._thread.start()

    @property
    def dropped_records(self) -> int:
        """Records that were not written, under pressure or because they could not be."""
        return self._dropped + self._committer.dropped_records

    # Ways in

    def queue(self, appender: Appender) -> None:
        """Have an appender taken with the next batch; called under the lock.

        What the event loop queues is held back until the end of its turn, also when the thread is awake: what one
        turn emits to a stream then makes one write.
        """
        on_loop = threading.get_ident() == self.thread_id
        (self._staged if on_loop else self._queued).append(appender)

    def append(self, stream_id: int, payload: bytes) -> asyncio.Future[base.Written]:
        """Append to a stream that has no owner, such as a listening stream; on the event loop.

        The future raises :class:`~exceptions.StreamLost` where the stream is over, and
        :class:`~streamable_http.delivery.appender.OutboxFull` where too much waits already.
        """
        future: asyncio.Future[base.Written] = self.loop.create_future()
        with self.lock:
            if self._unowned_waiting >= UNOWNED_WAITING:
                future.set_exception(OutboxFull())
                return future
            self._unowned_waiting += 1
            unowned = self._unowned.setdefault(stream_id, _Unowned(stream_id))
            unowned.outbox.add(payload.decode(), len(payload))
            unowned.futures.append(future)
        self.kick()
        return future

    def record(self, make: Callable[[], Recorded], size_bytes: int) -> None:
        """Record an exchange behind, with others, when there is time; on the event loop.

        ``make`` redacts and runs in the log's thread, so that what is dropped costs nothing. It holds ``size_bytes``
        of messages until then.
        """
        with self.lock:
            if len(self._behind) >= BEHIND_WAITING or self._behind_bytes + size_bytes > BEHIND_BYTES:
                self._dropped += 1
                return
            self._behind.append((size_bytes, make))
            self._behind_bytes += size_bytes
        if self._behind_timer is None:
            self._behind_timer = self.loop.call_later(BEHIND_SECONDS, self._wake_behind)

    async def record_now(self) -> None:
        """Have what was recorded so far committed at once, and wait for it."""
        while self._behind:
            self._is_behind_due = True
            await self.run(_nothing)
        # What was taken before is committed with the batch that this goes behind.
        await self.run(_nothing)

    def run(self, function: Callable[..., T], *arguments: Any) -> asyncio.Future[T]:
        """Run something of the store in the log's thread, behind the next batch; on the event loop."""
        future: asyncio.Future[T] = self.loop.create_future()
        self._staged_commands.append(_Command(functools.partial(function, *arguments), future))
        self.kick()
        return future

    def kick(self) -> None:
        """Have the thread look, at the end of this turn of the event loop, so that one turn makes one batch."""
        if threading.get_ident() != self.thread_id:
            self._wake.set()
        elif not self._is_kicked:
            self._is_kicked = True
            self.loop.call_soon(self._release)

    def require_up(self) -> None:
        """Refuse new calls while the store does not answer.

        Raises:
            Unavailable: it has not for :data:`~streamable_http.delivery.committer.DOWN_SECONDS`.
        """
        if self._committer.is_down():
            raise exceptions.Unavailable(committer.UNAVAILABLE)

    def wait_for_room(self, appender: Appender) -> None:
        """Block a tool's thread until its outbox has room.

        Raises:
            OutboxFull: it had none for ``EMIT_TIMEOUT_SECONDS``.
            CallCancelled: the stream ended meanwhile.
        """
        with self._room:
            has_room = self._room.wait_for(
                lambda: appender.is_over or not appender.is_full, conf.settings.EMIT_TIMEOUT_SECONDS
            )
        if appender.is_over:
            raise exceptions.CallCancelled
        if not has_room:
            raise OutboxFull

    def announce_room(self) -> None:
        """Tell the threads that wait for room to look again."""
        with self._room:
            self._room.notify_all()

    async def stop(self) -> None:
        """Commit what waits, then end the thread."""
        if self._behind_timer is not None:
            self._behind_timer.cancel()
        self._is_behind_due = True
        self._is_stopping = True
        self._release()
        await self.loop.run_in_executor(None, self._thread.join)

    def abandon(self) -> None:
        """End the thread when it has committed what waits; the event loop is over, so nobody is told."""
        self._is_stopping = True
        self._wake.set()

    # On the event loop

    def _release(self) -> None:
        self._is_kicked = False
        with self.lock:
            self._queued += self._staged
            self._staged = []
            self._commands += self._staged_commands
            self._staged_commands = []
        self._wake.set()

    def _wake_behind(self) -> None:
        self._behind_timer = self.loop.call_later(BEHIND_SECONDS, self._wake_behind) if self._behind else None
        self._is_behind_due = True
        self._wake.set()

    def _settle(self, items: Sequence[committer.Item], outcomes: Sequence[base.Outcome]) -> None:
        for item, outcome in zip(items, outcomes, strict=True):
            if isinstance(outcome, base.Written):
                self._publish(item.write, outcome)
            item.settle(item.write, outcome)

    # In the thread

    def _work(self) -> None:
        try:
            while True:
                self._wake.wait(self._committer.next_look_seconds)
                self._wake.clear()
                while batch := self._take():
                    self._process(batch)
                self._committer.probe()
                if self._is_stopping:
                    return
        finally:
            self._on_thread_end()

    def _process(self, batch: _Batch) -> None:
        if batch.items or batch.records:
            self._committer.commit(batch.items, batch.records)
        for command in batch.commands:
            self._run(command)

    def _post(self, items: Sequence[committer.Item], outcomes: Sequence[base.Outcome]) -> None:
        if items:
            self._call_on_loop(self._settle, items, outcomes)

    def _call_on_loop(self, function: Callable[..., object], *arguments: Any) -> None:
        try:
            self.loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:
            if not self.loop.is_closed():
                raise

    def _take(self) -> _Batch:
        batch = _Batch()
        with self.lock:
            self._take_owned(batch)
            self._take_unowned(batch)
            batch.commands, self._commands = self._commands, []
        self._take_behind(batch)
        return batch

    def _take_owned(self, batch: _Batch) -> None:
        queued, self._queued = self._queued, []
        for appender in queued:
            if not batch.has_room_for(appender):
                self._queued.append(appender)
                continue
            batch.add(committer.Item(appender.take(batch.events_left, batch.bytes_left), appender.settle))
            if appender.is_queued:
                self._queued.append(appender)

    def _take_openings(self) -> list[committer.Item]:
        """Take the calls that wait behind the batch at hand, and have not begun."""
        with self.lock:
            openings = [appender for appender in self._queued if not appender.has_begun]
            self._queued = [appender for appender in self._queued if appender.has_begun]
            return [committer.Item(opening.take(BATCH_EVENTS, BATCH_BYTES), opening.settle) for opening in openings]

    def _take_unowned(self, batch: _Batch) -> None:
        for unowned in list(self._unowned.values()):
            if not batch.has_room_for(unowned.outbox):
                return
            item = unowned.take(batch.events_left, batch.bytes_left)
            batch.add(item)
            self._unowned_waiting -= len(item.write.payloads)
            if not unowned.outbox:
                del self._unowned[unowned.stream_id]

    def _take_behind(self, batch: _Batch) -> None:
        if not self._is_behind_due:
            return
        self._is_behind_due = self._is_stopping
        with self.lock:
            taken = self._behind[:BEHIND_AT_ONCE]
            del self._behind[:BEHIND_AT_ONCE]
            self._behind_bytes -= sum(size_bytes for size_bytes, _ in taken)
        for recorded in filter(None, (self._make(make) for _, make in taken)):
            if recorded.record is not None:
                batch.records.append(recorded.record)
            if recorded.stream is not None:
                batch.items.append(committer.Item(recorded.stream, _ignore))

    def _make(self, make: Callable[[], Recorded]) -> Recorded | None:
        try:
            return make()
        except Exception:
            logger.exception("an exchange could not be recorded")
            self._dropped += 1
            return None

    def _run(self, command: _Command) -> None:
        if command.future.cancelled():
            # Whoever wanted it has given up waiting.
            return
        try:
            outcome = command.function()
        except Exception as error:
            outcome = error
        self._call_on_loop(_resolve, command.future, outcome)


def _resolve_all(futures: list[asyncio.Future[Any]], write: base.StreamWrite, outcome: base.Outcome) -> None:
    for future in futures:
        _resolve(future, outcome)


def _resolve(future: asyncio.Future[Any], outcome: Any) -> None:
    if future.done():
        return
    if isinstance(outcome, Exception):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)


def _nothing() -> None:
    """Do nothing, behind what is committed before it."""


def _ignore(write: base.StreamWrite, outcome: base.Outcome) -> None:
    """Nobody waits for what is written behind."""
