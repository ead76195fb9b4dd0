"""``manage.py mcp_prune``: redact and delete what has ended long ago."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from streamable_http import operations
from streamable_http.management import base, durations, numbers
from streamable_http.operations import audit
from streamable_http.stores.base import Pruned


class Command(base.Command):
    """Does by hand what the workers do now and then."""

    help = (
        "Redact what can no longer be resumed (RESUMABLE_SECONDS), and delete what is older than HISTORY_DAYS. "
        "Servers may run meanwhile, and do the same by themselves unless PRUNE is False."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add how old, and how much at once."""
        super().add_arguments(parser)
        parser.add_argument("--dry-run", action="store_true", help="change nothing, only say how much it would be")
        parser.add_argument(
            "--older-than",
            type=durations.days,
            metavar="DURATION",
            dest="history_days",
            help="instead of HISTORY_DAYS, such as 7d, 12h or 30, which are days",
        )
        parser.add_argument(
            "--batch", type=numbers.positive, metavar="ROWS", help="rows in one transaction, by default 200"
        )

    def run(self, options: dict[str, Any]) -> None:
        """Prune, and say how much it was."""
        dry_run = options["dry_run"]
        batch = {} if options["batch"] is None else {"batch_rows": options["batch"]}
        with self.progress("pruning") as progress:

            def report(so_far: Pruned) -> None:
                text = f"so far: {_redacted(so_far)}; {_deleted(so_far)} deleted"
                progress.say(text)
                if options["verbosity"] > 1:
                    self.stderr.write(text)

            pruned = operations.prune(history_days=options["history_days"], dry_run=dry_run, on_batch=report, **batch)
        if not dry_run and pruned != Pruned():
            audit.note_command(f"Pruned: {_redacted(pruned)}; {_deleted(pruned)} deleted")
        if self.output.is_json:
            self.output.json({"dry_run": dry_run, "pruned": pruned})
            return
        self.output.line(f"{'Would redact' if dry_run else 'Redacted'} {pruned.redacted:,} streams.")
        self.output.line(f"{'Would delete' if dry_run else 'Deleted'} {_deleted(pruned)}.")


def _redacted(pruned: Pruned) -> str:
    return f"{pruned.redacted:,} streams redacted"


def _deleted(pruned: Pruned) -> str:
    rows = ("sessions", "streams", "events", "records")
    return ", ".join(f"{getattr(pruned, name):,} {name}" for name in rows)
