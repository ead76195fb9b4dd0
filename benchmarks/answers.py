"""What a right answer is. Everything that is measured is checked with this."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

if TYPE_CHECKING:
    from benchmarks.load import Response


class AnswerError(Exception):
    """A server answered, and not as it should have."""


class Event(NamedTuple):
    """One block of an event stream."""

    id: bytes
    data: bytes
    """Empty for the event that only gives an id to come back with."""


def require(condition: bool, message: str, *facts: object) -> None:
    """Raise unless ``condition`` holds.

    Raises:
        AnswerError: with the message and its facts.
    """
    if not condition:
        raise AnswerError((message % facts)[:500])


def loads(data: bytes | bytearray) -> Any:
    """Read a JSON message."""
    try:
        return orjson.loads(data)
    except ValueError as error:
        raise AnswerError(f"no JSON: {bytes(data[:200])!r}") from error


def parse_events(body: bytes | bytearray) -> list[Event]:
    """Read a whole event stream; comments are left out."""
    *blocks, rest = body.replace(b"\r\n", b"\n").split(b"\n\n")
    require(not rest, "the stream ends within an event: %r", bytes(rest[-200:]))
    return [event for block in blocks if (event := _parse_block(block)).id or event.data]


def _parse_block(block: bytes | bytearray) -> Event:
    event_id = b""
    data: list[bytes] = []
    for line in block.split(b"\n"):
        name, _, value = line.partition(b":")
        if name == b"data":
            data.append(bytes(value.removeprefix(b" ")))
        elif name == b"id":
            event_id = bytes(value.removeprefix(b" "))
    return Event(event_id, b"\n".join(data))


def has_result(body: bytearray) -> bool:
    """Whether a stream has come to its result. The official SDK leaves a resumed stream open behind it."""
    tail = body[-1024:]
    return tail.endswith((b"\n\n", b"\r\n\r\n")) and b'"result":{' in tail


def stream_events(response: Response) -> list[Event]:
    """Return the events of a response that has to be a stream."""
    require(response.status == 200, "status %s: %s", response.status, bytes(response.body[:300]))
    require(response.is_event_stream, "no event stream: %s", response.headers)
    return parse_events(response.body)


def only_message(response: Response, *, ids: bool) -> Any:
    """Return the one message of a response, by JSON or by a stream.

    With ``ids`` each event must have an id, in order and without a gap.
    """
    if not response.is_event_stream:
        require(response.status == 200, "status %s: %s", response.status, bytes(response.body[:300]))
        return loads(response.body)
    events = stream_events(response)
    if ids:
        check_consecutive(events)
    messages = [event.data for event in events if event.data]
    require(len(messages) == 1, "%s messages instead of one", len(messages))
    return loads(messages[0])


def check_consecutive(events: list[Event]) -> None:
    """Ids must be of one stream, in order, without a gap. All servers here write ``<stream>.<sequence>``."""
    require(bool(events), "no events")
    stream, _, first = events[0].id.rpartition(b".")
    require(bool(stream) and first.isdigit(), "the first event's id is %r", events[0].id)
    for sequence, event in enumerate(events, int(first)):
        require(event.id == b"%b.%d" % (stream, sequence), "%r where %s.%s was due", event.id, stream, sequence)


def check_initialized(message: Any, request_id: int, revision: str) -> None:
    """Check the answer to ``initialize``."""
    require(message.get("id") == request_id, "not the answer to %s: %s", request_id, message)
    agreed = message.get("result", {}).get("protocolVersion")
    require(agreed == revision, "revision %s instead of %s", agreed, revision)


def check_result(message: Any, request_id: int, value: int) -> None:
    """Check a tool's answer: the right call, and the right value, both as content and structured."""
    require(message.get("id") == request_id, "not the answer to %s: %s", request_id, message)
    result = message.get("result")
    require(isinstance(result, dict) and not result.get("isError"), "no result: %s", message)
    texts = [item.get("text") for item in result.get("content", ())]
    require(texts == [str(value)], "%s instead of %s", texts, value)
    structured = result.get("structuredContent")
    require(structured == {"result": value}, "%s instead of %s", structured, value)


def check_progress(reports: list[bytes], token: int, count: int, size: int) -> None:
    """Check that all progress came, once, in order, with what it carries."""
    require(len(reports) == count, "%s progress events instead of %s", len(reports), count)
    expected: dict[str, Any] = {"progressToken": token, "total": count}
    if size:
        expected["message"] = "x" * size
    for progress, report in enumerate(reports, 1):
        message = loads(report)
        require(message.get("method") == "notifications/progress", "no progress: %s", message)
        params = message["params"]
        require(params == {**expected, "progress": progress}, "progress %s is %s", progress, params)
