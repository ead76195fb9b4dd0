"""OpenTelemetry's metrics, where its API is installed and a meter provider is set; otherwise nothing is made.

Names and buckets are those of the semantic conventions for MCP (in development, as of 2026), and
``streamable_http.…`` for what these do not know. The values of attributes are few: of what a client may choose
freely nothing becomes one.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, Protocol

from streamable_http import ids
from streamable_http.models import SessionState
from streamable_http.stores import base

try:
    from opentelemetry import metrics
except ImportError:  # an extra
    HAS_METRICS = False
else:
    HAS_METRICS = True

METER: Final = "streamable_http"

SECONDS_BUCKETS: Final = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300)
"""As the conventions have them."""

COMMIT_BUCKETS: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)

LOOK_SECONDS: Final = 1.0
"""A meter provider that is set while calls run already is found so much later."""

OTHER: Final = "_OTHER"
"""What the conventions put for a value that is not one of the known ones."""


class Watched(Protocol):
    """What an engine tells when it is asked."""

    @property
    def running(self) -> Sized: ...
    @property
    def follows(self) -> Sized: ...
    @property
    def log(self) -> Counting: ...
    @property
    def dropped_signals(self) -> int: ...


class Sized(Protocol):
    """Something that has a length."""

    def __len__(self) -> int: ...


class Counting(Protocol):
    """Something that counts what it drops."""

    @property
    def dropped_records(self) -> int: ...


class Instruments:
    """What is measured, at one provider."""

    def __init__(self, provider: metrics.MeterProvider) -> None:
        meter = provider.get_meter(METER)
        self.operation_duration = meter.create_histogram(
            "mcp.server.operation.duration",
            "s",
            "Duration of a call, from its beginning to its result.",
            explicit_bucket_boundaries_advisory=SECONDS_BUCKETS,
        )
        self._session_duration = meter.create_histogram(
            "mcp.server.session.duration",
            "s",
            "Duration of a session, from its beginning to its end.",
            explicit_bucket_boundaries_advisory=SECONDS_BUCKETS,
        )
        self._commit_duration = meter.create_histogram(
            "streamable_http.commit.duration",
            "s",
            "Duration of a commit of the log, which takes all events that wait.",
            explicit_bucket_boundaries_advisory=COMMIT_BUCKETS,
        )
        self._events = meter.create_counter(
            "streamable_http.events.committed", "{event}", "Events that were committed."
        )
        meter.create_observable_up_down_counter(
            "streamable_http.calls.running",
            [_observing(lambda watched: len(watched.running))],
            "{call}",
            "Calls that run in this process.",
        )
        meter.create_observable_up_down_counter(
            "streamable_http.streams.followed",
            [_observing(lambda watched: len(watched.follows))],
            "{stream}",
            "Streams that a connection of this process reads.",
        )
        meter.create_observable_counter(
            "streamable_http.records.dropped",
            [_observing(lambda watched: watched.log.dropped_records)],
            "{record}",
            "Exchanges that were not recorded, under pressure or because they could not be.",
        )
        meter.create_observable_counter(
            "streamable_http.signals.dropped",
            [_observing(lambda watched: watched.dropped_signals)],
            "{signal}",
            "Signals that were not sent, because their receivers were too far behind.",
        )

    def note_session_ended(self, session_id: int, state: SessionState) -> None:
        """Measure a session from the moment in which its id was made."""
        # By two clocks, where another worker opened it.
        seconds = max(0.0, time.time() - ids.made_at(session_id))
        self._session_duration.record(seconds, {"streamable_http.session.state": state.value})

    def note_commit(
        self, writes: Sequence[base.StreamWrite], outcomes: Sequence[base.Outcome], seconds: float
    ) -> None:
        """Count a commit and what was committed by it."""
        self._commit_duration.record(seconds)
        pairs = zip(writes, outcomes, strict=True)
        events = sum(len(write.payloads) for write, outcome in pairs if isinstance(outcome, base.Written))
        if events:
            self._events.add(events)


def _observing(tell: Callable[[Watched], int]) -> Callable[[Any], Iterable[metrics.Observation]]:
    def observe(options: Any) -> Iterator[metrics.Observation]:
        watched = _watched() if _watched is not None else None
        if watched is not None:
            yield metrics.Observation(tell(watched))

    return observe


_watched: weakref.ReferenceType[Watched] | None = None


def watch(watched: Watched) -> None:
    """Have the figures that are asked for now and then come from here: the engine of the process."""
    global _watched
    _watched = weakref.ref(watched)
    _look()


_making = threading.Lock()
_instruments: Instruments | None = None
_next_look_at = 0.0


def instruments() -> Instruments | None:
    """Return the instruments; ``None`` where nobody takes what they measure. Cheap, and safe in any thread."""
    if _instruments is not None or not HAS_METRICS or time.monotonic() < _next_look_at:
        return _instruments
    return _look()


def _look() -> Instruments | None:
    """Make the instruments once there is a provider, which is set once, too; to ask for it costs a microsecond."""
    global _instruments, _next_look_at
    if not HAS_METRICS:
        return None
    with _making:
        _next_look_at = time.monotonic() + LOOK_SECONDS
        provider = metrics.get_meter_provider()
        if _instruments is None and _takes(provider):
            _instruments = Instruments(provider)
        return _instruments


def _takes(provider: metrics.MeterProvider) -> bool:
    # The one that stands in until a provider is set is not public, unlike the tracers'.
    return not (isinstance(provider, metrics.NoOpMeterProvider) or type(provider).__name__ == "_ProxyMeterProvider")
