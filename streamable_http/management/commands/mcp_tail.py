"""``manage.py mcp_tail [SESSION]``: messages as they happen."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any, Final

from django.core.management.base import CommandParser
from django.utils import timezone

from streamable_http import models, replay
from streamable_http.management import base, durations, entries, finding
from streamable_http.tables import rows_of

INTERVAL_SECONDS: Final = 0.5


class Command(base.Command):
    """Follows a session, or all."""

    help = "Print messages as they happen, of one session until it ends or of all until Ctrl-C."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the session and how far back to begin."""
        super().add_arguments(parser)
        parser.add_argument("session", metavar="SESSION", nargs="?", help="its id, or the first six digits or more")
        parser.add_argument(
            "--since", type=durations.seconds, default=0.0, metavar="DURATION", help="begin so far back, such as 10m"
        )
        parser.add_argument("--payloads", action="store_true", help="show what was said, redacted, and HTTP headers")

    def run(self, options: dict[str, Any]) -> None:
        """Print entries until the session's end."""
        since = timezone.now() - timedelta(seconds=options["since"])
        session = finding.session(options["session"]) if options["session"] else None
        recent = replay.Recent(None if session is None else session.pk, since)
        while True:
            # Asked before the look, so that the look behind the end finds everything.
            is_over = session is not None and not _is_open(session.pk)
            news = recent.look(with_payloads=options["payloads"])
            if news.is_cut:
                self.warn("older messages are left out")
            for entry in news.entries:
                # The first look reaches further back than was asked for.
                if entry.at >= since:
                    entries.show(self.output, entry, has_payloads=options["payloads"])
            if is_over:
                return
            time.sleep(INTERVAL_SECONDS)


def _is_open(session_id: int) -> bool:
    sessions = rows_of(models.Session)
    return sessions.filter(pk=session_id, state=models.SessionState.OPEN).exists()
