"""The log that pages are measured on: as much of everything as it says, and rows that belong together."""

from __future__ import annotations

import time

from django.db import connections
from django.db.models import Count, F

from benchmarks import million
from streamable_http.models import Ask, Event, Record, Session, Stream, Worker


def test_a_month_is_what_its_shape_says_on_either_database(log_alias: str) -> None:
    shape = million.Shape.of(5_000)
    month = million.Month(shape, time.time())

    million.fill(month)

    counts = [model.objects.using(log_alias).count() for model in (Session, Event, Record, Ask)]
    assert counts == [shape.sessions, shape.events, shape.records, shape.asks]
    streams = Stream.objects.using(log_alias)
    assert streams.count() == shape.calls + shape.sessions
    assert streams.filter(session_id=month.big_id).order_by("-head")[0].head == shape.longest_events
    assert not streams.annotate(kept=Count("events")).exclude(kept=F("head")).exists()
    assert not Session.objects.using(log_alias).filter(streams=None).exists()
    # As Django reads them: with their zone, and of the last month.
    newest = Event.objects.using(log_alias).latest("created_at").created_at
    assert abs(newest.timestamp() - time.time()) < 86_400
    assert Worker.objects.using(log_alias).filter(lease_expires_at__gt=newest).count() == million.WORKERS // 2
    connections[log_alias].close()
