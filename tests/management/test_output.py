"""What is printed, and what a terminal is spared."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime

import pytest
from django.core.management.base import OutputWrapper

from streamable_http.management import output
from streamable_http.management.output import Column, Styled

HOSTILE = "\x1b[31m\u202e\r\n\0[bold]x[/bold]"
SHOWN = "\\x1b[31m\\u202e\\r\\n\\x00[bold]x[/bold]"


class Terminal(io.StringIO):
    """Claims to be one."""

    def isatty(self) -> bool:
        return True


def printer(stream: io.StringIO, **options: bool) -> output.Output:
    return output.Output(
        OutputWrapper(stream), **{"is_json": False, "no_color": False, "force_color": False, **options}
    )


def test_lines_and_cells_show_what_would_be_obeyed_and_read_no_markup() -> None:
    stream = io.StringIO()
    printer(stream).line(HOSTILE, indent=2)
    printer(stream).table([Column("a"), Column("b")], [[HOSTILE, Styled(HOSTILE, "red")]])
    line, header, row = stream.getvalue().splitlines()
    assert line == f"  {SHOWN}"
    assert header.split() == ["a", "b"]
    assert row == f"{SHOWN}  {SHOWN}"


def test_nothing_is_cut_or_wrapped_for_another_program() -> None:
    stream = io.StringIO()
    printer(stream).line("x" * 5_000)
    printer(stream).table([Column("a")], [["y" * 5_000]], has_header=False)
    assert stream.getvalue() == f"{'x' * 5_000}\n{'y' * 5_000}\n"


def test_json_is_one_document_and_as_safe() -> None:
    stream = io.StringIO()
    printer(stream).json({"name": HOSTILE, "at": datetime(2026, 1, 2, tzinfo=UTC)})
    assert json.loads(stream.getvalue()) == {"name": HOSTILE, "at": "2026-01-02T00:00:00+00:00"}
    assert stream.getvalue().replace("\n", "").isprintable()


@pytest.mark.parametrize(
    ("options", "is_colored"),
    [({}, True), ({"no_color": True}, False)],
)
def test_a_terminal_gets_colors_unless_it_wants_none(
    options: dict[str, bool], is_colored: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    printer(stream, **options).line(Styled("red", "red"))
    assert ("\x1b[" in stream.getvalue()) is is_colored


def test_a_file_gets_none_unless_forced() -> None:
    stream = io.StringIO()
    printer(stream).line(Styled("red", "bold red"))
    assert stream.getvalue() == "red\n"


def test_a_stream_that_cannot_show_a_character_gets_its_number() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    output.Output(OutputWrapper(stream), is_json=False, no_color=False, force_color=False).line("→ ü")
    stream.flush()
    assert raw.getvalue() == b"\\u2192 \\xfc\n"


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 B"), (999, "999 B"), (1_000, "1.0 kB"), (999_960, "1.0 MB"), (2_500_000_000, "2.5 GB")],
)
def test_sizes_are_read_by_people(number: int, text: str) -> None:
    assert output.size(number) == text
