"""``manage.py mcp_export``: a session or a stream as a file."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from django.core.management.base import CommandParser

from streamable_http import escaping, replay
from streamable_http.management import base, finding

STDOUT: Final = "-"


class Command(base.Command):
    """Writes JSON lines, or the events of a stream as they go over the wire."""

    help = "Write a session or a stream as JSON lines, redacted, with all that is stored of it."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add what to write, and where to."""
        super().add_arguments(parser)
        parser.add_argument("session", metavar="SESSION", nargs="?", help="its id, or the first six digits or more")
        parser.add_argument("--stream", metavar="STREAM", help="one stream instead")
        parser.add_argument("--sse", action="store_true", help="the stream's events as Server-Sent Events")
        parser.add_argument("--no-payloads", action="store_true", help="without what was said, and HTTP headers")
        parser.add_argument("-o", "--output", metavar="FILE", default=STDOUT, help="instead of stdout; made anew")
        parser.add_argument("--force", action="store_true", help="replace FILE if it is there")

    def run(self, options: dict[str, Any]) -> None:
        """Write it: a file is whole, or not there."""
        lines = _lines(options)
        if options["output"] == STDOUT:
            for line in lines:
                self.output.text(line)
            return
        path = Path(options["output"])
        with self.progress(f"writing {path}"):
            try:
                number = write(path, lines, replaces=options["force"])
            except FileExistsError:
                raise base.Refused(f"{path} is there already; --force replaces it") from None
            except OSError as error:
                raise base.Failed(f"{path} cannot be written: {error.strerror or error}") from error
        if self.output.is_json:
            self.output.json({"file": str(path), "lines": number, "bytes": path.stat().st_size})
        else:
            self.output.line(f"Wrote {number:,} lines to {path}.")


def write(path: Path, lines: Iterator[str], *, replaces: bool) -> int:
    """Write a new file, readable by its owner alone; it appears under its name when it is complete.

    Raises:
        FileExistsError: it is there, and is not to be replaced.
        OSError: it cannot be written.
    """
    if not replaces and path.exists():
        raise FileExistsError(path)
    number = 0
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            for line in lines:
                file.write(escaping.printable_json(line) + "\n")
                number += 1
            file.flush()
            os.fsync(file.fileno())
        if replaces:
            Path(name).replace(path)
        else:
            # Unlike a rename it never replaces what came there meanwhile.
            path.hardlink_to(name)
    finally:
        with contextlib.suppress(FileNotFoundError):
            Path(name).unlink()
    return number


def _lines(options: dict[str, Any]) -> Iterator[str]:
    if (options["session"] is None) == (options["stream"] is None):
        raise base.Usage("give a session, or --stream with a stream")
    if options["sse"]:
        if options["stream"] is None:
            raise base.Usage("--sse is for one stream: give --stream")
        return _sse_lines(finding.stream(options["stream"]).pk)
    has_payloads = not options["no_payloads"]
    if options["stream"] is not None:
        return replay.as_json_lines(stream_id=finding.stream(options["stream"]).pk, with_payloads=has_payloads)
    return replay.as_json_lines(session_id=finding.session(options["session"]).pk, with_payloads=has_payloads)


def _sse_lines(stream_id: int) -> Iterator[str]:
    for chunk in replay.as_sse(stream_id):
        # Whole events, each with an empty line behind it.
        yield from chunk.decode().removesuffix("\n").split("\n")
