"""What an endpoint does while its worker drains."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import pytest
from pytest_django import Settings

from streamable_http.consumers import lifespan
from streamable_http.delivery.engine import Engine
from streamable_http.protocol import http
from streamable_http.server import Context, MCPServer
from tests.delivery import calls
from tests.endpoint.client import Client, events, messages

server = MCPServer("test")

release = asyncio.Event()

WORKER_LOST = -32000


@server.tool()
async def wait() -> str:
    """Wait for the test."""
    await release.wait()
    return "done"


@server.tool(annotations={"idempotentHint": True})
async def insist() -> str:
    """Wait, and take no cancellation for an answer."""
    while not release.is_set():
        try:
            await release.wait()
        except asyncio.CancelledError:
            continue
    return "done"


@server.tool()
async def ask(ctx: Context) -> str:
    """Ask the user."""
    return str((await ctx.elicit("?", {"type": "object", "properties": {}})).action)


@server.resource("test://page")
async def page() -> str:
    """A page that takes its time."""
    return await wait()


@pytest.fixture(autouse=True)
def _released() -> None:
    global release
    release = asyncio.Event()


def change(settings: Settings, **changes: Any) -> None:
    settings.STREAMABLE_HTTP = {**settings.STREAMABLE_HTTP, **changes}


async def begun(client: Client, engine: Engine, method: str, **params: Any) -> asyncio.Task[list[Any]]:
    """Begin a call, and read its answer on the side."""
    running = len(engine.running)
    reading = asyncio.ensure_future(_read(client, method, params))
    await calls.until(lambda: len(engine.running) > running)
    return reading


async def _read(client: Client, method: str, params: dict[str, Any]) -> list[Any]:
    return await messages(await client.post(method, params))


async def test_new_calls_and_listeners_are_refused_and_the_rest_is_served(engine: Engine) -> None:
    client, doomed, march = Client(server), Client(server), Client(server, revision="2025-03-26")
    for one in (client, doomed, march):
        await one.open(elicitation={})
    running = await begun(client, engine, "tools/call", name="wait", arguments={})
    drained = engine.drain()
    ping = {"jsonrpc": "2.0", "id": 9, "method": "ping"}
    note = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    for refused in (
        await client.post("ping"),
        await client.post("tools/call", {"name": "wait", "arguments": {}}),
        await Client(server).open(),
        await client.request("GET"),
        await march.send([note, ping]),
    ):
        assert refused.status == 503
        assert refused.headers["retry-after"] == "1"
        assert refused.headers["connection"] == "close"
    assert (await client.send(note)).status == 202
    assert (await march.send([note, note])).status == 202
    assert (await client.send({"jsonrpc": "2.0", "id": "x", "result": {}})).status == 202
    assert (await doomed.request("DELETE")).status == 204
    assert not drained.done()
    release.set()
    assert (await running)[-1]["result"]["content"][0]["text"] == "done"
    await drained


async def test_only_http_1_closes_connections_by_a_header(engine: Engine) -> None:
    client = Client(server)
    await client.open()
    engine.drain()
    raw = [(name.encode(), value.encode()) for name, value in client.headers.items()]
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "ping"}).encode()
    asked = http.Request(method="POST", path="/mcp", scheme="http", headers=http.Headers(raw), body=body, version="2")
    refused = await client.endpoint.handle(asked)
    assert refused.status == 503
    assert "connection" not in refused.headers


@pytest.mark.parametrize(
    ("method", "params", "retryable"),
    [
        pytest.param("tools/call", {"name": "wait", "arguments": {}}, False, id="tool"),
        pytest.param("tools/call", {"name": "insist", "arguments": {}}, True, id="idempotent-tool"),
        pytest.param("resources/read", {"uri": "test://page"}, True, id="resource"),
    ],
)
@pytest.mark.parametrize("mode", ["sessions", "sessionless"])
async def test_after_the_grace_a_call_ends_with_an_error(
    engine: Engine, settings: Settings, mode: str, method: str, params: dict[str, Any], retryable: bool
) -> None:
    change(settings, GRACE_SECONDS=0.05, MODE=mode)
    client = Client(server)
    await client.open()
    running = await begun(client, engine, method, **params)
    await engine.drain()
    error = (await running)[-1]["error"]
    assert error["code"] == WORKER_LOST
    assert error["data"] == {"retryable": retryable}
    assert not engine.running
    release.set()


async def test_an_engine_that_stops_grants_no_time_and_ends_its_calls(engine: Engine) -> None:
    client = Client(server)
    await client.open()
    running = [await begun(client, engine, "tools/call", name=name, arguments={}) for name in ("wait", "insist")]
    await engine.stop()
    release.set()
    for reading, retryable in zip(running, (False, True), strict=True):
        assert (await reading)[-1]["error"]["data"] == {"retryable": retryable}


async def test_a_call_whose_opening_is_being_committed_is_waited_for(engine: Engine) -> None:
    client = Client(server)
    await client.open()
    is_committing, may_commit = threading.Event(), threading.Event()
    write = engine.store.write

    def write_slowly(*arguments: Any) -> Any:
        is_committing.set()
        assert may_commit.wait(20)
        return write(*arguments)

    engine.store.write = write_slowly  # type: ignore[method-assign]
    reading = asyncio.ensure_future(_read(client, "tools/call", {"name": "wait", "arguments": {}}))
    await calls.until(is_committing.is_set)
    assert not engine.running
    drained = engine.drain()
    await asyncio.sleep(0)
    may_commit.set()
    await calls.until(lambda: bool(engine.running))
    assert not drained.done()
    release.set()
    assert (await reading)[-1]["result"]["content"][0]["text"] == "done"
    await drained


async def test_a_listener_is_closed_with_when_to_come_again(engine: Engine, settings: Settings) -> None:
    change(settings, RETRY_MS=1_234)
    client = Client(server)
    await client.open()
    response = await client.request("GET")
    assert response.stream is not None
    chunks = [await anext(response.stream)]
    reading = asyncio.ensure_future(_rest(response))
    await asyncio.sleep(0)
    await engine.drain()
    chunks += await asyncio.wait_for(reading, 20)
    assert chunks[-1] == b"retry: 1234\n\n"


async def test_a_listener_that_comes_just_too_late_is_closed_too(engine: Engine) -> None:
    client = Client(server)
    await client.open()
    response = await client.request("GET")
    await engine.drain()
    assert (await asyncio.wait_for(_rest(response), 20))[-1] == b"retry: 3000\n\n"


async def _rest(response: http.Response) -> list[bytes]:
    assert response.stream is not None
    return [chunk async for chunk in response.stream]


async def test_the_lease_is_given_back_at_the_end_of_the_drain(engine: Engine) -> None:
    client = Client(server)
    await client.open()
    assert engine.store.renew_worker(engine.lease.worker_id, 60.0)
    await engine.drain()
    assert not engine.store.renew_worker(engine.lease.worker_id, 60.0)
    assert engine.drain().done()


async def test_a_question_is_answered_while_its_worker_drains(engine: Engine) -> None:
    client = Client(server)
    await client.open(elicitation={})
    response = await client.post("tools/call", {"name": "ask", "arguments": {}})
    stream = events(response)
    question = json.loads([event async for event in _until_data(stream)][-1].data)
    drained = engine.drain()
    answer = {"jsonrpc": "2.0", "id": question["id"], "result": {"action": "decline"}}
    assert (await client.send(answer)).status == 202
    last = [event async for event in stream][-1]
    assert json.loads(last.data)["result"]["content"][0]["text"] == "decline"
    await drained


async def _until_data(stream: Any) -> Any:
    async for event in stream:
        yield event
        if event.data:
            return


async def test_a_lifespan_ends_when_the_calls_have_ended(engine: Engine) -> None:
    client = Client(server)
    await client.open()
    to_application: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(message)

    serving = asyncio.ensure_future(lifespan({"type": "lifespan"}, to_application.get, send))
    await to_application.put({"type": "lifespan.startup"})
    await calls.until(lambda: bool(sent))
    assert sent == [{"type": "lifespan.startup.complete"}]
    running = await begun(client, engine, "tools/call", name="wait", arguments={})
    await to_application.put({"type": "lifespan.shutdown"})
    await calls.until(lambda: engine.is_draining)
    release.set()
    assert (await running)[-1]["result"]["content"][0]["text"] == "done"
    await serving
    assert sent[1:] == [{"type": "lifespan.shutdown.complete"}]
    assert not engine.log._thread.is_alive()


async def test_a_lifespan_without_an_engine_just_ends() -> None:
    messages = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])
    sent: list[str] = []

    async def receive() -> Any:
        return next(messages)

    async def send(message: Any) -> None:
        sent.append(message["type"])

    await lifespan({"type": "lifespan"}, receive, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
