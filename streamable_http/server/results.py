"""What a tool returned or raised, as the ``result`` of its call.

Results are plain dicts: building models for them would cost more than the call.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import types
import typing
from collections.abc import Iterator, Sequence
from typing import Any, Final

import mcp_types
import pydantic

from streamable_http import exceptions
from streamable_http.server import content, features, outputs

logger = logging.getLogger(__name__)

PASSING: Final = (
    exceptions.CallFailed,
    exceptions.CallCancelled,
    asyncio.CancelledError,
)
"""What passes through, to the endpoint. ``SystemExit`` and ``KeyboardInterrupt`` do not: asyncio would end the loop,
and a tool must not end its worker. (Ctrl-C raises in no tool: servers have signal handlers of their own.)"""

TELLING: Final = (exceptions.ToolError, exceptions.ResourceNotFound, exceptions.AskError)
"""Errors whose text is meant for the client."""

FAILED: Final = "the tool failed"
INTERNAL: Final = "the tool failed: internal error"
MISMATCH: Final = "the tool failed: its result does not match its output schema"
UNSERIALIZABLE: Final = "the tool failed: its result cannot be written as JSON"

TOO_LARGE: Final = f"the tool failed: its result is larger than {content.MAX_BYTES} bytes"

MAX_BYTES: Final = content.MAX_BYTES
"""The most that a result holds; more is an error, however the log and the client would bear it."""

UNIONS: Final = (typing.Union, types.UnionType)
SEQUENCES: Final = (list, tuple, Sequence)

MISMATCHES: Final = (pydantic.ValidationError, outputs.Mismatch)

TEXTUAL: Final = (str, type(None))
"""A text or nothing: no structured output unless the user wants it."""

UNSTRUCTURED: Final = (*content.TYPES, mcp_types.CallToolResult)
"""A type that has one of these in it, alone, in a union or in a list, declares content."""


class InvalidResult(Exception):  # noqa: N818
    """A tool returned what cannot be sent; the cause says why."""


def output_of(
    annotation: Any, structured_output: bool | None, schema: dict[str, Any] | None = None, *, label: str
) -> outputs.Output | None:
    """Return what a return annotation declares; ``None`` where the output is not structured.

    ``structured_output`` is the user's word: ``False`` never, ``True`` always, ``None`` where the type is data
    (not text, not content blocks, not a ready result). ``schema`` is one that the user wrote.

    Raises:
        TypeError: structured output is wanted, and the type has none.
        ValueError: the user's schema does not fit.
    """
    if schema is not None:
        if structured_output is False:
            raise ValueError(f"{label}: output_schema and structured_output=False exclude each other; leave one out")
        return outputs.by_hand(schema, annotation if is_data(annotation) else Any, label=label)
    if structured_output is False or (structured_output is None and not is_data(annotation)):
        return None
    if annotation is inspect.Parameter.empty:
        raise TypeError(f"{label}: structured_output=True needs a return annotation; add one")
    return outputs.build(annotation, label=label)


def success(value: Any, output: outputs.Output | None, having: features.Features) -> dict[str, Any]:
    """Return the result for what a tool returned.

    Raises:
        InvalidResult: it cannot be sent.
    """
    try:
        if isinstance(value, mcp_types.CallToolResult):
            result = _ready_made(value, output, having)
        elif output is None:
            result = {"content": content.from_value(value, having), "isError": False}
        else:
            result = _structured(value, output, having)
        content.require_size(result["content"])
        return result
    except Exception as error:
        raise InvalidResult from error


def failure(tool_name: str, error: BaseException) -> dict[str, Any]:
    """Return the result for what a tool raised, or raise it again where it passes.

    The client never gets a traceback, nor the text of an unexpected error, which may hold anything; that is
    logged.
    """
    error = unwrapped(error)
    if isinstance(error, PASSING):
        raise error
    if isinstance(error, TELLING):
        return in_band_error(str(error) or FAILED)
    logger.error("Tool %s failed", tool_name, exc_info=error)
    return in_band_error(_sentence(error))


def unwrapped(error: BaseException) -> BaseException:
    """Return the one error that ended a task group, which wraps it."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def is_closing(error: BaseException) -> bool:
    """Whether this is no failure of the code that runs: its coroutine is closed, as when a loop goes down."""
    if not isinstance(error, GeneratorExit):
        return False
    try:
        return asyncio.current_task() is None
    except RuntimeError:
        return True


def in_band_error(text: str) -> dict[str, Any]:
    """Return an error result that the model can read (2025-11-25, Tools, Error Handling)."""
    return {"content": [content.text(text)], "isError": True}


def _sentence(error: BaseException) -> str:
    if not isinstance(error, InvalidResult):
        return INTERNAL
    if isinstance(error.__cause__, content.TooLarge):
        return TOO_LARGE
    return MISMATCH if isinstance(error.__cause__, MISMATCHES) else UNSERIALIZABLE


def _structured(value: Any, output: outputs.Output, having: features.Features) -> dict[str, Any]:
    structured, text = output.dump(value)
    # SHOULD also return the serialized JSON in a text block (2025-11-25, Structured Content).
    result: dict[str, Any] = {"content": [content.text(text)], "isError": False}
    if having.structured_output:
        result["structuredContent"] = structured
    return result


def _ready_made(
    value: mcp_types.CallToolResult, output: outputs.Output | None, having: features.Features
) -> dict[str, Any]:
    result: dict[str, Any] = {
        "content": [content.from_block(block, having) for block in value.content],
        "isError": value.is_error,
    }
    if value.meta is not None:
        result["_meta"] = content.plain(value.meta)
    if output is not None and not value.is_error:
        output.check(value.structured_content)
    if value.structured_content is not None and having.structured_output:
        result["structuredContent"] = _object(content.plain(value.structured_content))
    return result


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"structured_content must be an object, not {type(value).__name__}")
    return value


def is_data(annotation: Any, unstructured: tuple[type, ...] = UNSTRUCTURED) -> bool:
    """Whether values of a type are data, and not text, nor one of the ``unstructured`` types."""
    if annotation in (inspect.Parameter.empty, Any, typing.NoReturn):
        return False
    if all(leaf in TEXTUAL for leaf in _leaves(annotation, UNIONS)):
        return False
    return not any(
        isinstance(leaf, type) and issubclass(leaf, unstructured) for leaf in _leaves(annotation, UNIONS + SEQUENCES)
    )


def _leaves(annotation: Any, origins: tuple[Any, ...]) -> Iterator[Any]:
    """Return the types inside of these generic ones, at any depth."""
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        yield from _leaves(typing.get_args(annotation)[0], origins)
    elif origin in origins:
        for argument in typing.get_args(annotation):
            yield from _leaves(argument, origins)
    else:
        yield annotation
