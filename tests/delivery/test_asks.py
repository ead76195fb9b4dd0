"""Asks that wait: the first reply counts, and nobody is left behind."""

from __future__ import annotations

import pytest

from streamable_http import ids
from streamable_http.delivery.asks import Asks
from streamable_http.delivery.engine import Engine
from streamable_http.delivery.wakeups import base as wakeups
from streamable_http.delivery.wakeups.local import LocalWakeups
from tests.delivery import calls
from tests.stores import writing


@pytest.fixture
def engine(engine_in_memory: Engine) -> Engine:
    return engine_in_memory


async def asked(engine: Engine) -> tuple[int, str]:
    """Ask something in a session of its own; the session, and the id on the wire."""
    session_id = await calls.session(engine)
    ask = writing.ask(session_id)
    call = await calls.opened(engine, session_id)
    reply = engine.asks.expect(ask.id, session_id)
    call.emit(b"ask", ask=ask)
    await calls.drain(engine, call)
    assert not reply.done()
    return ask.id, ask.wire_id


async def test_the_first_reply_counts() -> None:
    asks = Asks(LocalWakeups())
    reply = asks.expect(1, 10)
    assert asks.resolve(1, "first")
    assert asks.resolve(1, "second")
    assert await reply == "first"


async def test_a_reply_that_nobody_here_waits_for_is_not_taken() -> None:
    asks = Asks(LocalWakeups())
    assert not asks.resolve(1, "reply")
    asks.expect(1, 10)
    asks.forget(1)
    assert not asks.resolve(1, "reply")


async def test_it_tells_what_waits_and_in_which_sessions() -> None:
    asks = Asks(LocalWakeups())
    for ask_id, session_id in ((1, 10), (2, 10), (3, 11)):
        asks.expect(ask_id, session_id)
    asks.forget(2)
    asks.forget(2)
    assert (list(asks), sorted(asks.sessions())) == ([1, 3], [10, 11])


async def test_what_waits_is_listened_to_and_what_is_forgotten_is_not() -> None:
    listener = LocalWakeups()
    asks = Asks(listener)
    asks.expect(1, 10)
    assert listener._topics == {wakeups.ask_topic(1)}
    asks.forget(1)
    assert listener._topics == set()


async def test_a_reply_that_another_worker_took_arrives_by_wake_up(engine: Engine) -> None:
    ask_id, wire_id = await asked(engine)
    reply = engine.asks._waiting[ask_id]
    [session_id] = engine.asks.sessions()
    assert await engine.read(engine.store.reply, session_id, wire_id, '{"result":{}}') == ask_id
    engine.wakeups.wake(wakeups.ask_topic(ask_id))
    assert await reply == '{"result":{}}'


async def test_a_reply_that_this_worker_took_arrives_directly(engine: Engine) -> None:
    ask_id, _ = await asked(engine)
    engine.wake_ask(ask_id, "reply")
    assert await engine.asks._waiting[ask_id] == "reply"
    engine.wake_ask(ids.new(), "for nobody")
