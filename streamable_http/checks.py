"""System checks: settings that are wrong, and projects that cannot hold what this package promises.

Each message names the promise, says what is the matter and why, and the hint says what to do.
"""

from __future__ import annotations

import dataclasses
import re
import typing
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

from channels.layers import InMemoryChannelLayer
from django.apps import AppConfig, apps
from django.conf import settings as django_settings
from django.core.cache import DEFAULT_CACHE_ALIAS, caches
from django.core.cache.backends.dummy import DummyCache
from django.core.cache.backends.locmem import LocMemCache
from django.core.checks import CheckMessage, Error, Info, Warning, register
from django.core.exceptions import ImproperlyConfigured
from django.db import connections, router
from django.db.models import Model
from django.urls import URLPattern, URLResolver, get_resolver
from django.utils.module_loading import import_string
from pydantic import TypeAdapter, ValidationError

from streamable_http import authentication, conf, models
from streamable_http.delivery import engine
from streamable_http.delivery.wakeups.channel_layer import ChannelLayerWakeups
from streamable_http.delivery.wakeups.local import LocalWakeups
from streamable_http.endpoint import registry
from streamable_http.server import MCPServer
from streamable_http.stores import delegating, routers
from streamable_http.stores.cached import CachedStore
from streamable_http.stores.db import DatabaseStore
from streamable_http.stores.memory import MemoryStore
from streamable_http.views import MCPView

TAG: Final = "streamable_http"
"""``manage.py check --tag streamable_http`` runs these alone."""

CORE_LAYER: Final = "channels_redis.core.RedisChannelLayer"

POOL_SIZE: Final = 4
"""Connections in a pool whose project names no size (psycopg_pool)."""

BUSY_SECONDS: Final = 20
"""How long SQLite should wait for a lock before it gives up."""

PROMISES: Final = {
    3: "at least once: an event is delivered as long as its cursor is kept",
    5: "any worker can serve any request",
    6: "a dead or paused worker hangs nobody and corrupts nothing",
    7: "a session belongs to its owner only",
    9: "everything is bounded, by settings",
    10: "a restart loses nothing",
}


def _message(
    kind: type[Error] | type[Warning] | type[Info], number: int, text: str, *, promise: int | None = None, hint: str
) -> CheckMessage:
    prefix = "" if promise is None else f"Promise {promise} ({PROMISES[promise]}): "
    return kind(prefix + text, hint=hint, id=f"streamable_http.{kind.__name__[0]}{number:03}")


@register(TAG)
def check(app_configs: Sequence[AppConfig] | None, **options: Any) -> list[CheckMessage]:
    """Check what matters wherever the project runs."""
    # The other checks can only read settings that are right.
    return _run(SETTINGS_CHECKS) or _run(CHECKS)


@register(TAG, deploy=True)
def check_deploy(app_configs: Sequence[AppConfig] | None, **options: Any) -> list[CheckMessage]:
    """Check what matters in production: ``check --deploy``."""
    return [] if _run(SETTINGS_CHECKS) else _run(DEPLOY_CHECKS)


def _run(functions: Iterable[Callable[[], Iterator[CheckMessage]]]) -> list[CheckMessage]:
    return [message for function in functions for message in function()]


# The settings by themselves


def _names() -> Iterator[CheckMessage]:
    chosen = getattr(django_settings, conf.SETTING, {})
    known = {field.name for field in dataclasses.fields(conf.Defaults)}
    for name in chosen if isinstance(chosen, dict) else ():
        if name not in known:
            yield _message(
                Error,
                1,
                f"{conf.unknown(name)}, so it changes nothing.",
                promise=9,
                hint="Correct the name, or remove it.",
            )


