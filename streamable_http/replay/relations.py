"""What rows of the log have to do with each other: streams, their asks, and the replies to them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from django.db.models import Q

from streamable_http import ids, models
from streamable_http.replay import building, messages
from streamable_http.tables import rows_of

LOOSE_RECORDS: Final = 500
"""Records that are looked through for the replies to a page's asks, or for the resumes of a stream."""

COMMIT_SECONDS: Final = 60.0
"""How much older an id may be than its row."""


def asks_of(stream_ids: Iterable[int], records: Iterable[models.Record], session_id: int | None) -> list[models.Ask]:
    """Return the asks of streams, and those that were replied to by records."""
    read = (messages.read(record.payload) for record in records if record.payload and not record.method)
    wire_ids = {
        message.request_id[1:-1] for message in read if message.is_answer and messages.is_wire_id(message.request_id)
    }
    asks = rows_of(models.Ask).filter(Q(stream_id__in=set(stream_ids)) | Q(wire_id__in=wire_ids)).defer("reply")
    return list(asks if session_id is None else asks.filter(session_id=session_id))


def streams_of(records: Iterable[models.Record], asks: Iterable[models.Ask]) -> set[int]:
    """Return the streams that replies and resumes belong to."""
    found = {ask.stream_id for ask in asks}
    for record in records:
        if not record.payload:
            cursor = building.cursor_of(building.facts_of(record))
            found.add(cursor.stream_id if cursor is not None else record.session_id or 0)
    return found - {0}


def replies(session_id: int, asks: Sequence[models.Ask]) -> list[models.Record]:
    """Return the replies to asks."""
    if not asks:
        return []
    first = min(ask.created_at for ask in asks).timestamp() - COMMIT_SECONDS
    last = max(ask.deadline_at for ask in asks).timestamp() + COMMIT_SECONDS
    records = rows_of(models.Record).filter(
        session_id=session_id, method="", payload__gt="", pk__gte=ids.first_at(first), pk__lte=ids.first_at(last)
    )
    wire_ids = {ask.wire_id for ask in asks}
    return [
        record
        for record in records.order_by("pk")[:LOOSE_RECORDS]
        if messages.read(record.payload).request_id[1:-1] in wire_ids
    ]
