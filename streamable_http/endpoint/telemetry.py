"""What is told of each call: signals, one structured log record, and a span where OpenTelemetry is installed.

The record goes to the logger ``streamable_http.calls`` at ``INFO``, its facts as attributes (``extra``), for a JSON
formatter to pick up. Nothing is made that nobody takes.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

from streamable_http import signals
from streamable_http.endpoint import calls
from streamable_http.protocol import jsonrpc

try:
    from opentelemetry import propagate, trace
except ImportError:  # an extra
    HAS_TRACES = False
else:
    HAS_TRACES = True

logger = logging.getLogger("streamable_http.calls")

RESULT: Final = "result"
TOOL_ERROR: Final = "tool_error"
ERROR: Final = "error"
CANCELLED: Final = "cancelled"
LOST: Final = "lost"
"""Outcomes of a call."""

_NO_SPAN: Final = contextlib.nullcontext()

TRACE_FIELDS: Final = ("traceparent", "tracestate", "baggage")


class Observation:
    """One call as it is told of. Used on the event loop; without :meth:`start` nothing is, and one end counts."""

    __slots__ = ("_call", "_ended", "_request", "_span", "_started_at", "_stream_id")

    def __init__(self, call: calls.Call, request: jsonrpc.Request) -> None:
        self._call = call
        self._request = request
        self._span: Any = None
        self._ended = True
        self._started_at = 0.0
        self._stream_id: int | None = None

    def start(self, stream_id: int | None) -> None:
        """Note that the call begins, on a stream of the log where there is one."""
        self._stream_id = stream_id
        self._ended = False
        self._started_at = time.perf_counter()
        if self._call.is_rerun:
            logger.warning(
                "%s %s runs again on the stream %x, whose worker was lost", self._request.method, self.name, stream_id
            )
            self._call.core.announce(signals.call_rerun, **self._facts())
        if signals.call_started.receivers:
            self._call.core.announce(signals.call_started, **self._facts())

    def span(self) -> contextlib.AbstractContextManager[None]:
        """Have what the call does happen inside its span, whose parent is the caller's."""
        # Without a provider a span would be made, and would be nothing.
        if not HAS_TRACES or type(trace.get_tracer_provider()) is trace.ProxyTracerProvider:
            return _NO_SPAN
        return self._traced()

    @contextlib.contextmanager
    def _traced(self) -> Iterator[None]:
        tracer = trace.get_tracer("streamable_http")
        name = f"{self._request.method} {self.name}".rstrip()
        kind = trace.SpanKind.SERVER
        parent = propagate.extract(_trace_context(self._request.params, self._call.request.headers.mapping))
        with tracer.start_as_current_span(name, parent, kind, self._attributes(), end_on_exit=False) as self._span:
            yield

    def end(self, outcome: str, error_code: int | None = None) -> None:
        """Note how the call ended."""
        if self._ended:
            return
        self._ended = True
        duration_seconds = time.perf_counter() - self._started_at
        if self._span is not None:
            self._end_span(outcome, error_code)
        if not signals.call_ended.receivers and not logger.isEnabledFor(logging.INFO):
            return
        facts = {
            **self._facts(),
            "outcome": outcome,
            "duration_seconds": duration_seconds,
            "error_code": error_code,
        }
        self._call.core.announce(signals.call_ended, **facts)
        # "name" is an attribute of every log record already.
        extra = {f"mcp_{fact}": value for fact, value in facts.items()}
        logger.info(
            "%s %s: %s in %.1f ms", self._request.method, self.name, outcome, duration_seconds * 1_000, extra=extra
        )

    @property
    def name(self) -> str:
        """Of the tool or prompt, or the URI of the resource, fit to be printed; empty otherwise."""
        name = self._request.params.get("name", self._request.params.get("uri"))
        return _printable(name[:128]) if isinstance(name, str) else ""

    def _facts(self) -> dict[str, Any]:
        session = self._call.session
        return {
            "session_id": session.id if session is not None else None,
            "stream_id": self._stream_id,
            "method": self._request.method,
            "name": self.name,
            "principal": self._call.principal.key,
            "is_rerun": self._call.is_rerun,
        }

    def _attributes(self) -> dict[str, Any]:
        # As OpenTelemetry's semantic conventions for MCP name them.
        attributes: dict[str, Any] = {
            "mcp.method.name": self._request.method,
            "mcp.protocol.version": self._call.facts.revision,
            "jsonrpc.request.id": _printable(str(self._request.id)),
        }
        if self._call.session is not None:
            # The public id: the other one is a secret.
            attributes["mcp.session.id"] = f"{self._call.session.id:x}"
        if self._call.is_rerun:
            attributes["streamable_http.rerun"] = True
        if self._request.method == "tools/call":
            attributes["gen_ai.tool.name"] = self.name
        return attributes

    def _end_span(self, outcome: str, error_code: int | None) -> None:
        if outcome != RESULT:
            self._span.set_status(trace.Status(trace.StatusCode.ERROR))
            self._span.set_attribute("error.type", str(error_code) if error_code is not None else outcome)
        if error_code is not None:
            self._span.set_attribute("rpc.jsonrpc.error_code", error_code)
        self._span.end()


def _printable(text: str) -> str:
    """Return a client's text with what is not printable escaped: it must not write lines or colors of its own.

    Nor has a lone surrogate an encoding, which the log's file and the spans' exporter need.
    """
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def _trace_context(params: dict[str, Any], headers: Mapping[str, str]) -> dict[str, str]:
    """Return the caller's trace: what ``_meta`` says (SEP-414), else what the headers say."""
    meta = params.get("_meta")
    source: Mapping[str, Any] = meta if isinstance(meta, dict) and "traceparent" in meta else headers
    return {field: source[field] for field in TRACE_FIELDS if isinstance(source.get(field), str)}
