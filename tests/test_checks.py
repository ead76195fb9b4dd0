from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.checks import registry as check_registry
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.db import connections
from django.urls import include, path
from pytest_django import Settings
from rest_framework.throttling import SimpleRateThrottle

from streamable_http import checks
from streamable_http.server import MCPServer
from streamable_http.views import MCPView
from tests import services, setups

GOOD_OPTIONS = {
    "transaction_mode": "IMMEDIATE",
    "timeout": 20,
    "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
}


def ids() -> set[str]:
    return {message.id.removeprefix("streamable_http.") for message in checks.check(None)}


def deploy_ids() -> set[str]:
    return {message.id.removeprefix("streamable_http.") for message in checks.check_deploy(None)}


def text(number: str) -> str:
    (message,) = [m for m in [*checks.check(None), *checks.check_deploy(None)] if m.id == f"streamable_http.{number}"]
    assert message.hint
    return f"{message.msg} {message.hint}"


@pytest.fixture(autouse=True)
def _good_project(settings: Settings) -> None:
    """A project with nothing to complain of, except that it shares its SQLite file with the log."""
    settings.ASGI_APPLICATION = "demo_project.asgi.application"
    settings.ROOT_URLCONF = __name__
    settings.STREAMABLE_HTTP = {"ALLOW_ANONYMOUS": True}
    settings.SILENCED_SYSTEM_CHECKS = []


urlpatterns: list[Any] = []


