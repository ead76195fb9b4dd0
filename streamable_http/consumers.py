"""The Channels shell: an ASGI application for a ``URLRouter``, beside Django.

A plain ASGI application and no ``AsyncHttpConsumer``, which does not see a disconnect while it streams. Any ASGI
server runs it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, MutableMapping
from typing import Any, Final

from streamable_http import conf, exceptions, shells
from streamable_http.delivery import engine
from streamable_http.protocol import http
from streamable_http.server import MCPServer

logger = logging.getLogger(__name__)

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

LINGER_SECONDS: Final = 2.0
"""How long the rest of a refused body is taken, so that its sender gets to read the answer."""


class _DisconnectedError(Exception):
    """The client went away before its request was complete."""


class _Deadline:
    """Raises ``TimeoutError`` in its block after so many seconds: ``asyncio.timeout`` at a quarter of its cost."""

    __slots__ = ("_is_over", "_seconds", "_task", "_timer")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._is_over = False

    def __enter__(self) -> None:
        self._task = asyncio.current_task()
        self._timer = asyncio.get_running_loop().call_later(self._seconds, self._end)

    def __exit__(self, kind: type[BaseException] | None, error: object, traceback: object) -> None:
        self._timer.cancel()
        if self._is_over and self._task is not None and not self._task.uncancel() and kind is asyncio.CancelledError:
            raise TimeoutError

    def _end(self) -> None:
        self._is_over = True
        if self._task is not None:
            self._task.cancel()


class MCPConsumer:
    """Serves a server's endpoint: ``path("mcp", MCPConsumer.as_asgi())``."""

    def __init__(self, server: MCPServer | str | None = None) -> None:
        self._server = server

    @classmethod
    def as_asgi(
        cls, *, server: MCPServer | str | None = None
    ) -> Callable[[shells.Scope, Receive, Send], Awaitable[None]]:
        """Return the ASGI application.

        ``server`` is the object or its name; without it the only server of the project.
        """
        return cls(server)

    async def __call__(self, scope: shells.Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            raise ValueError(f"MCPConsumer serves HTTP only, not {scope['type']}")
        endpoint = shells.endpoint(self._server)
        request = shells.request(scope, http.Headers(scope["headers"]))
        try:
            request.body = await _read_body(request.headers, receive)
        except _DisconnectedError:
            return
        except exceptions.ProtocolError as error:
            await _send_early(request, receive, send, endpoint.refuse(request, error))
            return
        response = await endpoint.handle(request)
        if response.stream is None:
            await _send_body(send, response)
        else:
            await _send_stream(receive, send, response, response.stream)


async def lifespan(scope: shells.Scope, receive: Receive, send: Send) -> None:
    """Serve ASGI's lifespan: a server that has one waits at its end until the calls have ended."""
    while (await receive())["type"] == "lifespan.startup":
        await send({"type": "lifespan.startup.complete"})
    core = engine.running()
    if core is not None:
        await core.drain()
        await core.stop()
    await send({"type": "lifespan.shutdown.complete"})


async def _read_body(headers: http.Headers, receive: Receive) -> bytes:
    shells.require_announced_size(headers)
    try:
        with _Deadline(conf.settings.BODY_TIMEOUT_SECONDS):
            message = await _receive(receive)
            body: bytes = message.get("body", b"")
            shells.require_size(len(body))
            if not message.get("more_body"):
                return body
            pieces = [body]
            size = len(body)
            while message.get("more_body"):
                message = await _receive(receive)
                pieces.append(message.get("body", b""))
                size += len(pieces[-1])
                shells.require_size(size)
    except TimeoutError:
        raise exceptions.RequestTimeout from None
    return b"".join(pieces)


async def _receive(receive: Receive) -> MutableMapping[str, Any]:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise _DisconnectedError
    return message


def _start(response: http.Response) -> dict[str, Any]:
    headers = [(name.encode(), value.encode("latin-1")) for name, value in shells.headers(response).items()]
    return {"type": "http.response.start", "status": response.status, "headers": headers}


async def _send_body(send: Send, response: http.Response) -> None:
    try:
        with _Deadline(conf.settings.SEND_TIMEOUT_SECONDS):
            await send(_start(response))
            await send({"type": "http.response.body", "body": response.body})
    except TimeoutError:
        logger.warning(shells.TOOK_NOTHING, conf.settings.SEND_TIMEOUT_SECONDS)
        raise


async def _send_early(request: http.Request, receive: Receive, send: Send, response: http.Response) -> None:
    """Answer a request whose body was not read to its end.

    Then discard some of it: a connection that is closed with bytes unread is reset, which may destroy the answer
    before the client has it (RFC 9112, section 9.6).
    """
    if request.can_be_closed:
        response.headers["connection"] = "close"
    await send(_start(response))
    await send({"type": "http.response.body", "body": response.body, "more_body": True})
    with contextlib.suppress(TimeoutError, _DisconnectedError), _Deadline(LINGER_SECONDS):
        while (await _receive(receive)).get("more_body"):
            pass
    await send({"type": "http.response.body", "body": b""})


async def _send_stream(
    receive: Receive, send: Send, response: http.Response, stream: AsyncGenerator[bytes, None]
) -> None:
    """Send chunks until the stream ends or the client is gone; the call behind it goes on either way."""
    sender = asyncio.current_task()
    assert sender is not None
    watcher = asyncio.ensure_future(_watch(receive, sender))
    try:
        await _send_chunks(send, response, stream)
    except asyncio.CancelledError:
        if not watcher.done() or sender.uncancel():
            raise
    finally:
        watcher.cancel()


async def _watch(receive: Receive, sender: asyncio.Task[Any]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    sender.cancel()


async def _send_chunks(send: Send, response: http.Response, stream: AsyncGenerator[bytes, None]) -> None:
    seconds = conf.settings.SEND_TIMEOUT_SECONDS
    try:
        await send(_start(response))
        async for chunk in stream:
            with _Deadline(seconds):
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        with _Deadline(seconds):
            await send({"type": "http.response.body", "body": b""})
    except TimeoutError:
        logger.warning(shells.TOOK_NOTHING, seconds)
        raise
    finally:
        await stream.aclose()
