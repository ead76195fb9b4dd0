"""``manage.py streamable_http <subcommand>``."""

from __future__ import annotations

from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError, CommandParser

from streamable_http import exceptions
from streamable_http.management.subcommands import base, prune

SUBCOMMANDS: Final[dict[str, type[base.Subcommand]]] = {"prune": prune.Prune}


class Command(BaseCommand):
    """One command for the app, with a subcommand for each thing to do."""

    help = "Operate the MCP endpoint."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the subcommands."""
        subparsers = parser.add_subparsers(dest="subcommand", required=True, metavar="subcommand")
        for name, subcommand in SUBCOMMANDS.items():
            subcommand.add_arguments(subparsers.add_parser(name, help=subcommand.help, description=subcommand.help))

    def handle(self, *args: Any, subcommand: str, **options: Any) -> None:
        """Run one of them.

        Raises:
            CommandError: it could not be done.
        """
        try:
            SUBCOMMANDS[subcommand](self.stdout).run(options)
        except exceptions.StoreError as error:
            raise CommandError(f"the store failed: {error}") from error
