"""Tools that count, wait, ask and write, so that tests can tell what arrived and in which order."""

from __future__ import annotations

import asyncio
import os
import threading
import time

from django.db import transaction
from pydantic import BaseModel

from streamable_http.delivery import engine, poller
from streamable_http.protocol import jsonrpc
from streamable_http.server import CallCancelled, Context, MCPServer, SyncContext, TextContent, ToolError
from tests.site import misbehavior
from tests.site.models import Line

server = MCPServer("site", version="1.0")

counting: set[object] = set()
"""The calls of ``count`` that run in this process."""

released = threading.Event()
"""Whether database connections are held no longer in this process."""


class Answer(BaseModel):
    """What a user answers."""

    name: str


@server.tool(annotations={"readOnlyHint": True})
async def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@server.tool(annotations={"readOnlyHint": True})
async def look(seconds: float, ctx: Context) -> str:
    """Look around for so long, and change nothing."""
    await ctx.report_progress(1)
    await asyncio.sleep(seconds)
    return "looked"


@server.tool()
async def whoami() -> int:
    """Tell which process runs the tool."""
    return os.getpid()


@server.tool()
async def count(n: int, ctx: Context, delay_ms: float = 0) -> str:
    """Report progress from 1 to n."""
    call = object()
    counting.add(call)
    try:
        for number in range(1, n + 1):
            await ctx.report_progress(number, n)
            if delay_ms:
                await asyncio.sleep(delay_ms / 1000)
    finally:
        counting.discard(call)
    return f"counted to {n}"


@server.tool(annotations={"idempotentHint": True}, on_worker_loss="rerun")
async def count_again(n: int, ctx: Context, delay_ms: float = 0, asks: bool = False) -> str:
    """Report progress from 1 to n, and again where the worker dies; ask the user first or not."""
    if asks:
        await ctx.elicit("Your name?", Answer)
    return await count(n, ctx, delay_ms)


@server.tool()
async def running() -> int:
    """Tell how many calls of ``count`` run in the process that runs this."""
    return len(counting)


@server.tool()
async def announce(n: int, ctx: Context, delay_ms: float = 0, mark: str = "") -> str:
    """Append n log messages to the session's listening stream; they bear the mark, if there is one."""
    session_id = ctx._outlet._session.id  # the public way comes with notifications
    for number in range(1, n + 1):
        params = {"level": "info", "data": f"{mark} {number}" if mark else number}
        engine.current().append(session_id, jsonrpc.dumps(jsonrpc.notification("notifications/message", params)))
        if delay_ms:
            await asyncio.sleep(delay_ms / 1000)
    return f"announced {n}"


@server.tool()
async def recite(mark: str, n: int, ctx: Context, delay_ms: float = 0, padding: int = 0) -> str:
    """Report progress and log a line that bears the mark, n times."""
    for number in range(1, n + 1):
        await ctx.report_progress(number, n)
        await ctx.info(f"{mark} {number}{' ' * padding}")
        await asyncio.sleep(delay_ms / 1000)
    return f"{mark} {n}"


@server.tool()
async def ask(ctx: Context) -> str:
    """Ask the user for a name."""
    result = await ctx.elicit("Your name?", Answer)
    return f"{result.action}: {result.data.name if result.data else None}"


@server.tool()
def write_in_transaction(rows: int, ctx: Context) -> int:
    """Write rows and report each of them, all inside one transaction."""
    with transaction.atomic():
        for number in range(1, rows + 1):
            Line.objects.create(number=number)
            ctx.report_progress(number, rows)
    return Line.objects.count()


@server.tool()
def hold_connection(seconds: float) -> int:
    """Keep a thread's database connection for so long, or until all are released."""
    with transaction.atomic():
        lines = Line.objects.count()
        released.wait(seconds)
    return lines


@server.tool()
async def release_connections() -> str:
    """End what holds a connection in this process, now and from now on."""
    released.set()
    return "done"


@server.tool()
async def count_lines() -> int:
    """Count the rows, by the asynchronous ORM."""
    return await Line.objects.acount()


@server.tool(atomic=True)
def write_and_fail(fail: bool) -> int:
    """Write a row in the transaction of the call, and fail behind it or not."""
    Line.objects.create(number=1)
    if fail:
        raise ToolError("on purpose")
    return Line.objects.count()


@server.tool()
def ask_in_transaction(ctx: SyncContext) -> str:
    """Ask where asking would hold the database."""
    with transaction.atomic():
        return str(ctx.elicit("Your name?", Answer))


@server.tool()
async def raise_cancelled() -> str:
    """Claim to be cancelled, though nobody asked for it."""
    raise CallCancelled


@server.tool()
def ask_sync(ctx: SyncContext) -> str:
    """Ask the user for a name, from a tool's thread."""
    result = ctx.elicit("Your name?", Answer)
    return f"{result.action}: {result.data.name if result.data else None}"


@server.tool()
async def hang_up(ctx: Context, seconds: float) -> str:
    """End the connection early and go on."""
    await ctx.info("before")
    ctx.close_connection()
    await asyncio.sleep(seconds)
    await ctx.info("after")
    return "done"


@server.tool()
def block(seconds: float) -> str:
    """Block a tool thread."""
    time.sleep(seconds)
    return "done"


@server.tool()
async def misbehave(kind: str):
    """Raise or return what no tool should."""
    if kind in misbehavior.RAISED:
        raise misbehavior.RAISED[kind]("secret of the server")
    return misbehavior.RETURNED[kind]()


@server.tool()
def misbehave_in_a_thread(kind: str):
    """Raise or return what no tool should, outside of the event loop."""
    if kind in misbehavior.RAISED:
        raise misbehavior.RAISED[kind]("secret of the server")
    return misbehavior.RETURNED[kind]()


@server.resource("site://page")
def page() -> str:
    """Give the only page."""
    return "the page"


@server.resource("site://pages/{name}")
def named_page(name: str) -> str:
    """Give a page by its name, which must not lead out of the pages."""
    return f"the page {name}"


@server.tool()
async def sample(prompt: str, ctx: Context) -> str:
    """Ask the client's model."""
    answer = await ctx.sample(prompt, max_tokens=100)
    return answer.content.text if isinstance(answer.content, TextContent) else answer.content.type


@server.tool()
async def roots(ctx: Context) -> str:
    """Ask for the client's roots."""
    return " ".join(str(root.uri) for root in await ctx.list_roots())


@server.tool()
async def touch(uri: str) -> str:
    """Tell everybody who subscribed to a resource that it has changed."""
    server.notify_resource_updated(uri)
    return "touched"


@server.tool()
async def expire() -> str:
    """End the sessions that nobody uses now, as every worker does from time to time."""
    await poller.Poller(engine.current())._expire()
    return "done"


@server.resource("site://greeting")
async def greeting() -> str:
    """A greeting."""
    return "Hello"


@server.resource("site://lines/{number}")
async def line(number: int) -> str:
    """A line by its number."""
    return f"line {number}"


@server.prompt()
async def greet(name: str) -> str:
    """Have somebody greeted."""
    return f"Greet {name}"


@server.completion(prompt="greet", argument="name")
async def names(value: str) -> list[str]:
    """Return the names that begin like this."""
    return [name for name in ("Ada", "Alan", "Grace") if name.startswith(value)]
