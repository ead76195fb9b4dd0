"""Redis or PostgreSQL goes away and comes back, and the workers are not restarted."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx
import pytest
import redis

from tests import setups
from tests.acceptance.conftest import SetupSite, setup_environment
from tests.acceptance.waiting import until
from tests.acceptance.wire import Received, Wire, notification, reply
from tests.conftest import StartServer
from tests.services import OwnService

pytestmark = pytest.mark.acceptance

POLL_SECONDS = 4
SLOW_POLLS = {"POLL_MIN_SECONDS": POLL_SECONDS, "POLL_MAX_SECONDS": POLL_SECONDS}
"""So slow that what comes sooner was told by a wake-up."""

THROTTLE = {"THROTTLE_CLASSES": ["rest_framework.throttling.AnonRateThrottle"]}
"""Uses the cache, which is in the same Redis."""

WORKER_LOST = -32000

LONGEST_SECONDS = 60

ReportSeconds = Callable[[str, float], None]


# Redis


@pytest.fixture
def redis_site(
    request: pytest.FixtureRequest, own_redis: OwnService, server_process: StartServer
) -> Iterator[SetupSite]:
    """Two workers on PostgreSQL and a Redis of their own."""
    with setup_environment(request, setups.REDIS) as environment:
        site = SetupSite(setups.REDIS, {**environment, "REDIS_URL": own_redis.url}, server_process)
        site.server = site.serve(workers=2, settings={**SLOW_POLLS, **THROTTLE})
        yield site


class Listener:
    """A session that listens at one worker, and appends to its own stream at the other."""

    def __init__(self, site: SetupSite) -> None:
        self._site = site
        self._wire = Wire(site.mcp_url)
        self.received = Received()

    async def events(self) -> AsyncIterator[float]:
        """Listen, and yield the seconds that each event takes from the other worker."""
        await self._wire.initialize()
        async with self._wire.resume(None) as listening:
            self.received.add(await anext(listening))
            async with self._wire.on_worker(self._site.beside(listening.pid)) as other:
                while True:
                    begun_at = time.monotonic()
                    await other.result("announce", n=1)
                    await self.received.read_events(listening, 1)
                    yield time.monotonic() - begun_at


async def hears_at_once(listener: AsyncIterator[float]) -> bool:
    """Tell whether three events in a row take less than the time between two polls; by polling at most one can."""
    return sum([await anext(listener) for _ in range(3)]) < POLL_SECONDS


async def test_without_redis_all_goes_on_and_with_it_at_once_again(
    redis_site: SetupSite, own_redis: OwnService, report_seconds: ReportSeconds
) -> None:
    before, during = Listener(redis_site), Listener(redis_site)
    heard_before, heard_during = before.events(), during.events()
    await until(lambda: hears_at_once(heard_before), timeout_seconds=LONGEST_SECONDS)
    pids = redis_site.pids

    own_redis.stop()
    seconds = await anext(heard_before)
    report_seconds("an event from the other worker without Redis", seconds)
    report_seconds("one of a stream that is new", await anext(heard_during))
    wire = Wire(redis_site.mcp_url)
    await wire.initialize(capabilities={"elicitation": {}})
    assert await wire.result("add", a=1, b=2) == 3
    await assert_call_is_resumed_elsewhere(redis_site, wire)
    await assert_ask_is_answered_elsewhere(redis_site, wire)

    own_redis.start()
    for heard in (heard_before, heard_during):
        begun_at = time.monotonic()
        await until(lambda heard=heard: hears_at_once(heard), timeout_seconds=LONGEST_SECONDS)
        report_seconds("from Redis' return to wake-ups", time.monotonic() - begun_at)

    with redis.Redis.from_url(own_redis.url) as client:
        client.flushall()
    assert await until(lambda: hears_at_once(heard_before), timeout_seconds=LONGEST_SECONDS)
    assert redis_site.pids == pids
    for listener, heard in ((before, heard_before), (during, heard_during)):
        numbers = [int(event_id.rpartition(".")[2]) for event_id in listener.received.ids]
        assert numbers == list(range(1, len(numbers) + 1))
        await heard.aclose()


async def assert_call_is_resumed_elsewhere(site: SetupSite, wire: Wire) -> None:
    received = Received()
    async with wire.stream(wire.call("count", n=100, delay_ms=20)) as connection:
        await received.read_events(connection, 5)
    async with wire.on_worker(site.beside(connection.pid)) as other, other.resume(received.last_id) as connection:
        await received.read(connection)
    assert received.numbers == list(range(1, 101))
    assert received.result == "counted to 100"


async def assert_ask_is_answered_elsewhere(site: SetupSite, wire: Wire) -> None:
    received = Received()
    async with wire.stream(wire.call("ask")) as connection:
        await received.read_events(connection, 1)
        answer = reply(received.messages[0], action="accept", content={"name": "Ada"})
        async with wire.on_worker(site.beside(connection.pid)) as other:
            assert (await other.post(answer)).status_code == 202
        await received.read(connection)
    assert received.result == "accept: Ada"


# PostgreSQL


@pytest.fixture(params=[{}, {"pool": {"min_size": 2, "max_size": 27, "timeout": 5}}], ids=["connections", "pool"])
def postgres_site(
    request: pytest.FixtureRequest, own_postgres: OwnService, server_process: StartServer
) -> Iterator[SetupSite]:
    """Two workers on a PostgreSQL of their own; with a connection for each thread, and with Django's pool."""
    environment = {
        "DJANGO_SETTINGS_MODULE": "tests.site.settings",
        "SETUP": setups.WORKERS.name,
        "DATABASE_URL": own_postgres.url,
        "DATABASE_PASSWORD": "",
        "DATABASE_OPTIONS": json.dumps(request.param),
    }
    site = SetupSite(setups.WORKERS, environment, server_process)
    site.manage("migrate", "--verbosity=0")
    site.server = site.serve(workers=2)
    return site


