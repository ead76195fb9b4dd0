"""Calls as the endpoint makes them: a session, a stream that is written, whoever follows it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from django.db import connections

from streamable_http import exceptions, ids
from streamable_http.delivery.appender import Appender
from streamable_http.delivery.engine import Engine
from streamable_http.models import StreamState
from streamable_http.stores import base
from tests.stores import writing

T = TypeVar("T")


class Call(Appender):
    """A stream of its own, with what it failed with."""

    def __init__(self, engine: Engine, session_id: int | None, **changes: Any) -> None:
        self.failures: list[exceptions.StreamableHTTPError] = []
        opening = writing.opening(session_id, **{"owner_id": engine.lease.worker_id, **changes})
        super().__init__(engine.log, ids.new(), opening, on_failure=self.failures.append)
        engine.running.add(self)


async def session(engine: Engine) -> int:
    return await engine.read(writing.session, engine.store)


async def opened(engine: Engine, session_id: int | None = None, **changes: Any) -> Call:
    """A call whose opening is committed."""
    call = Call(engine, session_id, **changes)
    call.open()
    await call.opened
    return call


async def flush(engine: Engine) -> None:
    """Wait until the batch that takes what was given to the log so far is committed and settled.

    A batch has :data:`~streamable_http.delivery.log.BATCH_EVENTS` at most; for more there is :func:`drain`.
    """
    # What was emitted here would wait some turns of the loop for company, and a command does not.
    engine.log._release()
    await engine.log.run(lambda: None)


async def drain(engine: Engine, *running: Call) -> None:
    """Wait until nothing of these calls waits for its commit."""
    await flush(engine)
    while any(call._waiting_events for call in running):
        await flush(engine)


async def until(is_so: Callable[[], bool]) -> None:
    """Wait for something that other threads bring about and tell nobody."""
    async with asyncio.timeout(30):
        while not is_so():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def page(engine: Engine, stream_id: int) -> base.Page:
    found = await engine.read(engine.store.read, stream_id, 0, 1_000_000)
    assert found is not None
    return found


async def stored(engine: Engine, stream_id: int) -> list[str]:
    """The payloads of a stream in the store, which are numbered without gap."""
    events = (await page(engine, stream_id)).events
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    return [event.payload for event in events]


async def state(engine: Engine, stream_id: int) -> StreamState:
    return (await page(engine, stream_id)).state


async def followed(
    engine: Engine, stream_id: int, after: int = 0, *, into: list[str] | None = None, **options: Any
) -> list[str]:
    """The payloads that a follower gets, from the cursor to the end, in order and without gap.

    They are added to ``into`` as they come.
    """
    payloads = [] if into is None else into
    async for events in engine.follows.follow(stream_id, after, **options):
        for event in events:
            assert event.sequence == after + 1
            after = event.sequence
            payloads.append(event.payload)
    return payloads


async def in_thread(function: Callable[..., T], *arguments: Any) -> T:
    """Run something in a thread that leaves no database connection behind."""

    def run() -> T:
        try:
            return function(*arguments)
        finally:
            connections.close_all()

    return await asyncio.to_thread(run)
