"""Figures of a time range, in a fixed number of queries."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from django.db.models import Count, F, IntegerField, Q, QuerySet
from django.db.models.expressions import ExpressionWrapper
from django.db.models.functions import Now
from django.utils import timezone

from streamable_http import ids, models
from streamable_http.models import SessionState, StreamState
from streamable_http.operations.listing import FAILED, client_of
from streamable_http.tables import rows_of

MIN_SECONDS: Final = 60
MAX_SECONDS: Final = 31 * 86_400

BUCKETS: Final = 120
"""Most slices of the range; each takes whole minutes, or is one minute long."""

LISTED: Final = 20
"""Most methods and clients that are listed."""

SAMPLED: Final = 5_000
"""Newest calls whose durations the percentiles are of: more would make the page slow, and change little."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """One slice of the time range."""

    at: datetime
    calls: int
    errors: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodFigures:
    """One tool, or one method that names none."""

    name: str
    calls: int
    errors: int
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    """Of the newest calls in the range; ``None`` where no durations are known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerFigures:
    """One server process."""

    id: int
    host: str
    pid: int
    is_alive: bool
    started_at: datetime
    lease_expires_at: datetime
    open_streams: int
    dropped_records: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """All figures of a time range."""

    since: datetime
    until: datetime
    open_sessions: int
    open_streams: int
    """Calls that run now."""

    followed_streams: int
    """Streams with a connection now."""

    calls: int
    errors: int
    dropped_records: int
    """By the workers that are known still, since they began."""

    bucket_seconds: int
    buckets: tuple[Bucket, ...]
    """The whole range without gaps, at most some 120; the first and the last one are cut."""

    methods: tuple[MethodFigures, ...]
    """The busiest first, at most 20."""

    clients: tuple[tuple[str, int], ...]
    """Name and version of the client, and its sessions in the range; the busiest first, at most 20."""

    workers: tuple[WorkerFigures, ...]


def statistics(seconds: float) -> Statistics:
    """Return the figures of the last so many seconds, up to now.

    Raises:
        ValueError: not from 60 seconds to 31 days.
    """
    if not MIN_SECONDS <= seconds <= MAX_SECONDS:
        raise ValueError(f"seconds is {seconds}, and should be from {MIN_SECONDS} to {MAX_SECONDS}")
    until = timezone.now().timestamp()
    bucket_seconds = max(60, math.ceil(seconds / BUCKETS / 60) * 60)
    since = until - seconds
    calls = _streams().filter(pk__gte=ids.first_at(since)).exclude(method="")
    by_place, by_name = _tallies(calls, bucket_seconds)
    buckets = _buckets(by_place, since, until, bucket_seconds)
    known = workers()
    return Statistics(
        since=_moment(since),
        until=_moment(until),
        open_sessions=rows_of(models.Session).filter(state=SessionState.OPEN).count(),
        open_streams=_open().exclude(method="").count(),
        followed_streams=_open().filter(follower__isnull=False).count(),
        calls=sum(bucket.calls for bucket in buckets),
        errors=sum(bucket.errors for bucket in buckets),
        dropped_records=sum(worker.dropped_records for worker in known),
        bucket_seconds=bucket_seconds,
        buckets=tuple(buckets),
        methods=tuple(_methods(calls, by_name)),
        clients=tuple(_clients(since)),
        workers=tuple(known),
    )


@dataclass(slots=True)
class _Tally:
    """How many calls there were, and how many of them came to an error."""

    calls: int = 0
    errors: int = 0

    def add(self, calls: int, errors: int) -> None:
        self.calls += calls
        self.errors += errors


