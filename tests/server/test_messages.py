from __future__ import annotations

import mcp_types
import pydantic
import pytest

from streamable_http.server import AssistantMessage, Image, Message, TextContent, UserMessage, messages


def test_helpers_know_who_speaks():
    assert (UserMessage("a").role, AssistantMessage("a").role, Message("a").role) == ("user", "assistant", "user")
    assert Message("a", "assistant").role == "assistant"


@pytest.mark.parametrize(
    ("content", "parts"),
    [("a", ["a"]), (Image(b""), [Image(b"")]), (["a", "b"], ["a", "b"]), (("a",), ["a"]), ([], [])],
)
def test_content_is_one_part_or_several(content, parts):
    assert list(Message(content).parts) == parts


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a", Message("a")),
        (UserMessage("a"), UserMessage("a")),
        (TextContent(text="a"), Message(TextContent(text="a"))),
        (
            mcp_types.PromptMessage(role="assistant", content=TextContent(text="a")),
            Message(TextContent(text="a"), "assistant"),
        ),
        (
            {"role": "user", "content": [{"type": "tool_use", "id": "1", "name": "a", "input": {}}]},
            Message([mcp_types.ToolUseContent(id="1", name="a", input={})]),
        ),
    ],
)
def test_many_things_stand_for_a_message(value, expected):
    assert messages.read(value) == expected
    assert list(messages.read_all(value)) == [expected]
    assert list(messages.read_all([value, value])) == [expected, expected]


@pytest.mark.parametrize("value", [None, 1, b"a", {"a"}])
def test_others_do_not(value):
    with pytest.raises(
        TypeError, match=r"is no message; use a string, UserMessage\(...\) or AssistantMessage\(...\)$"
    ):
        list(messages.read_all(value))
    with pytest.raises(TypeError, match="is no message"):
        messages.read(value)


@pytest.mark.parametrize("value", [{}, {"role": "tool", "content": "a"}, {"role": "user", "content": {"type": "x"}}])
def test_dict_has_a_role_and_content(value):
    with pytest.raises(pydantic.ValidationError):
        messages.read(value)
