"""The server object that users write their tools, resources and prompts on."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Final

from streamable_http import exceptions
from streamable_http.protocol import jsonrpc
from streamable_http.server import (
    catalog,
    context,
    definitions,
    dispatch,
    features,
    notifications,
    resources,
    results,
    tools,
    url_elicitation,
)

logger = logging.getLogger(__name__)

UNVERSIONED: Final = "0"

RunSync = dispatch.RunSync

CallNext = Callable[[jsonrpc.Request, context.Context], Awaitable[dict[str, Any]]]
Middleware = Callable[[jsonrpc.Request, context.Context, CallNext], Awaitable[dict[str, Any]]]
"""Runs around every request but ``initialize`` and ``ping``; it may change what goes in and what comes out."""


class MCPServer(catalog.Catalog):
    """What a server is called and what it can do.

    ::

        server = MCPServer("bookshop", version="1.0")

        @server.tool(annotations={"readOnlyHint": True})
        async def search_books(query: str, limit: Annotated[int, Field(ge=1, le=100)] = 10) -> list[Book]:
            '''Find books by title or author.'''

        @server.resource("books://{isbn}", mime_type="application/json")
        async def book(isbn: str) -> Book:
            '''One book.'''

        @server.prompt
        def recommend(author: str, mood: str = "any") -> str:
            '''Ask for books like those of an author.'''
    """

    def __init__(
        self,
        name: str,
        *,
        # What clients see
        version: str = UNVERSIONED,
        title: str | None = None,
        instructions: str | None = None,
        icons: Sequence[definitions.IconLike] | None = None,
        website_url: str | None = None,
        # How it serves
        page_size: int = 100,
        middleware: Sequence[Middleware] = (),
        atomic: bool = False,
    ) -> None:
        """Name the server.

        ``name`` is for programs, ``title`` for people. ``instructions`` tell the model how to use the server.

        ``page_size`` is that of every list. ``middleware``: async functions around every request, outermost first.
        ``atomic`` is the default of the sync tools' own.

        Raises:
            TypeError: a middleware cannot be called.
            ValueError: an icon is malformed, or there is no item on a page.
        """
        super().__init__(page_size=page_size, atomic=atomic)
        self.name = name
        self.version = version
        self.title = title
        self.instructions = instructions
        self.icons = definitions.icons(icons, label=f"server '{name}'")
        self.website_url = website_url
        self._middleware = tuple(middleware)
        for each in self._middleware:
            if not callable(each):
                raise TypeError(f"middleware is a list of async functions, and {each!r} cannot be called")

    # Serving

    def initialize(self, *, revision: str, listens: bool = True) -> dict[str, Any]:
        """Return the result of ``initialize`` for the revision that was agreed on.

        ``listens``: whether the client can be told of news.
        """
        info = definitions.make(
            features.OF_REVISION[revision],
            {
                "name": self.name,
                "version": self.version,
                "title": self.title,
                "icons": self.icons,
                "websiteUrl": self.website_url,
            },
        )
        result = {"protocolVersion": revision, "capabilities": self._capabilities(listens), "serverInfo": info}
        if self.instructions is not None:
            result["instructions"] = self.instructions
        return result

    def dispatch(
        self, request: jsonrpc.Request, context: context.Context, run_sync: RunSync
    ) -> Coroutine[Any, Any, dict[str, Any]]:
        """Answer a request: return its ``result`` object, to be read only.

        ``run_sync`` runs a blocking function elsewhere; sync tools go through it.

        Raises:
            MethodNotFound: we do not have the method.
            CallFailed: the request ends with a JSON-RPC error.
            CallCancelled: the call is over.
        """
        if "_meta" in request.params:
            context.progress_token = dispatch.progress_token(request.params)
        # No coroutine of its own: this is on the way of every call.
        if self._middleware and request.method != dispatch.PING:
            return self._through_middleware(request, context, run_sync)
        return self._answer(request, context, run_sync)

    def runs_user_code(self, request: jsonrpc.Request) -> bool:
        """Whether answering runs what users wrote."""
        return request.method in dispatch.USER_CODE

    def may_start_early(self, request: jsonrpc.Request) -> bool:
        """Whether it may run before it is known to be recorded: it only reads, or may run twice."""
        if request.method in dispatch.READING:
            return True
        tool = self._called_tool(request)
        return tool is not None and tool.may_start_early

    def may_rerun(self, request: jsonrpc.Request) -> bool:
        """Whether another worker may run it again when this one died."""
        tool = self._called_tool(request)
        return tool is not None and tool.may_rerun

    @property
    def subscribes(self) -> bool:
        """Whether there are resources that a client could subscribe to."""
        return self.resource_list.is_used or self.template_list.is_used

    async def require_readable(self, uri: Any, ctx: context.Context) -> None:
        """Check that there may be something behind a URI for the caller: what may not be read does not exist.

        Raises:
            MethodNotFound: there are no resources at all.
            CallFailed: nothing that the caller may read has this URI.
        """
        if not self.subscribes:
            raise exceptions.MethodNotFound(SUBSCRIBE)
        if not isinstance(uri, str):
            raise exceptions.CallFailed(exceptions.INVALID_PARAMS, '"uri" must be a string')
        if await self.find_resource(uri, ctx) is None:
            raise resources.not_found(uri)

    async def find_resource(self, uri: str, ctx: context.Context) -> tuple[resources.Resource, dict[str, Any]] | None:
        """Return what has this URI, and the arguments to read it with; ``None`` where the caller may read nothing."""
        resource = await self.resource_list.find(uri, ctx)
        if resource is not None:
            return resource, {}
        for template in list(self.templates):
            resource = self.templates.get(template)
            variables = resource.variables(uri) if resource is not None else None
            if variables is not None and (found := await self.template_list.find(template, ctx)) is not None:
                return found, variables
        return None

    # News, from any thread and any process of the project

    def notify_resource_updated(self, uri: str) -> None:
        """Tell those who subscribed to a resource that it was updated; inside ``atomic()``, on commit.

        Raises:
            RuntimeError: nothing takes news here.
        """
        self._notify(notifications.RESOURCE_UPDATED, {"uri": uri}, topic=uri)

    def notify_resource_list_changed(self) -> None:
        """Tell all clients that there are other resources than before; as :meth:`notify_resource_updated`."""
        self._notify(notifications.RESOURCE_LIST_CHANGED)

    def notify_tool_list_changed(self) -> None:
        """Tell all clients that there are other tools than before; as :meth:`notify_resource_updated`."""
        self._notify(notifications.TOOL_LIST_CHANGED)

    def notify_prompt_list_changed(self) -> None:
        """Tell all clients that there are other prompts than before; as :meth:`notify_resource_updated`."""
        self._notify(notifications.PROMPT_LIST_CHANGED)

    def _notify(self, method: str, params: dict[str, Any] | None = None, *, topic: str | None = None) -> None:
        notifications.publish(self.name, method, params, topic=topic)

    async def _answer(self, request: jsonrpc.Request, ctx: context.Context, run_sync: RunSync) -> dict[str, Any]:
        handler = dispatch.HANDLERS.get(request.method)
        if handler is None:
            raise exceptions.MethodNotFound(request.method)
        try:
            return await handler(self, request.params, ctx, run_sync)
        except exceptions.UrlElicitationRequired as error:
            if url_elicitation.is_supported(ctx.features, ctx.client_capabilities):
                raise
            # MUST NOT be sent to who does not declare it (2025-11-25, Elicitation, Capabilities).
            text = f"{error}, and this client cannot show it"
            if request.method == dispatch.CALL_TOOL:
                return results.in_band_error(text)
            raise exceptions.CallFailed(exceptions.INTERNAL_ERROR, text) from None

    async def _through_middleware(
        self, request: jsonrpc.Request, ctx: context.Context, run_sync: RunSync
    ) -> dict[str, Any]:
        async def innermost(request: jsonrpc.Request, ctx: context.Context) -> dict[str, Any]:
            return await self._answer(request, ctx, run_sync)

        call_next: CallNext = innermost
        for middleware in reversed(self._middleware):
            call_next = _around(middleware, call_next)
        try:
            return await call_next(request, ctx)
        except (KeyboardInterrupt, SystemExit) as error:
            # asyncio would end the loop, and with it the worker.
            logger.exception("A middleware failed")
            raise exceptions.InternalError from error

    def _capabilities(self, listens: bool) -> dict[str, Any]:
        capabilities: dict[str, Any] = {"logging": {}}
        changes = {"listChanged": True} if listens else {}
        if self.tool_list.is_used:
            capabilities["tools"] = changes
        if self.prompt_list.is_used:
            capabilities["prompts"] = changes
        if self.subscribes:
            capabilities["resources"] = {"subscribe": True, **changes} if listens else {}
        if self.completes:
            capabilities["completions"] = {}
        return capabilities

    def _called_tool(self, request: jsonrpc.Request) -> tools.Tool | None:
        name = request.params.get("name")
        if request.method != dispatch.CALL_TOOL or not isinstance(name, str):
            return None
        return self.tools.get(name)


SUBSCRIBE: Final = "resources/subscribe"


def _around(middleware: Middleware, call_next: CallNext) -> CallNext:
    async def step(request: jsonrpc.Request, ctx: context.Context) -> dict[str, Any]:
        return await middleware(request, ctx, call_next)

    return step
