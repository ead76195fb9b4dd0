"""Wake-ups through Django Channels' channel layer: a group a topic."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any, Final

from channels.layers import channel_layers
from django.core.exceptions import ImproperlyConfigured

from streamable_http.delivery.wakeups import base

logger = logging.getLogger(__name__)

_PREFIX: Final = "streamable_http"
_TYPE: Final = "streamable_http.wakeup"

RETRY_SECONDS: Final = 1.0
"""Pause after a failure of the layer; meanwhile the poller carries on alone."""

LEAVING_SECONDS: Final = 5.0
"""How long the end of a worker may take to leave its groups."""

HINTS: Final = 10_000
"""Streams and asks whose wake-ups wait for the layer; beyond it new ones are dropped."""


class ChannelLayerWakeups(base.Wakeups):
    """Options: ``alias``, the layer in ``CHANNEL_LAYERS``.

    ``channels_redis.pubsub.RedisPubSubChannelLayer`` costs 0.2 ms a hop, the core layer 1.5 ms. A layer that fails
    is logged once and tried again; nothing is lost by it.
    """

    def __init__(self, alias: str = "default") -> None:
        layer = channel_layers[alias] if alias in channel_layers.configs else None
        if layer is None:
            raise ImproperlyConfigured(
                f"No channel layer '{alias}' in CHANNEL_LAYERS; add it, or remove STREAMABLE_HTTP['WAKEUPS'] to poll."
            )
        self.layer: Any = layer
        self._topics: set[str] = set()
        self._joined: set[str] = set()
        self._joining = ""
        self._changed = _Waiting()
        self._hints = _Waiting()
        self._channel = ""
        self._tasks: list[asyncio.Task[None]] = []
        self._is_failing = False

    async def start(self, loop: asyncio.AbstractEventLoop, deliver: base.Deliver) -> None:
        work = (lambda: self._receive(deliver), self._follow_topics, self._send)
        self._tasks = [loop.create_task(self._keep_doing(step)) for step in work]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        try:
            async with asyncio.timeout(LEAVING_SECONDS):
                for topic in self._joined:
                    await self.layer.group_discard(_group(topic), self._channel)
        except Exception as error:
            self._note_failure(error)

    def listen(self, topic: str) -> None:
        self._topics.add(topic)
        self._changed.put(topic)

    def ignore(self, topic: str) -> None:
        self._topics.discard(topic)
        if topic in self._joined or topic == self._joining:
            self._changed.put(topic)
        else:
            self._changed.drop(topic)

    def wake(self, topic: str) -> None:
        if len(self._hints) < HINTS:
            self._hints.put(topic)

    async def _keep_doing(self, step: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await step()
            except Exception as error:
                self._note_failure(error)
                await asyncio.sleep(RETRY_SECONDS)

    async def _receive(self, deliver: base.Deliver) -> None:
        self._channel = await self.layer.new_channel(f"{_PREFIX}.")
        self._joined.clear()
        for topic in self._topics:
            self._changed.put(topic)
        while True:
            message = await self.layer.receive(self._channel)
            if message["topic"] in self._topics:
                deliver(message["topic"])

    async def _follow_topics(self) -> None:
        """Join the group of one topic, or leave it; one that could not be joined is tried again."""
        topic = self._joining = await self._changed.take()
        try:
            await self._join_or_leave(topic)
        except BaseException:
            if topic in self._topics or topic in self._joined:
                self._changed.put(topic)
            raise
        finally:
            self._joining = ""

    async def _join_or_leave(self, topic: str) -> None:
        channel = self._channel
        if not channel:
            # Joined with all others, as soon as there is a channel.
            return
        if topic in self._topics and topic not in self._joined:
            await self.layer.group_add(_group(topic), channel)
            if channel == self._channel:
                # Else there is a new one meanwhile, which joins it once more.
                self._joined.add(topic)
        elif topic in self._joined and topic not in self._topics:
            await self.layer.group_discard(_group(topic), channel)
            self._joined.discard(topic)
        self._note_success()

    async def _send(self) -> None:
        topic = await self._hints.take()
        await self.layer.group_send(_group(topic), {"type": _TYPE, "topic": topic})
        self._note_success()

    def _note_failure(self, error: Exception) -> None:
        if not self._is_failing:
            self._is_failing = True
            logger.warning("the channel layer fails, so workers notice news by polling only: %r", error)

    def _note_success(self) -> None:
        if self._is_failing:
            self._is_failing = False
            logger.info("the channel layer works again")


class _Waiting:
    """Topics that wait for something to be done about them: each once, in order."""

    def __init__(self) -> None:
        self._topics: OrderedDict[str, None] = OrderedDict()
        self._filled = asyncio.Event()

    def __len__(self) -> int:
        return len(self._topics)

    def put(self, topic: str) -> None:
        """Have a topic taken, after those that wait already."""
        self._topics[topic] = None
        self._filled.set()

    def drop(self, topic: str) -> None:
        """Have it taken no more."""
        self._topics.pop(topic, None)

    async def take(self) -> str:
        """Wait for a topic, and take it."""
        while not self._topics:
            self._filled.clear()
            await self._filled.wait()
        return self._topics.popitem(last=False)[0]


def _group(topic: str) -> str:
    return f"{_PREFIX}.{topic}"
