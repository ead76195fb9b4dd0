"""What no wake-up told: one poll per process, and the housekeeping that any worker may do.

One query asks for all streams that are followed or written here, whatever their number of followers. It also
finds cancelled calls, ended sessions, lost streams and takeovers; a second one finds replies to asks. Without
anything to watch there are no queries.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final, Protocol

from asgiref.sync import sync_to_async
from django.db import connections

from streamable_http import conf, exceptions
from streamable_http.delivery import appender, asks, follow, log, retention, ring
from streamable_http.models import StreamState
from streamable_http.protocol import jsonrpc
from streamable_http.stores import base

logger = logging.getLogger(__name__)

BACK_OFF: Final = 1.5
"""By how much the interval grows after a poll without news."""

ORPHANS_SECONDS: Final = 2.0
"""Time between two looks for streams whose worker died."""

EXPIRY_SECONDS: Final = 10.0
"""Time between two looks for idle sessions."""

PRUNE_SECONDS: Final = 60.0
"""Time between two looks for what is past its retention, give or take a third."""

PRUNE_BATCHES: Final = 1_000
"""Batches at one look, 200,000 rows: what hundreds of calls a second write in a minute."""

CONNECTIONS_SECONDS: Final = 5.0
"""Time between two looks for broken database connections."""

ORPHANS_AT_ONCE: Final = 200
"""Orphans ended at one look."""

EXPIRED_AT_ONCE: Final = 10
"""Idle sessions ended in one command, so that the calls' own commits get in between."""

EXPIRED_AT_A_LOOK: Final = 1_000
"""Idle sessions ended at one look."""


class Watched(Protocol):
    """What is watched: the engine of the process."""

    store: base.Store
    log: log.Log
    follows: follow.Follows
    asks: asks.Asks

    @property
    def written(self) -> Iterable[appender.Appender]:
        """The streams of the log that calls of this process write."""

    @property
    def rings(self) -> Iterable[ring.Ring]:
        """The streams of calls of this process that cannot be resumed."""

    def read(self, function: Callable[..., Any], *arguments: Any) -> Awaitable[Any]:
        """Run something of the store in a reader thread."""

    def end_stream(self, stream_id: int) -> None:
        """Stop what runs for a stream that the store has ended, and tell its followers."""

    def end_expired(self, stream_ids: Iterable[int]) -> None:
        """Stop what runs for sessions that the store has expired, and tell of them."""

    def rerun_orphans(self, limit: int) -> Awaitable[None]:
        """Run calls of dead workers again that may run again."""

    def wake_stream(self, stream_id: int) -> None:
        """Hint at all workers that a stream has news."""

    def note_lost(self, stream_id: int) -> None:
        """Tell that a stream ends because its worker was lost."""

    def flush_touches(self) -> Awaitable[None]:
        """Write which sessions were in use."""


