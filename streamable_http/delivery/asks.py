"""Asks of this process that wait for their reply, wherever it arrives."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator

from streamable_http.delivery.wakeups import base as wakeups


class Asks:
    """Replies come from the connection that took them, by wake-up, or by polling; the first one counts."""

    def __init__(self, listener: wakeups.Wakeups) -> None:
        self._listener = listener
        self._waiting: dict[int, asyncio.Future[str]] = {}
        self._sessions: dict[int, int] = {}

    def __iter__(self) -> Iterator[int]:
        return iter(list(self._waiting))

    def sessions(self) -> Iterable[int]:
        """Return the session of each ask that waits."""
        return self._sessions.values()

    def expect(self, ask_id: int, session_id: int) -> asyncio.Future[str]:
        """Return the future of a reply (JSON)."""
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._waiting[ask_id] = future
        self._sessions[ask_id] = session_id
        self._listener.listen(wakeups.ask_topic(ask_id))
        return future

    def resolve(self, ask_id: int, reply: str) -> bool:
        """Deliver a reply; False when nobody here waits for it."""
        future = self._waiting.get(ask_id)
        if future is None:
            return False
        if not future.done():
            future.set_result(reply)
        return True

    def forget(self, ask_id: int) -> None:
        """Wait no longer."""
        if self._waiting.pop(ask_id, None) is not None:
            del self._sessions[ask_id]
            self._listener.ignore(wakeups.ask_topic(ask_id))
