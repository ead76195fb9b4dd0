"""Prompts: conversations that a user can begin with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import mcp_types
from typing_extensions import TypedDict

from streamable_http import exceptions
from streamable_http.server import arguments as prompt_arguments
from streamable_http.server import content, context, definitions, docstrings, features, messages, running, signatures


class Options(TypedDict, total=False):
    """What can be said about a prompt; see :meth:`MCPServer.add_prompt`."""

    title: str | None
    description: str | None
    icons: Sequence[definitions.IconLike] | None
    meta: dict[str, Any] | None
    permission_classes: Sequence[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """One prompt. Unchangeable, so that calls share it freely."""

    name: str
    title: str | None
    description: str
    icons: list[dict[str, Any]]
    meta: dict[str, Any] | None
    permission_classes: tuple[Any, ...]
    callee: running.Callee
    arguments: prompt_arguments.Arguments

    def definition(self, having: features.Features) -> dict[str, Any]:
        """Return the prompt as ``prompts/list`` shows it."""
        return definitions.make(
            having,
            {
                "name": self.name,
                "title": self.title,
                "description": self.description,
                "arguments": self._arguments(having),
                "icons": self.icons,
                "_meta": self.meta,
            },
        )

    async def get(self, arguments: dict[str, Any], ctx: context.Context, run_sync: running.RunSync) -> dict[str, Any]:
        """Return the result of ``prompts/get``.

        Raises:
            CallFailed: the arguments do not fit, or the function failed.
            CallCancelled: the call is over.
        """
        try:
            bound = self.arguments.validate(arguments)
        except exceptions.ToolError as error:
            # Missing required arguments: -32602 (2025-11-25, Prompts, Error Handling).
            raise exceptions.CallFailed(exceptions.INVALID_PARAMS, str(error)) from None
        return await self.callee.call(bound, ctx, run_sync, lambda value: self._result(value, ctx.features))

    def _result(self, value: Any, having: features.Features) -> dict[str, Any]:
        result: dict[str, Any] = {"description": self.description} if self.description else {}
        if isinstance(value, mcp_types.GetPromptResult):
            if value.description is not None:
                result["description"] = value.description
            if value.meta is not None:
                result["_meta"] = content.plain(value.meta)
            value = value.messages
        said: list[dict[str, Any]] = [
            {"role": message.role, "content": _block(part, having)}
            for message in messages.read_all(value)
            for part in message.parts
        ]
        content.require_size([each["content"] for each in said])
        return {**result, "messages": said}

    def _arguments(self, having: features.Features) -> list[dict[str, Any]]:
        required = self.arguments.schema.get("required", ())
        return [
            definitions.make(
                having,
                {
                    "name": name,
                    "title": schema.get("title"),
                    "description": schema.get("description"),
                    "required": name in required,
                },
            )
            for name, schema in self.arguments.schema["properties"].items()
        ]


def from_function(
    function: Callable[..., Any],
    *,
    name: str | None = None,
    title: str | None = None,
    description: str | None = None,
    icons: Sequence[definitions.IconLike] | None = None,
    meta: dict[str, Any] | None = None,
    permission_classes: Sequence[Any] = (),
) -> Prompt:
    """Build a prompt from a function.

    Raises:
        TypeError: the function's signature does not suit a prompt.
        ValueError: a name or an option that does not fit.
    """
    name = definitions.name_of(function, name)
    if not name:
        raise ValueError("a prompt needs a name; give it name=")
    label = f"prompt '{name}'"
    signature = signatures.read(function, label=label)
    docstring = docstrings.parse(getattr(function, "__doc__", None))
    return Prompt(
        name=name,
        title=title,
        description=docstring.description if description is None else description,
        icons=definitions.icons(icons, label=label),
        meta=definitions.json_object(meta, label=label, what="meta"),
        permission_classes=tuple(permission_classes),
        callee=running.Callee.of(function, signature, label=label),
        arguments=prompt_arguments.build(signature.parameters, docstring.arguments, label=label),
    )


def _block(part: Any, having: features.Features) -> dict[str, Any]:
    if isinstance(part, mcp_types.ToolUseContent | mcp_types.ToolResultContent):
        raise TypeError("uses and results of tools are for sampling; a prompt cannot hold them")
    return messages.block(part, having)
