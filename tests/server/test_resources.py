from __future__ import annotations

import base64
import json
import math
from types import SimpleNamespace
from typing import Any

import pydantic
import pytest
from mcp_types import methods

from streamable_http import exceptions
from streamable_http.server import (
    BlobResourceContents,
    Context,
    Image,
    ResourceContents,
    ResourceNotFound,
    SyncContext,
    TextResourceContents,
    content,
    features,
    resources,
)
from tests.server import recording

NOW = features.OF_REVISION[recording.R2025_11_25]
SECOND = features.OF_REVISION[recording.R2025_06_18]
FIRST = features.OF_REVISION[recording.R2025_03_26]

HOURS = "shop://hours"


class Book(pydantic.BaseModel):
    title: str
    pages: int = 1


def hours() -> str:
    """When we are open."""
    return "always"


def book(isbn: int) -> str:
    return f"book {isbn}"


async def read(
    value: Any, *, returns: Any = None, revision: str = recording.R2025_11_25, mime_type: str | None = None
) -> list[dict[str, Any]]:
    def function():
        return value

    if returns is not None:
        function.__annotations__["return"] = returns
    made = resources.from_function(HOURS, function, mime_type=mime_type)
    ctx = recording.make_context(revision=revision)
    result = await made.read(HOURS, {}, ctx, recording.run_inline)
    methods.validate_server_result("resources/read", revision, result)
    return result["contents"]


# Definitions


def test_definition_is_made_from_the_function_and_what_is_said():
    made = resources.from_function(
        HOURS,
        hours,
        name="opening",
        title="Hours",
        mime_type="text/plain",
        annotations={"audience": ["user"], "priority": 0.5, "lastModified": "2025-11-25T00:00:00Z"},
        icons=[{"src": "https://example.com/clock.png", "sizes": ["48x48"]}],
        size=6,
        meta={"example.com/a": 1},
    )
    assert made.definition(NOW) == {
        "uri": HOURS,
        "name": "opening",
        "title": "Hours",
        "description": "When we are open.",
        "mimeType": "text/plain",
        "annotations": {"audience": ["user"], "priority": 0.5, "lastModified": "2025-11-25T00:00:00Z"},
        "icons": [{"src": "https://example.com/clock.png", "sizes": ["48x48"]}],
        "size": 6,
        "_meta": {"example.com/a": 1},
    }
    assert made.definition(NOW).keys() - made.definition(SECOND).keys() == {"icons"}
    assert made.definition(SECOND).keys() - made.definition(FIRST).keys() == {"title", "_meta"}
    assert made.definition(FIRST)["annotations"] == {"audience": ["user"], "priority": 0.5}


def test_definition_leaves_out_what_is_not_said():
    assert resources.from_function("x://{isbn}", book).definition(NOW) == {"uriTemplate": "x://{isbn}", "name": "book"}
    made = resources.from_function(HOURS, hours, size=0, annotations={})
    assert made.definition(NOW) == {"uri": HOURS, "name": "hours", "description": "When we are open.", "size": 0}


@pytest.mark.parametrize(
    "uri", ["hours", "", "/hours", "shop:", "shop://a b", "shop://a\n", "{a}", "{a}://b", "c:\\x"]
)
def test_what_is_no_uri_is_refused(uri):
    with pytest.raises(ValueError, match="it is no URI; begin with a scheme"):
        resources.from_function(uri, lambda a="": "")


@pytest.mark.parametrize(
    ("uri", "function", "error", "message"),
    [
        ("x://{isbn}", hours, TypeError, "resource 'x://{isbn}': the function does not take 'isbn'; add it"),
        (HOURS, book, TypeError, f"resource '{HOURS}': the function requires 'isbn', which the URI does not have"),
        ("x://{a}/{a}", hours, ValueError, "resource 'x://{a}/{a}': the variable 'a' stands in it twice"),
    ],
)
def test_function_and_uri_fit(uri, function, error, message):
    with pytest.raises(error) as raised:
        resources.from_function(uri, function)
    assert str(raised.value).startswith(message)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"annotations": {"priorty": 1}}, "unknown annotation 'priorty'; did you mean 'priority'?"),
        ({"annotations": {"priority": 2.0}}, "invalid annotations: priority: input should be less than or equal to 1"),
        ({"icons": [{"source": "x"}]}, "invalid icon: src: is required"),
        ({"meta": {"a": {1}}}, "meta cannot be written as JSON"),
        ({"meta": 1}, "meta must be a dict, not int"),
    ],
)
def test_option_that_does_not_fit_is_refused_with_the_reason(options, message):
    with pytest.raises(ValueError) as raised:  # noqa: PT011
        resources.from_function(HOURS, hours, **options)
    assert str(raised.value).startswith(f"resource '{HOURS}': {message}")


def test_template_has_no_size():
    with pytest.raises(ValueError, match="size belongs to one resource"):
        resources.from_function("x://{isbn}", book, size=1)


# Which URIs


def test_variables_become_what_the_function_takes():
    made = resources.from_function("x://{isbn}", book)
    assert made.variables("x://978") == {"isbn": 978}
    assert made.variables("x://abc") is None
    assert made.variables("y://978") is None
    assert resources.from_function(HOURS, hours).variables(HOURS) == {}
    assert resources.from_function(HOURS, hours).variables(f"{HOURS}/") is None


