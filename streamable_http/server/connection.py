"""What a call has of its connection: the seams that the endpoint fills."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionInfo:
    """The session that a call belongs to."""

    id: str | None
    """The public id, as the admin and the logs show it; never the secret of ``Mcp-Session-Id``."""

    client_info: dict[str, Any]
    """What the client said that it is."""

    capabilities: dict[str, Any]
    """What the client said that it can."""

    revision: str
    """The protocol version that was agreed on."""

    mode: str
    """``sessions`` or ``sessionless``."""


class Outlet(Protocol):
    """What a call sends through; the endpoint gives it."""

    def emit(self, message: dict[str, Any], *, newest_wins: bool = False) -> Awaitable[None]:
        """Put a notification into the call's outbox.

        On the event loop it never blocks, and what it returns waits for room while the outbox is full. On
        another thread it blocks itself. ``newest_wins``: it may replace an earlier such message that still
        waits.

        Raises:
            CallCancelled: the call is over.
        """

    async def ask(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """Send a request to the client and wait for its ``result``.

        Raises:
            AskError: there is none, or it is an error.
        """

    def ask_blocking(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """Do the same from a tool's thread."""

    def close_connection(self) -> None:
        """End the HTTP answer early where the client may poll for the rest; from any thread."""

    @property
    def is_over(self) -> bool:
        """Whether the call was cancelled, lost, or has ended."""

    @property
    def log_level(self) -> str:
        """The least severe level that the client wants to hear of."""


class Gate(Protocol):
    """Who may do what, and how often; the endpoint gives it. It is asked only about what has classes."""

    async def permits(self, permission_classes: Sequence[Any], name: str) -> bool:
        """Whether the caller may see and use the thing of this name."""

    async def throttled(self, throttle_classes: Sequence[Any], name: str) -> float | None:
        """Return how many seconds the caller has to wait before using it; ``None`` where it may be used now."""


class _OpenGate:
    """Permits everything."""

    __slots__ = ()

    async def permits(self, permission_classes: Sequence[Any], name: str) -> bool:
        return True

    async def throttled(self, throttle_classes: Sequence[Any], name: str) -> float | None:
        return None


OPEN_GATE: Final[Gate] = _OpenGate()
