"""Text of others, fit to be printed: it must not write lines, colors or directions of its own; and to be stored."""

from __future__ import annotations

import re
from typing import Final

_UNUSUAL: Final = re.compile(r"[^\x20-\x7e\n]")


def printable(text: str) -> str:
    """Return text with what is not printable escaped: control characters, overrides of direction, line breaks.

    Nor has a lone surrogate an encoding, which files and exporters need.
    """
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def storable(text: str) -> str:
    """Return text as rows have it, without NUL and lone surrogates; databases refuse to be asked for either."""
    return text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")


def printable_json(text: str) -> str:
    """Return JSON that means the same, with what is not printable in its strings escaped.

    Line feeds stay: in JSON they stand between its parts only.
    """
    return _UNUSUAL.sub(_escape_json, text)


def _escape_json(match: re.Match[str]) -> str:
    character = match[0]
    if character.isprintable():
        return character
    # A pair of surrogates where it needs one (RFC 8259, section 7).
    encoded = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{encoded[at : at + 2].hex()}" for at in range(0, len(encoded), 2))
