"""Server processes: started on a core and a port of their own, ended by their pid."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

START_SECONDS: Final = 30.0
STOP_SECONDS: Final = 15.0

UVICORN: Final = ("uvicorn", "--http", "httptools", "--loop", "uvloop", "--no-access-log")
STARTED: Final = "Started server process"
"""What uvicorn writes for each worker."""

PROFILER: Final = "benchmarks.servers.profiled"


class ServerError(Exception):
    """A server did not start, or a preparation failed; says what it wrote."""


@dataclass(frozen=True, slots=True)
class Server:
    """What to run."""

    application: str
    """As uvicorn takes it: ``module:name``."""

    environment: Mapping[str, str] = field(default_factory=dict)

    profile: Path | None = None
    """Where cProfile writes its figures."""

    workers: int = 1

    def command(self, port: int) -> list[str]:
        """Return the command line."""
        if self.profile is not None:
            return [sys.executable, "-m", PROFILER, str(port), self.application, str(self.profile)]
        level = "warning" if self.workers == 1 else "info"
        workers = ["--workers", str(self.workers), "--log-level", level]
        return [sys.executable, "-m", *UVICORN, *workers, "--port", str(port), self.application]


@dataclass(frozen=True, slots=True)
class Running:
    """A server that is up."""

    port: int
    pids: Sequence[int]
    """Of the processes that serve."""

    log: Path

    def cpu_seconds(self) -> float:
        """Return what the processes have used so far, with threads that have ended; 0 where nobody tells."""
        try:
            # Linux' clock of another process, as clock_getcpuclockid(3) makes its number.
            return sum(time.clock_gettime(~pid << 3 | 2) for pid in self.pids)
        except OSError:
            return 0.0

    def last_words(self) -> str:
        """Return the end of what it wrote."""
        return self.log.read_text(errors="replace").strip()[-2000:]


def cores() -> tuple[set[int], set[int]]:
    """Return the servers' core and the load's; the same one where there is only one, or none can be chosen."""
    if not hasattr(os, "sched_getaffinity"):
        return set(), set()
    available = sorted(os.sched_getaffinity(0))
    return {available[0]}, {available[-1]}


def pin(chosen: set[int]) -> None:
    """Keep this process, and what it starts, on some cores."""
    if chosen:
        os.sched_setaffinity(0, chosen)


@contextlib.contextmanager
def serve(server: Server, *, core: set[int], log: Path) -> Iterator[Running]:
    """Run a server until the context ends."""
    port = _free_port()
    with log.open("wb") as output:
        process = subprocess.Popen(
            server.command(port),
            env={**os.environ, **server.environment},
            stdout=output,
            stderr=subprocess.STDOUT,
            preexec_fn=partial(pin, core),
        )
    try:
        _await_port(process, port, log)
        if server.workers > 1:
            _await_workers(process, server.workers, log)
        yield Running(port, _workers(process.pid) if server.workers > 1 else [process.pid], log)
    finally:
        _stop(process)


def run(command: Sequence[str], environment: Mapping[str, str]) -> None:
    """Run a command to its end.

    Raises:
        ServerError: it failed.
    """
    done = subprocess.run(
        command, env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    if done.returncode:
        raise ServerError(f"{' '.join(command)} failed:\n{done.stdout.decode(errors='replace')[-2000:]}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _await_port(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise ServerError(f"{process.args!r} does not listen:\n{log.read_text(errors='replace')[-2000:]}")


def _await_workers(process: subprocess.Popen[bytes], workers: int, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        if log.read_text(errors="replace").count(STARTED) == workers:
            return
        time.sleep(0.05)
    raise ServerError(f"{process.args!r} has not {workers} workers:\n{log.read_text(errors='replace')[-2000:]}")


def _workers(pid: int) -> list[int]:
    """Return the children of a process; none where the system does not tell."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _stop(process: subprocess.Popen[bytes]) -> None:
    # SIGINT, not SIGTERM: uvicorn raises the signal again when it is done, and only this one lets Python end in order.
    process.send_signal(signal.SIGINT)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
