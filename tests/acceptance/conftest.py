"""The test project, served by real processes, and a look into its database past all of our code."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests import services, setups
from tests.conftest import SERVERS, StartServer
from tests.services import ServerProcess

APPLICATION = "tests.site.asgi:application"
WSGI_APPLICATION = "tests.site.wsgi:application"

DATABASES = ["sqlite", "postgres"]

SHELLS = {"mount": "/mcp", "view": "/view/mcp"}
"""Where the test project serves its one endpoint: beside Django, and behind it."""


class Database:
    """A database as an outsider sees it."""

    def __init__(self, url: str) -> None:
        self.url = url

    def rows(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Return what a query finds; its parameters are written as ``?``."""
        if self.url.startswith("sqlite:///"):
            with contextlib.closing(sqlite3.connect(self.url.removeprefix("sqlite:///"), timeout=20)) as connection:
                return connection.execute(query, parameters).fetchall()
        with psycopg.connect(self.url) as connection:
            return connection.execute(query.replace("?", "%s"), parameters).fetchall()

    def execute(self, statement: str, *parameters: Any) -> None:
        """Change what is stored, behind the servers' backs; parameters are written as ``?``."""
        if self.url.startswith("sqlite:///"):
            with contextlib.closing(sqlite3.connect(self.url.removeprefix("sqlite:///"), timeout=20)) as connection:
                connection.execute(statement, parameters)
                connection.commit()
            return
        with psycopg.connect(self.url) as connection:
            connection.execute(statement.replace("?", "%s"), parameters)

    def state(self, stream_id: int) -> str:
        """Return the state of a stream."""
        return self.rows("SELECT state FROM streamable_http_stream WHERE id = ?", stream_id)[0][0]

    def events(self, stream_id: int) -> list[tuple[int, str]]:
        """Return what is stored of a stream: sequences and payloads, in order."""
        query = "SELECT sequence, payload FROM streamable_http_event WHERE stream_id = ? ORDER BY sequence"
        return self.rows(query, stream_id)


class Site(Database):
    """The test project on one database, and the servers that a test starts on it."""

    def __init__(self, url: str, start_server: StartServer, environment: Mapping[str, str] | None = None) -> None:
        super().__init__(url)
        self._start_server = start_server
        self._environment = environment or _environment(url)

    def serve(
        self, application: str = APPLICATION, *, settings: dict[str, Any] | None = None, **options: Any
    ) -> ServerProcess:
        """Start a server; ``settings`` are those of ``STREAMABLE_HTTP``."""
        environment = {**self._environment, "STREAMABLE_HTTP": json.dumps(settings or {})}
        return self._start_server(application, environment=environment, **options)

    def manage(self, *arguments: str, settings: dict[str, Any] | None = None) -> str:
        """Run a management command on the database and return what it printed."""
        environment = {**self._environment, "STREAMABLE_HTTP": json.dumps(settings or {})}
        return services.manage(*arguments, environment=environment)


class RunningSite(Site):
    """The test project on one database and one server, with the default settings, that a module's tests share."""

    def __init__(self, url: str, start_server: StartServer) -> None:
        super().__init__(url, start_server)
        self.server = self.serve()
        self.mcp_url = f"{self.server.url}/mcp"


class SetupSite(Site):
    """The test project in one of the supported set-ups; ``server`` is the one that a module's tests share."""

    server: ServerProcess

    def __init__(self, setup: setups.Setup, environment: Mapping[str, str], start_server: StartServer) -> None:
        url = environment.get("LOG_DATABASE_URL", environment["DATABASE_URL"])
        super().__init__(url, start_server, environment)
        self.setup = setup

    @property
    def mcp_url(self) -> str:
        return f"{self.server.url}/mcp"

    @property
    def pids(self) -> set[int]:
        return set(self.server.pids)

    def beside(self, pid: int) -> Callable[[int], bool]:
        """Return what tells whether a process is another worker; where there is no other, whether it is this one."""
        return (self.pids - {pid} or {pid}).__contains__


def _environment(url: str) -> dict[str, str]:
    return {"DATABASE_URL": url, "DJANGO_SETTINGS_MODULE": "tests.site.settings"}


@pytest.fixture(params=SHELLS.values(), ids=SHELLS.keys())
def mcp_path(request: pytest.FixtureRequest) -> str:
    """The endpoint's path; once through each shell."""
    return request.param


# Databases: migrated once, copied for each test


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("site") / "template.sqlite3"
    services.manage("migrate", "--verbosity=0", environment=_environment(f"sqlite:///{path}"))
    return path