def _types() -> Iterator[CheckMessage]:
    chosen = getattr(django_settings, conf.SETTING, {})
    if not isinstance(chosen, dict):
        yield _message(
            Error,
            2,
            f"{conf.SETTING} is a {type(chosen).__name__}, and no dict.",
            promise=9,
            hint=f"Write {conf.SETTING} = {{…}}, or remove it to use the defaults.",
        )
        return
    types = typing.get_type_hints(conf.Defaults)
    for field in dataclasses.fields(conf.Defaults):
        if field.name in chosen and not _fits(chosen[field.name], types[field.name]):
            yield _message(
                Error,
                2,
                f"{conf.SETTING}['{field.name}'] is {chosen[field.name]!r}, and should be {field.type}; numbers are "
                "not negative.",
                promise=9,
                hint=f"Correct it, or remove it to use the default, {getattr(conf.Defaults(), field.name)!r}.",
            )


def _fits(value: Any, wanted: Any) -> bool:
    try:
        TypeAdapter(wanted).validate_python(tuple(value) if isinstance(value, list) else value, strict=True)
    except ValidationError:
        return False
    # Written so that NaN does not fit.
    return not isinstance(value, int | float) or value >= 0


def _times() -> Iterator[CheckMessage]:
    settings = conf.settings
    if settings.HEARTBEAT_SECONDS >= settings.LEASE_SECONDS * 2 / 3:
        yield _message(
            Error,
            3,
            f"a worker renews its lease every {settings.HEARTBEAT_SECONDS:g} s (HEARTBEAT_SECONDS), but trusts it for "
            f"two thirds of {settings.LEASE_SECONDS:g} s (LEASE_SECONDS) only, so it gives up its calls all the time.",
            promise=6,
            hint="Make HEARTBEAT_SECONDS a third of LEASE_SECONDS.",
        )
    if settings.HEARTBEAT_SECONDS >= settings.LOOP_STALL_SECONDS:
        yield _message(
            Error,
            4,
            "a worker looks once a heartbeat whether its event loop turns, so with HEARTBEAT_SECONDS = "
            f"{settings.HEARTBEAT_SECONDS:g} it cannot tell after LOOP_STALL_SECONDS = "
            f"{settings.LOOP_STALL_SECONDS:g} that it hangs.",
            promise=6,
            hint="Make LOOP_STALL_SECONDS twice HEARTBEAT_SECONDS.",
        )


# Parts


def _authentication() -> Iterator[CheckMessage]:
    try:
        authentication.authenticator()
    except (ImproperlyConfigured, ImportError) as error:
        yield _message(
            Error,
            5,
            f"nobody is served, because callers cannot be told apart. {error}",
            promise=7,
            hint=f"Correct {conf.SETTING}['AUTHENTICATION_CLASSES'] or the settings beside it.",
        )


def _servers() -> Iterator[CheckMessage]:
    try:
        registry.servers()
        for view in _views():
            if not isinstance(view.view_initkwargs.get("server"), MCPServer):
                registry.find(view.view_initkwargs.get("server"))
    except Exception as error:  # whatever the project's own modules raise
        yield _message(
            Error,
            6,
            f"the MCP servers cannot be loaded or told apart. {type(error).__name__}: {error}",
            promise=7,
            hint=f"The servers of an app are in its {registry.MODULE}.py, each under a name of its own.",
        )


def _throttles() -> Iterator[CheckMessage]:
    for class_, name, place in _throttled():
        try:
            authentication.require_rate(class_, name)
        except Exception as error:  # whatever a class of the project's own raises
            yield _message(
                Error,
                9,
                f"{place} has the throttle {class_.__name__}, which cannot be asked: each request would fail. "
                f"{type(error).__name__}: {error}",
                promise=9,
                hint=f"Give it a rate in REST_FRAMEWORK['DEFAULT_THROTTLE_RATES'], such as {{'{name}': '60/minute'}}; "
                "the scope of ScopedRateThrottle is the name of the tool.",
            )


def _throttled() -> Iterator[tuple[Any, str, str]]:
    """Return each throttle class, the name that it counts under, and where it is named."""
    try:
        classes = [import_string(path) for path in conf.settings.THROTTLE_CLASSES]
        servers = registry.servers()
    except Exception:  # see _authentication() and _servers()
        return
    place = f"{conf.SETTING}['THROTTLE_CLASSES']"
    yield from ((class_, authentication.ENDPOINT, place) for class_ in classes)
    for server in servers.values():
        for tool in server.tools.values():
            place = f"the tool '{tool.name}' of the server '{server.name}'"
            yield from ((class_, tool.name, place) for class_ in tool.throttle_classes)


