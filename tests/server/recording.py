"""The seam between a call and its connection, recorded."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from typing import Any

from streamable_http import exceptions
from streamable_http.protocol import jsonrpc
from streamable_http.server import Context, MCPServer
from tests import schemas

R2025_03_26 = "2025-03-26"
R2025_06_18 = "2025-06-18"
R2025_11_25 = "2025-11-25"

REVISIONS = (R2025_03_26, R2025_06_18, R2025_11_25)


class Done:
    """An awaitable that is no coroutine, as the endpoint's is; it notes that it was awaited."""

    def __init__(self) -> None:
        self.awaited = False

    def __await__(self) -> Generator[Any, None, None]:
        self.awaited = True
        return
        yield


class RecordingOutlet:
    """Keeps what is emitted and asked; answers asks with ``answer``."""

    def __init__(self, *, answer: dict[str, Any] | None = None, log_level: str = "info") -> None:
        self.messages: list[dict[str, Any]] = []
        self.newest_wins: list[bool] = []
        self.given: list[Done] = []
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.answer = answer or {}
        self.log_level = log_level
        self.over = False
        self.closed = 0
        self.revision = ""
        """Of the context that was made with it; what goes out is held against its schema."""

    @property
    def is_over(self) -> bool:
        return self.over

    def close_connection(self) -> None:
        self.closed += 1

    def emit(self, message: dict[str, Any], *, newest_wins: bool = False) -> Awaitable[None]:
        if self.over:
            raise exceptions.CallCancelled
        self._examine(message)
        self.messages.append(message)
        self.newest_wins.append(newest_wins)
        self.given.append(Done())
        return self.given[-1]

    async def ask(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        return self.ask_blocking(method, params)

    def ask_blocking(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        self._examine({"jsonrpc": "2.0", "id": "asked", "method": method, "params": params})
        self.asked.append((method, params))
        return self.answer

    def _examine(self, message: dict[str, Any]) -> None:
        if self.revision:
            on_wire = jsonrpc.loads(jsonrpc.dumps(message), max_depth=1_000)
            schemas.check(on_wire, revision=self.revision)


async def run_inline(function: Callable[[], Any]) -> Any:
    """Run a blocking function without a pool."""
    return function()


def make_context(outlet: RecordingOutlet | None = None, **facts: Any) -> Context:
    """Make the context of one request."""
    facts = {"server": MCPServer("test"), "revision": R2025_11_25, **facts}
    outlet = outlet or RecordingOutlet()
    outlet.revision = facts["revision"]
    return Context(outlet=outlet, **facts)
