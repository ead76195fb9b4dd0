"""Any worker serves any request of a session, in every set-up; where there is one worker, it is the other one, too."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable

import pytest

from streamable_http.models import AskState
from streamable_http.protocol import sse
from tests import setups
from tests.acceptance.conftest import SetupSite
from tests.acceptance.waiting import until
from tests.acceptance.wire import Connection, Received, Wire, notification, reply

pytestmark = pytest.mark.acceptance

SESSIONS = 60
REQUESTS = 5
AT_ONCE = 10

CLOSING_SECONDS = 10
"""One second is what is promised, but the machine may be busy."""

ReportSeconds = Callable[[str, float], None]

several_workers = pytest.mark.parametrize(
    "_setup_site", [pytest.param(setup, id=setup.name) for setup in setups.OF_SEVERAL_WORKERS], indirect=True
)


@pytest.fixture
async def wire(setup_site: SetupSite) -> AsyncIterator[Wire]:
    """A session that every worker has served already."""
    wire = Wire(setup_site.mcp_url)
    await wire.initialize(capabilities={"elicitation": {}})
    for pid in setup_site.pids:
        async with wire.on_worker(pid.__eq__):
            pass
    yield wire
    await wire.delete()


async def test_sixty_sessions_of_five_requests_without_a_failure(setup_site: SetupSite) -> None:
    gate = asyncio.Semaphore(AT_ONCE)

    async def use(number: int) -> set[str]:
        wire = Wire(setup_site.mcp_url)
        async with gate:
            await wire.initialize()
            for request in range(REQUESTS):
                assert await wire.result("add", a=number, b=request) == number + request
            assert (await wire.delete()).status_code == 204
        return wire.pids

    served = await asyncio.gather(*(use(number) for number in range(SESSIONS)))
    assert set().union(*served) == {str(pid) for pid in setup_site.pids}
    # Sessions, not only the server as a whole, were served by all.
    assert sum(len(pids) == len(setup_site.pids) for pids in served) > SESSIONS / 2


async def test_a_deleted_session_is_gone_at_once_on_every_worker(setup_site: SetupSite) -> None:
    for _ in range(5):
        wire = Wire(setup_site.mcp_url)
        await wire.initialize()
        async with contextlib.AsyncExitStack() as stack:
            workers = [await stack.enter_async_context(wire.on_worker(pid.__eq__)) for pid in setup_site.pids]
            assert (await workers[0].delete()).status_code == 204
            # At once on all, on connections that stand; then on new ones, until all have answered.
            for worker in reversed(workers):
                for response in (
                    await worker.post(worker.call("add", a=1, b=2)),
                    await worker.post(worker.request("ping")),
                    await worker.post(notification("notifications/cancelled", requestId=1)),
                    await worker.get(),
                    await worker.delete(),
                ):
                    assert response.status_code == 404
        answered: set[str] = set()
        while len(answered) < len(setup_site.pids):
            response = await wire.post(wire.request("ping"))
            assert response.status_code == 404
            answered.add(response.headers["x-pid"])


# Whether it emits, and so finds out at its next commit, or is silent for a minute.
calls_of_both_kinds = pytest.mark.parametrize(
    ("n", "delay_ms"), [pytest.param(100_000, 5, id="emits"), pytest.param(2, 60_000, id="silent")]
)


@calls_of_both_kinds
async def test_deleting_a_session_ends_its_streams_on_every_worker(
    setup_site: SetupSite, wire: Wire, n: int, delay_ms: float, report_seconds: ReportSeconds
) -> None:
    doomed = Wire(setup_site.mcp_url)
    await doomed.initialize()
    received = Received()
    async with doomed.stream(doomed.call("count", n=n, delay_ms=delay_ms)) as calling:
        await received.read_events(calling, 1)
        async with (
            doomed.on_worker(setup_site.beside(calling.pid)) as other,
            other.resume(None) as listening,
            doomed.on_worker(setup_site.beside(calling.pid)) as ending,
        ):
            await anext(listening)
            assert (await ending.delete()).status_code == 204
            deleted_at = time.monotonic()
            rest, listened = await asyncio.gather(closed(calling), closed(listening))
            report_seconds(f"{setup_site.setup.name}: closed after DELETE", time.monotonic() - deleted_at)
        received.events += rest
        assert listened == []
        async with wire.on_worker(calling.pid.__eq__) as same:
            await until(lambda: has_stopped(same))
    assert setup_site.state(received.stream_id) == "terminated"
    # All that was stored was sent, and nothing else: the session is over, and there is no final event.
    assert [event.data for event in received.events] == [data for _, data in setup_site.events(received.stream_id)]


async def closed(connection: Connection) -> list[sse.Event]:
    """Read until the server closes the connection, which it does soon; the events with data."""
    async with asyncio.timeout(CLOSING_SECONDS):
        return [event for event in await connection.rest() if event.data]


async def has_stopped(wire: Wire) -> bool:
    """Tell whether no ``count`` runs in the worker that this goes to."""
    return await wire.result("running") == 0


async def test_a_running_call_is_resumed_on_the_other_worker(setup_site: SetupSite, wire: Wire) -> None:
    received = Received()
    call = wire.call("count", n=300, delay_ms=5)
    async with wire.stream(call) as connection:
        owner = connection.pid
        await received.read_events(connection, 20)
    async with wire.on_worker(setup_site.beside(owner)) as other, other.resume(received.last_id) as connection:
        assert setup_site.beside(owner)(connection.pid)
        await received.read_events(connection, 20)
        assert setup_site.state(received.stream_id) == "open"
        await received.read(connection)
    assert received.numbers == list(range(1, 301))
    assert len(set(received.ids)) == 301
    assert received.answer["id"] == call["id"]
    assert received.result == "counted to 300"


async def test_a_listening_stream_gets_what_the_other_worker_appends(setup_site: SetupSite, wire: Wire) -> None:
    received = Received()
    async with wire.resume(None) as connection:
        async with wire.on_worker(setup_site.beside(connection.pid)) as other:
            assert await other.result("announce", n=200, delay_ms=1) == "announced 200"
        await received.read_events(connection, 200)
    assert received.numbers == list(range(1, 201))


async def test_a_takeover_on_the_other_worker_ends_the_older_connection(
    setup_site: SetupSite, wire: Wire, report_seconds: ReportSeconds
) -> None:
    async with wire.resume(None) as older:
        await anext(older)
        async with wire.on_worker(setup_site.beside(older.pid)) as other, other.resume(None) as newer:
            await anext(newer)
            taken_at = time.monotonic()
            assert await closed(older) == []
            report_seconds(f"{setup_site.setup.name}: closed after a takeover", time.monotonic() - taken_at)
            assert older.retry_ms == 5_000


@several_workers
async def test_a_session_that_another_worker_expires_ends_its_stream(
    setup_site: SetupSite, wire: Wire, report_seconds: ReportSeconds
) -> None:
    doomed = Wire(setup_site.mcp_url)
    await doomed.initialize()
    received = Received()
    async with doomed.resume(None) as listening:
        received.add(await anext(listening))
        async with wire.on_worker(setup_site.beside(listening.pid)) as other:
            await until(lambda: has_expired(setup_site, other, received.stream_id))
        expired_at = time.monotonic()
        assert await closed(listening) == []
        report_seconds(f"{setup_site.setup.name}: closed after it expired", time.monotonic() - expired_at)
    assert (await doomed.post(doomed.request("ping"))).status_code == 404


async def has_expired(site: SetupSite, other: Wire, session_id: int) -> bool:
    """Have a worker expire the session as if it had been idle for long; its own one says at times that it is not."""
    site.execute("UPDATE streamable_http_session SET last_seen_at = '2000-01-01' WHERE id = ?", session_id)
    await other.result("expire")
    return site.state(session_id) == "expired"


async def test_a_notification_from_one_worker_reaches_who_subscribed_at_the_other(
    setup_site: SetupSite, wire: Wire, report_seconds: ReportSeconds
) -> None:
    uri = "site://greeting"
    received = Received()
    assert (await wire.post(wire.request("resources/subscribe", {"uri": uri}))).status_code == 200
    async with wire.resume(None) as listening:
        received.add(await anext(listening))
        async with wire.on_worker(setup_site.beside(listening.pid)) as other:
            assert await other.result("touch", uri=uri) == "touched"
            touched_at = time.monotonic()
            await received.read_events(listening, 1)
            report_seconds(f"{setup_site.setup.name}: a notification", time.monotonic() - touched_at)
    (message,) = received.messages
    assert message["method"] == "notifications/resources/updated"
    assert message["params"] == {"uri": uri}


async def test_an_answer_reaches_the_call_through_the_other_worker(
    setup_site: SetupSite, wire: Wire, report_seconds: ReportSeconds
) -> None:
    received = Received()
    async with wire.stream(wire.call("ask")) as connection:
        await received.read_events(connection, 1)
        question = received.messages[0]
        async with wire.on_worker(setup_site.beside(connection.pid)) as other:
            answer = reply(question, action="accept", content={"name": "Ada"})
            response = await other.post(answer)
            assert response.status_code == 202
            assert setup_site.beside(connection.pid)(int(response.headers["x-pid"]))
            replied_at = time.monotonic()
        async with asyncio.timeout(CLOSING_SECONDS):
            await received.read(connection)
        report_seconds(f"{setup_site.setup.name}: answered after a reply", time.monotonic() - replied_at)
    assert received.result == "accept: Ada"
    states = setup_site.rows("SELECT state FROM streamable_http_ask WHERE wire_id = ?", question["id"])
    assert states == [(AskState.ANSWERED.value,)]


@calls_of_both_kinds
async def test_a_cancellation_reaches_the_call_through_the_other_worker(
    setup_site: SetupSite, wire: Wire, n: int, delay_ms: float, report_seconds: ReportSeconds
) -> None:
    received = Received()
    call = wire.call("count", n=n, delay_ms=delay_ms)
    async with wire.stream(call) as connection:
        await received.read_events(connection, 1)
        async with wire.on_worker(connection.pid.__eq__) as same:
            assert await same.result("running") == 1
            async with wire.on_worker(setup_site.beside(connection.pid)) as other:
                cancellation = notification("notifications/cancelled", requestId=call["id"], reason="enough")
                assert (await other.post(cancellation)).status_code == 202
            cancelled_at = time.monotonic()
            received.events += await closed(connection)
            report_seconds(f"{setup_site.setup.name}: closed after a cancellation", time.monotonic() - cancelled_at)
            await until(lambda: has_stopped(same))
    assert setup_site.state(received.stream_id) == "cancelled"
    # Nothing is said about a call that its client gave up.
    assert all("method" in message for message in received.messages)
    assert [event.data for event in received.events] == [data for _, data in setup_site.events(received.stream_id)]


async def test_a_request_id_in_flight_on_one_worker_is_refused_on_the_other(setup_site: SetupSite, wire: Wire) -> None:
    call = wire.call("count", n=100_000, delay_ms=5)
    async with wire.stream(call) as connection:
        await anext(connection)
        async with wire.on_worker(setup_site.beside(connection.pid)) as other:
            refused = await other.post(call)
            assert refused.status_code == 400
            assert refused.json()["id"] == call["id"]
    await wire.post(notification("notifications/cancelled", requestId=call["id"]))
