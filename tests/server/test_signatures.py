from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Annotated, Any

import pytest

from streamable_http import server as mcp
from streamable_http.server import signatures

if TYPE_CHECKING:
    from streamable_http.server import Context, SyncContext


def read(function: Any) -> signatures.Signature:
    return signatures.read(function, label="tool 'x'")


async def plain(a: int, b: Annotated[str, "words"] = "b") -> list[int]: ...


def imported_for_type_checkers(here: Context, a: int): ...


def imported_really(a: int, context: mcp.SyncContext): ...


def optional_context(a: int, ctx: SyncContext | None = None): ...


class Tools:
    async def method(self, a: int) -> str: ...

    async def __call__(self, b: int) -> str: ...


def test_parameters_keep_order_annotations_and_defaults():
    signature = read(plain)
    assert signature == signatures.Signature(
        parameters=(
            signatures.Parameter(name="a", annotation=int, default=inspect.Parameter.empty),
            signatures.Parameter(name="b", annotation=Annotated[str, "words"], default="b"),
        ),
        context_name=None,
        returns=list[int],
        is_async=True,
    )


@pytest.mark.parametrize(
    ("function", "name"),
    [(imported_for_type_checkers, "here"), (imported_really, "context"), (optional_context, "ctx")],
)
def test_context_is_found_by_annotation_under_any_name(function, name):
    signature = read(function)
    assert signature.context_name == name
    assert [each.name for each in signature.parameters] == ["a"]


@pytest.mark.parametrize(
    ("function", "names"),
    [(Tools().method, ["a"]), (Tools(), ["b"]), (functools.partial(plain, b="c"), ["a", "b"])],
)
def test_methods_callable_objects_and_partials_are_read(function, names):
    signature = read(function)
    assert signature.is_async
    assert [each.name for each in signature.parameters] == names


def test_decorated_function_is_read_through_its_wrapper():
    @functools.wraps(plain)
    async def wrapper(*args, **kwargs):
        return await plain(*args, **kwargs)

    assert read(wrapper) == read(plain)


def test_missing_return_annotation_is_told_from_none():
    assert read(imported_really).returns is inspect.Parameter.empty


def no_annotation(a): ...


def any_number(*numbers: int): ...


def any_name(**names: int): ...


def by_position(a: int, /): ...


def two_contexts(a: Context, b: SyncContext): ...


async def blocking_context(ctx: SyncContext): ...


def undefined(a: Nowhere): ...  # noqa: F821


def generator() -> list[int]:
    yield 1


async def async_generator() -> list[int]:
    yield 1


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (no_annotation, "parameter 'a' has no annotation, so its schema is unknown; add a type"),
        (any_number, "parameter 'numbers' takes any number of values, and MCP passes arguments by name; use a list"),
        (any_name, "parameter 'names' takes any name, and a tool lists its arguments; use a dict or name them"),
        (by_position, "parameter 'a' is positional-only, and MCP passes arguments by name; remove the '/'"),
        (two_contexts, "'a' and 'b' both take the context; keep one"),
        (blocking_context, "'ctx' is a SyncContext, which would block the event loop in an async tool"),
        (undefined, "an annotation names 'Nowhere', which its module does not define at this point"),
        (generator, "a tool returns its result at once; collect what it yields into a list"),
        (async_generator, "a tool returns its result at once; collect what it yields into a list"),
        (3, "3 is not callable; decorate a function"),
    ],
)
def test_what_cannot_be_a_tool_is_refused_with_the_reason(function, message):
    with pytest.raises(TypeError) as raised:
        read(function)
    assert str(raised.value).startswith(f"tool 'x': {message}")
