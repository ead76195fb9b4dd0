"""Streams as rows of a table, or as JSON."""

from __future__ import annotations

from typing import Any, Final

from streamable_http import models, redaction
from streamable_http.management import entries, output
from streamable_http.management.output import Cell, Column, Styled
from streamable_http.models import Outcome, StreamState

COLUMNS: Final = (
    Column("stream"),
    Column("session"),
    Column("state"),
    Column("outcome"),
    Column("method"),
    Column("name"),
    Column("events", "right"),
    Column("size", "right"),
    Column("took", "right"),
    Column("started"),
)

FAILED: Final = frozenset((Outcome.TOOL_ERROR, Outcome.ERROR))


def row(stream: models.Stream) -> list[Cell]:
    """Return the cells of :data:`COLUMNS`."""
    return [
        str(stream),
        "" if stream.session_id is None else f"{stream.session_id:x}",
        Styled(stream.state, _STYLES.get(stream.state, "")),
        Styled(stream.outcome, "red" if stream.outcome in FAILED else ""),
        stream.method or "listening",
        stream.name,
        f"{stream.head:,}",
        output.size(stream.stored_bytes),
        output.milliseconds(stream.duration_ms),
        output.moment(stream.created_at),
    ]


_STYLES: Final[dict[str, str]] = {StreamState.OPEN: "green", StreamState.LOST: "red"}


def facts(stream: models.Stream) -> list[tuple[str, Cell]]:
    """Return names and values, for one stream alone."""
    cells = zip((column.name for column in COLUMNS), row(stream), strict=True)
    return [
        *cells,
        ("ended", output.moment(stream.ended_at)),
        ("kept from", stream.earliest),
        ("followed", "yes" if stream.follower is not None else "no"),
        ("resent from", "" if stream.resent_from is None else f"{stream.resent_from:x}"),
    ]


def as_json(stream: models.Stream) -> dict[str, Any]:
    """Return what the REST API says of a stream in a list, by the same names."""
    return {
        "type": "stream",
        "id": str(stream),
        "session": None if stream.session_id is None else f"{stream.session_id:x}",
        "is_listening": stream.is_listening,
        "state": stream.state,
        "outcome": stream.outcome,
        "method": stream.method,
        "name": stream.name,
        "request_id": entries.parsed(redaction.redact_text(stream.request_id)) if stream.request_id else None,
        "head": stream.head,
        "earliest": stream.earliest,
        "stored_bytes": stream.stored_bytes,
        "is_followed": stream.follower is not None,
        "created_at": stream.created_at,
        "ended_at": stream.ended_at,
        "duration_ms": stream.duration_ms,
        "resent_from": None if stream.resent_from is None else f"{stream.resent_from:x}",
        "redacted_at": stream.redacted_at,
    }
