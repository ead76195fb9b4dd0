"""What one process has one of: its store, log, lease, poller and wake-ups.

Made lazily on the serving loop, after the server has forked, and keyed by process: an engine of a parent process
is never used by its child.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator
from typing import Any, Final, TypeVar

from django.db import connections
from django.dispatch import Signal

from streamable_http import conf, exceptions, signals
from streamable_http.delivery import (
    appender,
    asks,
    committer,
    follow,
    log,
    metrics,
    poller,
    ring,
    shutdown,
    threads,
    workers,
)
from streamable_http.delivery.wakeups import base as wakeups
from streamable_http.models import SessionState
from streamable_http.stores import base

logger = logging.getLogger(__name__)

T = TypeVar("T")

Sink = appender.Appender | ring.Ring
"""Where a call's messages go: the log, or a ring."""

GiveUp = Callable[[exceptions.StreamableHTTPError], None]
"""Stops a call, and ends it for its client."""

Rerun = Callable[["Engine", base.Orphan], Coroutine[Any, Any, None]]
"""Runs a call again, or ends it as lost; it does one of both whatever happens."""

READER_THREADS: Final = 4
"""Threads, and so database connections, that read the log."""

COMMAND_SECONDS: Final = 10.0
"""How long a request waits for the store."""

LEVELS: Final = 10_000
"""Sessions whose log level is remembered, where it is not the usual one."""

MAX_ANNOUNCED: Final = 5_000
"""Signals whose receivers have not finished; beyond it new ones are dropped and counted."""

DROPS_TOLD_SECONDS: Final = 60.0
"""That signals are dropped is logged at most this often."""

MAX_SHOWN_CHARACTERS: Final = 128

FLUSH_SECONDS: Final = 5.0
"""How long the end of a worker waits for a store that does not answer."""

TOUCH_SECONDS: Final = 15.0
"""A session's last use is written at most this often.

With the time between two flushes it stays well below :data:`~streamable_http.stores.base.GIVE_WAY_SECONDS`, so that a
session in use never looks idle to another worker.
"""


