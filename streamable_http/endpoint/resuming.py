"""What a GET with a cursor gets."""

from __future__ import annotations

import enum

from streamable_http.models import StreamState
from streamable_http.stores import base


class Resumption(enum.Enum):
    """How a stream goes on from a sequence."""

    WHOLE = "whole"
    """From there."""

    ENDED = "ended"
    """Not at all: the client has everything, and there will be no more."""

    TRIMMED_CALL = "trimmed call"
    """With an error for its call, since events behind the cursor are gone."""

    TRIMMED_LISTENING = "trimmed listening"
    """From the first event that is kept, behind notifications that everything has changed."""

    INVALID = "invalid"
    """Not at all: the stream has not come so far."""


def decide(page: base.Page, sequence: int, *, is_listening: bool) -> Resumption:
    """Return how a stream goes on, whose events ``page`` need not have."""
    if sequence > page.head:
        return Resumption.INVALID
    if page.state != StreamState.OPEN and sequence == page.head:
        # The TypeScript client (1.32) comes back for ever after a call that ended with an error, and, where ids do
        # not prime, as a second listener. 204 tells clients to stop (HTML Standard, Server-sent events).
        return Resumption.ENDED
    if sequence + 1 < page.earliest:
        return Resumption.TRIMMED_LISTENING if is_listening else Resumption.TRIMMED_CALL
    return Resumption.WHOLE