@pytest.fixture
def with_urls(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> Callable[..., None]:
    """Give the project routes."""

    def give(*patterns: Any) -> None:
        module = types.ModuleType("tests_checks_urls")
        vars(module)["urlpatterns"] = list(patterns)
        monkeypatch.setitem(sys.modules, module.__name__, module)
        settings.ROOT_URLCONF = module.__name__

    return give


@pytest.fixture
def with_sqlite(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Give the SQLite database options."""

    def give(**options: Any) -> None:
        monkeypatch.setitem(connections.settings["default"], "OPTIONS", options)

    return give


# Whole


def test_a_good_project_is_told_only_that_sqlite_has_one_writer() -> None:
    assert ids() == {"W005"}
    assert deploy_ids() == {"I001", "I003"}


def test_django_runs_the_checks() -> None:
    assert checks.check in check_registry.registry.get_checks()
    assert checks.check_deploy not in check_registry.registry.get_checks()
    assert checks.check_deploy in check_registry.registry.get_checks(include_deployment_checks=True)


def test_manage_check_fails_for_an_error(settings: Settings) -> None:
    settings.STREAMABLE_HTTP = {"MAX_BODY_BITES": 1}
    with pytest.raises(SystemCheckError, match=r"streamable_http\.E001.*did you mean 'MAX_BODY_BYTES'"):
        call_command("check", tags=[checks.TAG])


# Settings


@pytest.mark.parametrize(
    ("name", "near"), [("MAX_BODY_BITES", "MAX_BODY_BYTES"), ("max_body_bytes", None), ("MODES", "MODE")]
)
def test_e001_unknown_settings_are_told_with_the_nearest(settings: Settings, name: str, near: str | None) -> None:
    settings.STREAMABLE_HTTP = {name: 1}
    assert ids() == {"E001"}
    assert f"'{name}' is not a setting" in text("E001")
    assert ("did you mean" in text("E001")) is (near is not None)
    assert near is None or f"'{near}'" in text("E001")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MAX_BODY_BYTES", "4 MiB"),
        ("MAX_BODY_BYTES", 1.5),
        ("MAX_BODY_BYTES", True),
        ("MAX_BODY_BYTES", -1),
        ("MAX_BODY_BYTES", None),
        ("KEEP_ALIVE_SECONDS", float("nan")),
        ("KEEP_ALIVE_SECONDS", "15"),
        ("MAX_CONNECTION_SECONDS", -1),
        ("JSON_ONLY", 1),
        ("MODE", "stateless"),
        ("HISTORY", True),
        ("DATABASE", None),
        ("ALLOWED_ORIGINS", "https://app.example.com"),
        ("ALLOWED_ORIGINS", [1]),
        ("STORE", "streamable_http.stores.db.DatabaseStore"),
    ],
)
def test_e002_settings_of_another_type_are_told_with_the_right_one(
    settings: Settings, name: str, value: object
) -> None:
    settings.STREAMABLE_HTTP = {name: value}
    assert ids() == {"E002"}
    assert f"STREAMABLE_HTTP['{name}'] is {value!r}" in text("E002")
    assert deploy_ids() == set()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("KEEP_ALIVE_SECONDS", 15),
        ("MAX_CONNECTION_SECONDS", None),
        ("MAX_CONNECTION_SECONDS", 0),
        ("ALLOWED_ORIGINS", ["https://app.example.com"]),
        ("ALLOWED_ORIGINS", ()),
        ("MODE", "sessionless"),
    ],
)
def test_settings_of_the_right_type_are_taken(settings: Settings, name: str, value: object) -> None:
    settings.STREAMABLE_HTTP = {name: value}
    assert ids() == {"W005"}


@pytest.mark.parametrize("value", [None, [], "x"])
def test_e002_the_settings_are_a_dict(settings: Settings, value: object) -> None:
    settings.STREAMABLE_HTTP = value
    assert ids() == {"E002"}


def test_no_settings_at_all_are_the_defaults(settings: Settings) -> None:
    del settings.STREAMABLE_HTTP
    assert ids() == {"W005"}


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ({"HEARTBEAT_SECONDS": 10, "LOOP_STALL_SECONDS": 20}, {"E003"}),
        ({"HEARTBEAT_SECONDS": 9.9, "LOOP_STALL_SECONDS": 20}, set()),
        ({"LEASE_SECONDS": 7.5}, {"E003"}),
        ({"LOOP_STALL_SECONDS": 5}, {"E004"}),
        ({"LOOP_STALL_SECONDS": 5.1}, set()),
        ({"HEARTBEAT_SECONDS": 20}, {"E003", "E004"}),
    ],
)
def test_e003_e004_times_that_cannot_hold_promise_6(
    settings: Settings, times: dict[str, float], expected: set[str]
) -> None:
    settings.STREAMABLE_HTTP = times
    assert ids() == {"W005", *expected}
    for number in expected:
        assert "Promise 6" in text(number)


# Parts


@pytest.mark.parametrize(
    ("chosen", "reason"),
    [
        ({"AUTHENTICATION_CLASSES": ["rest_framework.authentication.SessionAuthentication"]}, "CSRF"),
        ({"AUTHENTICATION_CLASSES": ["no.such.Class"]}, "No module named 'no'"),
        ({"ALLOW_ANONYMOUS": False}, "no way to authenticate"),
        ({"PERMISSION_CLASSES": ["rest_framework.permissions.NoSuch"]}, "NoSuch"),
    ],
)
def test_e005_callers_must_be_told_apart(settings: Settings, chosen: dict[str, object], reason: str) -> None:
    settings.STREAMABLE_HTTP = chosen
    assert "E005" in ids()
    assert reason in text("E005")
    assert "Promise 7" in text("E005")


@pytest.fixture
def with_app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Settings) -> Callable[[str], None]:
    """Give the project an app with such an ``mcp.py``, and no other that has one."""

    def give(source: str) -> None:
        name = "tests_checks_shop"
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
        (tmp_path / name / "mcp.py").write_text(source)
        monkeypatch.syspath_prepend(tmp_path)
        for module in (name, f"{name}.mcp"):
            # Forgotten again after the test.
            monkeypatch.setitem(sys.modules, module, None)
            del sys.modules[module]
        others = [app for app in settings.INSTALLED_APPS if not app.startswith("demo_project")]
        settings.INSTALLED_APPS = [*others, name]

    return give


IMPORT = "from streamable_http.server import MCPServer\n"


def test_e006_two_servers_of_one_name(with_app: Callable[[str], None]) -> None:
    with_app(IMPORT + "one, other = MCPServer('twin'), MCPServer('twin')")
    assert "Two MCP servers are named 'twin'" in text("E006")


@pytest.mark.parametrize(
    ("source", "reason"), [("import no_such_module", "No module named 'no_such_module'"), ("1 / 0", "ZeroDivision")]
)
def test_e006_a_module_that_cannot_be_imported(with_app: Callable[[str], None], source: str, reason: str) -> None:
    with_app(source)
    assert reason in text("E006")


def test_e006_a_view_that_does_not_say_which_of_several_servers(
    with_app: Callable[[str], None], with_urls: Callable[..., None]
) -> None:
    with_app(IMPORT + "one, two = MCPServer('one'), MCPServer('two')")
    assert "E006" not in ids()
    with_urls(path("mcp", MCPView.as_view()))
    assert "Which MCP server?" in text("E006")
    with_urls(path("mcp", MCPView.as_view(server="three")))
    assert "No MCP server is named 'three'" in text("E006")
    with_urls(path("one", MCPView.as_view(server="one")), path("two", MCPView.as_view(server=MCPServer("own"))))
    assert "E006" not in ids()


THROTTLED = f"""
from rest_framework.throttling import ScopedRateThrottle, UserRateThrottle
{IMPORT}
shop = MCPServer("shop")

@shop.tool(throttle_classes=[ScopedRateThrottle, UserRateThrottle])
def lend_book() -> None: ...
"""


@pytest.fixture
def with_rates(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Give DRF's throttles these rates."""

    def give(**rates: str | None) -> None:
        monkeypatch.setattr(SimpleRateThrottle, "THROTTLE_RATES", rates)

    return give


def test_e009_a_tool_whose_throttle_has_no_rate(
    with_app: Callable[[str], None], with_rates: Callable[..., None]
) -> None:
    with_app(THROTTLED)
    with_rates(user=None)
    assert "the tool 'lend_book' of the server 'shop' has the throttle ScopedRateThrottle" in text("E009")
    assert "'lend_book': '60/minute'" in text("E009")
    with_rates(user=None, lend_book="often")
    assert "ScopedRateThrottle" in text("E009")
    with_rates(lend_book="5/minute")
    assert "UserRateThrottle" in text("E009")
    with_rates(user=None, lend_book="5/minute")
    assert "E009" not in ids()


def test_e009_an_endpoint_whose_throttle_has_no_rate(settings: Settings, with_rates: Callable[..., None]) -> None:
    settings.STREAMABLE_HTTP |= {"THROTTLE_CLASSES": ["rest_framework.throttling.ScopedRateThrottle"]}
    with_rates()
    assert "STREAMABLE_HTTP['THROTTLE_CLASSES'] has the throttle ScopedRateThrottle" in text("E009")
    with_rates(mcp="100/hour")
    assert "E009" not in ids()


@pytest.mark.parametrize(
    ("chosen", "reason"),
    [
        ({"DATABASE": "nowhere"}, "'nowhere'"),
        ({"STORE": {"BACKEND": "no.such.Store"}}, "No module named 'no'"),
        ({"STORE": {}}, "BACKEND"),
        ({"STORE": {"BACKEND": "streamable_http.stores.db.DatabaseStore", "OPTIONS": {"shards": 3}}}, "shards"),
        (
            {
                "WAKEUPS": {
                    "BACKEND": "streamable_http.delivery.wakeups.channel_layer.ChannelLayerWakeups",
                    "OPTIONS": {"alias": "nowhere"},
                }
            },
            "No channel layer 'nowhere'",
        ),
        (
            {"STORE": {"BACKEND": "streamable_http.stores.cached.CachedStore", "OPTIONS": {"cache": "nowhere"}}},
            "No cache 'nowhere'",
        ),
        (
            {
                "STORE": {
                    "BACKEND": "streamable_http.stores.cached.CachedStore",
                    "OPTIONS": {"store": {"BACKEND": "no.such.Store"}},
                }
            },
            "No module named 'no'",
        ),
    ],
)
def test_e007_store_and_wakeups_must_be_there(settings: Settings, chosen: dict[str, object], reason: str) -> None:
    settings.STREAMABLE_HTTP = chosen
    assert "E007" in ids()
    assert reason in text("E007")


def test_a_store_without_a_database_needs_none(settings: Settings, with_sqlite: Callable[..., None]) -> None:
    with_sqlite()
    settings.DATABASE_ROUTERS = []
    settings.STREAMABLE_HTTP = {"STORE": {"BACKEND": "streamable_http.stores.memory.MemoryStore"}}
    assert ids() == set()


# The database


@pytest.fixture
def log_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Settings) -> Iterator[None]:
    """A database of the log's own."""
    config = {**connections.settings["default"], "NAME": tmp_path / "log.sqlite3"}
    monkeypatch.setitem(connections.settings, "log", config)
    settings.STREAMABLE_HTTP = {"DATABASE": "log"}
    yield
    # Made by asking which kind of database it is; never opened.
    del connections["log"]


@pytest.mark.usefixtures("log_database")
def test_with_a_database_of_its_own_and_the_router_all_is_well() -> None:
    assert ids() == set()


@pytest.mark.usefixtures("log_database")
def test_e008_a_database_of_its_own_needs_the_router(settings: Settings) -> None:
    settings.DATABASE_ROUTERS = []
    assert ids() == {"E008"}
    assert "streamable_http.stores.routers.LogRouter" in text("E008")


class Elsewhere:
    """A router that sends everything to a replica."""

    def db_for_read(self, model: type, **hints: Any) -> str:
        return "replica"


def test_e008_a_router_must_not_read_the_log_elsewhere(settings: Settings) -> None:
    settings.DATABASE_ROUTERS = [Elsewhere(), *settings.DATABASE_ROUTERS]
    assert "E008" in ids()


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"init_command": ""}, {"W002"}),
        ({"init_command": None}, {"W002"}),
        ({"init_command": "PRAGMA journal_mode=DELETE"}, {"W002"}),
        ({"init_command": "pragma journal_mode = wal"}, set()),
        ({"transaction_mode": None}, {"W003"}),
        ({"transaction_mode": "DEFERRED"}, {"W003"}),
        ({"transaction_mode": "exclusive"}, set()),
        ({"timeout": 5}, {"W004"}),
        ({"timeout": 30.5}, set()),
    ],
)
@pytest.mark.usefixtures("log_database")
def test_w002_w003_w004_how_sqlite_is_set_up(
    monkeypatch: pytest.MonkeyPatch, changed: dict[str, object], expected: set[str]
) -> None:
    monkeypatch.setitem(connections.settings["log"], "OPTIONS", {**GOOD_OPTIONS, **changed})
    assert ids() == expected


