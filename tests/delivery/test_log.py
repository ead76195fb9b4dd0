"""The writer: what waits goes in groups, everybody is told, and what waits is bounded."""

from __future__ import annotations

from streamable_http.delivery.engine import Engine
from streamable_http.models import StreamState
from tests.delivery import calls


async def test_a_call_is_written_from_its_opening_to_its_end(engine: Engine):
    call = await calls.opened(engine, await calls.session(engine))
    call.emit(b'"a"')
    call.emit(b'"b"')
    call.end(b'"c"', StreamState.ANSWERED)
    await calls.flush(engine)
    assert await calls.stored(engine, call.id) == ['"a"', '"b"', '"c"']
    assert await calls.state(engine, call.id) == StreamState.ANSWERED
    assert call.failures == []


async def test_more_than_an_outbox_goes_through_a_call_that_waits(engine: Engine):
    call = await calls.opened(engine, await calls.session(engine))
    for i in range(5_000):
        await call.emit(b"%d" % i)
    call.end(None, StreamState.ANSWERED)
    await calls.drain(engine, call)
    assert await calls.stored(engine, call.id) == [str(i) for i in range(5_000)]
    assert call._waiting_events == call._waiting_bytes == 0
