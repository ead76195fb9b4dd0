"""Real exchanges of one endpoint, and rows that no endpoint would write."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

from streamable_http import models
from streamable_http.delivery.engine import Engine
from streamable_http.models import StreamState
from streamable_http.protocol import http
from streamable_http.server import CallFailed, Context, MCPServer
from streamable_http.stores.db import DatabaseStore
from tests.delivery import calls
from tests.endpoint.client import Client, events
from tests.stores import writing

SECRET = "hunter2"

server = MCPServer("test")


@server.tool()
async def count(n: int, ctx: Context, password: str = "") -> str:
    """Report progress from 1 to n."""
    for number in range(1, n + 1):
        await ctx.info(f"step {number}")
    return "done"


@server.tool()
async def sure(ctx: Context) -> str:
    """Ask whether it is meant."""
    return str((await ctx.elicit("Sure?", {"type": "object", "properties": {}})).action)


@server.tool()
async def failing() -> str:
    """Fail as tools do."""
    raise ValueError("no")


@server.tool()
async def refusing() -> str:
    """Fail as a protocol does."""
    raise CallFailed(-32000, "no")


def message(**members: Any) -> str:
    return json.dumps({"jsonrpc": "2.0", **members})


def facts(method: str = "POST", **headers: str) -> str:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return json.dumps({"method": method, "headers": named, "client": "192.0.2.1", "principal": "user:7"})


def note(store: DatabaseStore, session_id: int, payload: str, *, method: str = "", **headers: str) -> int:
    """Record something that came in without a stream; the record's id."""
    record = writing.record(session_id=session_id, method=method, payload=payload, facts=facts(**headers))
    store.write([], [record])
    return record.id


def call(store: DatabaseStore, session_id: int | None, number: int, *payloads: str, **changes: Any) -> int:
    """Write a call that has ended, with its request; its stream."""
    request = message(id=number, method="tools/call", params={"name": "tool", "arguments": {"password": SECRET}})
    values: dict[str, Any] = {
        "end": StreamState.ANSWERED,
        "request_id": str(number),
        "record": writing.record(method="tools/call", payload=request, facts=facts()),
        **changes,
    }
    return writing.stream(store, session_id, *(payloads or (message(id=number, result={}),)), **values)


async def settle(engine: Engine) -> None:
    """Wait until what is recorded behind is there."""
    await calls.until(lambda: not engine.log._behind)
    await calls.flush(engine)


async def session_id(engine: Engine) -> int:
    """The only session's id."""
    return await engine.read(lambda: models.Session.objects.get().pk)


async def newest_stream(engine: Engine) -> int:
    """The id of the call that began last."""
    return await engine.read(lambda: models.Stream.objects.exclude(method="").order_by("-pk")[0].pk)


async def pending(client: Client) -> tuple[http.Response, AsyncIterator[Any], dict[str, Any]]:
    """Call the tool that asks; the response, its events to come, and the ask."""
    response = await client.post("tools/call", {"name": "sure", "arguments": {}})
    reading = events(response)
    async for event in reading:
        if event.data:
            return response, reading, json.loads(event.data)
    raise AssertionError("nothing was asked")


async def reply(client: Client, wire_id: str, **result: Any) -> None:
    await client.send({"jsonrpc": "2.0", "id": wire_id, "result": result or {"action": "accept", "content": {}}})
