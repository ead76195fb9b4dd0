from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import pydantic
import pytest
from mcp_types import methods

from streamable_http import exceptions
from streamable_http.server import (
    AssistantMessage,
    Context,
    EmbeddedResource,
    GetPromptResult,
    Image,
    ResourceLink,
    SyncContext,
    TextContent,
    TextResourceContents,
    ToolUseContent,
    UserMessage,
    content,
    features,
    prompts,
)
from tests.server import recording

NOW = features.OF_REVISION[recording.R2025_11_25]
SECOND = features.OF_REVISION[recording.R2025_06_18]
FIRST = features.OF_REVISION[recording.R2025_03_26]


def recommend(author: str, mood: Annotated[str, pydantic.Field(title="Mood", description="now")] = "any") -> str:
    """Ask for a book.

    Args:
        author: a name
    """
    return f"{author}, {mood}"


async def get(function: Callable[..., Any], revision: str = recording.R2025_11_25, **arguments: Any) -> dict[str, Any]:
    made = prompts.from_function(function, name="x")
    result = await made.get(arguments, recording.make_context(revision=revision), recording.run_inline)
    methods.validate_server_result("prompts/get", revision, result)
    return result


async def said(value: Any, revision: str = recording.R2025_11_25) -> list[dict[str, Any]]:
    return (await get(lambda: value, revision))["messages"]


def text(value: str, role: str = "user") -> dict[str, Any]:
    return {"role": role, "content": {"type": "text", "text": value}}


# Definitions


def test_definition_is_made_from_the_function():
    made = prompts.from_function(
        recommend, title="Recommend", icons=[{"src": "https://example.com/book.png"}], meta={"a": 1}
    )
    assert made.definition(NOW) == {
        "name": "recommend",
        "title": "Recommend",
        "description": "Ask for a book.",
        "arguments": [
            {"name": "author", "description": "a name", "required": True},
            {"name": "mood", "title": "Mood", "description": "now", "required": False},
        ],
        "icons": [{"src": "https://example.com/book.png"}],
        "_meta": {"a": 1},
    }
    assert made.definition(NOW).keys() - made.definition(SECOND).keys() == {"icons"}
    assert made.definition(SECOND).keys() - made.definition(FIRST).keys() == {"title", "_meta"}
    assert "title" not in made.definition(FIRST)["arguments"][1]


def test_definition_leaves_out_what_there_is_not():
    assert prompts.from_function(lambda: "", name="x").definition(NOW) == {"name": "x"}


def test_name_is_not_empty():
    with pytest.raises(ValueError, match="a prompt needs a name"):
        prompts.from_function(recommend, name="")


def test_signature_that_does_not_suit_is_refused():
    def function(*names: str) -> str: ...

    with pytest.raises(TypeError, match=r"^prompt 'function': parameter 'names'"):
        prompts.from_function(function)


# Messages


LINK = ResourceLink(name="Emma", uri="books://1")
EMBEDDED = EmbeddedResource(resource=TextResourceContents(uri="books://1", text="Emma", mime_type="text/plain"))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a", [text("a")]),
        (UserMessage("a"), [text("a")]),
        (AssistantMessage("a"), [text("a", "assistant")]),
        (["a", AssistantMessage("b"), UserMessage("c")], [text("a"), text("b", "assistant"), text("c")]),
        (TextContent(text="a"), [text("a")]),
        (Image(b"a"), [{"role": "user", "content": {"type": "image", "data": "YQ==", "mimeType": "image/png"}}]),
        (UserMessage(["a", TextContent(text="b")]), [text("a"), text("b")]),
        ({"role": "assistant", "content": {"type": "text", "text": "a"}}, [text("a", "assistant")]),
        (GetPromptResult(messages=[], description="other"), []),
        ([], []),
        (
            {"role": "user", "content": {"type": "resource", "resource": {"uri": "x://y", "text": "z"}}},
            [{"role": "user", "content": {"type": "resource", "resource": {"uri": "x://y", "text": "z"}}}],
        ),
        (
            [EMBEDDED],
            [
                {
                    "role": "user",
                    "content": {
                        "type": "resource",
                        "resource": {"uri": "books://1", "mimeType": "text/plain", "text": "Emma"},
                    },
                }
            ],
        ),
        (LINK, [{"role": "user", "content": {"type": "resource_link", "name": "Emma", "uri": "books://1"}}]),
    ],
)
async def test_messages_are_what_was_said(value, expected):
    assert await said(value) == expected


async def test_first_revision_gets_a_link_as_a_text():
    assert await said(LINK, recording.R2025_03_26) == [text("Emma: books://1")]


async def test_result_has_the_description_of_the_prompt_or_its_own():
    assert (await get(recommend, author="A"))["description"] == "Ask for a book."
    own = GetPromptResult(messages=[], description="other", _meta={"a": 1})
    assert await get(lambda: own) == {"description": "other", "messages": [], "_meta": {"a": 1}}
    assert "description" not in await get(lambda: "a")


@pytest.mark.parametrize(
    "value",
    [
        None,
        1,
        [1],
        [["a"]],
        {"role": "user"},
        {"role": "system", "content": {"type": "text", "text": "a"}},
        UserMessage(1),  # type: ignore[arg-type]
        UserMessage(ToolUseContent(id="1", name="a", input={})),
    ],
)
async def test_what_is_no_message_is_a_failure_that_tells_nothing(value, caplog):
    with pytest.raises(exceptions.CallFailed, match=r"^prompt 'x' failed: internal error$") as raised:
        await said(value)
    assert raised.value.code == exceptions.INTERNAL_ERROR


async def test_messages_that_are_too_large_are_a_failure(monkeypatch, caplog):
    monkeypatch.setattr(content, "MAX_BYTES", 10)
    assert await said(["a" * 5, "a" * 5])
    for value in (
        "a" * 11,
        ["a" * 6, "a" * 5],
        EmbeddedResource(resource=TextResourceContents(uri="x:", text="a" * 11)),
    ):
        with pytest.raises(exceptions.CallFailed, match="internal error"):
            await said(value)


# Arguments


async def test_arguments_become_what_the_function_takes():
    async def function(count: int, ctx: Context, sure: bool = False) -> str:
        await ctx.info("x")
        return f"{count + 1} {sure}"

    def sync_function(count: int, ctx: SyncContext, sure: bool = False) -> str:
        ctx.info("x")
        return f"{count + 1} {sure}"

    for each in (function, sync_function):
        assert (await get(each, count="2", sure="true"))["messages"] == [text("3 True")]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "invalid arguments: author: is required"),
        ({"author": "a", "autor": "b"}, "invalid arguments: autor: is not known here; leave it out"),
        ({"author": 1}, "invalid arguments: author: input should be a valid string (got 1)"),
    ],
)
async def test_arguments_that_do_not_fit_are_invalid_params(arguments, message):
    with pytest.raises(exceptions.CallFailed) as raised:
        await get(recommend, **arguments)
    assert (raised.value.code, str(raised.value)) == (exceptions.INVALID_PARAMS, message)


async def test_errors_that_are_meant_for_the_client_are_told():
    def function():
        raise exceptions.ResourceNotFound("no such author")

    with pytest.raises(exceptions.CallFailed, match=r"^no such author$"):
        await get(function)
