"""A store that has another one do everything, for stores that do one thing beside it."""

from __future__ import annotations

import abc
import functools
from collections.abc import Callable
from typing import Any

from streamable_http.stores import base


class DelegatingStore(base.Store):
    """Passes each call on to :attr:`inner`; a subclass overrides what it does itself.

    The methods are made from the interface below, so that a new one passes through by itself. Callers are checked
    against the interface's own signatures, and both sides of a delegation are the same method of it.
    """

    def __init__(self, inner: base.Store) -> None:
        self.inner = inner


def _delegate(name: str) -> Callable[..., Any]:
    @functools.wraps(getattr(base.Store, name), assigned=("__name__", "__qualname__", "__doc__"))
    def method(self: DelegatingStore, *arguments: Any, **named: Any) -> Any:
        return getattr(self.inner, name)(*arguments, **named)

    # Else it counts as abstract, as what it wraps does.
    del method.__isabstractmethod__  # type: ignore[attr-defined]
    return method


for _name in base.Store.__abstractmethods__:
    setattr(DelegatingStore, _name, _delegate(_name))
abc.update_abstractmethods(DelegatingStore)  # type: ignore[type-abstract]  # which it is no longer


def innermost(store: base.Store) -> base.Store:
    """Return the store that keeps the log, behind all that decorate it."""
    while isinstance(store, DelegatingStore):
        store = store.inner
    return store
