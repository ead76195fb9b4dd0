"""Streams that broke and were resumed: by a new connection, after a restart, or truthfully not at all."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import random
import time
from collections.abc import AsyncIterator, Callable

import httpx
import pytest

from streamable_http.protocol import cursors
from tests.acceptance.conftest import RunningSite, Site
from tests.acceptance.waiting import until
from tests.acceptance.wire import Connection, Received, Wire, notification, reply
from tests.services import ServerProcess

pytestmark = pytest.mark.acceptance

EVENTS = 1_000
CUTS = 20
ALL = list(range(1, EVENTS + 1))

WORKER_LOST = -32000
TRIMMED = -32001

LONGEST_SECONDS = 20
"""From a worker's death to the error of its calls, with the default lease."""


def dice() -> random.Random:
    """Return what decides where to cut; ``SEED`` repeats a run."""
    seed = int(os.environ.get("SEED") or random.randrange(2**32))
    print(f"SEED={seed}")  # noqa: T201  # pytest shows it when the test fails
    return random.Random(seed)


def pieces(random_: random.Random) -> list[int]:
    """Return how many events to read between the cuts."""
    places = sorted(random_.sample(range(1, EVENTS), CUTS))
    return [end - start for start, end in itertools.pairwise([0, *places])]


@contextlib.asynccontextmanager
async def session(site: RunningSite, *, path: str = "/mcp", **options: str) -> AsyncIterator[Wire]:
    """A session of the shared site, ended after the test so that the next one finds the site idle."""
    wire = Wire(site.server.url + path, **options)
    await wire.initialize()
    yield wire
    await wire.delete()


def listening_stream(site: Site) -> int:
    """Return the listening stream of the newest session."""
    return site.rows("SELECT max(id) FROM streamable_http_session")[0][0]


# Cuts


async def test_a_call_is_resumed_while_it_runs_and_after_its_end(site: RunningSite, mcp_path: str) -> None:
    async with session(site, path=mcp_path) as wire:
        received = Received()
        cuts_while_it_ran = 0
        call = wire.call("count", n=EVENTS, delay_ms=3)
        for piece in pieces(dice()):
            cut_one = wire.stream(call) if received.last_id is None else wire.resume(received.last_id)
            async with cut_one as connection:
                await received.read_events(connection, piece)
            cuts_while_it_ran += site.state(received.stream_id) == "open"
        assert cuts_while_it_ran > CUTS / 2
        async with wire.resume(received.last_id) as connection:
            await received.read(connection)
        assert_complete(received, call["id"])


async def test_a_call_that_has_ended_is_resumed(site: RunningSite) -> None:
    async with session(site) as wire:
        received = Received()
        call = wire.call("count", n=EVENTS)
        first, *others = pieces(dice())
        async with wire.stream(call) as connection:
            await received.read_events(connection, first)
        await until(lambda: site.state(received.stream_id) == "answered")
        for piece in others:
            async with wire.resume(received.last_id) as connection:
                await received.read_events(connection, piece)
        async with wire.resume(received.last_id) as connection:
            await received.read(connection)
        assert_complete(received, call["id"])


def assert_complete(received: Received, request_id: int) -> None:
    """All progress in order, none twice, then the result, and nothing else."""
    assert received.numbers == ALL
    assert len(set(received.ids)) == len(received.ids) == EVENTS + 1
    assert received.answer["id"] == request_id
    assert received.result == f"counted to {EVENTS}"


@pytest.mark.parametrize("delay_ms", [3, 0])
async def test_a_listening_stream_is_resumed(site: RunningSite, delay_ms: float) -> None:
    async with session(site) as wire:
        received = Received()
        announcing = asyncio.ensure_future(wire.result("announce", n=EVENTS, delay_ms=delay_ms))
        for piece in pieces(dice()):
            async with wire.resume(received.last_id) as connection:
                await received.read_events(connection, piece)
        async with wire.resume(received.last_id) as connection:
            await received.read_events(connection, EVENTS - len(received.events))
        assert await announcing == f"announced {EVENTS}"
        assert received.numbers == ALL
        assert len(set(received.ids)) == EVENTS
        assert received.stream_id == listening_stream(site)


@pytest.mark.parametrize("revision", ["2025-06-18", "2025-03-26"])
async def test_older_revisions_resume_and_get_no_event_without_data(site: RunningSite, revision: str) -> None:
    async with session(site, revision=revision) as wire:
        received = Received()
        call = wire.call("count", n=50, delay_ms=5)
        async with wire.stream(call) as connection:
            await received.read_events(connection, 10)
            assert connection.raw.startswith(b"retry: 3000\n\n:\n\n")
        async with wire.resume(received.last_id) as connection:
            await received.read(connection)
            assert connection.raw.startswith(b"retry: 3000\n\n:\n\n")
        assert received.numbers == list(range(1, 51))
        assert received.answer["id"] == call["id"]
        assert received.primes == []


