from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streamable_http import exceptions
from streamable_http.protocol import cursors

NEARLY = st.from_regex(r"[0-9a-fA-F]{0,18}\.?[0-9]{0,21}", fullmatch=True)


@given(st.integers(1, cursors.MAX), st.integers(0, cursors.MAX))
@example(cursors.MAX, cursors.MAX)
@example(1, 0)
def test_a_cursor_reads_as_what_it_was_made_of(stream_id: int, sequence: int) -> None:
    assert cursors.parse(cursors.format(stream_id, sequence)) == (stream_id, sequence)


@given(st.text(max_size=40) | NEARLY)
def test_any_text_is_refused_or_is_the_one_spelling_of_its_cursor(text: str) -> None:
    try:
        cursor = cursors.parse(text)
    except exceptions.InvalidCursor:
        return
    assert cursors.format(*cursor) == text
    assert 0 < cursor.stream_id <= cursors.MAX
    assert 0 <= cursor.sequence <= cursors.MAX


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "a",
        "a.",
        ".1",
        "a.1.2",
        "a.-1",
        "a.+1",
        "a.01",
        "a.00",
        "0a.1",
        "0.1",
        "A.1",
        "g.1",
        "0x1.1",
        "a.1f",
        "a.1_0",
        "a.1e3",
        "a,1",
        " a.1",
        "a.1 ",
        "a.1\n",
        "a.1\0",
        "\0",
        "a.\u0661",
        "\uff11.1",
        "a.9223372036854775808",
        "8000000000000000.1",
        "ffffffffffffffff.1",
        "10000000000000000.1",
        "a.99999999999999999999",
        "a" * 10_240,
        "a." + "9" * 10_240,
        "' OR 1=1 --",
    ],
    ids=lambda text: f"row 37: {text!r:.24}",
)
def test_what_is_none_of_our_cursors_is_refused(text: str) -> None:
    with pytest.raises(exceptions.InvalidCursor) as caught:
        cursors.parse(text)

    # One and the same answer for all.
    assert (caught.value.http_status, caught.value.code) == (400, -32600)
    assert str(caught.value) == "invalid Last-Event-ID"
    assert caught.value.data is None


def test_row_37_a_cursor_with_leading_zeros_is_refused() -> None:
    assert cursors.parse("a.10") == (10, 10)
    for text in ("0a.10", "a.010"):
        with pytest.raises(exceptions.InvalidCursor):
            cursors.parse(text)


def test_the_greatest_cursor_fits_a_signed_64_bit_column() -> None:
    assert cursors.parse("7fffffffffffffff.9223372036854775807") == (2**63 - 1, 2**63 - 1)


def test_nowhere_is_no_cursor_that_a_client_can_name() -> None:
    with pytest.raises(exceptions.InvalidCursor):
        cursors.parse(cursors.format(*cursors.NOWHERE))
