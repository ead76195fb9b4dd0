"""The store in the ORM's database: SQLite or PostgreSQL.

The write path is raw SQL on the connection's own driver (:mod:`~streamable_http.stores.dialects`); everything that
happens once a session or once a stream is plain ORM.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import timedelta
from typing import Any, Final

from django.core.exceptions import ImproperlyConfigured
from django.db import Error as DatabaseError
from django.db import InterfaceError, OperationalError, connections, transaction
from django.db.models import Case, Exists, F, OuterRef, Q, QuerySet, Value, When
from django.db.models.expressions import Combinable, RawSQL
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.module_loading import import_string

from streamable_http import conf, exceptions, models
from streamable_http.protocol import jsonrpc
from streamable_http.stores import base, pruning
from streamable_http.stores.dialects import base as dialects

DIALECTS: Final = {
    "sqlite": "streamable_http.stores.dialects.sqlite.SQLite",
    "postgresql": "streamable_http.stores.dialects.postgresql.PostgreSQL",
}
"""By the vendor that Django names."""

_STREAM_COLUMNS: Final = (
    "id",
    "session_id",
    "owner_id",
    "epoch",
    "head",
    "earliest",
    "stored_bytes",
    "state",
    "request_id",
    "method",
    "name",
    "arguments",
    "follower",
    "takeovers",
    "handed",
    "created_at",
    "ended_at",
    "resent_from",
    "outcome",
    "duration_ms",
)
_EVENT_COLUMNS: Final = ("stream_id", "sequence", "payload", "created_at")
_RECORD_COLUMNS: Final = ("id", "session_id", "method", "payload", "facts", "created_at")
_ASK_COLUMNS: Final = (
    "id",
    "session_id",
    "stream_id",
    "wire_id",
    "method",
    "state",
    "reply",
    "created_at",
    "deadline_at",
)

_EARLIEST: Final = f"SELECT earliest FROM {dialects.STREAM} WHERE id = %s"  # noqa: S608  # a constant's name

_SESSION_FACTS: Final = ("id", "server", "principal", "revision", "client_info", "capabilities")

_ASK_AGAIN_SECONDS: Final = 0.2
"""Time between two tries to find out what became of a COMMIT."""

_CHUNK: Final = 500
"""Ids in one ``IN`` list."""


class DatabaseStore(base.Store):
    """Options: ``alias``, the database in ``DATABASES``; without it ``STREAMABLE_HTTP["DATABASE"]``."""

    def __init__(self, alias: str | None = None) -> None:
        self.alias = alias or conf.settings.DATABASE
        vendor = connections[self.alias].vendor
        if vendor not in DIALECTS:
            raise ImproperlyConfigured(
                f"The log needs SQLite or PostgreSQL, and the database '{self.alias}' is {vendor}; "
                f"set {conf.SETTING}['DATABASE'] to the alias of another one."
            )
        self._dialect: type[dialects.Dialect] = import_string(DIALECTS[vendor])
        self._is_pooled = bool(connections.settings[self.alias]["OPTIONS"].get("pool"))

    # The write path

    def write(self, writes: Sequence[base.StreamWrite], records: Sequence[base.NewRecord]) -> list[base.Outcome]:
        try:
            return self._write(writes, records)
        finally:
            self._give_back()

    def _write(self, writes: Sequence[base.StreamWrite], records: Sequence[base.NewRecord]) -> list[base.Outcome]:
        with errors_translated(self.alias):
            connections[self.alias].ensure_connection()
            dialect = self._dialect(connections[self.alias])
            try:
                receipt = dialect.begin()
                outcomes = _Transaction(dialect, writes, records).apply()
            except BaseException:
                dialect.rollback()
                raise
        self._commit(dialect, receipt, writes, outcomes)
        return outcomes

    def _commit(
        self,
        dialect: dialects.Dialect,
        receipt: Any,
        writes: Sequence[base.StreamWrite],
        outcomes: list[base.Outcome],
    ) -> None:
        try:
            with connections[self.alias].wrap_database_errors:
                dialect.commit()
        except DatabaseError as error:
            _discard_connection(self.alias)
            written = zip(writes, outcomes, strict=True)
            witness = next(filter(None, (_witness(write, outcome) for write, outcome in written)), None)
            raise base.CommitUncertain((receipt, witness), outcomes) from error

    def committed(self, receipt: Any) -> bool:
        with self._translated():
            connections[self.alias].ensure_connection()
            happened = self._dialect(connections[self.alias]).committed(*receipt)
        if happened is None:
            raise exceptions.StoreUnavailable("the transaction is still being committed")
        return happened

    # Reading

    def read(self, stream_id: int, after: int, limit: int) -> base.Page | None:
        # The row first, then the events up to its head: a consistent prefix without a transaction, because events
        # are never changed while they may be read, and never appear behind a head that was read before them.
        with self._translated():
            row = self._streams(pk=stream_id).values_list("state", "head", "earliest").first()
            if row is None:
                return None
            state, head, earliest = row
            events = self._read_events(stream_id, after, min(head, after + limit)) if head > after else []
            if head > after >= earliest - 1 and (not events or events[0].sequence > after + 1):
                # Trimmed between the two reads.
                earliest = self._streams(pk=stream_id).values_list("earliest", flat=True).first() or head + 1
        return base.Page(events, models.StreamState(state), head, earliest)

    def _read_events(self, stream_id: int, after: int, last: int) -> list[base.Event]:
        # In one statement, so that an event which is being redacted is either as it was sent or not there.
        earliest = RawSQL(_EARLIEST, (stream_id,))  # noqa: S611  # building a queryset costs more than the query
        events = models.Event.objects.using(self.alias).filter(stream_id=stream_id, sequence__gte=earliest)
        rows = events.filter(sequence__gt=after, sequence__lte=last).order_by("sequence")
        return [base.Event(*row) for row in rows.values_list("sequence", "payload")]

    def poll(self, stream_ids: Iterable[int]) -> dict[int, base.Status]:
        found = {}
        with self._translated():
            for some in base.chunks(stream_ids, _CHUNK):
                rows = self._streams(pk__in=some).values_list("pk", "head", "epoch", "state", "follower")
                for stream_id, head, epoch, state, follower in rows:
                    found[stream_id] = base.Status(head, epoch, models.StreamState(state), follower)
        return found

    # Sessions

    def open_session(self, facts: base.SessionFacts, digest: str, record: base.NewRecord | None) -> None:
        with self._atomic():
            now = timezone.now()
            models.Session.objects.using(self.alias).create(
                id=facts.id,
                digest=digest,
                server=facts.server,
                principal=facts.principal,
                revision=facts.revision,
                client_info=jsonrpc.dumps(facts.client_info).decode(),
                capabilities=jsonrpc.dumps(facts.capabilities).decode(),
                created_at=now,
                last_seen_at=Now(),
            )
            models.Stream.objects.using(self.alias).create(id=facts.id, session_id=facts.id, created_at=now)
            if record is not None:
                models.Record.objects.using(self.alias).create(
                    **{name: getattr(record, name) for name in _RECORD_COLUMNS[:-1]}, created_at=now
                )

    def find_session(self, digest: str) -> base.SessionFacts | None:
        with self._translated():
            row = self._sessions(digest=digest, state=models.SessionState.OPEN).values_list(*_SESSION_FACTS).first()
        return None if row is None else _session_facts(*row)

    def is_open(self, session_id: int) -> bool:
        with self._translated():
            return self._sessions(pk=session_id, state=models.SessionState.OPEN).exists()

    def touch(self, session_ids: Iterable[int]) -> None:
        for some in base.chunks(sorted(session_ids), _CHUNK):
            sessions = self._sessions(pk__in=some, state=models.SessionState.OPEN)
            # Locked in the order in which the write path locks them, so that two workers never wait for each other.
            locked = sessions.order_by("pk").select_for_update(no_key=True).values("pk")
            with self._atomic():
                self._sessions(pk__in=locked).update(last_seen_at=Now())

    def set_log_level(self, session_id: int, level: str) -> None:
        with self._translated():
            self._sessions(pk=session_id).update(log_level=level)

    def end_session(self, session_id: int, state: models.SessionState) -> list[int]:
        return self._end_session(self._sessions(pk=session_id), session_id, state)

    def _end_session(
        self, sessions: QuerySet[models.Session], session_id: int, state: models.SessionState
    ) -> list[int]:
        """End the one session, if it is still among ``sessions`` and open."""
        with self._atomic():
            # Waits for calls that are being opened; then the streams below include theirs.
            if not sessions.filter(state=models.SessionState.OPEN).update(state=state, ended_at=timezone.now()):
                return []
            subscriptions = models.Subscription.objects.using(self.alias).filter(session_id=session_id)
            if _lock(subscriptions):
                subscriptions.delete()
            return self._end_streams(session_id, _STREAM_STATE[state])

    def count_sessions(self, principal: str | None = None) -> int:
        with self._translated():
            return self._sessions(**_of(principal), state=models.SessionState.OPEN).count()

    def make_room(self, principal: str | None = None) -> list[int]:
        listening = models.Stream.objects.using(self.alias).filter(pk=OuterRef("pk"), follower__isnull=False)
        untouched = Q(last_seen_at__lt=Now() - timedelta(seconds=base.GIVE_WAY_SECONDS))
        idle = self._idle(base.GIVE_WAY_SECONDS if principal is None else 0).filter(
            ~Exists(listening) | untouched, **_of(principal)
        )
        return self._expire(idle.order_by("last_seen_at"), 1)

    def expire_sessions(self, idle_seconds: float, limit: int) -> list[int]:
        return self._expire(self._idle(idle_seconds), limit)

    def _idle(self, seconds: float) -> QuerySet[models.Session]:
        running = models.Stream.objects.using(self.alias).filter(
            session_id=OuterRef("pk"), state=models.StreamState.OPEN, request_id__gt=""
        )
        return self._sessions(
            ~Exists(running),
            state=models.SessionState.OPEN,
            last_seen_at__lt=Now() - timedelta(seconds=seconds),
        )

    def _expire(self, idle: QuerySet[models.Session], limit: int) -> list[int]:
        with self._translated():
            idle_ids = list(idle.values_list("pk", flat=True)[:limit])
        return [
            stream_id
            for session_id in idle_ids
            # Asked again as it is ended: it may be in use by now.
            for stream_id in self._end_session(
                idle.order_by().filter(pk=session_id), session_id, models.SessionState.EXPIRED
            )
        ]

    # Subscriptions

    def subscribe(self, session_id: int, topic: str, limit: int) -> None:
        mine = models.Subscription.objects.using(self.alias).filter(session_id=session_id)
        with self._translated():
            if mine.filter(digest=_digest(topic)).exists():
                return
            if mine.count() >= limit:
                raise exceptions.TooManyRequests("too many subscriptions in this session", retry_after_seconds=60)
            mine.bulk_create([_subscription(session_id, topic)], ignore_conflicts=True)

    def unsubscribe(self, session_id: int, topic: str) -> None:
        with self._translated():
            models.Subscription.objects.using(self.alias).filter(session_id=session_id, digest=_digest(topic)).delete()

    def audience(self, server: str, topic: str, *, is_for_all: bool) -> list[list[int]]:
        sessions = self._sessions(server=server, state=models.SessionState.OPEN).order_by("pk")
        if not is_for_all:
            sessions = sessions.filter(subscriptions__digest=_digest(topic))
        with self._translated():
            return list(base.chunks(sessions.values_list("pk", flat=True), base.NEWS_AT_ONCE))

    def notify(self, session_ids: Sequence[int], topic: str, payload: str, *, is_for_all: bool) -> list[int]:
        digest = _digest(topic)
        if is_for_all:
            self._subscribe_all(session_ids, topic, digest)
        subscriptions = models.Subscription.objects.using(self.alias)
        with self._atomic():
            # Under their lock nobody else announces the same meanwhile, and nothing is offered.
            locked = _lock(subscriptions.filter(digest=digest, session_id__in=session_ids))
            rows = {row.session_id: row for row in locked}
            earliest = dict(self._streams(pk__in=rows).values_list("pk", "earliest"))
            writes = [
                base.StreamWrite(
                    stream_id=session_id, epoch=None, payloads=[payload], stored_bytes=len(payload.encode())
                )
                for session_id, row in sorted(rows.items())
                # 0 where nothing waits; what was trimmed will never be sent.
                if row.announced < earliest.get(session_id, 0)
            ]
            if not writes:
                return []
            outcomes = _Transaction(self._dialect(connections[self.alias]), writes, ()).apply()
            told = []
            for write, outcome in zip(writes, outcomes, strict=True):
                if isinstance(outcome, base.Written):
                    rows[write.stream_id].announced = outcome.head
                    told.append(write.stream_id)
            subscriptions.bulk_update([rows[stream_id] for stream_id in told], ["announced"])
        return told

    def _subscribe_all(self, session_ids: Sequence[int], topic: str, digest: str) -> None:
        subscriptions = models.Subscription.objects.using(self.alias)
        without = self._sessions(
            ~Exists(subscriptions.filter(session_id=OuterRef("pk"), digest=digest)),
            pk__in=session_ids,
            state=models.SessionState.OPEN,
        )
        with self._translated():
            # In one order, so that two workers who say the same never wait for each other.
            missing = without.order_by("pk").values_list("pk", flat=True)
            subscriptions.bulk_create([_subscription(i, topic) for i in missing], ignore_conflicts=True)

    def offer(self, session_id: int, sequence: int) -> None:
        subscriptions = models.Subscription.objects.using(self.alias)
        with self._atomic():
            unread = _lock(subscriptions.filter(session_id=session_id, announced__gt=0, announced__lte=sequence))
            for some in base.chunks((row.pk for row in unread), _CHUNK):
                subscriptions.filter(pk__in=some).update(announced=0)

    def _end_streams(self, session_id: int, state: models.StreamState) -> list[int]:
        running = self._streams(session_id=session_id, state=models.StreamState.OPEN).order_by("pk")
        stream_ids = list(running.select_for_update().values_list("pk", flat=True))
        self._streams(pk__in=stream_ids).update(state=state, epoch=F("epoch") + 1, ended_at=timezone.now())
        return stream_ids

    # Streams

    def find_stream(self, session_id: int, stream_id: int) -> tuple[base.Page, str] | None:
        with self._translated():
            names = ("state", "head", "earliest", "request_id")
            row = self._streams(pk=stream_id, session_id=session_id).values_list(*names).first()
        if row is None:
            return None
        state, head, earliest, request_id = row
        return base.Page([], models.StreamState(state), head, earliest), request_id

    def handed(self, stream_id: int) -> int:
        with self._translated():
            return self._streams(pk=stream_id).values_list("handed", flat=True).first() or 0

    def hand(self, stream_id: int, sequence: int) -> None:
        with self._translated():
            self._streams(pk=stream_id, handed__lt=sequence).update(handed=sequence)

    def take(self, stream_id: int, follower: int) -> bool:
        window = Now() - timedelta(seconds=base.TAKEOVER_WINDOW_SECONDS)
        calm = Q(taken_at__isnull=True) | Q(taken_at__lt=window)
        with self._translated():
            stream = self._streams(pk=stream_id)
            # A stream that has ended is only read; nobody waits at its end to be pushed away.
            takes_over = Q(follower__isnull=False, state=models.StreamState.OPEN)
            taken = stream.filter(calm | ~takes_over | Q(takeovers__lt=base.TAKEOVER_LIMIT)).update(
                follower=follower,
                takeovers=Case(
                    When(calm & takes_over, then=Value(1)),
                    When(takes_over, then=F("takeovers") + 1),
                    default=F("takeovers"),
                ),
                taken_at=Case(When(calm & takes_over, then=Now()), default=F("taken_at")),
            )
        return taken > 0

    def release(self, stream_id: int, follower: int) -> None:
        with self._translated():
            self._streams(pk=stream_id, follower=follower).update(follower=None)

    def cancel(self, session_id: int, request_id: str) -> int | None:
        with self._atomic():
            running = self._streams(session_id=session_id, request_id=request_id, state=models.StreamState.OPEN)
            stream_id = running.select_for_update().values_list("pk", flat=True).first()
            if stream_id is not None:
                self._streams(pk=stream_id).update(
                    state=models.StreamState.CANCELLED, epoch=F("epoch") + 1, ended_at=timezone.now()
                )
        return stream_id

    # Asks

    def reply(self, session_id: int, wire_id: str, reply: str) -> int | None:
        with self._atomic():
            pending = models.Ask.objects.using(self.alias).filter(
                session_id=session_id, wire_id=wire_id, state=models.AskState.PENDING
            )
            ask_id = pending.select_for_update().values_list("pk", flat=True).first()
            if ask_id is not None:
                models.Ask.objects.using(self.alias).filter(pk=ask_id).update(
                    state=models.AskState.ANSWERED, reply=reply
                )
        return ask_id

    def replies(self, ask_ids: Iterable[int]) -> dict[int, str]:
        found: dict[int, str] = {}
        answered = models.Ask.objects.using(self.alias).filter(state=models.AskState.ANSWERED)
        with self._translated():
            for some in base.chunks(ask_ids, _CHUNK):
                found.update(answered.filter(pk__in=some).values_list("pk", "reply"))
        return found

    def forget_reply(self, ask_id: int) -> None:
        with self._translated():
            models.Ask.objects.using(self.alias).filter(pk=ask_id).update(reply="")

    def withdraw(self, ask_id: int) -> None:
        with self._translated():
            pending = models.Ask.objects.using(self.alias).filter(pk=ask_id, state=models.AskState.PENDING)
            pending.update(state=models.AskState.WITHDRAWN)

    # Housekeeping

    def tidy(self) -> None:
        with self._translated():
            connections[self.alias].ensure_connection()
            self._dialect(connections[self.alias]).tidy()

    # Workers

    def register_worker(self, worker_id: int, host: str, pid: int, lease_seconds: float) -> None:
        with self._translated():
            models.Worker.objects.using(self.alias).create(
                id=worker_id,
                host=host,
                pid=pid,
                started_at=timezone.now(),
                lease_expires_at=Now() + timedelta(seconds=lease_seconds),
            )

    def renew_worker(self, worker_id: int, lease_seconds: float, dropped_records: int = 0) -> bool:
        with self._translated():
            mine = models.Worker.objects.using(self.alias).filter(pk=worker_id, lease_expires_at__gt=Now())
            lease_expires_at = Now() + timedelta(seconds=lease_seconds)
            return mine.update(lease_expires_at=lease_expires_at, dropped_records=dropped_records) > 0

    def retire_worker(self, worker_id: int) -> None:
        with self._translated():
            mine = models.Worker.objects.using(self.alias).filter(pk=worker_id)
            mine.update(lease_expires_at=Now() - timedelta(seconds=1))

    def take_orphans(self, worker_id: int, servers: Collection[str], limit: int) -> list[base.Orphan]:
        with self._translated():
            orphans = self._orphans().filter(
                self._is_unasked(),
                arguments__gt="",
                session__server__in=servers,
                session__state=models.SessionState.OPEN,
            )
            rows = list(orphans.values_list("pk", "epoch")[:limit])
        taken: list[base.Orphan] = []
        for stream_id, epoch in rows:
            try:
                orphan = self._take_orphan(worker_id, stream_id, epoch)
            except exceptions.StoreError:
                if not taken:
                    raise
                # Nobody else will run what was taken; the others are there at the next look.
                break
            if orphan is not None:
                taken.append(orphan)
        return taken

    def _take_orphan(self, worker_id: int, stream_id: int, epoch: int) -> base.Orphan | None:
        orphan: base.Orphan | None = None
        try:
            with self._atomic():
                # Locked before it is looked at, so that a question which its owner was committing is seen.
                mine = self._orphans().filter(pk=stream_id, epoch=epoch).select_for_update()
                row = mine.values("session_id", "earliest", "head", "request_id", "method", "arguments").first()
                if row is not None and self._may_take(worker_id, stream_id):
                    self._streams(pk=stream_id).update(epoch=epoch + 1, owner_id=worker_id, arguments="")
                    orphan = self._orphan(stream_id, epoch + 1, **row)
        except exceptions.StoreUnavailable:
            if orphan is None or not self._was_taken(orphan, worker_id):
                raise
        return orphan

    def _orphan(self, stream_id: int, epoch: int, *, session_id: int, **row: Any) -> base.Orphan:
        session = self._sessions(pk=session_id)
        facts = models.Record.objects.using(self.alias).filter(pk=stream_id).values_list("facts", flat=True)
        return base.Orphan(
            stream_id=stream_id,
            epoch=epoch,
            session=_session_facts(*session.values_list(*_SESSION_FACTS).get()),
            log_level=session.values_list("log_level", flat=True).get(),
            facts=facts.first() or "",
            **row,
        )

    def _was_taken(self, orphan: base.Orphan, worker_id: int) -> bool:
        """Find out whether a call was taken though its COMMIT failed: nobody else would run it, or end it.

        Asked until the database answers, or our lease has run out, so that others end what we may have taken.
        """
        give_up_at = time.monotonic() + conf.settings.LEASE_SECONDS
        while True:
            try:
                with self._atomic():
                    # Locked, so that a COMMIT that is still under way is waited for.
                    row = self._streams(pk=orphan.stream_id).select_for_update().values_list("owner_id", "epoch")
                    return row.first() == (worker_id, orphan.epoch)
            except exceptions.StoreUnavailable:
                if time.monotonic() > give_up_at:
                    raise
                time.sleep(_ASK_AGAIN_SECONDS)

    def _may_take(self, worker_id: int, stream_id: int) -> bool:
        lives = models.Worker.objects.using(self.alias).filter(pk=worker_id, lease_expires_at__gte=Now())
        return lives.exists() and self._streams(self._is_unasked(), pk=stream_id, arguments__gt="").exists()

    def _is_unasked(self) -> Combinable:
        return ~Exists(models.Ask.objects.using(self.alias).filter(stream_id=OuterRef("pk")))

    def _orphans(self) -> QuerySet[models.Stream]:
        return self._streams(~self._owner_lives(), owner__isnull=False, state=models.StreamState.OPEN)

    def end_orphans(self, closing: Callable[[jsonrpc.RequestId], str], limit: int) -> list[int]:
        recently = Now() - timedelta(seconds=base.RERUN_SECONDS)
        spared = Q(arguments__gt="") & self._is_unasked() & self._owner_lives(since=recently)
        with self._translated():
            rows = list(self._orphans().filter(~spared).values_list("pk", "epoch", "request_id")[:limit])
        ended = [
            stream_id
            for stream_id, epoch, request_id in rows
            if self._end_orphan(stream_id, epoch, request_id, closing)
        ]
        self._forget_workers()
        return ended

    def _owner_lives(self, *, since: Combinable | None = None) -> Exists:
        """Whether the owner's lease has not run out, or had not ``since`` then."""
        alive = models.Worker.objects.using(self.alias).filter(lease_expires_at__gte=since or Now())
        return Exists(alive.filter(pk=OuterRef("owner_id")))

    def _end_orphan(
        self, stream_id: int, epoch: int, request_id: str, closing: Callable[[jsonrpc.RequestId], str]
    ) -> bool:
        payload = closing(_loads(request_id))
        with self._atomic():
            moved = (
                self._orphans()
                .filter(pk=stream_id, epoch=epoch)
                .update(
                    epoch=F("epoch") + 1,
                    head=F("head") + 1,
                    stored_bytes=F("stored_bytes") + len(payload.encode()),
                    state=models.StreamState.LOST,
                    ended_at=timezone.now(),
                )
            )
            if moved:
                head = self._streams(pk=stream_id).values_list("head", flat=True).get()
                models.Event.objects.using(self.alias).create(
                    stream_id=stream_id, sequence=head, payload=payload, created_at=timezone.now()
                )
        return moved > 0

    def _forget_workers(self) -> None:
        """Delete workers that are dead and own nothing any more."""
        owns = self._streams(owner_id=OuterRef("pk"), state=models.StreamState.OPEN)
        with self._translated():
            dead = models.Worker.objects.using(self.alias).filter(lease_expires_at__lt=Now())
            dead.filter(~Exists(owns)).delete()

    # Retention

    def prune(self, retention: base.Retention, redact: Callable[[str], str], limit: int) -> base.Pruned | None:
        with self._translated():
            return pruning.Pruning(self.alias, retention).prune(redact, limit)

    def purge(self, session_id: int, limit: int) -> base.Pruned | None:
        with self._translated():
            return pruning.purge(self.alias, session_id, limit)

    def prunable(self, retention: base.Retention) -> base.Pruned:
        with self._translated():
            return pruning.Pruning(self.alias, retention).count()

    # Ways in

    def _sessions(self, *conditions: Q | Combinable, **lookups: Any) -> QuerySet[models.Session]:
        return models.Session.objects.using(self.alias).filter(*conditions, **lookups)

    def _streams(self, *conditions: Q | Combinable, **lookups: Any) -> QuerySet[models.Stream]:
        return models.Stream.objects.using(self.alias).filter(*conditions, **lookups).order_by()

    @contextlib.contextmanager
    def _atomic(self) -> Iterator[None]:
        with self._translated(), transaction.atomic(using=self.alias):
            yield

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        """Use the connection of this thread; what a pool lent is given back."""
        try:
            with errors_translated(self.alias):
                yield
        finally:
            self._give_back()

    def _give_back(self) -> None:
        # The threads that come here are few and live long. Kept, their connections would use up a small pool.
        if self._is_pooled and not connections[self.alias].in_atomic_block:
            _discard_connection(self.alias)


