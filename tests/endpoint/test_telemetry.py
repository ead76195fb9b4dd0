"""What is told of each call."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from django.dispatch import Signal
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from streamable_http import signals
from streamable_http.delivery.engine import Engine
from streamable_http.endpoint import principals, telemetry
from streamable_http.endpoint.calls import Call
from streamable_http.protocol import http, jsonrpc, revisions
from streamable_http.protocol import server as protocol
from streamable_http.server import CallFailed, Context, MCPServer, ToolError
from tests.delivery import calls
from tests.endpoint.client import Client, messages

server = MCPServer("told")

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@server.tool(annotations={"readOnlyHint": True})
async def add(a: int, b: int) -> int:
    """Add."""
    return a + b


@server.tool()
async def fail(how: str) -> str:
    """Fail."""
    raise ToolError("in band") if how == "band" else CallFailed(-32050, "by error")


@server.tool()
async def ask(ctx: Context) -> str:
    """Ask."""
    return (await ctx.elicit("?", {"type": "object", "properties": {}})).action


@contextlib.contextmanager
def heard(*watched: Signal) -> Iterator[list[dict[str, Any]]]:
    facts: list[dict[str, Any]] = []

    async def receiver(**sent: Any) -> None:
        facts.append({name: value for name, value in sent.items() if name != "sender"})

    for signal in watched:
        signal.connect(receiver)
    try:
        yield facts
    finally:
        for signal in watched:
            signal.disconnect(receiver)


async def settled(engine: Engine) -> None:
    """Wait until the receivers have run, which do so beside the calls."""
    await calls.until(lambda: not engine.tasks)


async def test_a_session_and_a_call_are_told_of_by_signals(engine: Engine) -> None:
    client = Client(server)
    with heard(signals.session_opened, signals.call_started, signals.call_ended, signals.session_ended) as facts:
        await client.open()
        await client.call("add", a=1, b=2)
        await settled(engine)
        await client.request("DELETE")
        await settled(engine)
    opened, started, ended, over = facts
    assert (opened["server"], opened["revision"], opened["principal"]) == ("told", "2025-11-25", "")
    session_id = opened["session_id"]
    assert started == {
        "signal": signals.call_started,
        "session_id": session_id,
        "stream_id": started["stream_id"],
        "method": "tools/call",
        "name": "add",
        "principal": "",
        "is_rerun": False,
    }
    assert (ended["outcome"], ended["error_code"], ended["stream_id"]) == ("result", None, started["stream_id"])
    assert 0 <= ended["duration_seconds"] < 5
    assert (over["session_id"], over["state"]) == (session_id, "terminated")


@pytest.mark.parametrize(("how", "outcome", "code"), [("band", "tool_error", None), ("error", "error", -32050)])
async def test_each_call_leaves_one_structured_log_record(
    how: str, outcome: str, code: int | None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "streamable_http.calls")
    client = Client(server)
    await client.open()
    await client.call("fail", how=how)
    [record] = [record for record in caplog.records if record.name == "streamable_http.calls"]
    assert (record.mcp_outcome, record.mcp_error_code, record.mcp_name) == (outcome, code, "fail")  # type: ignore[attr-defined]
    assert record.mcp_method == "tools/call"  # type: ignore[attr-defined]
    assert record.getMessage().startswith(f"tools/call fail: {outcome} in ")


@pytest.mark.parametrize("member", ["name", "uri"])
async def test_a_client_writes_nothing_of_its_own_into_the_log(member: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "streamable_http.calls")
    client = Client(server)
    await client.open()
    method = "tools/call" if member == "name" else "resources/read"
    with heard(signals.call_ended) as facts:
        await client.post(method, {member: "é\r\nERROR \x1b[31m\x00\x9b\u2028\u202e\ud800"})
        await calls.until(lambda: bool(facts))
    told = r"é\r\nERROR \x1b[31m\x00\x9b\u2028\u202e\ud800"
    [record] = [record for record in caplog.records if record.name == "streamable_http.calls"]
    assert record.getMessage().startswith(f"{method} {told}: error in ")
    assert record.mcp_name == told  # type: ignore[attr-defined]
    assert facts[0]["name"] == told


async def test_a_cancelled_call_is_told_of_as_such(engine: Engine) -> None:
    client = Client(server)
    await client.open(elicitation={})
    with heard(signals.call_ended, signals.ask_sent, signals.ask_answered) as facts:
        response = await client.send(
            {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "ask", "arguments": {}}}
        )
        await calls.until(lambda: bool(facts))
        await client.send({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 7}})
        assert [message["method"] for message in await messages(response)] == ["elicitation/create"]
        await settled(engine)
    by_signal = {fact["signal"]: fact for fact in facts}
    assert by_signal[signals.ask_sent]["method"] == "elicitation/create"
    assert by_signal[signals.ask_answered]["is_error"]
    assert by_signal[signals.call_ended]["outcome"] == "cancelled"


@pytest.fixture(scope="module")
def exporter() -> InMemorySpanExporter:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    # Once a process; nothing else here makes spans.
    trace.set_tracer_provider(provider)
    return exporter


@pytest.mark.parametrize("where", ["_meta", "headers"])
async def test_a_call_is_a_span_in_its_callers_trace(exporter: InMemorySpanExporter, where: str) -> None:
    exporter.clear()
    client = Client(server)
    await client.open()
    params: dict[str, Any] = {"name": "add", "arguments": {"a": 1, "b": 2}}
    if where == "_meta":
        params["_meta"] = {"traceparent": TRACEPARENT}
    else:
        client.headers["traceparent"] = TRACEPARENT
    await client.post("tools/call", params)
    [span] = exporter.get_finished_spans()
    assert span.name == "tools/call add"
    assert f"{span.context.trace_id:032x}" == TRACEPARENT.split("-")[1]
    assert span.parent is not None
    assert f"{span.parent.span_id:016x}" == TRACEPARENT.split("-")[2]
    assert span.attributes is not None
    assert span.attributes["mcp.method.name"] == "tools/call"
    assert span.attributes["gen_ai.tool.name"] == "add"
    assert client.headers["mcp-session-id"] not in str(dict(span.attributes))


@pytest.mark.parametrize("is_rerun", [False, True])
async def test_a_call_that_runs_again_is_marked_in_its_span(
    exporter: InMemorySpanExporter, engine: Engine, is_rerun: bool
) -> None:
    exporter.clear()
    request = http.Request(method="POST", path="/", scheme="http", headers=http.Headers([]))
    policy = protocol.Policy(mode=revisions.Mode.SESSIONS, max_depth=9, allowed_origins=frozenset())
    request.body = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'
    admission = protocol.readmit(request, policy, revision="2025-11-25")
    facts = revisions.FACTS["2025-11-25", policy.mode]
    call = Call(engine, request, admission, principals.ANONYMOUS, facts, None, is_rerun=is_rerun)
    observation = telemetry.Observation(call, server, jsonrpc.Request(1, "ping"))
    observation.start(1)
    with observation.span():
        observation.end(telemetry.RESULT)
    [span] = exporter.get_finished_spans()
    assert span.attributes is not None
    assert span.attributes.get("streamable_http.rerun", False) is is_rerun


async def test_a_failed_call_is_a_failed_span(exporter: InMemorySpanExporter) -> None:
    exporter.clear()
    client = Client(server)
    await client.open()
    await client.call("fail", how="error")
    [span] = exporter.get_finished_spans()
    assert not span.status.is_ok
    assert span.attributes is not None
    assert span.attributes["rpc.jsonrpc.error_code"] == -32050


async def test_a_span_has_only_text_that_can_be_exported(exporter: InMemorySpanExporter) -> None:
    exporter.clear()
    client = Client(server)
    await client.open()
    message = {"jsonrpc": "2.0", "id": "\ud800\n", "method": "tools/call", "params": {"name": "\ud800\n"}}
    [answer] = await messages(await client.send(message))
    assert answer["error"]["code"] == -32602
    [span] = exporter.get_finished_spans()
    assert span.attributes is not None
    for attribute in ("jsonrpc.request.id", "gen_ai.tool.name"):
        assert span.attributes[attribute] == r"\ud800\n"
    assert span.name == r"tools/call \ud800\n"
