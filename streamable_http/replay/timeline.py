"""A session or a stream as a timeline of both directions, a page at a time."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from django.db.models import OuterRef, Q, QuerySet, Subquery

from streamable_http import ids, models
from streamable_http.models import StreamState
from streamable_http.protocol import cursors
from streamable_http.replay import building, filtering, messages, relations
from streamable_http.replay.entries import Lane, Timeline
from streamable_http.replay.filtering import EVERYTHING, Filters
from streamable_http.tables import rows_of

EXCHANGES: Final = 50
"""Streams and loose records on a page of a session."""

FIRST_EVENTS: Final = 30
FEWEST_EVENTS: Final = 5
SHARED_EVENTS: Final = 250
"""Events of a stream that are on it, besides the last one: its share of so many, between the two other numbers.

A page takes its time for rendering; more than some 350 entries nobody reads anyway.
"""

LISTENING_EVENTS: Final = 200
"""Events of the listening stream that are on it."""

STREAM_EVENTS: Final = 500
"""Events on a page of a stream."""

END: Final = "end"
"""Cursor of the last page."""

_CHUNK: Final = 64
"""Events read at a time, for each may be large."""

_CURSOR: Final = re.compile(r"([<>])([0-9a-f]{1,16})", re.ASCII)


def session_timeline(
    session_id: int, cursor: str = "", *, filters: Filters = EVERYTHING, with_payloads: bool
) -> Timeline:
    """Return a page of a session: some 50 exchanges with the first of their events, and what else came in meanwhile.

    ``cursor``: as a page gave it; empty for the first page, ``end`` for the last. With a filter a page may have less
    on it than fits, even nothing, and others behind it more.

    Raises:
        LookupError: there is no such session.
        ValueError: no page gave this cursor.
    """
    if not rows_of(models.Session).filter(pk=session_id).exists():
        raise LookupError(f"there is no session {session_id:x}")
    if filters.stream_id is not None:
        return _stream_of_session(session_id, filters.stream_id, cursor, filters, with_payloads)
    reader = _SessionReader(session_id, filters, with_payloads)
    position = _Position.parse(cursor)
    return filtering.scan(
        reader.page(position), lambda page: reader.page(position.behind(page)), filters, position.is_forward
    )


def stream_timeline(
    stream_id: int, after: int = 0, *, limit: int = STREAM_EVENTS, filters: Filters = EVERYTHING, with_payloads: bool
) -> Timeline:
    """Return a page of a stream: the request that opened it, its events behind a sequence, asks and their replies,
    resumes.

    Its cursors are sequences, in decimal: ``after`` of the other page.

    Raises:
        LookupError: there is no such stream.
    """
    streams = rows_of(models.Stream).defer("arguments").annotate(first_kept=_FIRST_KEPT)
    stream = streams.filter(pk=stream_id).first()
    if stream is None:
        raise LookupError(f"there is no stream {stream_id:x}")
    reader = _StreamReader(stream, max(1, limit), with_payloads)
    return filtering.scan(reader.page(max(0, after)), lambda page: reader.page(int(page.later)), filters, True)


@dataclass(frozen=True, slots=True)
class _Position:
    """Where a page of a session begins, or ends."""

    is_forward: bool = True
    bound: int | None = None
    """The id next to the page, which is not on it."""

    @classmethod
    def parse(cls, cursor: str) -> _Position:
        if not cursor:
            return cls()
        if cursor == END:
            return cls(is_forward=False)
        match = _CURSOR.fullmatch(cursor)
        if match is None or (bound := int(match[2], 16)) > cursors.MAX:
            raise ValueError("no page gave this cursor")
        return cls(match[1] == ">", bound)

    def behind(self, page: Timeline) -> _Position:
        """Return the next position in the same direction."""
        return self.parse(page.later if self.is_forward else page.earlier)


# A page of a session


class _SessionReader:
    """Reads pages of a session in a fixed number of queries each."""

    def __init__(self, session_id: int, filters: Filters, with_payloads: bool) -> None:
        self._session_id = session_id
        self._errors = filters.errors
        self._with_payloads = with_payloads

    def page(self, position: _Position) -> Timeline:
        exchanges, extra = self._exchanges(position)
        streams = {row.pk: row for row in exchanges if isinstance(row, models.Stream)}
        loose = [row for row in exchanges if isinstance(row, models.Record)]
        asks = relations.asks_of(streams, loose, self._session_id)
        others = relations.streams_of(loose, asks) | {self._session_id}
        named = self._streams().filter(pk__in=others - streams.keys())
        known = {**streams, **{stream.pk: stream for stream in named}}
        builder = building.Builder(with_payloads=self._with_payloads, streams=known.values(), asks=asks)
        for record in (*loose, *rows_of(models.Record).filter(pk__in=streams)):
            builder.add_record(record)
        for record in relations.replies(self._session_id, asks):
            builder.add_record(record)
        for event in _first_events(streams.values()):
            builder.add_event(event)
        is_cut = False
        if not self._errors:
            heard = self._heard(position, exchanges, extra)
            is_cut = len(heard) > LISTENING_EVENTS
            for event in heard[:LISTENING_EVENTS]:
                builder.add_event(event)
        return self._timeline(builder, position, exchanges, extra, is_cut)

    def _timeline(
        self,
        builder: building.Builder,
        position: _Position,
        exchanges: Sequence[models.Stream | models.Record],
        extra: int | None,
        is_cut: bool,
    ) -> Timeline:
        entries = builder.entries()
        counts = builder.counts()
        shown = {entry.stream_id for entry in entries} | {
            row.pk for row in exchanges if isinstance(row, models.Stream)
        }
        lanes = [
            Lane(
                stream=stream,
                entries=counts.get(stream.pk, 0),
                has_more=is_cut if stream.is_listening else _has_more(stream, counts),
            )
            for stream in builder.streams.values()
            if stream.pk in shown
        ]
        has_earlier = position.bound is not None if position.is_forward else extra is not None
        has_later = extra is not None if position.is_forward else position.bound is not None
        first, last = (exchanges[0].pk, exchanges[-1].pk) if exchanges else (position.bound, position.bound)
        return Timeline(
            entries=entries,
            lanes=sorted(lanes, key=filtering.lane_order),
            earlier=f"<{min(first + (not exchanges), cursors.MAX):x}" if has_earlier and first is not None else "",
            later=f">{last - (not exchanges):x}" if has_later and last is not None else "",
        )

    def _exchanges(self, position: _Position) -> tuple[list[models.Stream | models.Record], int | None]:
        """Return the streams and loose records of a page by id, and the id of the next one in the same direction."""
        streams = self._streams().exclude(pk=self._session_id).annotate(first_kept=_FIRST_KEPT)
        if self._errors:
            streams = streams.filter(_MAY_HAVE_FAILED)
        sources: list[QuerySet[Any]] = [streams]
        if not self._errors:
            sources.append(rows_of(models.Record).filter(session_id=self._session_id))
        order = "pk" if position.is_forward else "-pk"
        bound: dict[str, int] = {}
        if position.bound is not None:
            bound = {"pk__gt" if position.is_forward else "pk__lt": position.bound}
        rows: list[models.Stream | models.Record] = []
        for source in sources:
            rows += source.filter(**bound).order_by(order)[: EXCHANGES + 1]
        rows.sort(key=lambda row: row.pk, reverse=not position.is_forward)
        extra = rows[EXCHANGES].pk if len(rows) > EXCHANGES else None
        chosen = rows[:EXCHANGES]
        if not position.is_forward:
            chosen.reverse()
        return chosen, extra

    def _heard(
        self, position: _Position, exchanges: Sequence[models.Stream | models.Record], extra: int | None
    ) -> list[models.Event]:
        """Return what went to the listening stream while a page lasted: since the exchange before it."""
        before = position.bound if position.is_forward else extra
        is_last = extra is None if position.is_forward else position.bound is None
        events = rows_of(models.Event).filter(stream_id=self._session_id)
        if before is not None:
            events = events.filter(created_at__gt=_moment(before))
        if not is_last and exchanges:
            events = events.filter(created_at__lte=_moment(exchanges[-1].pk))
        return list(events.order_by("sequence")[: LISTENING_EVENTS + 1])

    def _streams(self) -> QuerySet[models.Stream]:
        return rows_of(models.Stream).defer("arguments").filter(session_id=self._session_id)


_FIRST_KEPT: Final = Subquery(
    models.Event.objects.filter(stream_id=OuterRef("pk")).order_by("sequence").values("sequence")[:1]
)
"""Not ``earliest``, which is behind everything as soon as a stream is redacted."""

_MAY_HAVE_FAILED: Final = Q(state=StreamState.LOST) | Q(outcome__in=("", *models.FAILED_OUTCOMES))


def _first_events(streams: Iterable[models.Stream]) -> Iterable[models.Event]:
    """Return the first events of each stream, and its last one."""
    streams = list(streams)
    share = max(FEWEST_EVENTS, min(FIRST_EVENTS, SHARED_EVENTS // max(1, len(streams))))
    from_one, wanted = [], Q()
    for stream in streams:
        first = getattr(stream, "first_kept", None)
        if first is None:
            continue
        if first == 1:
            from_one.append(stream.pk)
        else:
            wanted |= Q(stream_id=stream.pk, sequence__gte=first, sequence__lt=first + share)
        if stream.head >= first + share:
            wanted |= Q(stream_id=stream.pk, sequence=stream.head)
    if from_one:
        wanted |= Q(stream_id__in=from_one, sequence__lte=share)
    return rows_of(models.Event).filter(wanted).order_by().iterator(chunk_size=_CHUNK) if wanted else ()


def _has_more(stream: models.Stream, counts: dict[int, int]) -> bool:
    first = getattr(stream, "first_kept", None)
    return first is not None and stream.head - first + 1 > counts.get(stream.pk, 0)


# A page of a stream


class _StreamReader:
    """Reads pages of a stream."""

    def __init__(self, stream: models.Stream, limit: int, with_payloads: bool) -> None:
        self._stream = stream
        self._limit = limit
        self._with_payloads = with_payloads

    def page(self, after: int) -> Timeline:
        stream = self._stream
        events = list(
            rows_of(models.Event)
            .filter(stream_id=stream.pk, sequence__gte=after)
            .order_by("sequence")[: self._limit + 2]
        )
        # The one before tells when this page begins.
        before = events.pop(0).created_at if after and events and events[0].sequence == after else None
        shown, has_later = events[: self._limit], len(events) > self._limit
        until = shown[-1].created_at if has_later else None
        loose = self._loose(before, until)
        asks = relations.asks_of([stream.pk], loose, stream.session_id)
        builder = building.Builder(with_payloads=self._with_payloads, streams=[stream], asks=asks)
        for event in shown:
            builder.add_event(event)
        own_asks = {ask.wire_id for ask in asks if ask.stream_id == stream.pk}
        for record in (*self._opening(after), *loose):
            if record.pk == stream.pk or self._concerns(record, own_asks):
                builder.add_record(record)
        return Timeline(
            entries=builder.entries(),
            lanes=[Lane(stream=stream, entries=len(shown), has_more=has_later)],
            earlier=str(max(0, after - self._limit)) if after else "",
            later=str(shown[-1].sequence) if has_later else "",
        )

    def _opening(self, after: int) -> Iterable[models.Record]:
        if after or self._stream.is_listening:
            return ()
        return rows_of(models.Record).filter(pk=self._stream.pk)

    def _loose(self, before: datetime | None, until: datetime | None) -> list[models.Record]:
        """Return what came in meanwhile that is no request and no notification: replies and resumes."""
        if self._stream.session_id is None:
            return []
        since = _seconds(self._stream.pk) if before is None else before.timestamp() - relations.COMMIT_SECONDS
        records = rows_of(models.Record).filter(
            session_id=self._stream.session_id, method="", pk__gte=ids.first_at(since)
        )
        if before is not None:
            records = records.filter(created_at__gt=before)
        if until is not None:
            records = records.filter(created_at__lte=until)
        return list(records.order_by("pk")[: relations.LOOSE_RECORDS])

    def _concerns(self, record: models.Record, wire_ids: set[str]) -> bool:
        if record.payload:
            return messages.read(record.payload).request_id[1:-1] in wire_ids
        facts = building.facts_of(record)
        cursor = building.cursor_of(facts)
        if cursor is None:
            return self._stream.is_listening and facts.get("method") != "DELETE"
        return cursor.stream_id == self._stream.pk


def _stream_of_session(
    session_id: int, stream_id: int, cursor: str, filters: Filters, with_payloads: bool
) -> Timeline:
    """Return a page of the one stream that a filter leaves."""
    streams = rows_of(models.Stream).filter(pk=stream_id, session_id=session_id)
    head = streams.values_list("head", flat=True).first()
    if head is None:
        return Timeline(entries=[], lanes=[], earlier="", later="")
    if cursor == END:
        cursor = str(max(0, head - STREAM_EVENTS))
    if cursor and not (cursor.isascii() and cursor.isdigit() and len(cursor) < 19):
        raise ValueError("no page gave this cursor")
    return stream_timeline(stream_id, int(cursor or 0), filters=filters, with_payloads=with_payloads)


def _seconds(row_id: int) -> float:
    """Return when an id was made, as seconds since 1970."""
    return (row_id >> ids.RANDOM_BITS) / 1_000


def _moment(row_id: int) -> datetime:
    return datetime.fromtimestamp(min(_seconds(row_id), _LATEST_SECONDS), UTC)


_LATEST_SECONDS: Final = datetime.max.replace(tzinfo=UTC).timestamp() - 86_400
