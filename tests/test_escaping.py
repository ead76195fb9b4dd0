"""What a terminal would obey is shown, not sent."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamable_http import escaping

HOSTILE = {
    "color": ("\x1b[31mred", "\\x1b[31mred"),
    "line": ("a\r\nb", "a\\r\\nb"),
    "override": ("\u202egnp.exe", "\\u202egnp.exe"),
    "isolate": ("\u2066x\u2069", "\\u2066x\\u2069"),
    "nul": ("a\0b", "a\\x00b"),
    "one-byte control": ("\x9b31m", "\\x9b31m"),
    "delete": ("a\x7f", "a\\x7f"),
    "separator": ("a\u2028b", "a\\u2028b"),
    "surrogate": ("\ud800", "\\ud800"),
    "tag": ("\U000e0041", "\\U000e0041"),
}


@pytest.mark.parametrize(("text", "shown"), HOSTILE.values(), ids=HOSTILE)
def test_what_a_terminal_would_obey_is_escaped(text: str, shown: str) -> None:
    assert escaping.printable(text) == shown


def test_what_people_write_stays() -> None:
    for text in ("plain", "größer", "日本語", "שלום", "→ 1 × ½"):
        assert escaping.printable(text) == text
        assert escaping.printable_json(json.dumps(text, ensure_ascii=False)) == json.dumps(text, ensure_ascii=False)


@given(st.text(st.characters()) | st.dictionaries(st.text(), st.lists(st.text(st.characters()))))
def test_json_means_the_same_and_is_printable(value: object) -> None:
    for indent in (None, 2):
        escaped = escaping.printable_json(json.dumps(value, ensure_ascii=False, indent=indent))
        assert json.loads(escaped) == value
        assert escaped.replace("\n", "").isprintable()


def test_what_no_database_takes_is_replaced() -> None:
    assert escaping.storable("a\ud800\0ä") == "a?\ufffdä"
