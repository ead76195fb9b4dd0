"""Sessions and streams by what people type: an id in hexadecimal, or its beginning."""

from __future__ import annotations

from typing import Final, TypeVar

from django.db.models import Model

from streamable_http import models
from streamable_http.management import base
from streamable_http.tables import rows_of

MIN_DIGITS: Final = 6

ID_DIGITS: Final = 16
"""Of an id that was made after 2004; ids are in order of time, so a beginning is a range of them."""

NAMED: Final = 5
"""Ids named where a beginning fits several."""

MAX_ID: Final = 2**63 - 1

M = TypeVar("M", bound=Model)


class Ambiguous(base.NotFound):
    """Several begin like this."""


def session(text: str) -> models.Session:
    """Return the session.

    Raises:
        NotFound: there is none, or several.
    """
    return _find(models.Session, text, "session")


def stream(text: str) -> models.Stream:
    """Return the stream.

    Raises:
        NotFound: there is none, or several.
    """
    return _find(models.Stream, text, "stream")


def session_or_stream(text: str) -> models.Session | models.Stream:
    """Return the session, or the stream of a call; a session's id is that of its listening stream, too.

    Raises:
        NotFound: there is none, or several.
    """
    try:
        found = _find(models.Stream, text, "session or stream")
    except Ambiguous:
        raise
    except base.NotFound:
        # Pruning may have left the session alone.
        return _find(models.Session, text, "session or stream")
    return session(str(found)) if found.is_listening else found


def _find(model: type[M], text: str, what: str) -> M:
    rows = rows_of(model)
    number = _number(text, what)
    exact = rows.filter(pk=number).first()
    if exact is not None:
        return exact
    digits = len(text.strip())
    if not MIN_DIGITS <= digits < ID_DIGITS:
        raise base.NotFound(f"there is no {what} {text}")
    shift = 4 * (ID_DIGITS - digits)
    low, high = number << shift, (number + 1 << shift) - 1
    if low > MAX_ID:
        raise base.NotFound(f"there is no {what} {text}")
    found = list(rows.filter(pk__gte=low, pk__lte=min(high, MAX_ID)).order_by("pk")[: NAMED + 1])
    if not found:
        raise base.NotFound(f"there is no {what} that begins with {text}")
    if len(found) > 1:
        named = ", ".join(f"{row.pk:x}" for row in found[:NAMED])
        more = ", …" if len(found) > NAMED else ""
        raise Ambiguous(f"{text} is ambiguous: {named}{more}")
    return found[0]


def _number(text: str, what: str) -> int:
    stripped = text.strip()
    if not stripped or not set(stripped.lower()) <= set("0123456789abcdef"):
        raise base.Usage(
            f"'{text[:64]}' is no id of a {what}; it is hexadecimal, and its first {MIN_DIGITS} digits do"
        )
    number = int(stripped, 16)
    if number > MAX_ID:
        raise base.NotFound(f"there is no {what} {text[:64]}")
    return number
