"""Streams as Server-Sent Events: what goes out, in which order, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Final

from streamable_http import conf, exceptions
from streamable_http.delivery import engine, follow, ring
from streamable_http.protocol import cursors, jsonrpc, revisions, sse
from streamable_http.server import MCPServer, notifications
from streamable_http.stores import base

logger = logging.getLogger(__name__)

TAKEN_RETRY_MS: Final = 5_000
"""What a connection is told that another one took over from."""

_LIST_CHANGES: Final = {
    "tools": notifications.TOOL_LIST_CHANGED,
    "prompts": notifications.PROMPT_LIST_CHANGED,
    "resources": notifications.RESOURCE_LIST_CHANGED,
}
"""By the capability that a server declares."""

_ANY_DEPTH: Final = 1_000
"""For what we stored ourselves."""


def prime(facts: revisions.Facts, stream_id: int, sequence: int) -> bytes:
    """Return what goes out at once: some proxies hold the headers back until the first byte of the body."""
    retry_ms = conf.settings.RETRY_MS
    if facts.primed:
        return sse.encode_prime(cursors.format(stream_id, sequence), retry_ms)
    return sse.encode_retry(retry_ms) + sse.KEEP_ALIVE


def whole(facts: revisions.Facts, stream_id: int, events: list[base.Event]) -> bytes:
    """Return a stream that has ended already, from its beginning."""
    return prime(facts, stream_id, 0) + sse.encode(f"{stream_id:x}.", events)


async def followed(
    core: engine.Engine,
    session: base.SessionFacts,
    facts: revisions.Facts,
    *,
    mcp_server: MCPServer,
    stream_id: int,
    after: int,
    follower: int | None,
) -> AsyncGenerator[bytes, None]:
    """Follow a stream of the log: the prime at once, events as they come, comments in silence."""
    first = prime(facts, stream_id, after)

    def relist(earliest: int) -> None:
        nonlocal first
        # Before the cursor moves, for a client that breaks off between the two is to be told again.
        first = list_changes(mcp_server, session) + prime(facts, stream_id, earliest - 1)

    prefix = f"{stream_id:x}."
    has_ended = False
    follow_on = functools.partial(
        core.follows.follow, stream_id, after, follower=follower, idle_seconds=conf.settings.KEEP_ALIVE_SECONDS
    )
    pages = _noted(core, stream_id, follow_on(on_trimmed=relist)) if stream_id == session.id else follow_on()
    closing = _close_later(core, facts, stream_id, follower)
    try:
        async for events in pages:
            chunk = sse.encode(prefix, events) if events else b""
            yield first + chunk or sse.KEEP_ALIVE
            first = b""
        has_ended = True
    except follow.Superseded:
        has_ended = True
        yield sse.encode_retry(TAKEN_RETRY_MS)
    except follow.Closed:
        # SEP-1699: the server SHOULD tell when to come again before it closes (2025-11-25, Sending Messages).
        # Where the worker ends and is the only one, its successor has to start first.
        yield sse.encode_retry(conf.settings.RETRY_MS if core.is_draining else conf.settings.POLLING_RETRY_MS)
    except follow.Trimmed as error:
        async for chunk in _end_trimmed(core, session, stream_id, error.earliest):
            yield chunk
    except (exceptions.StoreError, exceptions.Unavailable) as error:
        # The stream goes on elsewhere, or here when the store is back: the client comes again with its cursor.
        logger.warning("a connection was closed: %s", error)
        yield sse.encode_retry(conf.settings.RETRY_MS)
    finally:
        if closing is not None:
            closing.cancel()
        await pages.aclose()
        if not has_ended and follower is not None:
            core.write_behind(core.store.release, stream_id, follower)


async def _noted(
    core: engine.Engine, stream_id: int, pages: AsyncGenerator[list[base.Event], None]
) -> AsyncGenerator[list[base.Event], None]:
    """Pass on the pages of a listening stream, and note each before and behind its way to the connection."""
    async with contextlib.aclosing(pages):
        async for events in pages:
            if events:
                # Before the bytes: news that comes while they are under way must be said again.
                await core.command(core.store.offer, stream_id, events[-1].sequence)
            yield events
            if events:
                # Behind the bytes: a GET without a cursor may repeat, and never skip.
                core.write_behind(core.store.hand, stream_id, events[-1].sequence)


def _close_later(
    core: engine.Engine, facts: revisions.Facts, stream_id: int, follower: int | None
) -> asyncio.TimerHandle | None:
    if core.is_draining and not core.keeps_open(stream_id, follower):
        # It came in time, and begins too late to be closed with the others.
        return core.loop.call_later(0, core.follows.close, stream_id, follower)
    seconds = conf.settings.MAX_CONNECTION_SECONDS
    if seconds is None or not facts.may_close_early:
        return None
    return core.loop.call_later(seconds, core.follows.close, stream_id, follower)


async def alone(stream: ring.Ring, first: list[base.Event], *, idle_seconds: float) -> AsyncGenerator[bytes, None]:
    """Follow a stream that cannot be resumed, so without ids; ``first`` was read already."""
    try:
        yield sse.encode_unidentified([event.payload for event in first]) or sse.KEEP_ALIVE
        async for events in stream.follow(idle_seconds=idle_seconds):
            yield sse.encode_unidentified([event.payload for event in events]) or sse.KEEP_ALIVE
    finally:
        stream.abandon()


async def answer_of(stream: ring.Ring, *, idle_seconds: float) -> bytes:
    """Wait for the response of a call that cannot be resumed, as :func:`final`; it goes on when nobody waits."""
    try:
        return await final(stream.follow(idle_seconds=idle_seconds))
    finally:
        stream.abandon()


def list_changes(mcp_server: MCPServer, session: base.SessionFacts) -> bytes:
    """Return what has a client list everything anew, because it can no longer be told what has changed.

    These are no events of the log, and without ids, so that the client's cursor stays where it is.
    """
    capabilities = mcp_server.initialize(revision=session.revision)["capabilities"]
    methods = [method for capability, method in _LIST_CHANGES.items() if capability in capabilities]
    return sse.encode_unidentified([jsonrpc.dumps(jsonrpc.notification(method, {})).decode() for method in methods])


def note_read(core: engine.Engine, session: base.SessionFacts, sequence: int) -> None:
    """Note how far a client has read its listening stream, which a cursor of it proves; written behind."""
    core.write_behind(core.store.offer, session.id, sequence)
    core.write_behind(core.store.hand, session.id, sequence)


async def trimmed(request_id: str, earliest: int) -> AsyncGenerator[bytes, None]:
    """End a call truthfully whose events are gone, instead of letting its client wait: there is no silent gap."""
    problem = exceptions.CallFailed(
        exceptions.EVENTS_TRIMMED,
        "events of this call are no longer kept, so it cannot be resumed from here",
        data={"earliest": earliest},
    )
    answered = jsonrpc.loads(request_id.encode(), max_depth=1)
    yield sse.encode_unidentified([jsonrpc.dumps(jsonrpc.error(answered, problem)).decode()])


async def final(pages: AsyncIterator[list[base.Event]]) -> bytes:
    """Wait for the end of a call, and return its response alone.

    Raises:
        CallFailed: the call was cancelled, so there is none.
    """
    last = b"{}"
    async for events in pages:
        last = events[-1].payload.encode() if events else last
    message = jsonrpc.loads(last, max_depth=_ANY_DEPTH)
    if "result" in message or "error" in message:
        return last
    raise exceptions.CallFailed(exceptions.INVALID_REQUEST, "the call was cancelled")


async def _end_trimmed(
    core: engine.Engine, session: base.SessionFacts, stream_id: int, earliest: int
) -> AsyncGenerator[bytes, None]:
    """End the connection of a call that fell behind what is kept."""
    found = await core.read(core.store.find_stream, session.id, stream_id)
    if found is not None:
        async for chunk in trimmed(found[1], earliest):
            yield chunk
