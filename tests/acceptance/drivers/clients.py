"""The clients, how each is installed, and how a test starts one and hears from it."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests import node, services

HERE = Path(__file__).resolve().parent
ENVIRONMENTS = services.ROOT / ".venv"

ANSWER_SECONDS = 60


@dataclass(frozen=True)
class PythonClient:
    """A client in Python."""

    script: str
    """Its driver."""

    environment: str | None = None
    """Name of its environment, and of the file beside this one that says what is in it; ``None``: the tests' own."""

    def command(self) -> list[str]:
        """Install the client unless it is, and return what starts its driver.

        Raises:
            ServiceUnavailable: it cannot be installed.
        """
        python = _python_with(self.environment) if self.environment else sys.executable
        return [str(python), str(HERE / self.script)]


@dataclass(frozen=True)
class NodeClient:
    """A client in JavaScript."""

    script: str
    """Its driver."""

    def command(self) -> list[str]:
        """Install the client unless it is, and return what starts its driver.

        Raises:
            ServiceUnavailable: it cannot be installed.
        """
        node.npm_install(HERE)
        return [str(node.node_path()), str(HERE / self.script)]


CLIENTS = {
    "mcp 2": PythonClient("python_sdk.py"),
    "mcp 1": PythonClient("python_sdk_1.py", environment="mcp-1"),
    "fastmcp": PythonClient("fastmcp_client.py", environment="fastmcp"),
    "typescript": NodeClient("typescript_sdk.mjs"),
}


class DriverFailed(Exception):
    """A driver ended, or was silent for too long; the message ends with what it said of that."""


class Driver:
    """One client in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self._process = process
        self._log = log

    async def next(self) -> dict[str, Any]:
        """Return what it prints next.

        Raises:
            DriverFailed: it prints nothing.
        """
        assert self._process.stdout is not None
        try:
            line = await asyncio.wait_for(self._process.stdout.readline(), ANSWER_SECONDS)
        except TimeoutError:
            line = b""
        if not line:
            raise DriverFailed(self._log.read_text(errors="replace") or f"silent for {ANSWER_SECONDS} s")
        fact: dict[str, Any] = json.loads(line)
        return fact


@contextlib.asynccontextmanager
async def started(command: list[str], scenario: str, url: str, *, log: Path) -> AsyncIterator[Driver]:
    """Start a driver; it ends with the context."""
    with log.open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            *command,
            scenario,
            url,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            limit=16 * 1024 * 1024,
        )
    try:
        yield Driver(process, log)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


def _python_with(name: str) -> Path:
    """Return the interpreter of an environment with what ``<name>.txt`` says, made unless it is there."""
    directory = ENVIRONMENTS / name
    requirements = HERE / f"{name}.txt"
    python = directory / "bin" / "python"
    stamp = directory / "installed.txt"
    wanted = f"{sys.version}\n{requirements.read_text()}"
    # Two runs at a time would write the same files.
    with requirements.open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.exists() or stamp.read_text() != wanted:
            _run("-m", "venv", "--without-pip", "--clear", str(directory))
            pip = ("-m", "pip", "--python", str(python), "--disable-pip-version-check")
            _run(*pip, "install", "--quiet", "--requirement", str(requirements))
            stamp.write_text(wanted)
    return python


def _run(*arguments: str) -> None:
    services.install(" ".join(arguments), [sys.executable, *arguments])
