from __future__ import annotations

from typing import Any

import mcp_types
import pytest
from mcp_types import methods

from streamable_http import exceptions
from streamable_http.server import (
    AssistantMessage,
    EmbeddedResource,
    Image,
    ModelPreferences,
    TextContent,
    TextResourceContents,
    ToolChoice,
    ToolResultContent,
    ToolUseContent,
    UserMessage,
    features,
    sampling,
)
from tests.server import recording

NOW = features.OF_REVISION[recording.R2025_11_25]
SECOND = features.OF_REVISION[recording.R2025_06_18]

EVERYTHING = {"sampling": {"tools": {}, "context": {}}}

USE = ToolUseContent(id="1", name="add", input={"a": 1})
OTHER_USE = ToolUseContent(id="2", name="add", input={"a": 1})
RESULT = ToolResultContent(tool_use_id="1", content=[TextContent(text="2")])
OTHER_RESULT = ToolResultContent(tool_use_id="2", content=[])
TOOL = mcp_types.Tool(name="add", input_schema={"type": "object"})


def params(
    asked: Any, *, revision: str = recording.R2025_11_25, capabilities: Any = EVERYTHING, **options: Any
) -> Any:
    options = {"max_tokens": 10, **options}
    made = sampling.params(asked, options, features.OF_REVISION[revision], capabilities)
    request = {"jsonrpc": "2.0", "id": 1, "method": sampling.METHOD, "params": made}
    methods.parse_server_request(sampling.METHOD, revision, made)
    mcp_types.CreateMessageRequest.model_validate(request)
    return made


def text(value: str, role: str = "user") -> dict[str, Any]:
    return {"role": role, "content": {"type": "text", "text": value}}


# What is asked


@pytest.mark.parametrize("revision", recording.REVISIONS)
def test_text_is_what_the_user_says(revision):
    assert params("Hello", revision=revision) == {"messages": [text("Hello")], "maxTokens": 10}


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (["a", AssistantMessage("b"), UserMessage("c")], [text("a"), text("b", "assistant"), text("c")]),
        (TextContent(text="a"), [text("a")]),
        (mcp_types.SamplingMessage(role="assistant", content=TextContent(text="a")), [text("a", "assistant")]),
        ({"role": "user", "content": {"type": "text", "text": "a"}}, [text("a")]),
        (UserMessage([TextContent(text="a")]), [text("a")]),
        (
            UserMessage(["a", Image(b"a")]),
            [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "a"},
                        {"type": "image", "data": "YQ==", "mimeType": "image/png"},
                    ],
                }
            ],
        ),
    ],
)
def test_messages_are_written_as_the_protocol_has_them(asked, expected):
    assert params(asked)["messages"] == expected


def test_options_get_their_names_on_the_wire_and_what_is_not_given_is_left_out():
    assert params(
        "a",
        max_tokens=5,
        system_prompt="Be brief.",
        temperature=0.5,
        stop_sequences=("END",),
        model_preferences=ModelPreferences(hints=[mcp_types.ModelHint(name="small")], cost_priority=1.0),
        include_context="thisServer",
        metadata={"a": 1},
        tools=[TOOL],
        tool_choice=ToolChoice(mode="required"),
    ) == {
        "messages": [text("a")],
        "maxTokens": 5,
        "systemPrompt": "Be brief.",
        "temperature": 0.5,
        "stopSequences": ["END"],
        "modelPreferences": {"hints": [{"name": "small"}], "costPriority": 1.0},
        "includeContext": "thisServer",
        "metadata": {"a": 1},
        "tools": [{"name": "add", "inputSchema": {"type": "object"}}],
        "toolChoice": {"mode": "required"},
    }


@pytest.mark.parametrize(
    ("options", "message"), [({"max_token": 1}, "'max_token'"), ({"temprature": 1}, "temprature")]
)
def test_misspelled_option_is_refused(options, message):
    with pytest.raises(TypeError, match=message):
        params("a", **options)


def test_limit_is_required():
    with pytest.raises(TypeError, match="needs max_tokens="):
        sampling.params("a", {}, NOW, None)


@pytest.mark.parametrize(
    "asked", [1, None, [1], [["a"]], EmbeddedResource(resource=TextResourceContents(uri="x:", text=""))]
)
def test_what_is_no_message_is_refused(asked):
    with pytest.raises(TypeError):
        params(asked)


