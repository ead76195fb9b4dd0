"""Clients that others wrote, in processes of their own: what each can do, what it survives, and what it cannot.

All do the same (``drivers/scenarios.py``): the official Python client 2.x and 1.x, FastMCP's, and the official
TypeScript client. They show what is theirs to show, therefore:

- the Python client 2.x does not show the whole result of ``initialize``, but every part that is looked at here;
- FastMCP's has no method to subscribe: those requests go through the official session under it;
- none resumes by hand: each resumes by itself, as an application gets it.

The Inspector is in ``test_clients_inspector.py``.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests import services
from tests.acceptance.conftest import Site, site_database
from tests.acceptance.drivers import clients
from tests.acceptance.proxy import CuttingProxy
from tests.conftest import SERVERS
from tests.services import ServerProcess, ServiceUnavailable

# The first test may have to install the clients.
pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(services.INSTALL_TIMEOUT_SECONDS + 120)]

REVISION = "2025-11-25"
INVALID_PARAMS = -32602
RESOURCE_NOT_FOUND = -32002
WORKER_LOST = -32000

# Three seconds, the default, but for the clients of a server that starts while other tests keep the machine busy:
# the Python clients try once to get their listening stream back.
RETRY_MS_FOR_RESTART = 6_000


@dataclass(frozen=True)
class Observed:
    """What all clients saw in one scenario, at one server."""

    site: Site
    server: ServerProcess
    by_client: dict[str, dict[str, Any]]

    def rows(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Return what a query finds in the server's database."""
        return self.site.rows(query, *parameters)


@pytest.fixture(scope="module")
def commands() -> dict[str, list[str] | ServiceUnavailable]:
    """What starts each client's driver, or why it cannot be installed."""
    with ThreadPoolExecutor() as pool:
        return dict(zip(clients.CLIENTS, pool.map(_command, clients.CLIENTS.values()), strict=True))


def _command(client: clients.PythonClient | clients.NodeClient) -> list[str] | ServiceUnavailable:
    try:
        return client.command()
    except ServiceUnavailable as error:
        return error


class Fleet:
    """All clients that can be had, and a server for them."""

    def __init__(self, site: Site, server: ServerProcess, commands: dict[str, list[str]], logs: Path) -> None:
        self.site = site
        self.server = server
        self.commands = commands
        self._logs = logs

    def started(self, name: str, scenario: str, base: str) -> contextlib.AbstractAsyncContextManager[clients.Driver]:
        """Start one client's driver."""
        return clients.started(self.commands[name], scenario, f"{base}/mcp", log=self._logs / f"{scenario}-{name}.log")

    def observe(self, seeing: Coroutine[Any, Any, dict[str, dict[str, Any]]]) -> Observed:
        """Run what gives what each client saw."""
        return Observed(self.site, self.server, asyncio.run(seeing))


@pytest.fixture(scope="module")
def new_fleet(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    commands: dict[str, list[str] | ServiceUnavailable],
) -> Iterator[Any]:
    """A function that gives all clients a new server."""
    available = {name: command for name, command in commands.items() if isinstance(command, list)}
    with contextlib.ExitStack() as stack:

        def new(**settings: Any) -> Fleet:
            logs = tmp_path_factory.mktemp("fleet")

            def start(application: str, **options: Any) -> ServerProcess:
                process = ServerProcess(application, log=logs / "server.log", **options)
                return stack.enter_context(services.serving(process))

            site = Site(stack.enter_context(site_database(request, "sqlite")), start)
            return Fleet(site, site.serve(settings=settings), available, logs)

        yield new


# The scenarios: all clients at the same time


@pytest.fixture(scope="module")
def tours(new_fleet: Any) -> Observed:
    fleet = new_fleet()

    async def toured(name: str) -> dict[str, Any]:
        async with fleet.started(name, "tour", fleet.server.url) as driver:
            return await driver.next()

    return fleet.observe(_all(fleet, toured))


@pytest.fixture(scope="module")
def refusals(new_fleet: Any) -> Observed:
    fleet = new_fleet(RETRY_MS=100)

    async def seen(name: str) -> dict[str, Any]:
        async with fleet.started(name, "refused", fleet.server.url) as driver:
            return await driver.next()

    return fleet.observe(_all(fleet, seen))