def test_sqlite_as_it_comes_is_warned_of_in_all_points(with_sqlite: Callable[..., None]) -> None:
    with_sqlite()
    assert ids() == {"W002", "W003", "W004", "W005"}


def test_w005_says_what_one_writer_means() -> None:
    assert "atomic()" in text("W005")
    assert "Promise 6" in text("W005")


# Production


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ({}, {"W001"}),
        ({"AUTHENTICATION_CLASSES": ["rest_framework.authentication.BasicAuthentication"]}, {"W001"}),
        (
            {
                "AUTHENTICATION_CLASSES": ["rest_framework.authentication.BasicAuthentication"],
                "ALLOW_ANONYMOUS": False,
            },
            set(),
        ),
        ({"ALLOW_ANONYMOUS": True}, set()),
        ({"PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"]}, set()),
    ],
)
def test_w001_an_open_endpoint_must_be_meant(settings: Settings, chosen: dict[str, Any], expected: set[str]) -> None:
    settings.STREAMABLE_HTTP = chosen
    assert deploy_ids() == {"I001", "I003", *expected}
    assert "W001" not in ids()


def test_i001_says_what_polling_costs(settings: Settings) -> None:
    settings.STREAMABLE_HTTP = {"POLL_MAX_SECONDS": 7}
    assert "up to 7 s late" in text("I001")
    settings.STREAMABLE_HTTP = {
        "WAKEUPS": {"BACKEND": "streamable_http.delivery.wakeups.channel_layer.ChannelLayerWakeups"},
    }
    assert "I001" not in deploy_ids()