def _parts() -> Iterator[CheckMessage]:
    for name in ("STORE", "WAKEUPS"):
        try:
            conf.build(getattr(conf.settings, name))
        except Exception as error:  # whatever a class of the project's own raises
            yield _message(
                Error,
                7,
                f"{conf.SETTING}['{name}'] cannot be made. {type(error).__name__}: {error}",
                promise=10,
                hint="It is a dict: BACKEND is a dotted path, OPTIONS has the keyword arguments.",
            )


def _wakeups() -> Iterator[CheckMessage]:
    if isinstance(_built(conf.settings.WAKEUPS), LocalWakeups):
        yield _message(
            Info,
            1,
            "this holds with any number of workers, but what happens at another worker is noticed by polling, up to "
            f"{conf.settings.POLL_MAX_SECONDS:g} s late (POLL_MAX_SECONDS): replies to a tool's questions, "
            "cancellations, events of a stream that is followed elsewhere.",
            promise=5,
            hint=f"With several workers, set {conf.SETTING}['WAKEUPS'] to a channel layer: BACKEND "
            "'streamable_http.delivery.wakeups.channel_layer.ChannelLayerWakeups'. With one worker, all is well.",
        )


def _cache() -> Iterator[CheckMessage]:
    store = _built(conf.settings.STORE)
    if isinstance(store, CachedStore) and isinstance(caches[store.cache.alias], LocMemCache | DummyCache):
        yield _message(
            Info,
            2,
            f"the cache '{store.cache.alias}' in front of the log is not shared by the workers, so what one of them "
            "has read helps no other.",
            hint=f"With several workers, give CACHES['{store.cache.alias}'] a Redis server: BACKEND "
            "'django_redis.cache.RedisCache'. With one worker, all is well.",
        )


def _layer() -> Iterator[CheckMessage]:
    wakeups = _built(conf.settings.WAKEUPS)
    if not isinstance(wakeups, ChannelLayerWakeups):
        return
    if isinstance(wakeups.layer, InMemoryChannelLayer):
        yield _message(
            Warning,
            7,
            "wake-ups go through InMemoryChannelLayer, which ends at the process, so other workers hear of nothing "
            f"and notice by polling, up to {conf.settings.POLL_MAX_SECONDS:g} s late (POLL_MAX_SECONDS).",
            promise=5,
            hint="Use 'channels_redis.pubsub.RedisPubSubChannelLayer' in CHANNEL_LAYERS. Or remove "
            f"{conf.SETTING}['WAKEUPS']: it is the same, and costs less.",
        )
    elif _path(type(wakeups.layer)) == CORE_LAYER:
        yield _message(
            Info,
            4,
            f"this holds, but wake-ups through {CORE_LAYER} cost seven times as much as they need to, and it keeps in "
            "Redis who waits for them: after a flush, streams that are open are polled to their end.",
            promise=5,
            hint="Use 'channels_redis.pubsub.RedisPubSubChannelLayer' in CHANNEL_LAYERS.",
        )


def _throttle_cache() -> Iterator[CheckMessage]:
    cache = caches[DEFAULT_CACHE_ALIAS]
    if isinstance(cache, LocMemCache | DummyCache) and any(_throttle_classes()):
        yield _message(
            Warning,
            8,
            f"throttles count in the default cache, and {type(cache).__name__} is not shared, so each worker counts "
            "for itself: callers get as many times their rate as there are workers.",
            promise=9,
            hint="With several workers, set CACHES['default'] to a cache that they share: BACKEND "
            "'django_redis.cache.RedisCache'. With one worker, all is well.",
        )


def _throttle_classes() -> Iterator[Any]:
    yield from conf.settings.THROTTLE_CLASSES
    try:
        servers = registry.servers()
    except Exception:  # see _servers()
        return
    for server in servers.values():
        for tool in server.tools.values():
            yield from tool.throttle_classes


