"""Bad inputs 16 to 18, 39, 41 to 45, 52, 68 and 69: calls, connections and databases that misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import psycopg
import pytest

from tests.acceptance import raw
from tests.acceptance.conftest import RunningSite, Site
from tests.acceptance.waiting import until
from tests.acceptance.wire import Received, Wire, reply
from tests.site.misbehavior import RAISED, RETURNED

pytestmark = pytest.mark.acceptance

only_sqlite = pytest.mark.parametrize("new_site_url", ["sqlite"], indirect=True)

RUNNING = "SELECT count(*) FROM streamable_http_stream WHERE state = 'open' AND request_id <> ''"


@pytest.fixture
async def wire(site: RunningSite) -> AsyncIterator[Wire]:
    async with raw.surviving(site) as wire:
        yield wire


# Ids


async def test_16_an_id_in_flight_is_not_taken_twice(wire: Wire) -> None:
    call = wire.call("count", n=100, delay_ms=10)
    received = Received()
    async with wire.stream(call) as connection:
        await received.read_events(connection, 3)
        for repeated in (call, {**wire.call("add", a=1, b=1), "id": call["id"]}):
            response = await wire.post(repeated)
            assert response.status_code == 400
            assert response.json()["error"]["code"] == -32600
        # "1" and 1 are two ids.
        other = await wire.post({**wire.call("add", a=1, b=1), "id": str(call["id"])})
        assert other.status_code == 200
        await received.read(connection)
    assert received.numbers == list(range(1, 101))
    assert received.result == "counted to 100"
    # After its end the id may be used again.
    assert (await wire.post({**wire.call("add", a=1, b=1), "id": call["id"]})).status_code == 200


async def test_17_the_same_id_of_two_clients_is_not_mixed_up(wire: Wire) -> None:
    clients = [Wire(wire.url) for _ in range(10)]

    async def count(client: Wire, n: int) -> None:
        await client.initialize()
        received = Received()
        call = {**client.call("count", n=n, delay_ms=2), "id": 1}
        call["params"]["_meta"] = {"progressToken": 1}
        async with client.stream(call) as connection:
            await received.read(connection)
        assert received.numbers == list(range(1, n + 1))
        assert received.result == f"counted to {n}"
        await client.delete()

    await asyncio.gather(*(count(client, 20 + number) for number, client in enumerate(clients)))


async def test_18_an_unknown_method_is_told_so(wire: Wire) -> None:
    for method in ("nonsense", "tools/call ", "TOOLS/CALL", "tools", "__init__", "rpc.discover", "x" * 256, "\0", "é"):
        response = await wire.post(wire.request(method))
        assert response.status_code == 200
        assert response.json()["error"]["code"] == -32601
        assert len(response.content) < 1_000


# Readers that do not read, and clients that go


@only_sqlite
async def test_39_readers_that_never_read_are_disconnected_and_cost_no_memory(new_site: Site) -> None:
    server = new_site.serve(settings={"SEND_TIMEOUT_SECONDS": 1})
    wire = Wire(f"{server.url}/mcp")
    await wire.initialize()
    assert await wire.result("count", n=3_000) == "counted to 3000"
    before = raw.resident_bytes(server.pids)
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(5):
            connection = await stack.enter_async_context(raw.connected(wire.url, receive_bytes=2_048))
            # 10,000 events of 500 bytes each: more than the sockets' buffers hold.
            call = wire.call("count", n=10_000)
            call["params"]["_meta"]["progressToken"] = "t" * 400
            body = httpx.Request("POST", wire.url, json=call).content
            await connection.send(raw.request(wire, body))
        await until(lambda: new_site.rows(RUNNING) == [(0,)], timeout_seconds=60)
        log = "a reader was disconnected"
        await until(lambda: server.output.count(log) == 5, timeout_seconds=20)
        assert raw.resident_bytes(server.pids) < before * 1.1 + 20_000_000
        await raw.assert_serving(wire)


async def test_41_clients_that_go_at_any_point_harm_nobody(site: RunningSite, wire: Wire) -> None:
    call = wire.call("count", n=50, delay_ms=2)
    whole = raw.request(wire, httpx.Request("POST", wire.url, json=call).content)
    head = whole.index(b"\r\n\r\n") + 4
    for sent in (1, 20, head - 2, head, head + 1, head + 20, len(whole) - 1):
        for leave in ("reset", "end"):
            async with raw.connected(wire.url) as connection:
                await connection.send(whole[:sent])
                getattr(connection, leave)()
    for read in (0, 1, 100):
        call = wire.call("count", n=50, delay_ms=2)
        async with raw.connected(wire.url) as connection:
            await connection.send(raw.request(wire, httpx.Request("POST", wire.url, json=call).content))
            if read:
                await connection.read(read)
            connection.reset()
    await until(lambda: site.rows(RUNNING) == [(0,)])
    # Those whose body had come run to their end; nobody cancelled them.
    query = "SELECT count(*) FROM streamable_http_stream WHERE state = 'answered' AND head = 51"
    assert site.rows(query)[0][0] >= 2


async def test_41_a_call_whose_client_went_in_its_middle_is_resumed(wire: Wire) -> None:
    received = Received()
    async with wire.stream(wire.call("count", n=100, delay_ms=3)) as connection:
        await received.read_events(connection, 10)
    async with wire.resume(received.last_id) as connection:
        await received.read(connection)
    assert received.numbers == list(range(1, 101))


# Tools


@pytest.mark.parametrize("tool", ["misbehave", "misbehave_in_a_thread"])
async def test_42_a_tool_that_misbehaves_gives_an_error_in_band(misbehaving: Wire, tool: str) -> None:
    for kind in (*RAISED, *RETURNED):
        response = await misbehaving.post(misbehaving.call(tool, kind=kind), headers={"accept": "application/json"})
        assert response.status_code == 200, kind
        message = response.json()
        assert "secret of the server" not in response.text, kind
        assert "Traceback" not in response.text, kind
        if kind not in HARMLESS:
            assert "error" in message or message["result"]["isError"] is True, (kind, response.text[:500])
            assert len(response.content) < 10_000, kind
        assert (await misbehaving.post(misbehaving.request("ping"))).status_code == 200


HARMLESS = ("surrogate", "bytes", "not a number", "huge number", "function", "unwritable")
"""What may as well have some form in JSON."""


@pytest.fixture
async def misbehaving(site: RunningSite) -> Wire:
    wire = Wire(site.mcp_url)
    await wire.initialize()
    await raw.assert_serving(wire)
    return wire


@only_sqlite
async def test_43_blocked_tool_threads_hold_up_nobody_else(new_site: Site) -> None:
    wire = Wire(f"{new_site.serve(settings={'TOOL_THREADS': 4}).url}/mcp")
    await wire.initialize()
    async with asyncio.TaskGroup() as group:
        blocked = [group.create_task(wire.result("block", seconds=1.5)) for _ in range(8)]
        await until(lambda: new_site.rows(RUNNING) == [(8,)])
        begun = time.monotonic()
        assert await wire.result("add", a=1, b=2) == 3
        assert (await wire.post(wire.request("tools/list"))).status_code == 200
        await raw.assert_serving(wire)
        assert time.monotonic() - begun < 1
    assert [task.result() for task in blocked] == ["done"] * 8


async def test_44_a_token_that_is_none_gets_no_progress(wire: Wire) -> None:
    tokens: list[Any] = [1.5, None, True, [], {}, 1e300]
    for token in tokens:
        call = wire.call("count", n=3)
        call["params"]["_meta"]["progressToken"] = token
        received = Received()
        async with wire.stream(call) as connection:
            await received.read(connection)
        assert len(received.messages) == 1
        assert received.result == "counted to 3"


async def test_44_any_other_token_comes_back_as_it_was(wire: Wire) -> None:
    tokens: list[Any] = [2**63 - 1, -1, 2**64 - 1, "", "\0", "é" * 100]
    for token in tokens:
        call = wire.call("count", n=3)
        call["params"]["_meta"]["progressToken"] = token
        received = Received()
        async with wire.stream(call) as connection:
            await received.read(connection)
        assert [message["params"]["progressToken"] for message in received.messages[:-1]] == [token] * 3


async def test_44_a_token_of_1_mb_is_bounded(wire: Wire) -> None:
    call = wire.call("count", n=1_000)
    call["params"]["_meta"]["progressToken"] = "t" * 1_000_000
    response = await wire.post(call)
    # Refused, ignored or ended by the bytes that a stream may have; not a gigabyte of progress.
    assert response.status_code in (200, 400)
    assert len(response.content) < 80_000_000


async def test_44_a_token_of_two_calls_is_told_apart_by_their_streams(wire: Wire) -> None:
    async def count(n: int) -> None:
        call = wire.call("count", n=n, delay_ms=1)
        call["params"]["_meta"]["progressToken"] = "same"
        received = Received()
        async with wire.stream(call) as connection:
            await received.read(connection)
        assert received.numbers == list(range(1, n + 1))

    await asyncio.gather(count(50), count(60), count(70))


@only_sqlite
async def test_44_a_flood_of_progress_is_bounded_and_answered(new_site: Site) -> None:
    server = new_site.serve()
    wire = Wire(f"{server.url}/mcp")
    await wire.initialize()
    flood = wire.call("count", n=50_000)
    others: list[float] = []
    async with asyncio.TaskGroup() as group:
        flooding = group.create_task(wire.post(flood, headers={"accept": "application/json"}))
        while not flooding.done():
            begun = time.monotonic()
            assert await wire.result("add", a=1, b=2) == 3
            others.append(time.monotonic() - begun)
    assert flooding.result().json()["result"]["content"] == [{"type": "text", "text": "counted to 50000"}]
    assert max(others) < 5
    assert new_site.rows("SELECT count(*) FROM streamable_http_event")[0][0] <= 20_000 + len(others)
    await raw.assert_serving(wire)


async def test_45_a_reply_to_nobody_is_ignored(wire: Wire) -> None:
    stranger = Wire(wire.url)
    await stranger.initialize(capabilities={"elicitation": {}})
    received = Received()
    async with wire.stream(wire.call("ask")) as connection:
        await received.read_events(connection, 1)
        question = received.messages[0]
        wire_id = question["id"]
        for bad_id in (
            1,
            0,
            -1,
            "",
            "x",
            "0" * 32,
            wire_id.upper(),
            wire_id[:-1],
            wire_id + "0",
            "\0" * 32,
            f"{wire_id}\n",
        ):
            answer = reply({"id": bad_id}, action="accept", content={"name": "wrong"})
            assert (await wire.post(answer)).status_code == 202, bad_id
        for _ in range(3):
            foreign = reply(question, action="accept", content={"name": "foreign"})
            assert (await stranger.post(foreign)).status_code == 202
        assert (await wire.post(reply(question, action="accept", content={"name": "right"}))).status_code == 202
        await received.read(connection)
    assert received.result == "accept: right"
    await stranger.delete()


# Resources


BAD_URIS = [
    "file:///etc/passwd",
    "site://../etc/passwd",
    "site://pages/../page",
    "site://pages/..",
    "site://pages/%2e%2e",
    "site://pages/%2e%2e%2fpage",
    "site://pages/..%5c..%5cetc",
    "site://pages/a/b",
    "site://pages/a%2fb",
    "site://pages/a\\b",
    "site://pages/a%5Cb",
    "site://pages/%00",
    "site://pages/a\0b",
    "site://pages/",
    "\\\\evil.example\\share",
    "//evil.example/share",
    "http://169.254.169.254/latest/meta-data/",
    "http://127.0.0.1:22",
    "gopher://evil.example",
    "javascript:alert(1)",
    "data:text/plain,x",
    "/etc/passwd",
    "SITE://page",
    "site://page?x",
    "site://page#x",
    "",
    " site://page",
    "site://pages/" + "x" * 1_000_000,
]


async def test_52_uris_of_other_places_are_not_found(wire: Wire) -> None:
    response = await wire.post(wire.request("resources/read", {"uri": "site://page"}), headers={"accept": "*/*"})
    assert "the page" in response.text
    for uri in BAD_URIS:
        for method in ("resources/read", "resources/subscribe"):
            response = await wire.post(wire.request(method, {"uri": uri}), headers={"accept": "application/json"})
            assert response.status_code == 200, uri
            error = response.json().get("error", {})
            assert error.get("code") in (-32002, -32602), (method, uri[:80], response.text[:200])
            assert "root:" not in response.text
            # The error names the URI; nothing more comes back.
            assert len(response.content) < 10_000 + len(uri), uri[:80]


async def test_52_a_uri_that_is_none_is_refused(wire: Wire) -> None:
    for uri in (None, 5, [], {}, True):
        for method in ("resources/read", "resources/subscribe", "resources/unsubscribe"):
            response = await wire.post(wire.request(method, {"uri": uri}), headers={"accept": "application/json"})
            assert response.json()["error"]["code"] == -32602


# Clocks and databases


async def test_68_a_clock_that_jumps_ends_no_session_in_use(new_sites: list[Site]) -> None:
    async def jump(site: Site) -> None:
        listening, idle = (Wire(f"{server.url}/mcp") for server in [site.serve()] * 2)
        await listening.initialize()
        await idle.initialize()
        async with listening.resume(None) as connection:
            await anext(connection)
            # A day went by at once: whatever was written down before is a day old.
            site.execute(f"UPDATE streamable_http_session SET last_seen_at = {_a_day_ago(site)}")
            site.execute(f"UPDATE streamable_http_worker SET lease_expires_at = {_a_day_ago(site)}")
            state = "SELECT count(*) FROM streamable_http_session WHERE state = 'expired'"
            await raw.recovered(listening)
            with contextlib.suppress(AssertionError):
                await until(lambda: site.rows(state) != [(0,)], timeout_seconds=12)
            # By the policy the idle one may be over, and only that.
            assert site.rows(state)[0][0] <= 1
            assert (await listening.post(listening.request("ping"))).status_code == 200
            assert (await idle.post(idle.request("ping"))).status_code in (200, 404)
        await raw.assert_serving(listening)

    await asyncio.gather(*map(jump, new_sites))


async def test_68_a_clock_that_was_set_back_ends_nothing(new_sites: list[Site]) -> None:
    async def jump(site: Site) -> None:
        wire = Wire(f"{site.serve().url}/mcp")
        await wire.initialize()
        site.execute(f"UPDATE streamable_http_session SET last_seen_at = {_in_a_day(site)}")
        site.execute(f"UPDATE streamable_http_worker SET lease_expires_at = {_in_a_day(site)}")
        assert await wire.result("count", n=50, delay_ms=10) == "counted to 50"
        await raw.assert_serving(wire)

    await asyncio.gather(*map(jump, new_sites))


def _a_day_ago(site: Site) -> str:
    is_sqlite = site.url.startswith("sqlite")
    return "strftime('%Y-%m-%d %H:%M:%f', 'now', '-1 day')" if is_sqlite else "now() - interval '1 day'"


def _in_a_day(site: Site) -> str:
    is_sqlite = site.url.startswith("sqlite")
    return "strftime('%Y-%m-%d %H:%M:%f', 'now', '+1 day')" if is_sqlite else "now() + interval '1 day'"


@pytest.mark.parametrize("new_site_url", ["postgres"], indirect=True)
async def test_69_a_database_that_is_down_is_503_until_it_is_back(new_site: Site) -> None:
    server = new_site.serve()
    wire = Wire(f"{server.url}/mcp")
    await wire.initialize()
    await raw.assert_serving(wire)
    name = new_site.url.rpartition("/")[2].partition("?")[0]
    with _administering(new_site.url) as database:
        database.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        try:
            database.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
            await _assert_unavailable(wire)
        finally:
            database.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
    await raw.recovered(wire)
    await raw.assert_serving(wire)
    assert " 500 " not in server.output


@pytest.mark.parametrize("new_site_url", ["postgres"], indirect=True)
async def test_69_connections_that_break_while_calls_run_are_made_again(new_site: Site) -> None:
    server = new_site.serve()
    wire = Wire(f"{server.url}/mcp")
    await wire.initialize()
    name = new_site.url.rpartition("/")[2].partition("?")[0]
    received = Received()
    async with wire.stream(wire.call("count", n=200, delay_ms=10)) as connection:
        await received.read_events(connection, 10)
        with _administering(new_site.url) as database:
            for _ in range(3):
                database.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
                await received.read_events(connection, 10)
        await received.read(connection)
    assert received.numbers == list(range(1, 201))
    await raw.recovered(wire)
    await raw.assert_serving(wire)
    assert " 500 " not in server.output


@only_sqlite
async def test_69_a_locked_database_is_503_until_it_is_free(new_site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SQLITE_BUSY_SECONDS", "2")
    server = new_site.serve()
    wire = Wire(f"{server.url}/mcp")
    await wire.initialize()
    await raw.assert_serving(wire)
    with contextlib.closing(sqlite3.connect(new_site.url.removeprefix("sqlite:///"), isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        waiting = asyncio.ensure_future(wire.post(wire.call("add", a=1, b=2)))
        await _assert_unavailable(wire)
        holder.execute("ROLLBACK")
    # What waited was refused, or answered now that it can be.
    assert (await waiting).status_code in (200, 503)
    await raw.recovered(wire)
    await raw.assert_serving(wire)
    assert " 500 " not in server.output


async def _assert_unavailable(wire: Wire) -> None:
    """Wait until calls are refused because of the store, and hold the refusal against the table."""

    async def refused() -> httpx.Response | None:
        response = await wire.post(wire.call("add", a=1, b=2))
        assert response.status_code in (200, 503)
        return response if response.status_code == 503 else None

    response = await until(refused, timeout_seconds=40)
    assert response is not None
    assert int(response.headers["retry-after"]) > 0
    opening = await wire.post(wire.request("ping"))
    assert opening.status_code in (200, 503)


@contextlib.contextmanager
def _administering(url: str) -> Any:
    """Give a connection to the same server, beside the database."""
    admin = url.rpartition("/")[0] + "/postgres"
    with psycopg.connect(admin, autocommit=True) as connection:
        yield connection
