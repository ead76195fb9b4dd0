"""The option that says why something is done."""

from __future__ import annotations

from argparse import ArgumentTypeError

from django.core.management.base import CommandParser

from streamable_http.operations import audit


def add_argument(parser: CommandParser) -> None:
    """Add ``--reason``."""
    limit = f"up to {audit.MAX_REASON_CHARACTERS:,} characters"
    parser.add_argument("--reason", type=reason, default="", metavar="TEXT", help=f"for the audit log; {limit}")


def reason(text: str) -> str:
    """Return a reason that the admin and the API would take, too.

    Raises:
        ArgumentTypeError: it is too long.
    """
    if len(text) > audit.MAX_REASON_CHARACTERS:
        raise ArgumentTypeError(f"a reason has at most {audit.MAX_REASON_CHARACTERS:,} characters, not {len(text):,}")
    return text
