"""Durations as people type them."""

from __future__ import annotations

import re
from argparse import ArgumentTypeError
from typing import Final

UNIT_SECONDS: Final = {"s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0, "w": 604_800.0}

MAX_SECONDS: Final = 36_500 * 86_400.0
"""A hundred years; databases know no dates far before Christ."""

_DURATION: Final = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*([smhdw]?)", re.ASCII)


def seconds(text: str) -> float:
    """Return the seconds of ``90``, ``10m``, ``1.5h``, ``7d`` or ``2w``.

    Raises:
        ArgumentTypeError: it is no duration.
    """
    return _parse(text, "s")


def days(text: str) -> float:
    """Return the days of ``7d``, ``12h`` or ``0.5``, which are days.

    Raises:
        ArgumentTypeError: it is no duration.
    """
    return _parse(text, "d") / UNIT_SECONDS["d"]


def _parse(text: str, unit: str) -> float:
    match = _DURATION.fullmatch(text.strip())
    value = float(match[1]) * UNIT_SECONDS[match[2] or unit] if match else -1.0
    if not 0 <= value <= MAX_SECONDS:
        raise ArgumentTypeError(f"'{text}' is no duration such as 30s, 10m, 1.5h or 7d, of a hundred years at most")
    return value
