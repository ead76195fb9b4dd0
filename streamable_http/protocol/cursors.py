"""The SSE event id: which stream, and how far into it.

``<stream>.<sequence>``: the stream's id in hexadecimal, a dot, the sequence in decimal, no leading zeros
(2025-11-25, Resumability and Redelivery: event ids "SHOULD encode sufficient information to identify the
originating stream"). Sequence 0 stands before the first event; the priming event carries it.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from streamable_http import exceptions

MAX: Final = 2**63 - 1
"""Both parts fit a signed 64-bit column."""

_PATTERN: Final = re.compile(r"([1-9a-f][0-9a-f]{0,15})\.(0|[1-9][0-9]{0,18})", re.ASCII)


class Cursor(NamedTuple):
    """A place in a stream: everything up to and including ``sequence`` was received."""

    stream_id: int
    sequence: int


NOWHERE: Final = Cursor(0, 0)
"""A cursor of no stream: what stands for one that cannot be read, until the session is known to live."""


def format(stream_id: int, sequence: int) -> str:
    """Return the event id of ``sequence`` in a stream."""
    return f"{stream_id:x}.{sequence}"


def parse(text: str) -> Cursor:
    """Read an event id that a client sent back.

    Raises:
        InvalidCursor: it is none of ours.
    """
    match = _PATTERN.fullmatch(text)
    if match is None:
        raise exceptions.InvalidCursor
    cursor = Cursor(int(match[1], 16), int(match[2]))
    if cursor.stream_id > MAX or cursor.sequence > MAX:
        raise exceptions.InvalidCursor
    return cursor
