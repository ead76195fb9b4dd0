"""What happened lately, for whoever follows a session or all of them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final, NamedTuple

from django.db.models import F, Q
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from streamable_http import ids, models
from streamable_http.replay import building, relations
from streamable_http.replay.entries import Entry, Seen
from streamable_http.tables import rows_of

RECENT_ENTRIES: Final = 1_000

REMEMBERED: Final = 5_000
"""So many entries are known as told; what is read twice is at most the newest 1,000 of some seconds."""

MAX_AGE_SECONDS: Final = 3_600.0
"""What is older is not new, and is on the pages of the log."""

_OVERLAP: Final = timedelta(seconds=5)
"""Commits come late, and the clocks of workers differ."""


class News(NamedTuple):
    """What happened since a time."""

    entries: list[Entry]
    """By time; at most the newest 1,000."""

    until: datetime
    """When to ask from next."""

    is_cut: bool
    """Whether older ones were left out."""


class Recent:
    """What is new in a session, or in all, at each look."""

    def __init__(self, session_id: int | None, since: datetime) -> None:
        self._session_id = session_id
        self._seen = Seen(REMEMBERED)
        self.since = since
        """When the next look begins."""

    def look(self, *, with_payloads: bool) -> News:
        """Return the entries that no look returned before; the first one reaches some seconds further back."""
        news = recent(self._session_id, self.since, with_payloads=with_payloads)
        self.since = news.until
        return news._replace(entries=self._seen.fresh(news.entries))


def recent(session_id: int | None, since: datetime, *, with_payloads: bool) -> News:
    """Return what happened since then, in a session or in all, of the last hour.

    The ranges of two calls overlap by some seconds: whoever reads drops repeats by :attr:`Entry.key`.
    """
    now = timezone.now()
    oldest = now - timedelta(seconds=MAX_AGE_SECONDS)
    # Whoever asks for the last hour asked a moment ago.
    is_old = since < oldest - _OVERLAP
    since = max(since, oldest)
    begin = since - _OVERLAP
    first_id = ids.first_at(begin.timestamp() - relations.COMMIT_SECONDS)
    if session_id is None:
        events = _recent_events(begin)
        records = list(rows_of(models.Record).filter(pk__gte=first_id, created_at__gte=begin)[:RECENT_ENTRIES])
    else:
        events = _recent_events_of(session_id, begin)
        opened = rows_of(models.Stream).filter(session_id=session_id, pk__gte=first_id).values_list("pk", flat=True)
        loose = rows_of(models.Record).filter(session_id=session_id, pk__gte=first_id, created_at__gte=begin)
        opening = rows_of(models.Record).filter(pk__in=list(opened.order_by("-pk")[:RECENT_ENTRIES]))
        records = [*loose.order_by("-pk")[:RECENT_ENTRIES], *opening.filter(created_at__gte=begin)]
    asks = relations.asks_of((event.stream_id for event in events), records, session_id)
    wanted = (
        {event.stream_id for event in events} | {record.pk for record in records} | relations.streams_of(records, asks)
    )
    streams = rows_of(models.Stream).defer("arguments").filter(pk__in=wanted)
    builder = building.Builder(with_payloads=with_payloads, streams=streams, asks=asks)
    for event in events:
        builder.add_event(event)
    for record in records:
        builder.add_record(record)
    entries = builder.entries()
    is_cut = is_old or max(len(events), len(records), len(entries) - 1) >= RECENT_ENTRIES
    return News(entries[-RECENT_ENTRIES:], max(since, now), is_cut)


def parse_moment(written: str) -> datetime | None:
    """Return a time with its zone, now at the latest; ``None`` for what is none, and without a zone."""
    try:
        moment = parse_datetime(written)
    except ValueError:
        return None
    if moment is None or timezone.is_naive(moment):
        return None
    return min(moment, timezone.now())


def _recent_events(begin: datetime) -> list[models.Event]:
    """Return the newest events of all streams."""
    # Their times have no index, and their ids are nearly in order of them.
    newest = rows_of(models.Event).order_by("-pk").values_list("pk", "created_at")[:RECENT_ENTRIES]
    wanted = [pk for pk, created_at in newest if created_at >= begin]
    return list(rows_of(models.Event).filter(pk__in=wanted).order_by()) if wanted else []


def _recent_events_of(session_id: int, begin: datetime) -> list[models.Event]:
    streams = rows_of(models.Stream).filter(session_id=session_id).filter(Q(ended_at=None) | Q(ended_at__gte=begin))
    stream_ids = list(streams.order_by("-pk").values_list("pk", flat=True)[:RECENT_ENTRIES])
    # The last ones of each stream by its index; sorted by what has none, or the whole table would be walked.
    events = rows_of(models.Event).filter(
        stream_id__in=stream_ids, sequence__gt=F("stream__head") - RECENT_ENTRIES, created_at__gte=begin
    )
    return list(events.order_by("-created_at")[:RECENT_ENTRIES]) if stream_ids else []
