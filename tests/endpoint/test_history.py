"""What is kept of an exchange for inspection, in a database."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pytest_django import Settings

from streamable_http import models
from streamable_http.delivery import engine as engines
from streamable_http.delivery.engine import Engine
from streamable_http.delivery.ring import RING_EVENTS
from streamable_http.models import Outcome, StreamState
from streamable_http.server import CallFailed, Context, MCPServer
from tests.delivery import calls
from tests.endpoint.client import Client, events, messages

server = MCPServer("test")


@server.tool(annotations={"readOnlyHint": True})
async def early() -> str:
    """Answer with the opening commit."""
    return "done"


@server.tool()
async def late(ctx: Context) -> str:
    """Answer behind an event."""
    await ctx.info("told")
    return "done"


@server.tool()
async def failing() -> str:
    """Fail as tools do."""
    raise ValueError("no")


@server.tool()
async def refusing() -> str:
    """Fail as a protocol does."""
    raise CallFailed(-32000, "no")


@server.tool()
async def endless() -> str:
    """Wait until it is cancelled."""
    await asyncio.Event().wait()
    return "never"


@pytest.fixture(autouse=True)
async def engine(settings: Settings, log_alias: str) -> AsyncIterator[Engine]:
    """The engine that the endpoints of a test use, on a database."""
    settings.ALLOWED_HOSTS = ["localhost"]
    running = engines.current()
    yield running
    await running.stop()
    engines._engine = None


@server.tool()
async def chatty(ctx: Context) -> str:
    """Say more than is kept."""
    for number in range(100):
        await ctx.info(str(number))
    return "done"


async def streams(engine: Engine) -> list[models.Stream]:
    """The streams of calls, the oldest first."""
    await calls.until(lambda: not engine.log._behind)
    await calls.flush(engine)
    return await engine.read(lambda: list(models.Stream.objects.exclude(method="").order_by("pk")))


async def connections(engine: Engine) -> list[dict[str, Any]]:
    """The facts of requests without a message, the oldest first."""
    await calls.until(lambda: not engine.log._behind)
    await calls.flush(engine)
    found = await engine.read(lambda: list(models.Record.objects.filter(method="", payload="").order_by("pk")))
    return [{"session": record.session_id, **json.loads(record.facts)} for record in found]


OUTCOMES = [
    ("early", Outcome.RESULT),
    ("late", Outcome.RESULT),
    ("failing", Outcome.TOOL_ERROR),
    ("refusing", Outcome.ERROR),
]


@pytest.mark.parametrize("mode", ["sessions", "sessionless"])
async def test_what_a_call_came_to_and_how_long_it_took_is_kept(engine: Engine, settings: Settings, mode: str) -> None:
    settings.STREAMABLE_HTTP = {**settings.STREAMABLE_HTTP, "MODE": mode}
    client = Client(server)
    await client.open()
    for tool, _ in OUTCOMES:
        await client.call(tool)
    found = await streams(engine)
    assert [(stream.name, stream.outcome, stream.state) for stream in found] == [
        (tool, outcome, StreamState.ANSWERED) for tool, outcome in OUTCOMES
    ]
    for stream in found:
        assert stream.duration_ms is not None
        assert 0 < stream.duration_ms < 30_000


async def test_of_a_long_exchange_the_newest_events_are_kept_and_the_others_counted(
    engine: Engine, settings: Settings
) -> None:
    settings.STREAMABLE_HTTP = {**settings.STREAMABLE_HTTP, "MODE": "sessionless"}
    client = Client(server)
    await client.open()
    await client.call("chatty")
    [stream] = await streams(engine)
    kept = await engine.read(lambda: list(stream.events.order_by("sequence").values_list("sequence", flat=True)))
    assert stream.head == 101
    assert kept == list(range(stream.earliest, 102))
    assert len(kept) == RING_EVENTS


async def test_a_call_that_was_cancelled_came_to_nothing(engine: Engine) -> None:
    client = Client(server)
    await client.open()
    response = await client.post("tools/call", {"name": "endless"})
    await client.send({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 2}})
    assert await messages(response) == []
    [stream] = await streams(engine)
    assert (stream.state, stream.outcome, stream.duration_ms) == (StreamState.CANCELLED, "", None)


async def test_connections_that_listen_resume_and_end_a_session_are_recorded(engine: Engine) -> None:
    client = Client(server)
    await client.open()
    response = await client.post("tools/call", {"name": "late"})
    cursor, _ = [event.id async for event in events(response) if event.data]
    listening = await client.request("GET")
    resumed = await client.request("GET", last_event_id=cursor)
    assert [message["id"] for message in await messages(resumed)] == [2]
    await client.request("DELETE")
    assert listening.stream is not None
    await listening.stream.aclose()
    facts = await connections(engine)
    assert [fact["method"] for fact in facts] == ["GET", "GET", "DELETE"]
    assert [fact["headers"].get("last-event-id") for fact in facts] == [None, cursor, None]
    [session] = await engine.read(lambda: list(models.Session.objects.all()))
    assert {fact["session"] for fact in facts} == {session.pk}


async def test_polls_are_not_recorded(engine: Engine, settings: Settings) -> None:
    settings.STREAMABLE_HTTP = {**settings.STREAMABLE_HTTP, "MAX_CONNECTION_SECONDS": 0}
    client = Client(server)
    await client.open()
    await messages(await client.request("GET"))
    await client.request("DELETE")
    assert [fact["method"] for fact in await connections(engine)] == ["DELETE"]
