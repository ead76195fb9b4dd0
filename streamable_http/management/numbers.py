"""Numbers as people type them."""

from __future__ import annotations

import math
from argparse import ArgumentTypeError


def natural(text: str) -> int:
    """Return a whole number from 0 on.

    Raises:
        ArgumentTypeError: it is none.
    """
    # Digits of ASCII alone, and not so many that converting them takes time.
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise ArgumentTypeError(f"'{text[:64]}' is no whole number from 0 on")
    return int(text)


def positive(text: str) -> int:
    """Return a whole number from 1 on.

    Raises:
        ArgumentTypeError: it is none.
    """
    number = natural(text)
    if number < 1:
        raise ArgumentTypeError("it begins at 1")
    return number


def speed(text: str) -> float:
    """Return how many times as fast; 0 is at once.

    Raises:
        ArgumentTypeError: it is no such number.
    """
    try:
        number = float(text.removesuffix("x").removesuffix("×"))
    except ValueError:
        number = -1.0
    if not (math.isfinite(number) and number >= 0):
        raise ArgumentTypeError(f"'{text[:64]}' is no speed such as 1, 10 or 0, which is at once")
    return number
