from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import mcp_types
import pydantic
import pytest

from streamable_http import exceptions
from streamable_http.server import content, features, outputs, results
from tests.server import recording

NOW = features.OF_REVISION[recording.R2025_11_25]
FIRST = features.OF_REVISION[recording.R2025_03_26]

INT = outputs.build(int, label="tool 'x'")


class Book(pydantic.BaseModel):
    title: str


@pytest.mark.parametrize(
    "annotation",
    [
        inspect.Parameter.empty,
        Any,
        str,
        type(None),
        str | None,
        Annotated[str, "words"],
        mcp_types.TextContent,
        content.Image,
        mcp_types.CallToolResult,
        mcp_types.ImageContent | None,
        list[str | mcp_types.TextContent],
        Sequence[mcp_types.ResourceLink],
        tuple[str, content.Image],
        Annotated[list[content.Image], "pictures"],
    ],
)
def test_text_and_content_are_not_structured(annotation):
    assert results.output_of(annotation, None, label="tool 'x'") is None


@pytest.mark.parametrize(
    "annotation", [int, bool, Book, Book | None, list[str], list[Book], dict[str, Any], Literal["a"], list, dict]
)
def test_data_is_structured_unless_the_user_says_no(annotation):
    assert results.output_of(annotation, None, label="tool 'x'") is not None
    assert results.output_of(annotation, False, label="tool 'x'") is None


def test_text_is_structured_where_the_user_says_so():
    output = results.output_of(str, True, label="tool 'x'")
    assert results.success("a", output, NOW)["structuredContent"] == {"result": "a"}


def test_structured_output_needs_a_return_annotation():
    with pytest.raises(TypeError, match=r"^tool 'x': structured_output=True needs a return annotation; add one$"):
        results.output_of(inspect.Parameter.empty, True, label="tool 'x'")


def test_structured_result_has_its_json_as_text_too():
    assert results.success(3, INT, NOW) == {
        "content": [{"type": "text", "text": "3"}],
        "structuredContent": {"result": 3},
        "isError": False,
    }


def test_structured_result_is_text_alone_where_the_revision_has_no_structure():
    assert results.success(3, INT, FIRST) == {"content": [{"type": "text", "text": "3"}], "isError": False}


def test_ready_made_result_goes_through_as_it_is():
    made = mcp_types.CallToolResult(
        content=[mcp_types.TextContent(text="no")], structured_content={"a": None}, is_error=True, _meta={"m": 1}
    )
    result = results.success(made, INT, NOW)
    assert result == {
        "content": [{"type": "text", "text": "no"}],
        "structuredContent": {"a": None},
        "isError": True,
        "_meta": {"m": 1},
    }
    assert mcp_types.CallToolResult.model_validate(result) == made


def test_ready_made_result_loses_structure_where_the_revision_has_none():
    made = mcp_types.CallToolResult(content=[], structured_content={"result": 3})
    assert results.success(made, INT, FIRST) == {"content": [], "isError": False}


@pytest.mark.parametrize(
    ("value", "output"),
    [
        ("three", INT),
        (object(), None),
        (mcp_types.CallToolResult(content=[], structured_content=None), INT),
        (mcp_types.CallToolResult(content=[], structured_content=[1]), None),
    ],
)
def test_what_cannot_be_sent_is_an_invalid_result(value, output):
    with pytest.raises(results.InvalidResult):
        results.success(value, output, NOW)


def text_of(result: dict[str, Any]) -> str:
    parsed = mcp_types.CallToolResult.model_validate(result)
    assert parsed.is_error
    (block,) = parsed.content
    assert isinstance(block, mcp_types.TextContent)
    return block.text


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (exceptions.ToolError("the shelf is empty"), "the shelf is empty"),
        (exceptions.ToolError(), "the tool failed"),
        (exceptions.AskTimeout(300), "the client did not reply within 300 s"),
        (ExceptionGroup("tasks", [exceptions.ToolError("one of the tasks")]), "one of the tasks"),
    ],
)
def test_errors_meant_for_the_client_are_told(error, text, caplog):
    assert text_of(results.failure("x", error)) == text
    assert not caplog.records


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("password=hunter2"),
        SystemExit(3),
        StopIteration(),
        MemoryError(),
        KeyboardInterrupt(),
        GeneratorExit(),
        BaseException("secret"),
        BaseExceptionGroup("secret", [SystemExit(1), KeyboardInterrupt()]),
    ],
)
def test_unexpected_errors_are_logged_and_not_told(error, caplog):
    assert text_of(results.failure("x", error)) == "the tool failed: internal error"
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.getMessage() == "Tool x failed"
    assert record.exc_info is not None
    assert record.exc_info[1] is error


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("three", "the tool failed: its result does not match its output schema"),
        (float("nan"), "the tool failed: its result does not match its output schema"),
    ],
)
def test_result_that_does_not_match_is_told_apart(value, text, caplog):
    with pytest.raises(results.InvalidResult) as raised:
        results.success(value, INT, NOW)
    assert text_of(results.failure("x", raised.value)) == text
    assert len(caplog.records) == 1