@contextlib.contextmanager
def errors_translated(alias: str) -> Iterator[None]:
    """Turn a database's errors into ours; a connection that failed is not used again.

    Raises:
        StoreUnavailable: the database did not answer.
        StoreError: it did not take the data.
    """
    try:
        with connections[alias].wrap_database_errors:
            yield
    except (OperationalError, InterfaceError) as error:
        _discard_connection(alias)
        raise exceptions.StoreUnavailable(str(error).strip()) from error
    except (DatabaseError, ValueError, OverflowError) as error:
        # ValueError: what the driver cannot encode, such as a lone surrogate or, on PostgreSQL, NUL.
        raise exceptions.StoreError(str(error).strip()) from error


def _discard_connection(alias: str) -> None:
    with contextlib.suppress(DatabaseError):
        connections[alias].close()


def _witness(write: base.StreamWrite, outcome: base.Outcome) -> dialects.Witness | None:
    """Return a row that exists if the transaction happened, and otherwise not."""
    if not isinstance(outcome, base.Written) or (write.opening is None and not write.payloads):
        return None
    return dialects.Witness(write.stream_id, outcome.head, write.payloads[-1] if write.payloads else None)


_STREAM_STATE: Final = {
    models.SessionState.EXPIRED: models.StreamState.EXPIRED,
    models.SessionState.TERMINATED: models.StreamState.TERMINATED,
}


