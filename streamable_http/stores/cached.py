"""A store in front of another one, with copies of what never changes in Django's cache.

Two things never change: the facts of a session, and an event that was committed. What does change (a stream's head,
its state, what is kept of it) comes from the store behind at each read, as one cheap row, so that a copy is served
only while the row says that it is still so. The cache may lose everything at any time: whatever it cannot answer, the
store behind does.
"""

from __future__ import annotations

import logging
import time
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Final

import orjson
from django.core.cache import caches
from django.core.exceptions import ImproperlyConfigured

from streamable_http import conf, exceptions
from streamable_http.protocol import jsonrpc
from streamable_http.stores import base, delegating

logger = logging.getLogger(__name__)

REST_SECONDS: Final = 30.0
"""How long a cache that failed is left alone, so that each failure costs one time-out and one line of the log."""

MAX_PAGE_BYTES: Final = 1024 * 1024
"""Larger pages are not copied; memcached takes no more either."""

_VERSION: Final = 1
"""Of the values' form, in each key: copies of another form are not found."""

_END: Final = 2**63 - 1
"""A cursor behind every event: what is read from there is the stream's row alone."""

_ANY_DEPTH: Final = 1_000
"""For what we wrote ourselves."""


class CachedStore(delegating.DelegatingStore):
    """Options: ``cache``, the alias in ``CACHES``; ``store``, what is behind it, as in ``STORE``; ``seconds``.

    Copies are kept for so many seconds at most, and hold what was sent verbatim. Those of events are whole pages with
    fixed borders, so that all readers of a stream share them. :meth:`find_session` may return the facts of a session
    that has ended; nothing is served for it, because :meth:`is_open` and each opening ask the store behind.
    """

    page_events: ClassVar[int] = base.PAGE_EVENTS

    def __init__(self, cache: str = "default", store: dict[str, Any] | None = None, seconds: float = 300) -> None:
        super().__init__(conf.build(store or conf.Defaults().STORE))
        self.cache = Cache(cache, seconds)

    def find_session(self, digest: str) -> base.SessionFacts | None:
        key = f"session.{digest}"
        facts = _facts(self.cache.get(key), digest)
        if facts is None:
            facts = self.inner.find_session(digest)
            # That there is none is never kept: it may be opened in a moment.
            if facts is not None:
                self.cache.set(key, jsonrpc.dumps([digest, asdict(facts)]))
        return facts

    def read(self, stream_id: int, after: int, limit: int) -> base.Page | None:
        if limit > self.page_events:
            # Somebody who wants everything, not a follower.
            return self.inner.read(stream_id, after, limit)
        place = _Place(stream_id, after - after % self.page_events, self.page_events)
        copy = _events(self.cache.get(place.key), place)
        if copy is not None:
            # After the copy was fetched, so that what the row says holds for it.
            row = self.inner.read(stream_id, _END, 1)
            if row is None:
                return None
            if row.head >= place.last and row.earliest <= after + 1:
                return base.Page(copy[after - place.before :][:limit], row.state, row.head, row.earliest)
        # Up to the border, so that the next read is of a whole page.
        page = self.inner.read(stream_id, after, min(limit, place.last - after))
        if copy is None and page is not None and place.is_filled_by(page):
            self._keep(place, page.events)
        return page

    def _keep(self, place: _Place, events: list[base.Event]) -> None:
        value = orjson.dumps([place.stream_id, place.before, [event.payload for event in events]])
        if len(value) <= MAX_PAGE_BYTES:
            self.cache.set(place.key, value)


@dataclass(frozen=True, slots=True)
class _Place:
    """One page of a stream."""

    stream_id: int
    before: int
    """Sequence of the event before its first one."""

    size: int

    @property
    def last(self) -> int:
        return self.before + self.size

    @property
    def key(self) -> str:
        return f"events.{self.stream_id:x}.{self.before}-{self.last}"

    def is_filled_by(self, page: base.Page) -> bool:
        """Tell whether a page that was read is this one, whole and as it was sent."""
        events = page.events
        return (
            len(events) == self.size
            and events[0].sequence == self.before + 1
            and events[-1].sequence == self.last
            and page.earliest <= self.before + 1
        )


class Cache:
    """One of Django's caches, of which nothing is expected: a failure is a miss."""

    def __init__(self, alias: str, seconds: float) -> None:
        if alias not in caches.settings:
            raise ImproperlyConfigured(
                f"No cache '{alias}' in CACHES; add it, or name another one as the option 'cache' of "
                f"{conf.SETTING}['STORE']."
            )
        self.alias = alias
        self._seconds = seconds
        self._rests_until = float("-inf")

    def get(self, key: str) -> bytes | None:
        """Return what a key has, if it is bytes."""
        if time.monotonic() < self._rests_until:
            return None
        try:
            value = caches[self.alias].get(_named(key))
        except Exception as error:  # whatever a backend raises, which may also be that it cannot read the value
            self._drop(key, error)
            return None
        return value if isinstance(value, bytes) else None

    def set(self, key: str, value: bytes) -> None:
        """Keep a value for some time, if it can be."""
        if time.monotonic() < self._rests_until:
            return
        try:
            caches[self.alias].set(_named(key), value, self._seconds)
        except Exception as error:  # as above
            self._rest(error)

    def _drop(self, key: str, error: Exception) -> None:
        """Drop a value that cannot be read, or give the cache a rest if that fails as well."""
        try:
            caches[self.alias].delete(_named(key))
        except Exception:  # as above
            self._rest(error)

    def _rest(self, error: Exception) -> None:
        self._rests_until = time.monotonic() + REST_SECONDS
        logger.warning(
            "the cache '%s' failed, so the log is read without it for %g s: %s: %s",
            self.alias,
            REST_SECONDS,
            type(error).__name__,
            error,
        )


def _named(key: str) -> str:
    return f"streamable_http.{_VERSION}.{key}"


def _facts(value: bytes | None, digest: str) -> base.SessionFacts | None:
    """Read a copy of a session's facts; ``None`` if it is anything else."""
    if value is None:
        return None
    try:
        of, facts = jsonrpc.loads(value, max_depth=_ANY_DEPTH)
        return base.SessionFacts(**facts) if of == digest else None
    except (exceptions.ParseError, TypeError, ValueError):
        return None


def _events(value: bytes | None, place: _Place) -> list[base.Event] | None:
    """Read a copy of a page; ``None`` if it is anything else."""
    if value is None:
        return None
    try:
        stream_id, before, payloads = orjson.loads(value)
    except (TypeError, ValueError):
        return None
    if (stream_id, before) != (place.stream_id, place.before) or not isinstance(payloads, list):
        return None
    if len(payloads) != place.size or not all(isinstance(payload, str) for payload in payloads):
        return None
    return [base.Event(sequence, payload) for sequence, payload in enumerate(payloads, place.before + 1)]
