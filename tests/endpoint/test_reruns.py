"""Calls of dead workers that run again: with what is kept of them, and as whom."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import pytest
from pytest_django import Settings

from streamable_http import exceptions, ids, redaction, signals
from streamable_http.delivery.engine import Engine
from streamable_http.endpoint import principals, reruns
from streamable_http.models import StreamState
from streamable_http.protocol import http, jsonrpc, revisions
from streamable_http.protocol import server as protocol
from streamable_http.server import Context, MCPServer, SyncContext
from streamable_http.stores import base
from tests.delivery import calls
from tests.endpoint.client import Client
from tests.endpoint.test_telemetry import heard, settled
from tests.stores import writing
from tests.stores.aging import pass_seconds

server = MCPServer("again")

RERUN: dict[str, Any] = {"annotations": {"idempotentHint": True}, "on_worker_loss": "rerun"}

release = asyncio.Event()


@pytest.fixture(autouse=True)
def _released() -> None:
    global release
    release = asyncio.Event()


@server.tool(**RERUN)
async def count(n: int, ctx: Context) -> str:
    """Report progress from 1 to n."""
    for number in range(1, n + 1):
        ctx.report_progress(number)
    return f"{ctx.user} counted to {n}"


@server.tool(**RERUN)
def count_in_a_thread(n: int, ctx: SyncContext) -> str:
    """Report progress from 1 to n."""
    for number in range(1, n + 1):
        ctx.report_progress(number)
    return f"{ctx.user} counted to {n}"


@server.tool(**RERUN)
async def wait() -> str:
    """Wait for the test."""
    await release.wait()
    return "done"


@server.tool(annotations={"idempotentHint": True})
async def once() -> str:
    """Run once."""
    return "done"


class Directory:
    """Knows callers by name."""

    def __init__(self, *names: str, is_recallable: bool = True) -> None:
        self.names = names
        self._is_recallable = is_recallable

    async def authenticate(self, request: http.Request) -> principals.Principal:
        """Take everybody for the first."""
        return principals.Principal(self.names[0], user=self.names[0], is_recallable=self._is_recallable)

    async def recall(self, key: str, request: http.Request) -> principals.Principal | None:
        """Find one by name; there is one who breaks it."""
        if key == "broken":
            raise RuntimeError("the directory is away")
        return principals.Principal(key, user=key) if key in self.names else None


def progress(number: float) -> str:
    params = {"progressToken": "t", "progress": number}
    return jsonrpc.dumps(jsonrpc.notification("notifications/progress", params)).decode()


async def orphaned(engine: Engine, tool: str, *payloads: str, principal: str = "ada", **arguments: Any) -> int:
    """Leave a call of a worker that died; its stream."""
    # Whoever asked something knows the server.
    await Client(server, authenticator=Directory("ada")).open()
    params = {"name": tool, "arguments": arguments, "_meta": {"progressToken": "t"}}

    def leave() -> int:
        session_id = writing.session_of(engine.store, principal, server="again")
        kept = {"arguments": json.dumps(params), "owner_id": ids.new()}
        return writing.stream(engine.store, session_id, *payloads, request_id="7", **kept)

    return await engine.read(leave)


async def rerun(engine: Engine, stream_id: int) -> list[dict[str, Any]]:
    """Look for orphans, and read a stream to its end."""
    await engine.rerun_orphans(10)
    async with asyncio.timeout(10):
        return [json.loads(payload) for payload in await calls.followed(engine, stream_id)]


def numbers(messages: list[dict[str, Any]]) -> list[float]:
    return [message["params"]["progress"] for message in messages if message.get("method") == "notifications/progress"]


def require_lost(messages: list[dict[str, Any]]) -> None:
    assert messages[-1]["id"] == 7
    assert messages[-1]["error"]["code"] == exceptions.WORKER_LOST


# The run


@pytest.mark.parametrize("tool", ["count", "count_in_a_thread"])
async def test_progress_goes_on_where_the_client_is_and_the_answer_comes_once(engine: Engine, tool: str) -> None:
    log = jsonrpc.dumps(jsonrpc.notification("notifications/message", {"level": "info", "data": progress(9)})).decode()
    stream_id = await orphaned(engine, tool, progress(1), progress(2.5), log, n=5)
    messages = await rerun(engine, stream_id)
    assert numbers(messages) == [1, 2.5, 3, 4, 5]
    assert messages[-1]["id"] == 7
    assert messages[-1]["result"]["content"][0]["text"] == "ada counted to 5"
    assert sum("id" in message for message in messages) == 1
    assert await calls.state(engine, stream_id) == StreamState.ANSWERED


async def test_progress_is_found_on_all_pages_of_what_is_kept(
    engine: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "PAGE_EVENTS", 2)
    usual = settings.STREAMABLE_HTTP
    settings.STREAMABLE_HTTP = {**usual, "MAX_STREAM_EVENTS": 5}
    stream_id = await orphaned(engine, "count", n=9)
    for number in range(1, 8):
        await engine.read(engine.store.write, [writing.append(stream_id, progress(number))], [])
    # Trimmed once more, the stream would show no repeat.
    settings.STREAMABLE_HTTP = usual
    await engine.rerun_orphans(10)
    await calls.until(lambda: engine.store.poll([stream_id])[stream_id].state != StreamState.OPEN)
    page = await engine.read(engine.store.read, stream_id, 5, 10)
    assert page is not None
    assert numbers([json.loads(event.payload) for event in page.events]) == [6, 7, 8, 9]


async def test_a_call_that_runs_again_can_be_cancelled(engine: Engine) -> None:
    stream_id = await orphaned(engine, "wait")
    await engine.rerun_orphans(10)
    await calls.until(lambda: bool(engine.written))
    [running] = engine.written
    await engine.read(engine.store.cancel, running.session_id, "7")
    engine.end_stream(stream_id)
    await calls.until(lambda: not engine.written)
    assert await calls.state(engine, stream_id) == StreamState.CANCELLED


async def test_a_worker_that_runs_as_many_calls_as_it_may_takes_none(engine: Engine, settings: Settings) -> None:
    settings.STREAMABLE_HTTP = {**settings.STREAMABLE_HTTP, "MAX_CALLS": 1}
    first, second = await orphaned(engine, "wait"), await orphaned(engine, "wait")
    await engine.rerun_orphans(10)
    await calls.until(lambda: bool(engine.written))
    [running] = engine.written
    await engine.rerun_orphans(10)
    [other] = {first, second} - {running.id}
    assert engine.store.poll([other])[other].epoch == 1
    release.set()
    await calls.until(lambda: not engine.written)
    [answer] = await rerun(engine, other)
    assert answer["result"]["content"][0]["text"] == "done"


async def test_a_worker_that_serves_nothing_yet_takes_nothing(engine: Engine) -> None:
    stream_id = await orphaned(engine, "wait")
    engine.reruns.clear()
    await engine.rerun_orphans(10)
    assert engine.store.poll([stream_id])[stream_id].epoch == 1


# What cannot run again


@pytest.mark.parametrize("principal", ["bob", "", "broken"])
async def test_a_call_whose_caller_is_gone_ends_as_lost(engine: Engine, principal: str) -> None:
    stream_id = await orphaned(engine, "count", progress(1), principal=principal, n=3)
    with heard(signals.stream_lost, signals.call_rerun, signals.call_started) as facts:
        messages = await rerun(engine, stream_id)
        await settled(engine)
    require_lost(messages)
    assert numbers(messages) == [1]
    assert await calls.state(engine, stream_id) == StreamState.LOST
    assert [(fact["signal"], fact["stream_id"]) for fact in facts] == [(signals.stream_lost, stream_id)]


@pytest.mark.parametrize("tool", ["once", "nothing"])
async def test_a_call_of_a_tool_that_may_not_run_again_any_more_ends_as_lost(engine: Engine, tool: str) -> None:
    stream_id = await orphaned(engine, tool)
    require_lost(await rerun(engine, stream_id))
    assert await calls.state(engine, stream_id) == StreamState.LOST


async def test_a_call_that_would_not_be_admitted_any_more_ends_as_lost(engine: Engine, settings: Settings) -> None:
    stream_id = await orphaned(engine, "count", n=1)
    settings.STREAMABLE_HTTP = {**settings.STREAMABLE_HTTP, "MAX_JSON_DEPTH": 2}
    require_lost(await rerun(engine, stream_id))


async def test_a_call_of_an_unknown_server_ends_as_lost_in_the_end(engine: Engine) -> None:
    await orphaned(engine, "count", n=1)
    session_id = await engine.read(writing.session_of, engine.store, "ada")
    dead = ids.new()
    await engine.read(engine.store.register_worker, dead, "host", 1, 1.0)
    stream_id = await engine.read(
        lambda: writing.stream(engine.store, session_id, owner_id=dead, arguments="{}", request_id="7")
    )
    pass_seconds(engine.store, 2)
    await engine.rerun_orphans(10)
    assert stream_id not in await engine.log.run(engine.store.end_orphans, str, 10)
    pass_seconds(engine.store, base.RERUN_SECONDS)
    assert stream_id in await engine.log.run(engine.store.end_orphans, str, 10)


# What is kept for it


@pytest.mark.parametrize(
    ("tool", "changes", "is_kept"),
    [
        ("wait", {}, True),
        ("wait", {"accept": "application/json"}, False),
        ("wait", {"JSON_ONLY": True}, False),
        ("wait", {"is_recallable": False}, False),
        ("once", {}, False),
    ],
)
async def test_arguments_are_kept_of_what_can_run_again_alone(
    engine: Engine, settings: Settings, tool: str, changes: dict[str, Any], is_kept: bool
) -> None:
    changes = dict(changes)
    directory = Directory("ada", is_recallable=changes.pop("is_recallable", True))
    client = Client(server, authenticator=directory)
    await client.open()
    client.headers["accept"] = changes.pop("accept", client.headers["accept"])
    settings.STREAMABLE_HTTP = {**settings.STREAMABLE_HTTP, **changes}
    calling = asyncio.create_task(client.post("tools/call", {"name": tool, "arguments": {}}))
    await calls.until(lambda: any(stream.request_id for stream in engine.store._streams.values()))  # type: ignore[attr-defined]
    [stream] = [stream for stream in engine.store._streams.values() if stream.request_id]  # type: ignore[attr-defined]
    assert stream.arguments == ('{"name":"wait","arguments":{}}' if is_kept else "")
    release.set()
    await calling


async def test_arguments_of_a_call_that_cannot_be_resumed_are_not_kept(engine: Engine, settings: Settings) -> None:
    settings.STREAMABLE_HTTP = {**settings.STREAMABLE_HTTP, "MODE": "sessionless", "HISTORY": "all"}
    client = Client(server, authenticator=Directory("ada"))
    release.set()
    await client.open()
    await client.post("tools/call", {"name": "wait", "arguments": {}})
    await calls.until(lambda: bool(engine.store._streams))  # type: ignore[attr-defined]
    [stream] = engine.store._streams.values()  # type: ignore[attr-defined]
    assert (stream.method, stream.arguments) == ("tools/call", "")
    assert engine.reruns == {}


@pytest.mark.parametrize(
    ("facts", "headers", "client"),
    [
        ("", {}, ""),
        (
            json.dumps(
                {
                    "method": "POST",
                    "headers": {
                        "user-agent": "é",
                        "authorization": f"Token {redaction.MASK}",
                        "mcp-session-id": redaction.MASK,
                        "referer": f"/a?{redaction.MASK}",
                    },
                    "path": "/a/mcp",
                    "client": "10.0.0.1",
                }
            ),
            {"user-agent": "é"},
            "10.0.0.1",
        ),
    ],
)
async def test_a_request_has_the_headers_that_were_recorded_and_no_masks(
    engine: Engine, facts: str, headers: dict[str, str], client: str
) -> None:
    orphan = base.Orphan(
        stream_id=1,
        epoch=2,
        earliest=1,
        head=0,
        session=writing.facts(),
        log_level="info",
        request_id='"x\\ud800"',
        method="tools/call",
        arguments='{"name":"count","text":"\\ud800"}',
        facts=facts,
    )
    policy = protocol.Policy(mode=revisions.Mode.SESSIONS, max_depth=9, allowed_origins=frozenset())
    call = await reruns.recall(engine, orphan, principals.Anybody(), policy)
    assert call is not None
    assert call.admission.message == jsonrpc.Request("x\ud800", "tools/call", {"name": "count", "text": "\ud800"})
    assert dict(call.request.headers.mapping) == headers
    assert call.request.client == client
    assert call.request.path == ("/a/mcp" if facts else "/")
    assert call.is_rerun


# What is told


async def test_a_call_that_runs_again_is_told_of_as_such(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    stream_id = await orphaned(engine, "count", n=1)
    caplog.set_level(logging.INFO, "streamable_http.calls")
    with heard(signals.call_rerun, signals.call_started, signals.call_ended) as facts:
        await rerun(engine, stream_id)
        await settled(engine)
    assert [fact["signal"] for fact in facts] == [signals.call_rerun, signals.call_started, signals.call_ended]
    assert all(fact["is_rerun"] and fact["stream_id"] == stream_id for fact in facts)
    assert (facts[0]["name"], facts[0]["principal"]) == ("count", "ada")
    warning, record = [record for record in caplog.records if record.name == "streamable_http.calls"]
    assert warning.levelno == logging.WARNING
    assert "runs again" in warning.getMessage()
    assert record.mcp_is_rerun  # type: ignore[attr-defined]
