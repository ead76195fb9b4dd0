"""Roots: the folders that the user lets a server work in."""

from __future__ import annotations

from typing import Any, Final

import mcp_types

from streamable_http.server import asking

METHOD: Final = "roots/list"


def params(client_capabilities: dict[str, Any] | None) -> dict[str, Any]:
    """Return the parameters of the ask.

    Raises:
        AskRefused: the client has no roots.
    """
    asking.require(client_capabilities, "roots")
    return {}


def read(result: dict[str, Any]) -> list[mcp_types.Root]:
    """Read the client's result.

    Raises:
        AskError: it is no list of roots.
    """
    return asking.read(mcp_types.ListRootsResult, result, what="list of roots").roots
