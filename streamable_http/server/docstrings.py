"""Google-style docstrings: what a tool does, and what its arguments mean."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass, field
from typing import Final

_HEADER: Final = re.compile(r"(Args|Arguments|Parameters):\s*")
_ENTRY: Final = re.compile(r"(\w+)\s*(?:\([^)]*\))?:\s*(.*)")


@dataclass(frozen=True, slots=True)
class Docstring:
    """A docstring, taken apart."""

    description: str
    """Everything but the arguments."""

    arguments: dict[str, str] = field(default_factory=dict)
    """What is said about each argument, on one line."""


def parse(text: str | None) -> Docstring:
    """Take a docstring apart. Anything that is not an ``Args:`` section is description."""
    lines = inspect.cleandoc(text or "").splitlines()
    start = next((at for at, line in enumerate(lines) if _HEADER.fullmatch(line)), None)
    if start is None:
        return Docstring("\n".join(lines))
    end = next((at for at in range(start + 1, len(lines)) if _starts_at_margin(lines[at])), len(lines))
    rest = "\n".join(lines[:start]).rstrip() + "\n\n" + "\n".join(lines[end:])
    return Docstring(rest.strip(), _arguments(inspect.cleandoc("\n".join(["", *lines[start + 1 : end]]))))


def _arguments(section: str) -> dict[str, str]:
    arguments: dict[str, str] = {}
    name = ""
    for line in section.splitlines():
        entry = _ENTRY.fullmatch(line)
        if entry is not None:
            name = entry[1]
            arguments[name] = entry[2]
        elif name:
            arguments[name] = f"{arguments[name]} {line.strip()}".strip()
    return arguments


def _starts_at_margin(line: str) -> bool:
    return line[:1].strip() != ""
