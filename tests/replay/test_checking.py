"""What counts as a difference."""

from __future__ import annotations

import json
from typing import Any

import pytest

from streamable_http.replay import checking


def paths(old: Any, new: Any) -> list[str]:
    return [each.path for each in checking.compare(old, new)]


def test_a_difference_has_its_place_and_both_sides() -> None:
    old = {"result": {"content": [{"type": "text", "text": "3"}]}}
    new = {"result": {"content": [{"type": "text", "text": "4"}]}}
    assert list(checking.compare(old, new)) == [checking.Difference("$.result.content[0].text", "3", "4")]


def test_what_is_missing_is_not_null() -> None:
    [gone] = checking.compare({"a": None}, {})
    assert (gone.path, gone.old, gone.new) == ("$.a", None, checking.MISSING)
    [more] = checking.compare([1], [1, None])
    assert (more.path, more.old, more.new) == ("$[1]", checking.MISSING, None)


@pytest.mark.parametrize(
    ("old", "new"),
    [(True, 1), (False, 0), ("1", 1), (None, False), ([], {}), ({"a": 1}, [1])],
)
def test_values_of_different_types_differ(old: Any, new: Any) -> None:
    assert paths(old, new) == ["$"]


def test_the_same_number_is_the_same_however_it_is_written() -> None:
    assert paths(1, 1.0) == []


def test_what_varies_by_right_is_not_compared() -> None:
    old = {"result": {"_meta": {"at": 1}, "a": {"progressToken": 1}}, "elicitationId": "x"}
    assert paths(old, {"result": {"a": {"progressToken": 2}}, "elicitationId": "y"}) == []


def test_json_inside_of_text_is_compared_as_json() -> None:
    old, new = json.dumps({"n": 1, "m": [1]}), json.dumps({"m": [2], "n": 1}, indent=1)
    assert paths({"text": old}, {"text": new}) == ["$.text.m[0]"]
    assert paths({"text": "{not json"}, {"text": "{nor this"}) == ["$.text"]


def test_names_that_are_none_are_quoted_in_a_path() -> None:
    assert paths({"a.b": 1, 'c"': 1}, {"a.b": 2, 'c"': 2}) == ['$["a.b"]', '$["c\\""]']


@pytest.mark.parametrize(
    ("pattern", "path", "fits"),
    [
        ("$.result.a", "$.result.a", True),
        ("$.result.a", "$.result.a.b[0]", True),
        ("$.result.a", "$.result.ab", False),
        ("$.result[*].at", "$.result[12].at", True),
        ("$.*.at", "$.result.at", True),
        ("$.*.at", "$.result.deep.at", False),
        ("$.**.at", "$.result.deep.at", True),
        ("created_at", "$.result.x[3].created_at", True),
        ("created_at", "$.result.not_created_at", False),
        ("$.a(b", "$.a(b", True),
    ],
)
def test_a_pattern_fits_places_and_what_is_below(pattern: str, path: str, fits: bool) -> None:
    assert bool(checking.ignores(pattern).fullmatch(path)) is fits
