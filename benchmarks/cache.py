"""Measure reading with and without a cache in front of the database.

    python -m benchmarks.cache              both databases, locmem and Redis
    python -m benchmarks.cache --rounds 50

What is read: the facts of a session; a short stream, for which a cache is asked in vain; and a stream of 10,000
events from its beginning, page by page as a follower does. Each round asks every store in turn, so that what
slows the machine down slows down all; medians are shown. Copies are warm. CPU is this process's own, so without what
the database's server and Redis use. PostgreSQL is what BENCH_DATABASE_URL names, or a server of our own; Redis is
what BENCH_REDIS_URL names, and left out without it.
"""

from __future__ import annotations

import argparse
import functools
import os
import secrets
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import django
from django.core.cache import caches
from django.db import connections
from rich.console import Console
from rich.table import Table

from benchmarks import databases

EVENTS: Final = 10_000
PAGE: Final = 500
PAYLOAD_BYTES: Final = (200, 2_000)
REDIS_VARIABLE: Final = "BENCH_REDIS_URL"

Sample = tuple[float, float]
"""Seconds by the wall, and of CPU."""


def measure(work: Callable[[Any], None], store: Any) -> Sample:
    """Do something once with a store."""
    wall, cpu = time.perf_counter(), time.process_time()
    work(store)
    return time.perf_counter() - wall, time.process_time() - cpu


def fill(store: Any, payload_bytes: int, events: int = EVENTS) -> int:
    """Write a stream that has ended; its id."""
    from streamable_http import ids  # noqa: PLC0415  # after Django's settings
    from streamable_http.models import StreamState  # noqa: PLC0415
    from streamable_http.stores import base  # noqa: PLC0415

    stream_id = ids.new()
    opening = base.Opening(
        session_id=None, owner_id=1, follower=None, request_id="1", method="", name="", arguments="", record=None
    )
    message = '{"jsonrpc":"2.0","method":"notifications/progress","params":{"message":"%s"}}'
    payload = message % secrets.token_hex(payload_bytes)[: payload_bytes - len(message) + 2]
    for start in range(0, events, PAGE):
        count = min(PAGE, events - start)
        write = base.StreamWrite(
            stream_id=stream_id,
            epoch=1,
            opening=None if start else opening,
            payloads=[payload] * count,
            stored_bytes=count * payload_bytes,
            end=StreamState.ANSWERED if start + count == events else StreamState.OPEN,
        )
        store.write([write], [])
    return stream_id


def resume(stream_id: int, store: Any) -> None:
    """Read a stream from its beginning to its end."""
    after = 0
    while after < EVENTS:
        page = store.read(stream_id, after, PAGE)
        if [event.sequence for event in page.events] != list(range(after + 1, after + len(page.events) + 1)):
            raise SystemExit("a page was not what was asked for")
        after = page.events[-1].sequence


def tasks(store: Any) -> dict[str, Callable[[Any], None]]:
    """Fill a database; what is to be measured on stores in front of it, by title."""
    from streamable_http import ids  # noqa: PLC0415
    from streamable_http.stores import base  # noqa: PLC0415

    digest = secrets.token_hex(32)
    facts = base.SessionFacts(
        id=ids.new(),
        server="bench",
        principal="user:1",
        revision="2025-11-25",
        client_info={"name": "bench", "version": "1"},
        capabilities={"elicitation": {}, "sampling": {}},
    )
    store.open_session(facts, digest, None)

    def find(some: Any) -> None:
        for _ in range(100):
            if some.find_session(digest) != facts:
                raise SystemExit("other facts were found")

    short = fill(store, PAYLOAD_BYTES[0], events=10)

    def read(some: Any) -> None:
        for _ in range(100):
            if len(some.read(short, 0, PAGE).events) != 10:
                raise SystemExit("a page was not what was asked for")

    found = {"find_session, 100 times": find, "read 10 events, 100 times": read}
    for payload_bytes in PAYLOAD_BYTES:
        stream_id = fill(store, payload_bytes)
        title = f"resume {EVENTS:,} events of {payload_bytes:,} bytes"
        found[title] = functools.partial(resume, stream_id)
    return found


def set_up(made: dict[str, str], redis_url: str | None) -> None:
    """Have Django know the databases and caches."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.servers.ours.settings"
    os.environ["BENCH_DATABASE"] = next(iter(made.values()))
    from benchmarks.servers.ours import settings  # noqa: PLC0415  # reads the environment

    django.setup()
    for kind, name in made.items():
        connections.databases[kind] = {**connections.databases["default"], "OPTIONS": {}, **settings.database(name)}
    places = {"locmem": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    if redis_url is not None:
        prefix = secrets.token_hex(8)
        places["redis"] = {
            "BACKEND": "django_redis.cache.RedisCache",
            "LOCATION": redis_url,
            "KEY_PREFIX": prefix,
        }
    caches.settings.update(places)


def stores(kind: str) -> dict[str, Any]:
    """Return the stores of one database, by what is in front of it."""
    from streamable_http.stores.cached import CachedStore  # noqa: PLC0415
    from streamable_http.stores.db import DatabaseStore  # noqa: PLC0415

    kept = {"BACKEND": "streamable_http.stores.db.DatabaseStore", "OPTIONS": {"alias": kind}}
    names = [name for name in ("locmem", "redis") if name in caches.settings]
    return {"none": DatabaseStore(kind), **{name: CachedStore(name, kept) for name in names}}


def compare(kind: str, rounds: int, table: Table) -> None:
    """Measure one database."""
    contestants = stores(kind)
    for title, work in tasks(contestants["none"]).items():
        samples: dict[str, list[Sample]] = {name: [] for name in contestants}
        for store in contestants.values():
            work(store)
        for _ in range(rounds):
            for name, store in contestants.items():
                samples[name].append(measure(work, store))
        for name, measured in samples.items():
            wall, cpu = (statistics.median(column) * 1_000 for column in zip(*measured, strict=True))
            table.add_row(kind, title, name, f"{wall:.1f}", f"{cpu:.1f}")


def main() -> None:
    """Measure what there is."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.cache", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=20)
    arguments = parser.parse_args()
    kinds = [databases.SQLITE, databases.POSTGRESQL]
    table = Table("database", "what", "cache", "ms", "ms of CPU")
    with (
        tempfile.TemporaryDirectory(prefix="benchmarks", ignore_cleanup_errors=True) as place,
        databases.makers(kinds, Path(place)) as makers,
        makers[kinds[0]].fresh() as sqlite,
        makers[kinds[1]].fresh() as postgresql,
    ):
        set_up({kinds[0]: sqlite, kinds[1]: postgresql}, os.environ.get(REDIS_VARIABLE))
        for kind in kinds:
            compare(kind, arguments.rounds, table)
        connections.close_all()
    Console().print(table)


if __name__ == "__main__":
    main()