# What the client can


@pytest.mark.parametrize("capabilities", [{}, {"sampling": None}, {"sampling": True}, {"elicitation": {}}])
def test_client_without_a_model_is_not_asked(capabilities):
    with pytest.raises(exceptions.AskRefused, match=r"^the client cannot be asked: it does not support sampling$"):
        params("a", capabilities=capabilities)


@pytest.mark.parametrize("options", [{"tools": [TOOL]}, {"tools": []}, {"tool_choice": {"mode": "none"}}])
def test_client_without_tools_is_sent_none(options):
    with pytest.raises(exceptions.AskRefused, match="it does not support tools in sampling"):
        params("a", capabilities={"sampling": {}}, **options)
    with pytest.raises(exceptions.AskRefused, match="sampling has no tools in its protocol revision"):
        params("a", revision=recording.R2025_06_18, **options)


def test_where_nobody_knows_what_the_client_can_the_outlet_decides():
    assert params("a", capabilities=None, tools=[TOOL], include_context="none")["includeContext"] == "none"


def test_context_goes_to_those_alone_who_declare_it():
    assert "includeContext" not in params("a", capabilities={"sampling": {}}, include_context="thisServer")
    older = params("a", revision=recording.R2025_06_18, capabilities={"sampling": {}}, include_context="thisServer")
    assert older["includeContext"] == "thisServer"


def test_older_revisions_have_one_block_in_a_message():
    with pytest.raises(exceptions.AskRefused, match="a message has one content block; send several messages"):
        params(UserMessage(["a", "b"]), revision=recording.R2025_06_18)


# Uses and results of tools


def test_results_follow_the_uses_that_they_belong_to():
    asked = ["a", AssistantMessage([USE, OTHER_USE]), UserMessage([OTHER_RESULT, RESULT]), AssistantMessage("done")]
    assert len(params(asked, tools=[TOOL])["messages"]) == 4


@pytest.mark.parametrize(
    "asked",
    [
        [AssistantMessage(USE)],
        [AssistantMessage(USE), "a"],
        [AssistantMessage(USE), UserMessage(OTHER_RESULT)],
        [AssistantMessage([USE, OTHER_USE]), UserMessage(RESULT)],
        [UserMessage(RESULT)],
        [AssistantMessage(USE), UserMessage([RESULT, "a"])],
        [AssistantMessage(USE), "a", UserMessage(RESULT)],
    ],
)
def test_what_the_specification_forbids_is_not_sent(asked):
    with pytest.raises(ValueError, match="tool"):
        params(asked)


# What comes back

ANSWER = {"role": "assistant", "model": "m", "stopReason": "endTurn"}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"type": "text", "text": "a"}, "a"),
        ([{"type": "text", "text": "a"}], "a"),
        ([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "ab"),
    ],
)
def test_answer_is_one_block_also_when_it_comes_in_a_list(content, expected):
    read = sampling.read({**ANSWER, "content": content})
    assert isinstance(read.content, TextContent)
    assert (read.content.text, read.model, read.stop_reason) == (expected, "m", "endTurn")


def test_answer_with_tools_may_want_some_used():
    content = [{"type": "tool_use", "id": "1", "name": "add", "input": {}}]
    read = sampling.read_with_tools({**ANSWER, "content": content})
    assert read.content == [ToolUseContent(id="1", name="add", input={})]


@pytest.mark.parametrize(
    "result",
    [
        {},
        {"role": "assistant", "content": {"type": "text", "text": "a"}},
        {**ANSWER, "content": []},
        {**ANSWER, "content": [{"type": "text", "text": "a"}, {"type": "image", "data": "", "mimeType": "x"}]},
        {**ANSWER, "content": {"type": "text"}},
        {**ANSWER, "content": [1]},
    ],
)
def test_answer_that_is_none_is_an_error(result):
    with pytest.raises(exceptions.AskError, match="the client's answer is no message of a model"):
        sampling.read(result)


def test_answer_with_tools_that_is_none_is_an_error():
    with pytest.raises(exceptions.AskError, match="the client's answer is no message of a model"):
        sampling.read_with_tools({**ANSWER, "content": [1]})
