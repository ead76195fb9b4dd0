"""How foreign text is shown: what a client chose to be called must not move, hide or imitate anything on a page.

Client names, principals, names of tools and methods, and whatever else came over the wire go through :func:`shown`,
or through :func:`visible` where there is no HTML.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from datetime import datetime
from typing import Final

from django.template.defaultfilters import filesizeformat
from django.utils import formats, timezone
from django.utils.html import escape, format_html
from django.utils.safestring import SafeString, mark_safe

MAX_CHARACTERS: Final = 120
"""Longer names are cut; the whole is in the payload."""

_UNSEEN: Final = frozenset(("Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"))
"""Categories of Unicode without a shape of their own: controls, overrides of direction, joiners, surrogates."""


def visible(text: str, *, keep: str = "") -> str:
    r"""Return text with everything that has no shape written out, such as ``\u202e``; ``keep`` may stay."""
    return _written(text, keep, lambda code: code)


def shown(text: str, *, keep: str = "", limit: int | None = MAX_CHARACTERS) -> SafeString:
    """Return HTML of foreign text, isolated from the direction of what is around it, and cut to ``limit``."""
    kept = text if limit is None or len(text) <= limit else f"{text[:limit]}…"
    # Escaping code points is safe in any order: what is written for them has nothing that HTML knows.
    written = _written(escape(kept), keep, lambda code: f'<span class="mcp-unseen">{code}</span>')
    return mark_safe(f"<bdi>{written}</bdi>")  # noqa: S308  # escaped above


def moment(at: datetime | None) -> str:
    """Return HTML of a time, to the second, in the reader's time zone."""
    if at is None:
        return "–"
    local = timezone.localtime(at)
    return format_html(
        '<time datetime="{}" class="mcp-moment">{}</time>', local.isoformat(), f"{local:%Y-%m-%d %H:%M:%S}"
    )


def size(stored_bytes: int) -> str:
    """Return a number of bytes as people say it."""
    return filesizeformat(stored_bytes)


def number(count: int) -> str:
    """Return a number with separators of thousands, as the reader's language has them."""
    return formats.number_format(count, force_grouping=True)


def _written(text: str, keep: str, wrap: Callable[[str], str]) -> str:
    # What is kept is taken away for the question alone, so that many lines need no look at each character.
    if text.translate(dict.fromkeys(map(ord, keep))).isprintable():
        return text
    return "".join(wrap(_code(one)) if _is_unseen(one) and one not in keep else one for one in text)


def _is_unseen(character: str) -> bool:
    return unicodedata.category(character) in _UNSEEN


def _code(character: str) -> str:
    number = ord(character)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
