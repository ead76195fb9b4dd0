"""Letting time pass in a store, without waiting for it."""

from __future__ import annotations

from datetime import timedelta

from django.db.models import F

from streamable_http import models
from streamable_http.stores import base, delegating
from streamable_http.stores.db import DatabaseStore
from streamable_http.stores.memory import MemoryStore


def pass_seconds(store: base.Store, seconds: float) -> None:
    """Have sessions be idle, leases run down and takeovers and ends lie back for so much longer.

    Ids stay as they are, and with them the time when rows were made.
    """
    store = delegating.innermost(store)
    if isinstance(store, MemoryStore):
        for session in store._sessions.values():
            session.last_seen -= seconds
        for stream in store._streams.values():
            stream.taken_at -= seconds
            stream.ended_at -= seconds
        store._leases = {worker_id: until - seconds for worker_id, until in store._leases.items()}
    elif isinstance(store, DatabaseStore):
        span = timedelta(seconds=seconds)
        models.Session.objects.using(store.alias).update(
            last_seen_at=F("last_seen_at") - span, ended_at=F("ended_at") - span
        )
        models.Stream.objects.using(store.alias).update(taken_at=F("taken_at") - span, ended_at=F("ended_at") - span)
        models.Record.objects.using(store.alias).update(created_at=F("created_at") - span)
        models.Worker.objects.using(store.alias).update(lease_expires_at=F("lease_expires_at") - span)
    else:
        raise TypeError(f"unknown kind of store: {store!r}")