def _memory() -> Iterator[CheckMessage]:
    if isinstance(delegating.innermost(_built(conf.settings.STORE)), MemoryStore):
        yield _message(
            Warning,
            9,
            "sessions and events are in the memory of one process, so they end with it, and another worker knows "
            "nothing of them.",
            promise=10,
            hint=f"Remove {conf.SETTING}['STORE'] to have them in the database. The memory store is for tests.",
        )


# The database


def _router() -> Iterator[CheckMessage]:
    alias = _alias()
    if alias is None:
        return
    asked = {router.db_for_read(models.Event), router.db_for_write(models.Event)}
    if asked != {alias} or not router.allow_migrate_model(alias, models.Event):
        yield _message(
            Error,
            8,
            f"the log is in the database '{alias}', but the project's DATABASE_ROUTERS look for its tables elsewhere, "
            "so they are not made there, and the admin does not find them.",
            promise=10,
            hint="Add 'streamable_http.stores.routers.LogRouter' to DATABASE_ROUTERS, in front of those that would "
            "send this app elsewhere.",
        )


def _sqlite() -> Iterator[CheckMessage]:
    alias = _alias()
    if alias is None or connections[alias].vendor != "sqlite":
        return
    options = connections.settings[alias].get("OPTIONS", {})
    place = f"DATABASES['{alias}']['OPTIONS']"
    if not re.search(r"journal_mode\s*=\s*wal\b", options.get("init_command") or "", re.IGNORECASE):
        yield _message(
            Warning,
            2,
            f"the SQLite database '{alias}' is not set to write-ahead logging, so readers keep others from writing, "
            "and a worker that cannot write in time loses its lease.",
            promise=6,
            hint=f'Set {place}["init_command"] = "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;".',
        )
    if str(options.get("transaction_mode")).upper() not in ("IMMEDIATE", "EXCLUSIVE"):
        yield _message(
            Warning,
            3,
            f"transactions of the SQLite database '{alias}' begin without the write lock, so one that first reads and "
            'then writes beside another worker fails with "database is locked", however long it may wait.',
            promise=5,
            hint=f'Set {place}["transaction_mode"] = "IMMEDIATE".',
        )
    if options.get("timeout", 5) < BUSY_SECONDS:
        yield _message(
            Warning,
            4,
            f"who writes to the SQLite database '{alias}' waits {options.get('timeout', 5):g} s for the others, and "
            "then fails.",
            promise=5,
            hint=f'Set {place}["timeout"] = {BUSY_SECONDS}.',
        )
    if _is_shared(alias):
        yield _message(
            Warning,
            5,
            f"the log shares the SQLite database '{alias}' with the project, and SQLite has one writer: while a tool "
            "is inside atomic(), nothing of any call can be committed, nor can a worker renew its lease.",
            promise=6,
            hint=f"Give the log a file of its own: another alias in DATABASES, {conf.SETTING}['DATABASE'] with its "
            "name, and 'streamable_http.stores.routers.LogRouter' in DATABASE_ROUTERS. Or use PostgreSQL.",
        )


def _several_on_sqlite() -> Iterator[CheckMessage]:
    alias = _alias()
    if alias is not None and connections[alias].vendor == "sqlite":
        yield _message(
            Info,
            3,
            f"this holds with any number of workers of one machine, but the log is in the SQLite database '{alias}', "
            "which has one writer: several workers wait for each other at every commit.",
            promise=5,
            hint="With several workers, use PostgreSQL. With one worker, all is well.",
        )


def _pool() -> Iterator[CheckMessage]:
    alias = _alias()
    pool = None if alias is None else connections.settings[alias].get("OPTIONS", {}).get("pool")
    if not pool or not _is_shared(alias):
        return
    options = pool if isinstance(pool, dict) else {}
    size = options.get("max_size") or options.get("min_size", POOL_SIZE)
    if size < most_connections():
        yield _message(
            Warning,
            10,
            f"the log shares the connections of the database '{alias}' with the project's tools, and its pool has "
            f"{size} of them, where a worker has use for {most_connections()}: while tools hold all of it, nothing of "
            "any call can be committed, nor can the worker renew its lease.",
            promise=6,
            hint=f'Set DATABASES["{alias}"]["OPTIONS"]["pool"] = {{"max_size": {most_connections()}, "timeout": 5}}, '
            f"lower {conf.SETTING}['TOOL_THREADS'], or give the log a database of its own.",
        )


