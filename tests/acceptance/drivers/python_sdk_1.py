"""The official Python client, ``mcp`` 1.x, which most installations still have."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import scenarios
from mcp import ClientSession, types
from mcp.client.streamable_http import streamable_http_client
from pydantic import AnyUrl


class Client:
    """See ``scenarios.Client``."""

    def __init__(self, session: ClientSession, initialized: types.InitializeResult, seen: scenarios.Seen) -> None:
        self._session = session
        self._seen = seen
        self._lists = {
            "tools/list": session.list_tools,
            "resources/list": session.list_resources,
            "resources/templates/list": session.list_resource_templates,
            "prompts/list": session.list_prompts,
        }
        self.initialized = scenarios.wire(initialized)

    async def list(self, method: str) -> dict[str, Any]:
        return scenarios.wire(await self._lists[method]())

    async def call(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        return scenarios.wire(
            await self._session.call_tool(name, arguments, progress_callback=self._seen.see_progress)
        )

    async def read(self, uri: str) -> dict[str, Any]:
        return scenarios.wire(await self._session.read_resource(AnyUrl(uri)))

    async def subscribe(self, uri: str) -> dict[str, Any]:
        return scenarios.wire(await self._session.subscribe_resource(AnyUrl(uri)))

    async def unsubscribe(self, uri: str) -> dict[str, Any]:
        return scenarios.wire(await self._session.unsubscribe_resource(AnyUrl(uri)))

    async def prompt(self, name: str, arguments: dict[str, str]) -> dict[str, Any]:
        return scenarios.wire(await self._session.get_prompt(name, arguments))

    async def complete(self, prompt: str, argument: str, value: str) -> dict[str, Any]:
        reference = types.PromptReference(type="ref/prompt", name=prompt)
        return scenarios.wire(await self._session.complete(reference, {"name": argument, "value": value}))


@contextlib.asynccontextmanager
async def connect(url: str, seen: scenarios.Seen) -> AsyncIterator[Client]:
    async def elicit(context: Any, params: types.ElicitRequestParams) -> types.ElicitResult:
        seen.elicitations.append(scenarios.wire(params))
        return types.ElicitResult(action="accept", content=dict(scenarios.NAME))

    async def sample(context: Any, params: types.CreateMessageRequestParams) -> types.CreateMessageResult:
        seen.samplings.append(scenarios.wire(params))
        return types.CreateMessageResult(
            role="assistant", content=types.TextContent(type="text", text="Hello"), model="test", stopReason="endTurn"
        )

    async def roots(context: Any) -> types.ListRootsResult:
        return types.ListRootsResult(roots=[types.Root(uri=AnyUrl(scenarios.ROOT), name="home")])

    async with (
        streamable_http_client(url) as (read, write, _),
        ClientSession(
            read,
            write,
            elicitation_callback=elicit,
            sampling_callback=sample,
            list_roots_callback=roots,
            logging_callback=seen.see_log,
            message_handler=seen.see_message,
        ) as session,
    ):
        yield Client(session, await session.initialize(), seen)


if __name__ == "__main__":
    scenarios.main(connect)
