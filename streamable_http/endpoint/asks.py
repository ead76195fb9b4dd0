"""Asks: requests to the client that wait for a reply, which any worker may receive."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Callable
from typing import Any, Final

from streamable_http import conf, exceptions, ids
from streamable_http.delivery import engine
from streamable_http.protocol import jsonrpc
from streamable_http.stores import base

Emit = Callable[[bytes, base.NewAsk], Any]

_WIRE_ID: Final = re.compile(r"[0-9a-f]{32}")


async def ask(
    core: engine.Engine, session: base.SessionFacts, emit: Emit, method: str, params: dict[str, Any]
) -> dict[str, Any]:
    """Send a request on the stream of a call and wait for the client's ``result``.

    Raises:
        AskRefused: too many asks of this session wait already.
        AskTimeout: no reply within ``ASK_SECONDS``.
        AskError: the client replied with an error.
    """
    if sum(1 for owner in core.asks.sessions() if owner == session.id) >= conf.settings.MAX_PENDING_ASKS:
        raise exceptions.AskRefused("too many questions to this client wait for their answer")
    deadline_seconds = conf.settings.ASK_SECONDS
    new = base.NewAsk(
        id=ids.new(),
        session_id=session.id,
        # Random, so that nobody can guess the id of a question that is not theirs.
        wire_id=secrets.token_hex(16),
        method=method,
        deadline_seconds=deadline_seconds,
    )
    reply = core.asks.expect(new.id, session.id)
    try:
        await emit(jsonrpc.dumps(jsonrpc.request(jsonrpc.Request(new.wire_id, method, params))), new)
        async with asyncio.timeout(deadline_seconds):
            text = await reply
    except TimeoutError:
        raise exceptions.AskTimeout(deadline_seconds) from None
    finally:
        core.asks.forget(new.id)
        is_answered = reply.done() and not reply.cancelled()
        core.write_behind(core.store.forget_reply if is_answered else core.store.withdraw, new.id)
    return _result(text)


async def answer(core: engine.Engine, session: base.SessionFacts, response: jsonrpc.Response) -> None:
    """Take a client's reply. One that nobody waits for is ignored.

    Raises:
        StoreUnavailable: the store did not answer.
    """
    if not isinstance(response.id, str) or _WIRE_ID.fullmatch(response.id) is None:
        # None of ours; and not every text can be looked up: lone surrogates and NUL cannot.
        return
    reply = {"error": response.error} if response.error is not None else {"result": response.result}
    text = jsonrpc.dumps(reply).decode()
    ask_id = await core.command(core.store.reply, session.id, response.id, text)
    if ask_id is not None:
        core.wake_ask(ask_id, text)


def _result(text: str) -> dict[str, Any]:
    reply = jsonrpc.loads(text.encode(), max_depth=conf.settings.MAX_JSON_DEPTH)
    if "error" in reply:
        raise exceptions.AskError(f"the client replied with an error: {reply['error']['message'][:256]}")
    result: dict[str, Any] = reply["result"]
    return result
