"""Wake-ups within the process: other workers notice by polling."""

from __future__ import annotations

import asyncio

from streamable_http.delivery.wakeups import base


class LocalWakeups(base.Wakeups):
    """No options."""

    def __init__(self) -> None:
        self._topics: set[str] = set()
        self._deliver: base.Deliver | None = None

    async def start(self, loop: asyncio.AbstractEventLoop, deliver: base.Deliver) -> None:
        self._deliver = deliver

    async def stop(self) -> None:
        self._deliver = None
        self._topics.clear()

    def listen(self, topic: str) -> None:
        self._topics.add(topic)

    def ignore(self, topic: str) -> None:
        self._topics.discard(topic)

    def wake(self, topic: str) -> None:
        if self._deliver is not None and topic in self._topics:
            self._deliver(topic)
