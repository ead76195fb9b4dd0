"""Recorded requests, sent to another server over Streamable HTTP."""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import httpx

from streamable_http import exceptions
from streamable_http.protocol import http, revisions, sse
from streamable_http.replay.recorded import Message

TIMEOUT_SECONDS: Final = 60.0

MAX_RETRY_SECONDS: Final = 5.0
"""Longest pause before a connection that was closed early is taken up again, whatever the server says."""

_USER: Final = re.compile(r"//[^/?#]*@")

MAX_ANSWER_BYTES: Final = 64 * 1024 * 1024
"""Of one connection; a server elsewhere must not fill our memory."""

CLIENT_INFO: Final = {"name": "mcp_replay", "version": "1"}

UNAUTHORIZED: Final = 401

Answer = Callable[[Message], Message]
"""Returns what a reply to an ask of the server consists of: ``result`` or ``error``."""


class TargetFailed(exceptions.StreamableHTTPError):
    """The other server cannot be talked to; the sentence says why."""


class Target:
    """One session at a server elsewhere. Use it as a context."""

    def __init__(
        self, url: str, *, headers: Mapping[str, str] | None = None, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> None:
        self.url = url
        self.shown_url = _without_user(url)
        """Without who logs in."""

        self.revision = ""
        """What the server speaks, as soon as the session is open."""

        self.session_id: str | None = None
        self.initialized: Message = {}
        """The response to ``initialize``."""

        self._timeout_seconds = timeout_seconds
        try:
            # The credentials are for this server alone, so that redirects are not followed.
            self.client = httpx.Client(headers=dict(headers or {}), timeout=timeout_seconds)
        except (ValueError, TypeError) as error:
            raise TargetFailed(f"a header cannot be sent: {error}") from error

    def __enter__(self) -> Target:
        return self

    def __exit__(self, *exception: object) -> None:
        try:
            self.close()
        finally:
            self.client.close()

    def open(
        self, *, revision: str = revisions.OFFERED, params: Mapping[str, Any] | None = None, request_id: Any = "open"
    ) -> None:
        """Open a session. ``params``: ``clientInfo`` and ``capabilities``, as the recorded client had them.

        Raises:
            TargetFailed: it cannot be opened.
        """
        request = {
            "jsonrpc": "2.0",
            "id": request_id,
            "method": "initialize",
            "params": {"clientInfo": CLIENT_INFO, "capabilities": {}, **(params or {}), "protocolVersion": revision},
        }
        [*_, self.initialized] = self.call(request)
        result = self.initialized.get("result")
        if not isinstance(result, dict) or not isinstance(result.get("protocolVersion"), str):
            raise TargetFailed(f"{self.shown_url} refuses to initialize: {_reason(self.initialized)}")
        self.revision = result["protocolVersion"]
        self._send({"jsonrpc": "2.0", "method": "notifications/initialized"})

    def call(self, request: Message, answer: Answer | None = None) -> list[Message]:
        """Send a request; what came back, the response last. Connections that the server closes early are resumed.

        Raises:
            TargetFailed: there was no response, or one to something else.
        """
        deadline = time.monotonic() + self._timeout_seconds
        messages: list[Message] = []
        cursor, retry_ms = self._exchange("POST", request, messages, answer, deadline)
        while not self._is_answered(messages, request):
            if not cursor:
                raise TargetFailed(f"{self.shown_url} ended the connection without an answer")
            pause_seconds = min((retry_ms or 0) / 1_000, MAX_RETRY_SECONDS)
            if time.monotonic() + pause_seconds > deadline:
                raise TargetFailed(f"{self.shown_url} did not answer within {self._timeout_seconds:g} s")
            time.sleep(pause_seconds)
            cursor, retry_ms = self._exchange("GET", request, messages, answer, deadline, cursor)
        return messages

    def close(self) -> None:
        """End the session, as far as there is one; a server that does not answer keeps nobody."""
        if self.session_id is None:
            return
        with contextlib.suppress(httpx.HTTPError):
            self.client.delete(self.url, headers=self._headers())
        self.session_id = None

    def _exchange(
        self,
        method: str,
        request: Message,
        messages: list[Message],
        answer: Answer | None,
        deadline: float,
        cursor: str = "",
    ) -> tuple[str, int | None]:
        """Read one connection into ``messages``; the cursor to come again with, and when."""
        with self.connected(method, None if cursor else request, cursor) as response:
            if request.get("method") == "initialize" and not cursor:
                self.session_id = response.headers.get(http.SESSION_ID)
            content_type = response.headers.get(http.CONTENT_TYPE, "").partition(";")[0].strip().lower()
            if content_type == http.JSON:
                message = self._message(_bounded(response))
                if response.is_error and "error" in message and message.get("id") is None:
                    # Refused before it was read (JSON-RPC 2.0, section 5: then the id MUST be null).
                    message["id"] = request.get("id")
                messages.append(message)
                return "", None
            if content_type != http.EVENT_STREAM:
                raise TargetFailed(
                    f"{self.shown_url} does not speak MCP: it answers with HTTP {response.status_code} and "
                    f"{content_type or 'nothing'}"
                )
            decoder = sse.Decoder()
            decoder.last_event_id = cursor
            for event in self._events(response, decoder, deadline):
                message = self._message(event.data.encode())
                messages.append(message)
                if "method" in message and "id" in message:
                    reply = answer(message) if answer is not None else NO_REPLY
                    self._send({"jsonrpc": "2.0", "id": message["id"], **reply})
                if self._is_answered(messages, request):
                    break
            return decoder.last_event_id, decoder.retry_ms

    def _events(self, response: httpx.Response, decoder: sse.Decoder, deadline: float) -> Iterator[sse.Event]:
        taken_bytes = 0
        for chunk in response.iter_bytes():
            taken_bytes += len(chunk)
            if taken_bytes > MAX_ANSWER_BYTES:
                raise TargetFailed(f"{self.shown_url} answers with more than {MAX_ANSWER_BYTES:,} bytes")
            if time.monotonic() > deadline:
                # Keep-alive comments come in time, and are no answer.
                raise TargetFailed(f"{self.shown_url} did not answer within {self._timeout_seconds:g} s")
            yield from (event for event in decoder.decode(chunk) if event.data)

    @contextlib.contextmanager
    def connected(self, method: str, message: Message | None = None, cursor: str = "") -> Iterator[httpx.Response]:
        """Give an answer whose body is not read yet.

        Raises:
            TargetFailed: there is none, or it says no without saying it in JSON-RPC.
        """
        headers = self._headers()
        if cursor:
            headers[http.LAST_EVENT_ID] = cursor
        content = None
        if message is not None:
            headers[http.CONTENT_TYPE] = http.JSON
            content = json.dumps(message).encode()
        try:
            with self.client.stream(method, self.url, headers=headers, content=content) as response:
                self._require_ok(response)
                yield response
        except httpx.TimeoutException as error:
            raise TargetFailed(f"{self.shown_url} did not answer within {self._timeout_seconds:g} s") from error
        except httpx.ConnectError as error:
            raise TargetFailed(f"cannot connect to {self.shown_url}: {error}") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise TargetFailed(
                f"the connection to {self.shown_url} failed: {str(error) or type(error).__name__}"
            ) from error

    def _require_ok(self, response: httpx.Response) -> None:
        status = response.status_code
        if status == UNAUTHORIZED:
            raise TargetFailed(f"{self.shown_url} wants credentials (HTTP 401); give --header or --token-env")
        if response.is_redirect:
            location = _without_user(response.headers.get("location", ""))
            raise TargetFailed(f"{self.shown_url} redirects to {location[:256]}; give that one")
        is_json = response.headers.get(http.CONTENT_TYPE, "").startswith(http.JSON)
        if status in (403, 405, 429) or (response.is_error and not is_json):
            raise TargetFailed(f"{self.shown_url} answers with HTTP {status} {response.reason_phrase}")

    def _send(self, message: Message) -> None:
        """Send what gets no answer."""
        with self.connected("POST", message) as response:
            if response.is_error:
                reason = _reason(self._message(_bounded(response)))
                raise TargetFailed(f"{self.shown_url} answers with HTTP {response.status_code}: {reason}")

    def _headers(self) -> dict[str, str]:
        headers = {"accept": f"{http.JSON}, {http.EVENT_STREAM}"}
        if self.session_id is not None:
            headers[http.SESSION_ID] = self.session_id
        if self.revision:
            headers[http.PROTOCOL_VERSION] = self.revision
        return headers

    def _is_answered(self, messages: list[Message], request: Message) -> bool:
        if not messages or "method" in messages[-1]:
            return False
        # It MUST be the same as that of the request (JSON-RPC 2.0, section 5).
        asked, answered = (json.dumps(message.get("id"), ensure_ascii=False) for message in (request, messages[-1]))
        if asked != answered:
            raise TargetFailed(
                f"{self.shown_url} answers {request.get('method')} with the id {answered[:64]}, "
                f"and was asked with {asked[:64]}"
            )
        return True

    def _message(self, body: bytes) -> Message:
        try:
            message = json.loads(body)
        except (ValueError, RecursionError):
            message = None
        if not isinstance(message, dict) or not message.keys() & {"method", "result", "error"}:
            raise TargetFailed(f"{self.shown_url} does not speak MCP: what it answers is no JSON-RPC message")
        return message


NO_REPLY: Final[Message] = {"error": {"code": -32603, "message": "no reply to this was recorded"}}


def _without_user(url: str) -> str:
    return _USER.sub("//", url)


def _bounded(response: httpx.Response) -> bytes:
    body = bytearray()
    for chunk in response.iter_bytes():
        body += chunk
        if len(body) > MAX_ANSWER_BYTES:
            raise TargetFailed(f"{_without_user(str(response.url))} answers with more than {MAX_ANSWER_BYTES:,} bytes")
    return bytes(body)


def _reason(message: Message) -> str:
    error = message.get("error")
    return str(error.get("message"))[:256] if isinstance(error, dict) else "no reason given"
