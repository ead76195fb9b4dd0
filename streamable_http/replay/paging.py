"""Whole sessions and streams, page by page, each read when it is asked for, and each entry once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from streamable_http.replay import timeline
from streamable_http.replay.entries import Entry, Seen
from streamable_http.replay.filtering import EVERYTHING, Filters

EVENTS: Final = 200
"""Of a stream on a page, for each may be large."""

REMEMBERED: Final = 20_000
"""So many entries ago one may have been: a reply is where it came in, and with its ask on an earlier page."""


def of_session(session_id: int, *, filters: Filters = EVERYTHING, with_payloads: bool) -> Iterator[list[Entry]]:
    """Yield the pages of a session; with a filter, some may be empty.

    Raises:
        LookupError: there is no such session, or not any longer.
    """
    seen, cursor = Seen(REMEMBERED), ""
    while True:
        page = timeline.session_timeline(session_id, cursor, filters=filters, with_payloads=with_payloads)
        yield seen.fresh(page.entries)
        cursor = page.later
        if not cursor:
            return


def of_stream(
    stream_id: int, after: int = 0, *, filters: Filters = EVERYTHING, with_payloads: bool
) -> Iterator[list[Entry]]:
    """Yield the pages of a stream from behind a sequence; with a filter, some may be empty.

    Raises:
        LookupError: there is no such stream, or not any longer.
    """
    seen = Seen(REMEMBERED)
    while True:
        page = timeline.stream_timeline(stream_id, after, limit=EVENTS, filters=filters, with_payloads=with_payloads)
        yield seen.fresh(page.entries)
        if not page.later:
            return
        after = int(page.later)
