"""Places in a stream as people type them: an event's id, as a client has it, or its number."""

from __future__ import annotations

import re
from argparse import ArgumentTypeError
from dataclasses import dataclass
from typing import Final

_CURSOR: Final = re.compile(r"(?:([0-9a-f]{1,16})\.)?([0-9]{1,18})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Cursor:
    """What stands in ``Last-Event-ID``."""

    stream_id: int | None
    """``None`` where the number alone was given."""

    sequence: int


def cursor(text: str) -> Cursor:
    """Return the cursor that a text is.

    Raises:
        ArgumentTypeError: it is none.
    """
    found = _CURSOR.fullmatch(text.strip())
    if found is None:
        raise ArgumentTypeError(f"'{text[:64]}' is no cursor such as 1a20fb5f448bbca7.3, or 3")
    return Cursor(int(found[1], 16) if found[1] else None, int(found[2]))
