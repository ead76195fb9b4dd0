"""The stores under test."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest
from django.core.cache import caches
from django.test import override_settings
from django_redis.cache import RedisCache
from pytest_django import DjangoDbBlocker

from streamable_http import models
from streamable_http.stores import base
from streamable_http.stores.cached import CachedStore
from streamable_http.stores.db import DatabaseStore
from streamable_http.stores.memory import MemoryStore
from tests import services

TABLES = (models.Subscription, models.Ask, models.Record, models.Event, models.Stream, models.Session, models.Worker)


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def log_database(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, django_db_blocker: DjangoDbBlocker
) -> Iterator[str | None]:
    """The alias of a database that a module's tests share; each ``store`` empties it. ``None`` for ``"memory"``."""
    if request.param == "memory":
        yield None
    elif request.param == "sqlite":
        yield from _alias(f"sqlite:///{tmp_path_factory.mktemp('store')}/log.sqlite3", django_db_blocker)
    else:
        with services.database(request.getfixturevalue("postgres_server")) as url:
            yield from _alias(url, django_db_blocker)


def _alias(url: str, blocker: DjangoDbBlocker) -> Iterator[str]:
    with (
        override_settings(STREAMABLE_HTTP={"DATABASE": "log"}),
        blocker.unblock(),
        services.django_alias(url, alias="log") as alias,
    ):
        yield alias


class SmallPages(CachedStore):
    """With pages so small that short streams fill them."""

    page_events = 3


@pytest.fixture(scope="module")
def cache(request: pytest.FixtureRequest) -> Iterator[str | None]:
    """The alias of a cache in front of the store, ``"locmem"`` or ``"redis"``; without a parameter there is none."""
    kind = getattr(request, "param", None)
    if kind is None:
        yield None
        return
    place = {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": secrets.token_hex(8)}
    if kind == "redis":
        place = {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": request.getfixturevalue("redis_url")}
    with override_settings(CACHES={"default": place, "log": {**place, "KEY_PREFIX": secrets.token_hex(8)}}):
        yield "log"


def empty(cache: str) -> None:
    """Empty a cache, and nothing else on its server."""
    if isinstance(caches[cache], RedisCache):
        caches[cache].delete_pattern("*")
    else:
        caches[cache].clear()


@pytest.fixture
def store(log_database: str | None, cache: str | None) -> base.Store:
    if log_database is None:
        return MemoryStore()
    for model in TABLES:
        model.objects.using(log_database).all().delete()
    if cache is None:
        return DatabaseStore(log_database)
    empty(cache)
    kept = {"BACKEND": "streamable_http.stores.db.DatabaseStore", "OPTIONS": {"alias": log_database}}
    return SmallPages(cache, kept)
