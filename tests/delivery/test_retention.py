"""For how long what has ended is kept, and what whoever reads it meanwhile is told."""

from __future__ import annotations

import contextlib

import pytest
from pytest_django import Settings

from streamable_http.delivery import follow, retention
from streamable_http.delivery.engine import Engine
from streamable_http.models import StreamState
from streamable_http.stores import base
from tests.delivery import calls
from tests.stores import writing

PAYLOADS = [f'{{"token":{number}}}' for number in range(1, 7)]


def test_the_settings_say_how_long(settings: Settings) -> None:
    settings.STREAMABLE_HTTP = {"RESUMABLE_SECONDS": 60.0, "HISTORY_DAYS": 2.0}
    assert retention.retention() == base.Retention(60.0, 2 * 86_400.0)
    assert retention.retention(0.5) == base.Retention(60.0, 43_200.0)


def test_history_may_be_kept_for_ever_and_a_shorter_one_asked_for_nevertheless(settings: Settings) -> None:
    settings.STREAMABLE_HTTP = {"HISTORY_DAYS": None}
    assert retention.retention().history_seconds is None
    assert retention.retention(1).history_seconds == 86_400.0


def test_nothing_is_deleted_that_a_client_may_still_come_back_for(settings: Settings) -> None:
    settings.STREAMABLE_HTTP = {"RESUMABLE_SECONDS": 60.0, "HISTORY_DAYS": 0.0}
    assert retention.retention().history_seconds == 60.0


def test_others_have_the_store_for_at_least_half_of_the_time() -> None:
    assert retention.pause_seconds(0.001) == retention.PAUSE_SECONDS
    assert retention.pause_seconds(1.5) == 1.5


async def prune(engine: Engine, kept: base.Retention) -> None:
    while await engine.read(retention.prune_batch, engine.store, kept) is not None:
        pass


async def ended_call(engine: Engine) -> int:
    """A call that another worker ran, so that nothing of it is handed over here."""
    write = writing.begin(await calls.session(engine), *PAYLOADS, end=StreamState.ANSWERED)
    await engine.log.run(engine.store.write, [write], [])
    return write.stream_id


async def test_a_reader_that_is_overtaken_is_told_and_gets_nothing_rewritten(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "PAGE_EVENTS", 2)
    stream_id = await ended_call(engine)
    async with contextlib.aclosing(engine.follows.follow(stream_id, 0)) as pages:
        assert [event.payload for event in await anext(pages)] == PAYLOADS[:2]
        await prune(engine, base.Retention(-1, None))
        with pytest.raises(follow.Trimmed) as told:
            await anext(pages)
    assert told.value.earliest == 7


async def test_a_reader_ahead_of_what_is_redacted_reads_on(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "PAGE_EVENTS", 2)
    monkeypatch.setattr(retention, "BATCH", 2)
    stream_id = await ended_call(engine)
    async with contextlib.aclosing(engine.follows.follow(stream_id, 0)) as pages:
        read = []
        async for events in pages:
            read += [event.payload for event in events]
            await engine.read(retention.prune_batch, engine.store, base.Retention(-1, None))
    assert read == PAYLOADS


async def test_a_reader_whose_stream_is_deleted_is_told(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "PAGE_EVENTS", 2)
    stream_id = await ended_call(engine)
    async with contextlib.aclosing(engine.follows.follow(stream_id, 0)) as pages:
        await anext(pages)
        await prune(engine, base.Retention(-1, -1))
        with pytest.raises(follow.UnknownStream):
            await anext(pages)
