"""From a method's name to what answers it."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

from streamable_http import exceptions
from streamable_http.server import completion, context, features, listing, resources, results, running

if TYPE_CHECKING:
    from streamable_http.server import mcp_server

RunSync = running.RunSync

Handler = Callable[
    ["mcp_server.MCPServer", dict[str, Any], context.Context, RunSync],
    Awaitable[dict[str, Any]],
]

PING: Final = "ping"
LIST_TOOLS: Final = "tools/list"
CALL_TOOL: Final = "tools/call"
LIST_RESOURCES: Final = "resources/list"
LIST_TEMPLATES: Final = "resources/templates/list"
READ_RESOURCE: Final = "resources/read"
LIST_PROMPTS: Final = "prompts/list"
GET_PROMPT: Final = "prompts/get"
COMPLETE: Final = "completion/complete"

MAX_SHOWN_CHARACTERS: Final = 128


async def ping(
    server: mcp_server.MCPServer, params: dict[str, Any], ctx: context.Context, run_sync: RunSync
) -> dict[str, Any]:
    """Answer that we are here."""
    return {}


async def list_tools(
    server: mcp_server.MCPServer, params: dict[str, Any], ctx: context.Context, run_sync: RunSync
) -> dict[str, Any]:
    """Return a page of the tools that the caller may use."""
    if server.tool_list.is_used and not server.tool_list.is_guarded and params.get("cursor") is None:
        return server.tool_list.first_page(ctx.revision)
    return await _page(server.tool_list, LIST_TOOLS, params, ctx)


async def call_tool(
    server: mcp_server.MCPServer, params: dict[str, Any], ctx: context.Context, run_sync: RunSync
) -> dict[str, Any]:
    """Call a tool.

    Raises:
        CallFailed: there is no such tool, the parameters are malformed, or the tool says so.
        CallCancelled: the call is over.
    """
    name = _string(params, "name")
    arguments = _object(params, "arguments")
    tool = server.tool_list.things.get(name)
    if tool is None or (tool.permission_classes and not await ctx.gate.permits(tool.permission_classes, name)):
        # Who may not use it is not told that it exists.
        raise exceptions.CallFailed(exceptions.INVALID_PARAMS, f"unknown tool: {name[:MAX_SHOWN_CHARACTERS]}")
    if tool.throttle_classes:
        seconds = await ctx.gate.throttled(tool.throttle_classes, name)
        if seconds is not None:
            return results.in_band_error(f"called too often; try again in {math.ceil(seconds)} s")
    return await tool.call(arguments, ctx, run_sync)


async def list_resources(
    server: mcp_server.MCPServer, params: dict[str, Any], ctx: context.Context, run_sync: RunSync
) -> dict[str, Any]:
    """Return a page of the resources that the caller may read, without those of templates."""
    _require_resources(server, LIST_RESOURCES)
    return await server.resource_list.page(params.get("cursor"), ctx)


async def list_templates(
    server: mcp_server.MCPServer, params: dict[str, Any], ctx: context.Context, run_sync: RunSync
) -> dict[str, Any]:
    """Return a page of the templates whose resources the caller may read."""
    _require_resources(server, LIST_TEMPLATES)
    return await server.template_list.page(params.get("cursor"), ctx)


async def read_resource(
    server: mcp_server.MCPServer, params: dict[str, Any], ctx: context.Context, run_sync: RunSync
) -> dict[str, Any]:
    """Read a resource.

    Raises:
        CallFailed: there is no such resource, or it cannot be read.
        CallCancelled: the call is over.
    """
    _require_resources(server, READ_RESOURCE)
    uri = _string(params, "uri")
    found = await server.find_resource(uri, ctx)
    if found is None:
        raise resources.not_found(uri)
    resource, variables = found
    return await resource.read(uri, variables, ctx, run_sync)


async def list_prompts(
    server: mcp_server.MCPServer, params: dict[str, Any], ctx: context.Context, run_sync: RunSync
) -> dict[str, Any]:
    """Return a page of the prompts that the caller may use."""
    return await _page(server.prompt_list, LIST_PROMPTS, params, ctx)


async def get_prompt(
    server: mcp_server.MCPServer, params: dict[str, Any], ctx: context.Context, run_sync: RunSync
) -> dict[str, Any]:
    """Return the messages of a prompt.

    Raises:
        CallFailed: there is no such prompt, or its arguments do not fit.
        CallCancelled: the call is over.
    """
    if not server.prompt_list.is_used:
        raise exceptions.MethodNotFound(GET_PROMPT)
    name = _string(params, "name")
    arguments = _object(params, "arguments")
    prompt = await server.prompt_list.find(name, ctx)
    if prompt is None:
        raise _unknown_prompt(name)
    return await prompt.get(arguments, ctx, run_sync)


async def complete(
    server: mcp_server.MCPServer, params: dict[str, Any], ctx: context.Context, run_sync: RunSync
) -> dict[str, Any]:
    """Say what the user who types an argument may mean.

    Raises:
        CallFailed: there is no such prompt or template, or it has no such argument.
        CallCancelled: the call is over.
    """
    if not server.completes:
        # Method not found: capability not supported (2025-11-25, Completion, Error Handling).
        raise exceptions.MethodNotFound(COMPLETE)
    target, value = _completion_target(params)
    await _require_argument(server, target, ctx)
    completer = server.completers.get(target)
    if completer is None:
        return completion.NOTHING
    return await completer.complete(value, _decided(params, ctx.features), ctx, run_sync)


HANDLERS: Final[dict[str, Handler]] = {
    PING: ping,
    LIST_TOOLS: list_tools,
    CALL_TOOL: call_tool,
    LIST_RESOURCES: list_resources,
    LIST_TEMPLATES: list_templates,
    READ_RESOURCE: read_resource,
    LIST_PROMPTS: list_prompts,
    GET_PROMPT: get_prompt,
    COMPLETE: complete,
}

READING: Final = frozenset((READ_RESOURCE, GET_PROMPT, COMPLETE))
"""Methods that run what users wrote, and change nothing."""

USER_CODE: Final = READING | {CALL_TOOL}
"""Methods that run what users wrote."""


def progress_token(params: dict[str, Any]) -> str | int | None:
    """Return the token under which the client wants progress; anything but a string or an integer is none."""
    meta = params.get("_meta")
    token = meta.get("progressToken") if isinstance(meta, dict) else None
    # bool is an int in Python, and no token in MCP.
    return token if isinstance(token, str) or type(token) is int else None


def log_level(params: dict[str, Any]) -> str:
    """Return the level that ``logging/setLevel`` wants.

    Raises:
        CallFailed: it is none of the eight.
    """
    level = params.get("level")
    if not isinstance(level, str) or level not in context.SEVERITY:
        raise exceptions.CallFailed(exceptions.INVALID_PARAMS, f'"level" must be one of {", ".join(context.SEVERITY)}')
    return level


def _string(params: dict[str, Any], name: str) -> str:
    value = params.get(name)
    if not isinstance(value, str):
        raise exceptions.CallFailed(exceptions.INVALID_PARAMS, f'"{name}" must be a string')
    return value


def _object(params: dict[str, Any], name: str) -> dict[str, Any]:
    value = params.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise exceptions.CallFailed(exceptions.INVALID_PARAMS, f'"{name}" must be an object')
    return value


async def _page(
    things: listing.Listing[Any], method: str, params: dict[str, Any], ctx: context.Context
) -> dict[str, Any]:
    """Return a page of a list, where there is one.

    Raises:
        MethodNotFound: the server never said that it has such things.
        CallFailed: the cursor is none of ours.
    """
    if not things.is_used:
        raise exceptions.MethodNotFound(method)
    return await things.page(params.get("cursor"), ctx)


def _require_resources(server: mcp_server.MCPServer, method: str) -> None:
    if not server.subscribes:
        raise exceptions.MethodNotFound(method)


def _unknown_prompt(name: str) -> exceptions.CallFailed:
    # Invalid prompt name: -32602 (2025-11-25, Prompts, Error Handling).
    return exceptions.CallFailed(exceptions.INVALID_PARAMS, f"unknown prompt: {name[:MAX_SHOWN_CHARACTERS]}")


def _completion_target(params: dict[str, Any]) -> tuple[completion.Target, str]:
    reference = _object(params, "ref")
    kind = reference.get("type")
    if not isinstance(kind, str) or kind not in REFERENCES:
        raise exceptions.CallFailed(exceptions.INVALID_PARAMS, f'"ref.type" must be one of {", ".join(REFERENCES)}')
    argument = _object(params, "argument")
    return completion.Target(kind, _string(reference, REFERENCES[kind]), _string(argument, "name")), _string(
        argument, "value"
    )


REFERENCES: Final = {completion.PROMPT: "name", completion.RESOURCE: "uri"}
"""Where each kind of reference has what it refers to."""


async def _require_argument(server: mcp_server.MCPServer, target: completion.Target, ctx: context.Context) -> None:
    """Check that there is something to complete.

    Raises:
        CallFailed: there is not, or not for this caller.
    """
    if target.kind == completion.PROMPT:
        prompt = await server.prompt_list.find(target.name, ctx)
        if prompt is None:
            raise _unknown_prompt(target.name)
        names = prompt.arguments.schema["properties"]
    else:
        template = await server.template_list.find(target.name, ctx)
        if template is None:
            shown = target.name[:MAX_SHOWN_CHARACTERS]
            raise exceptions.CallFailed(exceptions.INVALID_PARAMS, f"unknown resource template: {shown}")
        names = template.arguments.schema["properties"]
    if target.argument not in names:
        shown = target.argument[:MAX_SHOWN_CHARACTERS]
        raise exceptions.CallFailed(exceptions.INVALID_PARAMS, f"unknown argument: {shown}")


def _decided(params: dict[str, Any], having: features.Features) -> dict[str, str]:
    """Return the arguments that are decided already; strings alone, as the schema has them."""
    if not having.completion_context:
        return {}
    given = _object(_object(params, "context"), "arguments")
    return {name: value for name, value in given.items() if isinstance(value, str)}
