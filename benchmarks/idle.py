"""Measure what followed streams cost while nothing happens: memory, CPU, and queries without any wake-ups.

    python -m benchmarks.idle                        1,000 and 10,000 streams on SQLite and PostgreSQL
    python -m benchmarks.idle --streams 1000 --databases postgresql --seconds 10

Each stream is the listening stream of a session of its own, over a connection of its own. There is no Redis: one
process finds news by polling. The server runs on one core, the clients on another. Queries are counted by
PostgreSQL itself, as transactions: each of ours is one.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import resource
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil
import psycopg
import uvloop
from rich.console import Console
from rich.table import Table

from benchmarks import databases, load, processes

AT_ONCE: Final = 50
"""Streams that are opened at the same time."""

SETTLE_SECONDS: Final = 5.0
"""From the last opening until it is idle: the polls have found their longest interval, and touches are written."""

WARM_UP: Final = 50
"""Streams that are open before memory is weighed for the first time."""

SERVER: Final = "benchmarks.servers.ours.asgi:application"


@dataclass(frozen=True, slots=True)
class Finding:
    """What so many streams cost."""

    database: str
    streams: int
    kib_each: float
    """Of resident memory of the server's process, with the session's."""

    cpu_percent: float
    """Of one core."""

    queries_per_second: float | None
    """``None`` where nobody counts them."""


class Queries:
    """PostgreSQL's own count of the transactions in one database."""

    def __init__(self, database: str) -> None:
        self._database = database

    def count(self) -> int | None:
        """Return how many there were; ``None`` for other databases."""
        if self._database.startswith("sqlite:"):
            return None
        with psycopg.connect(self._database, autocommit=True) as connection:
            row = connection.execute(
                "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()"
            ).fetchone()
        assert row is not None
        return int(row[0])


async def measure(running: processes.Running, database: str, kind: str, streams: int, seconds: float) -> Finding:
    """Open streams and watch the server do nothing."""
    process = psutil.Process(running.pid)
    clients = await _listen(running.port, WARM_UP)
    before = process.memory_info().rss
    clients += await _listen(running.port, streams - WARM_UP)
    await asyncio.sleep(SETTLE_SECONDS)
    kib_each = (process.memory_info().rss - before) / 1024 / (streams - WARM_UP)
    queries = Queries(database)
    asked_before, cpu_before = queries.count(), running.cpu_seconds()
    await asyncio.sleep(seconds)
    cpu_percent = (running.cpu_seconds() - cpu_before) / seconds * 100
    asked = queries.count()
    # One of ours: the count before.
    each_second = (asked - asked_before - 1) / seconds if asked is not None and asked_before is not None else None
    for client in clients:
        client.close()
    return Finding(kind, streams, kib_each, cpu_percent, each_second)


async def _listen(port: int, streams: int) -> list[load.Client]:
    room = asyncio.Semaphore(AT_ONCE)

    async def open_one() -> load.Client:
        async with room:
            client = await load.Client.open(port)
            await client.open_session()
            await client.listen()
            return client

    return await asyncio.gather(*(open_one() for _ in range(streams)))


@contextlib.contextmanager
def serving(maker: databases.Maker, core: set[int], log: Path) -> Iterator[tuple[processes.Running, str]]:
    """Run a server on a fresh database."""
    with maker.fresh() as database:
        server = processes.Server(SERVER, {"BENCH_DATABASE": database, "BENCH_MAX_SESSIONS": "100000"})
        with processes.serve(server, core=core, log=log) as running:
            yield running, database


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    kinds = [databases.SQLITE, databases.POSTGRESQL]
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.idle", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--streams", nargs="+", type=int, default=[1_000, 10_000], metavar="N")
    parser.add_argument("--databases", nargs="+", choices=kinds, default=kinds)
    parser.add_argument("--seconds", type=float, default=15.0, help="how long to watch")
    arguments = parser.parse_args()
    room = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 200
    if max(arguments.streams) > room or min(arguments.streams) <= WARM_UP:
        parser.error(f"--streams must be over {WARM_UP} and at most {room} (ulimit -n)")
    return arguments


def main() -> None:
    """Run what the command line asks for."""
    arguments = parse_arguments()
    server_core, load_core = processes.cores()
    processes.pin(load_core)
    table = Table("database", "streams", "KiB each", "CPU, % of a core", "queries/s", title="Idle streams, no Redis")
    with (
        tempfile.TemporaryDirectory(prefix="benchmarks", ignore_cleanup_errors=True) as place,
        databases.makers(arguments.databases, Path(place)) as makers,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        for kind, maker in makers.items():
            for streams in arguments.streams:
                with serving(maker, server_core, Path(place) / "server.log") as (running, database):
                    found = runner.run(measure(running, database, kind, streams, arguments.seconds))
                asked = "" if found.queries_per_second is None else f"{found.queries_per_second:.1f}"
                table.add_row(kind, f"{streams:,}", f"{found.kib_each:.1f}", f"{found.cpu_percent:.1f}", asked)
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