class Engine:
    """The engine of one event loop in one process; :func:`current` makes it."""

    def __init__(self) -> None:
        conf.require_known()
        self.pid = os.getpid()
        self.loop = asyncio.get_running_loop()
        self.store = store()
        self.wakeups: wakeups.Wakeups = conf.build(conf.settings.WAKEUPS)
        self.lease = workers.Lease(
            self.store,
            on_lost=self._lose_everything,
            on_thread_end=threads.close_connections,
            dropped_records=lambda: self.log.dropped_records,
        )
        self.log = log.Log(
            self.store,
            publish=self._publish,
            has_lease=self.lease.is_safe,
            must_not_wait=is_in_transaction,
            on_thread_end=threads.close_connections,
        )
        self.follows = follow.Follows(read=self._read_page, listener=self.wakeups, require_lease=self.lease.require)
        self.asks = asks.Asks(self.wakeups)
        self.running: set[Sink] = set()
        self.tasks: set[asyncio.Task[Any]] = set()
        self._telling: set[asyncio.Task[None]] = set()
        self.reruns: dict[str, Rerun] = {}
        """How calls run again, by the name of their server; an endpoint adds its own."""

        self._readers = threads.Pool(READER_THREADS, "streamable-http-read")
        self._tools = threads.Pool(conf.settings.TOOL_THREADS, "streamable-http-tool")
        self._blocked_threads = 0
        self._announced: set[asyncio.Task[Any]] = set()
        self._drops_told_at = float("-inf")
        self.dropped_signals = 0
        self._log_levels: dict[int, str] = {}
        self._touched_at: dict[int, float] = {}
        self._touched: set[int] = set()
        self._background: list[asyncio.Task[None]] = []
        self._started: asyncio.Task[None] | None = None
        self.is_started = False
        self.is_draining = False
        """Whether the worker is about to end, so that nothing begins here any more."""

        self._draining: asyncio.Task[None] | None = None
        self._calls: dict[asyncio.Task[Any], GiveUp] = {}
        self._signals = shutdown.Signals(self.drain)

    async def start(self) -> None:
        """Register the worker and begin to poll, once.

        Raises:
            StoreUnavailable: the store did not answer; the next caller tries again.
        """
        starting = self._started
        if starting is None:
            starting = self._started = self.loop.create_task(self._start())
        try:
            await asyncio.shield(starting)
            self.is_started = True
        except exceptions.StoreError:
            # Unless somebody tries again already.
            if self._started is starting:
                self._started = None
            raise

    async def _start(self) -> None:
        await self.read(self.lease.register)
        self.lease.start()
        await self.wakeups.start(self.loop, self._deliver)
        watcher = poller.Poller(self)
        work = (watcher.poll(), watcher.keep_house(), watcher.prune(), watcher.mind_connections())
        self._background = [self.loop.create_task(coroutine) for coroutine in work]
        self._signals.install()
        metrics.watch(self)

    def drain(self) -> asyncio.Task[None]:
        """Begin nothing any more, and let what runs come to its end; on the event loop.

        Connections that listen are closed, so that their clients go on at another worker. Calls that still run after
        ``GRACE_SECONDS`` end with an error. The task that is returned is done when all this is committed and the
        lease given back; cancelled, it grants no more time and does the rest.
        """
        if self._draining is None:
            self.is_draining = True
            self._draining = self.loop.create_task(self._drain())
        return self._draining

    async def _drain(self) -> None:
        logger.info("this worker ends; %d calls run", len(self._calls))
        for stream_id in self.follows:
            followed = self.follows.get(stream_id)
            if followed is not None and not self.keeps_open(stream_id, followed.follower):
                self.follows.close(stream_id)
        # The event loop ends before its time: then they end now.
        with contextlib.suppress(asyncio.CancelledError, TimeoutError):
            async with asyncio.timeout(conf.settings.GRACE_SECONDS):
                await self._wait_for_calls()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FLUSH_SECONDS):
                self._stop_calls()
                await self._flush()
                # And those whose opening was being committed.
                self._stop_calls()
                await self._flush()
                if self.is_started:
                    await self.loop.run_in_executor(None, self.lease.stop)

    async def _wait_for_calls(self) -> None:
        # Behind the openings that are being committed, whose calls begin then.
        await self._flush()
        while self._calls:
            await asyncio.wait(self._calls)
            await self._flush()

    async def _flush(self) -> None:
        """Wait until what was given to the log so far is committed."""
        await self.log.run(_nothing)

    def _stop_calls(self) -> None:
        for give_up in list(self._calls.values()):
            give_up(appender.WorkerStopped())

    @property
    def is_ending(self) -> bool:
        """Whether the event loop ends, which cancels all its tasks."""
        return any(task.cancelling() for task in self._background)

    def keeps_open(self, stream_id: int, follower: int | None) -> bool:
        """Tell whether a connection stays open while the worker drains: its call has been taken, or runs, here.

        A call's own connection, which goes by the stream's id, SHOULD NOT be closed before the response (2025-06-18,
        Sending Messages); every other one may be closed at any time.
        """
        return follower == stream_id or any(written.id == stream_id for written in self.written)

    async def stop(self) -> None:
        """End everything of this engine; what waits is committed first.

        For calls there is no time left: see :meth:`drain`.
        """
        self._signals.uninstall()
        await asyncio.gather(*self._telling, return_exceptions=True)
        self._stop_calls()
        if self._draining is not None:
            self._draining.cancel()
            await asyncio.gather(self._draining, return_exceptions=True)
        for task in (*self._background, *self.tasks):
            task.cancel()
        await asyncio.gather(*self._background, *self.tasks, return_exceptions=True)
        with contextlib.suppress(exceptions.StoreError, exceptions.Unavailable):
            await self.flush_touches()
        await self.wakeups.stop()
        await self.log.stop()
        if self._started is not None:
            await self.loop.run_in_executor(None, self.lease.stop)
        for pool in (self._readers, self._tools):
            await pool.stop()

    def abandon(self) -> None:
        """End the threads of an engine whose event loop is over, so that nothing can be awaited there."""
        self._signals.uninstall()
        self.lease.abandon()
        self.log.abandon()
        self._readers.abandon()
        self._tools.abandon()

    @property
    def written(self) -> list[appender.Appender]:
        """The streams of the log that calls of this process write."""
        return [sink for sink in self.running if isinstance(sink, appender.Appender)]

    @property
    def rings(self) -> list[ring.Ring]:
        """The streams of calls of this process that cannot be resumed, so that nobody else knows of them."""
        return [sink for sink in self.running if isinstance(sink, ring.Ring)]

    # Doing things in threads

    async def read(self, function: Callable[..., T], *arguments: Any) -> T:
        """Run something of the store in a reader thread; once more if its connection had broken meanwhile.

        Raises:
            StoreUnavailable: the store does not answer.
        """
        try:
            async with asyncio.timeout(COMMAND_SECONDS):
                return await self._readers.run(_with_fresh_connection, function, *arguments)
        except TimeoutError:
            raise exceptions.StoreUnavailable(committer.UNAVAILABLE) from None

    async def run_tool(self, function: Callable[[], T]) -> T:
        """Run a tool that is a plain function in the tools' pool, with Django's connection handling around it."""
        return await self._tools.run(_with_connections, function)

    @contextlib.contextmanager
    def blocked_thread(self) -> Iterator[None]:
        """Count a tool's thread that waits for a client; on the event loop.

        Raises:
            AskRefused: so many wait already that tools which ask nothing would hardly get a thread.
        """
        if self._blocked_threads >= conf.settings.TOOL_THREADS * 3 // 4:
            raise exceptions.AskRefused("too many sync tools wait for their clients; an async tool needs no thread")
        self._blocked_threads += 1
        try:
            yield
        finally:
            self._blocked_threads -= 1

    def spawn(self, work: Any) -> asyncio.Task[Any]:
        """Run a coroutine as a task of the engine, which outlives its connection."""
        task = self.loop.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    def hold(self, task: asyncio.Task[Any], sink: Sink, give_up: GiveUp) -> None:
        """Keep a call's task, which nobody else holds, and watch its stream; until :meth:`let_go`."""
        self.tasks.add(task)
        self.running.add(sink)
        self._calls[task] = give_up

    def let_go(self, task: asyncio.Task[Any], sink: Sink) -> bool:
        """Forget a call that has ended; whether it was held until now."""
        was_held = sink in self.running
        self.tasks.discard(task)
        self.running.discard(sink)
        self._calls.pop(task, None)
        return was_held

    def write_behind(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Run something of the store in the log's thread, some time, and wait for nothing."""
        self.log.run(function, *arguments).add_done_callback(_drop_outcome)

    async def command(self, function: Callable[..., T], *arguments: Any) -> T:
        """Run something of the store in the log's thread for a request, which waits for it only so long.

        Raises:
            Unavailable: the store does not answer.
        """
        self.log.require_up()
        try:
            async with asyncio.timeout(COMMAND_SECONDS):
                return await self.log.run(function, *arguments)
        except TimeoutError:
            raise exceptions.Unavailable(committer.UNAVAILABLE) from None

    def announce(self, signal: Signal, **facts: Any) -> None:
        """Send one of :mod:`~streamable_http.signals` beside what goes on; on the event loop.

        It is dropped while the receivers are :data:`MAX_ANNOUNCED` behind.
        """
        if not signal.receivers:
            return
        if len(self._announced) >= MAX_ANNOUNCED:
            self._drop_signal()
            return
        task = self.spawn(signal.asend_robust(sender=self.__class__, **facts))
        self._announced.add(task)
        task.add_done_callback(self._announced.discard)

    def _drop_signal(self) -> None:
        self.dropped_signals += 1
        now = time.monotonic()
        if now - self._drops_told_at >= DROPS_TOLD_SECONDS:
            self._drops_told_at = now
            logger.warning(
                "signals are dropped, since their receivers are %d behind; %d until now",
                MAX_ANNOUNCED,
                self.dropped_signals,
            )

    # News

    def notify(self, server: str, topic: str, payload: str, is_for_all: bool) -> None:
        """Append a notification to the listening streams of a server's sessions; on the event loop."""
        telling = self.spawn(self._notify(server, topic, payload, is_for_all))
        self._telling.add(telling)
        telling.add_done_callback(self._telling.discard)

    async def _notify(self, server: str, topic: str, payload: str, is_for_all: bool) -> None:
        audience = functools.partial(self.store.audience, server, topic, is_for_all=is_for_all)
        notify = functools.partial(self.store.notify, topic=topic, payload=payload, is_for_all=is_for_all)
        try:
            for session_ids in await self.read(audience):
                # A command for each group, so that the calls' own commits get in between.
                for stream_id in await self.log.run(notify, session_ids):
                    self.wake_stream(stream_id)
        except exceptions.StoreError:
            logger.exception("a notification about %s was lost", topic[:MAX_SHOWN_CHARACTERS])

    def append(self, stream_id: int, payload: bytes) -> None:
        """Append to a stream without an owner; safe in any thread. Whether it went in is not told."""
        if threading.get_ident() == self.log.thread_id:
            self.log.append(stream_id, payload).add_done_callback(_drop_outcome)
        else:
            self.loop.call_soon_threadsafe(self.append, stream_id, payload)

    def end_stream(self, stream_id: int) -> None:
        """Stop what runs for a stream that the store has ended, and tell its followers, here and elsewhere."""
        for running in [running for running in self.written if running.id == stream_id]:
            running.fail(exceptions.CallCancelled())
        # With the listening stream, which has the session's id, the session is over.
        for unlogged in [unlogged for unlogged in self.rings if unlogged.session_id == stream_id]:
            unlogged.fail(exceptions.CallCancelled())
        self.wake_stream(stream_id)

    def end_expired(self, stream_ids: Iterable[int]) -> None:
        """Stop what runs for sessions that the store has expired, and tell of them.

        They had no open calls, so what ended is their listening streams, which have their ids.
        """
        for stream_id in stream_ids:
            self.end_stream(stream_id)
            self.note_session_ended(stream_id, SessionState.EXPIRED)

    def note_session_ended(self, session_id: int, state: SessionState) -> None:
        """Tell that a session is over."""
        self.announce(signals.session_ended, session_id=session_id, state=state.value)
        instruments = metrics.instruments()
        if instruments is not None:
            instruments.note_session_ended(session_id, state)

    async def rerun_orphans(self, limit: int) -> None:
        """Run up to ``limit`` calls of dead workers again whose servers are served here, as far as there is room."""
        room = min(limit, conf.settings.MAX_CALLS - len(self.running))
        if not self.reruns or room <= 0 or self.is_draining:
            return
        servers = list(self.reruns)
        for orphan in await self.log.run(self.store.take_orphans, self.lease.worker_id, servers, room):
            self.spawn(self.reruns[orphan.session.server](self, orphan))

    def note_lost(self, stream_id: int) -> None:
        """Tell that a stream ends because its worker was lost."""
        logger.warning("ended the stream %x, whose worker was lost", stream_id)
        self.announce(signals.stream_lost, stream_id=stream_id)

    def wake_stream(self, stream_id: int) -> None:
        """Hint at all workers that a stream has news."""
        self._note_stream(stream_id)
        self.wakeups.wake(wakeups.stream_topic(stream_id))

    def wake_ask(self, ask_id: int, reply: str) -> None:
        """Deliver a reply to whoever waits for it, here or at another worker."""
        if not self.asks.resolve(ask_id, reply):
            self.wakeups.wake(wakeups.ask_topic(ask_id))

    def _publish(self, write: base.StreamWrite, written: base.Written) -> None:
        if write.opening is not None and write.opening.follower is not None:
            followed: follow.Followed | None = self.follows.expect(write.stream_id)
        else:
            followed = self.follows.get(write.stream_id)
        if followed is not None:
            followed.hand(write.payloads, written.head, write.end)
        else:
            # Whoever follows it sits elsewhere.
            self.wakeups.wake(wakeups.stream_topic(write.stream_id))

    def _deliver(self, topic: str) -> None:
        kind, _, hexadecimal = topic.partition(".")
        if kind == "stream":
            self._note_stream(int(hexadecimal, 16))
        else:
            self.spawn(self._fetch_reply(int(hexadecimal, 16)))

    def _note_stream(self, stream_id: int) -> None:
        followed = self.follows.get(stream_id)
        if followed is not None:
            followed.mark_stale()

    async def _fetch_reply(self, ask_id: int) -> None:
        with contextlib.suppress(exceptions.StoreError):
            for answered, reply in (await self.read(self.store.replies, [ask_id])).items():
                self.asks.resolve(answered, reply)

    async def _read_page(self, stream_id: int, after: int, limit: int) -> base.Page | None:
        return await self.read(self.store.read, stream_id, after, limit)

    def _lose_everything(self) -> None:
        for running in self.written:
            running.fail(exceptions.StreamLost(running.id))

    # Use of sessions

    def log_level(self, session_id: int) -> str:
        """Return a session's log level as it was last seen here, for calls that begin before their opening tells."""
        return self._log_levels.get(session_id, "info")

    def note_log_level(self, session_id: int, level: str) -> None:
        """Note a session's log level."""
        if level != self.log_level(session_id):
            if len(self._log_levels) >= LEVELS:
                del self._log_levels[next(iter(self._log_levels))]
            self._log_levels[session_id] = level

    def touch(self, session_id: int) -> None:
        """Note that a session is in use; written behind, and seldom."""
        now = time.monotonic()
        seconds = min(TOUCH_SECONDS, conf.settings.SESSION_IDLE_SECONDS / 4)
        if now - self._touched_at.get(session_id, float("-inf")) >= seconds:
            self._touched_at[session_id] = now
            self._touched.add(session_id)

    async def flush_touches(self) -> None:
        """Write which sessions are in use.

        One is as well as long as a call runs in it, or its listening stream, which has its id, is followed.

        Raises:
            Unavailable: the store does not answer; what was noted is written the next time.
            StoreError: it failed; likewise.
        """
        in_use = {written.session_id for written in self.written if written.session_id is not None}
        self._touched |= {*self.follows, *in_use}
        await self.flush_noted()

    async def flush_noted(self) -> None:
        """Write which sessions had requests lately; like :meth:`flush_touches`."""
        touched, self._touched = self._touched, set()
        if touched:
            try:
                await self.command(self.store.touch, touched)
            except BaseException:
                self._touched |= touched
                raise
        cutoff = time.monotonic() - TOUCH_SECONDS
        self._touched_at = {i: at for i, at in self._touched_at.items() if at > cutoff}


def is_in_transaction() -> bool:
    """Tell whether this thread is inside ``atomic()`` on any database."""
    return any(connection.in_atomic_block for connection in connections.all(initialized_only=True))


def _with_connections(function: Callable[[], T]) -> T:
    for connection in connections.all(initialized_only=True):
        connection.close_if_unusable_or_obsolete()
    try:
        return function()
    finally:
        for connection in connections.all(initialized_only=True):
            connection.close_if_unusable_or_obsolete()


def _with_fresh_connection(function: Callable[..., T], *arguments: Any) -> T:
    try:
        return function(*arguments)
    except exceptions.StoreUnavailable:
        # The store has thrown that connection away.
        return function(*arguments)


def store() -> base.Store:
    """Return a store of the settings' kind."""
    return conf.build(conf.settings.STORE)  # type: ignore[no-any-return]


def _nothing() -> None:
    """Do nothing, behind what is committed before it."""


def _drop_outcome(future: asyncio.Future[Any]) -> None:
    """Look at a future that nobody awaits, so that its error is not reported as forgotten."""
    if not future.cancelled() and future.exception() is not None:
        logger.debug("something written behind was lost: %s", future.exception())


_engine: Engine | None = None


def running() -> Engine | None:
    """Return the engine of this process, if it has one whose event loop runs; safe in any thread."""
    engine = _engine
    if engine is None or engine.pid != os.getpid() or not engine.loop.is_running():
        return None
    return engine


def current() -> Engine:
    """Return the engine of this process and this event loop; made at the first call."""
    global _engine
    if _engine is None or _engine.pid != os.getpid() or _engine.loop is not asyncio.get_running_loop():
        if _engine is not None and _engine.pid == os.getpid():
            _engine.abandon()
        _engine = Engine()
    return _engine
