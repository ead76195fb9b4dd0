"""Content blocks: what a tool returns, as its revision has it on the wire."""

from __future__ import annotations

import base64
import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

import mcp_types
import pydantic_core

from streamable_http import exceptions
from streamable_http.protocol import jsonrpc
from streamable_http.server import features

MAX_DEPTH: Final = 200
"""Levels of nesting in what a tool sends; orjson writes 254, and the envelope takes a few."""

MAX_BYTES: Final = 16 * 2**20
"""The most that one result holds."""

Block = (
    mcp_types.TextContent
    | mcp_types.ImageContent
    | mcp_types.AudioContent
    | mcp_types.ResourceLink
    | mcp_types.EmbeddedResource
)


class TooLarge(ValueError):  # noqa: N818
    """A result has more than ``MAX_BYTES``."""

    def __str__(self) -> str:
        return f"it is larger than {MAX_BYTES} bytes"


@dataclass(frozen=True, slots=True)
class Image:
    """An image as bytes; return it from a tool, alone or in a list."""

    data: bytes
    """The encoded image, as in a file."""

    mime_type: str = "image/png"

    def to_content(self) -> mcp_types.ImageContent:
        """Return the content block."""
        return mcp_types.ImageContent(data=base64.b64encode(self.data).decode("ascii"), mime_type=self.mime_type)


TYPES: Final = (
    mcp_types.TextContent,
    mcp_types.ImageContent,
    mcp_types.AudioContent,
    mcp_types.ResourceLink,
    mcp_types.EmbeddedResource,
    Image,
)
"""What stands for a block when a tool returns it."""


def text(value: str) -> dict[str, Any]:
    """Return a text block."""
    return {"type": "text", "text": value}


def from_value(value: Any, having: features.Features) -> list[dict[str, Any]]:
    """Return the blocks for whatever a tool without structured output returned.

    A string is one text block and ``None`` is nothing. A list of blocks and strings is its items. Anything else
    is JSON in a text block.

    Raises:
        ValueError: it has no JSON form.
    """
    if isinstance(value, str):
        return [text(value)]
    if value is None:
        return []
    if isinstance(value, TYPES):
        return [from_block(value, having)]
    if isinstance(value, list | tuple) and all(isinstance(item, (str, *TYPES)) for item in value):
        return [text(item) if isinstance(item, str) else from_block(item, having) for item in value]
    return [text(json_text(value))]


def from_block(block: Block | Image, having: features.Features) -> dict[str, Any]:
    """Return a block as it goes on the wire.

    Raises:
        ValueError: its ``_meta`` has no JSON form.
    """
    if isinstance(block, Image):
        block = block.to_content()
    if isinstance(block, mcp_types.ResourceLink) and not having.resource_links:
        # The revision has no links; the model can still read where the resource is.
        return text(f"{block.title or block.name}: {block.uri}")
    return without(having.absent_members, loads(block.model_dump_json(by_alias=True, exclude_none=True).encode()))


def json_text(value: Any) -> str:
    """Return a value as JSON.

    Raises:
        ValueError: it is cyclic, or has a part without JSON form, NaN and infinity among them.
    """
    written = pydantic_core.to_json(value, by_alias=True, inf_nan_mode="constants")
    if b"NaN" in written or b"Infinity" in written:
        # Perhaps only in a string: look again.
        json.loads(written, parse_constant=_refuse_constant)
    return written.decode()


def require_size(blocks: Collection[dict[str, Any]]) -> None:
    """Check that what is sent is not too much for one message.

    Raises:
        TooLarge: texts and data have more than ``MAX_BYTES``.
    """
    characters = 0
    for block in blocks:
        characters += len(block.get("text") or _held(block))
    # A character has four bytes at most; few results are large enough to look.
    if characters > MAX_BYTES // 4 and (
        characters > MAX_BYTES or sum(len(_held(block).encode(errors="surrogatepass")) for block in blocks) > MAX_BYTES
    ):
        raise TooLarge


def _held(block: dict[str, Any]) -> str:
    holder = block.get("resource", block)
    return holder.get("text") or holder.get("data") or holder.get("blob") or ""


def plain(value: Any) -> Any:
    """Return a value as plain JSON types, so that it can be sent.

    Models, dataclasses, dates and the like get their JSON form. Fast for strings.

    Raises:
        ValueError: it is cyclic, too deep, or has a part without JSON form.
    """
    if type(value) is str:
        return value
    return loads(pydantic_core.to_json(value, by_alias=True, inf_nan_mode="null"))


def loads(written: bytes) -> Any:
    """Read back what a serializer wrote.

    Raises:
        ValueError: not JSON after all (NaN), or deeper than ``MAX_DEPTH``.
    """
    try:
        return jsonrpc.loads(written, max_depth=MAX_DEPTH)
    except exceptions.ParseError as error:
        raise ValueError(error.reason) from None


def without(members: frozenset[str], block: dict[str, Any]) -> dict[str, Any]:
    """Take members that a revision does not know out of a block."""
    for part in (block, block.get("annotations", {}), block.get("resource", {})):
        for member in members:
            part.pop(member, None)
    return block


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} has no JSON form")