class _Transaction:
    """The statements of one group commit."""

    def __init__(
        self,
        dialect: dialects.Dialect,
        writes: Sequence[base.StreamWrite],
        records: Sequence[base.NewRecord],
    ) -> None:
        self.dialect = dialect
        self.writes = writes
        self.records = list(records)
        moment = timezone.now()
        self.moment = moment
        self.now = dialect.connection.ops.adapt_datetimefield_value(moment)

    def apply(self) -> list[base.Outcome]:
        openings = [write for write in self.writes if write.opening is not None]
        appends = [write for write in self.writes if write.opening is None]
        outcomes: dict[int, base.Outcome] = {}
        if openings:
            outcomes.update(self._open(openings))
        if appends:
            outcomes.update(self._append(appends))
        written = [
            (write, outcome) for write in self.writes if isinstance(outcome := outcomes[write.stream_id], base.Written)
        ]
        self._insert_events(written)
        self._trim(written)
        self._insert_asks(written)
        self._insert_records(written)
        return [outcomes[write.stream_id] for write in self.writes]

    def _open(self, openings: list[base.StreamWrite]) -> dict[int, base.Outcome]:
        session_ids = sorted(
            {w.opening.session_id for w in openings if w.opening and w.opening.session_id is not None}
        )
        levels, in_flight = self._open_sessions(session_ids)
        outcomes: dict[int, base.Outcome] = {}
        rows = []
        for write in openings:
            assert write.opening is not None
            problem = _refuse(write.opening, write.end, levels, in_flight)
            if problem is not None:
                outcomes[write.stream_id] = problem
                continue
            level = levels.get(write.opening.session_id or 0, "")
            outcomes[write.stream_id] = base.Written(
                write.opening.skipped + len(write.payloads), write.stored_bytes, level
            )
            rows.append(self._stream_row(write, write.opening))
        if rows:
            inserted = self.dialect.insert_streams(_STREAM_COLUMNS, rows)
            for row in rows:
                if row[0] not in inserted:
                    outcomes[row[0]] = self._explain_conflict(row[0])
        return outcomes

    def _open_sessions(self, session_ids: list[int]) -> tuple[dict[int, str], dict[int, set[str]]]:
        levels: dict[int, str] = {}
        in_flight: dict[int, set[str]] = {}
        if session_ids:
            for session_id, level, request_id in self.dialect.open_sessions(session_ids):
                levels[session_id] = level
                in_flight.setdefault(session_id, set())
                if request_id is not None:
                    in_flight[session_id].add(request_id)
        return levels, in_flight

    def _explain_conflict(self, stream_id: int) -> exceptions.StreamableHTTPError:
        exists = models.Stream.objects.using(self.dialect.connection.alias).filter(pk=stream_id).exists()
        return base.StreamIdTaken() if exists else exceptions.RequestIdInFlight()

    def _stream_row(self, write: base.StreamWrite, opening: base.Opening) -> tuple[Any, ...]:
        ended_at = None if write.end == models.StreamState.OPEN else self.now
        return (
            write.stream_id,
            opening.session_id,
            opening.owner_id,
            write.epoch,
            opening.skipped + len(write.payloads),
            opening.skipped + 1,
            write.stored_bytes,
            write.end.value,
            opening.request_id,
            opening.method,
            opening.name,
            opening.arguments,
            opening.follower,
            0,
            0,
            self.now,
            ended_at,
            opening.resent_from,
            *write.ending,
        )

    def _append(self, appends: list[base.StreamWrite]) -> dict[int, base.Outcome]:
        moves = [
            dialects.Append(w.stream_id, w.epoch, len(w.payloads), w.stored_bytes, w.end.value, *w.ending)
            for w in appends
        ]
        outcomes: dict[int, base.Outcome] = {w.stream_id: exceptions.StreamLost(w.stream_id) for w in appends}
        for stream_id, head, size in self.dialect.append(moves, self.now):
            outcomes[stream_id] = base.Written(head, size)
        return outcomes

    def _insert_events(self, written: list[tuple[base.StreamWrite, base.Written]]) -> None:
        rows = [
            (write.stream_id, sequence, payload, self.now)
            for write, outcome in written
            for sequence, payload in enumerate(write.payloads, outcome.head - len(write.payloads) + 1)
        ]
        if rows:
            self.dialect.insert(dialects.EVENT, _EVENT_COLUMNS, rows)

    def _trim(self, written: list[tuple[base.StreamWrite, base.Written]]) -> None:
        cap = conf.settings.MAX_STREAM_EVENTS
        for write, outcome in written:
            skipped = write.opening.skipped if write.opening is not None else 0
            if outcome.head - skipped > cap:
                outcome.stored_bytes = self.dialect.trim(write.stream_id, outcome.head - cap + 1)

    def _insert_asks(self, written: list[tuple[base.StreamWrite, base.Written]]) -> None:
        adapt = self.dialect.connection.ops.adapt_datetimefield_value
        rows = [
            (ask.id, ask.session_id, write.stream_id, ask.wire_id, ask.method, "pending", "", self.now, deadline_at)
            for write, _ in written
            for ask in write.asks
            for deadline_at in [adapt(self.moment + timedelta(seconds=ask.deadline_seconds))]
        ]
        if rows:
            self.dialect.insert(dialects.ASK, _ASK_COLUMNS, rows)

    def _insert_records(self, written: list[tuple[base.StreamWrite, base.Written]]) -> None:
        opened = [(w.opening.record, w.stream_id) for w, _ in written if w.opening is not None]
        loose = [(record, record.id) for record in self.records]
        rows = [
            (record_id, record.session_id, record.method, record.payload, record.facts, self.now)
            for record, record_id in (*opened, *loose)
            if record is not None
        ]
        if rows:
            self.dialect.insert(dialects.RECORD, _RECORD_COLUMNS, rows)


