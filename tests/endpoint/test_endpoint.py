"""What the endpoint takes and refuses, by the settings, without a server in between."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import pytest
from pytest_django import Settings

from streamable_http import redaction
from streamable_http.delivery import engine as engines
from streamable_http.delivery import poller, ring
from streamable_http.delivery.engine import Engine
from streamable_http.models import SessionState
from streamable_http.server import CallFailed, Context, MCPServer
from streamable_http.stores.cached import CachedStore
from streamable_http.stores.memory import MemoryStore
from tests.delivery import calls
from tests.endpoint.client import Client, messages
from tests.stores.aging import pass_seconds

server = MCPServer("test")

release = asyncio.Event()

INITIALIZE = {
    "protocolVersion": "2025-11-25",
    "capabilities": {},
    "clientInfo": {"name": "test", "version": "1"},
}


@server.tool(annotations={"readOnlyHint": True})
async def add(a: int, b: int) -> int:
    """Add."""
    return a + b


@server.tool()
async def tell(ctx: Context) -> str:
    """Report, and ask."""
    await ctx.info("told")
    return str((await ctx.elicit("?", {"type": "object", "properties": {}})).action)


@server.tool()
async def wait() -> str:
    """Wait for the test."""
    await release.wait()
    return "done"


@pytest.fixture(autouse=True)
def _released() -> None:
    global release
    release = asyncio.Event()


def change(settings: Settings, **changes: Any) -> None:
    settings.STREAMABLE_HTTP = {**settings.STREAMABLE_HTTP, **changes}


def request(request_id: Any, method: str, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": request_id, "method": method, "params": params}


def tool_call(request_id: Any, tool: str, **arguments: Any) -> dict[str, Any]:
    return request(request_id, "tools/call", name=tool, arguments=arguments)


# Batches


@pytest.fixture(params=["sessions", "sessionless"])
async def march(request: pytest.FixtureRequest, settings: Settings) -> Client:
    change(settings, MODE=request.param)
    client = Client(server, revision="2025-03-26")
    await client.open()
    return client


async def test_each_request_of_a_batch_is_answered(march: Client) -> None:
    note = {"jsonrpc": "2.0", "method": "notifications/progress"}
    batch = [
        tool_call(1, "add", a=1, b=2),
        note,
        request("2", "ping"),
        request(3, "tools/list"),
        tool_call(4, "nothing"),
    ]
    response = await march.send(batch)
    assert response.status == 200
    first, second, third, fourth = json.loads(response.body)
    assert (first["id"], first["result"]["content"][0]["text"]) == (1, "3")
    assert second == {"jsonrpc": "2.0", "id": "2", "result": {}}
    assert third["result"]["tools"]
    assert fourth["error"]["code"] == -32602


async def test_what_a_call_of_a_batch_tells_is_left_out_and_it_can_ask_nothing(march: Client) -> None:
    [answer] = json.loads((await march.send([tool_call(1, "tell")])).body)
    assert answer["result"]["isError"]
    assert "cannot be asked" in answer["result"]["content"][0]["text"]


async def test_a_batch_that_wants_no_answer_is_accepted(march: Client) -> None:
    note = {"jsonrpc": "2.0", "method": "notifications/progress"}
    response = await march.send([note, {"jsonrpc": "2.0", "id": "x", "result": {}}])
    assert (response.status, response.body) == (202, b"")


async def test_a_client_that_takes_events_alone_gets_a_batch_as_events(march: Client) -> None:
    response = await march.send([request(1, "ping"), request(2, "ping")], accept="text/event-stream")
    assert [message["id"] for message in await messages(response)] == [1, 2]


async def test_a_batch_in_an_ended_session_is_not_taken() -> None:
    client = Client(server, revision="2025-03-26")
    await client.open()
    assert (await client.request("DELETE")).status == 204
    assert (await client.send([request(1, "ping")])).status == 404


async def test_the_calls_of_batches_are_bounded_like_others(settings: Settings, engine: Engine) -> None:
    change(settings, MAX_OPEN_STREAMS=2)
    client = Client(server, revision="2025-03-26")
    await client.open()
    assert (await client.send([tool_call(number, "wait") for number in range(3)])).status == 429
    assert (await client.send([request(number, "ping") for number in range(3)])).status == 200
    running = asyncio.create_task(client.send([tool_call(number, "wait") for number in range(2)]))
    await calls.until(lambda: len(engine.rings) == 2)
    refused = await client.send([tool_call(9, "wait")])
    assert (refused.status, refused.headers["retry-after"]) == (429, "1")
    release.set()
    assert len(json.loads((await running).body)) == 2
    assert (await client.send([tool_call(9, "wait")])).status == 200


async def test_a_call_of_a_batch_can_be_cancelled(engine: Engine) -> None:
    client = Client(server, revision="2025-03-26")
    await client.open()
    running = asyncio.create_task(client.send([tool_call("x", "wait"), tool_call("y", "add", a=1, b=2)]))
    await calls.until(lambda: len(engine.running) == 1)
    note = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "x"}}
    assert (await client.send(note)).status == 202
    cancelled, answered = json.loads((await running).body)
    assert cancelled["error"]["message"] == "the call was cancelled"
    assert answered["result"]
    assert not engine.running


@pytest.mark.parametrize("elsewhere", [False, True])
async def test_the_calls_of_a_batch_end_with_their_session(engine: Engine, elsewhere: bool) -> None:
    client = Client(server, revision="2025-03-26")
    await client.open()
    running = asyncio.create_task(client.send([tool_call(1, "wait")]))
    await calls.until(lambda: len(engine.running) == 1)
    if elsewhere:
        [unlogged] = engine.rings
        await engine.read(engine.store.end_session, unlogged.session_id, SessionState.TERMINATED)
        await poller.Poller(engine)._guarded_poll()
    else:
        await client.request("DELETE")
    [cancelled] = json.loads((await running).body)
    assert cancelled["error"]["message"] == "the call was cancelled"
    assert not engine.running


REQUESTS_OF_A_SESSION: dict[str, tuple[str, dict[str, Any]]] = {
    "request": ("POST", request(1, "ping")),
    "call": ("POST", tool_call(1, "add", a=1, b=2)),
    "call with effects": ("POST", tool_call(1, "wait")),
    "initialize": ("POST", request(1, "initialize", **INITIALIZE)),
    "notification": ("POST", {"jsonrpc": "2.0", "method": "notifications/initialized"}),
    "reply": ("POST", {"jsonrpc": "2.0", "id": "x", "result": {}}),
    "listening": ("GET", {}),
    "end": ("DELETE", {}),
}


@pytest.mark.parametrize("kind", REQUESTS_OF_A_SESSION)
async def test_an_ended_session_is_unknown_at_once_though_its_facts_are_cached(engine: Engine, kind: str) -> None:
    method, body = REQUESTS_OF_A_SESSION[kind]
    kept = engine.store
    assert isinstance(kept, MemoryStore)
    engine.store = store = CachedStore()
    store.inner = kept
    client = Client(server)
    await client.open()
    [(digest, session_id)] = kept._digests.items()
    # Another worker, which leaves a copy in the cache, and, after the end, a third one, which has nothing else.
    client.endpoint = Client(server).endpoint
    assert (await client.post("ping")).status == 200
    kept.end_session(session_id, SessionState.TERMINATED)
    assert store.find_session(digest) is not None
    client.endpoint = Client(server).endpoint
    assert (await client.request(method, json.dumps(body).encode())).status == 404
    assert not engine.running


@pytest.mark.parametrize("revision", ["2025-06-18", "2025-11-25"])
async def test_row_12_batches_of_later_revisions_are_refused(revision: str) -> None:
    client = Client(server, revision=revision)
    await client.open()
    response = await client.send([request(1, "ping")])
    assert response.status == 400


async def test_row_13_a_batch_is_bounded(settings: Settings, march: Client) -> None:
    change(settings, MAX_BATCH=3, MODE="sessionless")
    march.headers.pop("mcp-session-id", None)
    assert (await march.send([request(i, "ping") for i in range(3)])).status == 200
    assert (await march.send([request(i, "ping") for i in range(4)])).status == 400
    assert (await march.send([])).status == 400


# Limits


async def test_row_35_old_sessions_outlive_a_flood_of_new_ones(settings: Settings) -> None:
    change(settings, MAX_SESSIONS=5)
    old = Client(server)
    await old.open()
    flood = [await Client(server).open() for _ in range(8)]
    assert [response.status for response in flood] == [200] * 4 + [429] * 4
    assert flood[-1].headers["retry-after"] == "60"
    assert (await old.post("ping")).status == 200


async def test_row_35_sessions_that_are_opened_at_once_keep_to_the_limit(settings: Settings, engine: Engine) -> None:
    change(settings, MAX_SESSIONS=19)
    # One endpoint, as in a process: it counts what it is just opening.
    client = Client(server)
    await asyncio.gather(*(client.post("initialize", INITIALIZE) for _ in range(3)))
    opened = await asyncio.gather(*(client.post("initialize", INITIALIZE) for _ in range(40)))
    assert sorted(response.status for response in opened) == [200] * 16 + [429] * 24
    assert engine.store.count_sessions() == 19


async def test_at_the_limit_the_session_that_was_idle_the_longest_gives_way(
    settings: Settings, engine: Engine
) -> None:
    change(settings, MAX_SESSIONS=2)
    first, second, third = Client(server), Client(server), Client(server)
    await first.open()
    pass_seconds(engine.store, 100)
    await second.open()
    pass_seconds(engine.store, 100)
    assert (await third.open()).status == 200
    assert (await first.post("ping")).status == 404
    assert (await second.post("ping")).status == 200


async def test_a_session_that_was_used_just_now_does_not_give_way(settings: Settings, engine: Engine) -> None:
    change(settings, MAX_SESSIONS=1)
    used, other = Client(server), Client(server)
    await used.open()
    pass_seconds(engine.store, 100)
    assert (await used.post("ping")).status == 200
    assert (await other.open()).status == 429
    assert (await used.post("ping")).status == 200


async def test_a_worker_runs_only_so_many_calls(settings: Settings) -> None:
    change(settings, MAX_CALLS=2)
    client = Client(server)
    await client.open()
    running = [await client.post("tools/call", {"name": "wait"}) for _ in range(2)]
    refused = await client.post("tools/call", {"name": "wait"})
    assert (refused.status, refused.headers["retry-after"]) == (503, "1")
    release.set()
    for response in running:
        assert (await messages(response))[-1]["result"]["content"][0]["text"] == "done"
    assert (await client.call("add", a=1, b=2))["result"]["structuredContent"] == {"result": 3}


async def test_a_store_that_hangs_holds_no_request_for_long(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client(server)
    await client.open()
    answers = threading.Event()
    monkeypatch.setattr(engines, "COMMAND_SECONDS", 0.05)
    monkeypatch.setattr(engine.store, "is_open", lambda session_id: answers.wait(60))
    refused = await client.post("ping")
    assert (refused.status, refused.headers["retry-after"]) == (503, "5")
    answers.set()


@pytest.mark.parametrize("mode", ["sessions", "sessionless"])
async def test_a_call_that_runs_too_long_is_ended_with_an_error(settings: Settings, engine: Engine, mode: str) -> None:
    change(settings, MODE=mode, KEEP_ALIVE_SECONDS=0.01)
    client = Client(server)
    await client.open()
    response = await client.post("tools/call", {"name": "wait"})
    change(settings, MAX_STREAM_SECONDS=0)
    async with asyncio.timeout(10):
        answer = (await messages(response))[-1]
    assert "longer than it may" in answer["error"]["message"]
    assert not engine.running


@pytest.mark.parametrize("member", ["clientInfo", "capabilities"])
async def test_what_a_client_says_of_itself_is_bounded(member: str) -> None:
    client = Client(server)
    params = {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "n", "version": "1", "icons": [{"src": "data:" + "x" * 100_000}]},
    }
    assert (await client.post("initialize", params)).status == 200
    params[member] = {**params[member], "more": ["x" * 1_000] * 5}  # type: ignore[dict-item]
    assert (await client.post("initialize", params)).status == 400


async def test_what_is_too_large_is_refused_before_its_names_are_looked_at() -> None:
    redaction._is_sensitive.cache_clear()
    info = {"name": "n", "version": "1", **{f"member {number}": 1 for number in range(1_000)}}
    assert (await Client(server).post("initialize", {**INITIALIZE, "clientInfo": info})).status == 400
    assert redaction._is_sensitive.cache_info().currsize == 0


# Calls in sessions


@server.tool()
async def fail_without_json() -> str:
    """End with an error that cannot be written."""
    raise CallFailed(-32050, "no", data={"when": {1, 2}})


@server.tool()
async def cancel_itself() -> str:
    """Cancel the task that runs the call, as a tool may by mistake."""
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(60)
    return "never"


@pytest.mark.parametrize("mode", ["sessions", "sessionless"])
@pytest.mark.parametrize("tool", ["fail_without_json", "cancel_itself"])
async def test_whatever_a_tool_does_its_call_ends(settings: Settings, engine: Engine, tool: str, mode: str) -> None:
    change(settings, MODE=mode)
    client = Client(server)
    await client.open()
    async with asyncio.timeout(10):
        answer = await client.call(tool)
    assert answer["error"] == {"code": -32603, "message": "internal error"}
    assert not engine.running


@server.tool(annotations={"readOnlyHint": True})
async def debug(ctx: Context) -> str:
    """Tell at two levels, before the opening commit."""
    await ctx.debug("fine")
    await ctx.error("coarse")
    return "told"


@pytest.mark.parametrize(("level", "told"), [(None, ["coarse"]), ("debug", ["fine", "coarse"]), ("emergency", [])])
async def test_a_tool_that_starts_early_minds_the_sessions_log_level(level: str | None, told: list[str]) -> None:
    client = Client(server)
    await client.open()
    if level is not None:
        await client.post("logging/setLevel", {"level": level})
    sent = await messages(await client.post("tools/call", {"name": "debug"}))
    assert [message["params"]["data"] for message in sent[:-1]] == told


@pytest.mark.parametrize("method", ["initialize", "ping", "tools/call"])
@pytest.mark.parametrize("mode", ["sessions", "sessionless"])
async def test_a_client_that_takes_events_alone_gets_them(settings: Settings, mode: str, method: str) -> None:
    change(settings, MODE=mode)
    client = Client(server)
    if method != "initialize":
        await client.open()
    client.headers["accept"] = "text/event-stream"
    params = {
        "initialize": INITIALIZE,
        "ping": {},
        "tools/call": {"name": "add", "arguments": {"a": 1, "b": 2}},
    }
    response = await client.post(method, params[method])
    assert response.headers["content-type"] == "text/event-stream"
    [answer] = await messages(response)
    assert "result" in answer
    assert ("mcp-session-id" in response.headers) == (method == "initialize" and mode == "sessions")


@server.tool()
async def talk(ctx: Context) -> str:
    """Say more than waits for a reader, when the test says so."""
    await release.wait()
    for number in range(3 * ring.RING_EVENTS):
        await ctx.info(number)
    return "done"


@pytest.mark.parametrize("accept", ["application/json", "application/json, text/event-stream"])
async def test_a_call_without_a_session_goes_on_when_its_client_is_gone(
    settings: Settings, engine: Engine, accept: str
) -> None:
    change(settings, MODE="sessionless")
    client = Client(server)
    await client.open()
    client.headers["accept"] = accept
    asking = asyncio.create_task(client.post("tools/call", {"name": "talk"}))
    await calls.until(lambda: len(engine.running) == 1)
    # As Django does to a view whose client went away.
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    release.set()
    await calls.until(lambda: not engine.running)


async def test_a_json_answer_that_was_lost_is_no_reason_to_send_the_call_again(
    settings: Settings, engine: Engine
) -> None:
    change(settings, JSON_ONLY=True)
    client = Client(server)
    await client.open()
    waiting = asyncio.create_task(client.post("tools/call", {"name": "wait"}))
    await calls.until(lambda: bool(engine.running))
    [running] = engine.written
    engine.lease._renewed_at = float("-inf")
    engine.wake_stream(running.id)
    async with asyncio.timeout(10):
        response = await waiting
    assert response.status == 200
    assert json.loads(response.body)["error"]["code"] == -32000


@pytest.mark.parametrize(("mode", "served"), [("sessions", "POST, GET, DELETE"), ("sessionless", "POST")])
@pytest.mark.parametrize("method", ["PUT", "PATCH", "HEAD", "OPTIONS", "TRACE", "CONNECT", "GET", "DELETE", ""])
async def test_row_70_methods_that_are_not_served_get_405_with_what_is(
    settings: Settings, mode: str, served: str, method: str
) -> None:
    change(settings, MODE=mode)
    response = await Client(server).request(method)
    if method in served.split(", "):
        # Served, and refused for something else: there is no session.
        assert response.status == 400
    else:
        assert (response.status, response.headers["allow"]) == (405, served)
