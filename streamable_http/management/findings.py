"""What the doctor says: of each thing, how it is and what to do."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Verdict(enum.StrEnum):
    """How something is."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    about: str
    verdict: Verdict
    what: str
    hint: str = ""
    """What to do."""


def ok(about: str, what: str, hint: str = "") -> Finding:
    """Return that something is as it should be."""
    return Finding(about, Verdict.OK, what, hint)


def warning(about: str, what: str, hint: str) -> Finding:
    """Return that something may be as it should be."""
    return Finding(about, Verdict.WARNING, what, hint)


def failed(about: str, what: str, hint: str) -> Finding:
    """Return that something is not as it should be."""
    return Finding(about, Verdict.FAILED, what, hint)
