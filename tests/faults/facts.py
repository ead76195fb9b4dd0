"""What a run leaves to be judged: what clients got, what is committed, and what was done to them.

All moments are of this process's monotonic clock, in seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Delivery:
    """One event with data, as it came off the wire."""

    event_id: str
    payload: str
    at: float


@dataclass(slots=True)
class Connection:
    """One answer of events."""

    cursor: str | None
    """The ``Last-Event-ID`` that was sent, or what the first connection was primed with."""

    is_recovered: bool = True
    """Whether the server did not say that it could not go on from the cursor."""

    deliveries: list[Delivery] = field(default_factory=list)


@dataclass(slots=True)
class Reader:
    """A client's view of one stream, over all its connections."""

    session: str
    request_id: str | None
    """Of the call; ``None`` for a listening stream."""

    is_rival: bool = False
    """A second client with the same cursor, which does not come again: it may miss the end."""

    stream: int | None = None
    """Known from the first event id; a call that was cut before it can be neither resumed nor judged."""

    connections: list[Connection] = field(default_factory=list)
    application: list[Delivery] = field(default_factory=list)
    """What was handed on: everything that was no repeat by its event id."""

    is_cancelled: bool = False
    """Whether its client asked for the end."""

    answered: str | None = None
    """What its client said when it was asked."""

    ended_at: float | None = None
    """When the client knew that no more would come."""

    held_up_until: float = float("-inf")
    """When a connection last broke, was refused or was tampered with, and what the client was told to wait then."""

    held_up_by: str = "nothing"

    refusals: list[str] = field(default_factory=list)
    """Answers that no client of a living session should get."""


@dataclass(slots=True)
class Stream:
    """What the database says of a stream."""

    session_id: int
    request_id: str
    head: int
    state: str
    events: list[tuple[int, str]]
    """Sequences and payloads, in order."""


@dataclass(slots=True)
class Death:
    """A worker that is no more, or that was paused for longer than its lease."""

    at: float
    streams: list[int]
    """Those of its calls that were open then."""

    ended: dict[int, float] = field(default_factory=dict)
    """When each was seen to have ended, in the database."""


@dataclass(slots=True)
class Injected:
    """A fault that hit."""

    kind: str
    at: float
    what: str
    """What it hit, as evidence."""


@dataclass(slots=True)
class Facts:
    """Everything of one set-up."""

    setup: str
    session_ids: dict[str, int] = field(default_factory=dict)
    """By the sessions' names."""

    readers: list[Reader] = field(default_factory=list)
    streams: dict[int, Stream] = field(default_factory=dict)
    deaths: list[Death] = field(default_factory=list)
    outages: list[tuple[float, float]] = field(default_factory=list)
    """When no worker served at all."""

    faults: list[Injected] = field(default_factory=list)
