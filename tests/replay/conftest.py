"""Logs to read again, on real databases."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from pytest_django import Settings

from streamable_http.delivery import engine as engines
from streamable_http.delivery.engine import Engine
from streamable_http.stores.db import DatabaseStore
from tests.replay.conversations import Conversation
from tests.stores.conftest import TABLES, log_database

__all__ = ["log_database"]


@pytest.fixture
def store(log_database: str) -> DatabaseStore:
    """An empty log in a database that a module's tests share."""
    for model in TABLES:
        model.objects.using(log_database).all().delete()
    return DatabaseStore(log_database)


@pytest.fixture
def talk(store: DatabaseStore) -> Conversation:
    """A session to write messages into."""
    return Conversation(store)


@pytest.fixture
async def engine(settings: Settings, log_alias: str) -> AsyncIterator[Engine]:
    """The engine that the endpoints of a test use."""
    settings.ALLOWED_HOSTS = ["localhost"]
    running = engines.current()
    yield running
    await running.stop()
    engines._engine = None
