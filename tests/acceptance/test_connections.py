"""How many connections one worker opens to PostgreSQL and to Redis, when it has more to do than it can."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
import redis

from streamable_http import checks, conf
from tests import setups
from tests.acceptance.conftest import SetupSite, setup_environment
from tests.acceptance.waiting import until
from tests.acceptance.wire import Received, Wire, reply
from tests.conftest import StartServer
from tests.services import OwnService

pytestmark = pytest.mark.acceptance

SETTINGS = {
    "AUTHENTICATION_CLASSES": ["rest_framework.authentication.TokenAuthentication"],
    "AUTHENTICATION_CACHE_SECONDS": 0,
    "THROTTLE_CLASSES": ["rest_framework.throttling.UserRateThrottle"],
    "MAX_OPEN_STREAMS": 50,
}

MAKE_TOKEN = """
from django.contrib.auth.models import User
from rest_framework.authtoken.models import Token
print(Token.objects.create(user=User.objects.create(username="many")).key)
"""

LONGEST_SECONDS = 60

SESSIONS = 6
ROUNDS = 4

BUSY = conf.settings.TOOL_THREADS + 2
"""With every tool's thread at work, one that reads the log and the one that writes it."""

REDIS_CONNECTIONS = 2 + 4
"""For wake-ups, and for the threads that ask the throttles."""


class Gauge:
    """Watches how many connections there are, all the time."""

    def __init__(self, site: SetupSite, redis_url: str) -> None:
        self._site = site
        self._redis_url = redis_url
        self.databases: list[int] = []
        self.redis: list[int] = []

    async def watch(self) -> None:
        query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        connection = await psycopg.AsyncConnection.connect(self._site.url, autocommit=True)
        client = redis.Redis.from_url(self._redis_url)
        try:
            while True:
                row = await (await connection.execute(query)).fetchone()
                assert row is not None
                self.databases.append(row[0])
                self.redis.append(client.info("clients")["connected_clients"] - 1)
                await asyncio.sleep(0.02)
        finally:
            client.close()
            await connection.close()


@pytest.fixture
def environment(request: pytest.FixtureRequest, own_redis: OwnService) -> Iterator[dict[str, str]]:
    with setup_environment(request, setups.REDIS) as environment:
        yield {**environment, "REDIS_URL": own_redis.url}


@pytest.mark.parametrize(
    ("options", "hold_seconds", "fewest", "most"),
    [
        pytest.param({}, LONGEST_SECONDS, BUSY, checks.most_connections(), id="connections"),
        # Its size, where none is given (psycopg_pool).
        pytest.param({"pool": True}, 0.1, 4, 4, id="pool"),
    ],
)
async def test_a_worker_opens_no_more_connections_than_is_said(
    environment: dict[str, str],
    server_process: StartServer,
    options: dict[str, Any],
    hold_seconds: float,
    fewest: int,
    most: int,
) -> None:
    environment = {**environment, "DATABASE_OPTIONS": json.dumps(options)}
    site = SetupSite(setups.REDIS, environment, server_process)
    token = site.manage("shell", "--verbosity=0", "--command", MAKE_TOKEN).split()[-1]
    site.server = site.serve(settings=SETTINGS)
    gauge = Gauge(site, environment["REDIS_URL"])
    watching = asyncio.ensure_future(gauge.watch())
    async with asyncio.TaskGroup() as group:
        for _ in range(SESSIONS):
            wire = Wire(site.mcp_url, headers={"authorization": f"Token {token}"})
            group.create_task(do_all_kinds_of_things(wire, hold_seconds))
        await until(lambda: max(gauge.databases, default=0) >= fewest, timeout_seconds=LONGEST_SECONDS)
        await release(site, token)
    watching.cancel()
    await asyncio.wait([watching])
    assert watching.cancelled()
    print(f"PostgreSQL: {max(gauge.databases)} connections, Redis: {max(gauge.redis)}")  # noqa: T201  # figures to report
    assert fewest <= max(gauge.databases) <= most
    assert 2 <= max(gauge.redis) <= REDIS_CONNECTIONS


async def release(site: SetupSite, token: str) -> None:
    wire = Wire(site.mcp_url, headers={"authorization": f"Token {token}"})
    await wire.initialize()
    assert await wire.result("release_connections") == "done"


async def do_all_kinds_of_things(wire: Wire, hold_seconds: float) -> None:
    await wire.initialize(capabilities={"elicitation": {}})
    async with asyncio.TaskGroup() as group:
        group.create_task(listen(wire))
        for _ in range(ROUNDS):
            group.create_task(ask(wire))
            group.create_task(wire.result("count_lines"))
            for tool, arguments in (
                ("hold_connection", {"seconds": hold_seconds}),
                ("write_in_transaction", {"rows": 10}),
                ("count", {"n": 100, "delay_ms": 2}),
                ("add", {"a": 1, "b": 2}),
            ):
                group.create_task(wire.result(tool, **arguments))
    await wire.delete()


async def listen(wire: Wire) -> None:
    received = Received()
    async with wire.resume(None) as listening:
        received.add(await anext(listening))
        await wire.result("announce", n=50, delay_ms=2)
        await received.read_events(listening, 50)


async def ask(wire: Wire) -> None:
    received = Received()
    async with wire.stream(wire.call("ask")) as connection:
        await received.read_events(connection, 1)
        await wire.post(reply(received.messages[0], action="accept", content={"name": "Ada"}))
        await received.read(connection)
    assert received.result == "accept: Ada"
