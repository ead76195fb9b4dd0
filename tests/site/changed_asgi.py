"""The same project with tools that have changed, for recordings that are to notice it."""

from streamable_http.server import Context
from tests.site.asgi import application
from tests.site.mcp import Answer, server

__all__ = ["application"]

for name in ("add", "ask", "count"):
    server.remove_tool(name)


@server.tool(annotations={"readOnlyHint": True})
async def add(a: int, b: int) -> int:
    """Add two numbers, and one."""
    return a + b + 1


@server.tool()
async def ask(ctx: Context) -> str:
    """Ask something else."""
    result = await ctx.elicit("Your first name?", Answer)
    return f"{result.action}: {result.data.name if result.data else None}"


@server.tool()
async def count(n: int, ctx: Context, delay_ms: float = 0) -> str:
    """Count only half of it."""
    for number in range(1, n // 2 + 1):
        await ctx.report_progress(number, n)
    return f"counted to {n}"
