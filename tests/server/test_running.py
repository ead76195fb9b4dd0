from __future__ import annotations

import asyncio
import concurrent.futures
import threading
import types
from collections.abc import Callable
from typing import Any

import pytest

from streamable_http import exceptions
from streamable_http.server import Context, SyncContext, running
from tests.server import recording

INTERNAL = "thing 'x' failed: internal error"


def callee(function: Callable[..., Any], *, context_name: str | None = None, **options: Any) -> running.Callee:
    return running.Callee(
        label="thing 'x'",
        function=function,
        is_async=asyncio.iscoroutinefunction(function),
        context_name=context_name,
        **options,
    )


def wrap(value: Any) -> dict[str, Any]:
    return {"value": value}


def both(error: BaseException) -> list[Callable[..., Any]]:
    def sync_function():
        raise error

    async def async_function():
        raise error

    return [sync_function, async_function]


async def call(function: Callable[..., Any], read: Callable[[Any], dict[str, Any]] = wrap, **options: Any) -> Any:
    with concurrent.futures.ThreadPoolExecutor(1) as pool:

        async def run_sync(work: Callable[[], Any]) -> Any:
            return await asyncio.get_running_loop().run_in_executor(pool, work)

        return await callee(function, **options).call({}, recording.make_context(), run_sync, read)


async def test_both_kinds_of_functions_get_what_they_take():
    async def async_function(a: int, ctx: Context) -> str:
        return f"{a} {type(ctx).__name__}"

    def sync_function(a: int, ctx: SyncContext) -> str:
        return f"{a} {type(ctx).__name__}"

    ctx = recording.make_context()
    for function, name in ((async_function, "Context"), (sync_function, "SyncContext")):
        made = callee(function, context_name="ctx")
        assert await made.call({"a": 1}, ctx, recording.run_inline, wrap) == {"value": f"1 {name}"}


async def test_result_is_read_on_the_thread_of_a_sync_function():
    seen = []
    await call(lambda: None, lambda value: {"on": seen.append(threading.current_thread())})
    assert seen[0] is not threading.main_thread()


@pytest.mark.parametrize(
    "error",
    [
        ValueError("secret"),
        StopIteration(),
        SystemExit(1),
        KeyboardInterrupt(),
        GeneratorExit(),
        BaseException("secret"),
        ExceptionGroup("secret", [ValueError("secret"), KeyError("secret")]),
        BaseExceptionGroup("secret", [SystemExit(1), ValueError("secret")]),
    ],
)
async def test_nothing_that_is_raised_harms_the_worker_or_is_told(error, caplog):
    for function in both(error):
        with pytest.raises(exceptions.CallFailed) as raised:
            await call(function)
        assert (raised.value.code, str(raised.value)) == (exceptions.INTERNAL_ERROR, INTERNAL)
        assert raised.value.data is None
    assert "thing 'x' failed" in caplog.text


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (exceptions.ToolError("no such shelf"), "no such shelf"),
        (exceptions.ToolError(), "thing 'x' failed"),
        (exceptions.AskRefused("the client cannot be asked"), "the client cannot be asked"),
        (exceptions.ResourceNotFound("no such book"), "no such book"),
        (ExceptionGroup("", [exceptions.ToolError("wrapped")]), "wrapped"),
    ],
)
async def test_what_is_meant_for_the_client_is_told(error, text):
    for function in both(error):
        with pytest.raises(exceptions.CallFailed) as raised:
            await call(function)
        assert (raised.value.code, str(raised.value)) == (exceptions.INTERNAL_ERROR, text)


@pytest.mark.parametrize(
    "error", [exceptions.CallFailed(-32050, "no"), exceptions.CallCancelled(), exceptions.InvalidParams("no")]
)
async def test_what_ends_the_call_passes(error):
    for function in both(error):
        with pytest.raises(type(error)) as raised:
            await call(function)
        assert raised.value is error


async def test_what_the_caller_deals_with_passes():
    for function in both(exceptions.ResourceNotFound()):
        with pytest.raises(exceptions.ResourceNotFound):
            await call(function, passing=(exceptions.ResourceNotFound,))


async def test_result_that_cannot_be_read_is_a_failure(caplog):
    def read(value: Any) -> dict[str, Any]:
        raise TypeError("secret")

    async def async_function(): ...

    for function in (async_function, lambda: None):
        with pytest.raises(exceptions.CallFailed) as raised:
            await call(function, read)
        assert str(raised.value) == INTERNAL


async def test_cancellation_passes():
    started = asyncio.Event()

    async def function():
        started.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(call(function))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_call_whose_loop_goes_down_is_closed_without_a_failure(caplog):
    @types.coroutine
    def suspended():
        yield

    async def function():
        await suspended()

    coroutine = callee(function).call({}, recording.make_context(), recording.run_inline, wrap)
    coroutine.send(None)
    coroutine.close()
    assert caplog.text == ""
