"""Whatever a server answers in these tests is held against the schema of its revision."""

from __future__ import annotations

from typing import Any

import pytest

from streamable_http.protocol import jsonrpc
from streamable_http.server import Context, MCPServer
from tests import schemas


@pytest.fixture(autouse=True)
def _examined_results(monkeypatch: pytest.MonkeyPatch) -> None:
    dispatch = MCPServer.dispatch

    async def examined(self: MCPServer, request: jsonrpc.Request, ctx: Context, *rest: Any) -> dict[str, Any]:
        result = await dispatch(self, request, ctx, *rest)
        # As it goes on the wire: what JSON cannot say has gone by then.
        message = jsonrpc.loads(jsonrpc.dumps(jsonrpc.result(request.id, result)), max_depth=1_000)
        schemas.check(message, revision=ctx.revision, requested=[request.method])
        return result

    monkeypatch.setattr(MCPServer, "dispatch", examined)
