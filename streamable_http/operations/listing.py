"""Which sessions there are, and what each came to, in a fixed number of queries however many are listed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from django.db.models import Count, Max, Q, QuerySet, Sum

from streamable_http import escaping, models, redaction
from streamable_http.models import FAILED_OUTCOMES, StreamState
from streamable_http.tables import rows_of

FAILED: Final = Q(outcome__in=FAILED_OUTCOMES) | Q(state=StreamState.LOST)
"""Streams of calls that came to an error: :attr:`Stream.has_failed <streamable_http.models.Stream.has_failed>`."""

_SHORT_ID: Final = re.compile(r"[0-9a-f]{6,16}", re.ASCII | re.IGNORECASE)

_ID_DIGITS: Final = 16
"""Hexadecimal digits of the ids of this century."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What a session came to so far."""

    calls: int = 0
    open_calls: int = 0
    events: int = 0
    stored_bytes: int = 0
    errors: int = 0
    """Calls that were answered with an error or a tool's error, and calls that were lost."""

    worker: str = ""
    """Of its newest call, as ``host:pid``; empty where it is no longer known."""


def find_sessions(
    *, state: str = "", server: str = "", principal: str = "", text: str = ""
) -> QuerySet[models.Session]:
    """Return sessions, newest first.

    ``text``: the beginning of a short id, or part of a principal's key or of what the client says of itself; anything
    but a short id looks at all sessions that the other conditions leave.
    """
    exact = {"state": state, "server": server, "principal": principal}
    sessions = rows_of(models.Session).filter(
        **{name: escaping.storable(value) for name, value in exact.items() if value}
    )
    text = text.strip()
    if text:
        sessions = sessions.filter(matching(escaping.storable(text)))
    return sessions.order_by("-pk")


def matching(text: str) -> Q:
    """Return the condition of :func:`find_sessions` for a text."""
    if _SHORT_ID.fullmatch(text):
        first, last = id_range(text)
        by_id = Q(pk__gte=first, pk__lte=last)
        # Six digits and more that are somebody's name are rarer than short ids that are cut off.
        return by_id if len(text) >= 10 else by_id | Q(principal__icontains=text) | Q(client_info__icontains=text)
    return Q(principal__icontains=text) | Q(client_info__icontains=text)


def id_range(prefix: str) -> tuple[int, int]:
    """Return the first and the last id whose short id begins like this."""
    missing = max(0, _ID_DIGITS - len(prefix)) * 4
    first = int(prefix, 16) << missing
    biggest = 2**63 - 1
    return min(first, biggest), min(first + (1 << missing) - 1, biggest)


def summarize(session_ids: Iterable[int]) -> dict[int, Summary]:
    """Return what these sessions came to, in two queries; a session without calls has nothing but zeros."""
    wanted = list(session_ids)
    found = {session_id: Summary() for session_id in wanted}
    if not wanted:
        return found
    streams = rows_of(models.Stream)
    is_call = ~Q(method="")
    rows = (
        streams.filter(session_id__in=wanted)
        .order_by()
        .values("session_id")
        .annotate(
            calls=Count("pk", filter=is_call),
            open_calls=Count("pk", filter=is_call & Q(state=StreamState.OPEN)),
            sent=Sum("head"),
            size=Sum("stored_bytes"),
            errors=Count("pk", filter=is_call & FAILED),
            newest=Max("pk", filter=is_call),
        )
    )
    figures: list[dict[str, Any]] = [dict(row) for row in rows]
    workers = _workers(row["newest"] for row in figures)
    for row in figures:
        found[row["session_id"]] = Summary(
            calls=row["calls"],
            open_calls=row["open_calls"],
            events=row["sent"],
            stored_bytes=row["size"],
            errors=row["errors"],
            worker=workers.get(row["newest"], ""),
        )
    return found


def _workers(stream_ids: Iterable[int | None]) -> dict[int | None, str]:
    """Return the worker of each stream whose worker is still known."""
    newest = [stream_id for stream_id in stream_ids if stream_id is not None]
    rows = rows_of(models.Stream).filter(pk__in=newest, owner__pk__isnull=False)
    return {pk: f"{host}:{pid}" for pk, host, pid in rows.values_list("pk", "owner__host", "owner__pid") if host}


@dataclass(frozen=True, slots=True)
class Client:
    """What a client calls itself, redacted; empty where it says nothing, or anything but text."""

    name: str = ""
    version: str = ""

    def __str__(self) -> str:
        return " ".join(filter(None, (self.name, self.version)))


def client_of(client_info: str) -> Client:
    """Return name and version from a session's ``client_info``, whatever its client sent."""
    try:
        told = json.loads(redaction.redact_text(client_info))
    except ValueError:
        return Client()
    if not isinstance(told, dict):
        return Client()
    return Client(*(part if isinstance(part := told.get(key), str) else "" for key in ("name", "version")))
