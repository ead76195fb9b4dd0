"""Waiting for a condition, at most for so long."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

INTERVAL_SECONDS = 0.02


async def until(condition: Callable[[], T | Awaitable[T]], *, timeout_seconds: float = 10) -> T:
    """Ask until the answer is true, and return it."""
    deadline = time.monotonic() + timeout_seconds
    while True:
        answer = condition()
        if inspect.isawaitable(answer):
            answer = await answer
        if answer:
            return answer
        assert time.monotonic() < deadline, f"still not so after {timeout_seconds} s"
        await asyncio.sleep(INTERVAL_SECONDS)
