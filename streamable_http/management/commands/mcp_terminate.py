"""``manage.py mcp_terminate``: end a session, cancel a call, close a connection."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from streamable_http import operations
from streamable_http.management import base, finding, reasons


class Command(base.Command):
    """Ends what runs."""

    help = "End a session with its calls, as its client's DELETE would; or cancel one call; or close a connection."
    asks = True

    def add_arguments(self, parser: CommandParser) -> None:
        """Add what to end, and why."""
        super().add_arguments(parser)
        parser.add_argument("session", metavar="SESSION", nargs="?", help="its id, or the first six digits or more")
        parser.add_argument("--call", metavar="STREAM", help="only cancel this call, as its client might")
        parser.add_argument(
            "--connection",
            metavar="STREAM",
            help="only close the connection of this stream; its client may come again",
        )
        reasons.add_argument(parser)

    def run(self, options: dict[str, Any]) -> None:
        """End it, and say whether there was something to end."""
        chosen = [name for name in ("session", "call", "connection") if options[name] is not None]
        if len(chosen) != 1:
            raise base.Usage("give one of: a session, --call STREAM, --connection STREAM")
        reason = options["reason"]
        if chosen == ["session"]:
            session = finding.session(options["session"])
            self.confirm(f"End session {session} of {session.principal or 'anonymous'}, with its calls?", options)
            self._tell("session", str(session), operations.terminate_session(session.pk, reason=reason))
        elif chosen == ["call"]:
            stream = finding.stream(options["call"])
            self.confirm(f"Cancel {stream.method} {stream.name} on stream {stream}?", options)
            self._tell("call", str(stream), operations.cancel_call(stream.pk, reason=reason))
        else:
            stream = finding.stream(options["connection"])
            self.confirm(f"Close the connection of stream {stream}?", options)
            self._tell("connection", str(stream), operations.close_stream(stream.pk, reason=reason))

    def _tell(self, what: str, id_: str, is_done: bool) -> None:
        done, not_done = SENTENCES[what]
        if self.output.is_json:
            self.output.json({what: id_, "done": is_done})
        elif is_done:
            self.output.line(done.format(id_))
        if not is_done:
            raise base.Refused(not_done.format(id_))


SENTENCES = {
    "session": ("Ended session {}.", "session {} was over already"),
    "call": ("Canceled the call of stream {}.", "the call of stream {} had ended already"),
    "connection": ("Closed the connection of stream {}.", "nobody follows stream {}"),
}
