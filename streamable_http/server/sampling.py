"""Sampling: what a client's model is asked, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, Required

import mcp_types
import pydantic
from typing_extensions import TypedDict

from streamable_http import exceptions
from streamable_http.server import asking, content, features, messages

METHOD: Final = "sampling/createMessage"


class Options(TypedDict, total=False):
    """How to sample."""

    max_tokens: Required[int]
    """The most that the model may write."""

    system_prompt: str | None
    temperature: float | None
    stop_sequences: Sequence[str] | None
    model_preferences: mcp_types.ModelPreferences | dict[str, Any] | None
    include_context: Literal["none", "thisServer", "allServers"] | None
    metadata: dict[str, Any] | None
    tool_choice: mcp_types.ToolChoice | dict[str, Any] | None


BLOCKS: Final = (
    str,
    content.Image,
    mcp_types.TextContent,
    mcp_types.ImageContent,
    mcp_types.AudioContent,
    mcp_types.ToolUseContent,
    mcp_types.ToolResultContent,
)
"""What a message may hold (2025-11-25, SamplingMessageContentBlock)."""

WIRE_NAMES: Final = {
    "max_tokens": "maxTokens",
    "system_prompt": "systemPrompt",
    "temperature": "temperature",
    "stop_sequences": "stopSequences",
    "model_preferences": "modelPreferences",
    "include_context": "includeContext",
    "metadata": "metadata",
    "tools": "tools",
    "tool_choice": "toolChoice",
}


def params(
    asked: messages.Like | Sequence[messages.Like],
    options: Mapping[str, Any],
    having: features.Features,
    client_capabilities: dict[str, Any] | None,
) -> dict[str, Any]:
    """Return the parameters of the ask.

    Raises:
        AskRefused: the client has no model to ask, or no tools for it.
        TypeError: an unknown option, or something that is no message.
        ValueError: an option or a message is malformed.
    """
    for name in options:
        if name not in WIRE_NAMES:
            raise TypeError(f"sample() got an unexpected keyword argument '{name}'")
    if "max_tokens" not in options:
        raise TypeError("sample() needs max_tokens=, the most that the model may write")
    capability = asking.require(client_capabilities, "sampling")
    given = {WIRE_NAMES[name]: _plain(value) for name, value in options.items() if value is not None}
    if "tools" in given or "toolChoice" in given:
        _require_tools(having, capability)
    if capability is not None and having.sampling_tools and "context" not in capability:
        # SHOULD NOT be sent to who does not declare it (2025-11-25, Sampling, Capabilities), and MAY be ignored.
        given.pop("includeContext", None)
    read = list(messages.read_all(asked))
    _require_matched_tools(read)
    return {"messages": [_message(each, having) for each in read], **given}


def read(result: dict[str, Any]) -> mcp_types.CreateMessageResult:
    """Read the client's result.

    Raises:
        AskError: it is no message.
    """
    parts = result.get("content")
    if isinstance(parts, list):
        # Without tools it is one block, though 2025-11-25 lets it stand in a list.
        result = {**result, "content": _joined(parts)}
    return asking.read(mcp_types.CreateMessageResult, result, what="message of a model")


def read_with_tools(result: dict[str, Any]) -> mcp_types.CreateMessageResultWithTools:
    """Read the client's result, which may want tools to be used.

    Raises:
        AskError: it is no message.
    """
    return asking.read(mcp_types.CreateMessageResultWithTools, result, what="message of a model")


def _message(message: messages.Message, having: features.Features) -> dict[str, Any]:
    for part in message.parts:
        if not isinstance(part, BLOCKS):
            raise TypeError(
                f"a model cannot be sent {type(part).__name__}; use texts, images, audio, or tools' results"
            )
    blocks = [messages.block(part, having) for part in message.parts]
    if len(blocks) == 1:
        return {"role": message.role, "content": blocks[0]}
    if not having.sampling_tools:
        raise exceptions.AskRefused(
            "the client cannot be asked: in its protocol revision a message has one content block; send "
            "several messages"
        )
    return {"role": message.role, "content": blocks}


def _require_tools(having: features.Features, capability: dict[str, Any] | None) -> None:
    if not having.sampling_tools:
        raise exceptions.AskRefused("the client cannot be asked: sampling has no tools in its protocol revision")
    if capability is not None and "tools" not in capability:
        # MUST NOT be sent to who does not declare it (2025-11-25, Sampling, Capabilities).
        raise exceptions.AskRefused("the client cannot be asked: it does not support tools in sampling")


def _require_matched_tools(read: list[messages.Message]) -> None:
    """Check what the specification demands of uses and results of tools (2025-11-25, Sampling, Message Content)."""
    wanted: set[str] = set()
    for message in read:
        results = [part for part in message.parts if isinstance(part, mcp_types.ToolResultContent)]
        if results and len(results) != len(message.parts):
            raise ValueError("a message with tool results holds nothing else; put the rest into a message of its own")
        if {result.tool_use_id for result in results} != wanted:
            raise ValueError("the message behind tool uses holds one result for each of them, and only there")
        wanted = {part.id for part in message.parts if isinstance(part, mcp_types.ToolUseContent)}
    if wanted:
        raise ValueError("the message behind tool uses holds one result for each of them; there is none")


def _plain(value: Any) -> Any:
    """Return an option as plain JSON types; models without what they leave out."""
    if isinstance(value, pydantic.BaseModel):
        return value.model_dump(mode="json", by_alias=True, exclude_none=True)
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return content.plain(value)


def _joined(parts: list[Any]) -> Any:
    texts = [part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str)]
    if len(parts) > 1 and len(texts) == len(parts):
        return content.text("".join(texts))
    return parts[0] if len(parts) == 1 else parts
