"""Endpoints on a store in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from pytest_django import Settings

from streamable_http.delivery import engine as engines
from streamable_http.delivery.engine import Engine
from tests.delivery.conftest import with_memory


@pytest.fixture(autouse=True)
async def engine(settings: Settings) -> AsyncIterator[Engine]:
    """The engine that the endpoints of a test use."""
    settings.ALLOWED_HOSTS = ["localhost"]
    with_memory(settings, HISTORY="off")
    running = engines.current()
    yield running
    await running.stop()
    engines._engine = None
