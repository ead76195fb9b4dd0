"""What is told of each call: signals, a structured log record, and a span and a duration with OpenTelemetry.

The record goes to the logger ``streamable_http.calls`` at ``INFO``, its facts as attributes (``extra``), for a JSON
formatter to pick up. Nothing is made that nobody takes.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

from streamable_http import escaping, signals
from streamable_http.delivery import metrics
from streamable_http.endpoint import calls
from streamable_http.models import Outcome
from streamable_http.protocol import jsonrpc
from streamable_http.server import MCPServer
from streamable_http.stores import base

try:
    from opentelemetry import propagate, trace
except ImportError:  # an extra
    HAS_TRACES = False
else:
    HAS_TRACES = True

logger = logging.getLogger("streamable_http.calls")

RESULT: Final = Outcome.RESULT.value
TOOL_ERROR: Final = Outcome.TOOL_ERROR.value
ERROR: Final = Outcome.ERROR.value
CANCELLED: Final = "cancelled"
LOST: Final = "lost"
"""Outcomes of a call."""

_NO_SPAN: Final = contextlib.nullcontext()

RESERVED_CODES: Final = range(-32768, -31999)
"""Of JSON-RPC; a tool may use any others, so that these become one value of a metric's attribute."""

TRACE_FIELDS: Final = ("traceparent", "tracestate", "baggage")


class Observation:
    """One call as it is told of. Used on the event loop; without :meth:`start` nothing is, and one end counts."""

    __slots__ = ("_call", "_ended", "_request", "_server", "_span", "_started_at", "_stream_id", "ending")

    def __init__(self, call: calls.Call, server: MCPServer, request: jsonrpc.Request) -> None:
        self._call = call
        self._server = server
        self._request = request
        self._span: Any = None
        self._ended = True
        self._started_at = 0.0
        self._stream_id: int | None = None
        self.ending = base.UNKNOWN_ENDING
        """What the call came to, once :meth:`end` was told."""

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
        self.ending = base.Ending(outcome, duration_seconds * 1_000)
        if self._span is not None:
            self._end_span(outcome, error_code)
        instruments = metrics.instruments()
        if instruments is not None:
            instruments.operation_duration.record(duration_seconds, self._dimensions(outcome, error_code))
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
        return escaping.printable(name[:128]) if isinstance(name, str) else ""

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
            "jsonrpc.request.id": escaping.printable(str(self._request.id)),
        }
        if self._call.session is not None:
            # The public id: the other one is a secret.
            attributes["mcp.session.id"] = f"{self._call.session.id:x}"
        if self._call.is_rerun:
            attributes["streamable_http.rerun"] = True
        if self._request.method == "tools/call":
            attributes["gen_ai.tool.name"] = self.name
        return attributes

    def _dimensions(self, outcome: str, error_code: int | None) -> dict[str, Any]:
        """Return the attributes of a metric: what a client made up is none of them, or they would be without number.

        Methods are those that run user code, for no others are observed.
        """
        dimensions: dict[str, Any] = {
            "mcp.method.name": self._request.method,
            "mcp.protocol.version": self._call.facts.revision,
            "network.transport": "tcp",
            "network.protocol.name": "http",
        }
        name = self._request.params.get("name")
        if self._request.method == "tools/call":
            dimensions["gen_ai.operation.name"] = "execute_tool"
            if isinstance(name, str) and name in self._server.tools:
                dimensions["gen_ai.tool.name"] = name
        elif self._request.method == "prompts/get" and isinstance(name, str) and name in self._server.prompts:
            dimensions["gen_ai.prompt.name"] = name
        if error_code is not None:
            dimensions["error.type"] = str(error_code) if error_code in RESERVED_CODES else metrics.OTHER
        elif outcome != RESULT:
            dimensions["error.type"] = outcome
        return dimensions

    def _end_span(self, outcome: str, error_code: int | None) -> None:
        if outcome != RESULT:
            self._span.set_status(trace.Status(trace.StatusCode.ERROR))
            self._span.set_attribute("error.type", str(error_code) if error_code is not None else outcome)
        if error_code is not None:
            self._span.set_attribute("rpc.jsonrpc.error_code", error_code)
        self._span.end()


def _trace_context(params: dict[str, Any], headers: Mapping[str, str]) -> dict[str, str]:
    """Return the caller's trace: what ``_meta`` says (SEP-414), else what the headers say."""
    meta = params.get("_meta")
    source: Mapping[str, Any] = meta if isinstance(meta, dict) and "traceparent" in meta else headers
    return {field: source[field] for field in TRACE_FIELDS if isinstance(source.get(field), str)}
