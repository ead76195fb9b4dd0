"""Entries from rows: what each message is, what it answers, and as whom it may be shown."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Collection, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from streamable_http import exceptions, ids, models
from streamable_http.models import StreamState
from streamable_http.protocol import cursors, http, jsonrpc
from streamable_http.replay import messages, naming
from streamable_http.replay.entries import Direction, Entry, Kind

_NOTIFICATIONS: Final = "notifications/"

_BEHIND: Final = timedelta(seconds=60)
"""Records are written behind by less than this."""


class Builder:
    """Makes entries of the rows of a page, and pairs them."""

    def __init__(
        self, *, with_payloads: bool, streams: Iterable[models.Stream] = (), asks: Iterable[models.Ask] = ()
    ) -> None:
        self.streams = {stream.pk: stream for stream in streams}
        self._with_payloads = with_payloads
        self._entries: dict[str, Entry] = {}
        self._asks = {ask.wire_id: ask for ask in asks}
        # Of asks and replies, and redacted facts: both until wire ids have names, by the keys of entries.
        self._wire_ids: dict[str, str] = {}
        self._facts: dict[str, str] = {}
        # By what is asked: a stream's id, or a wire id.
        self._questions: dict[int | str, str] = {}
        self._answers: dict[int | str, str] = {}

    def add_event(self, event: models.Event) -> None:
        """Add what went out."""
        key = f"{event.stream_id:x}.{event.sequence}"
        stream = self.streams.get(event.stream_id)
        message = messages.read(event.payload)
        kind = _kind_of_event(message, event, stream)
        method, name, request_id, latency_ms = message.method, "", "", None
        if kind is Kind.ASK:
            wire_id = naming.wire_id(message, came_in=False) or ""
            self._wire_ids[key] = wire_id
            self._questions[wire_id] = key
        elif kind is not Kind.NOTIFICATION:
            request_id = message.request_id
            if stream is not None:
                method, name, request_id = stream.method, stream.name, stream.request_id
                latency_ms = _latency_ms(stream, event.created_at)
            self._answers[event.stream_id] = key
        self._entries[key] = Entry(
            key=key,
            at=event.created_at,
            direction=Direction.OUT,
            kind=kind,
            stream_id=event.stream_id,
            sequence=event.sequence,
            method=method,
            name=name,
            request_id=request_id,
            size_bytes=messages.size_bytes(event.payload),
            pair="",
            latency_ms=latency_ms,
            cursor="",
            payload=self._redacted(event.payload),
        )

    def add_record(self, record: models.Record) -> None:
        """Add what came in; the record of a stream that is not among this page's belongs to none."""
        key = f"r{record.pk:x}"
        stream = self.streams.get(record.pk)
        if stream is not None and not stream.is_listening:
            self._questions[record.pk] = key
            self._add_record(
                record,
                kind=Kind.REQUEST,
                stream_id=record.pk,
                method=stream.method or record.method,
                name=stream.name,
                request_id=stream.request_id,
            )
        elif not record.payload:
            self._add_connection(record)
        else:
            self._add_loose(record)

    def entries(self) -> list[Entry]:
        """Return everything by time, each with its pair; to be called once, when all is added."""
        self._name()
        for asked in self._questions.keys() & self._answers.keys():
            self._pair(self._questions[asked], self._answers[asked])
        return in_order(self._entries.values())

    def counts(self) -> dict[int, int]:
        """Return how many events of each stream there are."""
        counts: dict[int, int] = {}
        for entry in self._entries.values():
            if entry.sequence is not None and entry.stream_id is not None:
                counts[entry.stream_id] = counts.get(entry.stream_id, 0) + 1
        return counts

    def _add_loose(self, record: models.Record) -> None:
        message = messages.read(record.payload)
        kind = _kind_of_record(message, record)
        if kind is not Kind.REPLY:
            request_id = message.request_id if kind is Kind.REQUEST else ""
            self._add_record(record, kind=kind, method=record.method or message.method, request_id=request_id)
            return
        wire_id = naming.wire_id(message, came_in=True) or ""
        self._wire_ids[f"r{record.pk:x}"] = wire_id
        ask = self._asks.get(wire_id)
        if ask is None:
            self._add_record(record, kind=kind)
            return
        self._answers[wire_id] = f"r{record.pk:x}"
        self._add_record(
            record,
            kind=kind,
            stream_id=ask.stream_id,
            method=ask.method,
            latency_ms=_between_ms(ask.created_at, record.created_at),
        )

    def _add_connection(self, record: models.Record) -> None:
        """Add a request without a body: a GET or a DELETE."""
        facts = facts_of(record)
        cursor = cursor_of(facts)
        if facts.get("method") == "DELETE":
            self._add_record(record, kind=Kind.DELETE)
        elif cursor is None:
            self._add_record(record, kind=Kind.LISTEN, stream_id=self._own(record.session_id, record))
        else:
            stream_id = self._own(cursor.stream_id, record)
            shown = cursors.format(*cursor) if cursor is not cursors.NOWHERE else ""
            self._add_record(record, kind=Kind.RESUME, stream_id=stream_id, cursor=shown)

    def _own(self, stream_id: int | None, record: models.Record) -> int | None:
        """Return a stream, if it is one of the record's session."""
        stream = self.streams.get(stream_id or 0)
        return stream.pk if stream is not None and stream.session_id == record.session_id else None

    def _add_record(
        self,
        record: models.Record,
        *,
        kind: Kind,
        stream_id: int | None = None,
        method: str = "",
        name: str = "",
        request_id: str = "",
        latency_ms: float | None = None,
        cursor: str = "",
    ) -> None:
        key = f"r{record.pk:x}"
        self._entries[key] = Entry(
            key=key,
            at=_came_at(record) if kind is not Kind.REQUEST or stream_id is None else record.created_at,
            direction=Direction.IN,
            kind=kind,
            stream_id=stream_id,
            sequence=None,
            method=method,
            name=name,
            request_id=request_id,
            size_bytes=messages.size_bytes(record.payload),
            pair="",
            latency_ms=latency_ms,
            cursor=cursor,
            payload=self._redacted(record.payload) if record.payload else None,
        )
        if self._with_payloads:
            self._facts[key] = messages.redact(record.facts)

    def _redacted(self, payload: str) -> str | None:
        return messages.redact(payload) if self._with_payloads else None

    def _name(self) -> None:
        """Put names in the place of wire ids, all of which are looked up at once."""
        payloads = (entry.payload for entry in self._entries.values() if entry.payload)
        names = naming.names_of(itertools.chain(payloads, self._facts.values(), self._wire_ids.values()))
        for key, entry in self._entries.items():
            wire_id = self._wire_ids.get(key)
            # The client's own ids are of its choice, and so said by it.
            own_id = entry.request_id if self._with_payloads else ""
            self._entries[key] = dataclasses.replace(
                entry,
                request_id=own_id if wire_id is None else _name_as_json(names.get(wire_id)),
                payload=naming.named(entry.payload, names, wire_id) if entry.payload else entry.payload,
                facts=_read_facts(messages.rename(self._facts.get(key, ""), names)),
            )

    def _pair(self, question: str, answer: str) -> None:
        asked, answered = self._entries[question], self._entries[answer]
        latency_ms = answered.latency_ms
        if latency_ms is None:
            latency_ms = _between_ms(asked.at, answered.at)
        self._entries[question] = dataclasses.replace(asked, pair=answer)
        self._entries[answer] = dataclasses.replace(answered, pair=question, latency_ms=latency_ms)


