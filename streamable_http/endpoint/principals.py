"""Who calls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from streamable_http.protocol import http
from streamable_http.server import context


@dataclass(frozen=True, slots=True)
class Principal:
    """Whom a session belongs to."""

    key: str
    """Stable, such as ``user:17``; empty for anonymous."""

    scopes: frozenset[str] = frozenset()
    user: Any = field(default=None, compare=False)
    """The framework's user object; ``None`` for anonymous."""

    auth: Any = field(default=None, compare=False)
    """What the framework knows of the credentials, such as a token."""

    is_recallable: bool = field(default=False, compare=False)
    """Whether :meth:`Authenticator.recall` knows it by its key alone."""


ANONYMOUS: Final = Principal("", is_recallable=True)


class Authenticator(Protocol):
    """Turns a request's credentials into a principal."""

    async def authenticate(self, request: http.Request) -> Principal:
        """Return who calls.

        Raises:
            Unauthorized: no credentials where some are needed, or wrong ones.
            Forbidden: the principal may not call.
        """
        ...

    async def recall(self, key: str, request: http.Request) -> Principal | None:
        """Return a principal by its key, with the rights of now, for a call that runs again without credentials.

        ``request`` is what is kept of the one that the call came with. ``None``: there is no such principal any more,
        or it may not call.
        """
        ...


MakeGate = Callable[[http.Request, Principal], context.Gate]
"""Makes what decides for one request about single tools, resources and prompts."""


def open_gate(request: http.Request, principal: Principal) -> context.Gate:
    """Return the gate that lets everybody through."""
    return context.OPEN_GATE


class Anybody:
    """Takes everybody as anonymous."""

    async def authenticate(self, request: http.Request) -> Principal:
        """Return the anonymous principal."""
        return ANONYMOUS

    async def recall(self, key: str, request: http.Request) -> Principal | None:
        """Return the anonymous principal; there is no other."""
        return None if key else ANONYMOUS
