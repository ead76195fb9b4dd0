"""What the doctor looks at from here: settings, database, cache, channel layer, workers."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, Final

from channels.layers import channel_layers
from django.core import checks as django_checks
from django.core.cache import DEFAULT_CACHE_ALIAS, caches
from django.core.cache.backends.dummy import DummyCache
from django.core.cache.backends.locmem import LocMemCache
from django.db import connections
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone

from streamable_http import conf, models, operations
from streamable_http.delivery import engine
from streamable_http.delivery.wakeups.channel_layer import ChannelLayerWakeups
from streamable_http.delivery.wakeups.local import LocalWakeups
from streamable_http.management.findings import Finding, failed, ok, warning
from streamable_http.models import StreamState
from streamable_http.stores import delegating
from streamable_http.stores.cached import CachedStore
from streamable_http.stores.db import DatabaseStore
from streamable_http.stores.memory import MemoryStore
from streamable_http.tables import rows_of

APP: Final = "streamable_http"
"""Label of this app, and tag of its checks."""

SKEW_SECONDS: Final = 1.0
"""Difference of clocks that is worth a warning. Leases go by the database's clock alone, and ids by the workers'."""

LAYER_SECONDS: Final = 5.0
"""How long a message may be on its way through the channel layer."""

SLOW_MS: Final = 50.0
"""A query of one row that takes longer slows every call down."""


def examine() -> Iterator[Finding]:
    """Yield what there is to say, each as soon as it was looked at. What raises is a finding itself."""
    for about, look in LOOKS:
        try:
            yield from look()
        except Exception as error:  # whatever a project's own parts raise
            yield failed(about, f"{type(error).__name__}: {error}", HINTS[about])


# Settings


def _settings() -> Iterator[Finding]:
    said = django_checks.run_checks(tags=[APP], include_deployment_checks=True)
    said = [message for message in said if not message.is_silenced()]
    for message in said:
        text = f"{message.msg} ({message.id})"
        if message.level >= django_checks.ERROR:
            yield failed("settings", text, message.hint or "")
        elif message.level >= django_checks.WARNING:
            yield warning("settings", text, message.hint or "")
        else:
            yield ok("settings", text, message.hint or "")
    if not said:
        yield ok("settings", "manage.py check --deploy has nothing to say about this app")


# The database


def _database() -> Iterator[Finding]:
    store = delegating.innermost(engine.store())
    if not isinstance(store, DatabaseStore):
        yield warning(
            "database",
            f"the log is in {type(store).__name__}, and not in a database",
            f"Remove {conf.SETTING}['STORE'], unless that is meant so: commands, admin and API read the database.",
        )
        return
    connection = connections[store.alias]
    begun_at = time.monotonic()
    connection.ensure_connection()
    connect_ms = (time.monotonic() - begun_at) * 1_000
    begun_at = time.monotonic()
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        cursor.fetchone()
    query_ms = (time.monotonic() - begun_at) * 1_000
    said = f"'{store.alias}' ({connection.vendor}) answers in {query_ms:.1f} ms, connected in {connect_ms:.1f} ms"
    if query_ms > SLOW_MS:
        yield warning("database", said, "Each call waits for its commit: put the database nearer to the workers.")
    else:
        yield ok("database", said)
    yield from _migrations(store.alias)
    yield from CLOCKS.get(connection.vendor, _no_more)(connection)


def _migrations(alias: str) -> Iterator[Finding]:
    executor = MigrationExecutor(connections[alias])
    targets = [node for node in executor.loader.graph.leaf_nodes() if node[0] == APP]
    waiting = [migration.name for migration, _ in executor.migration_plan(targets)]
    if waiting:
        yield failed(
            "migrations",
            f"not applied in '{alias}': {', '.join(waiting)}",
            f"Run: manage.py migrate {APP} --database {alias}",
        )
    else:
        yield ok("migrations", f"all applied in '{alias}'")


def _postgresql(connection: Any) -> Iterator[Finding]:
    with connection.cursor() as cursor:
        before = timezone.now()
        cursor.execute("SELECT clock_timestamp()")
        (there,) = cursor.fetchone()
        after = timezone.now()
        cursor.execute("SHOW synchronous_commit")
        (synchronous,) = cursor.fetchone()
    yield _clock(before, there, after)
    if synchronous == "off":
        yield warning(
            "durability",
            "synchronous_commit is off: a crash of the database loses what was committed last",
            "Set synchronous_commit = on, unless that is meant so.",
        )


def _clock(before: datetime, there: datetime, after: datetime) -> Finding:
    # As far as it lies outside of the time that the question took.
    skew_seconds = max((before - there).total_seconds(), (there - after).total_seconds(), 0.0)
    said = f"this machine and the database differ by {skew_seconds:.3f} s"
    if skew_seconds > SKEW_SECONDS:
        return warning(
            "clock",
            said,
            "Have both synchronize (NTP): leases go by the database's clock, ids by the workers'.",
        )
    return ok("clock", said)


def _sqlite(connection: Any) -> Iterator[Finding]:
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA journal_mode")
        (mode,) = cursor.fetchone()
    if mode.lower() == "wal":
        yield ok("journal", "SQLite is in WAL mode: readers do not keep the writer from writing")
    else:
        yield failed(
            "journal",
            f"SQLite's journal_mode is {mode}: readers keep others from writing",
            f"Set DATABASES['{connection.alias}']['OPTIONS']['init_command'] = "
            '"PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;".',
        )
    yield ok("clock", "SQLite goes by this machine's clock")


def _no_more(connection: Any) -> Iterator[Finding]:
    yield from ()


CLOCKS: Final[dict[str, Callable[[Any], Iterator[Finding]]]] = {"postgresql": _postgresql, "sqlite": _sqlite}


# Cache and channel layer


def _cache() -> Iterator[Finding]:
    store = engine.store()
    alias = store.cache.alias if isinstance(store, CachedStore) else DEFAULT_CACHE_ALIAS
    cache = caches[alias]
    key, value = f"{APP}.doctor.{secrets.token_hex(8)}", secrets.token_hex(8)
    begun_at = time.monotonic()
    cache.set(key, value, 60)
    found = cache.get(key)
    cache.delete(key)
    took_ms = (time.monotonic() - begun_at) * 1_000
    if found == value:
        yield ok("cache", f"'{alias}' ({type(cache).__name__}) keeps what it is given, in {took_ms:.1f} ms")
    elif isinstance(cache, DummyCache):
        yield ok("cache", f"'{alias}' is DummyCache, which keeps nothing")
    else:
        yield failed(
            "cache",
            f"'{alias}' ({type(cache).__name__}) does not return what it was given",
            f"Look whether the server behind CACHES['{alias}'] runs and can be reached from here.",
        )


def _channel_layer() -> Iterator[Finding]:
    wakeups = conf.build(conf.settings.WAKEUPS)
    if not isinstance(wakeups, ChannelLayerWakeups) and "default" not in channel_layers.configs:
        yield ok("channel layer", "none is set up, and none is needed")
        return
    layer = wakeups.layer if isinstance(wakeups, ChannelLayerWakeups) else channel_layers["default"]
    took_ms = asyncio.run(_round_trip(layer)) * 1_000
    yield ok("channel layer", f"{type(layer).__name__} delivered a message to a group in {took_ms:.1f} ms")


async def _round_trip(layer: Any) -> float:
    """Send to a group and receive; the seconds that it took."""
    name = f"{APP}.doctor.{secrets.token_hex(8)}"
    async with asyncio.timeout(LAYER_SECONDS):
        channel = await layer.new_channel()
        await layer.group_add(name, channel)
        try:
            begun_at = time.monotonic()
            await layer.group_send(name, {"type": name, "text": name})
            message = await layer.receive(channel)
            if message.get("text") != name:
                raise ValueError("it delivered another message than the one that was sent")
            return time.monotonic() - begun_at
        finally:
            await layer.group_discard(name, channel)


# Workers


def _workers() -> Iterator[Finding]:
    alive = [worker for worker in operations.workers() if worker.is_alive]
    if not alive:
        yield warning(
            "workers",
            "none is alive: no server uses this database, or none has served a request yet",
            "Start a server, and send it a request. If it runs, look whether it uses the same database.",
        )
    for worker in alive:
        said = f"{worker.host}:{worker.pid} is alive, and runs {worker.open_streams:,} calls"
        if worker.dropped_records:
            yield warning(
                "workers",
                f"{said}; {worker.dropped_records:,} exchanges were not recorded",
                "The database does not keep up with what is recorded. Set "
                f"{conf.SETTING}['HISTORY'] = 'streams', or give the log a faster database.",
            )
        else:
            yield ok("workers", said)
    yield from _orphans({worker.id for worker in alive})
    yield from _together(len(alive), {worker.host for worker in alive})


def _orphans(alive: set[int]) -> Iterator[Finding]:
    streams = rows_of(models.Stream)
    orphans = streams.filter(state=StreamState.OPEN, owner__isnull=False).exclude(owner__in=alive).count()
    if orphans:
        yield warning(
            "leases",
            f"{orphans:,} calls belong to workers that are gone",
            f"A worker that is alive ends them within {conf.settings.LEASE_SECONDS + 5:g} s; if they stay, start one.",
        )
    else:
        yield ok("leases", "every call that runs belongs to a worker that is alive")


def _together(workers: int, hosts: set[str]) -> Iterator[Finding]:
    """Say what several workers miss that one does not."""
    if workers < 2:
        yield ok("several workers", f"{workers} alive, so that there is nothing to share; see the settings for more")
        return
    said = f"{workers} on {len(hosts)} {'machine' if len(hosts) == 1 else 'machines'}"
    problems = list(_apart(hosts))
    for what, hint in problems:
        yield warning("several workers", f"{said}; {what}", hint)
    if not problems:
        yield ok("several workers", f"{said}; they share what they have to")


def _apart(hosts: set[str]) -> Iterator[tuple[str, str]]:
    store = engine.store()
    inner = delegating.innermost(store)
    if isinstance(inner, MemoryStore):
        yield "each has sessions of its own", f"Remove {conf.SETTING}['STORE']: the database is what they share."
    if isinstance(inner, DatabaseStore) and connections[inner.alias].vendor == "sqlite":
        if len(hosts) > 1:
            yield "SQLite cannot be shared by machines", "Use PostgreSQL."
        else:
            yield "SQLite has one writer, so they wait for each other at every commit", "Use PostgreSQL."
    if isinstance(conf.build(conf.settings.WAKEUPS), LocalWakeups):
        yield (
            f"they notice each other's news by polling, up to {conf.settings.POLL_MAX_SECONDS:g} s late",
            f"Set {conf.SETTING}['WAKEUPS'] to a channel layer on Redis.",
        )
    if isinstance(store, CachedStore) and isinstance(caches[store.cache.alias], LocMemCache):
        yield (
            f"the cache '{store.cache.alias}' is each one's own",
            "Use one that they share, such as django-redis.",
        )


LOOKS: Final[tuple[tuple[str, Callable[[], Iterator[Finding]]], ...]] = (
    ("settings", _settings),
    ("database", _database),
    ("cache", _cache),
    ("channel layer", _channel_layer),
    ("workers", _workers),
)

HINTS: Final = {
    "settings": "Correct the settings, until manage.py check says nothing.",
    "database": "Look whether the database runs, and can be reached from here with the settings' credentials.",
    "cache": "Look whether the cache's server runs, and can be reached from here.",
    "channel layer": "Look whether Redis runs, and can be reached from here. Until then workers notice by polling.",
    "workers": "They are in the database: look what is said about that.",
}