# Contents


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("always", {"mimeType": "text/plain", "text": "always"}),
        ("", {"mimeType": "text/plain", "text": ""}),
        (b"\x00\xff", {"mimeType": "application/octet-stream", "blob": "AP8="}),
        (bytearray(b"a"), {"mimeType": "application/octet-stream", "blob": "YQ=="}),
        (memoryview(b"a"), {"mimeType": "application/octet-stream", "blob": "YQ=="}),
        (Image(b"a", "image/gif"), {"mimeType": "image/gif", "blob": "YQ=="}),
        ({"a": 1}, {"mimeType": "application/json", "text": '{"a":1}'}),
        ([], {"mimeType": "application/json", "text": "[]"}),
        (["a"], {"mimeType": "application/json", "text": '["a"]'}),
        (False, {"mimeType": "application/json", "text": "false"}),
        (Book(title="Emma"), {"mimeType": "application/json", "text": '{"title":"Emma","pages":1}'}),
        ([Book(title="Emma")], {"mimeType": "application/json", "text": '[{"title":"Emma","pages":1}]'}),
    ],
)
async def test_value_decides_between_text_data_and_json(value, expected):
    assert await read(value) == [{"uri": HOURS, **expected}]


@pytest.mark.parametrize("value", ["a", b"a", {"a": 1}])
async def test_type_that_was_declared_wins(value):
    assert (await read(value, mime_type="text/markdown"))[0]["mimeType"] == "text/markdown"


async def test_object_of_another_class_is_read_by_its_attributes():
    (contents,) = await read(SimpleNamespace(title="Emma", pages="3", secret="x"), returns=Book)
    assert json.loads(contents["text"]) == {"title": "Emma", "pages": 3}


async def test_text_of_a_function_that_may_also_return_data_is_a_text():
    assert (await read("Emma", returns=str | Book))[0]["text"] == "Emma"
    assert (await read(Book(title="Emma"), returns=str | Book))[0]["mimeType"] == "application/json"


@pytest.mark.parametrize("returns", [bytes, str | bytes, list[ResourceContents], ResourceContents | None, Any, object])
async def test_type_that_is_no_data_is_no_hindrance(returns):
    assert (await read(b"a", returns=returns))[0]["blob"] == "YQ=="


async def test_type_without_schema_is_written_as_it_is():
    class Opaque: ...

    assert (await read({"a": 1}, returns=Opaque))[0]["text"] == '{"a":1}'


async def test_more_may_be_said_about_each_of_several_contents():
    assert await read(
        [
            ResourceContents("a", mime_type="text/csv", uri="shop://hours/1", meta={"a": Book(title="x")}),
            ResourceContents({"a": 1}),
            TextResourceContents(uri="shop://hours/3", text="b", mime_type="text/x"),
            BlobResourceContents(uri="shop://hours/4", blob=base64.b64encode(b"c").decode(), meta={"b": 1}),
        ]
    ) == [
        {"uri": "shop://hours/1", "mimeType": "text/csv", "text": "a", "_meta": {"a": {"title": "x", "pages": 1}}},
        {"uri": HOURS, "mimeType": "application/json", "text": '{"a":1}'},
        {"uri": "shop://hours/3", "mimeType": "text/x", "text": "b"},
        {"uri": "shop://hours/4", "blob": "Yw==", "_meta": {"b": 1}},
    ]


async def test_first_revision_has_no_meta():
    ready = TextResourceContents(uri=HOURS, text="b", meta={"a": 1})
    for value in (ResourceContents("b", meta={"a": 1}), ready):
        (contents,) = await read(value, revision=recording.R2025_03_26)
        assert "_meta" not in contents


# Nothing there, and failures


def absent(reason: str = "") -> Any:
    def function():
        raise ResourceNotFound(reason) if reason else ResourceNotFound

    return function


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (absent(), "resource not found"),
        (absent("no such book"), "no such book"),
        (lambda: None, "resource not found"),
    ],
)
async def test_what_is_not_there_is_an_error_that_names_the_uri(function, message):
    made = resources.from_function(HOURS, function)
    with pytest.raises(exceptions.CallFailed) as raised:
        await made.read(HOURS, {}, recording.make_context(), recording.run_inline)
    assert (raised.value.code, str(raised.value)) == (-32002, message)
    assert raised.value.data == {"uri": HOURS}


def cyclic() -> Any:
    made: list[Any] = []
    made.append(made)
    return made


@pytest.mark.parametrize("value", [object(), math.nan, {"a": math.inf}, cyclic(), {1: {2}.__class__}])
async def test_value_without_json_form_is_a_failure_that_tells_nothing(value, caplog):
    with pytest.raises(exceptions.CallFailed) as raised:
        await read(value)
    assert raised.value.code == exceptions.INTERNAL_ERROR
    assert str(raised.value) == f"resource '{HOURS}' failed: internal error"


async def test_value_that_does_not_match_its_type_is_a_failure(caplog):
    with pytest.raises(exceptions.CallFailed, match="internal error"):
        await read({"pages": 1}, returns=Book)


async def test_value_that_is_too_large_is_a_failure(monkeypatch, caplog):
    monkeypatch.setattr(content, "MAX_BYTES", 100)
    assert await read("a" * 100)
    for value in ("a" * 101, "é" * 51, b"a" * 76, [ResourceContents("a" * 60)] * 2, ["a" * 100]):
        with pytest.raises(exceptions.CallFailed, match="internal error"):
            await read(value)


# Calls


async def test_functions_get_their_variables_and_the_context():
    async def async_book(isbn: str, ctx: Context) -> str:
        await ctx.info("reading")
        return isbn

    def sync_book(isbn: str, ctx: SyncContext, extra: int = 1) -> str:
        ctx.info("reading")
        return isbn

    for function in (async_book, sync_book):
        outlet = recording.RecordingOutlet()
        made = resources.from_function("x://{isbn}", function)
        variables = made.variables("x://9%20")
        assert variables is not None
        result = await made.read("x://9%20", variables, recording.make_context(outlet), recording.run_inline)
        assert result["contents"] == [{"uri": "x://9%20", "mimeType": "text/plain", "text": "9 "}]
        assert len(outlet.messages) == 1
