from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from mcp_types import methods

from streamable_http import exceptions
from streamable_http.server import Completion, Context, SyncContext, completion
from tests.server import recording

TARGET = completion.Target(completion.PROMPT, "recommend", "author")


async def complete(function: Callable[..., Any], arguments: dict[str, str] | None = None) -> dict[str, Any]:
    made = completion.from_function(function, TARGET)
    result = await made.complete("a", arguments or {}, recording.make_context(), recording.run_inline)
    methods.validate_server_result("completion/complete", recording.R2025_11_25, result)
    return result["completion"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ([], {"values": [], "total": 0, "hasMore": False}),
        (None, {"values": [], "total": 0, "hasMore": False}),
        (["b", "a"], {"values": ["b", "a"], "total": 2, "hasMore": False}),
        (("a",), {"values": ["a"], "total": 1, "hasMore": False}),
        ({"a": 1}.keys(), {"values": ["a"], "total": 1, "hasMore": False}),
        (["a"] * 100, {"values": ["a"] * 100, "total": 100, "hasMore": False}),
        (["a"] * 101, {"values": ["a"] * 100, "total": 101, "hasMore": True}),
        (Completion(values=["a"]), {"values": ["a"], "hasMore": False}),
        (Completion(values=["a"], has_more=True), {"values": ["a"], "hasMore": True}),
        (Completion(values=["a"], total=500), {"values": ["a"], "total": 500, "hasMore": True}),
        (Completion(values=["a"] * 200), {"values": ["a"] * 100, "hasMore": True}),
    ],
)
async def test_values_are_at_most_a_hundred_and_say_how_many_there_are(value, expected):
    given = value

    def function(value: str) -> Any:
        return given

    assert await complete(function) == expected


@pytest.mark.parametrize("value", ["abc", [1], 1, b"abc", ["a", None]])
async def test_what_is_no_list_of_strings_is_a_failure(value, caplog):
    given = value

    def function(value: str) -> Any:
        return given

    with pytest.raises(exceptions.CallFailed) as raised:
        await complete(function)
    assert str(raised.value) == "completion of 'author' of 'recommend' failed: internal error"


async def test_functions_get_the_value_and_what_else_they_like():
    async def all_of_it(value: str, arguments: dict[str, str], ctx: Context) -> list[str]:
        return [value, *arguments.values(), type(ctx).__name__]

    def sync_one(ctx: SyncContext, value: str) -> list[str]:
        return [value, type(ctx).__name__]

    assert (await complete(all_of_it, {"mood": "m"}))["values"] == ["a", "m", "Context"]
    assert (await complete(sync_one))["values"] == ["a", "SyncContext"]


def test_function_without_value_is_refused():
    def function() -> list[str]: ...

    with pytest.raises(TypeError, match=r"completion of 'author' of 'recommend': .* it takes nothing"):
        completion.from_function(function, TARGET)


def test_function_that_takes_something_else_is_refused():
    def function(value: str, other: str) -> list[str]: ...

    with pytest.raises(TypeError, match=r"the function takes 'value: str', .*; it takes other, value$"):
        completion.from_function(function, TARGET)
