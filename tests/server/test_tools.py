from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import copy
import threading
import types
from collections.abc import Callable
from typing import Any

import mcp_types
import pydantic
import pytest
from mcp_types import methods

from streamable_http import exceptions
from streamable_http.server import Context, SyncContext, features, tools
from tests.server import recording

NOW = features.OF_REVISION[recording.R2025_11_25]
FIRST = features.OF_REVISION[recording.R2025_03_26]


class Book(pydantic.BaseModel):
    title: str


async def find(query: str, limit: int = 10) -> list[Book]:
    """Find books.

    Args:
        query: words of the title
    """
    return [Book(title=query)] * limit


async def call(function: Callable[..., Any], run_sync: tools.RunSync = recording.run_inline, **arguments: Any) -> Any:
    tool = tools.from_function(function)
    return await tool.call(arguments, recording.make_context(progress_token="t"), run_sync)


def text_of(result: dict[str, Any]) -> str:
    parsed = mcp_types.CallToolResult.model_validate(result)
    (block,) = parsed.content
    assert isinstance(block, mcp_types.TextContent)
    return block.text


# Definitions


def test_definition_is_made_from_the_function():
    definition = tools.from_function(find, title="Find", annotations={"readOnlyHint": True}).definition(NOW)
    assert definition == {
        "name": "find",
        "title": "Find",
        "description": "Find books.",
        "inputSchema": {
            "type": "object",
            "properties": {
                "query": {"type": "string", "description": "words of the title"},
                "limit": {"type": "integer", "default": 10},
            },
            "required": ["query"],
            "additionalProperties": False,
        },
        "outputSchema": {
            "type": "object",
            "properties": {"result": {"type": "array", "items": {"$ref": "#/$defs/Book"}}},
            "required": ["result"],
            "$defs": {
                "Book": {
                    "type": "object",
                    "title": "Book",
                    "properties": {"title": {"type": "string"}},
                    "required": ["title"],
                }
            },
        },
        "annotations": {"readOnlyHint": True},
    }
    mcp_types.Tool.model_validate(definition)


def test_first_revision_has_the_title_among_the_annotations_and_no_output_schema():
    definition = tools.from_function(find, title="Find").definition(FIRST)
    assert definition["annotations"] == {"title": "Find"}
    assert definition.keys() == {"name", "description", "inputSchema", "annotations"}


def test_words_of_the_user_win_over_those_of_the_function():
    schema = {"type": "object", "properties": {"query": {"type": "string"}}}
    tool = tools.from_function(
        find, name="shop.find-2", description="Other words.", input_schema=schema, structured_output=False
    )
    assert tool.definition(NOW) == {"name": "shop.find-2", "description": "Other words.", "inputSchema": schema}


def test_annotations_may_be_the_protocols_own_object():
    annotations = mcp_types.ToolAnnotations(idempotent_hint=True)
    assert tools.from_function(find, annotations=annotations).definition(NOW)["annotations"] == {
        "idempotentHint": True
    }


@pytest.mark.parametrize(
    ("annotations", "early"),
    [({}, False), ({"readOnlyHint": True}, True), ({"idempotentHint": True}, True), ({"readOnlyHint": False}, False)],
)
def test_only_tools_that_do_no_harm_may_start_early(annotations, early):
    assert tools.from_function(find, annotations=annotations).may_start_early is early


def test_rerun_is_opt_in():
    assert not tools.from_function(find, annotations={"idempotentHint": True}).may_rerun
    assert tools.from_function(find, annotations={"idempotentHint": True}, on_worker_loss="rerun").may_rerun


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": ""}, "'' cannot name a tool; use 1 to 128 letters"),
        ({"name": "a" * 129}, "'aaa"),
        ({"name": "a/b"}, "'a/b' cannot name a tool"),
        ({"name": "a\n"}, "'a\\n' cannot name a tool"),
        ({"name": "bücher"}, "'bücher' cannot name a tool"),
        (
            {"annotations": {"readonlyHint": True}},
            "tool 'find': unknown annotation 'readonlyHint'; did you mean 'readOnlyHint'?",
        ),
        ({"annotations": {"xyz": True}}, "tool 'find': unknown annotation 'xyz'; known are title, readOnlyHint"),
        ({"annotations": {"readOnlyHint": "yes"}}, "tool 'find': invalid annotations: readOnlyHint: input should be"),
        ({"on_worker_loss": "retry"}, "tool 'find': on_worker_loss is 'fail' or 'rerun', not 'retry'"),
        ({"on_worker_loss": "rerun"}, "tool 'find': on_worker_loss='rerun' runs a call a second time"),
        ({"input_schema": {"type": "array"}}, "tool 'find': input_schema must have"),
    ],
)
def test_option_that_does_not_fit_is_refused_with_the_reason(options, message):
    with pytest.raises(ValueError) as raised:  # noqa: PT011
        tools.from_function(find, **options)
    assert str(raised.value).startswith(message)


