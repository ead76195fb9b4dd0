"""Ending what runs, and deleting what has ended."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any, TypeVar

from django.db.models import Model

from streamable_http import conf, models, signals
from streamable_http.delivery import engine, retention
from streamable_http.models import SessionState, StreamState
from streamable_http.operations import audit, pruning
from streamable_http.stores import base, db
from streamable_http.tables import rows_of

M = TypeVar("M", bound=Model)


def terminate_session(session_id: int, *, user: Any = None, reason: str = "") -> bool:
    """End a session and its calls, as its client's DELETE would; every worker closes its streams within a second.

    False where it was over already. Noted in the audit log.

    Raises:
        LookupError: there is no such session.
        StoreUnavailable: the store did not answer.
    """
    session = find_session(session_id)
    ended = _store().end_session(session_id, SessionState.TERMINATED)
    if not ended:
        return False
    _tell(ended)
    _announce_end(session_id)
    audit.note(user, session, "Terminated", reason=reason)
    return True


def close_stream(stream_id: int, *, user: Any = None, reason: str = "") -> bool:
    """Close the connection that follows a stream, at whichever worker; its client may come again with its cursor.

    The call itself goes on. False where nobody follows it. The worker that sends finds out within a second.

    Raises:
        LookupError: there is no such stream.
        StoreUnavailable: the store did not answer.
    """
    stream = find_stream(stream_id)
    if stream.follower is None or stream.state != StreamState.OPEN:
        return False
    # Whoever sends sees that it is no longer the follower, as when another connection takes over; that would be
    # counted as one, and leave a follower that there is not.
    _store().release(stream_id, stream.follower)
    audit.note(user, stream, "Closed the connection", reason=reason)
    return True


def cancel_call(stream_id: int, *, user: Any = None, reason: str = "") -> bool:
    """Cancel the call of an open stream, as ``notifications/cancelled`` would. False where it has ended.

    Raises:
        LookupError: there is no such stream, or it is a listening stream, or its exchange has no session.
        StoreUnavailable: the store did not answer.
    """
    stream = find_stream(stream_id)
    if stream.session_id is None or stream.is_listening:
        raise LookupError(f"the stream {stream} is not of a call in a session")
    if stream.state != StreamState.OPEN or _store().cancel(stream.session_id, stream.request_id) != stream_id:
        return False
    _tell([stream_id])
    audit.note(user, stream, "Cancelled", reason=reason)
    return True


def purge_session(session_id: int, *, user: Any = None, reason: str = "") -> bool:
    """Delete a session that is over, with all that was recorded of it. False where it is still open.

    In small transactions with pauses between them, as :func:`~streamable_http.operations.prune` does.

    Raises:
        LookupError: there is no such session.
        StoreUnavailable: the store did not answer; what was deleted before stays so.
    """
    session = find_session(session_id)
    if session.state == SessionState.OPEN:
        return False
    store = _store()
    pruning.until_done(store, lambda: store.purge(session_id, retention.BATCH))
    audit.note(user, session, "Deleted with its history", reason=reason, is_deletion=True)
    return True


def find_session(session_id: int) -> models.Session:
    """Return a session's row.

    Raises:
        LookupError: there is none.
        StoreUnavailable: the database did not answer.
    """
    session = _find(models.Session, session_id)
    if session is None:
        raise LookupError(f"there is no session {session_id:x}")
    return session


def find_stream(stream_id: int) -> models.Stream:
    """Return a stream's row.

    Raises:
        LookupError: there is none.
        StoreUnavailable: the database did not answer.
    """
    stream = _find(models.Stream, stream_id)
    if stream is None:
        raise LookupError(f"there is no stream {stream_id:x}")
    return stream


def _find(model: type[M], pk: int) -> M | None:
    with db.errors_translated(conf.settings.DATABASE):
        return rows_of(model).filter(pk=pk).first()


def _store() -> base.Store:
    running = engine.running()
    return running.store if running is not None else engine.store()


def _tell(stream_ids: Iterable[int]) -> None:
    """Stop what runs here for streams that have ended; other workers find out by polling."""
    running = engine.running()
    if running is not None:
        for stream_id in stream_ids:
            running.loop.call_soon_threadsafe(running.end_stream, stream_id)


def _announce_end(session_id: int) -> None:
    facts = {"session_id": session_id, "state": SessionState.TERMINATED.value}
    running = engine.running()
    if running is not None:
        running.loop.call_soon_threadsafe(functools.partial(running.announce, signals.session_ended, **facts))
    else:
        signals.session_ended.send_robust(engine.Engine, **facts)
