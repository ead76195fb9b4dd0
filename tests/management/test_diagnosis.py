"""What the doctor says about parts that work, and parts that do not."""

from __future__ import annotations

import pytest
from django.db import connections
from pytest_django import Settings

from streamable_http.management import diagnosis
from streamable_http.management.findings import Finding, Verdict
from streamable_http.stores.db import DatabaseStore
from tests import services
from tests.stores import writing

LAYER_WAKEUPS = {"BACKEND": "streamable_http.delivery.wakeups.channel_layer.ChannelLayerWakeups"}


def examine() -> dict[str, list[Finding]]:
    found: dict[str, list[Finding]] = {}
    for finding in diagnosis.examine():
        found.setdefault(finding.about, []).append(finding)
    return found


def one(about: str) -> Finding:
    [finding] = examine()[about]
    return finding


def use_layer(settings: Settings, backend: str, **config: object) -> None:
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": backend, "CONFIG": config}}
    settings.STREAMABLE_HTTP = {**settings.STREAMABLE_HTTP, "WAKEUPS": LAYER_WAKEUPS}


def test_a_database_that_is_as_it_should_be_is_fine(log_alias: str) -> None:
    found = examine()
    for about in ("database", "migrations", "clock"):
        assert [finding.verdict for finding in found[about]] == [Verdict.OK], found[about]
    assert ("journal" in found) is (connections[log_alias].vendor == "sqlite")


def test_migrations_that_wait_are_named_with_what_to_do(log_alias: str) -> None:
    with connections[log_alias].cursor() as cursor:
        cursor.execute("DELETE FROM django_migrations WHERE app = 'streamable_http'")
    finding = one("migrations")
    assert finding.verdict is Verdict.FAILED
    assert "0001_initial" in finding.what
    assert "migrate streamable_http --database log" in finding.hint


@pytest.mark.parametrize("log_alias", ["sqlite"], indirect=True)
def test_sqlite_without_its_log_is_found(log_alias: str) -> None:
    with connections[log_alias].cursor() as cursor:
        cursor.execute("PRAGMA journal_mode=DELETE")
    assert one("journal").verdict is Verdict.FAILED


@pytest.mark.parametrize("log_alias", ["postgres"], indirect=True)
def test_commits_that_a_crash_may_lose_are_found(log_alias: str) -> None:
    with connections[log_alias].cursor() as cursor:
        cursor.execute("SET synchronous_commit = off")
    assert one("durability").verdict is Verdict.WARNING


@pytest.mark.parametrize("log_alias", ["sqlite"], indirect=True)
def test_a_layer_that_delivers_is_fine(log_alias: str, settings: Settings, redis_url: str) -> None:
    use_layer(settings, "channels_redis.pubsub.RedisPubSubChannelLayer", hosts=[redis_url])
    assert one("channel layer").verdict is Verdict.OK


@pytest.mark.parametrize("log_alias", ["sqlite"], indirect=True)
def test_a_layer_that_cannot_be_reached_is_found(log_alias: str, settings: Settings) -> None:
    gone = f"redis://127.0.0.1:{services.free_port()}/0"
    use_layer(settings, "channels_redis.pubsub.RedisPubSubChannelLayer", hosts=[gone])
    finding = one("channel layer")
    assert finding.verdict is Verdict.FAILED
    assert "Redis" in finding.hint


@pytest.mark.parametrize("log_alias", ["sqlite"], indirect=True)
def test_a_cache_that_cannot_be_reached_is_found(log_alias: str, settings: Settings) -> None:
    gone = f"redis://127.0.0.1:{services.free_port()}/0"
    settings.CACHES = {"default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": gone}}
    assert one("cache").verdict is Verdict.FAILED


def test_workers_and_what_dead_ones_left_are_told(log_alias: str) -> None:
    store = DatabaseStore(log_alias)
    assert one("workers").verdict is Verdict.WARNING
    store.register_worker(1, "host", 11, 600.0)
    found = examine()
    assert [finding.verdict for finding in found["workers"]] == [Verdict.OK]
    assert "1 alive" in found["several workers"][0].what
    store.register_worker(2, "other", 12, 600.0)
    assert all(finding.verdict is Verdict.WARNING for finding in examine()["several workers"])
    assert one("leases").verdict is Verdict.OK


@pytest.mark.parametrize("log_alias", ["sqlite"], indirect=True)
def test_calls_of_workers_that_are_gone_are_found(log_alias: str) -> None:
    store = DatabaseStore(log_alias)
    writing.stream(store, writing.session(store), "1", owner_id=99)
    finding = one("leases")
    assert finding.verdict is Verdict.WARNING
    assert "1 calls belong to workers that are gone" in finding.what
