"""What the shells share: which endpoint they serve, and what a request looks like to its client."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import os
import threading
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Future
from http import HTTPStatus
from typing import Any, Final, TypeVar

from asgiref.sync import SyncToAsync
from django.conf import settings
from django.core.signals import setting_changed
from django.db import connections, transaction
from django.dispatch import receiver

from streamable_http import authentication, conf, exceptions, forks
from streamable_http.delivery import engine
from streamable_http.endpoint import registry
from streamable_http.endpoint.endpoint import Endpoint
from streamable_http.protocol import http
from streamable_http.server import MCPServer

T = TypeVar("T")
V = TypeVar("V", bound=Callable[..., Any])

Scope = Mapping[str, Any]

TOOK_NOTHING: Final = "a reader was disconnected, because it took nothing for %g s"


def endpoint(server: MCPServer | str | None, *, one_shot: bool = False) -> Endpoint:
    """Return the endpoint of a server, the only one in this process: a session is good through every shell.

    ``server`` is the object or its name; ``None``: the only server of the project. Ask at the first request: then all
    apps are loaded.

    Raises:
        ImproperlyConfigured: there is no such server, or its callers cannot be authenticated.
    """
    return _endpoint(server if isinstance(server, MCPServer) else _find(server), one_shot)


@functools.cache
def _find(name: str | None) -> MCPServer:
    return registry.find(name)


@functools.cache
def _endpoint(server: MCPServer, one_shot: bool) -> Endpoint:
    return Endpoint(server, authentication.authenticator(), authentication.DRFGate, one_shot=one_shot)


# The threads of an authenticator do not survive a fork.
forks.after_in_child(_endpoint.cache_clear)


@receiver(setting_changed)
def _forget(*, setting: str, **_: Any) -> None:
    if setting in (conf.SETTING, "INSTALLED_APPS"):
        _find.cache_clear()
        _endpoint.cache_clear()


def request(scope: Scope, headers: http.Headers) -> http.Request:
    """Return the request of an ASGI scope, as yet without its body."""
    client = scope.get("client")
    return http.Request(
        method=scope["method"],
        path=scope["path"],
        scheme=_scheme(scope, headers),
        headers=headers,
        query=scope.get("query_string", b""),
        client=client[0] if client else "",
        version=scope.get("http_version", "1.1"),
    )


def _scheme(scope: Scope, headers: http.Headers) -> str:
    """Return the scheme that the client sees, as Django's ``SECURE_PROXY_SSL_HEADER`` tells it."""
    proxy_header = settings.SECURE_PROXY_SSL_HEADER
    if proxy_header:
        name, secure = proxy_header
        value = headers.get(name.removeprefix("HTTP_").replace("_", "-").lower())
        if value is not None:
            return "https" if value.split(",", 1)[0].strip() == secure else "http"
    return str(scope.get("scheme", "http"))


def require_announced_size(headers: http.Headers) -> None:
    """Refuse a body by its ``Content-Length``, before any of it is read.

    Raises:
        BodyTooLarge: it is over ``MAX_BODY_BYTES``.
    """
    announced = headers.get(http.CONTENT_LENGTH)
    # The first digits tell enough, and int() refuses thousands of them.
    if announced is not None and announced.isdecimal() and int(announced[:20]) > conf.settings.MAX_BODY_BYTES:
        raise exceptions.BodyTooLarge(conf.settings.MAX_BODY_BYTES)


def require_size(size: int) -> None:
    """Refuse a body by what arrived of it.

    Raises:
        BodyTooLarge: it is over ``MAX_BODY_BYTES``.
    """
    if size > conf.settings.MAX_BODY_BYTES:
        raise exceptions.BodyTooLarge(conf.settings.MAX_BODY_BYTES)


def headers(response: http.Response) -> dict[str, str]:
    """Return the headers to send: with the length of a body, where it is known and one may be sent."""
    # A server MUST NOT send Content-Length with 204 (RFC 9110, section 8.6).
    if response.stream is not None or response.status == HTTPStatus.NO_CONTENT:
        return response.headers
    return {**response.headers, http.CONTENT_LENGTH: str(len(response.body))}


def outside_transactions(view: V) -> V:
    """Have a view run in no transaction of the whole request (``ATOMIC_REQUESTS``), in whatever database.

    An async view cannot be in one; and where a tool runs for a view, its transaction would keep the tool's waiting.
    """
    for alias in connections:
        view = transaction.non_atomic_requests(using=alias)(view)
    return view


# The event loop


_loops: Final[dict[int, tuple[asyncio.AbstractEventLoop, threading.Thread]]] = {}
"""The event loop behind those who have none, which the engine needs, by process, and the thread that it runs in."""

_making = threading.Lock()


def run_behind(work: Coroutine[Any, Any, T]) -> Future[T]:
    """Run something of an endpoint where nothing serves on an event loop, as under WSGI."""
    with _making:
        if os.getpid() not in _loops:
            loop = asyncio.new_event_loop()
            thread = threading.Thread(target=loop.run_forever, name="streamable-http-loop", daemon=True)
            _loops[os.getpid()] = (loop, thread)
            thread.start()
        loop, _ = _loops[os.getpid()]
    return asyncio.run_coroutine_threadsafe(work, loop)


def end_behind() -> None:
    """End what runs behind, and its engine in good order: for a process that has done its work, such as a command."""
    with _making:
        loop, thread = _loops.pop(os.getpid(), (None, None))
    if loop is None or thread is None:
        return
    running = engine.running()
    if running is not None and running.loop is loop:
        asyncio.run_coroutine_threadsafe(running.stop(), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run something of an endpoint for a caller that blocks; not on an event loop's own thread.

    On the loop that this process serves on, so that it has one engine; behind, where it serves on none.
    """
    running = engine.running()
    # Of the server that runs this thread's view, where there is one, though no engine yet.
    loop = running.loop if running is not None else getattr(SyncToAsync.threadlocal, "main_event_loop", None)
    if loop is not None and loop.is_running():
        # Not in the context of the caller, whose thread is busy with waiting: under Django's ASGI handler it would be
        # the one for whatever is sync in the work, which then waited for it, and it for the work.
        return contextvars.Context().run(asyncio.run_coroutine_threadsafe, work, loop).result()
    return run_behind(work).result()
