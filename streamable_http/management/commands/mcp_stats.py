"""``manage.py mcp_stats``: figures of the last hour, or of another time."""

from __future__ import annotations

from typing import Any, Final

from django.core.management.base import CommandParser

from streamable_http import operations
from streamable_http.management import base, durations, output
from streamable_http.management.output import Column, Styled
from streamable_http.operations.figures import SAMPLED

HOUR_SECONDS: Final = 3_600.0

BARS: Final = " ▁▂▃▄▅▆▇█"


class Command(base.Command):
    """Prints figures."""

    help = "Print what the endpoint did: calls, errors, durations by tool, clients and workers."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the range of time."""
        super().add_arguments(parser)
        parser.add_argument(
            "--since",
            type=durations.seconds,
            default=HOUR_SECONDS,
            metavar="DURATION",
            help="how far back, from 1m to 31d; by default 1h",
        )

    def run(self, options: dict[str, Any]) -> None:
        """Print them."""
        try:
            figures = operations.statistics(options["since"])
        except ValueError as error:
            raise base.Usage(f"--since: {error}") from error
        if self.output.is_json:
            self.output.json(figures)
        else:
            self._show(figures)

    def _show(self, figures: operations.Statistics) -> None:
        self.output.facts(
            [
                ("from", output.moment(figures.since)),
                ("to", output.moment(figures.until)),
                ("open sessions", f"{figures.open_sessions:,}"),
                ("running calls", f"{figures.open_streams:,}"),
                ("connections", f"{figures.followed_streams:,}"),
                ("calls", f"{figures.calls:,}"),
                ("errors", Styled(f"{figures.errors:,}", "red" if figures.errors else "")),
                ("not recorded", f"{figures.dropped_records:,}"),
                (f"calls per {figures.bucket_seconds:,} s", sparkline([each.calls for each in figures.buckets])),
            ]
        )
        self._section(
            [
                Column("tool or method"),
                Column("calls", "right"),
                Column("errors", "right"),
                Column("p50", "right"),
                Column("p95", "right"),
                Column("p99", "right"),
            ],
            [
                [
                    each.name,
                    f"{each.calls:,}",
                    f"{each.errors:,}",
                    *map(output.milliseconds, (each.p50_ms, each.p95_ms, each.p99_ms)),
                ]
                for each in figures.methods
            ],
        )
        if figures.methods:
            self.output.line(f"p50, p95, p99: of the newest {SAMPLED:,} calls, all tools together")
        self._section(
            [Column("client"), Column("sessions", "right")],
            [[name, f"{sessions:,}"] for name, sessions in figures.clients],
        )
        self._section(
            [Column("worker"), Column("is"), Column("lease until"), Column("runs", "right"), Column("lost", "right")],
            [
                [
                    f"{worker.host}:{worker.pid}",
                    Styled("alive", "green") if worker.is_alive else Styled("gone", "red"),
                    output.moment(worker.lease_expires_at),
                    f"{worker.open_streams:,}",
                    f"{worker.dropped_records:,}",
                ]
                for worker in figures.workers
            ],
        )

    def _section(self, columns: list[Column], rows: list[list[output.Cell]]) -> None:
        if rows:
            self.output.line()
            self.output.table(columns, rows)


def sparkline(numbers: list[int]) -> str:
    """Return numbers as a line of bars; the highest is full."""
    highest = max(numbers, default=0)
    return "".join(BARS[-(-number * (len(BARS) - 1) // highest)] if highest else BARS[0] for number in numbers)
