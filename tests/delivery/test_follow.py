"""Following: in order, without gap, to the end; from the store or handed over, nobody sees the difference."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import random
from collections.abc import Callable

import pytest
from pytest_django import Settings

from streamable_http import exceptions, ids, models
from streamable_http.delivery import follow
from streamable_http.delivery.engine import Engine
from streamable_http.delivery.wakeups.local import LocalWakeups
from streamable_http.models import StreamState
from streamable_http.stores import base
from streamable_http.stores.memory import MemoryStore
from tests.delivery import calls
from tests.delivery.conftest import started
from tests.stores import writing


async def test_a_follower_gets_what_was_there_and_what_comes(engine: Engine) -> None:
    call = await calls.opened(engine, await calls.session(engine))
    call.emit(b"1")
    await calls.flush(engine)
    following = asyncio.create_task(calls.followed(engine, call.id))
    for number in range(2, 2_000):
        await call.emit(b"%d" % number)
    call.end(b"2000", StreamState.ANSWERED)
    assert await following == [str(number) for number in range(1, 2_001)]


async def test_followers_through_a_cache_get_every_event_once(log_alias: str, settings: Settings) -> None:
    store = {"BACKEND": "streamable_http.stores.cached.CachedStore"}
    settings.STREAMABLE_HTTP = {**settings.STREAMABLE_HTTP, "STORE": store}
    payloads = [str(number) for number in range(1, 1_204)]
    async with started() as engine:
        stream_id = await engine.read(lambda: writing.stream(engine.store, None, *payloads, end=StreamState.ANSWERED))
        for after in (237, 0, 237, 0, 999, 1_000, 1_202):
            assert await calls.followed(engine, stream_id, after) == payloads[after:]
        # Whole pages came from the cache.
        await engine.read(lambda: models.Event.objects.using(log_alias).update(payload="spoiled"))
        assert await calls.followed(engine, stream_id, 0) == payloads[:1_000] + ["spoiled"] * 203


async def test_two_followers_at_different_places_get_the_same(engine: Engine) -> None:
    call = await calls.opened(engine, await calls.session(engine))
    first = asyncio.create_task(calls.followed(engine, call.id))
    for number in range(1, 1_501):
        await call.emit(b"%d" % number)
    second = asyncio.create_task(calls.followed(engine, call.id, after=700))
    call.end(b"1501", StreamState.ANSWERED)
    assert await first == [str(number) for number in range(1, 1_502)]
    assert await second == [str(number) for number in range(701, 1_502)]


async def test_a_cancelled_call_ends_its_stream_without_a_final_event(engine: Engine) -> None:
    session_id = await calls.session(engine)
    call = await calls.opened(engine, session_id, request_id="7")
    following = asyncio.create_task(calls.followed(engine, call.id))
    call.emit(b"1")
    await calls.flush(engine)
    assert await engine.log.run(engine.store.cancel, session_id, "7") == call.id
    engine.end_stream(call.id)
    assert await following == ["1"]
    assert [type(error) for error in call.failures] == [exceptions.CallCancelled]


async def test_the_first_list_comes_at_once_and_silence_is_told(engine: Engine) -> None:
    call = await calls.opened(engine, await calls.session(engine))
    pages = engine.follows.follow(call.id, 0, idle_seconds=0.01)
    async with contextlib.aclosing(pages):
        assert [await anext(pages) for _ in range(3)] == [[], [], []]
        call.emit(b"1")
        assert [page async for page in _until_events(pages)][-1] == [base.Event(1, "1")]


async def test_what_another_worker_wrote_is_found_without_a_wake_up(engine: Engine, settings: Settings) -> None:
    call = await calls.opened(engine, await calls.session(engine))
    following = asyncio.create_task(calls.followed(engine, call.id))
    await calls.flush(engine)
    write = base.StreamWrite(stream_id=call.id, epoch=1, payloads=["1"], stored_bytes=1, end=StreamState.ANSWERED)
    # As another process would: nobody here is told.
    await engine.log.run(engine.store.write, [write], [])
    async with asyncio.timeout(5):
        assert await following == ["1"]


async def test_events_that_are_gone_are_said_to_be_gone(engine: Engine, settings: Settings) -> None:
    settings.STREAMABLE_HTTP = {**settings.STREAMABLE_HTTP, "MAX_STREAM_EVENTS": 3}
    call = await calls.opened(engine, await calls.session(engine))
    for number in range(1, 9):
        call.emit(b"%d" % number)
    await calls.flush(engine)
    with pytest.raises(follow.Trimmed) as caught:
        await calls.followed(engine, call.id, after=1)
    assert caught.value.earliest == 6
    call.end(None, StreamState.ANSWERED)
    assert await calls.followed(engine, call.id, after=5) == ["6", "7", "8"]


async def test_a_stream_that_does_not_exist_cannot_be_followed(engine: Engine) -> None:
    with pytest.raises(follow.UnknownStream):
        await calls.followed(engine, ids.new())


async def test_the_newer_connection_wins_and_the_older_is_told(engine: Engine) -> None:
    call = await calls.opened(engine, await calls.session(engine))
    older = engine.follows.follow(call.id, 0, follower=1)
    await anext(older)
    newer = asyncio.create_task(calls.followed(engine, call.id, follower=2))
    with pytest.raises(follow.Superseded):
        await anext(older)
    call.end(b"1", StreamState.ANSWERED)
    assert await newer == ["1"]


async def test_nothing_is_sent_without_a_lease(engine: Engine) -> None:
    call = await calls.opened(engine, await calls.session(engine))
    pages = engine.follows.follow(call.id, 0)
    await anext(pages)
    call.emit(b"1")
    await calls.flush(engine)
    engine.lease._renewed_at = float("-inf")
    with pytest.raises(exceptions.StreamLost):
        await anext(pages)


async def test_what_is_expected_and_never_followed_is_let_go(engine: Engine) -> None:
    stream_id = ids.new()
    engine.follows.expect(stream_id)
    engine.follows.sweep()
    assert engine.follows.get(stream_id) is not None
    engine.follows.sweep()
    assert engine.follows.get(stream_id) is None


async def test_a_stream_that_ended_before_anybody_followed_is_taken_whole(engine: Engine) -> None:
    call = calls.Call(engine, await calls.session(engine), follower=1)
    call.emit(b"1")
    call.end(b"2", StreamState.ANSWERED)
    await call.opened
    assert engine.follows.take_whole(call.id) == [base.Event(1, "1"), base.Event(2, "2")]
    assert engine.follows.get(call.id) is None


# Where each event comes from


class Stream:
    """One stream in memory, whose followers hear of it exactly as a test has it."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.id = writing.stream(self.store, None)
        self.reads: list[int] = []
        """The cursors that the store was read behind."""

        self.while_reading: list[Callable[[], object]] = []
        """What happens between a read of the store and its return."""

        self.follows = follow.Follows(read=self._read, listener=LocalWakeups(), require_lease=lambda: None)

    def append(self, *payloads: str, end: StreamState = StreamState.OPEN) -> base.Written:
        """Append as another worker would: nobody here is told."""
        [outcome] = self.store.write([writing.append(self.id, *payloads, end=end)], [])
        assert isinstance(outcome, base.Written)
        return outcome

    def commit(self, *payloads: str, end: StreamState = StreamState.OPEN) -> None:
        """Append as this process does: the events are handed over."""
        written = self.append(*payloads, end=end)
        followed = self.follows.get(self.id)
        if followed is not None:
            followed.hand(list(payloads), written.head, end)

    def wake(self) -> None:
        followed = self.follows.get(self.id)
        if followed is not None:
            followed.mark_stale()

    async def _read(self, stream_id: int, after: int, limit: int) -> base.Page | None:
        self.reads.append(after)
        page = self.store.read(stream_id, after, limit)
        for happen in self.while_reading:
            happen()
        self.while_reading = []
        await asyncio.sleep(0)
        return page


