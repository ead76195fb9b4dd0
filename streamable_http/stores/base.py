"""The store's interface, and the values that go in and out.

A store blocks: its methods are called from the log's thread, the reader threads and the heartbeat's thread, never
from an event loop. Each method is one transaction. Times of leases and idleness are told by the store's
own clock, so that workers with wrong clocks harm nobody.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass, field
from typing import Any, Final, NamedTuple, TypeVar

from streamable_http import exceptions
from streamable_http.models import SessionState, StreamState
from streamable_http.protocol import jsonrpc

TAKEOVER_LIMIT: Final = 3
"""Takeovers of a stream that are let through within :data:`TAKEOVER_WINDOW_SECONDS`."""

TAKEOVER_WINDOW_SECONDS: Final = 10.0


GIVE_WAY_SECONDS: Final = 60.0
"""Where there are too many sessions, one gives way to somebody else's only after it was idle for this long.

A worker touches the sessions that listen more often than that; a connection without is one of a dead worker.
"""


NEWS_AT_ONCE: Final = 200
"""Sessions that are told of something in one transaction: what else is to be written waits for it."""


PAGE_EVENTS: Final = 500
"""Events in one read of a stream; a page takes about 1.5 ms from SQLite."""

RERUN_SECONDS: Final = 2.5
"""A call that may run again is left for a worker that knows its server for this long, then anybody ends it.

Longer than the time between two looks of a worker, and so short that a call ends within 20 s of its worker's death.
"""


class StreamIdTaken(exceptions.StoreError):
    """Another worker drew the same id in the same millisecond; draw again."""


class CommitUncertain(exceptions.StoreUnavailable):
    """COMMIT itself failed, so the transaction may or may not have happened.

    ``receipt`` goes to :meth:`Store.committed`, which finds out; ``outcomes`` hold if it did.
    """

    def __init__(self, receipt: Any, outcomes: list[Written | exceptions.StreamableHTTPError]) -> None:
        super().__init__("the connection broke during COMMIT")
        self.receipt = receipt
        self.outcomes = outcomes


class Event(NamedTuple):
    """One outbound message. A tuple, because ten thousand of them a second go by."""

    sequence: int
    """1..n within the stream."""

    payload: str
    """The JSON-RPC message as JSON, without line breaks."""


@dataclass(frozen=True, slots=True)
class Page:
    """What a stream holds behind a cursor, as one snapshot."""

    events: list[Event]
    state: StreamState
    head: int
    """Sequence of the last event; 0 without any."""

    earliest: int
    """Sequence of the first event that is still kept."""


@dataclass(frozen=True, slots=True)
class Status:
    """What the poller asks of a stream."""

    head: int
    epoch: int
    state: StreamState
    follower: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionFacts:
    """What never changes in a session, so that warm copies may serve it."""

    id: int
    """Public; names the session in the admin and in logs, and its listening stream."""

    server: str
    """Name of the server that opened it."""

    principal: str
    """Key of the principal that it belongs to; empty for anonymous."""

    revision: str
    client_info: dict[str, Any]
    capabilities: dict[str, Any]


@dataclass(slots=True, kw_only=True)
class NewRecord:
    """Something that came in, for inspection; redacted before it gets here."""

    id: int
    """A record in an :class:`Opening` gets the id of the stream that it opens instead."""

    session_id: int | None
    """``None`` in an :class:`Opening`, too: the stream has the session."""

    method: str
    """Of the JSON-RPC message; empty for a response."""

    payload: str
    """The message as JSON."""

    facts: str
    """JSON object: HTTP method, headers, peer address, principal."""


@dataclass(slots=True, kw_only=True)
class Opening:
    """How a stream of a call begins."""

    session_id: int | None
    """``None``: an exchange without a session; nothing is checked."""

    owner_id: int
    follower: int | None
    """The connection that reads it from the beginning."""

    request_id: str
    """JSON of the request id, unique among the session's open streams."""

    method: str
    name: str
    """Of the tool; empty otherwise."""

    arguments: str
    """JSON of the request's params, kept for a rerun; empty otherwise."""

    record: NewRecord | None

    resent_from: int | None = None
    """The stream whose request was sent again by hand."""

    skipped: int = 0
    """So many events came before those of the write, and are not kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewAsk:
    """A request to the client that waits for its reply."""

    id: int
    session_id: int
    wire_id: str
    """The JSON-RPC id; random, unique."""

    method: str
    deadline_seconds: float


class Ending(NamedTuple):
    """What a call came to, as its worker saw it; for inspection."""

    outcome: str
    """An :class:`~streamable_http.models.Outcome`; empty where the stream's state tells."""

    duration_ms: float | None
    """From its first step to its last, by the worker's own clock; ``None`` where no worker saw both."""


