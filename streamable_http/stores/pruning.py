"""Retention in the ORM's database: what has ended is redacted, and later deleted, a batch at a time.

What is due is looked for without a lock, and asked again under one. Ids tell the age of a row, so that the primary key
finds the old ones and the write path keeps no index for it; whether they are old enough is told by the database's
clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any, Final, TypeVar

from django.db import connections, transaction
from django.db.models import Exists, F, Model, OuterRef, Q, QuerySet
from django.db.models.expressions import CombinedExpression
from django.db.models.functions import Now

from streamable_http import ids, models
from streamable_http.stores import base
from streamable_http.stores.dialects import base as dialects

M = TypeVar("M", bound=Model)

BATCH_BYTES: Final = 4 * 1024 * 1024
"""Payloads read in one batch, unless the first stream alone has more."""

_SET_PAYLOAD: Final = f"UPDATE {dialects.EVENT} SET payload = %s WHERE id = %s"  # noqa: S608  # a constant's name
_SET_ARGUMENTS: Final = f"UPDATE {dialects.STREAM} SET arguments = %s WHERE id = %s"  # noqa: S608
_SHRINK: Final = f"UPDATE {dialects.STREAM} SET stored_bytes = stored_bytes + %s WHERE id = %s"  # noqa: S608


class Pruning:
    """What is due in one database, as of one retention."""

    def __init__(self, alias: str, retention: base.Retention) -> None:
        self._alias = alias
        self._retention = retention

    def prune(self, redact: Callable[[str], str], limit: int) -> base.Pruned | None:
        """Do one batch of the first kind that is due."""
        if self._retention.history_seconds is not None:
            # First, so that the log stays bounded whatever else there is to do.
            for delete in (self._delete_streams, self._delete_records, self._delete_sessions):
                if (pruned := delete(limit)) is not None:
                    return pruned
        return self._redact(redact, limit)

    def count(self) -> base.Pruned:
        """Count everything that is due."""
        if self._retention.history_seconds is None:
            return base.Pruned(redacted=self._redactable().count())
        streams = self._old_streams()
        return base.Pruned(
            redacted=self._redactable().filter(ended_at__gte=_before(self._history_seconds)).count(),
            sessions=self._old_sessions().count(),
            streams=streams.count(),
            events=self._rows(models.Event).filter(stream__in=streams).count(),
            records=self._old_records().count(),
        )

    # Redacting

    def _redactable(self) -> QuerySet[models.Stream]:
        return self._rows(models.Stream).filter(
            redacted_at=None,
            session__isnull=False,
            ended_at__lt=_before(self._retention.resumable_seconds),
        )

    def _redact(self, redact: Callable[[str], str], limit: int) -> base.Pruned | None:
        names = ("pk", "earliest", "head", "stored_bytes")
        chosen = _choose(self._redactable().order_by("ended_at").values_list(*names)[:limit], limit)
        if not chosen:
            return None
        # Beside everybody; the transaction takes only what nobody else has changed.
        payloads = self._redact_payloads(chosen, redact, limit)
        arguments = self._redact_arguments(chosen, redact)
        with transaction.atomic(using=self._alias):
            locked = self._lock(self._redactable(), chosen).values_list("pk", "earliest", "head")
            until = {pk: min(head, earliest + limit - 1) for pk, earliest, head in locked if earliest == chosen[pk]}
            done = [pk for pk, _, head in locked if until.get(pk) == head]
            self._execute(_SET_PAYLOAD, [(new, event_id) for event_id, pk, new, _ in payloads if pk in until])
            self._execute(_SHRINK, [(growth, pk) for _, pk, _, growth in payloads if pk in until])
            self._execute(_SET_ARGUMENTS, [(new, pk) for pk, new in arguments if pk in done])
            self._move_earliest(until, done)
        return base.Pruned(redacted=len(done))

    def _redact_payloads(
        self, chosen: Iterable[int], redact: Callable[[str], str], limit: int
    ) -> list[tuple[int, int, str, int]]:
        """Return event, stream, redacted payload, and by how much it is larger, of the events that change."""
        events = self._rows(models.Event).filter(
            stream_id__in=chosen,
            # Of one moment with the events: a stream that another worker was at meanwhile is left to it.
            sequence__gte=F("stream__earliest"),
            sequence__lt=F("stream__earliest") + limit,
        )
        return [
            (event_id, stream_id, new, len(new.encode()) - len(old.encode()))
            for event_id, stream_id, old in events.values_list("pk", "stream_id", "payload")
            if (new := redact(old)) != old
        ]

    def _redact_arguments(self, chosen: Iterable[int], redact: Callable[[str], str]) -> list[tuple[int, str]]:
        with_arguments = self._rows(models.Stream).filter(pk__in=chosen, arguments__gt="")
        # One after the other, for they may be as large as a request.
        return [
            (pk, redact(with_arguments.values_list("arguments", flat=True).get(pk=pk)))
            for pk in with_arguments.values_list("pk", flat=True)
        ]

    def _move_earliest(self, until: dict[int, int], done: list[int]) -> None:
        streams = self._rows(models.Stream)
        streams.filter(pk__in=done).update(earliest=F("head") + 1, redacted_at=Now())
        for pk in until.keys() - set(done):
            streams.filter(pk=pk).update(earliest=until[pk] + 1)
        # A reply that reached nobody is still here.
        self._rows(models.Ask).filter(stream_id__in=done, reply__gt="").update(reply="")

    # Deleting

    @property
    def _history_seconds(self) -> float:
        assert self._retention.history_seconds is not None
        return self._retention.history_seconds

    def _old_streams(self) -> QuerySet[models.Stream]:
        return self._rows(models.Stream).filter(ended_at__lt=_before(self._history_seconds))

    def _old_records(self) -> QuerySet[models.Record]:
        # One that opened a stream goes with it.
        old = self._rows(models.Record).filter(created_at__lt=_before(self._history_seconds))
        return old.filter(~Exists(self._kept_streams().filter(pk=OuterRef("pk"))))

    def _old_sessions(self) -> QuerySet[models.Session]:
        old = self._rows(models.Session).filter(ended_at__lt=_before(self._history_seconds))
        return old.filter(~Exists(self._kept_streams().filter(session_id=OuterRef("pk"))))

    def _kept_streams(self) -> QuerySet[models.Stream]:
        return self._rows(models.Stream).filter(
            Q(ended_at=None) | Q(ended_at__gte=_before(self._history_seconds)),
        )

    def _delete_streams(self, limit: int) -> base.Pruned | None:
        found = self._find(self._old_streams(), limit)
        if not found:
            return None
        with transaction.atomic(using=self._alias):
            streams = list(self._lock(self._old_streams(), found).values_list("pk", flat=True))
            return _delete_streams(self._alias, streams, limit)

    def _delete_records(self, limit: int) -> base.Pruned | None:
        found = self._find(self._old_records(), limit)
        return base.Pruned(records=self._delete_found(self._old_records(), found)) if found else None

    def _delete_sessions(self, limit: int) -> base.Pruned | None:
        found = self._find(self._old_sessions(), limit)
        return base.Pruned(sessions=self._delete_found(self._old_sessions(), found)) if found else None

    def _delete_found(self, old: QuerySet[M], found: list[int]) -> int:
        with transaction.atomic(using=self._alias):
            locked = list(self._lock(old, found).values_list("pk", flat=True))
            return _delete(self._rows(old.model).filter(pk__in=locked), old.model)

    # Ways in

    def _rows(self, model: type[M]) -> QuerySet[M]:
        return _rows(self._alias, model)

    def _find(self, old: QuerySet[Any], limit: int) -> list[int]:
        """Return the oldest rows; those made later than they could be that old are not looked at."""
        made_before = ids.first_at(time.time() - self._history_seconds)
        return list(old.filter(pk__lt=made_before).order_by("pk").values_list("pk", flat=True)[:limit])

    def _lock(self, rows: QuerySet[M], found: Iterable[int]) -> QuerySet[M]:
        """Return those of the rows that are still due, without those that another worker is at."""
        return rows.filter(pk__in=found).order_by("pk").select_for_update(skip_locked=True)

    def _execute(self, statement: str, rows: list[tuple[Any, ...]]) -> None:
        if rows:
            with connections[self._alias].cursor() as cursor:
                cursor.executemany(statement, rows)


def purge(alias: str, session_id: int, limit: int) -> base.Pruned | None:
    """Delete one batch of a session that is over, of whatever age, and of everything that belongs to it."""
    session = _rows(alias, models.Session).filter(pk=session_id).exclude(state=models.SessionState.OPEN)
    streams = _rows(alias, models.Stream).filter(session_id=session_id).order_by("pk")
    records = _rows(alias, models.Record).filter(session_id=session_id)
    with transaction.atomic(using=alias):
        if not session.exists():
            return None
        # Those that another worker prunes are waited for, since this has no other ones to go on with.
        if stream_ids := list(streams.select_for_update().values_list("pk", flat=True)[:limit]):
            # What repeats a request says what it said, and goes before it, or nobody would find it.
            repeats = _rows(alias, models.Stream).filter(session=None).order_by("pk").select_for_update()
            while repeated := list(repeats.filter(resent_from__in=stream_ids).values_list("pk", flat=True)[:limit]):
                stream_ids = repeated
            return _delete_streams(alias, stream_ids, limit)
        if record_ids := list(records.values_list("pk", flat=True)[:limit]):
            return base.Pruned(records=_delete(records.filter(pk__in=record_ids), models.Record))
        return base.Pruned(sessions=_delete(session, models.Session))


def _delete_streams(alias: str, streams: list[int], limit: int) -> base.Pruned:
    """Delete streams, or the first ``limit`` events of them if they have more; in the caller's transaction."""
    event_ids = _rows(alias, models.Event).filter(stream_id__in=streams).values_list("pk", flat=True)[:limit]
    events = _delete(_rows(alias, models.Event).filter(pk__in=list(event_ids)), models.Event)
    if events >= limit:
        # There may be more of them; the streams go with their last ones, and nobody reads what is left.
        _rows(alias, models.Stream).filter(pk__in=streams).update(earliest=F("head") + 1)
        return base.Pruned(events=events)
    # What opened a stream has its id, and no session of its own.
    records = _delete(_rows(alias, models.Record).filter(pk__in=streams), models.Record)
    _delete(_rows(alias, models.Stream).filter(pk__in=streams), models.Stream)
    return base.Pruned(streams=len(streams), events=events, records=records)


def _rows(alias: str, model: type[M]) -> QuerySet[M]:
    return model._default_manager.using(alias).order_by()  # noqa: SLF001  # Django's public name for it


def _choose(due: Iterable[tuple[int, int, int, int]], limit: int) -> dict[int, int]:
    """Return the first streams whose events fit in a batch, at least one, with the earliest event of each."""
    chosen: dict[int, int] = {}
    events = size = 0
    for stream_id, earliest, head, stored_bytes in due:
        events += head - earliest + 1
        size += stored_bytes
        if chosen and (events > limit or size > BATCH_BYTES):
            break
        chosen[stream_id] = earliest
    return chosen


def _before(seconds: float) -> CombinedExpression:
    return Now() - timedelta(seconds=seconds)


def _delete(rows: QuerySet[M], model: type[M]) -> int:
    """Delete rows and what hangs on them; the number of the rows themselves."""
    _, deleted = rows.delete()
    return deleted.get(model._meta.label, 0)  # noqa: SLF001  # Django's public name for it
