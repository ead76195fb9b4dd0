"""A session or a stream as a file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any, Final

from django.db.models import Q, QuerySet

from streamable_http import escaping, models
from streamable_http.protocol import jsonrpc, sse
from streamable_http.replay import naming
from streamable_http.tables import rows_of

CHUNK: Final = 200
"""Rows read at a time."""

_HIDDEN: Final = {"session": ("digest",), "ask": ("wire_id",)}
"""Columns that are secrets, or as good as one."""

_SAID: Final = {
    "session": ("client_info", "capabilities"),
    "stream": ("arguments", "request_id"),
    "record": ("payload", "facts"),
    "event": ("payload",),
    "ask": ("reply",),
}
"""Columns that hold what was said, as text of JSON: redacted, and left out for those who may not see it."""

_CAME_IN: Final = {"record": True, "event": False}
"""Which way went what is a message of its own."""


def as_json_lines(
    *, session_id: int | None = None, stream_id: int | None = None, with_payloads: bool
) -> Iterator[str]:
    """Yield JSON objects, a line each: first the session, then its streams, records, events and asks.

    Nothing that is stored is left out but secrets (digests, wire ids of asks) and what redaction masks. Each has a
    ``type``: ``session``, ``stream``, ``record``, ``event``, ``ask``; ids are hexadecimal, times ISO 8601 in UTC, and
    messages the JSON text that is stored. Constant memory.

    Raises:
        LookupError: there is none.
    """
    if session_id is not None:
        rows = _of_session(session_id)
    elif stream_id is not None:
        rows = _of_stream(stream_id)
    else:
        raise LookupError("neither a session nor a stream was named")
    return (_line(row, with_payloads) for row in rows)


def as_sse(stream_id: int, after: int = 0) -> Iterator[bytes]:
    """Yield the events of a stream as they would go over the wire, redacted.

    Raises:
        LookupError: there is no such stream.
    """
    _require(models.Stream, stream_id, "stream")
    rows = rows_of(models.Event).filter(stream_id=stream_id, sequence__gt=after).order_by("sequence")
    events = rows.iterator(chunk_size=CHUNK)
    return (sse_event(stream_id, event.sequence, _message(event, event.payload)) for event in events)


def sse_event(stream_id: int, sequence: int, shown: str) -> bytes:
    """Return an event as it would go over the wire; ``shown`` is its redacted message."""
    return sse.encode(f"{stream_id:x}.", [(sequence, shown)])


def _of_session(session_id: int) -> Iterator[Any]:
    session = _require(models.Session, session_id, "session")
    streams = rows_of(models.Stream).filter(session_id=session_id)
    records = rows_of(models.Record).filter(Q(session_id=session_id) | Q(pk__in=streams.values("pk")))
    return _all([session], streams, records, _events_of(streams), rows_of(models.Ask).filter(session_id=session_id))


def _of_stream(stream_id: int) -> Iterator[Any]:
    stream = _require(models.Stream, stream_id, "stream")
    session = rows_of(models.Session).filter(pk=stream.session_id)
    records = rows_of(models.Record).filter(pk=stream_id)
    streams = rows_of(models.Stream).filter(pk=stream_id)
    return _all(session, streams, records, _events_of(streams), rows_of(models.Ask).filter(stream_id=stream_id))


def _all(sessions: Iterable[Any], *sources: Iterable[Any]) -> Iterator[Any]:
    yield from sessions
    for source in sources:
        yield from source.order_by("pk").iterator(chunk_size=CHUNK) if isinstance(source, QuerySet) else source


def _events_of(streams: QuerySet[Any]) -> Iterator[Any]:
    """Yield events stream by stream, so that each comes in order and by its index."""
    for stream_id in streams.order_by("pk").values_list("pk", flat=True).iterator(chunk_size=CHUNK):
        yield from rows_of(models.Event).filter(stream_id=stream_id).order_by("sequence").iterator(chunk_size=CHUNK)


def _line(row: Any, with_payloads: bool) -> str:
    meta = row._meta  # noqa: SLF001  # Django's public name for it
    type_ = meta.model_name
    said = _SAID[type_]
    shown: dict[str, Any] = {"type": type_}
    for column in meta.concrete_fields:
        if column.name in _HIDDEN.get(type_, ()) or (column.name in said and not with_payloads):
            continue
        value = getattr(row, column.attname)
        if column.name in said:
            shown[column.name] = _redacted(row, column.name, value)
        else:
            shown[column.name] = _value(column, value)
    return jsonrpc.dumps(shown).decode()


def _redacted(row: Any, name: str, value: str) -> str:
    return escaping.storable(value) if not value or name == "request_id" else _message(row, value)


def _value(column: Any, value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, str):
        return escaping.storable(value)
    is_id = column.primary_key or column.is_relation or column.name in ("resent_from", "follower")
    return f"{value:x}" if is_id and value is not None else value


def _message(row: Any, payload: str) -> str:
    # Looked up message by message, for more may be asked while the rows go out.
    return naming.shown(payload, came_in=_CAME_IN.get(row._meta.model_name))  # noqa: SLF001  # Django's public name


def _require(model: type[Any], pk: int, name: str) -> Any:
    row = rows_of(model).filter(pk=pk).first()
    if row is None:
        raise LookupError(f"there is no {name} {pk:x}")
    return row
