"""Reading a stream from a cursor to its end, waiting for what is not yet written.

Everybody reads like this: the connection of a POST, of a GET, a resume, and whoever looks on. The store is the
truth. Events that were committed in this process are handed over directly, checked by sequence, and the store is
read only by a follower that fell behind. Nobody else sees the difference.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from typing import Final

from streamable_http import exceptions
from streamable_http.delivery.wakeups import base as wakeups
from streamable_http.models import StreamState
from streamable_http.stores import base

HANDED_EVENTS: Final = 1_000
HANDED_CHARACTERS: Final = 1024 * 1024
"""Events kept for followers in this process that have not taken them yet; beyond either they read the store."""


class UnknownStream(exceptions.StoreError):
    """There is no such stream."""

    def __str__(self) -> str:
        return "unknown stream"


class Trimmed(exceptions.StoreError):
    """Events behind the cursor are no longer kept; going on would leave a gap."""

    def __init__(self, earliest: int) -> None:
        super().__init__(earliest)
        self.earliest = earliest

    def __str__(self) -> str:
        return f"the events before {self.earliest} are no longer kept"


class Superseded(exceptions.StoreError):
    """Another connection follows the stream now."""

    def __str__(self) -> str:
        return "another connection follows this stream"


class Closed(exceptions.StoreError):
    """The connection is to end, though the stream goes on: its client comes again with its cursor."""

    def __str__(self) -> str:
        return "the connection was closed early"


class Followed:
    """What this process knows of a stream that somebody follows here."""

    __slots__ = (
        "closed",
        "events",
        "follower",
        "followers",
        "handed_characters",
        "head",
        "is_stale",
        "is_unclaimed",
        "news",
        "state",
        "taken_at",
    )

    def __init__(self) -> None:
        self.news = asyncio.Event()
        self.events: list[base.Event] = []
        self.handed_characters = 0
        self.head = 0
        self.state = StreamState.OPEN
        self.is_stale = True
        self.is_unclaimed = False
        self.followers = 0
        self.follower: int | None = None
        self.taken_at = 0.0
        """When :attr:`follower` became it, by the event loop's clock."""

        self.closed: int | None = None
        """The connection that is to end early."""

    @property
    def is_open(self) -> bool:
        """Whether more may come, as far as is known here."""
        return self.state == StreamState.OPEN

    def hand(self, payloads: list[str], head: int, state: StreamState) -> None:
        """Take events that this process committed; ``head`` is the sequence of the last one."""
        first = head - len(payloads) + 1
        contiguous = bool(self.events) and self.events[-1].sequence + 1 == first
        if not contiguous or len(self.events) > HANDED_EVENTS or self.handed_characters > HANDED_CHARACTERS:
            self._forget()
        self.handed_characters += sum(map(len, payloads))
        self.events += [base.Event(first + place, payload) for place, payload in enumerate(payloads)]
        self.learn(head, state)

    def learn(self, head: int, state: StreamState) -> None:
        """Take what is known of the stream's head and state; both only go forward."""
        self.head = max(self.head, head)
        if self.state == StreamState.OPEN:
            self.state = state
        self.news.set()

    def take(self, follower: int | None) -> None:
        """Make a connection the only follower, or none; the one before is told."""
        self.follower = follower
        self.taken_at = asyncio.get_running_loop().time()
        self.news.set()

    def mark_stale(self) -> None:
        """Have the followers read the store."""
        self.is_stale = True
        self.news.set()

    def has_news(self, after: int) -> bool:
        """Tell whether there is, or may be, something behind ``after``."""
        return self.is_stale or self.head > after

    def since(self, after: int) -> list[base.Event] | None:
        """Return what was handed over behind ``after``; ``None`` when only the store can tell."""
        if self.is_stale:
            return None
        if after >= self.head:
            return []
        events = self.events
        if not events or not events[0].sequence <= after + 1 <= events[-1].sequence:
            return None
        taken = events[after + 1 - events[0].sequence :]
        if self.followers == 1:
            self._forget()
        return taken

    def _forget(self) -> None:
        self.events = []
        self.handed_characters = 0


