from __future__ import annotations

import datetime
import math
from typing import Any

import mcp_types
import pydantic
import pytest

from streamable_http.server import content, features
from tests.server import recording

NOW = features.OF_REVISION[recording.R2025_11_25]
FIRST = features.OF_REVISION[recording.R2025_03_26]

LINK = mcp_types.ResourceLink(
    name="main.rs", uri="file:///main.rs", icons=[mcp_types.Icon(src="data:,")], _meta={"a": None}
)
EMBEDDED = mcp_types.EmbeddedResource(
    resource=mcp_types.TextResourceContents(uri="file:///a", text="a", _meta={"b": 1}),
    annotations=mcp_types.Annotations(priority=1, last_modified="2025-11-25"),
    _meta={"c": 2},
)
ADAPTER: pydantic.TypeAdapter[list[Any]] = pydantic.TypeAdapter(list[mcp_types.ContentBlock])


class Book(pydantic.BaseModel):
    title: str


@pytest.mark.parametrize(
    ("value", "blocks"),
    [
        ("words", [{"type": "text", "text": "words"}]),
        (None, []),
        ([], []),
        (Book(title="Emma"), [{"type": "text", "text": '{"title":"Emma"}'}]),
        ([1, "a"], [{"type": "text", "text": '[1,"a"]'}]),
        (["a", "b"], [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]),
        (content.Image(b"\x00\x01"), [{"type": "image", "data": "AAE=", "mimeType": "image/png"}]),
        (
            ["a", mcp_types.AudioContent(data="AA==", mime_type="audio/wav")],
            [{"type": "text", "text": "a"}, {"type": "audio", "data": "AA==", "mimeType": "audio/wav"}],
        ),
    ],
)
def test_values_become_blocks(value, blocks):
    made = content.from_value(value, NOW)
    assert made == blocks
    ADAPTER.validate_python(made)


def test_block_has_all_its_members_in_the_newest_revision():
    assert content.from_value([LINK, EMBEDDED], NOW) == [
        {
            "type": "resource_link",
            "name": "main.rs",
            "uri": "file:///main.rs",
            "icons": [{"src": "data:,"}],
            "_meta": {"a": None},
        },
        {
            "type": "resource",
            "resource": {"uri": "file:///a", "text": "a", "_meta": {"b": 1}},
            "annotations": {"priority": 1.0, "lastModified": "2025-11-25"},
            "_meta": {"c": 2},
        },
    ]


def test_block_has_only_what_its_revision_knows():
    assert content.from_block(EMBEDDED, FIRST) == {
        "type": "resource",
        "resource": {"uri": "file:///a", "text": "a"},
        "annotations": {"priority": 1.0},
    }
    middle = content.from_block(LINK, features.OF_REVISION[recording.R2025_06_18])
    assert "icons" not in middle
    assert "_meta" in middle


def test_link_is_text_where_the_revision_has_no_links():
    assert content.from_block(LINK, FIRST) == {"type": "text", "text": "main.rs: file:///main.rs"}


def test_plain_gives_the_json_form():
    assert content.plain({"day": datetime.date(2025, 11, 25), "book": Book(title="Emma"), "nan": math.nan}) == {
        "day": "2025-11-25",
        "book": {"title": "Emma"},
        "nan": None,
    }


def test_plain_text_stays_what_it_is_even_without_utf_8():
    assert content.plain("\ud800") == "\ud800"


@pytest.mark.parametrize("value", [object(), {"a": [object()]}])
def test_what_has_no_json_form_is_refused(value):
    with pytest.raises(ValueError):  # noqa: PT011
        content.plain(value)


def test_too_deep_is_a_value_error():
    with pytest.raises(ValueError, match="nested deeper than 200 levels"):
        content.loads(b"[" * 201 + b"]" * 201)
