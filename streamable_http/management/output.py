"""What goes to stdout: lines, tables and JSON, with everything escaped that a terminal would obey."""

from __future__ import annotations

import dataclasses
import io
import json
import shutil
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final, Literal

from django.core.management.base import OutputWrapper
from django.utils import timezone
from rich.console import Console, RenderableType
from rich.status import Status
from rich.table import Table
from rich.text import Text

from streamable_http import escaping

FILE_COLUMNS: Final = 100_000
"""Width of what is no terminal: nothing is wrapped or cut for a file or another program."""


@dataclasses.dataclass(frozen=True, slots=True)
class Column:
    """A column of a table."""

    name: str
    justify: Literal["left", "right"] = "left"
    width: int | None = None
    """Fixed, so that the pages of a long table line up."""


@dataclasses.dataclass(frozen=True, slots=True)
class Styled:
    """Text with a style of rich, such as ``red``."""

    text: str
    style: str


Cell = str | int | float | None | Styled


class Output:
    """Prints to a command's stdout."""

    def __init__(self, stream: OutputWrapper, *, is_json: bool, no_color: bool, force_color: bool) -> None:
        self.is_json = is_json
        self.no_color = no_color
        self.is_terminal = stream.isatty()
        self.status: Status | None = None
        """What turns on stderr meanwhile; it makes room while something is printed."""

        self._stream = stream
        self._is_colored = (self.is_terminal or force_color) and not no_color

    def line(self, text: Cell = "", *, indent: int = 0) -> None:
        """Print one line."""
        self._render(Text(" " * indent) + _text(text), soft_wrap=True)

    def pieces(self, *cells: Cell) -> None:
        """Print one line that is made of several, each with a style of its own."""
        self._render(Text.assemble(*map(_text, cells)), soft_wrap=True)

    def table(self, columns: Sequence[Column], rows: Iterable[Sequence[Cell]], *, has_header: bool = True) -> None:
        """Print rows below each other."""
        table = Table(box=None, pad_edge=False, show_header=has_header, header_style="bold")
        for column in columns:
            table.add_column(
                Text(column.name), justify=column.justify, min_width=column.width, width=column.width, overflow="fold"
            )
        for row in rows:
            table.add_row(*map(_text, row))
        self._render(table)

    def facts(self, facts: Iterable[tuple[str, Cell]]) -> None:
        """Print names and values."""
        self.table([Column("name"), Column("value")], facts, has_header=False)

    def json(self, value: Any) -> None:
        """Print one JSON document."""
        self._write(json_text(value, indent=2) + "\n")

    def json_line(self, value: Any) -> None:
        """Print one of several JSON objects, and hand it on at once."""
        self.text(json_text(value))

    def text(self, line: str) -> None:
        """Print a line of JSON as it is, but for what a terminal would obey."""
        self._write(escaping.printable_json(line) + "\n")
        self._stream.flush()

    def flush(self) -> None:
        """Hand on what was printed."""
        self._stream.flush()

    def _render(self, what: RenderableType, *, soft_wrap: bool = False) -> None:
        rendered = io.StringIO()
        console = Console(
            file=rendered,
            force_terminal=self._is_colored,
            color_system="auto" if self._is_colored else None,
            width=shutil.get_terminal_size().columns if self.is_terminal else FILE_COLUMNS,
            highlight=False,
            markup=False,
            emoji=False,
        )
        console.print(what, soft_wrap=soft_wrap)
        self._write("".join(f"{line.rstrip()}\n" for line in rendered.getvalue().splitlines()))

    def _write(self, text: str) -> None:
        # A terminal that cannot show a character gets its number, not an error.
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        if self.status is not None:
            self.status.stop()
        self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding), ending="")
        if self.status is not None:
            self.status.start()


def json_text(value: Any, *, indent: int | None = None) -> str:
    """Return JSON that is safe to print."""
    return escaping.printable_json(json.dumps(value, default=_plain, ensure_ascii=False, indent=indent))


def moment(at: datetime | None) -> str:
    """Return a time as people read it, in the project's time zone."""
    return "" if at is None else timezone.localtime(at).strftime("%Y-%m-%d %H:%M:%S")


def clock(at: datetime) -> str:
    """Return the time of day, to the millisecond."""
    return timezone.localtime(at).strftime("%H:%M:%S.%f")[:-3]


def size(number_bytes: int) -> str:
    """Return a size as people read it."""
    if number_bytes < 1_000:
        return f"{number_bytes} B"
    amount = number_bytes / 1_000
    units = iter(("kB", "MB", "GB"))
    unit = next(units)
    while amount >= 999.95 and (larger := next(units, "")):
        amount, unit = amount / 1_000, larger
    return f"{amount:,.1f} {unit}"


def milliseconds(number: float | None) -> str:
    """Return a duration as people read it."""
    return "" if number is None else f"{number:,.1f} ms"


def _text(cell: Cell) -> Text:
    if isinstance(cell, Styled):
        return Text(escaping.printable(cell.text), cell.style)
    return Text("" if cell is None else escaping.printable(str(cell)))


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    raise TypeError(f"no JSON for {type(value).__name__}")
