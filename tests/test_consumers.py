"""The Channels shell, asked as an ASGI server asks it."""

from __future__ import annotations

from typing import Any

import pytest

from streamable_http import conf
from streamable_http.consumers import MCPConsumer
from streamable_http.server import MCPServer


@pytest.mark.parametrize(("version", "closes"), [("1.0", True), ("1.1", True), ("2", False), ("3", False)])
async def test_only_http_1_is_told_that_its_connection_is_closed(version: str, closes: bool) -> None:
    length = str(conf.settings.MAX_BODY_BYTES + 1).encode()
    scope = {
        "type": "http",
        "http_version": version,
        "method": "POST",
        "path": "/mcp",
        "headers": [(b"host", b"localhost"), (b"content-length", length)],
    }
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await MCPConsumer.as_asgi(server=MCPServer("one"))(scope, receive, send)  # type: ignore[arg-type]
    assert sent[0]["status"] == 413
    assert dict(sent[0]["headers"]).get(b"connection") == (b"close" if closes else None)
