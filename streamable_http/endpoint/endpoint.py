"""The endpoint: one request in, one response out, whatever the shell."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, Final

from streamable_http import conf, exceptions, ids, signals
from streamable_http.delivery import appender, committer, engine, log, ring
from streamable_http.endpoint import (
    asks,
    calls,
    exchange,
    hosts,
    principals,
    records,
    reruns,
    resuming,
    sessions,
    streams,
    wishes,
)
from streamable_http.endpoint.resuming import Resumption
from streamable_http.models import StreamState
from streamable_http.protocol import cors, cursors, http, jsonrpc, revisions, server, sse
from streamable_http.server import MCPServer
from streamable_http.stores import base

logger = logging.getLogger(__name__)

SSE_HEADERS: Final = {
    http.CONTENT_TYPE: http.EVENT_STREAM,
    "cache-control": "no-cache, no-transform",
    # nginx holds back what it proxies otherwise.
    "x-accel-buffering": "no",
}
JSON_HEADERS: Final = {http.CONTENT_TYPE: http.JSON}
"""Shared by all responses; nobody changes them."""


class Endpoint:
    """Serves one :class:`~streamable_http.server.MCPServer` to one kind of callers."""

    def __init__(
        self,
        mcp_server: MCPServer,
        authenticator: principals.Authenticator,
        gate: principals.MakeGate = principals.open_gate,
        *,
        one_shot: bool = False,
    ) -> None:
        """``one_shot``: whatever the settings say, serve no sessions and answer by JSON, for a shell that cannot.

        ``gate`` makes what decides about single tools, resources and prompts.
        """
        self._gate = gate
        self._one_shot = one_shot
        self._server = mcp_server
        self._authenticator = authenticator
        self._sessions = sessions.Sessions(mcp_server.name)

    async def handle(self, request: http.Request) -> http.Response:
        """Answer a request. Never raises; every error becomes a response here and nowhere else."""
        policy = self._policy()
        return cors.expose(request, await self._answer(request, policy), policy.allowed_origins)

    async def _answer(self, request: http.Request, policy: server.Policy) -> http.Response:
        # Each error is answered where it is caught. A variable of this frame that kept it would close a cycle through
        # its traceback, and all that the request brought would wait for the garbage collector.
        try:
            return await self._handle(request, policy)
        except exceptions.ProtocolError as error:
            return _refusal(request, policy, error)
        except (exceptions.StoreUnavailable, exceptions.StreamLost) as error:
            logger.warning("a request was refused: %s", error)
            return _refusal(request, policy, exceptions.Unavailable(committer.UNAVAILABLE))
        except Exception:
            logger.exception("a request failed")
            return _refusal(request, policy, _Failure())

    def refuse(self, request: http.Request, problem: exceptions.ProtocolError) -> http.Response:
        """Answer a request whose body its shell could not read."""
        policy = self._policy()
        response = server.refuse(problem, facts=_facts(request, policy.mode), request_id=None)
        return cors.expose(request, response, policy.allowed_origins)

    def _policy(self) -> server.Policy:
        settings = conf.settings
        mode = revisions.Mode.SESSIONLESS if self._one_shot else settings.MODE
        return _policy(mode, settings.MAX_JSON_DEPTH, settings.MAX_BATCH, settings.ALLOWED_ORIGINS)

    async def _handle(self, request: http.Request, policy: server.Policy) -> http.Response:
        hosts.require_host(request)
        methods = server.METHODS[policy.mode]
        if request.method not in methods:
            # Before anybody is authenticated: a preflight has no credentials (Fetch, 3.3.5).
            return cors.preflight(request, methods, policy.allowed_origins)
        principal = await self._authenticator.authenticate(request)
        admission = server.admit(request, policy)
        core = engine.current()
        if not core.is_started:
            await core.start()
        if policy.mode is revisions.Mode.SESSIONS:
            core.reruns[self._server.name] = self.rerun
        session = None
        if admission.session_id is not None:
            session = await self._sessions.find(core, admission.session_id, principal)
        revision = session.revision if session is not None else admission.revision or revisions.ASSUMED
        call = calls.Call(core, request, admission, principal, revisions.FACTS[revision, policy.mode], session)
        if core.is_draining:
            _require_short(call)
        # No wait from here to the log: what begins before the drain is waited for there.
        return await self._HTTP_METHODS[request.method](self, call)

    # POST

    async def _post(self, call: calls.Call) -> http.Response:
        message = call.admission.message
        assert message is not None
        return await self._MESSAGES[type(message)](self, call, message)

    async def _request(self, call: calls.Call, request: jsonrpc.Request) -> http.Response:
        if call.admission.opens_session:
            return await self._initialize(call, request)
        if self._server.runs_user_code(request):
            _require_capacity(call.core)
            call.core.log.require_up()
            return await (self._call_alone(call, request) if call.session is None else self._call(call, request))
        if call.session is not None:
            await self._sessions.require_open(call.core, call.session)
        self._record(call, jsonrpc.request(request))
        return _answered(call, await self._answer_at_once(call, request))

    async def _initialize(self, call: calls.Call, request: jsonrpc.Request) -> http.Response:
        if call.session is not None:
            await self._sessions.require_open(call.core, call.session)
            raise exceptions.InvalidRequest("this session is initialized already")
        revision = server.negotiate(request)
        result = self._server.initialize(revision=revision, listens=call.facts.listens)
        body = jsonrpc.dumps(jsonrpc.result(request.id, result))
        if call.facts.mode is revisions.Mode.SESSIONLESS:
            self._record(call, jsonrpc.request(request))
            return _answered(call, body)
        secret, _ = await self._sessions.open(
            call.core,
            call.principal,
            revision=revision,
            params=request.params,
            record=lambda session_id: (
                _make_record(call, jsonrpc.request(request), session_id=session_id)
                if conf.settings.HISTORY == "all"
                else None
            ),
        )
        response = _answered(call, body)
        response.headers = {**response.headers, http.SESSION_ID: secret}
        return response

    async def _answer_at_once(self, call: calls.Call, request: jsonrpc.Request) -> bytes:
        """Return the response to a request that runs no user code."""
        running = self._exchange(call, request)
        if request.method in wishes.ANSWERS:
            return await wishes.answer(call, running.make_context(), request)
        return await running.answer()

    async def _notification(self, call: calls.Call, notification: jsonrpc.Notification) -> http.Response:
        if call.session is not None:
            await self._sessions.require_open(call.core, call.session)
        self._record(call, jsonrpc.notification(notification.method, notification.params))
        if notification.method == CANCELLED and call.session is not None:
            await self._cancel(call, call.session, notification.params.get("requestId"))
        return http.Response(202)

    async def _cancel(self, call: calls.Call, session: base.SessionFacts, request_id: Any) -> None:
        # Unknown and finished ones are ignored (2025-11-25, Cancellation).
        running = jsonrpc.dumps(request_id).decode()
        stream_id = await call.core.command(call.core.store.cancel, session.id, running)
        if stream_id is not None:
            call.core.end_stream(stream_id)
        for unlogged in call.core.rings:
            if (unlogged.session_id, unlogged.request_id) == (session.id, running):
                unlogged.fail(exceptions.CallCancelled())

    async def _response(self, call: calls.Call, response: jsonrpc.Response) -> http.Response:
        if call.session is not None:
            await self._sessions.require_open(call.core, call.session)
            self._record(call, _reply(response))
            await asks.answer(call.core, call.session, response)
        return http.Response(202)

    async def _batch(self, call: calls.Call, batch: jsonrpc.Batch) -> http.Response:
        """Take each message of a batch; its calls run side by side.

        They cannot be resumed or asked anything: clients that want either send single messages.
        """
        server.require_batches(call.facts)
        requests = server.requests_of(batch)
        if call.session is not None:
            await self._sessions.require_open(call.core, call.session)
            _require_room(call.core, call.session, sum(map(self._server.runs_user_code, requests)))
        _require_capacity(call.core, len(requests))
        call.core.log.require_up()
        for message in batch.messages:
            if not isinstance(message, jsonrpc.Request):
                await self._MESSAGES[type(message)](self, call, message)
        if not requests:
            return http.Response(202)
        responses = await asyncio.gather(*(self._answer_in_batch(call, request) for request in requests))
        if call.admission.acceptable.json:
            return http.Response(200, JSON_HEADERS, b"[%b]" % b",".join(responses))
        return http.Response(200, SSE_HEADERS, sse.encode_unidentified([response.decode() for response in responses]))

    async def _answer_in_batch(self, call: calls.Call, request: jsonrpc.Request) -> bytes:
        """Return the response to one request of a batch, an error as well as a result."""
        try:
            if not self._server.runs_user_code(request):
                self._record(call, jsonrpc.request(request))
                return await self._answer_at_once(call, request)
            stream = self._start_alone(call, request, can_ask=False)
            return await streams.answer_of(stream, idle_seconds=conf.settings.KEEP_ALIVE_SECONDS)
        except exceptions.ProtocolError as error:
            return jsonrpc.dumps(jsonrpc.error(request.id, error))

    _MESSAGES: Final[dict[type, Callable[..., Awaitable[http.Response]]]] = {
        jsonrpc.Request: _request,
        jsonrpc.Notification: _notification,
        jsonrpc.Response: _response,
        jsonrpc.Batch: _batch,
    }

    # Calls of user code

    async def _call(self, call: calls.Call, request: jsonrpc.Request) -> http.Response:
        """Run a call in a session: its stream is in the log."""
        by_sse = call.admission.acceptable.event_stream and not conf.settings.JSON_ONLY
        opened = await self._open(call, request, by_sse)
        whole = call.core.follows.take_whole(opened.id)
        if by_sse and whole is not None:
            # Answered with the opening commit: one body, and nothing to wait or to watch for.
            return http.Response(200, SSE_HEADERS, streams.whole(call.facts, opened.id, whole))
        if by_sse:
            stream = self._followed(call, opened.id, 0, opened.follower)
            return http.Response(200, SSE_HEADERS, stream=stream)
        pages = call.core.follows.follow(opened.id, 0, follower=opened.follower)
        try:
            return http.Response(200, JSON_HEADERS, await streams.final(pages))
        except exceptions.StoreError as error:
            # The call has begun: an HTTP error would say that it may be sent again.
            logger.warning("the answer of a call was lost: %s", error)
            lost = exceptions.CallFailed(exceptions.WORKER_LOST, LOST, data={"retryable": False})
            return http.Response(200, JSON_HEADERS, jsonrpc.dumps(jsonrpc.error(request.id, lost)))

    async def _open(self, call: calls.Call, request: jsonrpc.Request, by_sse: bool) -> appender.Appender:
        """Make the opening commit, and have the user's code run after it, or beside it where that is harmless."""
        core = call.core
        running = self._exchange(call, request, can_ask=by_sse)
        record = _make_record(call, jsonrpc.request(request), session_id=None)
        stream_id = ids.new()
        opening = exchange.opening(
            core,
            self._server,
            request,
            session=call.session,
            # The connection that reads a stream from the beginning is known by the stream's own id.
            follower=stream_id,
            record=record,
            # Whoever waits for JSON cannot come again for an answer that comes later.
            keeps_arguments=by_sse and call.principal.is_recallable and self._server.may_rerun(request),
        )
        assert call.session is not None
        starts_early = self._server.may_start_early(request)
        # By callback: the call begins even if this connection is gone by then.
        opened = appender.Appender(
            core.log,
            stream_id,
            opening,
            on_opened=None if starts_early else lambda: running.start(opened),
            on_failure=running.give_up,
        )
        opened.log_level = core.log_level(call.session.id)
        if starts_early:
            # Behind the call's first step: one that answers at once then has its answer in the opening commit.
            running.start(opened)
            core.loop.call_soon(opened.open)
        else:
            opened.open()
        await opened.opened
        core.note_log_level(call.session.id, opened.log_level)
        return opened

    async def rerun(self, core: engine.Engine, orphan: base.Orphan) -> None:
        """Run a call again whose worker died; where that cannot be, it ends like any other of that worker."""
        try:
            running = await self._recalled(core, orphan)
        except Exception:
            logger.exception("a call cannot run again")
            running = None
        if running is None:
            reruns.lose(core, orphan)
        else:
            running.start(appender.Appender.of_orphan(core.log, orphan, on_failure=running.give_up))

    async def _recalled(self, core: engine.Engine, orphan: base.Orphan) -> exchange.Exchange | None:
        call = await reruns.recall(core, orphan, self._authenticator, self._policy())
        request = call.admission.message if call is not None else None
        if call is None or not isinstance(request, jsonrpc.Request) or not self._server.may_rerun(request):
            return None
        return self._exchange(call, request)

    async def resend(
        self,
        request: http.Request,
        principal: principals.Principal,
        resending: calls.Resending,
        *,
        revision: str,
        limit_seconds: float,
    ) -> bytes:
        """Run a recorded call again for somebody who looks on; the response as JSON, once it is recorded, too.

        It has no session, so that nobody can be asked anything. After ``limit_seconds`` it is cancelled: there is no
        client that might come again for the answer.

        Raises:
            ProtocolError: it is not admitted, or this worker has no room for it.
            CallFailed: it was cancelled.
            CallCancelled: it took too long.
        """
        core = engine.current()
        if not core.is_started:
            await core.start()
        if core.is_draining:
            raise exceptions.WorkerStopping(closes=False)
        _require_capacity(core)
        core.log.require_up()
        admission = server.readmit(request, self._policy(), revision=revision)
        facts = revisions.FACTS[revision, revisions.Mode.SESSIONLESS]
        call = calls.Call(core, request, admission, principal, facts, None, resending=resending)
        message = admission.message
        if not isinstance(message, jsonrpc.Request) or not self._server.runs_user_code(message):
            raise exceptions.InvalidRequest(
                "only a request that runs a tool, a prompt or a resource can be sent again"
            )
        stream = self._start_alone(call, message, can_ask=False)
        is_late = False

        def cancel() -> None:
            nonlocal is_late
            is_late = not stream.is_over
            stream.fail(exceptions.CallCancelled())

        timer = core.loop.call_later(limit_seconds, cancel)
        try:
            response = await streams.answer_of(stream, idle_seconds=conf.settings.KEEP_ALIVE_SECONDS)
        except exceptions.CallFailed:
            await core.log.record_now()
            if is_late:
                raise exceptions.CallCancelled from None
            raise
        finally:
            timer.cancel()
        await core.log.record_now()
        return response

    async def _call_alone(self, call: calls.Call, request: jsonrpc.Request) -> http.Response:
        """Run a call without a session: JSON, unless an event or the keep-alive interval comes before the result."""
        stream = self._start_alone(call, request)
        idle_seconds = conf.settings.KEEP_ALIVE_SECONDS
        if not call.admission.acceptable.event_stream or conf.settings.JSON_ONLY or self._one_shot:
            return http.Response(200, JSON_HEADERS, await streams.answer_of(stream, idle_seconds=idle_seconds))
        try:
            first = await stream.page(idle_seconds)
        except asyncio.CancelledError:
            stream.abandon()
            raise
        if len(first) == 1 and stream.is_over and first[0].sequence == 1:
            return _answered(call, first[0].payload.encode())
        return http.Response(200, SSE_HEADERS, stream=streams.alone(stream, first, idle_seconds=idle_seconds))

    def _start_alone(self, call: calls.Call, request: jsonrpc.Request, *, can_ask: bool = True) -> ring.Ring:
        """Run a call whose stream cannot be resumed."""
        running = self._exchange(call, request, can_ask=can_ask)
        stream = ring.Ring(
            session_id=call.session.id if call.session is not None else None,
            request_id=jsonrpc.dumps(request.id).decode(),
            on_failure=running.give_up,
            on_end=self._recorder(call, request),
        )
        running.start(stream)
        return stream

    # GET and DELETE

    async def _get(self, call: calls.Call) -> http.Response:
        session = call.session
        assert session is not None
        await self._sessions.require_open(call.core, session)
        core = call.core
        cursor = call.admission.cursor
        if cursor is None:
            cursor = cursors.Cursor(session.id, await core.read(core.store.handed, session.id))
        found = await core.read(core.store.find_stream, session.id, cursor.stream_id)
        if found is None:
            raise exceptions.InvalidCursor
        page, request_id = found
        resumption = resuming.decide(page, cursor.sequence, is_listening=not request_id)
        if resumption is Resumption.INVALID:
            raise exceptions.InvalidCursor
        if call.admission.cursor is not None and cursor.stream_id == session.id:
            streams.note_read(core, session, cursor.sequence)
        if resumption is Resumption.ENDED:
            return http.Response(204)
        headers = SSE_HEADERS
        if resumption in (Resumption.TRIMMED_CALL, Resumption.TRIMMED_LISTENING):
            headers = {**SSE_HEADERS, http.RECOVERED: "false"}
        if resumption is Resumption.TRIMMED_CALL:
            return http.Response(200, headers, stream=streams.trimmed(request_id, page.earliest))
        follower = ids.new()
        if not await core.command(core.store.take, cursor.stream_id, follower):
            raise exceptions.TakenTooOften(retry_after_seconds=int(base.TAKEOVER_WINDOW_SECONDS))
        core.wake_stream(cursor.stream_id)
        self._record_connection(call)
        core.announce(
            signals.stream_followed, session_id=session.id, stream_id=cursor.stream_id, after=cursor.sequence
        )
        return http.Response(200, headers, stream=self._followed(call, *cursor, follower))

    async def _delete(self, call: calls.Call) -> http.Response:
        assert call.session is not None
        await self._sessions.end(call.core, call.session)
        self._record_connection(call)
        return http.Response(204)

    _HTTP_METHODS: Final[dict[str, Callable[..., Awaitable[http.Response]]]] = {
        "POST": _post,
        "GET": _get,
        "DELETE": _delete,
    }

    def _followed(
        self, call: calls.Call, stream_id: int, after: int, follower: int | None
    ) -> AsyncGenerator[bytes, None]:
        assert call.session is not None
        return streams.followed(
            call.core,
            call.session,
            call.facts,
            mcp_server=self._server,
            stream_id=stream_id,
            after=after,
            follower=follower,
        )

    def _exchange(self, call: calls.Call, request: jsonrpc.Request, *, can_ask: bool = True) -> exchange.Exchange:
        return exchange.Exchange(
            call, self._server, request, gate=self._gate(call.request, call.principal), can_ask=can_ask
        )

    # History

    def _record(self, call: calls.Call, message: dict[str, Any]) -> None:
        """Have a message that came in recorded behind."""
        if conf.settings.HISTORY != "all":
            return
        session_id = call.session.id if call.session is not None else None
        # Made now, so that it tells when the message came, and not when there was time for it.
        make = functools.partial(_make_record, call, message, session_id=session_id, record_id=ids.new())
        call.core.log.record(lambda: log.Recorded(make(), None), len(call.request.body))

    def _record_connection(self, call: calls.Call) -> None:
        """Have a GET or DELETE recorded behind. Polls are none: they come twice a second, and tell nothing."""
        is_poll = conf.settings.MAX_CONNECTION_SECONDS is not None and call.facts.may_close_early
        if conf.settings.HISTORY != "all" or (is_poll and call.request.method == "GET"):
            return
        session_id = call.session.id if call.session is not None else None
        make = functools.partial(
            records.connection, call.request, session_id=session_id, record_id=ids.new(), principal=call.principal
        )
        call.core.log.record(lambda: log.Recorded(make(), None), 0)

    def _recorder(self, call: calls.Call, request: jsonrpc.Request) -> ring.OnEnd | None:
        """Return what records an exchange that cannot be resumed, once it has ended."""
        resending = call.resending
        if conf.settings.HISTORY != "all" and resending is None:
            return None

        def make(transcript: ring.Transcript, state: StreamState, ending: base.Ending) -> log.Recorded:
            record = _make_record(call, jsonrpc.request(request), session_id=None)
            started = exchange.opening(
                call.core,
                self._server,
                request,
                session=None,
                follower=None,
                record=record,
                resent_from=resending.resent_from if resending is not None else None,
            )
            stream_id = resending.stream_id if resending is not None else ids.new()
            return log.Recorded(None, records.stream(stream_id, started, transcript, state, ending))

        def record(transcript: ring.Transcript, state: StreamState, ending: base.Ending) -> None:
            size_bytes = len(call.request.body) + sum(map(len, transcript.messages))
            call.core.log.record(functools.partial(make, transcript, state, ending), size_bytes)

        return record


