"""What a tool talks to its caller with: progress, log messages, forms, questions to its model.

The context knows no log, no stream and no socket: it builds messages and gives them to its outlet.
"""

from __future__ import annotations

import contextlib
import types
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, get_args, overload

import mcp_types
from typing_extensions import Unpack

from streamable_http.protocol import jsonrpc
from streamable_http.server import (
    connection,
    content,
    elicitation,
    features,
    messages,
    roots,
    sampling,
    url_elicitation,
)

if TYPE_CHECKING:
    from streamable_http.server import mcp_server

SEVERITY: Final[dict[str, int]] = {level: rank for rank, level in enumerate(get_args(mcp_types.LoggingLevel))}
"""The levels of RFC 5424, from ``debug`` to ``emergency``."""

_NUMBERS: Final = frozenset((int, float))
_LIMIT: Final = 2.0**63
"""Numbers from here on do not fit 64 bits; neither does infinity."""


Outlet = connection.Outlet
Gate = connection.Gate
OPEN_GATE: Final = connection.OPEN_GATE
SessionInfo = connection.SessionInfo

_NO_HEADERS: Final[Mapping[str, str]] = types.MappingProxyType({})


class _Done:
    """Something to await that is done already."""

    __slots__ = ()

    def __await__(self) -> Generator[Any, None, None]:
        return
        yield


_DONE: Final = _Done()