async def test_what_was_handed_over_is_not_read_from_the_store() -> None:
    stream = Stream()
    pages = stream.follows.follow(stream.id, 0)
    assert await anext(pages) == []
    assert stream.reads == [0]
    for number in range(1, 6):
        stream.commit(str(number))
        assert await anext(pages) == [(number, str(number))]
    stream.commit("6", "7", end=StreamState.ANSWERED)
    assert [page async for page in pages] == [[(6, "6"), (7, "7")]]
    assert stream.reads == [0]


async def test_what_was_handed_over_is_there_for_every_follower() -> None:
    stream = Stream()
    both = [stream.follows.follow(stream.id, 0), stream.follows.follow(stream.id, 0)]
    for pages in both:
        assert await anext(pages) == []
    reads = len(stream.reads)
    for number in range(1, 4):
        stream.commit(str(number))
        assert [await anext(pages) for pages in both] == [[(number, str(number))]] * 2
    assert len(stream.reads) == reads
    for pages in both:
        await pages.aclose()


async def test_what_was_not_handed_over_is_read_behind_the_cursor() -> None:
    stream = Stream()
    pages = stream.follows.follow(stream.id, 0)
    await anext(pages)
    stream.commit("1")
    assert await anext(pages) == [(1, "1")]
    stream.append("2")
    stream.commit("3")
    assert await anext(pages) == [(2, "2"), (3, "3")]
    assert stream.reads == [0, 1]
    await pages.aclose()


