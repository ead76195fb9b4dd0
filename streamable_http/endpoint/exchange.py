"""One call: user code runs as its own task, and what it emits goes to the call's stream.

The task belongs to the engine, not to the connection: in the handshake era a disconnect cancels nothing.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import functools
import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from django.db import transaction

from streamable_http import conf, exceptions, signals
from streamable_http.delivery import appender, engine
from streamable_http.endpoint import asks, calls, telemetry
from streamable_http.models import StreamState
from streamable_http.protocol import jsonrpc, revisions
from streamable_http.server import Context, MCPServer, context
from streamable_http.stores import base

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Exchange:
    """A call that runs. It is the outlet of its context."""

    def __init__(
        self,
        call: calls.Call,
        server: MCPServer,
        request: jsonrpc.Request,
        *,
        gate: context.Gate,
        can_ask: bool = True,
    ) -> None:
        """``can_ask``: whether the client sees the stream, so that it can be asked something there."""
        self._can_ask = can_ask and call.facts.asks
        self._may_close_early = call.facts.may_close_early
        self._core = call.core
        self._server = server
        self._request = request
        self._session = call.session
        self._task: asyncio.Task[None] | None = None
        self._sink: engine.Sink | None = None
        """``None`` for a request that is answered at once: then there is nothing to send but the answer."""

        self._asking: set[asyncio.Task[Any]] = set()
        self._observation = telemetry.Observation(call, server, request)
        self._call = call
        self._gate = gate

    def make_context(self) -> Context:
        """Return the context of the call.

        It is not kept here: it refers to this exchange, and with all that a request brought, up to its body, a cycle
        would wait for the garbage collector.
        """
        call, session = self._call, self._session
        return Context(
            server=self._server,
            revision=call.facts.revision,
            outlet=self,
            client_capabilities=session.capabilities if session is not None else None,
            principal=call.principal,
            user=call.principal.user,
            session=_info(session, call.facts) if session is not None else None,
            request_headers=call.request.headers.mapping,
            request_id=self._request.id,
            gate=self._gate,
            transaction=transaction.atomic,
            progress=call.progress,
        )

    def start(self, sink: engine.Sink) -> None:
        """Run the call; its messages go to ``sink``."""
        self._sink = sink
        self._observation.start(sink.id if isinstance(sink, appender.Appender) else None)
        self._task = self._core.loop.create_task(self._run())
        self._core.hold(self._task, sink, self.give_up)

    def give_up(self, error: exceptions.StreamableHTTPError) -> None:
        """Stop the call. Where its stream has not failed, or only for what was emitted, it still gets an answer."""
        if self._task is None or self._sink is None:
            # Refused before it began; whoever waits for the opening is told.
            return
        self._task.cancel()
        for asking in self._asking:
            # A tool's thread waits for it, which the task does not reach.
            asking.cancel()
        self._core.let_go(self._task, self._sink)
        if type(error) is exceptions.StoreError and isinstance(self._sink, appender.Appender):
            logger.error("a call ended, because the log cannot store what it emitted: %s", error)
            self._sink.reopen()
            self._end_with(exceptions.InternalError("the answer cannot be stored"))
        elif isinstance(error, appender.CallTooLong):
            self._end_with(exceptions.InternalError(str(error)))
        elif isinstance(error, appender.WorkerStopped):
            self._end_with(self._stopped(error))
        else:
            self._observation.end(
                telemetry.CANCELLED if isinstance(error, exceptions.CallCancelled) else telemetry.LOST
            )

    def _stopped(self, error: appender.WorkerStopped) -> exceptions.CallFailed:
        # What only reads, or may run twice, may be called again whatever it had done by now.
        is_harmless = self._server.may_start_early(self._request)
        reason = f"{error}" if is_harmless else f"{error}; whether the call took effect is not known"
        return exceptions.CallFailed(exceptions.WORKER_LOST, reason, data={"retryable": is_harmless})

    def _end_with(self, problem: exceptions.ProtocolError) -> None:
        self._observation.end(telemetry.ERROR, problem.code)
        assert self._sink is not None
        self._sink.end(self._error(problem), StreamState.ANSWERED, self._observation.ending)

    # What a context needs

    @property
    def log_level(self) -> str:
        """The session's minimum level."""
        return self._sink.log_level if self._sink is not None else "info"

    def emit(self, message: dict[str, Any], *, newest_wins: bool = False) -> Awaitable[None]:
        """Put a message into the stream's outbox; see :class:`~streamable_http.delivery.appender.Appender`."""
        if self._sink is None:
            return appender.READY
        return self._sink.emit(jsonrpc.dumps(message), newest_wins=newest_wins)

    async def ask(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """Ask the client something.

        Raises:
            AskError: one of its kinds.
        """
        if self._session is None or self._sink is None or not self._can_ask:
            raise exceptions.AskRefused("the client cannot be asked anything here: that needs a session and a stream")
        self._require_no_transaction()
        session_id = self._session.id
        self._core.announce(signals.ask_sent, session_id=session_id, method=method)
        asked_at = self._core.loop.time()
        is_error = True
        try:
            result = await asks.ask(self._core, self._session, self._emit_ask, method, params)
            is_error = False
        finally:
            self._core.announce(
                signals.ask_answered,
                session_id=session_id,
                method=method,
                duration_seconds=self._core.loop.time() - asked_at,
                is_error=is_error,
            )
        return result

    def ask_blocking(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """Ask the client something from a tool's thread.

        Raises:
            AskError: one of its kinds.
            CallCancelled: the call ended meanwhile.
        """
        self._require_no_transaction()
        asked = asyncio.run_coroutine_threadsafe(self._ask_for_thread(method, params), self._core.loop)
        try:
            return asked.result()
        except concurrent.futures.CancelledError:
            raise exceptions.CallCancelled from None

    async def _ask_for_thread(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        task = asyncio.current_task()
        assert task is not None
        self._asking.add(task)
        try:
            with self._core.blocked_thread():
                return await self.ask(method, params)
        finally:
            self._asking.discard(task)

    @property
    def is_over(self) -> bool:
        """Whether the call has ended, so that nothing it does counts any more."""
        return self._sink is not None and self._sink.is_over

    def close_connection(self) -> None:
        """End the HTTP answer where the client may poll for the rest; safe in any thread."""
        if self._may_close_early and isinstance(self._sink, appender.Appender):
            self._core.loop.call_soon_threadsafe(self._core.spawn, self._close_connection(self._sink))

    async def _close_connection(self, stream: appender.Appender) -> None:
        # Behind the commit of what was emitted before.
        await self._core.log.run(lambda: None)
        followed = self._core.follows.get(stream.id)
        if followed is not None:
            self._core.follows.close(stream.id, followed.follower or stream.follower)

    def _require_no_transaction(self) -> None:
        if self._core.log.must_not_wait():
            raise exceptions.AskRefused(
                "a question inside atomic() would hold the transaction, and on SQLite the whole database, until "
                "the user answers; ask before the transaction or after it"
            )

    def _emit_ask(self, payload: bytes, new: base.NewAsk) -> Awaitable[None]:
        assert self._sink is not None
        return self._sink.emit(payload, ask=new)

    # The run

    async def _run(self) -> None:
        assert self._sink is not None
        try:
            with self._observation.span():
                answer = await self.answer()
                self._sink.end(answer, StreamState.ANSWERED, self._observation.ending)
        except exceptions.CallCancelled:
            # Raised by the tool itself, or because the call is over.
            pass
        except asyncio.CancelledError:
            if self._core.is_ending and not self._sink.is_over:
                self.give_up(appender.WorkerStopped())
            raise
        finally:
            assert self._task is not None
            # Also where a tool cancelled its own task: a call that nobody stopped has an end.
            if self._core.let_go(self._task, self._sink) and not self._sink.is_over:
                self._end_with(exceptions.InternalError())

    async def answer(self) -> bytes:
        """Dispatch the request; the response as JSON, an error as well as a result.

        Raises:
            CallCancelled: nobody waits for an answer any more.
        """
        request = self._request
        try:
            result = await self._server.dispatch(request, self.make_context(), self._run_sync)
            body = jsonrpc.dumps(jsonrpc.result(request.id, result))
        except exceptions.ProtocolError as error:
            return self._failed(error)
        except exceptions.CallCancelled:
            raise
        except asyncio.CancelledError:
            # Somebody stops this task, or the tool awaited something of its own that was cancelled.
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            return self._failed(exceptions.InternalError())
        except Exception:
            logger.exception("the call %s failed", request.method)
            return self._failed(exceptions.InternalError())
        self._observation.end(telemetry.TOOL_ERROR if result.get("isError") else telemetry.RESULT)
        return body

    def _failed(self, error: exceptions.ProtocolError) -> bytes:
        self._observation.end(telemetry.ERROR, error.code)
        try:
            return self._error(error)
        except TypeError:
            logger.exception("the error of the call %s cannot be written as JSON", self._request.method)
            return self._error(exceptions.InternalError())

    def _error(self, error: exceptions.ProtocolError) -> bytes:
        return jsonrpc.dumps(jsonrpc.error(self._request.id, error))

    async def _run_sync(self, function: Callable[[], T]) -> T:
        copied = contextvars.copy_context()
        return await self._core.run_tool(functools.partial(copied.run, function))


def opening(
    core: engine.Engine,
    server: MCPServer,
    request: jsonrpc.Request,
    *,
    session: base.SessionFacts | None,
    follower: int | None,
    record: base.NewRecord | None,
    keeps_arguments: bool = False,
    resent_from: int | None = None,
) -> base.Opening:
    """Return how the stream of a call begins."""
    return base.Opening(
        session_id=session.id if session is not None else None,
        owner_id=core.lease.worker_id,
        follower=follower,
        request_id=jsonrpc.dumps(request.id).decode(),
        method=request.method,
        name=_name(server, request),
        arguments=jsonrpc.dumps(request.params).decode() if keeps_arguments else "",
        record=record if conf.settings.HISTORY != "off" or resent_from is not None else None,
        resent_from=resent_from,
    )


def _info(session: base.SessionFacts, facts: revisions.Facts) -> context.SessionInfo:
    return context.SessionInfo(
        id=f"{session.id:x}",
        client_info=session.client_info,
        capabilities=session.capabilities,
        revision=session.revision,
        mode=facts.mode.value,
    )


def _name(server: MCPServer, request: jsonrpc.Request) -> str:
    name = request.params.get("name")
    return name if isinstance(name, str) and name in server.tools else ""
