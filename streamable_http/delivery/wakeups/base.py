"""The interface of wake-ups."""

from __future__ import annotations

import abc
import asyncio
from collections.abc import Callable

Deliver = Callable[[str], None]
"""Told a topic that has news; called on the event loop."""


def stream_topic(stream_id: int) -> str:
    """Return the topic of a stream's events, state and follower."""
    return f"stream.{stream_id:x}"


def ask_topic(ask_id: int) -> str:
    """Return the topic of an ask's reply."""
    return f"ask.{ask_id:x}"


class Wakeups(abc.ABC):
    """Made once per process; everything but :meth:`wake` is called on the event loop."""

    @abc.abstractmethod
    async def start(self, loop: asyncio.AbstractEventLoop, deliver: Deliver) -> None:
        """Begin; ``deliver`` is called for each wake-up of a topic that is listened to."""

    @abc.abstractmethod
    async def stop(self) -> None:
        """End, and leave nothing behind."""

    @abc.abstractmethod
    def listen(self, topic: str) -> None:
        """Want wake-ups of a topic. Never blocks, never raises."""

    @abc.abstractmethod
    def ignore(self, topic: str) -> None:
        """Want them no more."""

    @abc.abstractmethod
    def wake(self, topic: str) -> None:
        """Hint at everybody who listens to a topic. On the event loop; never blocks, never raises."""
