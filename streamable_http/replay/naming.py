"""Names for the wire ids of asks: whoever knows one could answer, so nobody who reads the log learns it.

A client knows those that it was asked with and may repeat them anywhere: in a call of another stream, in a header.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from streamable_http import models, redaction
from streamable_http.protocol import jsonrpc
from streamable_http.replay import messages
from streamable_http.stores import base
from streamable_http.tables import rows_of

HIDDEN: Final = redaction.MASK
"""Stands for the id of an ask that is not there any more."""

LOOKED_UP: Final = 5_000
"""Asks that are looked for at a time; SQLite takes some 32,000 parameters."""


def shown(payload: str, *, came_in: bool | None = None) -> str:
    """Return a stored message as it may be shown: redacted, with names instead of wire ids.

    ``came_in`` is ``None`` for what is no message of its own, such as HTTP facts.
    """
    redacted = messages.redact(payload)
    own_id = None if came_in is None else wire_id(messages.read(payload), came_in=came_in)
    return named(redacted, names_of([redacted]), own_id)


def wire_id(message: messages.Message, *, came_in: bool) -> str | None:
    """Return the id of an ask that went out, or of the reply that came in; ``None`` for any other message."""
    is_asking = message.is_answer if came_in else bool(message.method and message.request_id)
    return message.request_id[1:-1] if is_asking else None


def names_of(texts: Iterable[str]) -> dict[str, str]:
    """Return the names of all asks whose wire ids are in texts, by them; in one query, unless there are thousands."""
    found: set[str] = set().union(*map(messages.wire_ids, texts))
    names: dict[str, str] = {}
    for some in base.chunks(found, LOOKED_UP):
        asks = rows_of(models.Ask).filter(wire_id__in=some)
        names |= {wire_id: f"{pk:x}" for wire_id, pk in asks.values_list("wire_id", "pk")}
    return names


def named(redacted: str, names: Mapping[str, str], own_id: str | None = None) -> str:
    """Return a redacted message with names instead of wire ids; its ``own_id`` is hidden where it has no name."""
    if own_id is not None and own_id not in names:
        redacted = _without_id(redacted)
    return messages.rename(redacted, names)


def _without_id(redacted: str) -> str:
    value = messages.loads(redacted)
    if not isinstance(value, dict) or "id" not in value:
        return redacted
    try:
        return jsonrpc.dumps({**value, "id": HIDDEN}).decode()
    except (TypeError, RecursionError):
        # Too deep to be written again.
        return redaction.fold_message(redacted.encode())