async def test_without_postgresql_calls_are_told_to_come_again_and_with_it_all_goes_on(
    postgres_site: SetupSite, own_postgres: OwnService, report_seconds: ReportSeconds
) -> None:
    wire = Wire(postgres_site.mcp_url)
    await wire.initialize()
    for pid in postgres_site.pids:
        async with wire.on_worker(pid.__eq__) as each:
            assert await each.result("write_in_transaction", rows=1) > 0
    pids = postgres_site.pids
    received = Received()
    call = wire.call("count", n=100_000, delay_ms=5)
    reading = asyncio.ensure_future(read(wire, call, received))
    await until(lambda: len(received.events) >= 10)

    own_postgres.stop()
    gone_at = time.monotonic()
    stranger = Wire(postgres_site.mcp_url)
    for refused in await asyncio.gather(
        wire.post(wire.call("add", a=1, b=2)),
        wire.post(wire.call("count", n=1)),
        stranger.post(opening(stranger)),
        wire.get(),
        wire.delete(),
    ):
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) > 0
        assert refused.json()["error"]["message"]
    report_seconds("refusals after PostgreSQL's end", time.monotonic() - gone_at)

    own_postgres.start()
    back_at = time.monotonic()
    for pid in pids:
        await until(lambda pid=pid: serves(wire, pid), timeout_seconds=LONGEST_SECONDS)
    report_seconds("from PostgreSQL's return to an answer of each worker", time.monotonic() - back_at)
    assert postgres_site.pids == pids

    # The call went on, or it ended with an error that says so: it depends on whether its worker could keep its lease.
    await wire.post(notification("notifications/cancelled", requestId=call["id"]))
    await reading
    await until(lambda: postgres_site.state(received.stream_id) != "open")
    stored = postgres_site.events(received.stream_id)
    assert [sequence for sequence, _ in stored] == list(range(1, len(stored) + 1))
    assert [event.data for event in received.events] == [payload for _, payload in stored][: len(received.events)]
    if postgres_site.state(received.stream_id) == "lost":
        assert json.loads(stored[-1][1])["error"]["code"] == WORKER_LOST
    else:
        assert postgres_site.state(received.stream_id) == "cancelled"


def opening(wire: Wire) -> dict[str, Any]:
    """Return the request that opens a session."""
    info = {"name": "wire", "version": "1"}
    return wire.request("initialize", {"protocolVersion": wire.revision, "capabilities": {}, "clientInfo": info})


async def read(wire: Wire, call: dict[str, Any], received: Received) -> None:
    async with wire.stream(call) as connection:
        await received.read(connection)


async def serves(wire: Wire, pid: int) -> bool:
    """Tell whether a worker runs calls again, and whether its tools have their database."""
    async with wire.on_worker(pid.__eq__) as each:
        try:
            return await each.result("add", a=1, b=2) == 3 and await each.result("write_in_transaction", rows=1) > 0
        except httpx.HTTPStatusError:
            return False
