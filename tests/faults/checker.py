"""Compares what clients got with what is committed. It knows the promises, and nothing of how they are kept.

Of the product it takes nothing: event ids are read, and tables are queried, by hand.
"""

from __future__ import annotations

import itertools
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tests.acceptance.conftest import Database
from tests.faults.facts import Connection, Death, Delivery, Facts, Injected, Reader, Stream

LOST: Final = "lost"
REPEATED: Final = "repeated to the application"
OUT_OF_ORDER: Final = "out of order"
WRONG_SESSION: Final = "delivered to a wrong session"
SILENT_GAP: Final = "silent gaps"
BACKWARDS: Final = "progress that went backwards"
LATE: Final = "calls without an end within 20 s of their worker's death"
UNCOMMITTED: Final = "not what was committed"

KINDS: Final = (LOST, REPEATED, OUT_OF_ORDER, WRONG_SESSION, SILENT_GAP, BACKWARDS, LATE, UNCOMMITTED)
"""The last one is write-ahead: what was delivered must be in the log, as it was delivered."""

LATEST_SECONDS: Final = 20.0
"""Promise 6."""

SETTLED_SECONDS: Final = 8.0
"""A client whose connections were left alone for this long knows what has happened: after 6 s of silence, as from a
worker that is paused, it gives a connection up by itself."""

CANCELLED: Final = "cancelled"
OPEN: Final = "open"


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken promise, with its evidence."""

    kind: str
    session: str
    stream: int | None
    what: str
    at: float | None = None
    """When it came to light at the client."""

    def evidence(self, faults: Sequence[Injected]) -> str:
        """Return a line that says everything, with the fault before it."""
        name = "-" if self.stream is None else f"{self.stream:x}"
        line = f"{self.kind}: session {self.session}, stream {name}: {self.what}"
        before = [fault for fault in faults if self.at is not None and fault.at <= self.at]
        if not before:
            return line
        last = max(before, key=lambda fault: fault.at)
        return f"{line}; {self.at - last.at:.2f} s after {last.kind} ({last.what})"


def load(database: Database, digests: dict[str, str], found: Facts) -> None:
    """Read what is committed. ``digests``: SHA-256 of each session's secret, by its name."""
    sessions = dict(database.rows("SELECT digest, id FROM streamable_http_session"))
    found.session_ids = {name: sessions[digest] for name, digest in digests.items() if digest in sessions}
    events: dict[int, list[tuple[int, str]]] = defaultdict(list)
    query = "SELECT stream_id, sequence, payload FROM streamable_http_event ORDER BY stream_id, sequence"
    for stream, sequence, payload in database.rows(query):
        events[stream].append((sequence, payload))
    query = "SELECT id, session_id, request_id, head, state FROM streamable_http_stream"
    found.streams = {id: Stream(*rest, events=events[id]) for id, *rest in database.rows(query)}


def check(found: Facts) -> list[Violation]:
    """Return everything that is not as promised."""
    violations = [violation for reader in found.readers for violation in _Reading(found, reader).violations()]
    for id, stream in found.streams.items():
        violations += _check_log(found, id, stream)
    for death in found.deaths:
        violations += _check_death(found, death)
    return violations


def longest_wait(found: Facts) -> float:
    """Return the longest time from a worker's death until a client knew that its call was over."""
    return max((ended - death.at for death, _, ended in _bereaved(found)), default=0.0)


# What a client got


