"""Sessions that their clients leave without a word: when they have expired, nothing of them is left in the process."""

from __future__ import annotations

import asyncio
import json

import psutil
import psycopg
import pytest

from tests.acceptance import raw
from tests.acceptance.conftest import Site
from tests.acceptance.waiting import until
from tests.acceptance.wire import Wire

pytestmark = pytest.mark.acceptance

SESSIONS = 1_000
AT_ONCE = 25

UNFINISHED = """
SELECT count(*) FROM streamable_http_session WHERE state = 'open'
UNION ALL SELECT count(*) FROM streamable_http_stream WHERE state = 'open'
"""


async def abandon(url: str) -> None:
    """Open a session, listen, have a call run, and break both connections off."""
    wire = Wire(url)
    await wire.initialize()
    async with raw.connected(url) as listening, raw.connected(url) as calling:
        await listening.send(raw.request(wire, method="GET", length=False))
        await calling.send(raw.request(wire, json.dumps(wire.call("count", n=20, delay_ms=1)).encode()))
        assert b"text/event-stream" in await listening.read()
        assert b"text/event-stream" in await calling.read()
        listening.reset()
        calling.reset()


async def abandon_many(url: str, number: int) -> None:
    room = asyncio.Semaphore(AT_ONCE)

    async def one() -> None:
        async with room:
            await abandon(url)

    async with asyncio.TaskGroup() as group:
        for _ in range(number):
            group.create_task(one())


def clients(process: psutil.Process, port: int) -> list[object]:
    connections = process.net_connections("tcp")
    return [one for one in connections if one.status == psutil.CONN_ESTABLISHED and one.laddr[1] == port]


@pytest.mark.timeout(400)
@pytest.mark.parametrize("new_site_url", ["postgres"], indirect=True)
async def test_after_a_thousand_abandoned_sessions_memory_and_connections_are_as_before(new_site: Site) -> None:
    server = new_site.serve(settings={"SESSION_IDLE_SECONDS": 6, "MAX_OPEN_STREAMS": 4})
    [pid] = server.pids
    process = psutil.Process(pid)

    async def abandoned(number: int) -> tuple[int, int, int]:
        await abandon_many(f"{server.url}/mcp", number)
        await until(lambda: new_site.rows(UNFINISHED) == [(0,), (0,)], timeout_seconds=120)
        await until(lambda: not clients(process, server.port))
        with psycopg.connect(new_site.url) as connection:
            row = connection.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
            ).fetchone()
        assert row is not None
        return process.memory_info().rss, process.num_fds(), row[0]

    # Threads and caches have come to their size by then.
    before = await abandoned(SESSIONS // 4)
    after = await abandoned(SESSIONS)
    assert after[0] < before[0] * 1.1, (before, after)
    assert after[1:] == before[1:]