CHANNEL_LAYER = "streamable_http.delivery.wakeups.channel_layer.ChannelLayerWakeups"


@pytest.mark.parametrize(
    ("backend", "expected"),
    [
        ("channels.layers.InMemoryChannelLayer", {"W007"}),
        ("channels_redis.core.RedisChannelLayer", {"I004"}),
        ("channels_redis.pubsub.RedisPubSubChannelLayer", set()),
    ],
)
def test_w007_i004_layers_that_wake_nobody_else_or_slowly(
    settings: Settings, backend: str, expected: set[str]
) -> None:
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": backend}}
    assert deploy_ids() & {"W007", "I004"} == set()
    settings.STREAMABLE_HTTP = {"WAKEUPS": {"BACKEND": CHANNEL_LAYER}, "ALLOW_ANONYMOUS": True}
    assert deploy_ids() == {"I003", *expected}
    for number in expected:
        assert "Promise 5" in text(number)


@pytest.mark.parametrize(
    ("backend", "expected"),
    [
        ("django.core.cache.backends.locmem.LocMemCache", {"W008"}),
        ("django.core.cache.backends.dummy.DummyCache", {"W008"}),
        ("django_redis.cache.RedisCache", set()),
    ],
)
def test_w008_throttles_that_each_worker_counts_for_itself(
    settings: Settings, backend: str, expected: set[str]
) -> None:
    settings.CACHES = {"default": {"BACKEND": backend, "LOCATION": "redis://127.0.0.1:1"}}
    assert "W008" not in deploy_ids()
    settings.STREAMABLE_HTTP = {"THROTTLE_CLASSES": ["rest_framework.throttling.AnonRateThrottle"]}
    assert deploy_ids() & {"W008"} == expected
    if expected:
        assert "Promise 9" in text("W008")


