"""Cursors as they are typed."""

from __future__ import annotations

from argparse import ArgumentTypeError

import pytest

from streamable_http.management import cursors


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0", (None, 0)), (" 17 ", (None, 17)), ("1a20fb5f448bbca7.3", (0x1A20FB5F448BBCA7, 3))],
)
def test_a_cursor_is_an_events_id_or_its_number(text: str, expected: tuple[int | None, int]) -> None:
    assert cursors.cursor(text) == cursors.Cursor(*expected)


@pytest.mark.parametrize("text", ["", "-1", "x.1", "1a.", ".1", "1.2.3", "٣", "9" * 19, "1" * 17 + ".1"])
def test_what_is_no_cursor_is_refused(text: str) -> None:
    with pytest.raises(ArgumentTypeError, match="is no cursor"):
        cursors.cursor(text)
