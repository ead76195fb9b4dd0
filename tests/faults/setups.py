"""The three set-ups, each served by processes that can be harmed one by one.

Two workers are two uvicorns on two ports behind the proxy, not one with ``--workers 2``: its parent would start a
killed worker again by itself, a paused one would still be given connections of the shared socket, and neither could
be restarted while the other serves.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import redis as redis_client
from psycopg import conninfo

from tests import services
from tests.acceptance.conftest import APPLICATION, Database
from tests.services import ServerProcess

LEASE_SECONDS: Final = 15
"""The default, which stays; only for those who read."""

SETTINGS: Final[dict[str, Any]] = {
    # So that clients notice half-open connections soon, and come again soon: more faults in the same time.
    "KEEP_ALIVE_SECONDS": 2,
    "RETRY_MS": 300,
    "GRACE_SECONDS": 3,
    # A call whose client was cut off before it knew that it was taken asks nobody, and is waited for in the end.
    "ASK_SECONDS": 20,
}
GRACE_SECONDS: Final = 5
"""Until uvicorn cuts what is open when it is to end; longer than the server's own grace, as the docs want it."""

OBSERVER: Final = "fault run"
"""What our own connections to the database are called, so that they are spared."""

WORKERS: Final = {"a": 1, "b": 2, "c": 2}


class Redis:
    """A Redis of the run's own."""

    def __init__(self, service: services.OwnService) -> None:
        self.url = service.url
        self.start = service.start
        self.stop = service.stop

    def flush(self) -> None:
        """Empty it."""
        with contextlib.closing(redis_client.Redis.from_url(self.url)) as client:
            client.flushall()

    def connections(self) -> int:
        """Return how many connections others have."""
        with contextlib.closing(redis_client.Redis.from_url(self.url)) as client:
            return len(client.client_list()) - 1


@dataclass(frozen=True)
class Setup:
    """A set-up that serves."""

    name: str
    database: Database
    workers: list[ServerProcess]
    redis: Redis | None
    switch: Path
    """While it is there, wake-ups are dropped."""

    def open_calls(self, worker: ServerProcess | None = None) -> list[int]:
        """Return the streams of calls that run, at any worker or at this one, as the database says."""
        query = (
            "SELECT s.id FROM streamable_http_stream s JOIN streamable_http_worker w ON w.id = s.owner_id"
            " WHERE s.state = 'open'"
        )
        if worker is None:
            rows = self.database.rows(query)
        else:
            rows = self.database.rows(f"{query} AND w.pid = ?", worker.pid)
        return [stream for (stream,) in rows]

    def still_open(self, streams: list[int]) -> set[int]:
        """Return which of some streams have not ended, as the database says."""
        marks = ", ".join("?" for _ in streams)
        query = f"SELECT id FROM streamable_http_stream WHERE state = 'open' AND id IN ({marks})"
        return {stream for (stream,) in self.database.rows(query, *streams)}

    def replace(self, index: int) -> ServerProcess:
        """Return a worker that is not started yet, on the port of another one, and keep it instead."""
        self.workers[index] = dataclasses.replace(self.workers[index])
        return self.workers[index]


@contextlib.contextmanager
def standing(name: str, logs: Path) -> Iterator[Setup]:
    """Give a set-up that serves, on a database of its own; what its workers print stays in a directory.

    Raises:
        ServiceUnavailable: PostgreSQL or Redis can neither be reached nor started.
        ServerFailed: a worker does not serve.
    """
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="streamable_http-faults-")))
        url = f"sqlite:///{directory / 'db.sqlite3'}"
        if name != "a":
            url = stack.enter_context(services.database(stack.enter_context(services.postgres())))
        redis = Redis(stack.enter_context(services.own_redis())) if name == "c" else None
        switch = directory / "drop"
        environment = _environment(url, redis, switch)
        services.manage("migrate", "--verbosity=0", environment=environment)
        workers = [
            ServerProcess(APPLICATION, environment=environment, log=logs / f"{name}-{index}.log")
            for index in range(WORKERS[name])
        ]
        # By the list, since a worker that is restarted gives its place to another.
        stack.callback(lambda: [worker.kill() for worker in workers])
        for worker in workers:
            worker.start()
        observed = url if name == "a" else conninfo.make_conninfo(url, application_name=OBSERVER)
        yield Setup(name, Database(observed), workers, redis, switch)


def _environment(url: str, redis: Redis | None, switch: Path) -> dict[str, str]:
    settings = dict(SETTINGS)
    if redis is not None:
        settings["WAKEUPS"] = {
            "BACKEND": "tests.faults.wakeups.DroppingWakeups",
            "OPTIONS": {"switch": str(switch)},
        }
    return {
        "DATABASE_URL": url,
        "REDIS_URL": redis.url if redis is not None else "",
        "DJANGO_SETTINGS_MODULE": "tests.faults.site",
        "STREAMABLE_HTTP": json.dumps(settings),
        "UVICORN_TIMEOUT_GRACEFUL_SHUTDOWN": str(GRACE_SECONDS),
    }