def test_w008_a_tool_may_have_a_throttle_of_its_own(with_app: Callable[[str], None]) -> None:
    tool = "@server.tool(throttle_classes=[AnonRateThrottle])\ndef add(a: int) -> int:\n    return a\n"
    throttles = "from rest_framework.throttling import AnonRateThrottle\n"
    with_app(f"{IMPORT}{throttles}server = MCPServer('one')\n{tool}")
    assert "W008" in deploy_ids()


def test_w009_the_memory_store_ends_with_its_process(settings: Settings) -> None:
    settings.STREAMABLE_HTTP = {"STORE": {"BACKEND": "streamable_http.stores.memory.MemoryStore"}}
    assert "W009" in deploy_ids()
    assert "Promise 10" in text("W009")


def test_i003_says_what_sqlite_costs_several_workers() -> None:
    assert "one writer" in text("I003")


POSTGRESQL = {"ENGINE": "django.db.backends.postgresql", "NAME": "library"}


@pytest.mark.parametrize(
    ("pool", "is_small"),
    [
        (None, False),
        (False, False),
        (True, True),
        ({"timeout": 5}, True),
        ({"min_size": 2, "max_size": 26}, True),
        ({"min_size": 2, "max_size": 27}, False),
        ({"min_size": 27}, False),
    ],
)
def test_w010_a_pool_that_tools_can_use_up(
    monkeypatch: pytest.MonkeyPatch, settings: Settings, pool: object, is_small: bool
) -> None:
    configured = connections.configure_settings({"default": {}, "shop": {**POSTGRESQL, "OPTIONS": {"pool": pool}}})
    monkeypatch.setitem(connections.settings, "shop", configured["shop"])
    settings.STREAMABLE_HTTP = {"DATABASE": "shop", "ALLOW_ANONYMOUS": True}
    settings.DATABASE_ROUTERS = [AllIn("shop")]
    try:
        assert ids() == ({"W010"} if is_small else set())
        if is_small:
            assert "has use for 27" in text("W010")
        # Nobody else uses it.
        settings.DATABASE_ROUTERS = ["streamable_http.stores.routers.LogRouter"]
        assert ids() == set()
    finally:
        # Made by asking which kind of database it is; never opened.
        del connections["shop"]