def most_connections() -> int:
    """Return the number of connections to the project's database that one worker opens at most.

    A thread has at most one: those that read the log, the tools', those that authenticate, the one that asynchronous
    ORM calls share, and one each for the log and the lease. Threads that a project starts come on top.
    """
    return engine.READER_THREADS + conf.settings.TOOL_THREADS + authentication.THREADS + 3


def _alias() -> str | None:
    """Return the alias of the log's database, if it is in one."""
    store = delegating.innermost(_built(conf.settings.STORE))
    return store.alias if isinstance(store, DatabaseStore) else None


def _built(setting: dict[str, Any]) -> Any:
    """Return what a setting describes, or ``None`` where that is reported already."""
    try:
        return conf.build(setting)
    except Exception:  # see _parts()
        return None


def _is_shared(alias: str | None) -> bool:
    """Return whether others than the log use a database."""
    return any(router.db_for_write(model) == alias for model in _models_of_others())


def _models_of_others() -> Iterator[type[Model]]:
    return (model for model in apps.get_models() if model._meta.app_label != routers.APP_LABEL)  # noqa: SLF001


def _path(class_: type) -> str:
    return f"{class_.__module__}.{class_.__qualname__}"


# Who may call, and through what


def _anonymous() -> Iterator[CheckMessage]:
    settings = conf.settings
    if "ALLOW_ANONYMOUS" in getattr(django_settings, conf.SETTING, {}) or settings.PERMISSION_CLASSES:
        return
    classes = (
        "has AUTHENTICATION_CLASSES, but asks nobody for credentials"
        if settings.AUTHENTICATION_CLASSES
        else ("has no AUTHENTICATION_CLASSES")
    )
    yield _message(
        Warning,
        1,
        f"the endpoint {classes}, so whoever reaches it may call every tool, and an anonymous session belongs to "
        "whoever bears its id.",
        promise=7,
        hint=f"Set {conf.SETTING}['AUTHENTICATION_CLASSES'], and ['ALLOW_ANONYMOUS'] = False; or, if it is meant to "
        "be open, ['ALLOW_ANONYMOUS'] = True.",
    )


def _wsgi() -> Iterator[CheckMessage]:
    settings = conf.settings
    is_served_by_wsgi = django_settings.WSGI_APPLICATION and not getattr(django_settings, "ASGI_APPLICATION", None)
    has_something_to_lose = settings.MODE == "sessions" or not settings.JSON_ONLY
    if is_served_by_wsgi and has_something_to_lose and any(_views()):
        yield _message(
            Warning,
            6,
            "MCPView is in ROOT_URLCONF, and WSGI_APPLICATION is set but not ASGI_APPLICATION. Under WSGI the view "
            "serves without sessions and by JSON alone: no progress, no questions to the user, nothing to resume.",
            promise=3,
            hint="Serve the project by ASGI, and set ASGI_APPLICATION to say so. If it is to stay like that, set "
            f"{conf.SETTING}['MODE'] = 'sessionless' and ['JSON_ONLY'] = True.",
        )


def _views() -> Iterator[Any]:
    """Return the views of the project that serve an endpoint."""
    waiting: list[URLPattern | URLResolver] = (
        [get_resolver()] if getattr(django_settings, "ROOT_URLCONF", None) else []
    )
    while waiting:
        pattern = waiting.pop()
        if isinstance(pattern, URLResolver):
            waiting += pattern.url_patterns
        elif issubclass(getattr(pattern.callback, "view_class", object), MCPView):
            yield pattern.callback


SETTINGS_CHECKS: Final = (_names, _types)
CHECKS: Final = (_times, _authentication, _servers, _throttles, _parts, _router, _sqlite, _pool, _wsgi)
DEPLOY_CHECKS: Final = (
    _anonymous,
    _wakeups,
    _layer,
    _cache,
    _throttle_cache,
    _memory,
    _several_on_sqlite,
)
