"""What the steps of one HTTP request share."""

from __future__ import annotations

from dataclasses import dataclass

from streamable_http.delivery import engine
from streamable_http.endpoint import principals
from streamable_http.protocol import http, revisions, server
from streamable_http.stores import base


@dataclass(frozen=True, slots=True)
class Resending:
    """A recorded request that somebody sends again by hand."""

    stream_id: int
    """Of the new exchange."""

    resent_from: int
    """Stream of the old one."""


@dataclass(slots=True)
class Call:
    """An admitted request: who sent it, in which session, and by which rules it is answered."""

    core: engine.Engine
    request: http.Request
    admission: server.Admission
    principal: principals.Principal
    facts: revisions.Facts
    session: base.SessionFacts | None
    """``None``: ``initialize``, or a server without sessions."""

    is_rerun: bool = False
    """Whether it runs again because its worker died."""

    resending: Resending | None = None

    progress: float | None = None
    """The highest that the client was told of it already."""
