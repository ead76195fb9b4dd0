"""The servers of the project: the :class:`~streamable_http.server.MCPServer` objects in its apps' ``mcp`` modules."""

from __future__ import annotations

import importlib

from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import module_has_submodule

from streamable_http.server import MCPServer

MODULE = "mcp"


def servers() -> dict[str, MCPServer]:
    """Return all servers by name; importing a module twice is free.

    Raises:
        ImproperlyConfigured: two have the same name.
    """
    found: dict[str, MCPServer] = {}
    for config in apps.get_app_configs():
        if config.module is None or not module_has_submodule(config.module, MODULE):
            continue
        for value in vars(importlib.import_module(f"{config.name}.{MODULE}")).values():
            if isinstance(value, MCPServer) and found.setdefault(value.name, value) is not value:
                raise ImproperlyConfigured(f"Two MCP servers are named '{value.name}'; give one of them another name.")
    return found


def find(name: str | None) -> MCPServer:
    """Return a server by its name; without one the only server that there is.

    Raises:
        ImproperlyConfigured: there is none, or several to choose from.
    """
    found = servers()
    if name is None and len(found) == 1:
        return next(iter(found.values()))
    if name in found:
        return found[name]
    names = ", ".join(f"'{known}'" for known in found) or "none"
    wanted = "Which MCP server?" if name is None else f"No MCP server is named '{name}'."
    raise ImproperlyConfigured(
        f"{wanted} The {MODULE}.py modules of the installed apps have: {names}. "
        "Name one of them with MCPConsumer.as_asgi(server=…) or MCPView.as_view(server=…), or make one: "
        "server = MCPServer('name')."
    )
