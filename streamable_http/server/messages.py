"""Messages of a conversation: what prompts return and what a model is sampled with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import mcp_types
import pydantic

from streamable_http.server import content, features

Role = Literal["user", "assistant"]

_Part = content.Block | mcp_types.ToolUseContent | mcp_types.ToolResultContent

Part = str | content.Block | content.Image | mcp_types.ToolUseContent | mcp_types.ToolResultContent
"""What a message may hold. Uses and results of tools are for sampling alone."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message."""

    content: Part | Sequence[Part]
    """A text, a content block, or several of them."""

    role: Role = "user"

    @property
    def parts(self) -> Sequence[Part]:
        """The content as a list."""
        if isinstance(self.content, str) or not isinstance(self.content, Sequence):
            return (self.content,)
        return self.content


@dataclass(frozen=True, slots=True)
class UserMessage(Message):
    """What the user says."""

    role: Literal["user"] = field(default="user", init=False)


@dataclass(frozen=True, slots=True)
class AssistantMessage(Message):
    """What the model says."""

    role: Literal["assistant"] = field(default="assistant", init=False)


class _OnTheWire(pydantic.BaseModel):
    """A message as prompts and sampling have it."""

    role: Role
    content: _Part | list[_Part]


Like = (
    str
    | content.Block
    | content.Image
    | Message
    | mcp_types.PromptMessage
    | mcp_types.SamplingMessage
    | dict[str, Any]
)
"""What stands for a message: a text or a block is the user's, a dict has ``role`` and ``content`` as on the wire."""

SINGLE: Final = (str, *content.TYPES, Message, mcp_types.PromptMessage, mcp_types.SamplingMessage, dict)


def read_all(value: Any) -> Iterator[Message]:
    """Read one message, or a list of them.

    Raises:
        TypeError: it is no message.
        ValueError: a dict is no message.
    """
    for each in [value] if isinstance(value, SINGLE) else _list(value):
        yield read(each)


def read(value: Like) -> Message:
    """Read what stands for a message.

    Raises:
        TypeError: it is none.
        ValueError: a dict is none.
    """
    if isinstance(value, Message):
        return value
    if isinstance(value, dict):
        wire = _OnTheWire.model_validate(value)
        return Message(wire.content, wire.role)
    if isinstance(value, mcp_types.PromptMessage | mcp_types.SamplingMessage):
        return Message(value.content, value.role)
    if isinstance(value, (str, *content.TYPES)):
        return Message(value)
    raise TypeError(f"{type(value).__name__} is no message; use a string, UserMessage(...) or AssistantMessage(...)")


def block(part: Any, having: features.Features) -> dict[str, Any]:
    """Return a part of a message as it goes on the wire."""
    return content.text(part) if isinstance(part, str) else content.from_block(part, having)


def _list(value: Any) -> Sequence[Any]:
    if isinstance(value, list | tuple):
        return value
    raise TypeError(f"{type(value).__name__} is no message; use a string, UserMessage(...) or AssistantMessage(...)")