CANCELLED: Final = "notifications/cancelled"

LOST: Final = "the answer of this call was lost; whether the call took effect is not known"


class _Failure(exceptions.InternalError):
    """A fault of ours before there was a call."""

    http_status = 500


def _require_short(call: calls.Call) -> None:
    """Refuse what begins something at a worker that is about to end; what others wait for still gets through.

    Raises:
        WorkerStopping: another worker, or the next one, may have it.
    """
    message = call.admission.message
    parts = message.messages if isinstance(message, jsonrpc.Batch) else [message]
    if call.request.method == "GET" or any(isinstance(part, jsonrpc.Request) for part in parts):
        raise exceptions.WorkerStopping(closes=call.request.can_be_closed)


def _require_capacity(core: engine.Engine, calls: int = 1) -> None:
    """Refuse calls beyond what this worker may run; another one may have room."""
    if len(core.running) + calls > conf.settings.MAX_CALLS:
        raise exceptions.Unavailable("this worker runs as many calls as it may", retry_after_seconds=1)


def _require_room(core: engine.Engine, session: base.SessionFacts, calls: int) -> None:
    """Refuse a batch beyond what a session may run at the same time; what is in the log, its opening counts."""
    running = sum(1 for unlogged in core.rings if unlogged.session_id == session.id)
    if running + calls > conf.settings.MAX_OPEN_STREAMS:
        raise exceptions.TooManyRequests("too many open streams in this session", retry_after_seconds=1)


