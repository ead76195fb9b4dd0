"""What was measured, as a table and as a file."""

from __future__ import annotations

import datetime
import json
import platform
import pstats
import statistics
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks.workloads import Sample

RESULTS: Final = Path(__file__).parent / "results"
PACKAGES: Final = ("django", "mcp", "uvicorn", "uvloop", "httptools", "orjson", "pydantic", "psycopg")


@dataclass(slots=True, kw_only=True)
class Row:
    """One workload on one database."""

    workload: str
    title: str
    unit: str
    contestant: str
    """The kind of database, or ``ceiling``."""

    # What was measured, by round
    reference: list[Sample] = field(default_factory=list)
    ours: list[Sample] = field(default_factory=list)

    # What is wanted
    target: float | None = None
    floor: float | None = None
    wrong: str = ""
    """What was wrong with an answer."""

    @property
    def ratios(self) -> list[float]:
        """By the wall clock, by round: what slows a whole round down, slows down both."""
        return [ours.rate / reference.rate for ours, reference in zip(self.ours, self.reference, strict=True)]

    @property
    def ratio(self) -> float | None:
        """The median of the rounds' ratios."""
        return statistics.median(self.ratios) if self.ratios else None

    @property
    def cpu_ratio(self) -> float | None:
        """The same by the server processes' CPU time."""
        pairs = zip(self.ours, self.reference, strict=True)
        ratios = [a.units_per_cpu_second / b.units_per_cpu_second for a, b in pairs if b.cpu_seconds]
        return statistics.median(ratios) if ratios else None

    @property
    def verdict(self) -> str:
        if self.wrong:
            return "WRONG"
        if self.target is None or self.ratio is None:
            return ""
        return "met" if self.ratio >= self.target else "missed"

    @property
    def is_under_floor(self) -> bool:
        return self.floor is not None and (self.ratio is None or self.ratio < self.floor)

    def as_dict(self) -> dict[str, Any]:
        return {
            "workload": self.workload,
            "title": self.title,
            "unit": f"{self.unit}/s",
            "contestant": self.contestant,
            "reference": [asdict(sample) for sample in self.reference],
            "ours": [asdict(sample) for sample in self.ours],
            "ratio": self.ratio,
            "cpu_ratio": self.cpu_ratio,
            "target": self.target,
            "verdict": self.verdict,
            "wrong": self.wrong,
        }


UNDISTURBED: Final = 0.9
"""Of its core a server has this much when it is alone there and the load keeps up."""

PROFILE_LINES: Final = 60

STYLES: Final = {"met": "green", "missed": "yellow", "WRONG": "bold red", "": ""}


def print_table(console: Console, rows: list[Row]) -> None:
    """Print all rows, then what was wrong."""
    table = Table(title="Ratios against the official SDK; absolute figures are colour", title_justify="left")
    for name in ("", "workload", "against"):
        table.add_column(name)
    for name in ("reference", "ours", "ratio", "spread", "by CPU", "target"):
        table.add_column(name, justify="right")
    table.add_column("verdict")
    for row in rows:
        table.add_row(*_cells(row), style=STYLES[row.verdict])
    console.print(table)
    shares = [sample.core_share for row in rows for sample in row.reference if sample.cpu_seconds]
    if shares and min(shares) < UNDISTURBED:
        console.print(
            f"The reference had {min(shares):.0%} to {max(shares):.0%} of its core: others were busy; trust 'by CPU'."
        )
    for row in rows:
        if row.wrong:
            console.print(f"{row.workload} {row.contestant}: {row.wrong}", style="bold red", markup=False)


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.workload,
        row.title,
        row.contestant,
        _rate(row.reference, row.unit),
        _rate(row.ours, row.unit),
        "" if row.ratio is None else f"{row.ratio:.2f}",
        f"{min(row.ratios):.1f}-{max(row.ratios):.1f}" if row.ratios else "",
        "" if row.cpu_ratio is None else f"{row.cpu_ratio:.2f}",
        "" if row.target is None else f"≥ {row.target:g}",
        row.verdict,
    )


def _rate(samples: list[Sample], unit: str) -> str:
    return f"{statistics.median(sample.rate for sample in samples):,.0f} {unit}/s" if samples else ""


def write(rows: list[Row]) -> Path:
    """Write all figures to a file of their own and return its path."""
    RESULTS.mkdir(exist_ok=True)
    now = datetime.datetime.now(datetime.UTC)
    path = RESULTS / f"{now:%Y%m%dT%H%M%SZ}.json"
    content = {"at": now.isoformat(), "environment": environment(), "rows": [row.as_dict() for row in rows]}
    path.write_text(json.dumps(content, indent=2) + "\n")
    return path


def environment() -> dict[str, Any]:
    """Return what the figures depend on."""
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "system": platform.system(),
        "packages": {name: metadata.version(name) for name in PACKAGES},
    }


def print_profile(console: Console, path: Path, title: str, units: int) -> None:
    """Print the functions that cost most of their own, per unit of work."""
    table = Table(title=f"{title}, per unit; {path}", title_justify="left")
    for name in ("calls", "own µs", "with callees µs"):
        table.add_column(name, justify="right")
    table.add_column("function")
    stats: dict[tuple[str, int, str], tuple[int, int, float, float, Any]] = vars(pstats.Stats(str(path)))["stats"]
    ranked = sorted(stats.items(), key=lambda item: item[1][2], reverse=True)
    for (file, line, function), (_, calls, own, total, _) in ranked[:PROFILE_LINES]:
        per_unit = (f"{calls / units:.2f}", f"{own / units * 1e6:.2f}", f"{total / units * 1e6:.2f}")
        table.add_row(*per_unit, escape(f"{'/'.join(Path(file).parts[-2:])}:{line} {function}"))
    all_calls = sum(numbers[1] for numbers in stats.values())
    console.print(table, f"{all_calls / units:.1f} function calls per unit in all")