UNKNOWN_ENDING: Final = Ending("", None)


@dataclass(slots=True, kw_only=True)
class StreamWrite:
    """What one commit does to one stream: begin it, add events, end it, or several of these."""

    stream_id: int
    epoch: int | None
    """``None`` for a stream without an owner (a listening stream): anybody appends."""

    opening: Opening | None = None
    payloads: list[str] = field(default_factory=list)
    stored_bytes: int = 0
    """Bytes of the payloads in UTF-8."""

    asks: list[NewAsk] = field(default_factory=list)
    end: StreamState = StreamState.OPEN
    """The state after the write."""

    ending: Ending = UNKNOWN_ENDING
    """What the call came to, where the write ends it."""


@dataclass(slots=True)
class Written:
    """A write that will be, or has been, committed."""

    head: int
    """Sequence of the last event after it."""

    stored_bytes: int
    """Bytes of payload in the stream after it."""

    log_level: str = ""
    """Of the session, as of the opening."""


Outcome = Written | exceptions.StreamableHTTPError


@dataclass(frozen=True, slots=True)
class Retention:
    """For how long what has ended is kept."""

    resumable_seconds: float
    """After this a stream can no longer be resumed, and its events are redacted."""

    history_seconds: float | None
    """After this rows are deleted; ``None``: never. Not less than :attr:`resumable_seconds`."""

    def later(self, seconds: float) -> Retention:
        """Return what is due to the same moment, asked so much later: work that must come to an end goes by it."""
        history_seconds = None if self.history_seconds is None else self.history_seconds + seconds
        return Retention(self.resumable_seconds + seconds, history_seconds)


