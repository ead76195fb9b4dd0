"""What a function's signature says about the tool that it is to become."""

from __future__ import annotations

import functools
import inspect
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from streamable_http.server import context

CONTEXTS: Final = {"Context": context.Context, "SyncContext": context.SyncContext}

REFUSED_KINDS: Final[dict[Any, str]] = {
    inspect.Parameter.POSITIONAL_ONLY: "is positional-only, and MCP passes arguments by name; remove the '/'",
    inspect.Parameter.VAR_POSITIONAL: "takes any number of values, and MCP passes arguments by name; use a list",
    inspect.Parameter.VAR_KEYWORD: "takes any name, and a tool lists its arguments; use a dict or name them",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One argument of a tool."""

    name: str
    annotation: Any
    default: Any
    """``inspect.Parameter.empty`` where there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """A function as a tool sees it."""

    parameters: tuple[Parameter, ...]
    """Without the context."""

    context_name: str | None
    """The parameter that takes the context."""

    returns: Any
    """The return annotation; ``inspect.Parameter.empty`` where there is none."""

    is_async: bool


def read(function: Callable[..., Any], *, label: str) -> Signature:
    """Read a function's signature. ``label`` names the tool in errors.

    Raises:
        TypeError: the function cannot be a tool; the message says why and what to do.
    """
    if not callable(function):
        raise TypeError(f"{label}: {function!r} is not callable; decorate a function")
    _refuse_generators(function, label)
    hints = _hints(function, label)
    parameters = [_parameter(each, hints, label) for each in inspect.signature(function).parameters.values()]
    is_async = inspect.iscoroutinefunction(_code_of(function))
    return Signature(
        parameters=tuple(each for each in parameters if not _is_context(each.annotation)),
        context_name=_context_name(parameters, is_async=is_async, label=label),
        returns=hints.get("return", inspect.Parameter.empty),
        is_async=is_async,
    )


def _parameter(parameter: inspect.Parameter, hints: dict[str, Any], label: str) -> Parameter:
    reason = REFUSED_KINDS.get(parameter.kind)
    if reason is not None:
        raise TypeError(f"{label}: parameter '{parameter.name}' {reason}")
    if parameter.name not in hints:
        raise TypeError(
            f"{label}: parameter '{parameter.name}' has no annotation, so its schema is unknown; add a type"
        )
    return Parameter(name=parameter.name, annotation=hints[parameter.name], default=parameter.default)


def _context_name(parameters: list[Parameter], *, is_async: bool, label: str) -> str | None:
    found = [each for each in parameters if _is_context(each.annotation)]
    if len(found) > 1:
        raise TypeError(f"{label}: '{found[0].name}' and '{found[1].name}' both take the context; keep one")
    if is_async and found and context.SyncContext in _arms(found[0].annotation):
        raise TypeError(
            f"{label}: '{found[0].name}' is a SyncContext, which would block the event loop in an async tool; "
            "annotate it as Context"
        )
    return found[0].name if found else None


def _is_context(annotation: Any) -> bool:
    return any(arm in CONTEXTS.values() for arm in _arms(annotation))


def _arms(annotation: Any) -> tuple[Any, ...]:
    """Return the members of a union, or the annotation alone."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return typing.get_args(annotation)
    return (annotation,)


def _hints(function: Callable[..., Any], label: str) -> dict[str, Any]:
    inner = inspect.unwrap(_code_of(function))
    # The context's names are known also where a module imports them for type checkers alone.
    names = {**CONTEXTS, **getattr(inner, "__globals__", {})}
    try:
        return typing.get_type_hints(inner, globalns=names, include_extras=True)
    except NameError as error:
        raise TypeError(
            f"{label}: an annotation names '{error.name}', which its module does not define at this point; "
            "define or import it at module level, above the tool"
        ) from error


def _code_of(function: Callable[..., Any]) -> Any:
    """Return what holds the annotations: of a partial, a method or a callable object."""
    while isinstance(function, functools.partial):
        function = function.func
    if inspect.isroutine(function):
        return function
    return type(function).__call__


def _refuse_generators(function: Callable[..., Any], label: str) -> None:
    code = _code_of(function)
    if inspect.isgeneratorfunction(code) or inspect.isasyncgenfunction(code):
        raise TypeError(f"{label}: a tool returns its result at once; collect what it yields into a list")
