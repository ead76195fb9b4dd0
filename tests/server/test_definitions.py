from __future__ import annotations

import functools

import mcp_types
import pytest

from streamable_http.server import Icon, definitions, features
from tests.server import recording

NOW = features.OF_REVISION[recording.R2025_11_25]
SECOND = features.OF_REVISION[recording.R2025_06_18]
FIRST = features.OF_REVISION[recording.R2025_03_26]

MEMBERS = {
    "name": "a",
    "title": "A",
    "icons": [{"src": "x"}],
    "_meta": {"a": 1},
    "websiteUrl": "x",
    "outputSchema": {"a": 1},
}


@pytest.mark.parametrize(
    ("having", "absent"),
    [
        (NOW, set()),
        (SECOND, {"icons", "websiteUrl"}),
        (FIRST, {"icons", "websiteUrl", "title", "_meta", "outputSchema"}),
    ],
)
def test_definition_has_what_the_revision_knows(having, absent):
    assert MEMBERS.keys() - definitions.make(having, MEMBERS).keys() == absent


def test_definition_leaves_out_what_there_is_not():
    assert definitions.make(NOW, {"a": None, "b": "", "c": [], "d": {}, "e": 0, "f": False}) == {"e": 0, "f": False}


def test_icons_are_the_protocols_own_objects_or_dicts():
    icon = Icon(src="https://example.com/a.png", mime_type="image/png", sizes=["any"], theme="dark")
    wire = {"src": "https://example.com/a.png", "mimeType": "image/png", "sizes": ["any"], "theme": "dark"}
    assert definitions.icons([icon, wire], label="it") == [wire, wire]
    assert definitions.icons(None, label="it") == []


def test_object_is_copied_word_for_word():
    given = {"$schema": "x", "a": [{"b": 1}]}
    copied = definitions.json_object(given, label="it", what="schema")
    assert copied == given
    given["a"].append(2)  # type: ignore[attr-defined]
    assert copied == {"$schema": "x", "a": [{"b": 1}]}
    assert definitions.json_object(None, label="it", what="schema") is None


@pytest.mark.parametrize("given", [[], "a", 1])
def test_what_is_no_object_is_refused(given):
    with pytest.raises(ValueError, match=r"^it: schema must be a dict, not"):
        definitions.json_object(given, label="it", what="schema")


def test_cyclic_object_is_refused():
    given: dict[str, object] = {}
    given["a"] = given
    with pytest.raises(ValueError, match=r"^it: schema cannot be written as JSON"):
        definitions.json_object(given, label="it", what="schema")


def test_annotations_are_checked_and_those_that_are_ready_are_taken():
    ready = mcp_types.Annotations(priority=0.5)
    assert definitions.read_annotations(mcp_types.Annotations, ready, label="it") is ready
    assert definitions.read_annotations(mcp_types.Annotations, {"priority": 0.5}, label="it") == ready
    assert definitions.read_annotations(mcp_types.Annotations, None, label="it") == mcp_types.Annotations()


def test_name_is_the_one_given_or_the_functions_own():
    def function(): ...

    assert definitions.name_of(function, None) == "function"
    assert definitions.name_of(function, "other") == "other"
    assert definitions.name_of(functools.partial(function), None) == "partial"
