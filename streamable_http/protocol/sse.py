"""Server-Sent Events, both ways (WHATWG HTML, section 9.2).

The encoder writes what MCP needs: ``id``, ``data``, ``retry`` and comments. The decoder takes any bytes in any
pieces and gives the events in them; it is what the client and the tests read streams with.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

KEEP_ALIVE: Final = b":\n\n"
"""A comment; keeps proxies from closing an idle connection, and is ignored by every client."""


@dataclass(frozen=True, slots=True)
class Event:
    """One dispatched event."""

    data: str
    """The data lines, joined by line feeds."""

    id: str = ""
    """The last event id as of this event."""

    event: str = "message"
    """The event's type."""

    retry_ms: int | None = None
    """The reconnection time that stood in this event's block, in milliseconds."""


def encode(id_prefix: str, events: Iterable[tuple[int, str]]) -> bytes:
    """Encode ready events of one stream as one chunk.

    ``events`` are pairs of sequence and payload. The payload is JSON without line breaks, so one ``data`` line
    holds it. ``id_prefix`` is what stands before the sequence in the id, with the dot.
    """
    return _encode("".join([f"id: {id_prefix}{sequence}\ndata: {payload}\n\n" for sequence, payload in events]))


def encode_unidentified(payloads: Iterable[str]) -> bytes:
    """Encode ready messages of a stream that cannot be resumed."""
    return _encode("".join([f"data: {payload}\n\n" for payload in payloads]))


def encode_prime(event_id: str, retry_ms: int | None = None) -> bytes:
    """Encode the event that gives the client an id to come back with (2025-11-25, Sending Messages, 6)."""
    retry = "" if retry_ms is None else f"retry: {retry_ms}\n"
    return f"id: {event_id}\n{retry}data: \n\n".encode()


def encode_retry(retry_ms: int) -> bytes:
    """Encode a reconnection time alone; dispatches nothing at the client."""
    return f"retry: {retry_ms}\n\n".encode()


def _encode(text: str) -> bytes:
    encoded = text.encode()
    if text.isascii():
        return encoded
    # Clients that split by str.splitlines (httpx's iter_lines does) end a line at these too. In JSON they stand
    # in strings only, where an escape means the same.
    for character in "\u0085\u2028\u2029":
        encoded = encoded.replace(character.encode(), b"\\u%04x" % ord(character))
    return encoded


class Decoder:
    """An incremental decoder.

    Feed it chunks as they arrive; each call returns the events that became complete. ``last_event_id`` and
    ``retry_ms`` are the connection's state, as the standard has it: an id counts as soon as its block is
    dispatched, also when the block has no data.
    """

    def __init__(self) -> None:
        self.last_event_id = ""
        self.retry_ms: int | None = None
        self._buffer = bytearray()
        self._started = False
        self._data: list[str] = []
        self._event = ""
        self._id: str | None = None
        self._block_retry_ms: int | None = None
        self._skip_line_feed = False

    def decode(self, chunk: bytes) -> list[Event]:
        """Take bytes, return the events that they completed."""
        if not chunk:
            return []
        if self._skip_line_feed:
            # A CR ended the last line; a LF right behind it belongs to it.
            self._skip_line_feed = False
            if chunk[0] == 0x0A:
                chunk = chunk[1:]
        self._buffer += chunk
        if b"\n" not in chunk and b"\r" not in chunk:
            # Look for the end of a long line only in what is new: linear, however small the chunks.
            return []
        lines = self._take_lines()
        return [event for line in lines if (event := self._read_line(line)) is not None]

    def flush(self) -> list[Event]:
        """End the stream: an incomplete block at its end is discarded, as the standard says."""
        self._buffer.clear()
        self._reset_block()
        return []

    def _take_lines(self) -> list[bytes]:
        buffer = self._buffer
        if b"\r" not in buffer:
            end = buffer.rfind(b"\n")
            lines = bytes(buffer[:end]).split(b"\n")
            del buffer[: end + 1]
            return lines
        # splitlines of bytes splits at exactly CR, LF and CRLF.
        pieces = bytes(buffer).splitlines(keepends=True)
        rest = b"" if pieces[-1][-1:] in (b"\r", b"\n") else pieces.pop()
        self._skip_line_feed = not rest and pieces[-1].endswith(b"\r")
        self._buffer = bytearray(rest)
        return [piece.rstrip(b"\r\n") for piece in pieces]

    def _read_line(self, raw: bytes) -> Event | None:
        if not self._started:
            # One leading byte order mark is ignored.
            self._started = True
            raw = raw.removeprefix(b"\xef\xbb\xbf")
        if not raw:
            return self._dispatch()
        name, _, value = raw.decode("utf-8", "replace").partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "id":
            if "\0" not in value:
                self._id = value
        elif name == "event":
            self._event = value
        elif name == "retry" and value.isascii() and value.isdigit():
            self._block_retry_ms = self.retry_ms = min(int(value.lstrip("0")[:12] or 0), 2**31)
        return None

    def _dispatch(self) -> Event | None:
        if self._id is not None:
            self.last_event_id = self._id
        event = None
        if self._data:
            event = Event("\n".join(self._data), self.last_event_id, self._event or "message", self._block_retry_ms)
        self._reset_block()
        return event

    def _reset_block(self) -> None:
        self._data = []
        self._event = ""
        self._id = None
        self._block_retry_ms = None
