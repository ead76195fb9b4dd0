"""The official Python client, ``mcp`` 2.x, in the handshake era."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import mcp
import mcp_types as types
import scenarios


class Client:
    """See ``scenarios.Client``."""

    def __init__(self, client: mcp.Client, seen: scenarios.Seen) -> None:
        self._client = client
        self._seen = seen
        self._lists = {
            "tools/list": client.list_tools,
            "resources/list": client.list_resources,
            "resources/templates/list": client.list_resource_templates,
            "prompts/list": client.list_prompts,
        }
        self.initialized = {
            "protocolVersion": client.protocol_version,
            "serverInfo": scenarios.wire(client.server_info),
            "capabilities": scenarios.wire(client.server_capabilities),
        }

    async def list(self, method: str) -> dict[str, Any]:
        return scenarios.wire(await self._lists[method]())

    async def call(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        return scenarios.wire(await self._client.call_tool(name, arguments, progress_callback=self._seen.see_progress))

    async def read(self, uri: str) -> dict[str, Any]:
        return scenarios.wire(await self._client.read_resource(uri))

    async def subscribe(self, uri: str) -> dict[str, Any]:
        return scenarios.wire(await self._client.subscribe_resource(uri))

    async def unsubscribe(self, uri: str) -> dict[str, Any]:
        return scenarios.wire(await self._client.unsubscribe_resource(uri))

    async def prompt(self, name: str, arguments: dict[str, str]) -> dict[str, Any]:
        return scenarios.wire(await self._client.get_prompt(name, arguments))

    async def complete(self, prompt: str, argument: str, value: str) -> dict[str, Any]:
        reference = types.PromptReference(name=prompt)
        return scenarios.wire(await self._client.complete(reference, {"name": argument, "value": value}))


@contextlib.asynccontextmanager
async def connect(url: str, seen: scenarios.Seen) -> AsyncIterator[Client]:
    async def elicit(context: Any, params: types.ElicitRequestParams) -> types.ElicitResult:
        seen.elicitations.append(scenarios.wire(params))
        return types.ElicitResult(action="accept", content=scenarios.NAME)

    async def sample(context: Any, params: types.CreateMessageRequestParams) -> types.CreateMessageResult:
        seen.samplings.append(scenarios.wire(params))
        return types.CreateMessageResult(
            role="assistant", content=types.TextContent(type="text", text="Hello"), model="test", stop_reason="endTurn"
        )

    async def roots(context: Any) -> types.ListRootsResult:
        return types.ListRootsResult(roots=[types.Root(uri=scenarios.ROOT, name="home")])

    client = mcp.Client(
        url,
        mode="legacy",
        elicitation_callback=elicit,
        sampling_callback=sample,
        list_roots_callback=roots,
        logging_callback=seen.see_log,
        message_handler=seen.see_message,
    )
    async with client:
        yield Client(client, seen)


if __name__ == "__main__":
    scenarios.main(connect)
