"""What was asked and answered, read from the log so that it can be asked again elsewhere."""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from streamable_http import ids, models, redaction
from streamable_http.tables import rows_of

INITIALIZE: Final = "initialize"

LATE_SECONDS: Final = 60.0
"""A reply is recorded behind, so its record may be this much younger than the end of the call."""

CHUNK: Final = 500

Message = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One recorded request with what came of it."""

    stream_id: int | None
    """``None`` where the answer was not recorded."""

    method: str
    name: str
    """Of the tool; empty otherwise."""

    request: Message | None
    """As it was recorded; ``None`` where it was not, or cannot be read."""

    response: Message | None
    """The JSON-RPC response; ``None`` where there is none."""

    asks: tuple[Message, ...] = ()
    """What the server asked its client meanwhile, in order."""

    replies: tuple[Message | None, ...] = ()
    """To the asks: what stood in the reply beside its id, or ``None`` where that is not known."""

    notifications: tuple[Message, ...] = ()
    """What the server told its client meanwhile."""

    @property
    def refusal(self) -> str:
        """Why the request cannot be sent; empty where it can."""
        if self.request is None:
            return "its request was not recorded"
        if not redaction.is_whole(self.request):
            return "its request was redacted when it was recorded, so parts of it are missing"
        if any(reply is None for reply in self.replies):
            return "a reply of its client was not recorded"
        if not all(map(redaction.is_whole, self.replies)):
            return "a reply of its client was redacted when it was recorded"
        return ""


def of_stream(stream_id: int) -> Exchange:
    """Return the exchange of a call's stream.

    Raises:
        LookupError: there is no such stream.
    """
    stream = rows_of(models.Stream).filter(pk=stream_id).first()
    if stream is None:
        raise LookupError(f"there is no stream {stream_id:x}")
    record = rows_of(models.Record).filter(pk=stream_id).first()
    messages = [_message(payload) for payload in _payloads(stream_id)]
    # Only what was answered ends with a response; it may be folded, so that it does not look like one.
    response = messages.pop() if messages and stream.state == models.StreamState.ANSWERED else None
    known = [message for message in messages if message is not None]
    asks = tuple(message for message in known if "id" in message)
    replies = _replies(stream) if asks else {}
    return Exchange(
        stream_id=stream_id,
        method=stream.method,
        name=stream.name,
        request=_message(record.payload) if record is not None else None,
        response=response,
        asks=asks,
        replies=tuple(replies.get(_key(ask["id"])) for ask in asks),
        notifications=tuple(message for message in known if "id" not in message),
    )


def of_session(session_id: int) -> Iterator[Exchange]:
    """Yield the exchanges of a session in the order of their requests, without the one that opened it.

    Requests whose answers are not recorded, such as ``logging/setLevel``, are among them: they may change what comes
    later. Notifications are not, for they belong to what ran then.
    """
    streams = rows_of(models.Stream).filter(session_id=session_id).exclude(pk=session_id).order_by("pk")
    # A record that opened a stream has no session of its own.
    records = rows_of(models.Record).filter(session_id=session_id).exclude(method__in=("", INITIALIZE)).order_by("pk")
    opened = ((pk, "") for pk in streams.values_list("pk", flat=True).iterator(chunk_size=CHUNK))
    others = records.values_list("pk", "payload").iterator(chunk_size=CHUNK)
    for pk, payload in heapq.merge(opened, others):
        if not payload:
            yield of_stream(pk)
            continue
        request = _message(payload)
        if request is not None and (is_folded(request) or "id" in request):
            yield Exchange(
                stream_id=None, method=str(request.get("method", "")), name="", request=request, response=None
            )


def is_folded(message: Message) -> bool:
    """Tell whether a message as a whole is folded: only its size and digest are known."""
    return message.keys() == {"method", "folded"}


def _payloads(stream_id: int) -> Iterator[str]:
    events = rows_of(models.Event).filter(stream_id=stream_id).order_by("sequence")
    yield from events.values_list("payload", flat=True).iterator(chunk_size=CHUNK)


def _replies(stream: models.Stream) -> dict[str, Message]:
    """Return what the client replied while a call ran, by the ids of the asks."""
    if stream.session_id is None:
        # Nobody can be asked without one.
        return {}
    records = rows_of(models.Record).filter(session_id=stream.session_id, method="", pk__gte=stream.pk)
    if stream.ended_at is not None:
        records = records.filter(pk__lt=ids.first_at(stream.ended_at.timestamp() + LATE_SECONDS))
    found: dict[str, Message] = {}
    for payload in records.values_list("payload", flat=True).iterator(chunk_size=CHUNK):
        message = _message(payload) or {}
        reply: Message = {name: message[name] for name in ("result", "error") if name in message}
        if reply:
            found[_key(message.get("id"))] = reply
    return found


def _key(wire_id: Any) -> str:
    return json.dumps(wire_id)


def _message(payload: str) -> Message | None:
    if not payload:
        # Of a GET or DELETE.
        return None
    message = json.loads(redaction.redact_text(payload))
    return message if isinstance(message, dict) else None