class _Reading:
    """One client's view of one stream, held against the log."""

    def __init__(self, found: Facts, reader: Reader) -> None:
        self._found = found
        self._reader = reader
        self._stream = found.streams.get(reader.stream) if reader.stream is not None else None
        self._committed: dict[int | None, str] = dict(self._stream.events) if self._stream is not None else {}

    def violations(self) -> Iterator[Violation]:
        reader = self._reader
        for refusal in reader.refusals:
            yield self._violation(LOST, f"refused: {refusal}")
        if reader.stream is None:
            return
        if self._stream is None:
            yield self._violation(UNCOMMITTED, "the stream is not in the database")
            return
        if self._stream.session_id != self._found.session_ids.get(reader.session):
            yield self._violation(WRONG_SESSION, "the stream is another session's")
        for connection in reader.connections:
            yield from self._check_connection(connection)
        yield from self._check_application()
        yield from self._check_progress()
        if not reader.is_rival:
            yield from self._check_end(self._stream)

    def _check_connection(self, connection: Connection) -> Iterator[Violation]:
        """On one connection everything behind the cursor comes, in order, without a gap."""
        _, after = _parse(connection.cursor or "")
        for delivery in connection.deliveries:
            yield from self._check_delivery(delivery)
            _, sequence = _parse(delivery.event_id)
            if after is not None and sequence is not None:
                if sequence > after + 1 and connection.is_recovered:
                    yield self._violation(SILENT_GAP, f"{sequence} after {after} on one connection", delivery)
                elif sequence <= after:
                    yield self._violation(OUT_OF_ORDER, f"{sequence} after {after} on one connection", delivery)
            after = sequence

    def _check_delivery(self, delivery: Delivery) -> Iterator[Violation]:
        """It is what is committed under its id, of this stream, and for this session."""
        stream_id, sequence = _parse(delivery.event_id)
        if stream_id != self._reader.stream:
            yield self._violation(WRONG_SESSION, f"event {delivery.event_id} of another stream", delivery)
        elif self._committed.get(sequence) != delivery.payload:
            is_there = sequence in self._committed
            said = f"event {delivery.event_id} {'differs from what' if is_there else 'of what nothing'} is committed"
            yield self._violation(UNCOMMITTED, f"{said}: {delivery.payload[:200]}", delivery)
        owner = _owner(delivery.payload)
        if owner is not None and owner != self._reader.session:
            yield self._violation(WRONG_SESSION, f"event {delivery.event_id} is meant for {owner}", delivery)

    def _check_application(self) -> Iterator[Violation]:
        """The application got each event once, in order, without a gap."""
        given: set[str] = set()
        after = None
        for delivery in self._reader.application:
            _, sequence = _parse(delivery.event_id)
            if delivery.payload in given:
                yield self._violation(REPEATED, f"{delivery.event_id}: {delivery.payload[:200]}", delivery)
            elif after is not None and sequence is not None:
                if sequence > after + 1 and self._is_recovered():
                    yield self._violation(SILENT_GAP, f"{sequence} after {after} to the application", delivery)
                elif sequence <= after:
                    yield self._violation(OUT_OF_ORDER, f"{sequence} after {after} to the application", delivery)
            given.add(delivery.payload)
            after = sequence

    def _check_progress(self) -> Iterator[Violation]:
        reached: dict[Any, float] = {}
        for delivery in self._reader.application:
            message = json.loads(delivery.payload)
            if message.get("method") != "notifications/progress":
                continue
            params = message["params"]
            last = reached.get(params["progressToken"], float("-inf"))
            if params["progress"] <= last:
                yield self._violation(BACKWARDS, f"{params['progress']} after {last}", delivery)
            reached[params["progressToken"]] = params["progress"]

    def _check_end(self, stream: Stream) -> Iterator[Violation]:
        """Everything that is committed has come, and a call has its response."""
        got = {_parse(delivery.event_id)[1] for delivery in self._reader.application}
        missing = [sequence for sequence, _ in stream.events if sequence not in got]
        if missing:
            yield self._violation(LOST, f"never came: {_spans(missing)} of {stream.head}")
        if self._reader.request_id is None:
            if stream.state != OPEN:
                yield self._violation(LOST, f"the session is over: its listening stream is {stream.state}")
            return
        responses = [message for message in self._messages() if "method" not in message]
        if not responses and not (self._reader.is_cancelled and stream.state == CANCELLED):
            yield self._violation(LOST, f"no response, though nobody cancelled; the stream is {stream.state}")
        for response in responses:
            yield from self._check_response(response)

    def _check_response(self, response: dict[str, Any]) -> Iterator[Violation]:
        if response.get("id") != self._reader.request_id:
            yield self._violation(WRONG_SESSION, f"the response to {response.get('id')}")
        text = _text(response)
        if self._reader.answered is not None and text is not None and text != f"accept: {self._reader.answered}":
            yield self._violation(WRONG_SESSION, f"{self._reader.answered!r} was answered, and {text!r} arrived")
        mark, _, number = (text or "").rpartition(" ")
        if mark == self._reader.request_id:
            lines = [line for message in self._messages() if (line := _line(message)) is not None]
            if lines != [f"{mark} {count}" for count in range(1, int(number) + 1)]:
                yield self._violation(LOST, f"{number} lines were said to have been sent, not {len(lines)}")

    def _messages(self) -> Iterator[dict[str, Any]]:
        return (json.loads(delivery.payload) for delivery in self._reader.application)

    def _is_recovered(self) -> bool:
        return all(connection.is_recovered for connection in self._reader.connections)

    def _violation(self, kind: str, what: str, delivery: Delivery | None = None) -> Violation:
        at = delivery.at if delivery is not None else self._reader.ended_at
        return Violation(kind, self._reader.session, self._reader.stream, what, at)


