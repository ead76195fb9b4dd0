"""Answers in pieces: connections that the server closes early, for clients that then poll with their cursor."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.acceptance.conftest import Site
from tests.acceptance.wire import Received, Wire, notification

pytestmark = pytest.mark.acceptance


async def opened(site: Site, revision: str = "2025-11-25", **settings: object) -> Wire:
    wire = Wire(f"{site.serve(settings=settings).url}/mcp", revision=revision)
    await wire.initialize(capabilities={"elicitation": {}})
    return wire


async def poll(wire: Wire, received: Received) -> tuple[int, float]:
    """Come again until the answer is there; how often, and the longest that one connection took."""
    polls, longest = 0, 0.0
    while not received.events or "params" in received.messages[-1]:
        begun = time.monotonic()
        async with wire.resume(received.last_id) as connection:
            await received.read(connection)
            if not received.events or "params" in received.messages[-1]:
                assert connection.retry_ms == 500
        longest = max(longest, time.monotonic() - begun)
        polls += 1
        await asyncio.sleep(0.05)
    return polls, longest


async def test_every_answer_is_a_short_request_where_the_network_allows_no_other(new_site: Site) -> None:
    wire = await opened(new_site, MAX_CONNECTION_SECONDS=0)
    received = Received()
    begun = time.monotonic()
    async with wire.stream(wire.call("count", n=40, delay_ms=50)) as connection:
        await received.read(connection)
        assert connection.retry_ms == 500
    assert time.monotonic() - begun < 1
    polls, longest = await poll(wire, received)
    assert polls > 3
    assert longest < 1
    assert received.numbers == list(range(1, 41))
    assert received.result == "counted to 40"


async def test_a_call_that_is_answered_at_once_needs_no_poll(new_site: Site) -> None:
    wire = await opened(new_site, MAX_CONNECTION_SECONDS=0)
    assert await wire.result("add", a=1, b=2) == 3


async def test_clients_of_older_revisions_keep_their_connection(new_site: Site) -> None:
    wire = await opened(new_site, "2025-06-18", MAX_CONNECTION_SECONDS=0)
    received = Received()
    async with wire.stream(wire.call("count", n=10, delay_ms=20)) as connection:
        await received.read(connection)
    assert received.result == "counted to 10"


async def test_a_tool_may_end_its_connection_and_go_on(new_site: Site) -> None:
    wire = await opened(new_site)
    received = Received()
    begun = time.monotonic()
    async with wire.stream(wire.call("hang_up", seconds=2)) as connection:
        await received.read(connection)
    assert time.monotonic() - begun < 1.5
    assert [message["params"]["data"] for message in received.messages] == ["before"]
    async with wire.resume(received.last_id) as connection:
        await received.read(connection)
    assert received.result == "done"


@pytest.mark.parametrize("ending", ["cancel", "delete"])
async def test_sync_tools_that_wait_for_an_answer_are_let_go_when_their_call_ends(new_site: Site, ending: str) -> None:
    wire = await opened(new_site, TOOL_THREADS=4)
    requests = [wire.call("ask_sync") for _ in range(3)]
    tasks = [asyncio.create_task(first_message(wire, request)) for request in requests]
    assert {(await task)["method"] for task in tasks} == {"elicitation/create"}
    # A fourth would leave no thread for the others.
    received = Received()
    async with wire.stream(wire.call("ask_sync")) as connection:
        await received.read(connection)
    assert "async tool" in received.answer["result"]["content"][0]["text"]
    if ending == "cancel":
        for request in requests:
            assert (
                await wire.post(notification("notifications/cancelled", requestId=request["id"]))
            ).status_code == 202
    else:
        assert (await wire.delete()).status_code == 204
        del wire.headers["mcp-session-id"]
        await wire.initialize(capabilities={"elicitation": {}})
    # All four threads are free again.
    async with asyncio.timeout(10):
        assert await asyncio.gather(*(wire.result("block", seconds=0.1) for _ in range(8))) == ["done"] * 8
        assert {(await first_message(wire, wire.call("ask_sync")))["method"]} == {"elicitation/create"}


async def first_message(wire: Wire, request: dict[str, object]) -> dict[str, object]:
    """Send a call and read its first message; the connection is cut then, which ends nothing."""
    received = Received()
    async with wire.stream(request) as connection:
        await received.read_events(connection, 1)
    return received.messages[0]
