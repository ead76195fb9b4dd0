"""A lease: renewed while the event loop turns, lost otherwise, and then nothing counts that ran under it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import AsyncIterator

import pytest
from pytest_django import Settings

from streamable_http import exceptions
from streamable_http.delivery import workers
from streamable_http.delivery.engine import Engine
from streamable_http.stores.memory import MemoryStore
from tests.delivery import calls
from tests.delivery.conftest import started, with_memory
from tests.stores.aging import pass_seconds


class Watched(MemoryStore):
    """Counts renewals, and is down while it is told to be."""

    def __init__(self) -> None:
        super().__init__()
        self.renewals = 0
        self.is_down = False
        self.seconds_a_renewal = 0.0

    def renew_worker(self, worker_id: int, lease_seconds: float, dropped_records: int = 0) -> bool:
        if self.is_down:
            raise exceptions.StoreUnavailable("down")
        time.sleep(self.seconds_a_renewal)
        self.renewals += 1
        return super().renew_worker(worker_id, lease_seconds, dropped_records)


@pytest.fixture(autouse=True)
def _fast(settings: Settings) -> None:
    settings.STREAMABLE_HTTP = {"HEARTBEAT_SECONDS": 0.005, "LEASE_SECONDS": 15.0}


@contextlib.asynccontextmanager
async def leased(store: Watched, lost: list[int]) -> AsyncIterator[workers.Lease]:
    lease = workers.Lease(store, on_lost=lambda: lost.append(lease.worker_id), on_thread_end=lambda: None)
    await asyncio.to_thread(lease.register)
    lease.start()
    try:
        yield lease
    finally:
        await asyncio.to_thread(lease.stop)


async def renewed(store: Watched) -> None:
    """Wait until the lease was renewed twice, so once from beginning to end."""
    before = store.renewals
    await calls.until(lambda: store.renewals >= before + 2)


async def test_a_lease_is_renewed_for_as_long_as_it_is_kept() -> None:
    store, lost = Watched(), []
    async with leased(store, lost) as lease:
        for _ in range(3):
            pass_seconds(store, 10)
            await renewed(store)
        assert lease.is_safe()
        assert store.renew_worker(lease.worker_id, 15)
    assert lost == []


async def test_at_the_end_it_is_given_back() -> None:
    store = Watched()
    async with leased(store, []) as lease:
        pass
    assert not store.renew_worker(lease.worker_id, 15)


async def test_whoever_lost_a_lease_is_told_and_goes_on_under_a_new_one() -> None:
    store, lost = Watched(), []
    async with leased(store, lost) as lease:
        old = lease.worker_id
        pass_seconds(store, 16)
        await calls.until(lambda: lease.worker_id != old and lease.is_safe())
        await renewed(store)
        assert len(lost) == 1
        assert not store.renew_worker(old, 15)
        assert store.renew_worker(lease.worker_id, 15)


async def test_it_speaks_for_its_streams_for_two_thirds_of_the_lease(settings: Settings) -> None:
    lease = workers.Lease(Watched(), on_lost=lambda: None, on_thread_end=lambda: None)
    assert not lease.is_safe()
    lease.register()
    lease.require()
    lease._renewed_at = time.monotonic() - 9.5
    lease.require()
    lease._renewed_at = time.monotonic() - 10.5
    with pytest.raises(exceptions.StreamLost):
        lease.require()


async def test_a_pause_in_which_nothing_was_refused_costs_nothing() -> None:
    store, lost = Watched(), asyncio.Event()
    lease = workers.Lease(store, on_lost=lost.set, on_thread_end=lambda: None)
    lease.register()
    old = lease.worker_id
    # Paused for longer than it may speak, and for less than its lease.
    lease._renewed_at = time.monotonic() - 11
    await asyncio.to_thread(lease._renew)
    assert lease.worker_id == old
    assert lease.is_safe()


async def test_what_was_refused_before_a_late_renewal_is_a_loss_though_the_store_allows_it() -> None:
    store, lost = Watched(), asyncio.Event()
    lease = workers.Lease(store, on_lost=lost.set, on_thread_end=lambda: None)
    lease.register()
    old = lease.worker_id
    lease._renewed_at = time.monotonic() - 11
    assert not lease.is_safe()
    await asyncio.to_thread(lease._renew)
    assert lease.worker_id != old
    await lost.wait()
    assert not store.renew_worker(old, 15)
    assert lease.is_safe()


async def test_a_slow_renewal_is_no_stall_of_the_event_loop(settings: Settings) -> None:
    settings.STREAMABLE_HTTP = {**settings.STREAMABLE_HTTP, "LOOP_STALL_SECONDS": 0.1}
    store, lost = Watched(), []
    async with leased(store, lost) as lease:
        await renewed(store)
        store.seconds_a_renewal = 0.3
        await renewed(store)
        store.seconds_a_renewal = 0.0
        await renewed(store)
        assert lease.is_safe()
    assert lost == []


async def test_a_store_that_is_away_for_a_moment_costs_no_lease(caplog: pytest.LogCaptureFixture) -> None:
    store, lost = Watched(), []
    async with leased(store, lost):
        store.is_down = True
        await calls.until(lambda: "could not be renewed" in caplog.text)
        store.is_down = False
        await renewed(store)
    assert lost == []


async def test_a_worker_whose_event_loop_is_blocked_does_not_renew(settings: Settings) -> None:
    settings.STREAMABLE_HTTP = {**settings.STREAMABLE_HTTP, "LOOP_STALL_SECONDS": 0.1}
    store = Watched()
    stalled = threading.Event()
    at_stall: list[int] = []

    class Stalled(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            at_stall.append(store.renewals)
            if len(at_stall) > 3:
                stalled.set()

    handler = Stalled(logging.ERROR)
    workers.logger.addHandler(handler)
    try:
        async with leased(store, []):
            await renewed(store)
            # On the event loop, on purpose.
            assert stalled.wait(30)
            assert len(set(at_stall)) == 1
            # It turns again, and renews again.
            await renewed(store)
    finally:
        workers.logger.removeHandler(handler)


async def test_all_calls_of_a_worker_that_lost_its_lease_are_over(settings: Settings) -> None:
    with_memory(settings, HEARTBEAT_SECONDS=0.005, LEASE_SECONDS=15.0)
    async with started() as engine:
        old = engine.lease.worker_id
        running = [await calls.opened(engine) for _ in range(3)]
        pass_seconds(engine.store, 16)
        await calls.until(lambda: all(call.failures for call in running))
        assert {type(error) for call in running for error in call.failures} == {exceptions.StreamLost}
        await calls.until(engine.lease.is_safe)
        assert engine.lease.worker_id != old
        await calls.opened(engine)


async def test_a_worker_without_a_lease_writes_nothing(engine: Engine) -> None:
    call = await calls.opened(engine, await calls.session(engine))
    call.emit(b"1")
    await calls.drain(engine, call)
    await asyncio.to_thread(engine.lease.stop)
    engine.lease._renewed_at = float("-inf")
    call.emit(b"2")
    await calls.flush(engine)
    assert [type(error) for error in call.failures] == [exceptions.StreamLost]
    assert await calls.stored(engine, call.id) == ["1"]
