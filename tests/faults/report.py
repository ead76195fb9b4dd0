"""The one table at the end, and the evidence."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rich.console import Console
from rich.table import Table

from tests.faults import checker, facts, schedule

SHOWN: Final = 50
"""Violations that are printed; they are all counted."""


@dataclass(frozen=True)
class Round:
    """What came of one set-up."""

    found: facts.Facts
    violations: list[checker.Violation]
    missed: list[str]
    """Kinds of violations that were planted and not reported."""

    seconds: float

    @property
    def events(self) -> int:
        """How many events came, repeats included."""
        connections = itertools.chain.from_iterable(reader.connections for reader in self.found.readers)
        return sum(len(connection.deliveries) for connection in connections)

    def history(self) -> str:
        """Return what was done and what came of it, in order."""
        told = [(fault.at, f"{fault.kind}: {fault.what}") for fault in self.found.faults]
        told += [
            (at, f"the call {stream:x}, whose worker died at {death.at:.2f}, had ended")
            for death in self.found.deaths
            for stream, at in death.ended.items()
        ]
        lines = [f"{at:.2f} {what}" for at, what in sorted(told)]
        lines += [violation.evidence(self.found.faults) for violation in self.violations]
        return "\n".join([*lines, ""])


class Outcome:
    """Sums of all rounds, by set-up."""

    def __init__(self, setups: Sequence[str]) -> None:
        self._setups = setups
        self._planned: Counter[tuple[str, str]] = Counter()
        self._hit: Counter[tuple[str, str]] = Counter()
        self._events: Counter[str] = Counter()
        self._calls: Counter[str] = Counter()
        self._unknown: Counter[str] = Counter()
        self._orphans: Counter[str] = Counter()
        self._violations: Counter[tuple[str, str]] = Counter()
        self._waits: dict[str, float] = dict.fromkeys(setups, 0.0)
        self._evidence: list[str] = []
        self._missed: list[str] = []

    def add(self, result: Round, planned: Sequence[schedule.Fault]) -> None:
        """Add a round."""
        found, name = result.found, result.found.setup
        self._planned.update((fault.kind, name) for fault in planned)
        self._hit.update((fault.kind, name) for fault in found.faults)
        self._events[name] += result.events
        calls = [reader for reader in found.readers if reader.request_id is not None and not reader.is_rival]
        self._calls[name] += sum(reader.stream is not None for reader in calls)
        self._unknown[name] += sum(reader.stream is None for reader in calls)
        self._orphans[name] += sum(len(death.streams) for death in found.deaths)
        self._violations.update((violation.kind, name) for violation in result.violations)
        self._waits[name] = max(self._waits[name], checker.longest_wait(found))
        self._evidence += [f"{name}: {violation.evidence(found.faults)}" for violation in result.violations]
        self._missed += [f"{name}: {kind}" for kind in result.missed]

    @property
    def has_passed(self) -> bool:
        """Whether no promise was broken, and everything was put to the test."""
        return not self._violations and not self._missed and self._hit == self._planned

    def print(self, console: Console) -> None:
        """Print the table, and whatever speaks against a passing."""
        table = Table(title="Faults, and what clients made of them", title_justify="left")
        table.add_column("")
        for name in (*self._setups, "all"):
            table.add_column(name, justify="right")
        planned = {kind for kind, _ in self._planned}
        for kind in filter(planned.__contains__, schedule.KINDS["c"]):
            table.add_row(kind, *self._cells({name: self._hit[kind, name] for name in self._setups}))
        table.add_section()
        for title, counted in (
            ("events", self._events),
            ("calls", self._calls),
            ("calls cut before their first event id", self._unknown),
            ("calls whose worker died", self._orphans),
        ):
            table.add_row(title, *self._cells(counted))
        table.add_section()
        for kind in checker.KINDS:
            table.add_row(kind, *self._cells({name: self._violations[kind, name] for name in self._setups}))
        waits = [self._waits[name] for name in self._setups]
        table.add_row("longest wait, seconds", *(f"{wait:.1f}" for wait in (*waits, max(waits))))
        console.print(table)
        for line in self._evidence[:SHOWN]:
            console.print(line, markup=False)
        for line in self._missed:
            console.print(f"planted and not reported: {line}", markup=False)
        for (kind, name), number in (self._planned - self._hit).items():
            console.print(f"{name}: {number} faults of the kind {kind!r} did not hit", markup=False)
        console.print(
            f"faults: {self._hit.total()} injected, {self._violations.total()} violations, "
            f"{len(checker.KINDS) * len(self._setups) - len(self._missed)} planted and reported"
        )

    def _cells(self, counted: dict[str, int]) -> list[str]:
        numbers = [counted.get(name, 0) for name in self._setups]
        return [str(number) for number in (*numbers, sum(numbers))]
