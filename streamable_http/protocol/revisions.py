"""The protocol revisions that we serve, and what holds in each, as one table.

Code asks for a fact by its name (``if facts.primed:``), never for a version.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

R2025_03_26: Final = "2025-03-26"
R2025_06_18: Final = "2025-06-18"
R2025_11_25: Final = "2025-11-25"

HANDSHAKE: Final = (R2025_03_26, R2025_06_18, R2025_11_25)
"""Revisions of the handshake era (the specification says *legacy*): ``initialize``, sessions, GET streams."""

SUPPORTED: Final = HANDSHAKE

ASSUMED: Final = R2025_03_26
"""What a request without a version header speaks when nothing else tells (2025-11-25, Protocol Version Header)."""

OFFERED: Final = R2025_11_25
"""What ``initialize`` is offered when it names a version that we do not know (2025-11-25, Lifecycle)."""


class Mode(enum.StrEnum):
    """How the endpoint serves the handshake era."""

    SESSIONS = "sessions"
    SESSIONLESS = "sessionless"


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What holds for one revision in one mode."""

    revision: str
    """The dated protocol version."""

    mode: Mode
    """With or without sessions."""

    # Streams
    resumable: bool
    """Events are kept in the log, their ids go on the wire, and ``Last-Event-ID`` is honored."""

    primed: bool
    """A stream begins with an id and empty data. Clients before 2025-11-25 parse the data: they get a comment."""

    may_close_early: bool
    """The server may close the connection and let the client poll (SEP-1699)."""

    listens: bool
    """GET opens the session's listening stream."""

    # Messages
    asks: bool
    """The server may send requests on the stream of a call."""

    batches: bool
    """A body may be an array of messages."""

    errors_without_id: bool
    """The body of an HTTP error may be a JSON-RPC error that has no ``id``."""


def _facts(revision: str, mode: Mode) -> Facts:
    sessions = mode is Mode.SESSIONS
    polls = revision == R2025_11_25
    return Facts(
        revision=revision,
        mode=mode,
        resumable=sessions,
        primed=sessions and polls,
        may_close_early=sessions and polls,
        listens=sessions,
        asks=sessions,
        batches=revision == R2025_03_26,
        errors_without_id=polls,
    )


FACTS: Final = {(revision, mode): _facts(revision, mode) for revision in HANDSHAKE for mode in Mode}