def _answered(call: calls.Call, body: bytes) -> http.Response:
    """Return a response that is there already: JSON, unless the client takes events alone."""
    if call.admission.acceptable.json or conf.settings.JSON_ONLY:
        return http.Response(200, JSON_HEADERS, body)
    return http.Response(200, SSE_HEADERS, sse.encode_unidentified([body.decode()]))


@functools.lru_cache(maxsize=8)
def _policy(mode: str, max_depth: int, max_batch: int, allowed_origins: tuple[str, ...]) -> server.Policy:
    return server.Policy(
        mode=revisions.Mode(mode),
        max_depth=max_depth,
        max_batch=max_batch,
        allowed_origins=frozenset(allowed_origins),
    )


def _refusal(request: http.Request, policy: server.Policy, problem: exceptions.ProtocolError) -> http.Response:
    request_id = server.request_id_of(request, policy)
    return server.refuse(problem, facts=_facts(request, policy.mode), request_id=request_id)


def _facts(request: http.Request, mode: revisions.Mode) -> revisions.Facts:
    """Return the facts for an error before the session is known: what the header says, else what is assumed."""
    revision = request.headers.get(http.PROTOCOL_VERSION)
    return revisions.FACTS[revision if revision in revisions.HANDSHAKE else revisions.ASSUMED, mode]


def _make_record(
    call: calls.Call, message: dict[str, Any], *, session_id: int | None, record_id: int | None = None
) -> base.NewRecord:
    return records.make(call.request, message, session_id=session_id, principal=call.principal, record_id=record_id)


def _reply(response: jsonrpc.Response) -> dict[str, Any]:
    outcome = {"error": response.error} if response.error is not None else {"result": response.result}
    return {"jsonrpc": "2.0", "id": response.id, **outcome}
