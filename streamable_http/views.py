"""The Django shell: an async view, for projects that want their middleware in front of the endpoint.

Django has read the whole body before any view runs, so ``BODY_TIMEOUT_SECONDS`` is up to the HTTP server here, and
``DATA_UPLOAD_MAX_MEMORY_SIZE`` is not asked: ``MAX_BODY_BYTES`` decides. Under WSGI there is no stream and no event
loop: then the view serves without sessions and by JSON alone, whatever the settings say.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Callable
from typing import Any

from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.views.generic import View

from streamable_http import conf, exceptions, shells, streaming
from streamable_http.protocol import http
from streamable_http.server import MCPServer

logger = logging.getLogger(__name__)


class MCPView(View):
    """Serves a server's endpoint: ``path("mcp", MCPView.as_view(server="bookshop"))``."""

    server: MCPServer | str | None = None
    """The object or its name; without it the only server of the project."""

    view_is_async = True

    @classmethod
    def as_view(cls, **initkwargs: Any) -> Callable[..., HttpResponseBase]:
        """Return the view. The endpoint checks ``Origin`` and credentials itself, and minds its own transactions."""
        view = shells.outside_transactions(super().as_view(**initkwargs))
        vars(view).update(csrf_exempt=True, login_required=False)
        return view

    async def dispatch(  # type: ignore[override]  # as_view() marks the view as async
        self, request: HttpRequest, *args: Any, **kwargs: Any
    ) -> HttpResponseBase:
        """Serve one request, of whatever method."""
        is_asgi = isinstance(request, ASGIRequest)
        endpoint = shells.endpoint(self.server, one_shot=not is_asgi)
        scope = request.scope if isinstance(request, ASGIRequest) else _scope(request)
        asked = shells.request(scope, http.Headers(scope["headers"]))
        try:
            asked.body = _read_body(request, asked.headers)
        except exceptions.BodyTooLarge as error:
            return _native(endpoint.refuse(asked, error))
        if is_asgi:
            return _native(await endpoint.handle(asked))
        return _native(await asyncio.wrap_future(shells.run_behind(endpoint.handle(asked))))


def _read_body(request: HttpRequest, headers: http.Headers) -> bytes:
    shells.require_announced_size(headers)
    # Not request.body, which has a limit of its own; one byte more tells whether there is more.
    body = request.read(conf.settings.MAX_BODY_BYTES + 1)
    shells.require_size(len(body))
    return body


def _native(response: http.Response) -> HttpResponseBase:
    headers = shells.headers(response)
    if response.stream is None:
        native: HttpResponseBase = HttpResponse(response.body, status=response.status, headers=headers)
    else:
        native = streaming.ClosingResponse(_paced(response.stream), status=response.status, headers=headers)
    if http.CONTENT_TYPE not in headers:
        # Django has a default.
        del native.headers[http.CONTENT_TYPE]
    return native


# Streams


async def _paced(stream: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """Yield the chunks; a reader that takes none for too long is treated as one that is gone."""
    seconds = conf.settings.SEND_TIMEOUT_SECONDS
    async with contextlib.aclosing(stream):
        async for chunk in stream:
            # Django sends between two chunks, in this same task, and ends quietly when that is cancelled.
            reading = asyncio.current_task()
            assert reading is not None
            timer = reading.get_loop().call_later(seconds, _drop, reading, seconds)
            try:
                yield chunk
            finally:
                timer.cancel()


def _drop(reading: asyncio.Task[Any], seconds: float) -> None:
    logger.warning(shells.TOOK_NOTHING, seconds)
    reading.cancel()


# WSGI


def _scope(request: HttpRequest) -> shells.Scope:
    return {
        "method": request.method,
        "path": request.path,
        "scheme": request.META.get("wsgi.url_scheme", "http"),
        "query_string": request.META.get("QUERY_STRING", "").encode("latin-1"),
        "client": (request.META.get("REMOTE_ADDR", ""), 0),
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in request.headers.items()],
    }