class AllIn:
    """A router that has everything in one database."""

    def __init__(self, alias: str) -> None:
        self._alias = alias

    def db_for_read(self, model: type, **hints: Any) -> str:
        return self._alias

    db_for_write = db_for_read


# The supported set-ups


TELL_CHECKS = """
from streamable_http import checks
print(*[message.id.partition(".")[2] for message in [*checks.check(None), *checks.check_deploy(None)]])
"""


@pytest.mark.acceptance
@pytest.mark.parametrize(
    ("setup", "notes"),
    [
        pytest.param(setups.ONE_PROCESS, {"I001", "I003"}, id="one-process"),
        pytest.param(setups.WORKERS, {"I001"}, id="workers"),
        pytest.param(setups.REDIS, set(), id="workers-redis"),
    ],
)
def test_the_supported_set_ups_hold_all_promises(setup: setups.Setup, notes: set[str], tmp_path: Path) -> None:
    urls = {
        "sqlite": {"DATABASE_URL": f"sqlite:///{tmp_path}/db", "LOG_DATABASE_URL": f"sqlite:///{tmp_path}/log"},
        "postgres": {"DATABASE_URL": "postgresql://library@127.0.0.1/library", "DATABASE_PASSWORD": ""},
    }
    environment = {
        **urls[setup.vendor],
        "DJANGO_SETTINGS_MODULE": "tests.site.settings",
        "SETUP": setup.name,
        "REDIS_URL": "redis://127.0.0.1:6379/0",
        "STREAMABLE_HTTP": '{"ALLOW_ANONYMOUS": true}',
    }
    told = services.manage("shell", "--verbosity=0", "--command", TELL_CHECKS, environment=environment)
    assert set(told.split()) == notes


def test_i002_a_cache_of_each_workers_own_helps_no_other(settings: Settings) -> None:
    settings.STREAMABLE_HTTP = {"STORE": {"BACKEND": "streamable_http.stores.cached.CachedStore"}}
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    assert "I002" in deploy_ids()
    assert "CACHES['default']" in text("I002")
    settings.CACHES = {"default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": "redis://localhost"}}
    assert "I002" not in deploy_ids()


def test_sqlite_behind_a_cache_is_checked_like_sqlite(settings: Settings, with_sqlite: Callable[..., None]) -> None:
    with_sqlite()
    settings.STREAMABLE_HTTP = {"STORE": {"BACKEND": "streamable_http.stores.cached.CachedStore"}}
    assert ids() == {"W002", "W003", "W004", "W005"}


# WSGI


@pytest.mark.parametrize("asgi", [None, ""])
def test_w006_a_view_under_wsgi_has_no_sessions(
    settings: Settings, with_urls: Callable[..., None], asgi: str | None
) -> None:
    settings.WSGI_APPLICATION = "demo_project.wsgi.application"
    settings.ASGI_APPLICATION = asgi
    assert "W006" not in ids()
    with_urls(path("deep/", include(([path("er", include("streamable_http.urls"))], "agents"))))
    assert "sessions" in text("W006")
    settings.STREAMABLE_HTTP = {"MODE": "sessionless"}
    assert "W006" in ids()


@pytest.mark.parametrize(
    "chosen",
    [
        {"ASGI_APPLICATION": "demo_project.asgi.application"},
        {"WSGI_APPLICATION": None},
        {"STREAMABLE_HTTP": {"MODE": "sessionless", "JSON_ONLY": True}},
    ],
)
def test_w006_is_silent_where_nothing_is_lost(
    settings: Settings, with_urls: Callable[..., None], chosen: dict[str, Any]
) -> None:
    settings.WSGI_APPLICATION = "demo_project.wsgi.application"
    settings.ASGI_APPLICATION = None
    with_urls(path("", include("streamable_http.urls")))
    assert "W006" in ids()
    for name, value in chosen.items():
        setattr(settings, name, value)
    assert "W006" not in ids()
