"""``manage.py mcp_inspect SESSION``: what an agent did, message by message; or what one call did."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, Final

from django.core.management.base import CommandParser

from streamable_http import models, operations, replay
from streamable_http.management import base, cursors, entries, finding, output, sessions, streams
from streamable_http.replay import Direction, Entry, paging

ORIGIN: Final = "http://localhost:8000"

FILTERS: Final = ("direction", "method", "stream", "errors", "search")
"""Options."""


class Command(base.Command):
    """Shows a session, or a stream."""

    help = (
        "Show a session or a stream: its facts, what it came to, and every message in both directions. With --copy, "
        "print what came in as something to paste; with --resume-from, what a client would get that resumes."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the session and the filters."""
        super().add_arguments(parser)
        parser.add_argument(
            "session", metavar="SESSION_OR_STREAM", help="its id, or the first six digits or more; of a session first"
        )
        parser.add_argument("--payloads", action="store_true", help="show what was said, redacted, and HTTP headers")
        parser.add_argument("--direction", choices=[each.value for each in Direction], help="as the server sees it")
        parser.add_argument("--method", default="", help="only messages of this method")
        parser.add_argument("--stream", help="only this stream")
        parser.add_argument("--errors", action="store_true", help="only exchanges that ended in an error or were lost")
        parser.add_argument("--search", default="", help="only messages with this text; needs --payloads")
        parser.add_argument("--copy", choices=list(replay.FORMS), help="print the requests, to be made again")
        parser.add_argument(
            "--origin", default=ORIGIN, help=f"the server that --copy names, before the recorded path ({ORIGIN})"
        )
        parser.add_argument(
            "--resume-from",
            type=cursors.cursor,
            metavar="CURSOR",
            help="what a client would get now that has the stream up to this event: its id, or its number",
        )

    def run(self, options: dict[str, Any]) -> None:
        """Print facts and timeline, page by page."""
        if options["search"] and not options["payloads"]:
            raise base.Usage("--search looks into what was said, so it needs --payloads")
        if options["resume_from"] is not None:
            if options["copy"] or any(options[name] for name in FILTERS):
                raise base.Usage("--resume-from shows all that would be sent, and takes no filters and no --copy")
            self._show_preview(finding.stream(options["session"]), options["resume_from"], options["payloads"])
            return
        chosen = _find(options["session"])
        if options["stream"] and isinstance(chosen, models.Stream):
            raise base.Usage("--stream is for a session, and this is a stream")
        filters = replay.Filters(
            direction=Direction(options["direction"]) if options["direction"] else None,
            method=options["method"],
            stream_id=finding.stream(options["stream"]).pk if options["stream"] else None,
            errors=options["errors"],
            text=options["search"],
        )
        if options["copy"]:
            self._copy(chosen, filters, options["copy"], options["origin"].rstrip("/"))
            return
        if isinstance(chosen, models.Session):
            self._show_facts(chosen, operations.summarize([chosen.pk]).get(chosen.pk))
        else:
            self._show_stream(chosen)
        self._show_timeline(
            _pages(chosen, filters, with_payloads=options["payloads"]), has_payloads=options["payloads"]
        )

    def _show_stream(self, stream: models.Stream) -> None:
        if self.output.is_json:
            self.output.json_line(streams.as_json(stream))
            return
        self.output.facts(streams.facts(stream))
        self.output.line()

    def _show_facts(self, session: models.Session, summary: operations.Summary | None) -> None:
        if self.output.is_json:
            self.output.json_line(sessions.as_json(session, summary))
            return
        facts: list[tuple[str, output.Cell]] = [
            ("session", str(session)),
            ("state", session.state),
            ("server", session.server),
            ("principal", session.principal or "anonymous"),
            ("client", str(operations.client_of(session.client_info))),
            ("revision", session.revision),
            ("started", output.moment(session.created_at)),
            ("last seen", output.moment(session.last_seen_at)),
            ("ended", output.moment(session.ended_at)),
        ]
        if summary is not None:
            facts += [
                ("calls", f"{summary.calls:,}, {summary.open_calls:,} open"),
                ("errors", f"{summary.errors:,}"),
                ("events", f"{summary.events:,}, {output.size(summary.stored_bytes)}"),
                ("worker", summary.worker),
            ]
        self.output.facts(facts)
        self.output.line()

    def _show_timeline(self, pages: Iterator[list[Entry]], *, has_payloads: bool) -> None:
        printed = 0
        for page in pages:
            if self.output.is_json:
                for entry in page:
                    self.output.json_line(entries.as_json(entry))
                continue
            numbers = {entry.key: printed + number for number, entry in enumerate(page, 1)}
            # One table a page, or one an entry where what was said stands between.
            portions = [[entry] for entry in page] if has_payloads else [page]
            for portion in filter(None, portions):
                rows = (entries.numbered_row(entry, numbers) for entry in portion)
                self.output.table(entries.NUMBERED_COLUMNS, rows, has_header=not printed)
                printed += len(portion)
                if has_payloads:
                    entries.show_payload(self.output, portion[0])
        if not printed and not self.output.is_json:
            self.output.line("no messages")

    def _show_preview(self, stream: models.Stream, cursor: cursors.Cursor, has_payloads: bool) -> None:
        if cursor.stream_id not in (None, stream.pk):
            raise base.Usage(f"the cursor is of stream {cursor.stream_id:x}, and this is {stream}")
        found = replay.preview(stream.pk, cursor.sequence, with_payloads=has_payloads)
        if self.output.is_json:
            facts = {"status": found.status, "is_recovered": found.is_recovered, "why": found.why}
            self.output.json_line({"type": "preview", "stream": str(stream), "after": cursor.sequence, **facts})
        else:
            self.output.line(f"HTTP {found.status}. {found.why}")
        for entry in found.entries:
            entries.show(self.output, entry, has_payloads=has_payloads)

    def _copy(self, chosen: models.Session | models.Stream, filters: replay.Filters, form: str, origin: str) -> None:
        copied = 0
        for entry in itertools.chain.from_iterable(_pages(chosen, filters, with_payloads=True)):
            # Of a stream, what opened it; replies and resumes mean nothing alone.
            if isinstance(chosen, models.Stream) and entry.key != f"r{chosen.pk:x}":
                continue
            try:
                text = replay.FORMS[form](entry, origin + replay.path_of(entry))
            except ValueError as error:
                if isinstance(chosen, models.Stream):
                    raise base.Refused(f"this call cannot be had as {form}: {error}") from error
                continue
            self._show_copy(entry, form, text, is_first=not copied)
            copied += 1
        if not copied:
            raise base.Refused(f"nothing that came in here was recorded and can be had as {form}")

    def _show_copy(self, entry: Entry, form: str, text: str, *, is_first: bool) -> None:
        if self.output.is_json:
            self.output.json_line({"type": "copy", "key": entry.key, "form": form, "text": text})
            return
        if not is_first:
            self.output.line()
        for line in text.splitlines():
            self.output.line(line)


def _find(text: str) -> models.Session | models.Stream:
    try:
        return finding.session(text)
    except finding.Ambiguous:
        raise
    except base.NotFound as no_session:
        try:
            return finding.stream(text)
        except finding.Ambiguous:
            raise
        except base.NotFound:
            raise no_session from None


def _pages(
    chosen: models.Session | models.Stream, filters: replay.Filters, *, with_payloads: bool
) -> Iterator[list[Entry]]:
    if isinstance(chosen, models.Session):
        return paging.of_session(chosen.pk, filters=filters, with_payloads=with_payloads)
    return paging.of_stream(chosen.pk, filters=filters, with_payloads=with_payloads)