class _BaseContext:
    """What both contexts have. One is made for each request."""

    __slots__ = (
        "_features",
        "_last_progress",
        "_outlet",
        "client_capabilities",
        "gate",
        "principal",
        "progress_token",
        "request_headers",
        "request_id",
        "revision",
        "server",
        "session",
        "transaction",
        "user",
    )

    def __init__(
        self,
        *,
        server: mcp_server.MCPServer,
        revision: str,
        outlet: Outlet,
        progress_token: str | int | None = None,
        client_capabilities: dict[str, Any] | None = None,
        # Who calls
        principal: Any = None,
        user: Any = None,
        session: connection.SessionInfo | None = None,
        request_headers: Mapping[str, str] = _NO_HEADERS,
        request_id: jsonrpc.RequestId | None = None,
        # What the endpoint does for the call
        gate: connection.Gate = connection.OPEN_GATE,
        transaction: Callable[[], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext,
        progress: float | None = None,
    ) -> None:
        """Made by the endpoint.

        ``user`` is the framework's, ``session`` ``None`` without sessions, ``request_headers`` have lower-case
        names. ``transaction`` opens the database transaction of a tool that is ``atomic``. ``progress`` is the
        highest that the client was told of this call already.
        """
        self.server = server
        self.revision = revision
        self.progress_token = progress_token
        self.client_capabilities = client_capabilities
        self.principal = principal
        self.user = user
        self.session = session
        self.request_headers = request_headers
        self.request_id = request_id
        self.gate = gate
        self.transaction = transaction
        self._outlet = outlet
        self._features = features.OF_REVISION[revision]
        self._last_progress = -_LIMIT if progress is None else progress

    @property
    def features(self) -> features.Features:
        """What messages of this revision may hold."""
        return self._features

    @property
    def cancelled(self) -> bool:
        """Whether the call is over, so that nothing it does counts any more: cancelled, lost, or answered."""
        return self._outlet.is_over

    def close_connection(self) -> None:
        """End the HTTP answer early, and let the client poll for the rest while the call goes on (SEP-1699).

        Does nothing where the revision has no such thing, or where the stream cannot be resumed.
        """
        self._outlet.close_connection()

    def notify_elicitation_complete(self, elicitation_id: str) -> Awaitable[None]:
        """Tell the client that the user has finished on the page that :meth:`elicit_url` sent them to.

        Nothing is sent where the revision has no such pages.

        Raises:
            CallCancelled: the call is over.
        """
        if not self._features.elicitation_modes:
            return _DONE
        return self._outlet.emit(url_elicitation.complete(elicitation_id))

    def report_progress(
        self, progress: float, total: float | None = None, message: str | None = None
    ) -> Awaitable[None]:
        """Tell the client how far the call is.

        ``progress`` and ``total`` are in any one unit. Awaiting the result waits while the outbox is full; not
        awaiting it is fine, too, and a sync tool has nothing to await.

        Progress MUST increase (2025-11-25, Progress): a value that is not above the last one is dropped
        silently, as is one that no JSON number can hold. Nothing is sent when the client did not ask for
        progress. A report that still waits to be sent may be replaced by a newer one.

        Raises:
            CallCancelled: the call is over.
        """
        if self.progress_token is None:
            return _DONE
        if type(progress) not in _NUMBERS:
            progress = float(progress)
        # False for NaN, too.
        if not self._last_progress < progress < _LIMIT:
            return _DONE
        self._last_progress = progress
        params: dict[str, Any] = {"progressToken": self.progress_token, "progress": progress}
        if total is not None:
            if type(total) not in _NUMBERS:
                total = float(total)
            if -_LIMIT < total < _LIMIT:
                params["total"] = total
        if message is not None:
            params["message"] = str(message)
        return self._outlet.emit(
            {"jsonrpc": "2.0", "method": "notifications/progress", "params": params}, newest_wins=True
        )

    def log(self, level: str, data: Any, *, logger: str | None = None) -> Awaitable[None]:
        """Send a log message to the client, unless it wants only more severe ones.

        ``level`` is ``debug``, ``info``, ``notice``, ``warning``, ``error``, ``critical``, ``alert`` or
        ``emergency``. ``data`` is a string or anything with a JSON form; it MUST NOT hold secrets.

        Raises:
            ValueError: an unknown level, or data without a JSON form.
            CallCancelled: the call is over.
        """
        severity = SEVERITY.get(level)
        if severity is None:
            raise ValueError(f"unknown log level {level!r}; use one of {', '.join(SEVERITY)}")
        if severity < SEVERITY[self._outlet.log_level]:
            return _DONE
        params = {"level": level, "data": content.plain(data)}
        if logger is not None:
            params["logger"] = logger
        return self._outlet.emit(jsonrpc.notification("notifications/message", params))

    def debug(self, data: Any, *, logger: str | None = None) -> Awaitable[None]:
        """Log details for developers."""
        return self.log("debug", data, logger=logger)

    def info(self, data: Any, *, logger: str | None = None) -> Awaitable[None]:
        """Log what happens."""
        return self.log("info", data, logger=logger)

    def notice(self, data: Any, *, logger: str | None = None) -> Awaitable[None]:
        """Log what is normal and worth a look."""
        return self.log("notice", data, logger=logger)

    def warning(self, data: Any, *, logger: str | None = None) -> Awaitable[None]:
        """Log what may become a problem."""
        return self.log("warning", data, logger=logger)

    def error(self, data: Any, *, logger: str | None = None) -> Awaitable[None]:
        """Log what failed."""
        return self.log("error", data, logger=logger)

    def critical(self, data: Any, *, logger: str | None = None) -> Awaitable[None]:
        """Log that a part does not work."""
        return self.log("critical", data, logger=logger)

    def alert(self, data: Any, *, logger: str | None = None) -> Awaitable[None]:
        """Log what must be acted on at once."""
        return self.log("alert", data, logger=logger)

    def emergency(self, data: Any, *, logger: str | None = None) -> Awaitable[None]:
        """Log that nothing works."""
        return self.log("emergency", data, logger=logger)

    def _form(self, message: str, schema: type[elicitation.Model] | dict[str, Any]) -> dict[str, Any]:
        return elicitation.params(message, schema, self._features, self.client_capabilities)

    def _page(self, asked: url_elicitation.UrlElicitation) -> dict[str, Any]:
        return url_elicitation.params(asked, self._features, self.client_capabilities)

    def _sample(self, asked: Any, options: dict[str, Any]) -> dict[str, Any]:
        return sampling.params(asked, options, self._features, self.client_capabilities)


class Context(_BaseContext):
    """The context of an async tool."""

    __slots__ = ()

    @overload
    async def elicit(
        self, message: str, schema: type[elicitation.Model]
    ) -> elicitation.ElicitResult[elicitation.Model]: ...

    @overload
    async def elicit(self, message: str, schema: dict[str, Any]) -> elicitation.ElicitResult[dict[str, Any]]: ...

    async def elicit(self, message: str, schema: Any) -> elicitation.ElicitResult[Any]:
        """Ask the user to fill in a form, and wait for it.

        ``schema`` is a pydantic model with flat members (strings, numbers, booleans, choices of strings, lists of
        such choices), or a JSON schema like that. Never ask for passwords or keys (2025-11-25, Elicitation).

        Raises:
            TypeError: the schema is not flat.
            AskRefused: the client cannot be asked.
            AskTimeout: nobody answered in time.
            AskError: the answer does not fit the form.
        """
        return elicitation.read(await self._outlet.ask(elicitation.METHOD, self._form(message, schema)), schema)

    async def elicit_url(
        self, message: str, url: str, elicitation_id: str | None = None
    ) -> elicitation.ElicitResult[None]:
        """Ask the user to visit a page, for what must not pass through the client, and wait until they agree.

        That they agreed does not mean that they have finished there: wait for that by means of your own, and then
        send :meth:`notify_elicitation_complete`. Give an ``elicitation_id`` to tell such requests apart.

        Raises:
            ValueError: no absolute URL.
            AskRefused: the client cannot be asked.
            AskTimeout: nobody answered in time.
            AskError: the answer cannot be read.
        """
        asked = url_elicitation.UrlElicitation(message, url, elicitation_id or url_elicitation.new_id())
        return url_elicitation.read(await self._outlet.ask(elicitation.METHOD, self._page(asked)))

    @overload
    async def sample(
        self,
        asked: messages.Like | Sequence[messages.Like],
        *,
        tools: None = None,
        **options: Unpack[sampling.Options],
    ) -> mcp_types.CreateMessageResult: ...

    @overload
    async def sample(
        self,
        asked: messages.Like | Sequence[messages.Like],
        *,
        tools: Sequence[mcp_types.Tool | dict[str, Any]],
        **options: Unpack[sampling.Options],
    ) -> mcp_types.CreateMessageResultWithTools: ...

    async def sample(self, asked: Any, *, tools: Any = None, **options: Any) -> Any:
        """Have the client's model write a message, and wait for it.

        ``asked`` is a text, a :class:`UserMessage`, an :class:`AssistantMessage`, or a list of them. The options are
        those of :class:`sampling.Options`; ``max_tokens`` is required. With ``tools`` the model may answer that it
        wants to use some.

        Raises:
            TypeError: an unknown option, or something that is no message.
            ValueError: an option or a message is malformed.
            AskRefused: the client cannot be asked, or knows no tools there.
            AskTimeout: nobody answered in time.
            AskError: the client declined, or its answer cannot be read.
        """
        result = await self._outlet.ask(sampling.METHOD, self._sample(asked, {**options, "tools": tools}))
        return sampling.read(result) if tools is None else sampling.read_with_tools(result)

    async def list_roots(self) -> list[mcp_types.Root]:
        """Return the folders that the user lets servers work in.

        Raises:
            AskRefused: the client cannot be asked.
            AskTimeout: nobody answered in time.
            AskError: the answer cannot be read.
        """
        return roots.read(await self._outlet.ask(roots.METHOD, roots.params(self.client_capabilities)))

    def to_sync(self) -> SyncContext:
        """Return the same context for a sync tool."""
        return SyncContext(
            server=self.server,
            revision=self.revision,
            outlet=self._outlet,
            progress_token=self.progress_token,
            client_capabilities=self.client_capabilities,
            principal=self.principal,
            user=self.user,
            session=self.session,
            request_headers=self.request_headers,
            request_id=self.request_id,
            gate=self.gate,
            transaction=self.transaction,
            progress=self._last_progress,
        )


class SyncContext(_BaseContext):
    """The context of a sync tool, which runs in a thread: asking blocks that thread."""

    __slots__ = ()

    @overload
    def elicit(self, message: str, schema: type[elicitation.Model]) -> elicitation.ElicitResult[elicitation.Model]: ...

    @overload
    def elicit(self, message: str, schema: dict[str, Any]) -> elicitation.ElicitResult[dict[str, Any]]: ...

    def elicit(self, message: str, schema: Any) -> elicitation.ElicitResult[Any]:
        """Ask the user to fill in a form, and wait for it; as :meth:`Context.elicit`."""
        return elicitation.read(self._outlet.ask_blocking(elicitation.METHOD, self._form(message, schema)), schema)

    def elicit_url(self, message: str, url: str, elicitation_id: str | None = None) -> elicitation.ElicitResult[None]:
        """Ask the user to visit a page, and wait until they agree; as :meth:`Context.elicit_url`."""
        asked = url_elicitation.UrlElicitation(message, url, elicitation_id or url_elicitation.new_id())
        return url_elicitation.read(self._outlet.ask_blocking(elicitation.METHOD, self._page(asked)))

    @overload
    def sample(
        self,
        asked: messages.Like | Sequence[messages.Like],
        *,
        tools: None = None,
        **options: Unpack[sampling.Options],
    ) -> mcp_types.CreateMessageResult: ...

    @overload
    def sample(
        self,
        asked: messages.Like | Sequence[messages.Like],
        *,
        tools: Sequence[mcp_types.Tool | dict[str, Any]],
        **options: Unpack[sampling.Options],
    ) -> mcp_types.CreateMessageResultWithTools: ...

    def sample(self, asked: Any, *, tools: Any = None, **options: Any) -> Any:
        """Have the client's model write a message, and wait for it; as :meth:`Context.sample`."""
        result = self._outlet.ask_blocking(sampling.METHOD, self._sample(asked, {**options, "tools": tools}))
        return sampling.read(result) if tools is None else sampling.read_with_tools(result)

    def list_roots(self) -> list[mcp_types.Root]:
        """Return the folders that the user lets servers work in; as :meth:`Context.list_roots`."""
        return roots.read(self._outlet.ask_blocking(roots.METHOD, roots.params(self.client_capabilities)))
