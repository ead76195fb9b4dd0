"""A timeline: messages, whichever way they went, and the streams that they belong to."""

from __future__ import annotations

import enum
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from streamable_http import models


class Direction(enum.StrEnum):
    """Which way a message went, seen from the server."""

    IN = "in"
    OUT = "out"


class Kind(enum.StrEnum):
    """What a message is."""

    REQUEST = "request"
    RESULT = "result"
    ERROR = "error"
    """A JSON-RPC error, or a result with ``isError``."""

    NOTIFICATION = "notification"
    ASK = "ask"
    REPLY = "reply"
    """To an ask."""

    LISTEN = "listen"
    """A GET that begins to listen."""

    RESUME = "resume"
    """A GET with a cursor: the connection before it was cut, or closed."""

    DELETE = "delete"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One message. Its times are the store's."""

    key: str
    """Names it for good: ``<stream>.<sequence>`` of an event, ``r<record>`` of a record, ids in hexadecimal."""

    at: datetime
    direction: Direction
    kind: Kind
    stream_id: int | None
    """``None`` for a record that belongs to no stream."""

    sequence: int | None
    """Of an event; ``None`` for a record."""

    method: str
    """Of the message; of the request that it answers, for a result, an error or a reply. Empty where unknown."""

    name: str
    """Of the tool; empty otherwise."""

    request_id: str
    """As JSON; empty for a notification. Of an ask and its reply, the name that stands for it; what the client chose
    is left out with the payloads."""

    size_bytes: int
    """Of the message as it is stored."""

    pair: str
    """Key of the request that this answers, or of the answer to this; empty without one on this page."""

    latency_ms: float | None
    """From the request to this answer."""

    cursor: str
    """The event id that a :attr:`Kind.RESUME` came with, ``<stream>.<sequence>``; empty otherwise."""

    payload: str | None
    """The message as redacted JSON; ``None`` where the reader may not see it, or there is none."""

    facts: dict[str, Any] = field(default_factory=dict)
    """Of a record: HTTP ``method``, ``headers``, ``client``, ``principal``; empty without the right to see them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """A stream that has entries on the page."""

    stream: models.Stream
    entries: int
    """How many of its events are on this page."""

    has_more: bool
    """Whether it has more events than a page of exchanges shows: see :mod:`~streamable_http.replay.timeline`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """One page."""

    entries: list[Entry]
    """By time, the oldest first."""

    lanes: list[Lane]
    """The listening stream first, where it has entries, then by time."""

    earlier: str
    """Cursor of the page before; empty at the beginning."""

    later: str
    """Cursor of the page behind; empty at the end."""


class Seen:
    """Drops repeats of entries by their keys, of which it remembers the last ones."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._keys: OrderedDict[str, None] = OrderedDict()

    def fresh(self, entries: Iterable[Entry]) -> list[Entry]:
        """Return those that were not there before."""
        fresh = [entry for entry in entries if entry.key not in self._keys]
        self._keys.update(dict.fromkeys(entry.key for entry in fresh))
        while len(self._keys) > self._limit:
            self._keys.popitem(last=False)
        return fresh
