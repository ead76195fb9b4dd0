"""Pools of threads that leave no database connection behind."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

from django.db import connections

T = TypeVar("T")

CLOSING_SECONDS: Final = 5.0
"""How long the end of a pool waits for a thread that is still busy."""


class Pool:
    """A thread pool. Its threads keep their database connections until :meth:`stop` has each close its own."""

    def __init__(self, size: int, name: str) -> None:
        self._size = size
        self._executor = ThreadPoolExecutor(size, name)
        self._is_used = False

    async def run(self, function: Callable[..., T], *arguments: Any) -> T:
        """Run a blocking function in a thread of the pool."""
        self._is_used = True
        return await asyncio.get_running_loop().run_in_executor(self._executor, function, *arguments)

    async def stop(self) -> None:
        """End the threads; waits for what they do, but leaves alone a function that returns too late."""
        loop = asyncio.get_running_loop()
        are_idle = True
        if self._is_used:
            self._is_used = False
            # Nobody passes the barrier before all threads that the pool may have are there, so each one closes its
            # own connections. With the threads it has now one could be missed that is just about to be idle.
            barrier = threading.Barrier(self._size)
            closing = [loop.run_in_executor(self._executor, _close_together, barrier) for _ in range(self._size)]
            _, late = await asyncio.wait(closing, timeout=2 * CLOSING_SECONDS)
            are_idle = not late and all(closed.result() for closed in closing)
        await loop.run_in_executor(None, functools.partial(self._executor.shutdown, wait=are_idle))

    def abandon(self) -> None:
        """Let the threads end when they are idle."""
        self._executor.shutdown(wait=False)


def close_connections() -> None:
    """Close this thread's database connections, at its end."""
    connections.close_all()


def _close_together(barrier: threading.Barrier) -> bool:
    """Tell whether all threads came."""
    try:
        barrier.wait(CLOSING_SECONDS)
    except threading.BrokenBarrierError:
        # A thread is stuck in a tool; the others close theirs all the same.
        return False
    finally:
        close_connections()
    return True