@dataclass(frozen=True, slots=True)
class Pruned:
    """How much was pruned, or would be."""

    redacted: int = 0
    """Streams that can no longer be resumed."""

    sessions: int = 0
    streams: int = 0
    events: int = 0
    records: int = 0

    def __add__(self, other: Pruned) -> Pruned:
        return Pruned(*(mine + theirs for mine, theirs in zip(astuple(self), astuple(other), strict=True)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Orphan:
    """A call whose worker died, taken by another one that runs it again."""

    stream_id: int
    epoch: int
    """From now on. What the dead worker still writes has the one before."""

    earliest: int
    """Sequence of the first event that is still kept."""

    head: int
    """Sequence of the last event; 0 without any."""

    session: SessionFacts
    log_level: str
    """Of the session."""

    request_id: str
    """As :attr:`Opening.request_id`."""

    method: str
    arguments: str
    """As :attr:`Opening.arguments`; no longer stored, so that the call is not taken again."""

    facts: str
    """As :attr:`NewRecord.facts`, of the request; empty where none was recorded."""


class Store(abc.ABC):
    """Where the log lives."""

    # The write path

    @abc.abstractmethod
    def write(self, writes: Sequence[StreamWrite], records: Sequence[NewRecord]) -> list[Outcome]:
        """Commit writes to different streams as one transaction; an outcome for each, in order.

        An outcome is an error where the write was left out: :class:`~exceptions.StreamLost` (fenced or over),
        :class:`~exceptions.UnknownSession`, :class:`~exceptions.RequestIdInFlight`,
        :class:`~exceptions.TooManyRequests`, :class:`StreamIdTaken`. The others are committed nevertheless.

        Raises:
            StoreUnavailable: nothing was committed; try again.
            CommitUncertain: ask :meth:`committed`.
            StoreError: the data cannot be stored; nothing was committed. Try the writes one by one.
        """

    @abc.abstractmethod
    def committed(self, receipt: Any) -> bool:
        """Tell whether the transaction of a :class:`CommitUncertain` happened.

        Raises:
            StoreUnavailable: not known yet; try again.
        """

    # Reading

    @abc.abstractmethod
    def read(self, stream_id: int, after: int, limit: int) -> Page | None:
        """Return up to ``limit`` events behind ``after``; ``None`` for an unknown stream.

        They may be fewer although there are more, but none only where none are kept: :attr:`Page.head` tells.
        """

    @abc.abstractmethod
    def poll(self, stream_ids: Iterable[int]) -> dict[int, Status]:
        """Return the status of each stream that exists."""

    # Sessions

    @abc.abstractmethod
    def open_session(self, facts: SessionFacts, digest: str, record: NewRecord | None) -> None:
        """Store a new session, together with its listening stream, which has the same id."""

    @abc.abstractmethod
    def find_session(self, digest: str) -> SessionFacts | None:
        """Return the facts of an open session by the digest of its secret id.

        One that has ended may be found for a while; :meth:`is_open` and an :class:`Opening` always know.
        """

    @abc.abstractmethod
    def is_open(self, session_id: int) -> bool:
        """Tell whether a session is still open."""

    @abc.abstractmethod
    def touch(self, session_ids: Iterable[int]) -> None:
        """Note that these sessions are in use."""

    @abc.abstractmethod
    def set_log_level(self, session_id: int, level: str) -> None:
        """Set the minimum level of log messages of a session."""

    @abc.abstractmethod
    def end_session(self, session_id: int, state: SessionState) -> list[int]:
        """End a session and its open streams; the ids of these. A session that is over stays as it is."""

    @abc.abstractmethod
    def count_sessions(self, principal: str | None = None) -> int:
        """Return the number of open sessions, of everybody or of one principal."""

    @abc.abstractmethod
    def make_room(self, principal: str | None = None) -> list[int]:
        """End the session that was idle the longest, of everybody or of one principal; the ids of its streams.

        Nothing is ended that has an open call, or a listening connection and was touched within
        :data:`GIVE_WAY_SECONDS`; then the list is empty. Somebody else's session is ended only after
        :data:`GIVE_WAY_SECONDS` without use.
        """

    @abc.abstractmethod
    def expire_sessions(self, idle_seconds: float, limit: int) -> list[int]:
        """End up to ``limit`` sessions that were idle for long and have no open call; the ids of their streams."""

    # Subscriptions

    @abc.abstractmethod
    def subscribe(self, session_id: int, topic: str, limit: int) -> None:
        """Subscribe a session to a topic; once more is the same.

        Raises:
            TooManyRequests: the session has ``limit`` subscriptions.
        """

    @abc.abstractmethod
    def unsubscribe(self, session_id: int, topic: str) -> None:
        """Subscribe no longer; harmless without a subscription."""

    @abc.abstractmethod
    def audience(self, server: str, topic: str, *, is_for_all: bool) -> list[list[int]]:
        """Return the open sessions of a server that subscribed to a topic, or all of them.

        They come in groups of at most :data:`NEWS_AT_ONCE`, each for one :meth:`notify`.
        """

    @abc.abstractmethod
    def notify(self, session_ids: Sequence[int], topic: str, payload: str, *, is_for_all: bool) -> list[int]:
        """Append a notification to the listening streams of these sessions; the ids of those that it went to.

        It goes to those that are subscribed to the topic still, or to all, except where the last one about the same
        topic is kept and was not offered to a connection yet: whoever gets that one finds out the same.
        """

    @abc.abstractmethod
    def offer(self, session_id: int, sequence: int) -> None:
        """Note that the listening stream is about to be sent up to ``sequence``.

        Committed before the first byte goes out, so that news from then on is said again.
        """

    # Streams

    @abc.abstractmethod
    def find_stream(self, session_id: int, stream_id: int) -> tuple[Page, str] | None:
        """Return a stream of this session without its events, and the JSON of its request id."""

    @abc.abstractmethod
    def handed(self, stream_id: int) -> int:
        """Return the highest sequence of a stream that is known to have been handed to a connection."""

    @abc.abstractmethod
    def hand(self, stream_id: int, sequence: int) -> None:
        """Note that a stream was handed to a connection up to ``sequence``; only behind the fact."""

    @abc.abstractmethod
    def take(self, stream_id: int, follower: int) -> bool:
        """Make a connection the stream's only follower; the one before is told by :meth:`poll`.

        False: more than :data:`TAKEOVER_LIMIT` connections took it from one another just now. A stream that has ended
        is free for all.
        """

    @abc.abstractmethod
    def release(self, stream_id: int, follower: int) -> None:
        """Note that a follower is gone, if it still is the follower."""

    @abc.abstractmethod
    def cancel(self, session_id: int, request_id: str) -> int | None:
        """Cancel the open call with this request id (as JSON); the id of its stream, or ``None``."""

    # Asks

    @abc.abstractmethod
    def reply(self, session_id: int, wire_id: str, reply: str) -> int | None:
        """Store the first reply (JSON) to a pending ask of this session; its id, or ``None`` when there is none."""

    @abc.abstractmethod
    def replies(self, ask_ids: Iterable[int]) -> dict[int, str]:
        """Return the replies (JSON) of those asks that have one."""

    @abc.abstractmethod
    def forget_reply(self, ask_id: int) -> None:
        """Blank the reply to an ask, once it has reached whoever waited: it may hold anything that a user typed."""

    @abc.abstractmethod
    def withdraw(self, ask_id: int) -> None:
        """Stop waiting for an ask; a later reply is ignored."""

    # Housekeeping

    @abc.abstractmethod
    def tidy(self) -> None:
        """Do what the store itself needs every few seconds, beside running writes and reads."""

    # Workers

    @abc.abstractmethod
    def register_worker(self, worker_id: int, host: str, pid: int, lease_seconds: float) -> None:
        """Begin a worker's lease."""

    @abc.abstractmethod
    def renew_worker(self, worker_id: int, lease_seconds: float, dropped_records: int = 0) -> bool:
        """Extend a lease that has not run out; False when it has.

        ``dropped_records``: how many exchanges the worker could not record so far, for inspection.
        """

    @abc.abstractmethod
    def retire_worker(self, worker_id: int) -> None:
        """End a lease at once."""

    @abc.abstractmethod
    def take_orphans(self, worker_id: int, servers: Collection[str], limit: int) -> list[Orphan]:
        """Give up to ``limit`` open calls of dead workers to a living one, which runs them again.

        Only calls with kept arguments, in open sessions of these servers, whose client was not asked anything. Each is
        one compare-and-set (next epoch) that forgets the arguments, so that a call is taken once.
        """

    @abc.abstractmethod
    def end_orphans(self, closing: Callable[[jsonrpc.RequestId], str], limit: int) -> list[int]:
        """End up to ``limit`` open streams of workers whose lease has run out; the ids of these.

        Each is one compare-and-set (next epoch) with a closing event made by ``closing`` from the request id. What
        :meth:`take_orphans` could take is spared until :data:`RERUN_SECONDS` after its owner's lease has run out.
        """

    # Retention

    @abc.abstractmethod
    def prune(self, retention: Retention, redact: Callable[[str], str], limit: int) -> Pruned | None:
        """Delete or redact what is due, up to some ``limit`` rows; ``None`` when nothing is left to do.

        A stream that ended so long ago can first no longer be resumed: its events are rewritten by ``redact`` from the
        first one on, and :attr:`Page.earliest` moves along in the same transaction, so that no reader ever takes
        a rewritten event for the one that was sent. Later it is deleted with all that belongs to it. Open streams
        and sessions are never touched. Any number of workers may do it at once.
        """

    @abc.abstractmethod
    def purge(self, session_id: int, limit: int) -> Pruned | None:
        """Delete what there is of a session that is over, however young, up to some ``limit`` rows.

        ``None`` when nothing of it is left, or it is open. :attr:`Page.earliest` moves along as in :meth:`prune`.
        """

    @abc.abstractmethod
    def prunable(self, retention: Retention) -> Pruned:
        """Return how much :meth:`prune` would find in all; it may take a while."""


_Id = TypeVar("_Id")


def chunks(ids: Iterable[_Id], size: int) -> Iterator[list[_Id]]:
    """Cut ids into lists of at most ``size``."""
    everything = list(ids)
    for start in range(0, len(everything), size):
        yield everything[start : start + size]
