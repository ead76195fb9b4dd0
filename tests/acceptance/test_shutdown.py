"""Workers that are told to end, by the servers that run them: what runs comes to its end, nobody hangs."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from tests.acceptance.conftest import SHELLS, Site
from tests.acceptance.waiting import until
from tests.acceptance.wire import Connection, Received, Wire, reply
from tests.conftest import StartServer
from tests.services import ServerProcess

pytestmark = [pytest.mark.acceptance, pytest.mark.parametrize("new_site_url", ["postgres"], indirect=True)]

WORKER_LOST = -32000
RETRY_MS = 3_000

GRACE_SECONDS = 2
"""Of the tests in which it runs out."""

EXTRA_SECONDS = 15
"""Beyond the grace, a server that has not ended hangs; on a machine that does much else it takes some of that."""


@dataclass(frozen=True)
class Kind:
    """A server with the options that the documentation names."""

    server: str
    options: tuple[str, ...] = ()
    workers: int = 1

    def serve(self, site: Site, **settings: Any) -> ServerProcess:
        """Start it on a site."""
        return site.serve(server=self.server, options=self.options, workers=self.workers, settings=settings)


UVICORN = Kind("uvicorn", ("--timeout-graceful-shutdown", "10"))
GRANIAN = Kind("granian", ("--workers-kill-timeout", "10"))
DAPHNE = Kind("daphne")
UVICORN_ALONE = Kind("uvicorn", (*UVICORN.options, "--lifespan", "off"))
GRANIAN_ALONE = Kind("granian", (*GRANIAN.options, "--interface", "asginl"))

KINDS = {
    "uvicorn": UVICORN,
    "uvicorn-without-lifespan": UVICORN_ALONE,
    "uvicorn-two-workers": Kind("uvicorn", UVICORN.options, workers=2),
    "uvicorn-asyncio": Kind("uvicorn", (*UVICORN.options, "--loop", "asyncio", "--http", "h11")),
    "granian": GRANIAN,
    "granian-without-lifespan": GRANIAN_ALONE,
    "granian-asyncio": Kind("granian", (*GRANIAN.options, "--loop", "asyncio")),
    "daphne": DAPHNE,
}

every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
every_server = pytest.mark.parametrize("kind", [UVICORN, GRANIAN, DAPHNE], ids=["uvicorn", "granian", "daphne"])


async def ended(server: ServerProcess, grace_seconds: float = GRACE_SECONDS) -> int:
    """Wait for the end of a server; its exit status."""
    return await asyncio.to_thread(server.wait, timeout_seconds=grace_seconds + EXTRA_SECONDS)


async def session(server: ServerProcess, revision: str = "2025-11-25", path: str = SHELLS["mount"]) -> Wire:
    wire = Wire(f"{server.url}{path}", revision=revision)
    await wire.initialize(capabilities={"elicitation": {}})
    return wire


def elsewhere(wire: Wire, server: ServerProcess) -> Wire:
    """The same session through another server."""
    other = Wire(f"{server.url}/mcp", revision=wire.revision)
    other.headers, other._ids = wire.headers, wire._ids
    return other


def assert_told(site: Site, received: Received, call: dict[str, Any], *, retryable: bool) -> None:
    """The call ended with an error, which is what the log has, and the client got all of the log."""
    assert received.answer["id"] == call["id"]
    assert received.answer["error"]["code"] == WORKER_LOST
    assert received.answer["error"]["data"] == {"retryable": retryable}
    assert site.state(received.stream_id) == "answered"
    assert [event.data for event in received.events] == [payload for _, payload in site.events(received.stream_id)]


# Calls


@every_kind
async def test_a_call_that_takes_less_than_the_grace_is_answered(
    new_site: Site, kind: Kind, server_process: StartServer
) -> None:
    await assert_answered(new_site, kind, ["SIGTERM"], server_process)


@every_server
@pytest.mark.parametrize("signals", [["SIGINT"], ["SIGTERM", "SIGTERM"]], ids=["SIGINT", "SIGTERM-twice"])
async def test_a_call_is_answered_after_an_interrupt_and_after_being_told_twice(
    new_site: Site, kind: Kind, signals: list[str], server_process: StartServer
) -> None:
    await assert_answered(new_site, kind, signals, server_process)


async def assert_answered(new_site: Site, kind: Kind, signals: list[str], server_process: StartServer) -> None:
    """A call gets its answer in spite of the signals, and the server ends as it does by itself."""
    server = kind.serve(new_site)
    # What the server's own status is, with nothing of ours in it.
    bare = server_process("tests.pid_asgi:application", server=kind.server, options=kind.options, workers=kind.workers)
    wire = await session(server)
    received = Received()
    async with wire.stream(wire.call("count", n=30, delay_ms=50)) as connection:
        await received.read_events(connection, 3)
        bare.interrupt(signal.Signals[signals[0]])
        for name in signals:
            server.interrupt(signal.Signals[name])
            await received.read_events(connection, 3)
        await received.read(connection)
    assert received.numbers == list(range(1, 31))
    assert received.result == "counted to 30"
    assert await ended(server, 8) == await ended(bare)
    assert new_site.rows("SELECT id FROM streamable_http_stream WHERE state = 'open' AND owner_id IS NOT NULL") == []
    assert "Traceback" not in server.output


@every_server
async def test_older_revisions_and_calls_without_a_session_keep_their_connections(new_site: Site, kind: Kind) -> None:
    server = kind.serve(new_site)
    alone = kind.serve(new_site, MODE="sessionless")
    older, sessionless = await session(server, "2025-06-18"), await session(alone)
    both = Received(), Received()

    async with (
        older.stream(older.call("count", n=30, delay_ms=50)) as first,
        sessionless.stream(sessionless.call("count", n=30, delay_ms=50)) as second,
    ):
        for received, connection in zip(both, (first, second), strict=True):
            await received.read_events(connection, 3)
        server.interrupt()
        alone.interrupt()
        for received, connection in zip(both, (first, second), strict=True):
            await received.read(connection)
    assert [received.result for received in both] == ["counted to 30"] * 2
    await ended(server, 8)
    await ended(alone, 8)


@every_kind
async def test_a_call_that_takes_longer_ends_with_an_error_that_is_in_the_log(new_site: Site, kind: Kind) -> None:
    server = kind.serve(new_site, GRACE_SECONDS=GRACE_SECONDS)
    wire = await session(server)
    counting, looking = wire.call("count", n=100_000, delay_ms=50), wire.call("look", seconds=600)
    counted, looked = Received(), Received()
    async with wire.stream(counting) as first, wire.stream(looking) as second:
        await counted.read_events(first, 3)
        await looked.read_events(second, 1)
        server.interrupt()
        await asyncio.gather(counted.read(first), looked.read(second))
    assert_told(new_site, counted, counting, retryable=False)
    assert_told(new_site, looked, looking, retryable=True)
    await ended(server)


@every_server
async def test_the_view_drains_as_the_mount_does(new_site: Site, kind: Kind) -> None:
    server = kind.serve(new_site, GRACE_SECONDS=GRACE_SECONDS)
    wire = await session(server, path=SHELLS["view"])
    counting = wire.call("count", n=100_000, delay_ms=50)
    counted, heard = Received(), Received()
    async with wire.stream(counting) as calling, wire.resume(None) as listening:
        await counted.read_events(calling, 3)
        heard.add(await anext(listening))
        server.interrupt()
        await asyncio.gather(counted.read(calling), heard.read(listening))
        assert listening.retry_ms == RETRY_MS
    assert_told(new_site, counted, counting, retryable=False)
    await ended(server)


@every_server
async def test_a_call_alone_and_one_by_json_end_with_an_error_too(new_site: Site, kind: Kind) -> None:
    server = kind.serve(new_site, GRACE_SECONDS=GRACE_SECONDS, MODE="sessionless")
    by_json = kind.serve(new_site, GRACE_SECONDS=GRACE_SECONDS, JSON_ONLY=True)
    answers = []
    for one in (server, by_json):
        wire = await session(one)
        answers.append(asyncio.ensure_future(wire.post(wire.call("count", n=100_000, delay_ms=50))))
        await until(lambda wire=wire: is_counting(wire))
        one.interrupt()
    for answer in await asyncio.gather(*answers):
        assert '"retryable":false' in answer.text
    await ended(server)
    await ended(by_json)


async def is_counting(wire: Wire) -> bool:
    response = await wire.post(wire.call("running"), headers={"accept": "application/json"})
    return bool(response.json()["result"]["structuredContent"]["result"])


@pytest.mark.parametrize("kind", [UVICORN, GRANIAN], ids=["uvicorn", "granian"])
async def test_a_call_whose_client_went_away_has_its_grace_where_there_is_a_lifespan(
    new_site: Site, kind: Kind
) -> None:
    server = kind.serve(new_site)
    wire = await session(server)
    received = Received()
    async with wire.stream(wire.call("count", n=60, delay_ms=50)) as connection:
        await received.read_events(connection, 3)
    server.interrupt()
    await ended(server, 8)
    assert new_site.state(received.stream_id) == "answered"
    assert len(new_site.events(received.stream_id)) == 61


async def test_a_call_whose_client_went_away_has_its_grace_under_daphne(new_site: Site) -> None:
    server = DAPHNE.serve(new_site, GRACE_SECONDS=GRACE_SECONDS)
    wire = await session(server)
    received = Received()
    async with wire.stream(wire.call("count", n=100_000, delay_ms=50)) as connection:
        await received.read_events(connection, 3)
    server.interrupt()
    await ended(server)
    assert new_site.state(received.stream_id) == "answered"
    assert json.loads(new_site.events(received.stream_id)[-1][1])["error"]["data"] == {"retryable": False}


async def test_a_tool_that_blocks_its_thread_holds_up_nobody(new_site: Site) -> None:
    server = UVICORN.serve(new_site, GRACE_SECONDS=GRACE_SECONDS)
    wire = await session(server)
    call = wire.call("block", seconds=600)
    received = Received()
    async with wire.stream(call) as connection:
        received.add(await anext(connection))
        server.interrupt()
        await received.read(connection)
    assert_told(new_site, received, call, retryable=False)
    await ended(server)


@pytest.mark.parametrize("kind", [Kind("uvicorn"), DAPHNE], ids=["uvicorn", "daphne"])
async def test_who_interrupts_twice_does_not_wait(new_site: Site, kind: Kind) -> None:
    server = kind.serve(new_site, GRACE_SECONDS=600)
    wire = await session(server)
    received = Received()
    async with wire.stream(wire.call("count", n=100_000, delay_ms=50)) as connection:
        await received.read_events(connection, 3)
        server.interrupt(signal.SIGINT)
        await received.read_events(connection, 5)
        server.interrupt(signal.SIGINT)
        with contextlib.suppress(httpx.TransportError):
            await received.read(connection)
    await ended(server)


async def test_a_worker_that_ends_refuses_calls_and_takes_replies(new_site: Site) -> None:
    # Of the three, daphne alone goes on taking connections.
    server = DAPHNE.serve(new_site)
    wire, doomed = await session(server), await session(server)
    received = Received()
    async with wire.stream(wire.call("ask")) as connection:
        await received.read_events(connection, 1)
        server.interrupt()
        await until(lambda: is_refused(wire))
        for refused in (
            await wire.post(wire.call("add", a=1, b=2)),
            await wire.post(wire.request("ping")),
            await wire.get(),
        ):
            assert refused.status_code == 503
            assert refused.headers["retry-after"] == "1"
            assert refused.headers["connection"] == "close"
        assert (await doomed.delete()).status_code == 204
        answer = reply(received.messages[0], action="accept", content={"name": "Ada"})
        assert (await wire.post(answer)).status_code == 202
        await received.read(connection)
    assert received.result == "accept: Ada"
    await ended(server, 8)


async def is_refused(wire: Wire) -> bool:
    return (await wire.post(wire.request("ping"))).status_code == 503


# Listeners


@every_server
async def test_a_listening_stream_goes_on_at_another_worker(new_site: Site, kind: Kind) -> None:
    server, other = kind.serve(new_site), UVICORN.serve(new_site)
    wire = await session(server)
    through_other = elsewhere(wire, other)
    received = Received()
    async with wire.resume(None) as listening:
        announcing = asyncio.ensure_future(through_other.result("announce", n=300, delay_ms=10))
        await received.read_events(listening, 20)
        server.interrupt()
        await received.read(listening)
        assert listening.retry_ms == RETRY_MS
    async with through_other.resume(received.last_id) as listening:
        await received.read_events(listening, 300 - len(received.events))
    assert await announcing == "announced 300"
    assert received.numbers == list(range(1, 301))
    assert len(set(received.ids)) == 300
    await ended(server, 8)


@every_server
async def test_who_follows_a_call_of_another_worker_goes_on_there(new_site: Site, kind: Kind) -> None:
    server, other = kind.serve(new_site), UVICORN.serve(new_site)
    wire = await session(server)
    through_other = elsewhere(wire, other)
    received = Received()
    async with through_other.stream(through_other.call("count", n=200, delay_ms=20)) as connection:
        await received.read_events(connection, 3)
    async with wire.resume(received.last_id) as connection:
        await received.read_events(connection, 3)
        server.interrupt()
        await received.read(connection)
    assert len(received.events) < 200
    async with through_other.resume(received.last_id) as connection:
        await received.read(connection)
    assert received.numbers == list(range(1, 201))
    assert received.result == "counted to 200"
    await ended(server, 8)


# A restart of everything, one after the other, while clients work

CLIENTS = 6
ROUNDS = 2
CALLS = 300


class Balanced:
    """A client of several servers: refused by one, it asks another one, as a load balancer does."""

    def __init__(self, wire: Wire, servers: list[ServerProcess]) -> None:
        self._wires = itertools.cycle([elsewhere(wire, server) for server in servers])
        self.wire = next(self._wires)
        self.moves = 0
        self.resets = 0

    async def _moving(self, act: Callable[[Wire], Awaitable[bool]]) -> None:
        """Do something at one server after the other, until it is done."""
        async with asyncio.timeout(60):
            while not await act(self.wire):
                self.moves += 1
                self.wire = next(self._wires)
                await asyncio.sleep(0.02)

    async def call(self, tool: str, **arguments: Any) -> Received:
        """Call a tool once, and resume its stream wherever it can be."""
        received = Received()
        message = self.wire.call(tool, **arguments)

        async def start(wire: Wire) -> bool:
            return await self._read(received, wire.stream(message))

        async def resume(wire: Wire) -> bool:
            return await self._read(received, wire.resume(received.last_id))

        await self._moving(start)
        while not received.events or "method" in received.messages[-1]:
            await self._moving(resume)
        return received

    async def _read(self, received: Received, opening: contextlib.AbstractAsyncContextManager[Connection]) -> bool:
        """Read what there is; False where nothing was begun."""
        async with contextlib.AsyncExitStack() as stack:
            try:
                connection = await stack.enter_async_context(opening)
            except httpx.ConnectError:
                return False
            except (httpx.ReadError, httpx.RemoteProtocolError):
                # It had connected just before the server closed its socket, and was not answered by a byte.
                self.resets += 1
                return False
            except httpx.HTTPStatusError as error:
                if error.response.status_code != 503:
                    raise
                return False
            await received.read(connection)
        return True


async def test_a_restart_of_all_workers_under_load_fails_no_call(new_site: Site) -> None:
    servers = [UVICORN.serve(new_site) for _ in range(2)]
    finished = 0
    is_restarting = True

    async def work(number: int) -> Balanced:
        nonlocal finished
        client = Balanced(await session(servers[number % 2]), servers)
        while is_restarting or finished < CALLS:
            received = await client.call("count", n=10, delay_ms=10)
            assert received.result == "counted to 10"
            assert received.numbers == list(range(1, 11))
            finished += 1
        return client

    async def restart() -> None:
        nonlocal is_restarting
        for server in servers * ROUNDS:
            before = finished
            await until(lambda before=before: finished >= before + 20, timeout_seconds=60)
            server.interrupt()
            await ended(server, 8)
            await asyncio.to_thread(server.start)
        is_restarting = False

    clients, _ = await asyncio.gather(asyncio.gather(*(work(number) for number in range(CLIENTS))), restart())
    moves, resets = sum(client.moves for client in clients), sum(client.resets for client in clients)
    print(f"{finished} calls, {moves} moves to the other worker, {resets} resets")  # noqa: T201  # figures to report
    assert moves > 0
    # What was sent again had not begun: no request opened two streams, and each one was answered.
    streams = "FROM streamable_http_stream WHERE request_id <> ''"
    assert new_site.rows(f"SELECT session_id, request_id {streams} GROUP BY 1, 2 HAVING COUNT(*) > 1") == []
    assert new_site.rows(f"SELECT COUNT(*) {streams} AND state = 'answered'") == [(finished,)]
