"""An endpoint in this process, asked as a shell asks it."""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator
from typing import Any

from streamable_http.endpoint.endpoint import Endpoint
from streamable_http.endpoint.principals import Anybody, Authenticator, MakeGate, open_gate
from streamable_http.protocol import http, sse
from streamable_http.server import MCPServer

HEADERS = {"host": "localhost", "accept": "application/json, text/event-stream", "content-type": "application/json"}


class Client:
    """One client of an endpoint, with its session."""

    def __init__(
        self,
        server: MCPServer,
        *,
        revision: str = "2025-11-25",
        authenticator: Authenticator | None = None,
        gate: MakeGate = open_gate,
    ) -> None:
        self.endpoint = Endpoint(server, authenticator or Anybody(), gate)
        self.revision = revision
        self.headers = dict(HEADERS)
        self._ids = itertools.count(1)

    async def open(self, **capabilities: Any) -> http.Response:
        """Initialize; with sessions, the ones that follow are in the new one."""
        params = {
            "protocolVersion": self.revision,
            "capabilities": capabilities,
            "clientInfo": {"name": "test", "version": "1"},
        }
        response = await self.post("initialize", params)
        if response.status == 200:
            self.headers["mcp-protocol-version"] = self.revision
            if http.SESSION_ID in response.headers:
                self.headers["mcp-session-id"] = response.headers[http.SESSION_ID]
        return response

    async def post(self, method: str, params: dict[str, Any] | None = None) -> http.Response:
        """POST a request with the next id."""
        return await self.send({"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": params or {}})

    async def send(self, message: Any, **headers: str) -> http.Response:
        """POST whatever it is."""
        return await self.request("POST", json.dumps(message).encode(), **headers)

    async def request(self, method: str, body: bytes = b"", **headers: str) -> http.Response:
        """Send a request of any method."""
        named = {**self.headers, **{name.replace("_", "-"): value for name, value in headers.items()}}
        raw = [(name.encode(), value.encode()) for name, value in named.items()]
        asked = http.Request(method=method, path="/mcp", scheme="http", headers=http.Headers(raw), body=body)
        return await self.endpoint.handle(asked)

    async def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """Call a tool; the response."""
        return (await messages(await self.post("tools/call", {"name": tool, "arguments": arguments})))[-1]


async def messages(response: http.Response) -> list[Any]:
    """Return what a response says, JSON or events."""
    if response.headers.get(http.CONTENT_TYPE) != http.EVENT_STREAM:
        return [json.loads(response.body)] if response.body else []
    return [json.loads(event.data) async for event in events(response) if event.data]


async def events(response: http.Response) -> AsyncIterator[sse.Event]:
    """Read a response's events to its end."""
    decoder = sse.Decoder()
    for event in decoder.decode(response.body):
        yield event
    if response.stream is not None:
        async for chunk in response.stream:
            for event in decoder.decode(chunk):
                yield event
