"""What no tool should raise or return."""

from __future__ import annotations


class Unwritable:
    """What no serializer knows, and what cannot even be shown."""

    def __repr__(self) -> str:
        raise RuntimeError("not to be shown")


def _cycle() -> list[object]:
    cyclic: list[object] = []
    cyclic.append(cyclic)
    return cyclic


def _tower() -> list[object]:
    tower: list[object] = []
    for _ in range(100_000):
        tower = [tower]
    return tower


RAISED = {
    error.__name__: error
    for error in (ValueError, RecursionError, MemoryError, SystemExit, KeyboardInterrupt, GeneratorExit, StopIteration)
}
RETURNED = {
    "cycle": _cycle,
    "tower": _tower,
    "not a number": lambda: {"value": float("nan"), "other": float("-inf")},
    "unwritable": Unwritable,
    "function": lambda: _cycle,
    "bytes": lambda: b"\xff\x00",
    "surrogate": lambda: "\ud800",
    "huge number": lambda: 10**5_000,
    "huge text": lambda: "x" * 100_000_000,
    "many texts": lambda: ["x" * 1_000] * 100_000,
}