async def test_whoever_wants_to_be_told_of_a_gap_goes_on_behind_it(settings: Settings) -> None:
    settings.STREAMABLE_HTTP = {"MAX_STREAM_EVENTS": 2}
    stream = Stream()
    gaps: list[int] = []
    pages = stream.follows.follow(stream.id, 0, on_trimmed=gaps.append)
    assert await anext(pages) == []
    stream.append("1", "2", "3")
    stream.wake()
    # It is trimmed further while it is read.
    stream.while_reading = [functools.partial(stream.append, "4", "5")]
    assert await anext(pages) == [(4, "4"), (5, "5")]
    assert gaps == [2, 4]
    stream.commit("6")
    assert await anext(pages) == [(6, "6")]
    await pages.aclose()


async def test_where_nothing_is_kept_it_waits_for_what_comes() -> None:
    stream = Stream()
    gaps: list[int] = []
    stream.append("1", "2")
    stream.store._streams[stream.id].events.clear()
    pages = stream.follows.follow(stream.id, 0, on_trimmed=gaps.append, idle_seconds=0.001)
    assert [await anext(pages) for _ in range(3)] == [[], [], []]
    assert gaps == [3]
    stream.commit("3")
    assert await anext(pages) == [(3, "3")]
    await pages.aclose()


async def test_one_wake_up_costs_one_read() -> None:
    stream = Stream()
    pages = stream.follows.follow(stream.id, 0)
    await anext(pages)
    stream.append("1")
    stream.wake()
    stream.wake()
    assert await anext(pages) == [(1, "1")]
    stream.commit("2")
    assert await anext(pages) == [(2, "2")]
    assert stream.reads == [0, 0]
    await pages.aclose()


async def test_a_follower_that_is_far_behind_what_is_kept_for_it_reads_the_store() -> None:
    stream = Stream()
    pages = stream.follows.follow(stream.id, 0)
    await anext(pages)
    for number in range(1, 3 * follow.HANDED_EVENTS):
        stream.commit(str(number))
        followed = stream.follows.get(stream.id)
        assert followed is not None
        assert len(followed.events) <= follow.HANDED_EVENTS + 1
    page = await anext(pages)
    assert page == [(number, str(number)) for number in range(1, base.PAGE_EVENTS + 1)]
    await pages.aclose()


async def test_what_is_committed_while_the_store_is_read_is_neither_lost_nor_repeated() -> None:
    stream = Stream()
    stream.append("1")
    stream.while_reading = [lambda: stream.commit("2"), lambda: stream.append("3"), stream.wake]
    pages = stream.follows.follow(stream.id, 0)
    seen = [*await anext(pages), *await anext(pages)]
    while len(seen) < 3:
        seen += await anext(pages)
    assert seen == [(1, "1"), (2, "2"), (3, "3")]
    await pages.aclose()