@pytest.fixture(scope="module")
def cuts(new_fleet: Any) -> Observed:
    fleet = new_fleet(RETRY_MS=200)

    async def seen(name: str) -> dict[str, Any]:
        async with (
            CuttingProxy(fleet.server.port).running() as proxy,
            fleet.started(name, "cut", proxy.url) as driver,
        ):
            await driver.next()
            proxy.cut()
            return await driver.next()

    return fleet.observe(_all(fleet, seen))


@pytest.fixture(scope="module")
def kills(new_fleet: Any) -> Observed:
    fleet = new_fleet(RETRY_MS=RETRY_MS_FOR_RESTART, LEASE_SECONDS=3, HEARTBEAT_SECONDS=1)

    async def seen() -> dict[str, dict[str, Any]]:
        async with contextlib.AsyncExitStack() as stack:
            drivers = {
                name: await stack.enter_async_context(fleet.started(name, "killed", fleet.server.url))
                for name in fleet.commands
            }
            await asyncio.gather(*(driver.next() for driver in drivers.values()))
            fleet.server.kill()
            fleet.server.start()
            results = await asyncio.gather(*(driver.next() for driver in drivers.values()))
            return dict(zip(drivers, results, strict=True))

    return fleet.observe(seen())


async def _all(fleet: Fleet, seeing: Any) -> dict[str, dict[str, Any]]:
    return dict(zip(fleet.commands, await asyncio.gather(*map(seeing, fleet.commands)), strict=True))


@pytest.fixture(params=clients.CLIENTS)
def client(request: pytest.FixtureRequest, commands: dict[str, list[str] | ServiceUnavailable]) -> str:
    """The name of a client."""
    command = commands[request.param]
    if isinstance(command, ServiceUnavailable):
        pytest.skip(str(command))
    return request.param


@pytest.fixture
def toured(request: pytest.FixtureRequest, client: str, tours: Observed) -> dict[str, Any]:
    """What a client saw that used everything once."""
    return _shown(request, client, tours)


@pytest.fixture
def refused(request: pytest.FixtureRequest, client: str, refusals: Observed) -> dict[str, Any]:
    """What a client saw whose call failed, and who then did nothing for a while."""
    return _shown(request, client, refusals)


@pytest.fixture
def cut(request: pytest.FixtureRequest, client: str, cuts: Observed) -> dict[str, Any]:
    """What a client saw whose connections were cut in the middle of a call."""
    return _shown(request, client, cuts)


@pytest.fixture
def killed(request: pytest.FixtureRequest, client: str, kills: Observed) -> dict[str, Any]:
    """What a client saw whose server was killed in the middle of a call, and started again."""
    return _shown(request, client, kills)


def _shown(request: pytest.FixtureRequest, client: str, observed: Observed) -> dict[str, Any]:
    request.node.stash.setdefault(SERVERS, []).append(observed.server)
    return observed.by_client[client]


# What each can do


def test_initializes(toured: dict[str, Any]) -> None:
    initialized = toured["initialize"]
    assert initialized["protocolVersion"] == REVISION
    assert initialized["serverInfo"]["name"] == "site"
    assert initialized["capabilities"] == {
        "completions": {},
        "logging": {},
        "prompts": {"listChanged": True},
        "resources": {"listChanged": True, "subscribe": True},
        "tools": {"listChanged": True},
    }


def test_lists(toured: dict[str, Any]) -> None:
    tools = {tool["name"]: tool for tool in toured["tools/list"]["tools"]}
    assert tools["add"]["annotations"]["readOnlyHint"] is True
    assert set(tools["add"]["inputSchema"]["properties"]) == {"a", "b"}
    assert "site://greeting" in [resource["uri"] for resource in toured["resources/list"]["resources"]]
    templates = toured["resources/templates/list"]["resourceTemplates"]
    assert "site://lines/{number}" in [template["uriTemplate"] for template in templates]
    prompts = {prompt["name"]: prompt for prompt in toured["prompts/list"]["prompts"]}
    assert [(argument["name"], argument["required"]) for argument in prompts["greet"]["arguments"]] == [("name", True)]


def test_calls_a_tool(toured: dict[str, Any]) -> None:
    assert toured["call"]["structuredContent"] == {"result": 5}
    assert text_of(toured["call"]) == "5"


def test_sees_all_progress(toured: dict[str, Any]) -> None:
    assert text_of(toured["call with progress"]) == "counted to 5"
    assert toured["seen"]["progress"] == [[number, 5] for number in range(1, 6)]


