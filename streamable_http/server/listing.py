"""Lists of what a server has: pages, what each caller may see, and what of it can be made once."""

from __future__ import annotations

import base64
import types
from collections.abc import Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

from streamable_http import exceptions
from streamable_http.server import context, features

PAGE_SIZE = 100


class Listed(Protocol):
    """What can stand in a list."""

    @property
    def name(self) -> str:
        """What permissions know it by."""

    @property
    def permission_classes(self) -> Sequence[Any]:
        """Who may see and use it; everybody where there are none."""

    def definition(self, having: features.Features) -> dict[str, Any]:
        """Return it as the list shows it."""


Thing = TypeVar("Thing", bound=Listed)


class Listing(Generic[Thing]):
    """Things of one kind by their key, in the order of declaration.

    Calls read it at any time, also while something is added or removed.
    """

    def __init__(self, kind: str, member: str, *, page_size: int) -> None:
        """``kind`` names one thing in errors; ``member`` is the list's name in results."""
        if page_size < 1:
            raise ValueError(f"page_size must be 1 or more, not {page_size}")
        self._kind = kind
        self._member = member
        self._page_size = page_size
        self._things: dict[str, Thing] = {}
        self.things: Mapping[str, Thing] = types.MappingProxyType(self._things)
        """To read."""
        self.is_guarded = False
        """Some of them are not for everybody."""
        self.is_used = False
        """There was ever one. A server does not unlearn what it said that it can do."""
        self._first_pages: dict[str, dict[str, Any]] = {}

    def add(self, key: str, thing: Thing) -> None:
        """Add a thing.

        Raises:
            ValueError: the key is taken.
        """
        if key in self._things:
            raise ValueError(f"there is a {self._kind} '{key}' already; rename one, or give it another name=")
        self._things[key] = thing
        self.is_used = True
        self._change()

    def remove(self, key: str) -> None:
        """Remove a thing.

        Raises:
            KeyError: there is no such thing.
        """
        if key not in self._things:
            raise KeyError(f"there is no {self._kind} '{key}'")
        del self._things[key]
        self._change()

    async def find(self, key: str, ctx: context.Context) -> Thing | None:
        """Return a thing, unless the caller may not use it: then it is as if it did not exist."""
        thing = self._things.get(key)
        if thing is None or (thing.permission_classes and not await _permits(thing, ctx)):
            return None
        return thing

    async def page(self, cursor: Any, ctx: context.Context) -> dict[str, Any]:
        """Return the result of a list request; to be read only.

        Raises:
            CallFailed: the cursor is none of ours, or what it names is gone.
        """
        if not self.is_guarded:
            return self.first_page(ctx.revision) if cursor is None else self._page(cursor, ctx, list(self._things))
        visible = [
            key
            for key, thing in list(self._things.items())
            if not thing.permission_classes or await _permits(thing, ctx)
        ]
        return self._page(cursor, ctx, visible)

    def first_page(self, revision: str) -> dict[str, Any]:
        """Return the first page of everything; made once for each revision, to be read only."""
        page = self._first_pages.get(revision)
        if page is None:
            # Kept where it was looked for: after a change that is another dict, and this page is forgotten.
            pages = self._first_pages
            page = pages[revision] = self._sliced(list(self._things), 0, features.OF_REVISION[revision])
        return page

    def _page(self, cursor: Any, ctx: context.Context, keys: list[str]) -> dict[str, Any]:
        start = 0
        if cursor is not None:
            # The last key that was shown: a page stays where it is when things before it come and go.
            last = _decode(cursor)
            if last not in keys:
                # Invalid cursors SHOULD result in -32602 (2025-11-25, Pagination, Error Handling).
                raise exceptions.CallFailed(exceptions.INVALID_PARAMS, INVALID_CURSOR)
            start = keys.index(last) + 1
        return self._sliced(keys, start, ctx.features)

    def _sliced(self, keys: list[str], start: int, having: features.Features) -> dict[str, Any]:
        shown = keys[start : start + self._page_size]
        things = [thing for key in shown if (thing := self._things.get(key)) is not None]
        result: dict[str, Any] = {self._member: [thing.definition(having) for thing in things]}
        if len(keys) > start + self._page_size:
            result["nextCursor"] = _encode(shown[-1])
        return result

    def _change(self) -> None:
        self.is_guarded = any(thing.permission_classes for thing in list(self._things.values()))
        self._first_pages = {}


INVALID_CURSOR = "invalid cursor; list again from the beginning"


async def _permits(thing: Listed, ctx: context.Context) -> bool:
    return await ctx.gate.permits(thing.permission_classes, thing.name)


def _encode(key: str) -> str:
    return base64.urlsafe_b64encode(key.encode()).decode("ascii").rstrip("=")


def _decode(cursor: Any) -> str | None:
    if not isinstance(cursor, str):
        return None
    try:
        return base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
    except ValueError:
        return None
