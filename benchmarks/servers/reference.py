"""The official Python SDK, set up as its documentation does: what every ratio is against.

``stateless`` answers by JSON without sessions (W1); ``stateful`` has sessions, answers by event streams and
keeps its events in memory (W2, W3, W5).
"""

from __future__ import annotations

import asyncio

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.streamable_http import EventCallback, EventMessage, EventStore
from mcp_types import JSONRPCMessage


class MemoryEventStore(EventStore):
    """Events in lists, one per stream: to store one is to append it, to replay is to go on from an index."""

    def __init__(self) -> None:
        self._streams: dict[str, list[JSONRPCMessage | None]] = {}

    async def store_event(self, stream_id: str, message: JSONRPCMessage | None) -> str:
        events = self._streams.setdefault(stream_id, [])
        events.append(message)
        return f"{stream_id}.{len(events) - 1}"

    async def replay_events_after(self, last_event_id: str, send_callback: EventCallback) -> str | None:
        stream_id, _, index = last_event_id.rpartition(".")
        events = self._streams.get(stream_id)
        if events is None:
            return None
        for number in range(int(index) + 1, len(events)):
            message = events[number]
            if message is not None:
                await send_callback(EventMessage(message, f"{stream_id}.{number}"))
        return stream_id


def make_server() -> MCPServer:
    """Return a server with the workloads' tools."""
    server = MCPServer("reference", version="1.0", log_level="WARNING")

    @server.tool()
    async def add(a: int, b: int) -> int:
        return a + b

    @server.tool()
    async def add_slowly(a: int, b: int) -> int:
        await asyncio.sleep(0.005)
        return a + b

    @server.tool()
    async def burst(n: int, size: int, ctx: Context) -> int:
        for number in range(n):
            await ctx.report_progress(number + 1, n, "x" * size or None)
        return n

    return server


stateless = make_server().streamable_http_app(stateless_http=True, json_response=True)
stateful = make_server().streamable_http_app(event_store=MemoryEventStore())
