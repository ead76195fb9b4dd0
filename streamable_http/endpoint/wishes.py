"""What a client wishes to be told: requests that change its session in the store, and run no user code."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from streamable_http import conf, exceptions
from streamable_http.endpoint import calls
from streamable_http.protocol import jsonrpc
from streamable_http.server import context, dispatch

Answer = Callable[[calls.Call, context.Context, dict[str, Any]], Awaitable[None]]

SET_LEVEL: Final = "logging/setLevel"
SUBSCRIBE: Final = "resources/subscribe"
UNSUBSCRIBE: Final = "resources/unsubscribe"


async def answer(call: calls.Call, ctx: context.Context, request: jsonrpc.Request) -> bytes:
    """Do what a request of :data:`ANSWERS` asks for; the response as JSON.

    Raises:
        CallFailed: its parameters are wrong.
        TooManyRequests: the session has ``MAX_SUBSCRIPTIONS``.
        StoreUnavailable: the store did not answer.
    """
    await ANSWERS[request.method](call, ctx, request.params)
    return jsonrpc.dumps(jsonrpc.result(request.id, {}))


async def _set_level(call: calls.Call, ctx: context.Context, params: dict[str, Any]) -> None:
    level = dispatch.log_level(params)
    if call.session is not None:
        await call.core.command(call.core.store.set_log_level, call.session.id, level)
        call.core.note_log_level(call.session.id, level)


async def _subscribe(call: calls.Call, ctx: context.Context, params: dict[str, Any]) -> None:
    uri = _uri(call, params)
    await ctx.server.require_readable(uri, ctx)
    assert call.session is not None
    await call.core.command(call.core.store.subscribe, call.session.id, uri, conf.settings.MAX_SUBSCRIPTIONS)


async def _unsubscribe(call: calls.Call, ctx: context.Context, params: dict[str, Any]) -> None:
    uri = _uri(call, params)
    assert call.session is not None
    await call.core.command(call.core.store.unsubscribe, call.session.id, uri)


def _uri(call: calls.Call, params: dict[str, Any]) -> str:
    if call.session is None:
        raise exceptions.CallFailed(
            exceptions.METHOD_NOT_FOUND, "there are no subscriptions without a session: nothing could be sent to it"
        )
    uri = params.get("uri")
    if not isinstance(uri, str):
        raise exceptions.CallFailed(exceptions.INVALID_PARAMS, '"uri" must be a string')
    if not _can_be_kept(uri):
        raise exceptions.CallFailed(exceptions.INVALID_PARAMS, '"uri" must have neither NUL nor lone surrogates')
    return uri


def _can_be_kept(text: str) -> bool:
    """Whether every database takes it: PostgreSQL has no NUL in texts, and UTF-8 no lone surrogates."""
    try:
        return b"\0" not in text.encode()
    except UnicodeEncodeError:
        return False


ANSWERS: Final[dict[str, Answer]] = {
    SET_LEVEL: _set_level,
    SUBSCRIBE: _subscribe,
    UNSUBSCRIBE: _unsubscribe,
}