class Follows:
    """The streams that are followed in this process."""

    def __init__(
        self,
        *,
        read: Callable[[int, int, int], Awaitable[base.Page | None]],
        listener: wakeups.Wakeups,
        require_lease: Callable[[], None],
    ) -> None:
        self._read = read
        self._listener = listener
        self._require_lease = require_lease
        self._followed: dict[int, Followed] = {}

    def __iter__(self) -> Iterator[int]:
        return iter(list(self._followed))

    def __len__(self) -> int:
        return len(self._followed)

    def get(self, stream_id: int) -> Followed | None:
        """Return what is known of a stream, if it is followed here."""
        return self._followed.get(stream_id)

    def expect(self, stream_id: int) -> Followed:
        """Begin to hand over the events of a stream that was made here, before its connection comes to follow it."""
        followed = self._followed.get(stream_id)
        if followed is None:
            followed = self._enter(stream_id)
            followed.is_stale = False
        return followed

    def take_whole(self, stream_id: int) -> list[base.Event] | None:
        """Return all events of an expected stream that has ended already, and let go of it; else ``None``."""
        followed = self._followed.get(stream_id)
        if followed is None or followed.followers or followed.state == StreamState.OPEN:
            return None
        events = followed.since(0)
        if events is None or len(events) != followed.head:
            return None
        self._leave(stream_id)
        return events

    def close(self, stream_id: int, follower: int | None = None) -> None:
        """End a stream's connection here, once it has sent what there is; the newest one unless it is named."""
        followed = self._followed.get(stream_id)
        if followed is not None:
            followed.closed = followed.follower if follower is None else follower
            followed.news.set()

    def sweep(self) -> None:
        """Let go of what was expected and never followed, at the second look."""
        for stream_id in [i for i, followed in self._followed.items() if not followed.followers]:
            if self._followed[stream_id].is_unclaimed:
                self._leave(stream_id)
            else:
                self._followed[stream_id].is_unclaimed = True

    async def follow(
        self,
        stream_id: int,
        after: int,
        *,
        follower: int | None = None,
        idle_seconds: float | None = None,
        on_trimmed: Callable[[int], None] | None = None,
    ) -> AsyncGenerator[list[base.Event], None]:
        """Yield lists of events in order, without gap, until the stream has ended.

        The first list comes at once and may be empty; another empty one comes after each ``idle_seconds`` without
        news. ``follower`` names the connection where it must be the only one. ``on_trimmed`` is told the earliest
        sequence that is kept where events are gone, and the following goes on from there.

        Raises:
            UnknownStream: there is none.
            Trimmed: events behind ``after`` are gone, and nobody is to be told so.
            Superseded: another connection took over.
            Closed: :meth:`close` was called for this connection, and it has sent something.
            StreamLost: this worker may no longer speak for its streams.
            StoreUnavailable: the store did not answer.
        """
        with self._following(stream_id, follower) as followed:
            is_first = True
            while True:
                followed.news.clear()
                events = followed.since(after)
                if events is None:
                    after, events = await self._load(followed, stream_id, after, on_trimmed)
                self._require_lease()
                if follower is not None and followed.follower != follower:
                    raise Superseded
                if events:
                    after = events[-1].sequence
                if events or is_first:
                    yield events
                    is_first = False
                if self._goes_on(followed, follower, after):
                    continue
                # It ends on the state: a cancelled call has no final event.
                if not followed.is_open:
                    return
                if not await wait(followed.news, idle_seconds):
                    yield []

    def _goes_on(self, followed: Followed, follower: int | None, after: int) -> bool:
        """Tell whether there is something to do before waiting.

        Raises:
            Closed: the connection is to end, and more is to come.
        """
        has_news = followed.has_news(after)
        if follower is None:
            return has_news
        # Another follower may have cleared the news that told this one of a takeover while it was sending.
        is_superseded = followed.follower != follower
        if followed.closed == follower and not is_superseded and (has_news or followed.is_open):
            raise Closed
        return is_superseded or has_news

    async def _load(
        self, followed: Followed, stream_id: int, after: int, on_trimmed: Callable[[int], None] | None
    ) -> tuple[int, list[base.Event]]:
        """Return what is kept behind a place, which is further on where something is gone."""
        followed.is_stale = False
        page = await self._read(stream_id, after, base.PAGE_EVENTS)
        if page is None:
            raise UnknownStream
        if page.head > after and (not page.events or page.events[0].sequence != after + 1):
            if on_trimmed is None:
                raise Trimmed(page.earliest)
            on_trimmed(page.earliest)
            return await self._load(followed, stream_id, max(after, page.earliest - 1), on_trimmed)
        followed.learn(page.head, page.state)
        return after, page.events

    @contextlib.contextmanager
    def _following(self, stream_id: int, follower: int | None) -> Iterator[Followed]:
        followed = self._followed.get(stream_id) or self._enter(stream_id)
        followed.followers += 1
        if follower is not None:
            followed.take(follower)
        try:
            yield followed
        finally:
            followed.followers -= 1
            if not followed.followers:
                self._leave(stream_id)

    def _enter(self, stream_id: int) -> Followed:
        followed = self._followed[stream_id] = Followed()
        self._listener.listen(wakeups.stream_topic(stream_id))
        return followed

    def _leave(self, stream_id: int) -> None:
        del self._followed[stream_id]
        self._listener.ignore(wakeups.stream_topic(stream_id))


async def wait(news: asyncio.Event, seconds: float | None) -> bool:
    """Wait for news, at most for so long; False when the time was up first."""
    if seconds is None:
        return await news.wait()
    # A timer that sets the event costs a tenth of a time-out around the wait.
    is_up = False

    def ring() -> None:
        nonlocal is_up
        is_up = True
        news.set()

    timer = asyncio.get_running_loop().call_later(seconds, ring)
    try:
        await news.wait()
    finally:
        timer.cancel()
    return not is_up