async def test_the_newest_revision_gets_a_cursor_before_any_event(site: RunningSite) -> None:
    async with session(site) as wire:
        received = Received()
        call = wire.call("count", n=20, delay_ms=1)
        async with wire.stream(call) as connection:
            await received.read(connection, until=lambda: received.last_id is not None)
        assert [(prime.id, prime.retry_ms) for prime in received.primes] == [(f"{received.stream_id:x}.0", 3000)]
        assert received.events == []
        async with wire.resume(received.last_id) as connection:
            await received.read(connection)
        assert received.numbers == list(range(1, 21))


# kill -9


async def test_what_was_committed_survives_kill_9_and_the_call_ends_with_an_error(
    new_sites: list[Site], record_property: Callable[[str, object], None]
) -> None:
    random_ = dice()
    served = [(site, site.serve(), random_.randrange(50, 500)) for site in new_sites]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(kill_in_the_middle(*each)) for each in served]
    for site, task in zip(new_sites, tasks, strict=True):
        vendor, _, _ = site.url.partition(":")
        record_property(f"seconds_from_death_to_error_{vendor}", task.result())
        print(f"{vendor}: {task.result():.2f} s from the death to the error")  # noqa: T201  # figures to report
        assert task.result() < LONGEST_SECONDS


async def kill_in_the_middle(site: Site, server: ServerProcess, events: int) -> float:
    """Kill a server after so many events, start it again, and look at what is left.

    Return the seconds from the death to the error of the call.
    """
    wire = Wire(f"{server.url}/mcp")
    await wire.initialize()
    call = wire.call("count", n=100_000, delay_ms=1)
    called, listened = Received(), Received()
    async with asyncio.TaskGroup() as group:
        group.create_task(read_until_it_breaks(wire.stream(call), called))
        group.create_task(read_until_it_breaks(wire.resume(None), listened))
        group.create_task(break_off(wire, "announce", n=100_000, delay_ms=1))
        await until(lambda: min(len(called.events), len(listened.events)) >= events, timeout_seconds=30)
        server.kill()
        died_at = time.monotonic()
    committed = site.events(called.stream_id)
    announced = site.events(listened.stream_id)
    assert len(committed) >= len(called.events)
    assert site.state(called.stream_id) == "open"

    await asyncio.to_thread(server.start)
    async with asyncio.timeout(2 * LONGEST_SECONDS), wire.resume(called.last_id) as connection:
        await called.read(connection)
    seconds = time.monotonic() - died_at
    assert called.answer["id"] == call["id"]
    assert called.answer["error"]["code"] == WORKER_LOST
    assert [(cursors.parse(event.id).sequence, event.data) for event in called.events[:-1]] == committed
    assert called.numbers == list(range(1, len(committed) + 1))
    assert site.state(called.stream_id) == "lost"

    # The session lives on, and so does its listening stream.
    async with wire.resume(listened.last_id) as connection:
        await listened.read_events(connection, len(announced) - len(listened.events))
        assert [(cursors.parse(event.id).sequence, event.data) for event in listened.events] == announced
        assert await wire.result("announce", n=1) == "announced 1"
        await listened.read_events(connection, 1)
    assert await wire.result("add", a=1, b=2) == 3
    return round(seconds, 2)


async def read_until_it_breaks(
    opening: contextlib.AbstractAsyncContextManager[Connection], received: Received
) -> None:
    """Read a connection whose server dies."""
    with pytest.raises(httpx.TransportError):
        async with opening as connection:
            await received.read(connection)


async def break_off(wire: Wire, tool: str, **arguments: float) -> None:
    """Make a call whose server dies."""
    with pytest.raises(httpx.TransportError):
        await wire.result(tool, **arguments)


# Cursors that cannot be honored


