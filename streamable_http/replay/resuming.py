"""What a client would get that resumes from here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from streamable_http import conf, models
from streamable_http.endpoint import resuming
from streamable_http.endpoint.resuming import Resumption
from streamable_http.models import SessionState, StreamState
from streamable_http.replay import timeline
from streamable_http.replay.entries import Direction, Entry
from streamable_http.stores import base
from streamable_http.tables import rows_of

EVENTS: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """The answer to a GET with this cursor, now."""

    status: int
    """Of HTTP: 200, 204, 400, 404 where the session is over, or 405 where there are no sessions."""

    is_recovered: bool
    """False where events behind the cursor are gone, so that the answer says ``Streamable-HTTP-Recovered: false``."""

    why: str
    """A sentence for people."""

    entries: list[Entry]
    """The events that would be sent at once, the first 500."""


_NO_SESSION: Final = "This exchange has no session, so nobody can resume it."

_STATUS: Final = {Resumption.INVALID: 400, Resumption.ENDED: 204}

_WHY: Final = {
    Resumption.INVALID: "The stream has not come so far: the cursor is refused.",
    Resumption.ENDED: "The client has everything, and the stream has ended: it is told to stop.",
    Resumption.TRIMMED_CALL: "Events behind the cursor are no longer kept: the call ends with an error that says so.",
    Resumption.TRIMMED_LISTENING: (
        "Events behind the cursor are no longer kept: the client is told to list anew, and gets the rest."
    ),
}


def preview(stream_id: int, after: int, *, with_payloads: bool) -> Preview:
    """Return what a client would get.

    Raises:
        LookupError: there is no such stream.
    """
    stream = rows_of(models.Stream).filter(pk=stream_id).first()
    if stream is None:
        raise LookupError(f"there is no stream {stream_id:x}")
    if stream.session_id is None:
        # Where there are sessions, whoever asks has one, and the stream is none of it.
        return _refused(405 if conf.settings.MODE == "sessionless" else 400, _NO_SESSION)
    session = rows_of(models.Session).filter(pk=stream.session_id).first()
    if session is None or session.state != SessionState.OPEN:
        return _refused(404, "The session is over: its client has to open another one.")
    page = base.Page([], StreamState(stream.state), stream.head, stream.earliest)
    resumption = resuming.decide(page, after, is_listening=stream.is_listening)
    if resumption in _STATUS:
        return _refused(_STATUS[resumption], _WHY[resumption])
    if resumption is Resumption.TRIMMED_CALL:
        return Preview(status=200, is_recovered=False, why=_WHY[resumption], entries=[])
    is_whole = resumption is Resumption.WHOLE
    since = after if is_whole else stream.earliest - 1
    entries = _events(stream_id, since, with_payloads)
    why = _count(stream, since, len(entries)) if is_whole else _WHY[resumption]
    return Preview(status=200, is_recovered=is_whole, why=why, entries=entries)


def _refused(status: int, why: str) -> Preview:
    return Preview(status=status, is_recovered=True, why=why, entries=[])


def _events(stream_id: int, after: int, with_payloads: bool) -> list[Entry]:
    page = timeline.stream_timeline(stream_id, after, limit=EVENTS, with_payloads=with_payloads)
    return [entry for entry in page.entries if entry.direction is Direction.OUT]


def _count(stream: models.Stream, after: int, shown: int) -> str:
    waiting = stream.head - after
    what = "1 event" if waiting == 1 else f"{waiting:,} events"
    goes_on = "then what comes" if stream.state == StreamState.OPEN else "then the end"
    if shown < waiting:
        return f"The client gets {what}, of which the first {shown:,} are shown, and {goes_on}."
    return f"The client gets {what} at once, and {goes_on}."
