"""FastMCP's client, in the handshake era.

It has no method to subscribe: that goes through the session of the official client, which it shows.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import fastmcp
import mcp_types as types
import scenarios
from fastmcp.client.elicitation import ElicitResult


class Client:
    """See ``scenarios.Client``."""

    def __init__(self, client: fastmcp.Client[Any]) -> None:
        self._client = client
        self._lists = {
            "tools/list": client.list_tools_mcp,
            "resources/list": client.list_resources_mcp,
            "resources/templates/list": client.list_resource_templates_mcp,
            "prompts/list": client.list_prompts_mcp,
        }
        self.initialized = scenarios.wire(client.initialize_result)

    async def list(self, method: str) -> dict[str, Any]:
        return scenarios.wire(await self._lists[method]())

    async def call(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        return scenarios.wire(await self._client.call_tool_mcp(name, arguments))

    async def read(self, uri: str) -> dict[str, Any]:
        return scenarios.wire(await self._client.read_resource_mcp(uri))

    async def subscribe(self, uri: str) -> dict[str, Any]:
        return scenarios.wire(await self._client.session.subscribe_resource(uri))

    async def unsubscribe(self, uri: str) -> dict[str, Any]:
        return scenarios.wire(await self._client.session.unsubscribe_resource(uri))

    async def prompt(self, name: str, arguments: dict[str, str]) -> dict[str, Any]:
        return scenarios.wire(await self._client.get_prompt_mcp(name, arguments))

    async def complete(self, prompt: str, argument: str, value: str) -> dict[str, Any]:
        reference = types.PromptReference(name=prompt)
        return scenarios.wire(await self._client.complete_mcp(reference, {"name": argument, "value": value}))


@contextlib.asynccontextmanager
async def connect(url: str, seen: scenarios.Seen) -> AsyncIterator[Client]:
    async def elicit(message: str, response_type: Any, params: types.ElicitRequestParams, context: Any) -> Any:
        seen.elicitations.append(scenarios.wire(params))
        return ElicitResult(action="accept", content=response_type(**scenarios.NAME))

    async def sample(messages: Any, params: types.CreateMessageRequestParams, context: Any) -> str:
        seen.samplings.append(scenarios.wire(params))
        return "Hello"

    client = fastmcp.Client(
        url,
        mode="legacy",
        roots=[scenarios.ROOT],
        elicitation_handler=elicit,
        sampling_handler=sample,
        log_handler=seen.see_log,
        message_handler=seen.see_message,
        progress_handler=seen.see_progress,
    )
    async with client:
        yield Client(client)


if __name__ == "__main__":
    scenarios.main(connect)