@pytest.mark.parametrize("name", ["a", "a" * 128, "admin.tools-list_2"])
def test_names_of_the_specification_are_taken(name):
    assert tools.from_function(find, name=name).name == name


# What else clients see


def test_icons_and_meta_are_shown_where_the_revision_has_them():
    tool = tools.from_function(find, icons=[{"src": "https://example.com/a.png"}], meta={"example.com/a": 1})
    second = features.OF_REVISION[recording.R2025_06_18]
    assert tool.definition(NOW)["icons"] == [{"src": "https://example.com/a.png"}]
    assert tool.definition(NOW)["_meta"] == {"example.com/a": 1}
    assert "icons" not in tool.definition(second)
    assert tool.definition(second)["_meta"] == {"example.com/a": 1}
    assert not {"icons", "_meta"} & tool.definition(FIRST).keys()


SCHEMA_2020_12 = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}


@pytest.mark.parametrize("revision", recording.REVISIONS)
def test_schema_by_hand_survives_word_for_word(revision):
    def tool(
        name: str = "",
        address: dict[str, str] | None = None,
        contactMethod: str = "",
        phone: str = "",
        email: str = "",
    ) -> dict[str, Any]: ...

    given = copy.deepcopy(SCHEMA_2020_12)
    made = tools.from_function(tool, input_schema=given, output_schema=given)
    given.clear()
    definition = made.definition(features.OF_REVISION[revision])
    assert definition["inputSchema"] == SCHEMA_2020_12
    if revision != recording.R2025_03_26:
        assert definition["outputSchema"] == SCHEMA_2020_12
    methods.validate_server_result("tools/list", revision, {"tools": [definition]})


def test_schema_with_references_elsewhere_is_passed_on_and_never_followed():
    def tool(a: str = "") -> str: ...

    schema = {"type": "object", "properties": {"a": {"$ref": "file:///etc/passwd"}}, "$defs": {"b": {"$ref": "#"}}}
    assert tools.from_function(tool, input_schema=schema).definition(NOW)["inputSchema"] == schema


@pytest.mark.parametrize("name", ["input_schema", "output_schema", "meta"])
def test_object_without_json_form_is_refused(name):
    with pytest.raises(ValueError, match=f"^tool 'find': {name} cannot be written as JSON"):
        tools.from_function(find, **{name: {"type": "object", "a": {1, 2}}})


# Calls


async def test_async_tool_gets_checked_arguments():
    result = await call(find, query="Emma", limit="2")
    assert result["structuredContent"] == {"result": [{"title": "Emma"}, {"title": "Emma"}]}


async def test_async_tool_gets_the_context():
    async def tool(ctx: Context, a: int) -> str:
        await ctx.report_progress(a)
        return type(ctx).__name__

    assert text_of(await call(tool, a=1)) == "Context"


@pytest.mark.parametrize("annotation", [Context, SyncContext])
async def test_sync_tool_gets_a_sync_context(annotation):
    def tool(ctx):
        ctx.report_progress(1)
        return f"{type(ctx).__name__} {ctx.progress_token}"

    tool.__annotations__ = {"ctx": annotation}
    assert text_of(await call(tool)) == "SyncContext t"


async def test_all_of_a_sync_tool_runs_in_the_pool():
    class Lazy:
        @property
        def title(self) -> str:
            return threading.current_thread().name

    def tool() -> Book:
        return Lazy()  # type: ignore[return-value]

    with concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="pool") as pool:

        async def run_sync(function: Callable[[], Any]) -> Any:
            return await asyncio.get_running_loop().run_in_executor(pool, function)

        result = await call(tool, run_sync)
    assert result["structuredContent"]["title"].startswith("pool")


@pytest.mark.parametrize(
    "error",
    [
        StopIteration(),
        SystemExit(1),
        KeyboardInterrupt(),
        GeneratorExit(),
        BaseException("secret"),
        ValueError("secret"),
    ],
)
async def test_sync_tool_cannot_break_the_pool(error, caplog):
    def tool():
        raise error

    with concurrent.futures.ThreadPoolExecutor(1) as pool:

        async def run_sync(function: Callable[[], Any]) -> Any:
            return await asyncio.get_running_loop().run_in_executor(pool, function)

        assert text_of(await call(tool, run_sync)) == "the tool failed: internal error"


