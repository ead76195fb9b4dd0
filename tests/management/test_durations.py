"""Durations as they are typed."""

from __future__ import annotations

from argparse import ArgumentTypeError

import pytest

from streamable_http.management import durations


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("90s", 90),
        ("10m", 600),
        ("1.5h", 5_400),
        ("7d", 604_800),
        ("2w", 1_209_600),
        ("0", 0),
        (".5h", 1_800),
    ],
)
def test_a_duration_has_a_unit_or_is_in_seconds(text: str, seconds: float) -> None:
    assert durations.seconds(text) == seconds


@pytest.mark.parametrize(("text", "days"), [("30", 30), ("0.5", 0.5), ("12h", 0.5), ("7d", 7)])
def test_without_a_unit_an_age_is_in_days(text: str, days: float) -> None:
    assert durations.days(text) == days


@pytest.mark.parametrize("text", ["", "-1", "nan", "inf", "1e3", "a month", "7 days", "99999999d", "٣d", "1" * 400])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ArgumentTypeError, match="is no duration"):
        durations.seconds(text)
