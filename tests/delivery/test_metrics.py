"""What OpenTelemetry is told, by real exchanges on real databases."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
from opentelemetry import metrics as api
from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader
from pytest_django import Settings

from streamable_http.delivery import engine as engines
from streamable_http.delivery import metrics
from streamable_http.server import CallFailed, Context, MCPServer, ToolError
from tests.delivery import calls
from tests.endpoint.client import Client, messages
from tests.services import ROOT

server = MCPServer("measured")


@server.tool()
async def add(a: int, b: int) -> int:
    """Add."""
    return a + b


@server.tool()
async def fail(how: str) -> str:
    """Fail."""
    raise ToolError("in band") if how == "band" else CallFailed(int(how), "by error")


@server.tool()
async def ask(ctx: Context) -> str:
    """Ask."""
    return (await ctx.elicit("?", {"type": "object", "properties": {}})).action


@server.prompt()
def greet() -> str:
    """Greet."""
    return "hello"


class Reader:
    """What was measured since it was read last; gauges as they are."""

    def __init__(self) -> None:
        delta = AggregationTemporality.DELTA
        self._reader = InMemoryMetricReader(preferred_temporality={Counter: delta, Histogram: delta})
        # Once a process; nothing else here measures.
        api.set_meter_provider(MeterProvider([self._reader]))

    def read(self) -> dict[str, list[Any]]:
        data = self._reader.get_metrics_data()
        if data is None:
            return {}
        scopes = [scope for resource in data.resource_metrics for scope in resource.scope_metrics]
        assert {scope.scope.name for scope in scopes} <= {"streamable_http", "opentelemetry-sdk"}
        return {
            metric.name: list(metric.data.data_points)
            for scope in scopes
            if scope.scope.name == "streamable_http"
            for metric in scope.metrics
        }

    def value(self, name: str) -> int:
        points = self.read().get(name, [])
        return sum(point.value for point in points)


@pytest.fixture(scope="module")
def global_reader() -> Reader:
    return Reader()


@pytest.fixture
async def engine(log_alias: str, settings: Settings) -> AsyncIterator[engines.Engine]:
    """The engine of this process; its log is in a database of the test's own."""
    settings.ALLOWED_HOSTS = ["localhost"]
    running = engines.current()
    await running.start()
    yield running
    await running.stop()
    engines._engine = None


@pytest.fixture
def reader(global_reader: Reader, engine: engines.Engine) -> Reader:
    assert metrics._look() is not None
    global_reader.read()
    return global_reader


async def operations(reader: Reader) -> list[tuple[dict[str, Any], int]]:
    points = reader.read().get("mcp.server.operation.duration", [])
    return [(dict(point.attributes), point.count) for point in points]


COMMON = {"mcp.protocol.version": "2025-11-25", "network.transport": "tcp", "network.protocol.name": "http"}


async def test_each_call_is_measured_as_the_conventions_say(reader: Reader) -> None:
    client = Client(server)
    await client.open()
    for _ in range(3):
        await client.call("add", a=1, b=2)
    [point] = reader.read()["mcp.server.operation.duration"]

    assert dict(point.attributes) == {
        **COMMON,
        "mcp.method.name": "tools/call",
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "add",
    }
    assert point.count == 3
    assert 0 < point.sum < 30
    assert point.explicit_bounds == metrics.SECONDS_BUCKETS


@pytest.mark.parametrize(
    ("how", "error"), [("band", "tool_error"), ("-32050", "-32050"), ("1001", "_OTHER"), ("1002", "_OTHER")]
)
async def test_a_failure_has_one_of_few_types(reader: Reader, how: str, error: str) -> None:
    client = Client(server)
    await client.open()
    await client.call("fail", how=how)

    [(attributes, count)] = await operations(reader)
    assert (attributes["error.type"], attributes["gen_ai.tool.name"], count) == (error, "fail", 1)


async def test_what_a_client_makes_up_is_no_attribute(reader: Reader) -> None:
    client = Client(server)
    await client.open()
    for number in range(5):
        await client.call(f"made up {number}")
        await client.post("prompts/get", {"name": f"made up {number}"})
        await client.post("resources/read", {"uri": f"made://up/{number}"})
        await client.post(f"made/up/{number}")

    found = await operations(reader)
    assert sorted((attributes["mcp.method.name"], count) for attributes, count in found) == [
        ("prompts/get", 5),
        ("resources/read", 5),
        ("tools/call", 5),
    ]
    assert "made" not in str(found)


async def test_a_prompt_is_named(reader: Reader) -> None:
    client = Client(server)
    await client.open()
    await messages(await client.post("prompts/get", {"name": "greet"}))

    [(attributes, _)] = await operations(reader)
    assert attributes["gen_ai.prompt.name"] == "greet"


async def test_commits_events_and_what_runs_are_counted(reader: Reader, engine: engines.Engine) -> None:
    client = Client(server)
    await client.open(elicitation={})
    message = {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "ask", "arguments": {}}}
    response = await client.send(message)
    await calls.until(lambda: reader.value("streamable_http.streams.followed") == 1)
    running = reader.read()
    await client.send({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 7}})
    await messages(response)
    await calls.until(lambda: not engine.running and not len(engine.follows))
    after = reader.read()

    assert [point.value for point in running["streamable_http.calls.running"]] == [1]
    assert [point.value for point in after["streamable_http.calls.running"]] == [0]
    assert [point.value for point in after["streamable_http.streams.followed"]] == [0]
    assert [point.value for point in after["streamable_http.records.dropped"]] == [0]
    assert [dict(point.attributes)["error.type"] for point in after["mcp.server.operation.duration"]] == ["cancelled"]


async def test_events_are_counted_when_they_are_committed(reader: Reader) -> None:
    client = Client(server)
    await client.open()
    for _ in range(4):
        await client.call("add", a=1, b=2)
    measured = reader.read()

    assert sum(point.value for point in measured["streamable_http.events.committed"]) == 4
    [commits] = measured["streamable_http.commit.duration"]
    assert commits.count >= 4
    assert commits.sum > 0


async def test_a_session_is_measured_at_its_end(reader: Reader) -> None:
    client = Client(server)
    await client.open()
    await client.request("DELETE")

    [point] = reader.read()["mcp.server.session.duration"]
    assert dict(point.attributes) == {"streamable_http.session.state": "terminated"}
    assert point.count == 1
    assert 0 <= point.sum < 60


def run(program: str) -> None:
    """Run it in a process that has no meter provider yet."""
    environment = {"DJANGO_SETTINGS_MODULE": "tests.settings", "PYTHONPATH": str(ROOT)}
    begin = "import django; django.setup()\nfrom opentelemetry import metrics as api\n"
    begin += "from opentelemetry.sdk.metrics import MeterProvider\nfrom streamable_http.delivery import metrics\n"
    subprocess.run([sys.executable, "-c", begin + program], env=environment, check=True, timeout=60)


def test_without_a_provider_nothing_is_made_and_the_first_one_counts() -> None:
    run("""
assert metrics.instruments() is None
api.set_meter_provider(MeterProvider())
metrics._next_look_at = 0
made = metrics.instruments()
assert made is not None and metrics.instruments() is made
""")


def test_a_provider_that_takes_nothing_is_none() -> None:
    run("api.set_meter_provider(api.NoOpMeterProvider())\nassert metrics.instruments() is None")
