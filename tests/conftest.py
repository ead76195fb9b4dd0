"""Fixtures for tests against real services and real server processes.

A test whose service cannot be had is skipped with the reason; with ``FORBID_SKIPS=1`` any skip is a failure.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import hypothesis
import pytest
from django.test import override_settings
from pytest_django import DjangoDbBlocker, Settings

from tests import services
from tests.services import OwnService, ServerProcess

SERVERS = pytest.StashKey[list[ServerProcess]]()
LOG_TAIL_CHARACTERS = 20_000

# How long an example takes tells how busy the machine is, and nothing of the code.
hypothesis.settings.register_profile("untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("untimed")


def pytest_configure() -> None:
    # Ended by a time limit, the run still ends its servers.
    signal.signal(signal.SIGTERM, _stop_run)


def _stop_run(number: int, frame: FrameType | None) -> None:
    pytest.exit("terminated", returncode=128 + number)


# Skips and logs


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _forbid_skip(report)
    if report.failed:
        for server in item.stash.get(SERVERS, []):
            report.sections.append((f"{server.server} at {server.url}", server.output[-LOG_TAIL_CHARACTERS:]))
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _forbid_skip(report)
    return report


def _forbid_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    if os.environ.get("FORBID_SKIPS") == "1" and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, and FORBID_SKIPS is set: {report.longrepr}"


# Services


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The URL of a PostgreSQL server that lets us make databases."""
    with _skipping_without_service(), services.postgres() as url:
        yield url


@pytest.fixture
def postgres_database(postgres_server: str) -> Iterator[Callable[[], str]]:
    """A function that makes an empty database and returns its URL; dropped after the test."""
    with contextlib.ExitStack() as stack:
        yield lambda: stack.enter_context(services.database(postgres_server))


@pytest.fixture
def postgres_url(postgres_database: Callable[[], str]) -> str:
    """The URL of an empty database of this test's own."""
    return postgres_database()


@pytest.fixture(scope="session")
def postgres_log(postgres_server: str, django_db_blocker: DjangoDbBlocker) -> Iterator[str]:
    """The URL of a database with the log's tables, to be copied: migrating takes as long as many a test."""
    with services.database(postgres_server) as url:
        _migrate_log(url, django_db_blocker)
        yield url


@pytest.fixture(scope="session")
def sqlite_log(tmp_path_factory: pytest.TempPathFactory, django_db_blocker: DjangoDbBlocker) -> Path:
    """A file with the log's tables, to be copied."""
    path = tmp_path_factory.mktemp("log") / "log.sqlite3"
    _migrate_log(f"sqlite:///{path}", django_db_blocker)
    return path


def _migrate_log(url: str, blocker: DjangoDbBlocker) -> None:
    with (
        override_settings(STREAMABLE_HTTP={"DATABASE": "log"}),
        blocker.unblock(),
        services.django_alias(url, alias="log"),
    ):
        pass


@pytest.fixture(params=["sqlite", "postgres"])
def log_alias(
    request: pytest.FixtureRequest, tmp_path: Path, settings: Settings, django_db_blocker: DjangoDbBlocker
) -> Iterator[str]:
    """The alias of a new database that holds the log, and nothing else; once on SQLite, once on PostgreSQL.

    Do not combine it with ``django_db``. What a test opens in other threads, it closes there.
    """
    settings.STREAMABLE_HTTP = {**getattr(settings, "STREAMABLE_HTTP", {}), "DATABASE": "log"}
    with contextlib.ExitStack() as stack:
        if request.param == "sqlite":
            copied = shutil.copy(request.getfixturevalue("sqlite_log"), tmp_path / "log.sqlite3")
            url = f"sqlite:///{copied}"
        else:
            server, template = (request.getfixturevalue(name) for name in ("postgres_server", "postgres_log"))
            url = stack.enter_context(services.database(server, template=template))
        stack.enter_context(django_db_blocker.unblock())
        yield stack.enter_context(services.django_alias(url, alias="log", is_migrated=True))


@pytest.fixture
def nothing_behind() -> Iterator[None]:
    """Ends the engine that a test without an event loop has started."""
    yield
    from streamable_http import shells  # noqa: PLC0415  # needs Django's settings, and the fault run imports this before

    shells.end_behind()


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """The URL of a Redis server. Tests share it: use keys and groups of your own."""
    with _skipping_without_service(), services.redis() as url:
        yield url


@pytest.fixture
def own_postgres() -> Iterator[OwnService]:
    """A PostgreSQL server of this test's own, which it may stop and start."""
    with _skipping_without_service(), services.own_postgres() as service:
        yield service


@pytest.fixture
def own_redis() -> Iterator[OwnService]:
    """A Redis server of this test's own, which it may stop and start."""
    with _skipping_without_service(), services.own_redis() as service:
        yield service


@contextlib.contextmanager
def _skipping_without_service() -> Iterator[None]:
    try:
        yield
    except services.ServiceUnavailable as error:
        pytest.skip(str(error))


# Server processes


class StartServer(Protocol):
    """Starts ``application`` and returns it serving; the keywords are those of ``ServerProcess``."""

    def __call__(self, application: str, **options: Any) -> ServerProcess: ...


@pytest.fixture
def server_process(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StartServer]:
    """A function that starts an ASGI server in its own processes; ended after the test, its log shown on failure."""
    servers = request.node.stash.setdefault(SERVERS, [])
    with contextlib.ExitStack() as stack:

        def start(application: str, **options: Any) -> ServerProcess:
            options.setdefault("log", tmp_path / f"server-{len(servers)}.log")
            server = ServerProcess(application, **options)
            servers.append(server)
            return stack.enter_context(services.serving(server))

        yield start


# The demo project


class StartDemo(Protocol):
    """Starts the demo project on seeded databases of the test's own.

    Without ``database_url`` these are two SQLite files; with it (of an empty PostgreSQL database), everything is in
    that one. A second call with the same URL serves the same data on another port.
    """

    def __call__(
        self, *, database_url: str | None = None, environment: dict[str, str] | None = None, **options: Any
    ) -> ServerProcess: ...


@pytest.fixture(scope="session")
def seeded_demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the demo project's two SQLite files, migrated and seeded. Copy it, do not change it."""
    directory = tmp_path_factory.mktemp("seeded_demo")
    services.prepare_demo({"DEMO_DATA_DIR": str(directory)})
    return directory


@pytest.fixture
def demo_server(server_process: StartServer, seeded_demo: Path, tmp_path: Path) -> StartDemo:
    """A function that starts the demo project; see ``StartDemo``."""
    prepared: set[str] = set()
    data = tmp_path / "demo_data"

    def start(
        *, database_url: str | None = None, environment: dict[str, str] | None = None, **options: Any
    ) -> ServerProcess:
        variables = {"DEMO_DATA_DIR": str(data), **(environment or {})}
        if not data.exists():
            shutil.copytree(seeded_demo, data)
        if database_url is not None:
            variables["DATABASE_URL"] = database_url
            if database_url not in prepared:
                services.prepare_demo(variables)
                prepared.add(database_url)
        return server_process("demo_project.asgi:application", environment=variables, **options)

    return start