def _tallies(
    calls: QuerySet[models.Stream], bucket_seconds: int
) -> tuple[dict[int, _Tally], dict[tuple[str, str], _Tally]]:
    """Count by slice, and by method and name; in one go, for this reads all calls of the range."""
    # An id has its time in it, so that this needs neither the time's column nor a function of one database.
    width = bucket_seconds * 1_000 << ids.RANDOM_BITS
    place = ExpressionWrapper(F("pk") / width, output_field=IntegerField())
    rows = calls.order_by().annotate(place=place).values("place", "method", "name")
    by_place: defaultdict[int, _Tally] = defaultdict(_Tally)
    by_name: defaultdict[tuple[str, str], _Tally] = defaultdict(_Tally)
    for row in rows.annotate(calls=Count("*"), failed=Count("pk", filter=FAILED)).iterator():
        by_place[row["place"]].add(row["calls"], row["failed"])
        by_name[row["method"], row["name"]].add(row["calls"], row["failed"])
    return by_place, by_name


def _buckets(counted: Mapping[int, _Tally], since: float, until: float, bucket_seconds: int) -> list[Bucket]:
    nothing = _Tally()
    return [
        Bucket(at=_moment(place * bucket_seconds), calls=tally.calls, errors=tally.errors)
        for place in range(int(since) // bucket_seconds, int(until) // bucket_seconds + 1)
        for tally in [counted.get(place, nothing)]
    ]


def _methods(calls: QuerySet[models.Stream], counted: Mapping[tuple[str, str], _Tally]) -> Iterable[MethodFigures]:
    busiest = sorted(counted.items(), key=lambda item: (-item[1].calls, item[0]))[:LISTED]
    durations: dict[tuple[str, str], list[float]] = {}
    newest = calls.filter(duration_ms__isnull=False).order_by("-pk").values_list("method", "name", "duration_ms")
    for method, name, duration_ms in newest[:SAMPLED]:
        durations.setdefault((method, name), []).append(duration_ms or 0.0)
    for (method, name), tally in busiest:
        known = sorted(durations.get((method, name), ()))
        yield MethodFigures(
            name=name or method,
            calls=tally.calls,
            errors=tally.errors,
            p50_ms=percentile(known, 50),
            p95_ms=percentile(known, 95),
            p99_ms=percentile(known, 99),
        )


def percentile(ordered: Sequence[float], percent: int) -> float | None:
    """Return the nearest rank: the smallest value that so many percent of the values do not exceed."""
    return ordered[math.ceil(len(ordered) * percent / 100) - 1] if ordered else None


def _clients(since: float) -> list[tuple[str, int]]:
    sessions = rows_of(models.Session).filter(pk__gte=ids.first_at(since)).order_by()
    counted: Counter[str] = Counter()
    for row in sessions.values("client_info").annotate(sessions=Count("pk")).order_by("-sessions")[:1_000]:
        counted[str(client_of(row["client_info"]))] += row["sessions"]
    return counted.most_common(LISTED)


def workers() -> list[WorkerFigures]:
    """Return the workers that are known, those that ended lately too; the newest first."""
    running = open_calls_by_worker()
    return [
        WorkerFigures(
            id=worker.pk,
            host=worker.host,
            pid=worker.pid,
            is_alive=worker.is_alive,
            started_at=worker.started_at,
            lease_expires_at=worker.lease_expires_at,
            open_streams=running.get(worker.pk, 0),
            dropped_records=worker.dropped_records,
        )
        for worker in rows_of(models.Worker).annotate(is_alive=alive()).order_by("-pk")
    ]


def alive() -> Q:
    """Return the condition of workers that are alive, by the clock that leases go by: the database's."""
    return Q(lease_expires_at__gt=Now())


def open_calls_by_worker(worker_ids: Iterable[int] | None = None) -> dict[int, int]:
    """Count the calls that each worker runs, or each of these; one that runs none is left out."""
    calls = _open().exclude(method="").filter(owner__isnull=False)
    if worker_ids is not None:
        calls = calls.filter(owner__in=list(worker_ids))
    return dict(calls.order_by().values_list("owner").annotate(calls=Count("pk")))


def _streams() -> QuerySet[models.Stream]:
    return rows_of(models.Stream)


def _open() -> QuerySet[models.Stream]:
    return _streams().filter(state=StreamState.OPEN)


def _moment(unix_seconds: float) -> datetime:
    return datetime.fromtimestamp(unix_seconds, UTC)
