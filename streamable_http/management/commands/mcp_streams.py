"""``manage.py mcp_streams``: calls and listening connections, with a session or without."""

from __future__ import annotations

import itertools
from argparse import BooleanOptionalAction
from typing import Any, Final

from django.core.management.base import CommandParser

from streamable_http import models, operations
from streamable_http.management import base, finding, numbers, streams

LIMIT: Final = 50

PAGE: Final = 500


class Command(base.Command):
    """Lists streams."""

    help = "List streams, the newest first: calls, and the listening connections of sessions."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the filters, which are those of the REST API."""
        super().add_arguments(parser)
        parser.add_argument("--session", metavar="SESSION", help="only of this session")
        parser.add_argument(
            "--sessionless", action=BooleanOptionalAction, help="only those without a session, or only the others"
        )
        parser.add_argument("--state", choices=models.StreamState.values, default="")
        parser.add_argument("--outcome", choices=models.Outcome.values, default="")
        parser.add_argument("--method", default="", help="of the request, such as tools/call")
        parser.add_argument("--name", default="", help="of the tool")
        parser.add_argument("--before", metavar="STREAM", help="only older ones: the last of the page before")
        parser.add_argument(
            "--limit", type=numbers.natural, default=LIMIT, help=f"how many at most ({LIMIT}); 0 for all"
        )

    def run(self, options: dict[str, Any]) -> None:
        """Print a line each."""
        found = operations.find_streams(
            session_id=finding.session(options["session"]).pk if options["session"] else None,
            **{name: options[name] for name in ("sessionless", "state", "outcome", "method", "name")},
        )
        if options["before"]:
            found = found.filter(pk__lt=finding.stream(options["before"]).pk)
        limit = options["limit"]
        rows = (found[:limit] if limit else found).iterator(chunk_size=PAGE)
        while page := list(itertools.islice(rows, PAGE)):
            self._show(page)

    def _show(self, page: list[models.Stream]) -> None:
        if self.output.is_json:
            for stream in page:
                self.output.json_line(streams.as_json(stream))
        else:
            self.output.table(streams.COLUMNS, map(streams.row, page))