@pytest.fixture(scope="session")
def postgres_template(postgres_server: str) -> Iterator[str]:
    with services.database(postgres_server) as url:
        services.manage("migrate", "--verbosity=0", environment=_environment(url))
        yield url


@contextlib.contextmanager
def site_database(request: pytest.FixtureRequest, vendor: str) -> Iterator[str]:
    if vendor == "sqlite":
        with tempfile.TemporaryDirectory(prefix="streamable_http-site-") as directory:
            path = Path(directory) / "db.sqlite3"
            shutil.copy(request.getfixturevalue("sqlite_template"), path)
            yield f"sqlite:///{path}"
    else:
        template = request.getfixturevalue("postgres_template")
        with services.database(request.getfixturevalue("postgres_server"), template=template) as url:
            yield url


# Sites


@pytest.fixture(params=DATABASES)
def new_site_url(request: pytest.FixtureRequest) -> Iterator[str]:
    with site_database(request, request.param) as url:
        yield url


@pytest.fixture
def new_site(new_site_url: str, server_process: StartServer) -> Site:
    """The test project on a database of this test's own; once on SQLite, once on PostgreSQL."""
    return Site(new_site_url, server_process)


@pytest.fixture
def new_sites(request: pytest.FixtureRequest, server_process: StartServer) -> Iterator[list[Site]]:
    """A new one on SQLite and one on PostgreSQL, for what takes long and can run at the same time."""
    with contextlib.ExitStack() as stack:
        urls = [stack.enter_context(site_database(request, vendor)) for vendor in DATABASES]
        yield [Site(url, server_process) for url in urls]


@pytest.fixture(scope="module", params=DATABASES)
def site_vendor(request: pytest.FixtureRequest) -> str:
    """What the database of a module's site is."""
    vendor: str = request.param
    return vendor


@pytest.fixture(scope="module")
def _module_site(
    request: pytest.FixtureRequest, site_vendor: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningSite]:
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(site_database(request, site_vendor))

        def start(application: str, **options: Any) -> ServerProcess:
            log = tmp_path_factory.mktemp("server") / "server.log"
            return stack.enter_context(services.serving(ServerProcess(application, log=log, **options)))

        yield RunningSite(url, start)


@pytest.fixture
def site(request: pytest.FixtureRequest, _module_site: RunningSite) -> RunningSite:
    """The test project with one server that the tests of a module share; once on SQLite, once on PostgreSQL."""
    request.node.stash.setdefault(SERVERS, []).append(_module_site.server)
    return _module_site


# The supported set-ups


@contextlib.contextmanager
def setup_environment(request: pytest.FixtureRequest, setup: setups.Setup) -> Iterator[dict[str, str]]:
    """Give the environment of the test project in a set-up, on new databases."""
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(site_database(request, setup.vendor))
        # What the page asks for; the URL has the real one.
        environment = {**_environment(url), "SETUP": setup.name, "DATABASE_PASSWORD": ""}
        if setup.vendor == "sqlite":
            environment["LOG_DATABASE_URL"] = stack.enter_context(site_database(request, setup.vendor))
        if setup.has_redis:
            environment["REDIS_URL"] = request.getfixturevalue("redis_url")
        yield environment


@pytest.fixture(scope="module", params=setups.SETUPS.values(), ids=setups.SETUPS)
def _setup_site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SetupSite]:
    with contextlib.ExitStack() as stack:
        environment = stack.enter_context(setup_environment(request, request.param))

        def start(application: str, **options: Any) -> ServerProcess:
            log = tmp_path_factory.mktemp("server") / "server.log"
            return stack.enter_context(services.serving(ServerProcess(application, log=log, **options)))

        site = SetupSite(request.param, environment, start)
        site.server = site.serve(workers=site.setup.workers)
        assert len(site.pids) == site.setup.workers
        yield site


@pytest.fixture
def setup_site(request: pytest.FixtureRequest, _setup_site: SetupSite) -> SetupSite:
    """The test project with one server that the tests of a module share; once in each set-up."""
    request.node.stash.setdefault(SERVERS, []).append(_setup_site.server)
    return _setup_site


@pytest.fixture
def new_setup_site(request: pytest.FixtureRequest, server_process: StartServer) -> Iterator[SetupSite]:
    """The test project in the set-up that the test names, on databases of its own, without a server yet."""
    with setup_environment(request, request.param) as environment:
        yield SetupSite(request.param, environment, server_process)


@pytest.fixture
def report_seconds(record_property: Callable[[str, object], None]) -> Callable[[str, float], None]:
    """Have a figure shown, and in the report of the run."""

    def report(what: str, seconds: float) -> None:
        record_property(what, round(seconds, 3))
        print(f"{what}: {seconds:.2f} s")  # noqa: T201  # figures to report

    return report
