"""``manage.py mcp_sessions``: who is connected, and who was."""

from __future__ import annotations

import itertools
from typing import Any, Final

from django.core.management.base import CommandParser

from streamable_http import models, operations
from streamable_http.management import base, numbers, sessions

LIMIT: Final = 50

PAGE: Final = 500


class Command(base.Command):
    """Lists sessions."""

    help = "List sessions, the newest first."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the filters."""
        super().add_arguments(parser)
        parser.add_argument("--state", choices=models.SessionState.values, default="")
        parser.add_argument("--server", default="", help="name of the MCP server")
        parser.add_argument("--principal", default="", help="key of the principal, such as user:17")
        parser.add_argument("--search", default="", help="an id, or part of a principal's key or of a client's name")
        parser.add_argument(
            "--limit", type=numbers.natural, default=LIMIT, help=f"how many at most ({LIMIT}); 0 for all"
        )

    def run(self, options: dict[str, Any]) -> None:
        """Print a line each."""
        found = operations.find_sessions(
            state=options["state"],
            server=options["server"],
            principal=options["principal"],
            text=options["search"],
        )
        limit = options["limit"]
        rows = (found[:limit] if limit else found).iterator(chunk_size=PAGE)
        while page := list(itertools.islice(rows, PAGE)):
            self._show(page)

    def _show(self, page: list[models.Session]) -> None:
        summaries = operations.summarize([session.pk for session in page])
        if self.output.is_json:
            for session in page:
                self.output.json_line(sessions.as_json(session, summaries.get(session.pk)))
        else:
            self.output.table(sessions.COLUMNS, (sessions.row(session, summaries.get(session.pk)) for session in page))
