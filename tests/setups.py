"""The supported set-ups: the blocks of settings in ``docs/how-to/set-ups.md``, read from there.

Where databases and Redis are, the environment says: ``DATABASE_URL``, ``LOG_DATABASE_URL`` and ``REDIS_URL``.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import dj_database_url

PAGE: Final = Path(__file__).resolve().parent.parent / "docs" / "how-to" / "set-ups.md"

_WHERE: Final = ("NAME", "USER", "PASSWORD", "HOST", "PORT")
"""What differs between databases of one set-up."""

_URLS: Final = {"default": "DATABASE_URL", "log": "LOG_DATABASE_URL"}


@dataclass(frozen=True, slots=True)
class Setup:
    """One way to run a project."""

    name: str
    headings: tuple[str, ...]
    """Of the page; their blocks make the settings, in this order."""

    vendor: str
    workers: int
    has_redis: bool = False

    def settings(self) -> dict[str, Any]:
        """Return what its blocks set, with databases and Redis where the environment says."""
        settings = self.written()
        for alias, config in settings["DATABASES"].items():
            there = dj_database_url.parse(os.environ[_URLS[alias]])
            config.update({name: there[name] for name in _WHERE if name in there})
        return settings

    def written(self) -> dict[str, Any]:
        """Return what its blocks set, with the page's own database."""
        settings: dict[str, Any] = {"os": os}
        for heading in self.headings:
            exec(compile(block(heading), f"{PAGE.name}: {heading}", "exec"), settings)
        return {name: value for name, value in settings.items() if name.isupper()}


ONE_PROCESS: Final = Setup("one-process", ("One process",), "sqlite", workers=1)
WORKERS: Final = Setup("workers", ("Several workers",), "postgres", workers=2)
REDIS: Final = Setup(
    "workers-redis", ("Several workers", "Several workers with Redis"), "postgres", workers=2, has_redis=True
)
SQLITE_WORKERS: Final = Setup("workers-sqlite", ONE_PROCESS.headings, "sqlite", workers=2)
"""Correct, if slow."""

SUPPORTED: Final = (ONE_PROCESS, WORKERS, REDIS)
SETUPS: Final = {setup.name: setup for setup in (*SUPPORTED, SQLITE_WORKERS)}
OF_SEVERAL_WORKERS: Final = (WORKERS, REDIS, SQLITE_WORKERS)


def block(heading: str) -> str:
    """Return the code of the one block of Python below a heading of the page, without the project that it is for."""
    _, _, section = PAGE.read_text().partition(f"\n## {heading}\n")
    (code,) = re.findall(r"^```python\n(.*?)^```$", section.partition("\n## ")[0], re.MULTILINE | re.DOTALL)
    return code.replace("from mysite.settings import *\n", "")
