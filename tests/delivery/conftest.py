"""Engines on real databases."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable

import pytest
from pytest_django import Settings

from streamable_http.delivery import engine as engines

StartEngine = Callable[[], "contextlib.AbstractAsyncContextManager[engines.Engine]"]


@contextlib.asynccontextmanager
async def started() -> AsyncIterator[engines.Engine]:
    engine = engines.Engine()
    await engine.start()
    try:
        yield engine
    finally:
        await engine.stop()


@pytest.fixture
async def engine(log_alias: str) -> AsyncIterator[engines.Engine]:
    """A running engine whose log is in a database of the test's own."""
    async with started() as running:
        yield running


@pytest.fixture
async def engine_in_memory(settings: Settings) -> AsyncIterator[engines.Engine]:
    """A running engine that hears of nothing but by wake-ups, on a store in memory."""
    with_memory(settings)
    async with started() as running:
        yield running


def with_memory(settings: Settings, **changes: object) -> None:
    """Settings of an engine on a store in memory, that does nothing by itself unless ``changes`` say so."""
    quiet = {"POLL_MIN_SECONDS": 60.0, "POLL_MAX_SECONDS": 60.0, "HEARTBEAT_SECONDS": 60.0, "LEASE_SECONDS": 600.0}
    store = {"BACKEND": "streamable_http.stores.memory.MemoryStore"}
    settings.STREAMABLE_HTTP = {**quiet, "STORE": store, **changes}
