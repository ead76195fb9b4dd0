"""This worker's lease: while it lasts, its streams are its own.

An operating-system thread renews it, and only while the event loop turns: a worker that hangs must lose its
streams like one that died. A worker that could not renew for two thirds of the lease stops by itself, so that it
is silent before anybody else may speak for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from typing import Final

from streamable_http import conf, exceptions, ids
from streamable_http.stores import base

logger = logging.getLogger(__name__)

RETRY_SECONDS: Final = 0.5
"""Time to the next renewal while the lease is not safe."""


class Lease:
    """Registers the worker and keeps its lease."""

    def __init__(
        self,
        store: base.Store,
        *,
        on_lost: Callable[[], None],
        on_thread_end: Callable[[], None],
        dropped_records: Callable[[], int] = lambda: 0,
    ) -> None:
        """``on_lost`` is called on the event loop; ``dropped_records`` is told to the store at each beat."""
        self.worker_id = 0
        self._store = store
        self._on_lost = on_lost
        self._on_thread_end = on_thread_end
        self._dropped_records = dropped_records
        self._loop = asyncio.get_running_loop()
        self._stop = threading.Event()
        self._asked_at: float | None = None
        """When the event loop was asked to turn; ``None`` once it has."""

        self._renewed_at = float("-inf")
        self._has_refused = False
        """Whether something was given up because the lease was not safe; its rows may still be open."""

        self._lease_seconds = conf.settings.LEASE_SECONDS
        self._thread = threading.Thread(target=self._beat, name="streamable-http-heartbeat", daemon=True)

    def register(self) -> None:
        """Begin a new lease under a new id. Blocks; not on the event loop.

        Raises:
            StoreUnavailable: the store did not answer.
        """
        begun_at = time.monotonic()
        worker_id = ids.new()
        self._store.register_worker(worker_id, socket.gethostname()[:255], os.getpid(), self._lease_seconds)
        self.worker_id = worker_id
        self._has_refused = False
        self._renewed_at = begun_at

    def start(self) -> None:
        """Begin to renew."""
        self._thread.start()

    def stop(self) -> None:
        """Give the lease back. Blocks; not on the event loop."""
        self._stop.set()
        self._thread.join()

    def abandon(self) -> None:
        """Give the lease back without waiting for it."""
        self._stop.set()

    def is_safe(self) -> bool:
        """Tell whether nobody else can have been given our streams; whoever hears a no gives its stream up."""
        is_safe = self.is_fresh()
        if not is_safe:
            self._has_refused = True
        return is_safe

    def require(self) -> None:
        """Refuse to speak for our streams when somebody else may.

        Raises:
            StreamLost: the lease was not renewed in time.
        """
        if not self.is_safe():
            raise exceptions.StreamLost(0)

    def is_fresh(self) -> bool:
        """Tell whether the lease was renewed lately; unlike :meth:`is_safe` nothing is given up over it."""
        return time.monotonic() - self._renewed_at < self._lease_seconds * 2 / 3

    def _beat(self) -> None:
        try:
            # After a renewal that took too long to be of use, the next one follows at once.
            while not self._stop.wait(conf.settings.HEARTBEAT_SECONDS if self.is_fresh() else RETRY_SECONDS):
                if self._loop_stalls():
                    logger.error("the event loop is blocked; this worker gives up its streams unless it turns soon")
                else:
                    self._renew()
            self._retire()
        finally:
            self._on_thread_end()

    def _loop_stalls(self) -> bool:
        # Counted from the question, not between beats: a beat may itself be late, behind a slow renewal.
        now = time.monotonic()
        asked_at = self._asked_at
        if asked_at is None:
            self._asked_at = asked_at = now
            # A loop that is closed does not turn either.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._turn)
        return now - asked_at >= conf.settings.LOOP_STALL_SECONDS

    def _turn(self) -> None:
        self._asked_at = None

    def _renew(self) -> None:
        # The moment before the statement, so that we never believe in a longer lease than the store does.
        begun_at = time.monotonic()
        try:
            is_ours = self._store.renew_worker(self.worker_id, self._lease_seconds, self._dropped_records())
            if is_ours:
                self._renewed_at = begun_at
            # Asked after the renewal: what was refused before it is seen now, what is refused later at the next beat.
            if not is_ours or self._has_refused:
                self._begin_again()
        except exceptions.StoreError as error:
            logger.warning("the lease could not be renewed: %s", error)

    def _begin_again(self) -> None:
        """The lease was lost: what ran under it is over, and new calls run under a new one."""
        logger.error("this worker lost its lease; its streams are over")
        lost_id = self.worker_id
        self._renewed_at = float("-inf")
        self._loop.call_soon_threadsafe(self._on_lost)
        self._store.retire_worker(lost_id)
        self.register()

    def _retire(self) -> None:
        try:
            self._store.retire_worker(self.worker_id)
        except exceptions.StoreError as error:
            logger.warning("the lease could not be given back: %s", error)