async def test_bad_cursors_all_look_the_same(site: RunningSite) -> None:
    async with session(site) as wire, session(site) as other:
        own, foreign = Received(), Received()
        for owner, received in ((wire, own), (other, foreign)):
            async with owner.stream(owner.call("count", n=3)) as connection:
                await received.read(connection)
        foreign_listening = f"{listening_stream(site):x}.0"
        bad = {
            "future": f"{own.stream_id:x}.5",
            "far future": f"{own.stream_id:x}.{2**63 - 1}",
            "too large": f"{own.stream_id:x}.{2**64}",
            "forged": f"{own.stream_id + 1:x}.1",
            "foreign": foreign.ids[1],
            "foreign prime": f"{foreign.stream_id:x}.0",
            "foreign listening": foreign_listening,
            "malformed": "nonsense",
            "empty": "",
            "negative": f"{own.stream_id:x}.-1",
            "padded": f"{own.stream_id:x}.01",
            "quoted": f"'{own.ids[0]}'; --",
            "long": "f" * 5_000,
        }
        responses = {name: await wire.get(cursor) for name, cursor in bad.items()}
        assert {name: response.status_code for name, response in responses.items()} == dict.fromkeys(bad, 400)
        assert len({response.content for response in responses.values()}) == 1
        assert responses["foreign"].json()["error"]["code"] == -32600
        assert len({tuple(sorted(_stable_headers(response))) for response in responses.values()}) == 1
        # The control: good ones of either session.
        for owner, received in ((wire, own), (other, foreign)):
            async with owner.resume(received.ids[1]) as connection:
                assert [event.id for event in await connection.rest() if event.data] == received.ids[2:]


def _stable_headers(response: httpx.Response) -> list[tuple[str, str]]:
    return [(name, value) for name, value in response.headers.items() if name != "date"]


async def test_trimmed_cursors_are_told_so(new_site: Site) -> None:
    server = new_site.serve(settings={"MAX_STREAM_EVENTS": 100})
    wire = Wire(f"{server.url}/mcp")
    await wire.initialize()
    received = Received()
    call = wire.call("count", n=500, delay_ms=1)
    async with wire.stream(call) as connection:
        await received.read_events(connection, 5)
    await until(lambda: new_site.state(received.stream_id) == "answered")
    kept = new_site.events(received.stream_id)
    earliest = kept[0][0]
    assert [sequence for sequence, _ in kept] == list(range(402, 502))

    async with wire.resume(received.last_id) as connection:
        assert connection.response.headers["streamable-http-recovered"] == "false"
        told = Received()
        await told.read(connection)
    assert len(told.events) == 1
    assert told.answer["id"] == call["id"]
    assert told.answer["error"]["code"] == TRIMMED
    assert told.answer["error"]["data"] == {"earliest": earliest}

    async with wire.resume(f"{received.stream_id:x}.{earliest - 1}") as connection:
        assert "streamable-http-recovered" not in connection.response.headers
        rest = Received()
        await rest.read(connection)
    assert [(cursors.parse(event.id).sequence, event.data) for event in rest.events] == kept


async def test_a_trimmed_listening_stream_goes_on_from_what_is_kept(new_site: Site) -> None:
    server = new_site.serve(settings={"MAX_STREAM_EVENTS": 100})
    wire = Wire(f"{server.url}/mcp")
    await wire.initialize()
    received = Received()
    assert await wire.result("announce", n=5) == "announced 5"
    async with wire.resume(None) as connection:
        await received.read_events(connection, 5)
    assert await wire.result("announce", n=300, delay_ms=1) == "announced 300"
    stream_id = listening_stream(new_site)
    await until(lambda: new_site.events(stream_id)[-1][0] == 305)
    kept = new_site.events(stream_id)
    async with wire.resume(received.last_id) as connection:
        assert connection.response.headers["streamable-http-recovered"] == "false"
        rest = Received()
        await rest.read(connection, until=lambda: bool(rest.ids) and rest.ids[-1] == f"{stream_id:x}.305")
    identified = [event for event in rest.events if event.id]
    # It is told to list anew what it may have missed changes of, and that moves no cursor.
    told = [json.loads(event.data)["method"] for event in rest.events if not event.id]
    assert "notifications/tools/list_changed" in told
    assert rest.events[: len(told)] == [event for event in rest.events if not event.id]
    assert [(cursors.parse(event.id).sequence, event.data) for event in identified] == kept


# Takeover


async def test_a_newer_connection_takes_over_the_listening_stream(site: RunningSite) -> None:
    async with session(site) as wire, wire.resume(None) as older:
        assert (await anext(older)).data == ""
        async with wire.resume(None) as newer:
            assert await asyncio.wait_for(older.rest(), 5) == []
            assert older.retry_ms == 5_000
            assert await wire.result("announce", n=3) == "announced 3"
            received = Received()
            await received.read_events(newer, 3)
            assert received.numbers == [1, 2, 3]


async def test_a_resume_takes_over_from_the_connection_of_the_call(site: RunningSite) -> None:
    async with session(site) as wire:
        older_received, received = Received(), Received()
        call = wire.call("count", n=200, delay_ms=5)
        async with wire.stream(call) as older:
            await older_received.read_events(older, 10)
            async with wire.resume(older_received.last_id) as newer:
                older_received.events += [event for event in await asyncio.wait_for(older.rest(), 5) if event.data]
                assert older.retry_ms == 5_000
                await received.read(newer)
        assert len(older_received.events) < 200
        assert received.numbers == list(range(11, 201))
        assert received.answer["id"] == call["id"]


