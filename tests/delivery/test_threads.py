"""Pools leave no database connection behind."""

from __future__ import annotations

import asyncio
import threading

import pytest
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from streamable_http.delivery import threads
from streamable_http.delivery.threads import Pool


async def test_every_thread_closes_its_own_connection_at_the_end(log_alias: str) -> None:
    pool = Pool(3, "test")
    together = threading.Barrier(3)
    opened = []

    def use() -> None:
        connections[log_alias].ensure_connection()
        opened.append(connections[log_alias])
        together.wait(10)

    await asyncio.gather(*(pool.run(use) for _ in range(3)))
    assert len({id(connection) for connection in opened}) == 3
    await pool.stop()
    assert [connection.connection for connection in opened] == [None, None, None]


async def test_a_pool_that_was_never_used_just_ends() -> None:
    await Pool(3, "test").stop()


async def test_a_thread_that_is_busy_at_the_end_closes_its_connection_too(log_alias: str) -> None:
    pool = Pool(2, "test")
    is_busy, may_go_on = threading.Event(), threading.Event()

    def use() -> BaseDatabaseWrapper:
        connections[log_alias].ensure_connection()
        is_busy.set()
        assert may_go_on.wait(10)
        return connections[log_alias]

    using = asyncio.ensure_future(pool.run(use))
    await asyncio.to_thread(is_busy.wait, 10)
    stopping = asyncio.ensure_future(pool.stop())
    await asyncio.sleep(0)
    may_go_on.set()
    await stopping
    assert (await using).connection is None


async def test_a_thread_that_is_stuck_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "CLOSING_SECONDS", 0.05)
    pool = Pool(2, "test")
    is_busy, may_go_on = threading.Event(), threading.Event()

    def be_stuck() -> bool:
        is_busy.set()
        return may_go_on.wait(60)

    stuck = asyncio.ensure_future(pool.run(be_stuck))
    await asyncio.to_thread(is_busy.wait, 10)
    await pool.stop()
    assert not stuck.done()
    may_go_on.set()
    assert await stuck


async def test_an_error_in_a_thread_is_raised_where_it_is_awaited() -> None:
    pool = Pool(1, "test")
    with pytest.raises(ZeroDivisionError):
        await pool.run(lambda: 1 // 0)
    assert await pool.run(lambda: "next") == "next"
    await pool.stop()
