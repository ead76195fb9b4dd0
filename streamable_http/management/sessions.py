"""Sessions as rows of a table, or as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from streamable_http import models, operations, redaction
from streamable_http.management import output
from streamable_http.management.output import Cell, Column, Styled

COLUMNS: Final = (
    Column("session"),
    Column("state"),
    Column("principal"),
    Column("client"),
    Column("server"),
    Column("started"),
    Column("last seen"),
    Column("calls", "right"),
    Column("open", "right"),
    Column("events", "right"),
    Column("size", "right"),
    Column("errors", "right"),
    Column("worker"),
)


def row(session: models.Session, summary: operations.Summary | None) -> list[Cell]:
    """Return the cells of :data:`COLUMNS`."""
    is_open = session.state == models.SessionState.OPEN
    return [
        str(session),
        Styled(session.state, "green" if is_open else ""),
        session.principal or "anonymous",
        str(operations.client_of(session.client_info)),
        session.server,
        output.moment(session.created_at),
        output.moment(session.last_seen_at),
        *_figures(summary),
    ]


def _figures(summary: operations.Summary | None) -> Iterator[Cell]:
    if summary is None:
        yield from [""] * 6
        return
    yield f"{summary.calls:,}"
    yield f"{summary.open_calls:,}"
    yield f"{summary.events:,}"
    yield output.size(summary.stored_bytes)
    yield Styled(f"{summary.errors:,}", "red" if summary.errors else "")
    yield summary.worker


def loaded(text: str) -> dict[str, Any]:
    """Return a stored JSON object, redacted; an empty one where it is none."""
    try:
        value = json.loads(redaction.redact_text(text))
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def as_json(session: models.Session, summary: operations.Summary | None) -> dict[str, Any]:
    """Return all that is known of a session."""
    return {
        "type": "session",
        "id": str(session),
        "state": session.state,
        "server": session.server,
        "principal": session.principal,
        "revision": session.revision,
        "client_info": loaded(session.client_info),
        "capabilities": loaded(session.capabilities),
        "log_level": session.log_level,
        "created_at": session.created_at,
        "last_seen_at": session.last_seen_at,
        "ended_at": session.ended_at,
        "summary": summary,
    }
