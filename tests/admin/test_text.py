"""Foreign text cannot move, hide or imitate anything."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from django.utils import timezone

from streamable_http.admin import text


@pytest.mark.parametrize(
    ("hostile", "written"),
    [
        ("safe\u202eexe.txt", r"safe\u202eexe.txt"),
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("a\x00b\rc\nd\te\x7f\x85", r"a\x00b\x0dc\x0ad\x09e\x7f\x85"),
        ("zero\u200bwidth\ufeff\u00ad", r"zero\u200bwidth\ufeff\xad"),
        ("\u2066isolated\u2069", r"\u2066isolated\u2069"),
        ("line\u2028break", r"line\u2028break"),
        ("half \ud83d", r"half \ud83d"),
        ("tag\U000e0041", r"tag\U000e0041"),
    ],
)
def test_what_has_no_shape_is_written_out(hostile: str, written: str) -> None:
    assert text.visible(hostile) == written


@pytest.mark.parametrize("name", ["claude-code", "Größe", "日本語", "שלום", "مرحبا", "😀", "a b", "non\u00a0breaking"])
def test_names_that_people_give_stay_as_they_are(name: str) -> None:
    assert text.visible(name) == name


def test_lines_stay_where_they_are_wanted() -> None:
    assert text.visible("a\nb\rc", keep="\n") == "a\nb\\x0dc"


def test_shown_text_is_escaped_and_isolated() -> None:
    shown = text.shown("<script>alert('x')</script>\u202e&")
    assert shown == (
        '<bdi>&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt;<span class="mcp-unseen">\\u202e</span>&amp;</bdi>'
    )


def test_a_long_name_is_cut_before_it_is_escaped() -> None:
    assert text.shown("<" * 500, limit=3) == "<bdi>&lt;&lt;&lt;…</bdi>"


def test_a_moment_is_in_the_readers_time_zone() -> None:
    with timezone.override("Asia/Tokyo"):
        shown = text.moment(datetime(2026, 1, 2, 23, 4, 5, tzinfo=UTC))
    assert ">2026-01-03 08:04:05<" in shown
    assert 'datetime="2026-01-03T08:04:05+09:00"' in shown
    assert text.moment(None) == "–"