def _refuse(
    opening: base.Opening, end: models.StreamState, levels: dict[int, str], in_flight: dict[int, set[str]]
) -> exceptions.StreamableHTTPError | None:
    if opening.session_id is None:
        return None
    if opening.session_id not in levels:
        return exceptions.UnknownSession()
    running = in_flight[opening.session_id]
    if opening.request_id in running:
        return exceptions.RequestIdInFlight()
    if len(running) >= conf.settings.MAX_OPEN_STREAMS:
        return exceptions.TooManyRequests("too many open streams in this session", retry_after_seconds=1)
    if end == models.StreamState.OPEN:
        # One that is answered with its opening is never in flight.
        running.add(opening.request_id)
    return None


def _of(principal: str | None) -> dict[str, str]:
    return {} if principal is None else {"principal": principal}


def _digest(topic: str) -> str:
    return hashlib.sha256(topic.encode()).hexdigest()


def _subscription(session_id: int, topic: str) -> models.Subscription:
    return models.Subscription(session_id=session_id, topic=topic, digest=_digest(topic), created_at=timezone.now())


def _lock(subscriptions: QuerySet[models.Subscription]) -> list[models.Subscription]:
    """Return them locked; everybody locks in this order, so that two workers never wait for each other."""
    return list(subscriptions.defer("topic").order_by("pk").select_for_update())


def _session_facts(
    session_id: int, server: str, principal: str, revision: str, client_info: str, capabilities: str
) -> base.SessionFacts:
    return base.SessionFacts(
        id=session_id,
        server=server,
        principal=principal,
        revision=revision,
        client_info=_loads(client_info),
        capabilities=_loads(capabilities),
    )


def _loads(text: str) -> Any:
    """Read JSON that this store wrote."""
    return jsonrpc.loads(text.encode(), max_depth=conf.settings.MAX_JSON_DEPTH)
