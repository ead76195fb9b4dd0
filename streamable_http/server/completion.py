"""Completion: what a user who types an argument may mean."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import mcp_types

from streamable_http.server import context, running, signatures

MAX_VALUES: Final = 100
"""The most that an answer may hold (2025-11-25, Completion, Completion Results)."""

PROMPT: Final = "ref/prompt"
RESOURCE: Final = "ref/resource"

VALUE: Final = "value"
ARGUMENTS: Final = "arguments"

NOTHING: Final[dict[str, Any]] = {"completion": {"values": [], "total": 0, "hasMore": False}}
"""The answer where nobody completes; to be read only."""


@dataclass(frozen=True, slots=True)
class Target:
    """What is completed."""

    kind: str
    """``ref/prompt`` or ``ref/resource``."""

    name: str
    """The prompt's name, or the template."""

    argument: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Completer:
    """One function that completes one argument."""

    callee: running.Callee
    takes_arguments: bool
    """It wants to know the arguments that are decided already."""

    async def complete(
        self, value: str, arguments: dict[str, str], ctx: context.Context, run_sync: running.RunSync
    ) -> dict[str, Any]:
        """Return the result of ``completion/complete``.

        Raises:
            CallFailed: the function failed.
            CallCancelled: the call is over.
        """
        bound: dict[str, Any] = {VALUE: value}
        if self.takes_arguments:
            bound[ARGUMENTS] = arguments
        return await self.callee.call(bound, ctx, run_sync, result)


def result(value: Any) -> dict[str, Any]:
    """Return the result for what a function returned.

    Raises:
        TypeError: it is no list of strings.
    """
    given = value if isinstance(value, mcp_types.Completion) else None
    values = [] if value is None else list(value if given is None else given.values)
    if isinstance(value, str) or not all(isinstance(each, str) for each in values):
        raise TypeError("a completion is a list of strings, or a Completion")
    total = given.total if given is not None else len(values)
    completion: dict[str, Any] = {"values": values[:MAX_VALUES]}
    if total is not None:
        completion["total"] = total
    completion["hasMore"] = bool(given and given.has_more) or max(total or 0, len(values)) > MAX_VALUES
    return {"completion": completion}


def from_function(function: Callable[..., Any], target: Target) -> Completer:
    """Build a completer from a function that takes ``value``, and perhaps ``arguments`` and the context.

    Raises:
        TypeError: the function's signature does not suit.
    """
    label = f"completion of '{target.argument}' of '{target.name}'"
    signature = signatures.read(function, label=label)
    names = {parameter.name for parameter in signature.parameters}
    if VALUE not in names or names - {VALUE, ARGUMENTS}:
        raise TypeError(
            f"{label}: the function takes 'value: str', and if it likes 'arguments: dict[str, str]' and a Context; "
            f"it takes {', '.join(sorted(names)) or 'nothing'}"
        )
    return Completer(
        callee=running.Callee.of(function, signature, label=label),
        takes_arguments=ARGUMENTS in names,
    )
