"""``manage.py streamable_http prune``."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Mapping
from typing import Any, ClassVar, Final

from streamable_http import operations
from streamable_http.management.subcommands import base
from streamable_http.stores.base import Pruned

MAX_DAYS: Final = 36_500
"""A hundred years; databases know no dates far before Christ."""


class Prune(base.Subcommand):
    """Redact and delete what has ended long ago."""

    help: ClassVar[str] = (
        "Redact what can no longer be resumed (RESUMABLE_SECONDS), and delete what is older than HISTORY_DAYS. "
        "Servers may run meanwhile, and do the same by themselves unless PRUNE is False."
    )

    @classmethod
    def add_arguments(cls, parser: ArgumentParser) -> None:
        """Add its arguments."""
        parser.add_argument("--dry-run", action="store_true", help="change nothing, only say how much it would be")
        parser.add_argument("--progress", action="store_true", help="say after each batch how much it was so far")
        parser.add_argument(
            "--older-than",
            type=_days,
            metavar="DAYS",
            dest="history_days",
            help="instead of HISTORY_DAYS, such as 30 or 0.5",
        )

    def run(self, options: Mapping[str, Any]) -> None:
        """Prune, and say how much it was."""
        dry_run = options["dry_run"]
        on_batch = self._report if options["progress"] else None
        pruned = operations.prune(history_days=options["history_days"], dry_run=dry_run, on_batch=on_batch)
        self.stdout.write(f"{'Would redact' if dry_run else 'Redacted'} {pruned.redacted:,} streams.")
        self.stdout.write(f"{'Would delete' if dry_run else 'Deleted'} {_deleted(pruned)}.")

    def _report(self, so_far: Pruned) -> None:
        self.stdout.write(f"so far: {so_far.redacted:,} streams redacted; {_deleted(so_far)} deleted")
        self.stdout.flush()


def _deleted(pruned: Pruned) -> str:
    rows = ("sessions", "streams", "events", "records")
    return ", ".join(f"{getattr(pruned, name):,} {name}" for name in rows)


def _days(text: str) -> float:
    try:
        days = float(text)
    except ValueError:
        days = -1.0
    # Written so that NaN does not fit.
    if not 0 <= days <= MAX_DAYS:
        raise ArgumentTypeError(f"'{text}' is no number of days from 0 to {MAX_DAYS:,}")
    return days