async def test_connections_that_keep_taking_over_are_held_off(site: RunningSite) -> None:
    async with session(site) as wire, contextlib.AsyncExitStack() as stack:
        for _ in range(4):
            connection = await stack.enter_async_context(wire.resume(None))
            await anext(connection)
        refused = await wire.get()
        assert refused.status_code == 409
        assert int(refused.headers["retry-after"]) > 0
        # The one that has it keeps it.
        assert await wire.result("announce", n=1) == "announced 1"
        received = Received()
        await received.read_events(connection, 1)
        assert received.numbers == [1]


async def test_connections_that_were_closed_do_not_count_as_taken_over(site: RunningSite) -> None:
    async with session(site) as wire:
        for _ in range(8):
            async with wire.resume(None) as connection:
                await anext(connection)


# The end of a session


async def test_deleting_a_session_ends_its_open_streams(site: RunningSite) -> None:
    async with session(site) as watcher:
        wire = Wire(site.mcp_url)
        await wire.initialize()
        received = Received()
        async with wire.resume(None) as listening, wire.stream(wire.call("count", n=100_000, delay_ms=5)) as calling:
            await anext(listening)
            await received.read_events(calling, 5)
            assert await watcher.result("running") == 1
            assert (await wire.delete()).status_code == 204
            async with asyncio.timeout(5):
                assert await listening.rest() == []
                received.events += [event for event in await calling.rest() if event.data]
        assert all("method" in message for message in received.messages)
        assert [data for _, data in site.events(received.stream_id)] == [event.data for event in received.events]
        assert site.state(received.stream_id) == "terminated"
        assert await watcher.result("running") == 0
        for response in (await wire.post(wire.request("ping")), await wire.get(), await wire.get(received.last_id)):
            assert response.status_code == 404
        assert (await wire.delete()).status_code == 404


@pytest.mark.parametrize("new_site_url", ["sqlite"], indirect=True)
async def test_idle_sessions_expire_and_used_ones_do_not(new_site: Site) -> None:
    server = new_site.serve(settings={"SESSION_IDLE_SECONDS": 3, "KEEP_ALIVE_SECONDS": 1})
    idle, listening, calling = (Wire(f"{server.url}/mcp") for _ in range(3))
    for wire in (idle, listening, calling):
        await wire.initialize()
    received = Received()
    call = calling.call("count", n=100_000, delay_ms=300)
    async with listening.resume(None) as quiet, calling.stream(call) as busy, asyncio.TaskGroup() as group:
        await anext(quiet)
        group.create_task(received.read(busy))
        assert session_states(new_site) == ["open", "open", "open"]
        # Not asked through the endpoint: asking would be use.
        await until(lambda: session_states(new_site)[0] == "expired", timeout_seconds=30)
        assert session_states(new_site) == ["expired", "open", "open"]
        assert (await idle.post(idle.request("ping"))).status_code == 404
        # A stream is use, also one that is never silent: else its session would be over right behind its end.
        assert sessions_in_use(new_site, seconds=5) == [False, True, True]
        await calling.post(notification("notifications/cancelled", requestId=call["id"]))
    assert (await calling.post(calling.request("ping"))).status_code == 200
    assert (await listening.post(listening.request("ping"))).status_code == 200


def session_states(site: Site) -> list[str]:
    """Return the states of all sessions, the oldest first."""
    return [state for (state,) in site.rows("SELECT state FROM streamable_http_session ORDER BY id")]


def sessions_in_use(site: Site, *, seconds: int) -> list[bool]:
    """Tell of all sessions, the oldest first, whether they were used so many seconds ago or later; on SQLite."""
    query = "SELECT last_seen_at > datetime('now', ?) FROM streamable_http_session ORDER BY id"
    return [bool(is_used) for (is_used,) in site.rows(query, f"-{seconds} seconds")]


# Asks over a cut


async def test_an_ask_is_asked_again_after_a_cut_and_answered_once(site: RunningSite) -> None:
    wire = Wire(site.mcp_url)
    await wire.initialize(capabilities={"elicitation": {}})
    received = Received()
    async with wire.stream(wire.call("ask")) as connection:
        await received.read(connection, until=lambda: received.last_id is not None)
    async with wire.resume(received.last_id) as connection:
        await received.read_events(connection, 1)
        question = received.messages[0]
        assert question["method"] == "elicitation/create"
        answer = reply(question, action="accept", content={"name": "Ada"})
        assert (await wire.post(answer)).status_code == 202
        await received.read(connection)
    assert received.result == "accept: Ada"
    await wire.delete()
