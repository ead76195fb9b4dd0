"""What all commands share: exit codes, ``--json``, questions, progress, and how they end."""

from __future__ import annotations

import contextlib
import enum
import os
import sys
from collections.abc import Iterator
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error as DatabaseError
from rich.console import Console
from rich.status import Status

from streamable_http import escaping, exceptions
from streamable_http.management import output


class ExitCode(enum.IntEnum):
    """What a command tells the script that called it."""

    OK = 0
    FAILED = 1
    """Or refused."""

    USAGE = 2
    NOT_FOUND = 3
    DIFFERS = 4
    """Of ``--check``."""

    INTERRUPTED = 130
    """By Ctrl-C."""

    CLOSED_PIPE = 141
    """Whoever read what is printed went away before the end."""


class Failed(CommandError):  # noqa: N818  # its name is what is printed before the reason
    """It could not be done."""

    code = ExitCode.FAILED

    def __init__(self, reason: str) -> None:
        # What failed may quote what is stored.
        super().__init__(escaping.printable(reason), returncode=self.code)


class Refused(Failed):
    """It was not done."""


class Usage(Failed):
    """Options that do not go together."""

    code = ExitCode.USAGE


class NotFound(Failed):
    """There is no such session or stream."""

    code = ExitCode.NOT_FOUND


class Differs(Failed):
    """What was compared is not the same."""

    code = ExitCode.DIFFERS


class Command(BaseCommand):
    """A command that prints through :attr:`output`, and ends as scripts expect."""

    # Whoever looks for what is wrong must not be kept out by it; mcp_doctor reports the checks.
    requires_system_checks = []

    asks = False
    """Whether it asks before it does something, unless ``--no-input`` is given."""

    output: output.Output

    def add_arguments(self, parser: CommandParser) -> None:
        """Add what all have."""
        parser.add_argument("--json", action="store_true", dest="as_json", help="print JSON, for programs")
        if self.asks:
            parser.add_argument(
                "--no-input", "--noinput", action="store_false", dest="interactive", help="do it without asking"
            )

    def run_from_argv(self, argv: list[str]) -> None:
        """Run as a program: Ctrl-C and a closed pipe end it quietly."""
        try:
            super().run_from_argv(argv)
            sys.stdout.flush()
        except KeyboardInterrupt:
            sys.exit(ExitCode.INTERRUPTED)
        except BrokenPipeError:
            # Python flushes once more at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(ExitCode.CLOSED_PIPE)

    def execute(self, *args: Any, **options: Any) -> str | None:
        """Run with the colors that the environment wants (no-color.org)."""
        if os.environ.get("NO_COLOR") and not options.get("force_color"):
            options["no_color"] = True
        return super().execute(*args, **options)

    def handle(self, *args: Any, **options: Any) -> None:
        """Run, and say in a sentence what failed.

        Raises:
            CommandError: with the exit code.
        """
        self.output = output.Output(
            self.stdout,
            is_json=options["as_json"],
            no_color=options["no_color"],
            force_color=options["force_color"],
        )
        try:
            self.run(options)
        except exceptions.StoreError as error:
            raise Failed(f"the store failed: {error}") from error
        except DatabaseError as error:
            raise Failed(f"the database failed: {error}") from error
        except LookupError as error:
            # Its kinds, such as KeyError, are faults of ours.
            if type(error) is not LookupError:
                raise
            raise NotFound(str(error)) from error

    def run(self, options: dict[str, Any]) -> None:
        """Do it.

        Raises:
            CommandError: it cannot be done.
        """
        raise NotImplementedError

    def confirm(self, question: str, options: dict[str, Any]) -> None:
        """Ask, unless the options say not to.

        Raises:
            Refused: the answer is no, or there is no terminal to ask at.
        """
        if not options["interactive"]:
            return
        if not sys.stdin.isatty():
            raise Refused("it asks before, and there is no terminal to ask at; --no-input does it without asking")
        self.stderr.write(f"{escaping.printable(question)} [y/N] ", self.style.NOTICE, ending="")
        self.stderr.flush()
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            raise Refused("nothing was done")

    def warn(self, text: str) -> None:
        """Say something on stderr."""
        self.stderr.write(escaping.printable(text), self.style.WARNING)

    @contextlib.contextmanager
    def progress(self, text: str) -> Iterator[Progress]:
        """Show on stderr that something is under way, where that is a terminal."""
        if not self.stderr.isatty():
            yield Progress(None)
            return
        console = Console(stderr=True, no_color=self.output.no_color, highlight=False)
        with console.status(escaping.printable(text)) as status:
            self.output.status = status if self.output.is_terminal else None
            try:
                yield Progress(status)
            finally:
                self.output.status = None


class Progress:
    """Something that is under way."""

    def __init__(self, status: Status | None) -> None:
        self._status = status

    def say(self, text: str) -> None:
        """Show how far it has come."""
        if self._status is not None:
            self._status.update(escaping.printable(text))
