"""The workloads' tools."""

from __future__ import annotations

import asyncio

from streamable_http.server import Context, MCPServer

server = MCPServer("bench", version="1.0")


@server.tool(annotations={"readOnlyHint": True})
async def add(a: int, b: int) -> int:
    """Add, at once."""
    return a + b


@server.tool(annotations={"readOnlyHint": True})
async def add_slowly(a: int, b: int) -> int:
    """Add after 5 ms."""
    await asyncio.sleep(0.005)
    return a + b


@server.tool()
async def add_unhinted(a: int, b: int) -> int:
    """Add; for all that the server knows, with effects, so that the call waits for its opening commit."""
    return a + b


@server.tool()
async def burst(n: int, size: int, ctx: Context) -> int:
    """Report progress ``n`` times, with ``size`` characters of text."""
    for number in range(n):
        await ctx.report_progress(number + 1, n, "x" * size or None)
    return n
