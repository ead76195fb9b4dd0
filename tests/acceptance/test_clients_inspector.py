"""The MCP Inspector's ``--cli``: one session for each command, as a person debugs a server.

It reads, calls and sets the log level. It shows no progress, has no method for completions, subscriptions and roots,
declares no capability that a server could ask for, resumes nothing that a person could see, and does not end its
sessions. What a server may ask of it is therefore that it is told why it cannot be asked.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import node, services
from tests.acceptance.conftest import RunningSite
from tests.acceptance.drivers import clients

pytestmark = [
    pytest.mark.acceptance,
    # It says nothing of the database: once is enough. The first test may have to install it.
    pytest.mark.parametrize("_module_site", ["sqlite"], indirect=True),
    pytest.mark.timeout(services.INSTALL_TIMEOUT_SECONDS + 60),
]

PROGRAM = Path("@modelcontextprotocol", "inspector", "clients", "launcher", "build", "index.js")

TIMEOUT_SECONDS = 30

# Its exit status when a server answered with an error.
REFUSED = 5

Inspect = Callable[..., tuple[int, Any]]


@pytest.fixture(scope="module")
def inspector() -> list[str]:
    """What starts the Inspector."""
    try:
        return [str(node.node_path()), str(node.npm_install(clients.HERE) / PROGRAM), "--cli"]
    except services.ServiceUnavailable as error:
        pytest.skip(str(error))


@pytest.fixture
def inspect(inspector: list[str], site: RunningSite, tmp_path: Path) -> Inspect:
    """A function that runs one method and returns the exit status with the result, or the error, that was printed."""

    def run(method: str, *options: str) -> tuple[int, Any]:
        done = subprocess.run(
            [*inspector, site.mcp_url, "--transport", "http", "--format", "json", "--method", method, *options],
            # It keeps files in the home directory.
            env={**node.environment(), "HOME": str(tmp_path)},
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT_SECONDS,
        )
        printed = json.loads(done.stdout or done.stderr)
        return done.returncode, printed["result"] if "result" in printed else printed["error"]

    return run


def test_initializes(inspect: Inspect) -> None:
    status, result = inspect("initialize")
    assert status == 0
    assert result["protocolVersion"] == "2025-11-25"
    assert result["serverInfo"]["name"] == "site"
    assert result["capabilities"]["resources"] == {"listChanged": True, "subscribe": True}


def test_lists(inspect: Inspect) -> None:
    assert "add" in names(inspect("tools/list"), "tools", "name")
    assert "site://greeting" in names(inspect("resources/list"), "resources", "uri")
    assert "site://lines/{number}" in names(inspect("resources/templates/list"), "resourceTemplates", "uriTemplate")
    assert "greet" in names(inspect("prompts/list"), "prompts", "name")


def test_finds_nothing_wrong_with_the_tools(inspect: Inspect) -> None:
    status, _ = inspect("tools/list", "--strict")
    assert status == 0


def test_calls_a_tool(inspect: Inspect) -> None:
    status, result = inspect("tools/call", "--tool-name", "add", "--tool-arg", "a=2", "b=3")
    assert (status, result["structuredContent"]) == (0, {"result": 5})


def test_calls_a_tool_that_streams(inspect: Inspect) -> None:
    status, result = inspect("tools/call", "--tool-name", "count", "--tool-arg", "n=3")
    assert (status, result["content"]) == (0, [{"type": "text", "text": "counted to 3"}])


def test_is_told_what_was_wrong(inspect: Inspect) -> None:
    status, result = inspect("tools/call", "--tool-name", "add", "--tool-args-json", '{"a": "two", "b": 3}')
    assert (status, result["isError"]) == (REFUSED, True)
    assert "a: input should be a valid integer" in result["content"][0]["text"]


def test_is_told_that_it_cannot_be_asked(inspect: Inspect) -> None:
    status, result = inspect("tools/call", "--tool-name", "ask")
    assert (status, result["isError"]) == (REFUSED, True)
    assert "does not support elicitation" in result["content"][0]["text"]


def test_reads_resources(inspect: Inspect) -> None:
    status, result = inspect("resources/read", "--uri", "site://greeting")
    assert (status, [content["text"] for content in result["contents"]]) == (0, ["Hello"])
    status, result = inspect("resources/read", "--uri", "site://lines/7")
    assert (status, [content["text"] for content in result["contents"]]) == (0, ["line 7"])
    status, error = inspect("resources/read", "--uri", "site://nowhere")
    assert status != 0
    assert "resource not found" in error["message"]


def test_gets_a_prompt(inspect: Inspect) -> None:
    status, result = inspect("prompts/get", "--prompt-name", "greet", "--prompt-args", "name=Ada")
    assert status == 0
    assert result["messages"] == [{"role": "user", "content": {"type": "text", "text": "Greet Ada"}}]


def test_sets_the_log_level(inspect: Inspect) -> None:
    assert inspect("logging/setLevel", "--log-level", "debug") == (0, {})


def names(shown: tuple[int, Any], member: str, key: str) -> list[str]:
    """Return what a list's entries are called."""
    status, result = shown
    assert status == 0
    return [entry[key] for entry in result[member]]