class Poller:
    """The tasks that poll; they end when they are cancelled."""

    def __init__(self, watched: Watched) -> None:
        self._engine = watched

    async def poll(self) -> None:
        """Poll for ever, sooner after news and later without."""
        interval = conf.settings.POLL_MIN_SECONDS
        while True:
            has_news = await self._guarded_poll()
            interval = conf.settings.POLL_MIN_SECONDS if has_news else interval * BACK_OFF
            interval = min(interval, conf.settings.POLL_MAX_SECONDS)
            await asyncio.sleep(interval)

    async def keep_house(self) -> None:
        """Run the calls of dead workers again or end them, and end the sessions that nobody uses, for ever."""
        loop = asyncio.get_running_loop()
        expire_at = loop.time() + EXPIRY_SECONDS
        while True:
            await asyncio.sleep(ORPHANS_SECONDS)
            self._engine.follows.sweep()
            self._end_overdue(loop.time())
            try:
                await self._engine.read(self._engine.store.tidy)
                # First, so that what could run again here does not end here.
                await self._rerun_orphans()
                await self._end_orphans()
                if loop.time() >= expire_at:
                    expire_at = loop.time() + EXPIRY_SECONDS
                    await self._expire()
            except exceptions.StoreError as error:
                logger.warning("housekeeping failed, trying again: %s", error)
            except Exception:
                logger.exception("housekeeping failed, trying again")

    async def prune(self) -> None:
        """Redact and delete what is past its retention, where the settings say so, for ever.

        Every worker does; those that meet share the work.
        """
        while True:
            # Seldom at the same moment as the others.
            await asyncio.sleep(PRUNE_SECONDS * random.uniform(2 / 3, 4 / 3))  # noqa: S311  # no secret
            if conf.settings.PRUNE:
                await self._guarded_prune()

    async def _guarded_prune(self) -> None:
        try:
            await self._prune()
        except exceptions.StoreError as error:
            logger.warning("pruning failed, trying again: %s", error)
        except Exception:
            logger.exception("pruning failed, trying again")

    async def _prune(self) -> None:
        loop = asyncio.get_running_loop()
        started_at = loop.time()
        for _ in range(PRUNE_BATCHES):
            begun_at = loop.time()
            # What becomes due meanwhile is left for the next look, so that the last kind has its turn, too.
            kept = retention.retention().later(begun_at - started_at)
            if await self._engine.read(retention.prune_batch, self._engine.store, kept) is None:
                return
            await asyncio.sleep(retention.pause_seconds(loop.time() - begun_at))

    async def mind_connections(self) -> None:
        """Close connections that broke in the thread that asynchronous ORM calls share, for ever.

        No request of Django's ends on the mount, so nobody else does. A task of its own, because a tool may block
        that thread.
        """
        while True:
            await asyncio.sleep(CONNECTIONS_SECONDS)
            try:
                await sync_to_async(_close_broken_connections)()
            except Exception:
                logger.exception("broken connections could not be closed, trying again")

    async def _guarded_poll(self) -> bool:
        try:
            return await self._poll_streams() | await self._poll_asks()
        except exceptions.StoreError as error:
            logger.warning("polling failed, trying again: %s", error)
        except Exception:
            # Nobody would begin to poll again.
            logger.exception("polling failed, trying again")
        return False

    async def _poll_streams(self) -> bool:
        running = {owned.id: owned for owned in self._engine.written}
        unlogged = {owned.session_id for owned in self._engine.rings if owned.session_id is not None}
        watched = {*self._engine.follows, *running, *unlogged}
        if not watched:
            return False
        asked_at = asyncio.get_running_loop().time()
        found = await self._engine.read(self._engine.store.poll, watched)
        has_news = False
        for stream_id, status in found.items():
            has_news |= self._note_followed(stream_id, status, asked_at)
            owned = running.get(stream_id)
            if owned is not None and not owned.is_over and _is_lost(owned.epoch, status):
                owned.fail(exceptions.StreamLost(stream_id))
                has_news = True
            if stream_id in unlogged and status.state != StreamState.OPEN:
                self._engine.end_stream(stream_id)
        return has_news

    def _note_followed(self, stream_id: int, status: base.Status, asked_at: float) -> bool:
        followed = self._engine.follows.get(stream_id)
        if followed is None:
            return False
        # An answer from before our own take-over tells of the follower that was taken over from. There is none where
        # whoever took over is gone by now, or where somebody has the connection closed.
        is_newer = followed.follower is not None and followed.taken_at < asked_at
        if is_newer and status.follower != followed.follower:
            followed.take(status.follower)
        if status.head <= followed.head and status.state == followed.state:
            return False
        followed.mark_stale()
        return True

    async def _poll_asks(self) -> bool:
        waiting = list(self._engine.asks)
        if not waiting:
            return False
        replies = await self._engine.read(self._engine.store.replies, waiting)
        for ask_id, reply in replies.items():
            self._engine.asks.resolve(ask_id, reply)
        # Somebody is thinking about an answer, and a tool waits for it.
        return True

    def _end_overdue(self, now: float) -> None:
        everything: list[appender.Appender | ring.Ring] = [*self._engine.written, *self._engine.rings]
        for running in everything:
            if now - running.begun_at > conf.settings.MAX_STREAM_SECONDS and not running.is_over:
                running.give_up()

    async def _rerun_orphans(self) -> None:
        try:
            await self._engine.rerun_orphans(ORPHANS_AT_ONCE)
        except Exception:
            # What cannot run again still has to end.
            logger.exception("calls of dead workers could not be run again, trying again")

    async def _end_orphans(self) -> None:
        ended = await self._engine.log.run(self._engine.store.end_orphans, worker_lost, ORPHANS_AT_ONCE)
        for stream_id in ended:
            self._engine.note_lost(stream_id)
            self._engine.wake_stream(stream_id)

    async def _expire(self) -> None:
        await self._engine.flush_touches()
        expire = self._engine.store.expire_sessions
        for _ in range(EXPIRED_AT_A_LOOK // EXPIRED_AT_ONCE):
            ended = await self._engine.log.run(expire, conf.settings.SESSION_IDLE_SECONDS, EXPIRED_AT_ONCE)
            self._engine.end_expired(ended)
            if not ended:
                return


def _close_broken_connections() -> None:
    for connection in connections.all(initialized_only=True):
        # One without errors may be in the middle of somebody's iteration, however old it is.
        if connection.errors_occurred:
            connection.close_if_unusable_or_obsolete()


def _is_lost(epoch: int, status: base.Status) -> bool:
    return status.epoch != epoch or status.state != StreamState.OPEN


def worker_lost(request_id: jsonrpc.RequestId) -> str:
    """Return the final event of a call whose worker was lost."""
    problem = exceptions.CallFailed(
        exceptions.WORKER_LOST,
        "the worker that ran this call was lost; whether the call took effect is not known",
        data={"retryable": False},
    )
    return jsonrpc.dumps(jsonrpc.error(request_id, problem)).decode()
