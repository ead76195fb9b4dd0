"""A worker that died, or was paused for longer than its lease: others speak for its streams.

They end its calls, or run them again where the tools say so; what it still writes is void.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import httpx
import pytest

from streamable_http.protocol import cursors
from tests import setups
from tests.acceptance.conftest import Site
from tests.acceptance.waiting import until
from tests.acceptance.wire import Connection, Received, Wire, reply
from tests.services import ServerProcess

pytestmark = pytest.mark.acceptance

LEASE_SECONDS = 3
SETTINGS = {"LEASE_SECONDS": LEASE_SECONDS, "HEARTBEAT_SECONDS": 1, "RETRY_MS": 1_234}
TAKEN_RETRY_MS = 5_000

WORKER_LOST = -32000


def in_setups(*chosen: setups.Setup) -> pytest.MarkDecorator:
    """Have a test run in some set-ups."""
    parameters = [pytest.param(setup, id=setup.name) for setup in chosen]
    return pytest.mark.parametrize("new_setup_site", parameters, indirect=True)


class OldConnection:
    """A connection that its client holds open and reads, whatever happens to the server."""

    def __init__(self, wire: Wire, message: dict[str, Any]) -> None:
        self.received = Received()
        self.ended = asyncio.ensure_future(self._read(wire, message))
        self._connection: Connection | None = None

    async def _read(self, wire: Wire, message: dict[str, Any]) -> None:
        async with wire.stream(message) as connection:
            self._connection = connection
            await self.received.read(connection)

    @property
    def raw(self) -> bytes:
        """Everything that came."""
        assert self._connection is not None
        return self._connection.raw


async def wires(site: Site, servers: list[Any]) -> list[Wire]:
    """Return one session as seen through each server, with a worker at work in each."""
    first = Wire(f"{servers[0].url}/mcp")
    await first.initialize(capabilities={"elicitation": {}})
    others = [Wire(f"{server.url}/mcp") for server in servers[1:]]
    for other in others:
        other.headers = first.headers
        other._ids = first._ids
        assert (await other.post(other.request("ping"))).status_code == 200
    assert len(site.rows("SELECT id FROM streamable_http_worker")) == len(servers)
    return [first, *others]


@in_setups(*setups.OF_SEVERAL_WORKERS)
async def test_nothing_of_a_paused_worker_counts_after_its_lease(new_setup_site: Site) -> None:
    victim, survivor = (new_setup_site.serve(settings=SETTINGS) for _ in range(2))
    wire, through_survivor = await wires(new_setup_site, [victim, survivor])
    call = wire.call("count", n=100_000, delay_ms=50)
    asking = wire.call("ask")
    old, old_ask = OldConnection(wire, call), OldConnection(wire, asking)
    await until(lambda: len(old.received.events) >= 10 and bool(old_ask.received.events))

    # Right behind an event, so that the worker sleeps and none is on its way.
    seen = len(old.received.events)
    await until(lambda: len(old.received.events) > seen)
    victim.pause()
    paused_at = time.monotonic()
    stream_ids = [old.received.stream_id, old_ask.received.stream_id]

    # The survivor ends the streams, and who resumes there is told.
    resumed = Received()
    async with through_survivor.resume(old.received.last_id) as connection:
        await resumed.read(connection)
    ended_after = time.monotonic() - paused_at
    print(f"ended {ended_after:.2f} s after the pause")  # noqa: T201  # a figure to report
    assert resumed.answer["id"] == call["id"]
    assert resumed.answer["error"]["code"] == WORKER_LOST
    assert ended_after < LEASE_SECONDS * 2
    assert [event.id for event in old.received.events + resumed.events[-1:]] == [
        f"{stream_ids[0]:x}.{sequence}" for sequence, _ in new_setup_site.events(stream_ids[0])
    ]
    await until(lambda: [new_setup_site.state(stream_id) for stream_id in stream_ids] == ["lost", "lost"])

    await asyncio.sleep(max(0.0, paused_at + 2 * LEASE_SECONDS - time.monotonic()))
    stored = [new_setup_site.events(stream_id) for stream_id in stream_ids]
    raw = [connection.raw for connection in (old, old_ask)]
    victim.resume()

    # The old connections are closed, and say nothing but when to come back, or what the survivor wrote.
    async with asyncio.timeout(10):
        await asyncio.gather(old.ended, old_ask.ended)
    for stream_id, before, connection in zip(stream_ids, raw, (old, old_ask), strict=True):
        sequence, closing = new_setup_site.events(stream_id)[-1]
        assert connection.raw.removeprefix(before).decode() in (
            "",
            *(f"retry: {ms}\n\n" for ms in (SETTINGS["RETRY_MS"], TAKEN_RETRY_MS)),
            f"id: {stream_id:x}.{sequence}\ndata: {closing}\n\n",
        )

    # It takes part again, and its old call is over.
    assert await until(lambda: served(wire), timeout_seconds=15)
    assert await wire.result("whoami") == victim.pids[0]
    assert await wire.result("running") == 0
    assert await wire.result("count", n=3) == "counted to 3"

    # A late answer to its old question finds nobody.
    question = old_ask.received.messages[0]
    assert (await wire.post(reply(question, action="accept", content={"name": "late"}))).status_code == 202

    assert [new_setup_site.events(stream_id) for stream_id in stream_ids] == stored
    for events in stored:
        assert [sequence for sequence, _ in events] == list(range(1, len(events) + 1))
        assert json.loads(events[-1][1])["error"]["code"] == WORKER_LOST
        assert all("error" not in json.loads(payload) for _, payload in events[:-1])
    assert [new_setup_site.state(stream_id) for stream_id in stream_ids] == ["lost", "lost"]


async def served(wire: Wire) -> bool:
    """Tell whether a worker serves calls again."""
    try:
        response = await wire.post(wire.call("add", a=1, b=2))
    except httpx.TransportError:
        return False
    assert response.status_code in (200, 503)
    return response.status_code == 200


@in_setups(setups.SQLITE_WORKERS)
async def test_a_worker_that_was_paused_for_less_than_its_lease_goes_on(new_setup_site: Site) -> None:
    victim, survivor = (new_setup_site.serve(settings=SETTINGS) for _ in range(2))
    wire, _ = await wires(new_setup_site, [victim, survivor])
    received = Received()
    # Longer than a lease, so that it must have been renewed, too.
    call = wire.call("count", n=200, delay_ms=20)
    async with wire.stream(call) as connection:
        await received.read_events(connection, 10)
        victim.pause()
        await asyncio.sleep(LEASE_SECONDS / 3)
        victim.resume()
        await received.read(connection)
    assert received.numbers == list(range(1, 201))
    assert received.answer["id"] == call["id"]
    assert cursors.parse(received.ids[-1]).sequence == 201


@in_setups(setups.WORKERS, setups.REDIS)
async def test_a_killed_worker_of_several_hangs_nobody(new_setup_site: Site) -> None:
    victim, survivor = (new_setup_site.serve(settings=SETTINGS) for _ in range(2))
    wire, through_survivor = await wires(new_setup_site, [victim, survivor])
    call = wire.call("count", n=100_000, delay_ms=5)
    received, watched = Received(), Received()
    async with wire.stream(call) as connection:
        await received.read_events(connection, 20)
        victim.kill()
        with pytest.raises(httpx.TransportError):
            await received.read(connection)
    async with through_survivor.resume(received.last_id) as connection:
        await watched.read(connection)
    assert watched.answer["id"] == call["id"]
    assert watched.answer["error"]["code"] == WORKER_LOST
    assert [event.data for event in received.events + watched.events] == [
        payload for _, payload in new_setup_site.events(received.stream_id)
    ]


# Reruns


async def broken_off(wire: Wire, call: dict[str, Any], victim: ServerProcess, events: int = 20) -> Received:
    """Read so many events of a call, and kill the worker that runs it."""
    received = Received()
    async with wire.stream(call) as connection:
        await received.read_events(connection, events)
        victim.kill()
        with pytest.raises(httpx.TransportError):
            await received.read(connection)
    return received


def require_one_whole_answer(site: Site, received: Received, call: dict[str, Any], n: int) -> None:
    """Require that a client got all progress in order and one answer, and that nothing else is stored."""
    assert received.numbers == list(range(1, n + 1))
    assert received.answer["id"] == call["id"]
    assert received.result == f"counted to {n}"
    assert [(cursors.parse(event.id).sequence, event.data) for event in received.events] == site.events(
        received.stream_id
    )
    assert len(received.events) == n + 1
    assert site.state(received.stream_id) == "answered"
    assert site.rows("SELECT epoch, arguments FROM streamable_http_stream WHERE id = ?", received.stream_id) == [
        (2, "")
    ]


@pytest.mark.parametrize("new_site_url", ["postgres"], indirect=True)
async def test_a_call_of_a_killed_worker_runs_again_at_another_one(new_site: Site) -> None:
    victim, survivor = (new_site.serve(settings=SETTINGS) for _ in range(2))
    wire, through_survivor = await wires(new_site, [victim, survivor])
    call = wire.call("count_again", n=100, delay_ms=30)
    received = await broken_off(wire, call, victim)
    assert len(received.events) < 100
    died_at = time.monotonic()
    async with through_survivor.resume(received.last_id) as connection:
        await received.read(connection)
    print(f"answered {time.monotonic() - died_at:.2f} s after the death")  # noqa: T201  # a figure to report
    require_one_whole_answer(new_site, received, call, 100)
    assert survivor.output.count("tools/call count_again runs again") == 1


@pytest.mark.parametrize("new_site_url", ["sqlite"], indirect=True)
async def test_a_call_of_a_killed_worker_runs_again_when_it_was_started_again(new_site: Site) -> None:
    server = new_site.serve(settings=SETTINGS)
    [wire] = await wires(new_site, [server])
    call = wire.call("count_again", n=100, delay_ms=30)
    received = await broken_off(wire, call, server)
    assert len(received.events) < 100
    await asyncio.to_thread(server.start)
    async with wire.resume(received.last_id) as connection:
        await received.read(connection)
    require_one_whole_answer(new_site, received, call, 100)
    assert server.output.count("tools/call count_again runs again") == 1


async def test_a_call_runs_again_only_once(new_site: Site) -> None:
    server = new_site.serve(settings=SETTINGS)
    [wire] = await wires(new_site, [server])
    call = wire.call("count_again", n=100_000, delay_ms=5)
    received = await broken_off(wire, call, server)
    committed = len(new_site.events(received.stream_id))
    await asyncio.to_thread(server.start)
    async with wire.resume(received.last_id) as connection:
        await received.read(connection, until=lambda: len(received.events) > committed + 10)
        server.kill()
        with pytest.raises(httpx.TransportError):
            await received.read(connection)
    await asyncio.to_thread(server.start)
    async with wire.resume(received.last_id) as connection:
        await received.read(connection)
    assert received.answer["error"]["code"] == WORKER_LOST
    assert received.numbers == list(range(1, len(received.events)))
    assert new_site.state(received.stream_id) == "lost"
    assert server.output.count("tools/call count_again runs again") == 1


@pytest.mark.parametrize("new_site_url", ["sqlite"], indirect=True)
async def test_a_call_that_asked_its_client_does_not_run_again(new_site: Site) -> None:
    victim, survivor = (new_site.serve(settings=SETTINGS) for _ in range(2))
    wire, through_survivor = await wires(new_site, [victim, survivor])
    received = await broken_off(wire, wire.call("count_again", n=3, asks=True), victim, events=1)
    async with through_survivor.resume(received.last_id) as connection:
        await received.read(connection)
    assert [message.get("method") for message in received.messages] == ["elicitation/create", None]
    assert received.answer["error"]["code"] == WORKER_LOST
    assert "runs again" not in survivor.output


MAKE_TOKENS = (
    "from django.contrib.auth import get_user_model\n"
    "from rest_framework.authtoken.models import Token\n"
    "for name in ('ada', 'ben'):\n"
    "    print(Token.objects.create(user=get_user_model().objects.create_user(name)).key)"
)


@pytest.mark.parametrize("new_site_url", ["sqlite"], indirect=True)
async def test_a_call_runs_again_with_the_rights_of_now(new_site: Site) -> None:
    settings = {
        **SETTINGS,
        "AUTHENTICATION_CLASSES": ["rest_framework.authentication.TokenAuthentication"],
        "PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    }
    tokens = new_site.manage("shell", "--verbosity=0", "--command", MAKE_TOKENS).split()
    server = new_site.serve(settings=settings)
    ada, ben = (Wire(f"{server.url}/mcp", headers={"authorization": f"Token {token}"}) for token in tokens)
    received = []
    async with asyncio.TaskGroup() as group:
        for wire in (ada, ben):
            await wire.initialize()
            received.append(Received())
            group.create_task(read_until_it_breaks(wire, wire.call("count_again", n=100, delay_ms=30), received[-1]))
        await until(lambda: min(len(each.events) for each in received) >= 20, timeout_seconds=30)
        server.kill()
    new_site.execute("UPDATE auth_user SET is_active = ? WHERE username = ?", False, "ben")
    await asyncio.to_thread(server.start)
    of_ada, of_ben = received
    async with ada.resume(of_ada.last_id) as connection:
        await of_ada.read(connection)
    assert of_ada.result == "counted to 100"
    assert of_ada.numbers == list(range(1, 101))
    await until(lambda: new_site.state(of_ben.stream_id) == "lost")
    assert json.loads(new_site.events(of_ben.stream_id)[-1][1])["error"]["code"] == WORKER_LOST


async def read_until_it_breaks(wire: Wire, call: dict[str, Any], received: Received) -> None:
    with pytest.raises(httpx.TransportError):
        async with wire.stream(call) as connection:
            await received.read(connection)


async def test_nothing_of_a_paused_worker_counts_once_its_call_runs_again(new_site: Site) -> None:
    victim, survivor = (new_site.serve(settings=SETTINGS) for _ in range(2))
    wire, through_survivor = await wires(new_site, [victim, survivor])
    call = wire.call("count_again", n=150, delay_ms=30)
    old = OldConnection(wire, call)
    await until(lambda: len(old.received.events) >= 10)
    victim.pause()
    before = list(old.received.events)
    taken = Received()
    async with through_survivor.resume(before[-1].id) as connection:
        # It wakes up in the middle of the second run.
        await taken.read_events(connection, 20)
        victim.resume()
        await taken.read(connection)
    async with asyncio.timeout(10):
        await old.ended
    resumed = Received()
    for event in [*before, *taken.events]:
        resumed.add(event)
    require_one_whole_answer(new_site, resumed, call, 150)
    # What the old connection still said, if anything, is of the same stream and no other.
    stored = [payload for _, payload in new_site.events(resumed.stream_id)]
    assert [event.data for event in old.received.events] == stored[: len(old.received.events)]
    assert await until(lambda: served(wire), timeout_seconds=15)
    assert await wire.result("running") == 0
