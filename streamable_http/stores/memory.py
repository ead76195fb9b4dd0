"""The store in this process's memory: for tests, and for single processes that need no history.

What has ended is forgotten after ``SESSION_IDLE_SECONDS``; records are not kept at all.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from streamable_http import conf, exceptions, models
from streamable_http.protocol import jsonrpc
from streamable_http.stores import base


@dataclass(slots=True)
class _Session:
    facts: base.SessionFacts
    digest: str
    state: models.SessionState = models.SessionState.OPEN
    log_level: str = "info"
    last_seen: float = field(default_factory=time.monotonic)


@dataclass(slots=True)
class _Stream:
    session_id: int | None
    owner_id: int | None
    request_id: str
    method: str = ""
    arguments: str = ""
    epoch: int = 1
    state: models.StreamState = models.StreamState.OPEN
    events: list[base.Event] = field(default_factory=list)
    head: int = 0
    stored_bytes: int = 0
    follower: int | None = None
    takeovers: int = 0
    taken_at: float = float("-inf")
    handed: int = 0
    ended_at: float = float("inf")

    def end(self, state: models.StreamState) -> None:
        """Note how it ended."""
        self.state = state
        self.ended_at = time.monotonic()

    @property
    def earliest(self) -> int:
        return self.events[0].sequence if self.events else self.head + 1 if self.head else 1


@dataclass(slots=True)
class _Ask:
    ask: base.NewAsk
    stream_id: int
    state: models.AskState = models.AskState.PENDING
    reply: str = ""


class MemoryStore(base.Store):
    """No options. Every method runs under one lock."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sessions: dict[int, _Session] = {}
        self._digests: dict[str, int] = {}
        self._streams: dict[int, _Stream] = {}
        self._asks: dict[str, _Ask] = {}
        self._leases: dict[int, float] = {}
        self._subscriptions: dict[tuple[int, str], int] = {}
        """Sequence of the event about it that was not offered to a connection yet, or 0, by session and topic."""

    # The write path

    def write(self, writes: Sequence[base.StreamWrite], records: Sequence[base.NewRecord]) -> list[base.Outcome]:
        for write in writes:
            for payload in write.payloads:
                _require_storable(payload)
        with self._lock:
            return [self._open(w, w.opening) if w.opening is not None else self._append(w) for w in writes]

    def committed(self, receipt: Any) -> bool:
        raise exceptions.StoreError("a commit in memory is never uncertain")

    def _open(self, write: base.StreamWrite, opening: base.Opening) -> base.Outcome:
        if write.stream_id in self._streams:
            return base.StreamIdTaken()
        level = ""
        if opening.session_id is not None:
            session = self._sessions.get(opening.session_id)
            if session is None or session.state != models.SessionState.OPEN:
                return exceptions.UnknownSession()
            running = self._running(opening.session_id)
            if any(stream.request_id == opening.request_id for _, stream in running):
                return exceptions.RequestIdInFlight()
            if len(running) >= conf.settings.MAX_OPEN_STREAMS:
                return exceptions.TooManyRequests("too many open streams in this session", retry_after_seconds=1)
            level = session.log_level
        stream = _Stream(
            opening.session_id,
            opening.owner_id,
            opening.request_id,
            opening.method,
            opening.arguments,
            follower=opening.follower,
            head=opening.skipped,
        )
        self._streams[write.stream_id] = stream
        return self._extend(stream, write, level)

    def _append(self, write: base.StreamWrite) -> base.Outcome:
        stream = self._streams.get(write.stream_id)
        if stream is None or stream.state != models.StreamState.OPEN or write.epoch not in (None, stream.epoch):
            return exceptions.StreamLost(write.stream_id)
        return self._extend(stream, write, "")

    def _extend(self, stream: _Stream, write: base.StreamWrite, level: str) -> base.Written:
        for payload in write.payloads:
            stream.head += 1
            stream.events.append(base.Event(stream.head, payload))
        stream.stored_bytes += write.stored_bytes
        if write.end != models.StreamState.OPEN:
            stream.end(write.end)
        trimmed = stream.events[: -conf.settings.MAX_STREAM_EVENTS]
        stream.stored_bytes -= sum(len(event.payload.encode()) for event in trimmed)
        del stream.events[: len(trimmed)]
        for ask in write.asks:
            self._asks[ask.wire_id] = _Ask(ask, write.stream_id)
        return base.Written(stream.head, stream.stored_bytes, level)

    # Reading

    def read(self, stream_id: int, after: int, limit: int) -> base.Page | None:
        with self._lock:
            stream = self._streams.get(stream_id)
            if stream is None:
                return None
            start = max(0, after - stream.earliest + 1)
            return base.Page(stream.events[start : start + limit], stream.state, stream.head, stream.earliest)

    def poll(self, stream_ids: Iterable[int]) -> dict[int, base.Status]:
        with self._lock:
            found = {i: stream for i in stream_ids if (stream := self._streams.get(i)) is not None}
            return {i: base.Status(s.head, s.epoch, s.state, s.follower) for i, s in found.items()}

    # Sessions

    def open_session(self, facts: base.SessionFacts, digest: str, record: base.NewRecord | None) -> None:
        with self._lock:
            self._sessions[facts.id] = _Session(facts, digest)
            self._digests[digest] = facts.id
            self._streams[facts.id] = _Stream(facts.id, None, "")

    def find_session(self, digest: str) -> base.SessionFacts | None:
        with self._lock:
            session = self._sessions.get(self._digests.get(digest, 0))
            return session.facts if session is not None and session.state == models.SessionState.OPEN else None

    def is_open(self, session_id: int) -> bool:
        with self._lock:
            session = self._sessions.get(session_id)
            return session is not None and session.state == models.SessionState.OPEN

    def touch(self, session_ids: Iterable[int]) -> None:
        with self._lock:
            for session_id in session_ids:
                if session_id in self._sessions:
                    self._sessions[session_id].last_seen = time.monotonic()

    def set_log_level(self, session_id: int, level: str) -> None:
        with self._lock:
            if session_id in self._sessions:
                self._sessions[session_id].log_level = level

    def end_session(self, session_id: int, state: models.SessionState) -> list[int]:
        with self._lock:
            return self._end_session(session_id, state)

    def count_sessions(self, principal: str | None = None) -> int:
        with self._lock:
            return len(self._open_ids(principal))

    def make_room(self, principal: str | None = None) -> list[int]:
        with self._lock:
            untouched = self._idle(base.GIVE_WAY_SECONDS, principal)
            alone = [i for i in self._idle(0, principal) if self._streams[i].follower is None]
            idle = untouched or (alone if principal is not None else [])
            return self._end_session(idle[0], models.SessionState.EXPIRED) if idle else []

    def expire_sessions(self, idle_seconds: float, limit: int) -> list[int]:
        with self._lock:
            idle = self._idle(idle_seconds, None)[:limit]
            return [i for session_id in idle for i in self._end_session(session_id, models.SessionState.EXPIRED)]

    def _open_ids(self, principal: str | None) -> list[int]:
        return [
            i
            for i, session in self._sessions.items()
            if session.state == models.SessionState.OPEN and principal in (None, session.facts.principal)
        ]

    def _idle(self, seconds: float, principal: str | None) -> list[int]:
        """Return the sessions without an open call that were idle for so long, the longest idle first."""
        before = time.monotonic() - seconds
        idle = [i for i in self._open_ids(principal) if self._sessions[i].last_seen < before and not self._running(i)]
        return sorted(idle, key=lambda i: self._sessions[i].last_seen)

    def _end_session(self, session_id: int, state: models.SessionState) -> list[int]:
        session = self._sessions.get(session_id)
        if session is None or session.state != models.SessionState.OPEN:
            return []
        session.state = state
        for key in [key for key in self._subscriptions if key[0] == session_id]:
            del self._subscriptions[key]
        ended = [*self._running(session_id), (session_id, self._streams[session_id])]
        for _, stream in ended:
            stream.end(models.StreamState(state.value))
            stream.epoch += 1
        return [stream_id for stream_id, _ in ended]

    def _running(self, session_id: int) -> list[tuple[int, _Stream]]:
        return [
            (stream_id, stream)
            for stream_id, stream in self._streams.items()
            if stream.session_id == session_id and stream.state == models.StreamState.OPEN and stream.request_id
        ]

    # Subscriptions

    def subscribe(self, session_id: int, topic: str, limit: int) -> None:
        with self._lock:
            if (session_id, topic) not in self._subscriptions:
                if sum(1 for subscribed, _ in self._subscriptions if subscribed == session_id) >= limit:
                    raise exceptions.TooManyRequests("too many subscriptions in this session", retry_after_seconds=60)
                self._subscriptions[session_id, topic] = 0

    def unsubscribe(self, session_id: int, topic: str) -> None:
        with self._lock:
            self._subscriptions.pop((session_id, topic), None)

    def audience(self, server: str, topic: str, *, is_for_all: bool) -> list[list[int]]:
        with self._lock:
            sessions = [i for i in self._open_ids(None) if self._sessions[i].facts.server == server]
            subscribed = [i for i in sessions if is_for_all or (i, topic) in self._subscriptions]
        return list(base.chunks(subscribed, base.NEWS_AT_ONCE))

    def notify(self, session_ids: Sequence[int], topic: str, payload: str, *, is_for_all: bool) -> list[int]:
        told = []
        write = base.StreamWrite(stream_id=0, epoch=None, payloads=[payload], stored_bytes=len(payload.encode()))
        with self._lock:
            for session_id in session_ids:
                stream = self._streams.get(session_id)
                if stream is None or stream.state != models.StreamState.OPEN:
                    continue
                if is_for_all:
                    self._subscriptions.setdefault((session_id, topic), 0)
                announced = self._subscriptions.get((session_id, topic))
                if announced is not None and announced < stream.earliest:
                    self._extend(stream, write, "")
                    self._subscriptions[session_id, topic] = stream.head
                    told.append(session_id)
        return told

    def offer(self, session_id: int, sequence: int) -> None:
        with self._lock:
            for key, announced in self._subscriptions.items():
                if key[0] == session_id and announced <= sequence:
                    self._subscriptions[key] = 0

    # Streams

    def find_stream(self, session_id: int, stream_id: int) -> tuple[base.Page, str] | None:
        with self._lock:
            stream = self._streams.get(stream_id)
            if stream is None or stream.session_id != session_id:
                return None
            return base.Page([], stream.state, stream.head, stream.earliest), stream.request_id

    def handed(self, stream_id: int) -> int:
        with self._lock:
            stream = self._streams.get(stream_id)
            return stream.handed if stream is not None else 0

    def hand(self, stream_id: int, sequence: int) -> None:
        with self._lock:
            stream = self._streams.get(stream_id)
            if stream is not None:
                stream.handed = max(stream.handed, sequence)

    def take(self, stream_id: int, follower: int) -> bool:
        now = time.monotonic()
        with self._lock:
            stream = self._streams.get(stream_id)
            if stream is None:
                return False
            if stream.follower is not None and stream.state == models.StreamState.OPEN:
                calm = stream.taken_at < now - base.TAKEOVER_WINDOW_SECONDS
                if not calm and stream.takeovers >= base.TAKEOVER_LIMIT:
                    return False
                stream.takeovers = 1 if calm else stream.takeovers + 1
                stream.taken_at = now if calm else stream.taken_at
            stream.follower = follower
            return True

    def release(self, stream_id: int, follower: int) -> None:
        with self._lock:
            stream = self._streams.get(stream_id)
            if stream is not None and stream.follower == follower:
                stream.follower = None

    def cancel(self, session_id: int, request_id: str) -> int | None:
        with self._lock:
            for stream_id, stream in self._running(session_id):
                if stream.request_id == request_id:
                    stream.end(models.StreamState.CANCELLED)
                    stream.epoch += 1
                    return stream_id
        return None

    # Asks

    def reply(self, session_id: int, wire_id: str, reply: str) -> int | None:
        with self._lock:
            pending = self._asks.get(wire_id)
            if pending is None or pending.ask.session_id != session_id:
                return None
            if pending.state != models.AskState.PENDING:
                return None
            pending.state = models.AskState.ANSWERED
            pending.reply = reply
            return pending.ask.id

    def replies(self, ask_ids: Iterable[int]) -> dict[int, str]:
        wanted = set(ask_ids)
        with self._lock:
            asks = [p for p in self._asks.values() if p.ask.id in wanted and p.state == models.AskState.ANSWERED]
            return {pending.ask.id: pending.reply for pending in asks}

    def forget_reply(self, ask_id: int) -> None:
        with self._lock:
            for asked in self._asks.values():
                if asked.ask.id == ask_id:
                    asked.reply = ""

    def withdraw(self, ask_id: int) -> None:
        with self._lock:
            for pending in self._asks.values():
                if pending.ask.id == ask_id and pending.state == models.AskState.PENDING:
                    pending.state = models.AskState.WITHDRAWN

    # Housekeeping

    def tidy(self) -> None:
        """Forget what ended longer ago than a session may be idle: nobody can resume it any more."""
        with self._lock:
            self._forget(self._old_streams(conf.settings.SESSION_IDLE_SECONDS))

    def _old_streams(self, seconds: float | None) -> list[int]:
        before = float("-inf") if seconds is None else time.monotonic() - seconds
        return [i for i, stream in self._streams.items() if stream.ended_at < before]

    def _forget(self, stream_ids: list[int]) -> base.Pruned:
        for stream_id in stream_ids:
            del self._streams[stream_id]
        session_ids = [i for i in self._sessions if i not in self._streams]
        for session_id in session_ids:
            del self._digests[self._sessions.pop(session_id).digest]
        for wire_id in [w for w, asked in self._asks.items() if asked.stream_id not in self._streams]:
            del self._asks[wire_id]
        return base.Pruned(sessions=len(session_ids), streams=len(stream_ids))

    # Workers

    def register_worker(self, worker_id: int, host: str, pid: int, lease_seconds: float) -> None:
        with self._lock:
            self._leases[worker_id] = time.monotonic() + lease_seconds

    def renew_worker(self, worker_id: int, lease_seconds: float, dropped_records: int = 0) -> bool:
        now = time.monotonic()
        with self._lock:
            if self._leases.get(worker_id, now) <= now:
                return False
            self._leases[worker_id] = now + lease_seconds
            return True

    def retire_worker(self, worker_id: int) -> None:
        with self._lock:
            self._leases[worker_id] = time.monotonic() - 1

    def take_orphans(self, worker_id: int, servers: Collection[str], limit: int) -> list[base.Orphan]:
        now = time.monotonic()
        with self._lock:
            if self._leases.get(worker_id, now) <= now:
                return []
            orphans = [
                (stream_id, stream, session)
                for stream_id, stream in self._orphans(now)
                if self._may_rerun(stream_id, stream)
                and (session := self._sessions.get(stream.session_id or 0)) is not None
                and session.state == models.SessionState.OPEN
                and session.facts.server in servers
            ][:limit]
            return [self._take_orphan(worker_id, *orphan) for orphan in orphans]

    def _take_orphan(self, worker_id: int, stream_id: int, stream: _Stream, session: _Session) -> base.Orphan:
        arguments, stream.arguments = stream.arguments, ""
        stream.owner_id = worker_id
        stream.epoch += 1
        return base.Orphan(
            stream_id=stream_id,
            epoch=stream.epoch,
            earliest=stream.earliest,
            head=stream.head,
            session=session.facts,
            log_level=session.log_level,
            request_id=stream.request_id,
            method=stream.method,
            arguments=arguments,
            facts="",
        )

    def _may_rerun(self, stream_id: int, stream: _Stream) -> bool:
        return bool(stream.arguments) and all(asked.stream_id != stream_id for asked in self._asks.values())

    def _orphans(self, now: float) -> Iterator[tuple[int, _Stream]]:
        return (
            (stream_id, stream)
            for stream_id, stream in self._streams.items()
            if stream.owner_id is not None
            and stream.state == models.StreamState.OPEN
            and self._leases.get(stream.owner_id, now) <= now
        )

    def end_orphans(self, closing: Callable[[jsonrpc.RequestId], str], limit: int) -> list[int]:
        now = time.monotonic()
        recently = now - base.RERUN_SECONDS
        with self._lock:
            orphans = [
                (stream_id, stream)
                for stream_id, stream in self._orphans(now)
                if not (
                    self._may_rerun(stream_id, stream)
                    and self._leases.get(stream.owner_id or 0, float("-inf")) >= recently
                )
            ][:limit]
            for _, stream in orphans:
                self._end_orphan(stream, closing)
        return [stream_id for stream_id, _ in orphans]

    def _end_orphan(self, stream: _Stream, closing: Callable[[jsonrpc.RequestId], str]) -> None:
        payload = closing(jsonrpc.loads(stream.request_id.encode(), max_depth=1))
        stream.epoch += 1
        stream.head += 1
        stream.events.append(base.Event(stream.head, payload))
        stream.stored_bytes += len(payload.encode())
        stream.end(models.StreamState.LOST)

    # Retention

    def prune(self, retention: base.Retention, redact: Callable[[str], str], limit: int) -> base.Pruned | None:
        # Nobody looks at what was redacted here, so it is dropped.
        with self._lock:
            old = self._old_streams(retention.history_seconds)[:limit]
            if old:
                return self._forget(old)
            resumable = self._resumable(retention)[:limit]
            for stream_id in resumable:
                self._streams[stream_id].events.clear()
            for asked in self._asks.values():
                if asked.stream_id in resumable:
                    asked.reply = ""
            return base.Pruned(redacted=len(resumable)) if resumable else None

    def purge(self, session_id: int, limit: int) -> base.Pruned | None:
        with self._lock:
            session = self._sessions.get(session_id)
            if session is None or session.state == models.SessionState.OPEN:
                return None
            streams = [i for i, stream in self._streams.items() if stream.session_id == session_id]
            # The listening stream last, for the session goes with it.
            return self._forget(sorted(streams, key=session_id.__eq__)[:limit])

    def prunable(self, retention: base.Retention) -> base.Pruned:
        with self._lock:
            old = set(self._old_streams(retention.history_seconds))
            sessions = sum(1 for session_id in self._sessions if session_id in old)
            redacted = len(set(self._resumable(retention)) - old)
            return base.Pruned(redacted=redacted, sessions=sessions, streams=len(old))

    def _resumable(self, retention: base.Retention) -> list[int]:
        """Return what could be resumed so far, and is to be no longer."""
        old = self._old_streams(retention.resumable_seconds)
        return [i for i in old if self._streams[i].events and self._streams[i].session_id is not None]


def _require_storable(payload: str) -> None:
    """Refuse what a database would refuse, so that tests on this store find it too."""
    try:
        payload.encode()
    except UnicodeEncodeError as error:
        raise exceptions.StoreError(str(error)) from error
