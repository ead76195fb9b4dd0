"""``manage.py mcp_purge SESSION``: forget a session."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from streamable_http import operations
from streamable_http.management import base, finding, reasons


class Command(base.Command):
    """Deletes what is stored of a session."""

    help = "Delete a session that is over, with all that was recorded of it."
    asks = True

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the session, and why."""
        super().add_arguments(parser)
        parser.add_argument("session", metavar="SESSION", help="its id, or the first six digits or more")
        reasons.add_argument(parser)

    def run(self, options: dict[str, Any]) -> None:
        """Delete it."""
        session = finding.session(options["session"])
        self.confirm(f"Delete session {session} of {session.principal or 'anonymous'} for good?", options)
        if not operations.purge_session(session.pk, reason=options["reason"]):
            raise base.Refused(f"session {session} is still open; mcp_terminate ends it")
        if self.output.is_json:
            self.output.json({"session": f"{session.pk:x}", "done": True})
        else:
            self.output.line(f"Deleted session {session}.")
