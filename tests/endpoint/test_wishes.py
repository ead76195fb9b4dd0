"""What a client sends never fails in the store, whatever characters it has."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pytest_django import Settings

from streamable_http.delivery import engine as engines
from streamable_http.delivery.engine import Engine
from streamable_http.server import MCPServer, templates
from tests.endpoint.client import Client, messages

server = MCPServer("wishes", page_size=1)


@server.tool()
async def echo(text: str = "") -> str:
    """Give the text back."""
    return text


@server.tool()
async def other() -> str:
    """Make a second page."""
    return ""


@server.resource("test://{+path}")
async def read(path: str) -> str:
    """Give the path back."""
    return path


@server.prompt()
def greet(who: str) -> str:
    """Greet."""
    return f"hello {who}"


@server.completion(prompt="greet", argument="who")
async def complete_who(value: str) -> list[str]:
    """Give it back."""
    return [value]


@pytest.fixture(autouse=True)
async def engine(log_alias: str, settings: Settings) -> AsyncIterator[Engine]:
    """The engine of the endpoints, on real databases."""
    settings.ALLOWED_HOSTS = ["localhost"]
    running = engines.current()
    yield running
    await running.stop()
    engines._engine = None


STRANGE = {
    "NUL": "\0",
    "lone surrogate": "\ud800",
    "both": "a\0\udfff",
    "long in bytes": "\U0001f4d6" * 20_000,
    "long when escaped": "\ud800" * 20_000,
    "not a character": "\uffff\u202e\x1b\r\n",
}

NOT_KEPT = [STRANGE[name] for name in ("NUL", "lone surrogate", "both", "long when escaped")]


@pytest.fixture
async def client(caplog: pytest.LogCaptureFixture) -> AsyncIterator[Client]:
    made = Client(server)
    await made.open()
    yield made
    # And the session is well.
    assert (await made.call("echo", text="well"))["result"]["content"][0]["text"] == "well"
    assert not [record for record in caplog.get_records("call") if record.levelno >= logging.ERROR]


async def answer(client: Client, method: str, **params: Any) -> dict[str, Any]:
    response = await client.post(method, params)
    assert response.status == 200
    found: dict[str, Any] = (await messages(response))[-1]
    return found


async def test_row_4_a_uri_that_cannot_be_kept_is_refused(client: Client) -> None:
    for text in STRANGE.values():
        for method in ("resources/subscribe", "resources/unsubscribe"):
            told = await answer(client, method, uri=f"test://{text}")
            if text in NOT_KEPT:
                assert told["error"]["code"] == -32602
            elif method == "resources/subscribe" and len(text) > templates.MAX_URI_CHARACTERS:
                assert told["error"]["code"] == -32002
            else:
                assert told["result"] == {}


async def test_row_4_names_cursors_levels_and_arguments_are_answered(client: Client) -> None:
    for text in STRANGE.values():
        codes = {
            "name": (await answer(client, "tools/call", name=text))["error"]["code"],
            "prompt": (await answer(client, "prompts/get", name=text))["error"]["code"],
            "uri": (await answer(client, "resources/read", uri=text))["error"]["code"],
            "level": (await answer(client, "logging/setLevel", level=text))["error"]["code"],
            "tools": (await answer(client, "tools/list", cursor=text))["error"]["code"],
            "prompts": (await answer(client, "prompts/list", cursor=text))["error"]["code"],
            "templates": (await answer(client, "resources/templates/list", cursor=text))["error"]["code"],
        }
        assert codes == {**dict.fromkeys(codes, -32602), "uri": -32002}
        told = await answer(
            client,
            "completion/complete",
            ref={"type": "ref/prompt", "name": "greet"},
            argument={"name": "who", "value": text},
        )
        assert told["result"]["completion"]["values"] == [text]
        for reference in ({"type": "ref/prompt", "name": text}, {"type": "ref/resource", "uri": text}):
            told = await answer(client, "completion/complete", ref=reference, argument={"name": text, "value": text})
            assert told["error"]["code"] == -32602
        told = await answer(client, "prompts/get", name="greet", arguments={"who": text})
        assert told["result"]["messages"][0]["content"]["text"] == f"hello {text}"
        assert (await answer(client, "tools/call", name="echo", arguments={"text": text}))["result"]["content"] == [
            {"type": "text", "text": text}
        ]


async def test_row_4_request_ids_are_taken_or_refused(client: Client) -> None:
    for text in STRANGE.values():
        for request_id in (text, text[:256]):
            message = {"jsonrpc": "2.0", "id": request_id, "method": "tools/call", "params": {"name": "echo"}}
            response = await client.send(message)
            if len(request_id) > 256:
                assert response.status == 400
            else:
                assert response.status == 200
                assert (await messages(response))[-1]["id"] == request_id


async def test_row_4_what_nobody_waits_for_is_taken(client: Client) -> None:
    for text in STRANGE.values():
        for request_id in (text, {text: [text]}, None, 1.5, 2**70, [[]]):
            params = {"requestId": request_id, "reason": text}
            message = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}
            assert (await client.send(message)).status == 202
        assert (await client.send({"jsonrpc": "2.0", "id": text[:256], "result": {text: text}})).status == 202
        assert (await client.send({"jsonrpc": "2.0", "method": text[:256], "params": {text: text}})).status == 202
        assert (await answer(client, text[:256]))["error"]["code"] == -32601


async def test_row_4_a_client_may_be_called_what_it_likes() -> None:
    for text in STRANGE.values():
        params = {
            "protocolVersion": "2025-11-25",
            "capabilities": {"experimental": {text: {"x": text}}},
            "clientInfo": {"name": text, "version": text},
        }
        client = Client(server)
        response = await client.post("initialize", params)
        if len(text) > 10_000:
            # Over the limit of what is kept.
            assert response.status == 400
            continue
        assert response.status == 200
        client.headers["mcp-session-id"] = response.headers["mcp-session-id"]
        told = await client.post("tools/list")
        assert json.loads(told.body)["result"]["nextCursor"]