def test_is_told_what_was_wrong(toured: dict[str, Any]) -> None:
    assert toured["call with wrong arguments"]["isError"] is True
    assert "a: input should be a valid integer" in text_of(toured["call with wrong arguments"])
    assert toured["call of an unknown tool"]["error"]["code"] == INVALID_PARAMS
    assert "unknown tool: nonesuch" in toured["call of an unknown tool"]["error"]["message"]


def test_answers_an_elicitation(toured: dict[str, Any]) -> None:
    assert text_of(toured["elicitation"]) == "accept: Ada"
    (question,) = toured["seen"]["elicitations"]
    assert question["message"] == "Your name?"
    assert question["requestedSchema"]["properties"]["name"]["type"] == "string"


def test_samples(toured: dict[str, Any]) -> None:
    assert text_of(toured["sampling"]) == "Hello"
    (question,) = toured["seen"]["samplings"]
    assert question["maxTokens"] == 100
    # One block or a list of them: each client shows what it makes of it.
    assert "Say hello" in json.dumps(question["messages"])


def test_shows_its_roots(toured: dict[str, Any]) -> None:
    assert text_of(toured["roots"]) == "file:///home/ada"


def test_reads_resources(toured: dict[str, Any]) -> None:
    assert [content["text"] for content in toured["read"]["contents"]] == ["Hello"]
    assert [(content["uri"], content["text"]) for content in toured["read a template"]["contents"]] == [
        ("site://lines/7", "line 7")
    ]
    assert toured["read an unknown resource"]["error"]["code"] == RESOURCE_NOT_FOUND


def test_gets_a_prompt(toured: dict[str, Any]) -> None:
    (message,) = toured["prompt"]["messages"]
    assert message == {"role": "user", "content": {"type": "text", "text": "Greet Ada"}}


def test_completes_an_argument(toured: dict[str, Any]) -> None:
    assert toured["completion"]["completion"]["values"] == ["Ada", "Alan"]


def test_hears_of_what_it_subscribed_to_until_it_unsubscribes(toured: dict[str, Any]) -> None:
    assert "error" not in toured["subscribe"]
    assert "error" not in toured["unsubscribe"]
    assert len(toured["seen"]["updated"]) == 1
    assert toured["seen"]["logs"] == [1, 2]


def test_leaving_ends_the_session(toured: dict[str, Any], tours: Observed) -> None:
    assert {state for (state,) in tours.rows("SELECT state FROM streamable_http_session")} == {"terminated"}


def test_is_quiet_after_a_call_that_failed(refused: dict[str, Any], refusals: Observed) -> None:
    assert refused["call of an unknown tool"]["error"]["code"] == INVALID_PARAMS
    # Each listens; the TypeScript client asks once more, and is told that there is nothing.
    assert refusals.server.output.count('"GET /mcp') <= len(refusals.by_client) + 1


# What each survives


def test_resumes_what_a_network_cut(cut: dict[str, Any]) -> None:
    assert text_of(cut["interrupted call"]) == "counted to 150"
    assert [progress for progress, _ in cut["seen"]["progress"]] == list(range(1, 151))
    assert cut["call"]["structuredContent"] == {"result": 5}


def test_listens_again_after_a_cut(cut: dict[str, Any], cuts: Observed) -> None:
    assert len(cut["seen"]["updated"]) == 1
    assert_one_session_each(cuts)


def test_learns_that_a_killed_server_lost_its_call(killed: dict[str, Any]) -> None:
    assert killed["interrupted call"]["error"]["code"] == WORKER_LOST
    steps = [progress for progress, _ in killed["seen"]["progress"]]
    assert steps == list(range(1, len(steps) + 1))
    assert len(steps) >= 20


def test_goes_on_after_a_restart(killed: dict[str, Any], kills: Observed) -> None:
    assert killed["call"]["structuredContent"] == {"result": 5}
    # The subscription was kept, and the listening stream came back.
    assert len(killed["seen"]["updated"]) == 1
    assert_one_session_each(kills)


def text_of(result: dict[str, Any]) -> str:
    """Return the text of a tool's result, which is one block."""
    (block,) = result.get("content", [result])
    return block["text"] if "text" in block else str(block)


def assert_one_session_each(observed: Observed) -> None:
    """Nobody had to begin anew."""
    ((sessions,),) = observed.rows("SELECT count(*) FROM streamable_http_session")
    assert sessions == len(observed.by_client)