def in_order(entries: Collection[Entry]) -> list[Entry]:
    """Return entries by time; of one moment, a request before its events.

    The events of a stream stay in sequence, even where workers took turns whose clocks differ.
    """
    moments = {entry.key: entry.at for entry in entries}
    latest: dict[int | None, datetime] = {}
    for entry in sorted((each for each in entries if each.sequence is not None), key=_sequence):
        latest[entry.stream_id] = moments[entry.key] = max(entry.at, latest.get(entry.stream_id, entry.at))

    def place(entry: Entry) -> tuple[datetime, int, int]:
        is_event = entry.sequence is not None and entry.stream_id is not None
        own_id = entry.stream_id if is_event else int(entry.key[1:], 16)
        return moments[entry.key], own_id or 0, _sequence(entry)

    return sorted(entries, key=place)


def _sequence(entry: Entry) -> int:
    return entry.sequence or 0


def cursor_of(facts: dict[str, Any]) -> cursors.Cursor | None:
    """Return where a GET wanted to go on; ``NOWHERE`` for what cannot be read, ``None`` without a cursor."""
    headers = facts.get("headers")
    text = headers.get(http.LAST_EVENT_ID) if isinstance(headers, dict) else None
    if not isinstance(text, str) or not text:
        return None
    try:
        return cursors.parse(text)
    except exceptions.InvalidCursor:
        return cursors.NOWHERE


def facts_of(record: models.Record) -> dict[str, Any]:
    """Return the HTTP facts of a record; none where they cannot be read."""
    return _read_facts(record.facts)


def _read_facts(text: str) -> dict[str, Any]:
    facts = messages.loads(text) if text else None
    return facts if isinstance(facts, dict) else {}


def _name_as_json(name: str | None) -> str:
    return jsonrpc.dumps(naming.HIDDEN if name is None else name).decode()


def _kind_of_event(message: messages.Message, event: models.Event, stream: models.Stream | None) -> Kind:
    if message.method:
        return Kind.ASK if message.request_id else Kind.NOTIFICATION
    is_last = stream is not None and stream.state != StreamState.OPEN and event.sequence == stream.head
    has_failed = stream is not None and stream.has_failed
    if message.is_answer:
        return Kind.ERROR if message.is_error or (is_last and has_failed) else Kind.RESULT
    if is_last and stream is not None and stream.request_id:
        # Folded as a whole.
        return Kind.ERROR if has_failed else Kind.RESULT
    return Kind.NOTIFICATION


def _kind_of_record(message: messages.Message, record: models.Record) -> Kind:
    if message.is_answer:
        return Kind.REPLY
    if message.method:
        return Kind.REQUEST if message.request_id else Kind.NOTIFICATION
    # Folded as a whole.
    if not record.method:
        return Kind.REPLY
    return Kind.NOTIFICATION if record.method.startswith(_NOTIFICATIONS) else Kind.REQUEST


def _latency_ms(stream: models.Stream, answered_at: datetime) -> float:
    if stream.duration_ms is not None:
        return stream.duration_ms
    return _between_ms(stream.created_at, answered_at)


def _came_at(record: models.Record) -> datetime:
    """Return when something came that was written behind: its id was made then, by its worker's clock."""
    # The end of that millisecond, or it would be before what it answers.
    came_at = datetime.fromtimestamp(ids.made_at(record.pk), UTC) + timedelta(milliseconds=1)
    # Unless that clock is off.
    return came_at if timedelta(0) <= record.created_at - came_at < _BEHIND else record.created_at


def _between_ms(since: datetime, until: datetime) -> float:
    return max(0.0, (until - since).total_seconds() * 1_000)
