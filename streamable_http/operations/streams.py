"""Which streams there are, with a session or without."""

from __future__ import annotations

import re
from typing import Final

from django.db.models import Q, QuerySet

from streamable_http import escaping, models
from streamable_http.operations import listing
from streamable_http.tables import rows_of

_STREAM_ID: Final = re.compile(r"[0-9][0-9a-f]{5,15}", re.ASCII | re.IGNORECASE)
"""Those of this century begin with a decimal digit, and hardly a tool does whose name looks like one."""


def find_streams(
    *,
    session_id: int | None = None,
    sessionless: bool | None = None,
    state: str = "",
    outcome: str = "",
    method: str = "",
    name: str = "",
    text: str = "",
) -> QuerySet[models.Stream]:
    """Return streams, newest first, without their arguments.

    ``sessionless``: only those without a session, or only the others. ``text``: the beginning of a short id, or
    exactly the name of a tool. Without ``session_id`` or an id no index helps: whoever asks decides how many rows may
    be looked at.
    """
    exact = {"state": state, "outcome": outcome, "method": method, "name": name}
    streams = rows_of(models.Stream).filter(
        **{field: escaping.storable(value) for field, value in exact.items() if value}
    )
    if session_id is not None:
        streams = streams.filter(session_id=session_id)
    if sessionless is not None:
        streams = streams.filter(session__isnull=sessionless)
    if text.strip():
        streams = streams.filter(matching_stream(text))
    return streams.defer("arguments").order_by("-pk")


def matching_stream(text: str) -> Q:
    """Return the condition of :func:`find_streams` for a text."""
    text = text.strip()
    if is_stream_id(text):
        first, last = listing.id_range(text)
        return Q(pk__gte=first, pk__lte=last)
    return Q(name=escaping.storable(text))


def is_stream_id(text: str) -> bool:
    """Tell whether a text is taken for the beginning of a stream's short id, which the key finds, however old."""
    return _STREAM_ID.fullmatch(text.strip()) is not None