async def test_an_end_while_the_store_is_read_is_an_end() -> None:
    stream = Stream()
    stream.while_reading = [lambda: stream.commit("1", end=StreamState.ANSWERED)]
    assert [page async for page in stream.follows.follow(stream.id, 0)] == [[], [(1, "1")]]


async def test_a_stream_that_is_empty_and_over_ends_at_once() -> None:
    stream = Stream()
    stream.append(end=StreamState.CANCELLED)
    assert [page async for page in stream.follows.follow(stream.id, 0)] == [[]]


async def test_whoever_leaves_leaves_nothing_behind() -> None:
    stream = Stream()
    first, second = stream.follows.follow(stream.id, 0), stream.follows.follow(stream.id, 0)
    await anext(first)
    await anext(second)
    await first.aclose()
    assert list(stream.follows) == [stream.id]
    await second.aclose()
    assert list(stream.follows) == []
    assert stream.follows._listener._topics == set()


@pytest.mark.parametrize("seed", range(25))
async def test_whatever_is_handed_over_woken_or_missed_everybody_gets_everything_once(seed: int) -> None:
    dice = random.Random(seed)
    stream = Stream()

    async def read(after: int, slowness: int) -> list[int]:
        seen = []
        async for events in stream.follows.follow(stream.id, after):
            for event in events:
                assert event == (after + 1, str(after + 1))
                after = event.sequence
                seen.append(after)
            for _ in range(dice.randrange(slowness)):
                await asyncio.sleep(0)
        return seen

    readers = [asyncio.create_task(read(0, slowness)) for slowness in (1, 5, 60)[: dice.randrange(1, 4)]]
    head = 0
    while head < 3_000:
        payloads = [str(head + place) for place in range(1, dice.randrange(2, 40))]
        head += len(payloads)
        dice.choice([stream.commit, stream.commit, stream.append])(*payloads)
        if dice.random() < 0.1:
            stream.wake()
        if dice.random() < 0.05:
            # A connection that broke comes again with its cursor.
            readers.append(asyncio.create_task(read(dice.randrange(head), 3)))
        for _ in range(dice.randrange(4)):
            await asyncio.sleep(0)
    stream.append(end=StreamState.ANSWERED)
    stream.wake()
    for reader in readers:
        seen = await asyncio.wait_for(reader, 20)
        assert seen == list(range(seen[0], head + 1))
    assert list(stream.follows) == []


async def _until_events(pages):
    async for page in pages:
        yield page
        if page:
            return


async def test_a_connection_that_is_superseded_while_it_sends_is_told_at_once(engine: Engine) -> None:
    call = await calls.opened(engine, await calls.session(engine))
    older = engine.follows.follow(call.id, 0, follower=1)
    newer = engine.follows.follow(call.id, 0, follower=2)
    async with contextlib.aclosing(older), contextlib.aclosing(newer), asyncio.timeout(5):
        await anext(older)
        await anext(newer)
        with pytest.raises(follow.Superseded):
            await anext(older)


async def test_a_closed_connection_sends_what_there_is_and_ends_while_the_stream_goes_on(engine: Engine) -> None:
    call = await calls.opened(engine, await calls.session(engine))
    call.emit(b"1")
    await calls.drain(engine, call)
    pages = engine.follows.follow(call.id, 0, follower=7)
    async with contextlib.aclosing(pages), asyncio.timeout(5):
        assert [event.payload for event in await anext(pages)] == ["1"]
        engine.follows.close(call.id)
        with pytest.raises(follow.Closed):
            await anext(pages)
    call.end(b"2", StreamState.ANSWERED)
    assert await calls.followed(engine, call.id, 1, follower=8) == ["2"]


async def test_closing_a_connection_leaves_its_successor_alone(engine: Engine) -> None:
    call = await calls.opened(engine, await calls.session(engine))
    pages = engine.follows.follow(call.id, 0, follower=7)
    async with contextlib.aclosing(pages), asyncio.timeout(5):
        await anext(pages)
        engine.follows.close(call.id, follower=6)
        call.end(b"1", StreamState.ANSWERED)
        assert [event.payload async for events in pages for event in events] == ["1"]