@pytest.mark.parametrize(
    "error", [SystemExit(1), KeyboardInterrupt(), GeneratorExit(), BaseException("secret"), ValueError("secret")]
)
async def test_async_tool_cannot_end_its_worker(error, caplog):
    async def tool():
        raise error

    result = await call(tool)
    assert result["isError"]
    assert text_of(result) == "the tool failed: internal error"


async def test_pool_that_does_not_take_the_call_is_an_error_in_band(caplog):
    def tool(): ...

    async def run_sync(function: Callable[[], Any]) -> Any:
        raise RuntimeError("cannot schedule new futures after shutdown")

    assert text_of(await call(tool, run_sync)) == "the tool failed: internal error"


async def test_wrong_arguments_are_told_in_band_and_the_tool_does_not_run():
    async def tool(a: int):
        raise AssertionError

    result = await call(tool, a="x", b=1)
    assert result["isError"]
    assert text_of(result).startswith("invalid arguments: a: input should be a valid integer")


async def test_validation_error_of_the_tools_own_is_not_taken_for_wrong_arguments(caplog):
    async def tool():
        Book.model_validate({"secret": 1})

    assert text_of(await call(tool)) == "the tool failed: internal error"


@pytest.mark.parametrize("error", [exceptions.CallFailed(-32050, "no"), exceptions.CallCancelled()])
async def test_errors_of_the_call_pass_from_both_kinds_of_tools(error):
    async def async_tool():
        raise error

    def sync_tool():
        raise error

    for tool in (async_tool, sync_tool):
        with pytest.raises(type(error)):
            await call(tool)


async def test_cancellation_passes():
    started = asyncio.Event()

    async def tool():
        started.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(call(tool))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_calls_do_not_share_state():
    async def tool(a: int, items: list[int] = []) -> list[int]:  # noqa: B006
        items.append(a)
        await asyncio.sleep(0)
        return items

    built = tools.from_function(tool)
    made = await asyncio.gather(
        *(built.call({"a": a}, recording.make_context(), recording.run_inline) for a in range(3))
    )
    assert [result["structuredContent"]["result"] for result in made] == [[0], [1], [2]]


def test_call_whose_loop_goes_down_is_closed_without_a_failure(caplog):
    @types.coroutine
    def suspended():
        yield

    async def tool():
        await suspended()

    coroutine = call(tool)
    coroutine.send(None)
    coroutine.close()
    assert not caplog.records


# Transactions


class Transactions:
    """Stands for a database: notes what begins, is committed, and is rolled back."""

    def __init__(self, commit_error: Exception | None = None) -> None:
        self.commit_error = commit_error
        self.seen: list[str] = []

    @contextlib.contextmanager
    def atomic(self):
        self.seen.append("begin")
        try:
            yield
        except BaseException:
            self.seen.append("rollback")
            raise
        self.seen.append("commit")
        if self.commit_error is not None:
            raise self.commit_error


async def call_atomic(function: Callable[..., Any], database: Transactions, **options: Any) -> dict[str, Any]:
    ctx = recording.make_context(transaction=database.atomic)
    return await tools.from_function(function, name="x", **options).call({}, ctx, recording.run_inline)


async def test_atomic_tool_runs_in_a_transaction():
    database = Transactions()

    def tool() -> str:
        database.seen.append("work")
        return "done"

    assert text_of(await call_atomic(tool, database, atomic=True)) == "done"
    assert database.seen == ["begin", "work", "commit"]


async def test_other_tools_do_not():
    database = Transactions()

    async def async_tool() -> str:
        return "done"

    await call_atomic(lambda: "done", database)
    await call_atomic(lambda: "done", database, atomic=False, default_atomic=True)
    await call_atomic(async_tool, database, default_atomic=True)
    assert database.seen == []


@pytest.mark.parametrize(
    "error", [exceptions.ToolError("no"), ValueError("secret"), SystemExit(1), exceptions.CallFailed(-32050, "no")]
)
async def test_tool_that_raises_rolls_back(error, caplog):
    database = Transactions()

    def tool():
        raise error

    with contextlib.suppress(exceptions.CallFailed):
        assert (await call_atomic(tool, database, atomic=True))["isError"]
    assert database.seen == ["begin", "rollback"]


async def test_result_that_cannot_be_sent_rolls_back(caplog):
    database = Transactions()
    assert (await call_atomic(lambda: object(), database, atomic=True))["isError"]
    assert database.seen == ["begin", "rollback"]


async def test_commit_that_fails_is_a_failure(caplog):
    database = Transactions(commit_error=RuntimeError("deferred constraint"))
    result = await call_atomic(lambda: "done", database, atomic=True)
    assert text_of(result) == "the tool failed: internal error"