def test_result_without_json_form_is_told_apart(caplog):
    with pytest.raises(results.InvalidResult) as raised:
        results.success(object(), None, NOW)
    text = text_of(results.failure("x", raised.value))
    assert text == "the tool failed: its result cannot be written as JSON"
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    "error",
    [
        exceptions.CallFailed(-32050, "not today"),
        exceptions.CallCancelled(),
        asyncio.CancelledError(),
    ],
)
def test_what_is_not_ours_to_answer_passes(error, caplog):
    with pytest.raises(type(error)) as raised:
        results.failure("x", error)
    assert raised.value is error
    assert not caplog.records


def test_cancelled_call_in_a_task_group_passes():
    with pytest.raises(exceptions.CallCancelled):
        results.failure("x", ExceptionGroup("tasks", [exceptions.CallCancelled()]))


@pytest.mark.parametrize("value", [float("nan"), {"a": [float("inf")]}, [-float("inf")]])
def test_numbers_that_json_has_not_are_told_also_without_a_schema(value, caplog):
    with pytest.raises(results.InvalidResult) as raised:
        results.success(value, None, NOW)
    assert text_of(results.failure("x", raised.value)) == "the tool failed: its result cannot be written as JSON"


def test_text_may_speak_of_them():
    (block,) = results.success({"a": "NaN and Infinity"}, None, NOW)["content"]
    assert block["text"] == '{"a":"NaN and Infinity"}'


def blocks(*texts: str) -> list[mcp_types.TextContent]:
    return [mcp_types.TextContent(text=text) for text in texts]


@pytest.mark.parametrize(
    "value",
    [
        "a" * 101,
        "é" * 51,
        ["a" * 101],
        blocks("a" * 60, "a" * 41),
        content.Image(b"a" * 99),
        mcp_types.EmbeddedResource(resource=mcp_types.TextResourceContents(uri="x:", text="a" * 101)),
        mcp_types.EmbeddedResource(resource=mcp_types.BlobResourceContents(uri="x:", blob="a" * 101)),
        mcp_types.CallToolResult(content=blocks("a" * 101)),
    ],
)
def test_result_that_is_too_large_is_told_apart(value, monkeypatch, caplog):
    monkeypatch.setattr(content, "MAX_BYTES", 100)
    with pytest.raises(results.InvalidResult) as raised:
        results.success(value, None, NOW)
    assert text_of(results.failure("x", raised.value)) == "the tool failed: its result is larger than 16777216 bytes"


def test_structured_result_is_measured_by_its_text(monkeypatch):
    monkeypatch.setattr(content, "MAX_BYTES", 100)
    output = outputs.build(list[str], label="x")
    assert results.success(["a" * 90], output, NOW)
    with pytest.raises(results.InvalidResult):
        results.success(["a" * 101], output, NOW)


def test_result_of_the_largest_size_is_sent():
    (block,) = results.success("a" * results.MAX_BYTES, None, NOW)["content"]
    assert len(block["text"]) == results.MAX_BYTES


def test_task_that_is_closed_is_no_failure_and_a_tool_that_claims_it_is():
    assert results.is_closing(GeneratorExit())
    assert not results.is_closing(SystemExit())

    async def claims() -> bool:
        return results.is_closing(GeneratorExit())

    assert asyncio.run(claims()) is False


# Schemas that the user wrote

BY_HAND = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}


@pytest.mark.parametrize("annotation", [inspect.Parameter.empty, dict[str, int], Any, str, mcp_types.CallToolResult])
def test_schema_by_hand_is_published_as_it_is(annotation):
    output = results.output_of(annotation, None, BY_HAND, label="x")
    assert output is not None
    assert output.schema == BY_HAND
    assert not output.wrapped


def test_result_has_the_members_that_a_schema_by_hand_demands(caplog):
    output = results.output_of(Any, None, BY_HAND, label="x")
    result = results.success({"a": 1, "b": [None]}, output, NOW)
    assert result["structuredContent"] == {"a": 1, "b": [None]}
    ready = mcp_types.CallToolResult(content=[], structured_content={"a": 1})
    assert results.success(ready, output, NOW)["structuredContent"] == {"a": 1}
    for value in (
        {"b": 1},
        [1],
        "a",
        None,
        mcp_types.CallToolResult(content=[]),
        mcp_types.CallToolResult(content=[], structured_content={}),
    ):
        with pytest.raises(results.InvalidResult) as raised:
            results.success(value, output, NOW)
        text = text_of(results.failure("x", raised.value))
        assert text == "the tool failed: its result does not match its output schema"


@pytest.mark.parametrize(
    ("structured_output", "schema", "message"),
    [
        (False, BY_HAND, "x: output_schema and structured_output=False exclude each other"),
        (None, {"type": "array"}, 'x: output_schema must have "type": "object" at its root'),
        (None, {}, 'x: output_schema must have "type": "object" at its root'),
        (None, {"type": "object", "required": "a"}, 'x: "required" in output_schema must be a list of names'),
    ],
)
def test_schema_by_hand_that_does_not_fit_is_refused(structured_output, schema, message):
    with pytest.raises(ValueError) as raised:  # noqa: PT011
        results.output_of(Any, structured_output, schema, label="x")
    assert str(raised.value).startswith(message)