# What is committed


def _check_log(found: Facts, id: int, stream: Stream) -> Iterator[Violation]:
    """The sequences of a stream run from 1 to its head, and a call has at most one response, at its end."""
    session = _name(found, stream)
    for (before, _), (after, _) in itertools.pairwise([(0, ""), *stream.events, (stream.head + 1, "")]):
        if after != before + 1:
            yield Violation(SILENT_GAP, session, id, f"{after} after {before} in the log, whose head is {stream.head}")
    responses = [sequence for sequence, payload in stream.events if "method" not in json.loads(payload)]
    if len(responses) > 1:
        yield Violation(REPEATED, session, id, f"responses at {responses} in the log")
    if responses and responses[0] != stream.head:
        yield Violation(OUT_OF_ORDER, session, id, f"the response at {responses[0]} is before {stream.head}")
    if stream.state == OPEN and stream.request_id:
        yield Violation(LATE, session, id, f"the call {stream.request_id} is open after everything, at {stream.head}")


# The ends of calls whose workers died


def _check_death(found: Facts, death: Death) -> Iterator[Violation]:
    """A call ends at most 20 s after its worker; time when there was no worker at all does not count."""
    latest = _latest(found, death)
    for stream in death.streams:
        if stream not in found.streams:
            yield Violation(LOST, "?", stream, "a call that was open is not in the database any more", death.at)
            continue
        session = _name(found, found.streams[stream])
        ended = death.ended.get(stream)
        if ended is None or ended > latest:
            said = "never" if ended is None else f"{ended - death.at:.1f} s later"
            what = f"its worker died, and it ended {said}; {latest - death.at:.1f} s were allowed"
            yield Violation(LATE, session, stream, what, death.at)
    for dead, reader, known in _bereaved(found):
        if dead is death and known > max(latest, reader.held_up_until + SETTLED_SECONDS):
            assert reader.stream is not None
            committed = death.ended.get(reader.stream, known) - death.at
            what = (
                f"its client knew {known - death.at:.1f} s after its worker's death; the end was there after"
                f" {committed:.1f} s, and {reader.held_up_by} held it up until {reader.held_up_until - death.at:.1f} s"
            )
            yield Violation(LATE, reader.session, reader.stream, what, known)


def _bereaved(found: Facts) -> Iterator[tuple[Death, Reader, float]]:
    """Yield who read a call when its worker died, and when each knew of its end."""
    readers = {reader.stream: reader for reader in found.readers if not reader.is_rival}
    for death in found.deaths:
        for stream in death.streams:
            reader = readers.get(stream)
            if reader is not None and reader.ended_at is not None:
                yield death, reader, reader.ended_at


def _latest(found: Facts, death: Death) -> float:
    latest = death.at + LATEST_SECONDS
    for since, until in sorted(found.outages):
        if until > death.at and since < latest:
            latest += until - max(since, death.at)
    return latest


# Reading


def _name(found: Facts, stream: Stream) -> str:
    return next((name for name, id in found.session_ids.items() if id == stream.session_id), "?")


def _parse(event_id: str) -> tuple[int | None, int | None]:
    """Return the stream and the sequence of an event id; nothing if it has none."""
    stream, _, sequence = event_id.partition(".")
    try:
        return int(stream, 16), int(sequence)
    except ValueError:
        return None, None


def _owner(payload: str) -> str | None:
    """Return the session whose call a message belongs to, if it says so: all marks begin with its name."""
    message = json.loads(payload)
    params = message.get("params", {})
    said = params.get("progressToken") or params.get("data") or ("method" not in message and message.get("id"))
    return said.partition(":")[0] if isinstance(said, str) and ":" in said else None


def _text(response: dict[str, Any]) -> str | None:
    """Return what a tool returned; nothing if the call failed."""
    result = response.get("result", {})
    if not result.get("content") or result.get("isError"):
        return None
    return result["content"][0].get("text")


def _line(message: dict[str, Any]) -> str | None:
    """Return a logged line without its padding."""
    if message.get("method") != "notifications/message":
        return None
    return str(message["params"]["data"]).rstrip()


def _spans(numbers: list[int]) -> str:
    """Return ascending numbers in a few words."""
    shown = ", ".join(map(str, numbers[:10]))
    return f"{shown}, … {numbers[-1]} ({len(numbers)})" if len(numbers) > 10 else shown
