"""Which faults, in which order: the same for the same seed."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

EVERYWHERE: Final = ("kill -9", "pause", "graceful restart", "reset", "half-open", "stalled reader", "two resume")
ON_POSTGRES: Final = ("database connections killed",)
ON_REDIS: Final = ("Redis flushed", "Redis restarted", "wake-ups dropped")

KINDS: Final = {
    "a": EVERYWHERE,
    "b": (*EVERYWHERE, *ON_POSTGRES),
    "c": (*EVERYWHERE, *ON_POSTGRES, *ON_REDIS),
}
"""By set-up. What only another worker hears can be dropped only where it goes through Redis."""

GAP_SECONDS: Final = (0.1, 0.6)
PAUSE_SECONDS: Final = (0.3, 2.0)
LONG_PAUSE_SECONDS: Final = (16.0, 18.0)
"""Longer than the lease, so that the streams are ended by others."""

LONG_PAUSE_EVERY: Final = 8
"""Of so many pauses of a set-up one is long, where there are others; the first one is."""

ROUND_FAULTS: Final = 1_000
"""Most faults on one set of databases, so that a long run needs no more memory than a short one."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault to inject."""

    kind: str
    gap_seconds: float
    """Since the one before."""

    seconds: float
    """How long it lasts, if it is of a kind that lasts."""

    choice: float
    """From 0 to 1: which worker or exchange is hit, of those that there are."""

    def choose(self, number: int) -> int:
        """Return one of the first ``number`` numbers."""
        return int(self.choice * number)


def plan(setups: Sequence[str], faults: int, seed: int) -> dict[str, list[Fault]]:
    """Return the faults of each set-up: at least so many over all of them, as many of each kind."""
    dice = random.Random(seed)
    kinds = list(dict.fromkeys(itertools.chain.from_iterable(KINDS[setup] for setup in setups)))
    each = -(-faults // len(kinds))
    planned: dict[str, list[Fault]] = {setup: [] for setup in setups}
    for kind in kinds:
        places = [setup for setup in setups if kind in KINDS[setup]]
        for number in range(each):
            nth, place = divmod(number, len(places))
            is_long = kind == "pause" and places[place] != "a" and nth % LONG_PAUSE_EVERY == 0
            planned[places[place]].append(_fault(kind, LONG_PAUSE_SECONDS if is_long else PAUSE_SECONDS, dice))
    for queue in planned.values():
        dice.shuffle(queue)
    return planned


def rounds(faults: int) -> list[int]:
    """Return how many faults each round has."""
    number = -(-faults // ROUND_FAULTS)
    return [faults // number + (index < faults % number) for index in range(number)]


def _fault(kind: str, seconds: tuple[float, float], dice: random.Random) -> Fault:
    return Fault(
        kind,
        gap_seconds=dice.uniform(*GAP_SECONDS),
        seconds=dice.uniform(*seconds),
        choice=dice.random(),
    )
