"""The settings: one dict, ``STREAMABLE_HTTP``, with typed defaults.

``conf.settings.MAX_BODY_BYTES`` is the project's value or the default. Times are in seconds unless the name
says otherwise.
"""

from __future__ import annotations

import dataclasses
import difflib
from dataclasses import dataclass, field
from typing import Any, Literal

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.utils.module_loading import import_string

SETTING = "STREAMABLE_HTTP"


def _store() -> dict[str, Any]:
    return {"BACKEND": "streamable_http.stores.db.DatabaseStore", "OPTIONS": {}}


def _wakeups() -> dict[str, Any]:
    return {"BACKEND": "streamable_http.delivery.wakeups.local.LocalWakeups", "OPTIONS": {}}


@dataclass(frozen=True, kw_only=True)
class Defaults:
    """Every setting, its type and its default."""

    # Parts
    STORE: dict[str, Any] = field(default_factory=_store)
    """Where sessions and events live: ``BACKEND`` is a dotted path, ``OPTIONS`` its keyword arguments."""

    WAKEUPS: dict[str, Any] = field(default_factory=_wakeups)
    """How workers hint each other at news: ``BACKEND`` is a dotted path, ``OPTIONS`` its keyword arguments."""

    DATABASE: str = "default"
    """Alias in ``DATABASES`` of the database that holds the log."""

    # Serving
    MODE: Literal["sessions", "sessionless"] = "sessions"
    """Whether ``initialize`` opens a session."""

    JSON_ONLY: bool = False
    """Answer every call by JSON. Such calls cannot be resumed."""

    HISTORY: Literal["all", "streams", "off"] = "all"
    """What is recorded for inspection beside the events that clients resume from.

    ``streams``: the requests of resumable streams; ``all``: those and everything else that came in, and exchanges
    that cannot be resumed; ``off``: nothing.
    """

    HISTORY_DAYS: float | None = 14.0
    """Sessions, streams and records that ended longer ago are deleted; ``None``: never.

    Two weeks, as long as Django keeps its own sessions. Not before ``RESUMABLE_SECONDS``.
    """

    PRUNE: bool = True
    """Have the workers redact and delete what is due, now and then.

    Otherwise ``manage.py mcp_prune`` does.
    """

    REDACT_NAMES: tuple[str, ...] = ()
    """More endings of names whose values are masked wherever they are recorded or shown, such as ``iban``."""

    RECORD_HEADERS: tuple[str, ...] = ()
    """More request headers that are recorded as they are; others than the usual harmless ones are masked."""

    ALLOW_ANONYMOUS: bool = True
    """Serve callers without credentials. An anonymous session belongs to whoever bears its id."""

    ALLOWED_ORIGINS: tuple[str, ...] = ()
    """Origins of browsers that may call, beside the server's own, such as ``https://app.example.com``."""

    AUTHENTICATION_CLASSES: tuple[str, ...] = ()
    """DRF authentication classes, as dotted paths; empty: everybody is anonymous."""

    PERMISSION_CLASSES: tuple[str, ...] = ()
    """DRF permission classes, as dotted paths: who may call at all."""

    THROTTLE_CLASSES: tuple[str, ...] = ()
    """DRF throttle classes, as dotted paths: how often a caller may send requests of any kind."""

    AUTHENTICATION_CACHE_SECONDS: float = 10.0
    """How long a credential's result is reused; 0 asks the classes each time."""

    # Limits
    MAX_BODY_BYTES: int = 4 * 1024 * 1024
    """Largest request body."""

    MAX_JSON_DEPTH: int = 64
    """Deepest nesting in a request body."""

    MAX_BATCH: int = 100
    """Most messages in a batch, which revision 2025-03-26 has."""

    MAX_SESSIONS: int = 10_000
    """Most open sessions of all servers; beyond it the one that was idle the longest gives way."""

    MAX_SESSIONS_PER_PRINCIPAL: int = 50
    """Most open sessions of one authenticated principal; beyond it the one that was idle the longest gives way."""

    MAX_SUBSCRIPTIONS: int = 1_000
    """Most subscriptions of a session."""

    MAX_CALLS: int = 1_000
    """Most calls that one worker runs at the same time."""

    MAX_STREAM_SECONDS: float = 86_400.0
    """Longest time that a call may run."""

    MAX_OPEN_STREAMS: int = 16
    """Most calls of one session that run at the same time."""

    MAX_STREAM_EVENTS: int = 20_000
    """Most events kept of a stream; beyond it the oldest are trimmed."""

    MAX_STREAM_BYTES: int = 64 * 1024 * 1024
    """Most bytes of payload kept of a stream; beyond it the call fails."""

    MAX_PENDING_ASKS: int = 16
    """Most asks of one session that wait for a reply."""

    OUTBOX_EVENTS: int = 1_000
    """Most events of a call that wait for their commit; beyond it ``emit`` waits."""

    OUTBOX_BYTES: int = 4 * 1024 * 1024
    """Most bytes of a call that wait for their commit; beyond it ``emit`` waits."""

    TOOL_THREADS: int = 16
    """Threads for tools that are plain functions."""

    # Times
    SESSION_IDLE_SECONDS: float = 1_800.0
    """A session without requests, open streams and followers ends after this."""

    RESUMABLE_SECONDS: float = 3_600.0
    """A stream that ended longer ago can no longer be resumed, and its events are redacted where they are stored."""

    BODY_TIMEOUT_SECONDS: float = 30.0
    """A request body must have arrived by then."""

    KEEP_ALIVE_SECONDS: float = 15.0
    """A comment goes out on a stream that was silent for this long."""

    RETRY_MS: int = 3_000
    """The reconnection time that streams tell their clients. Official clients try twice, this far apart."""

    MAX_CONNECTION_SECONDS: float | None = None
    """Close a connection of events after this and let the client poll, where its revision allows (2025-11-25).

    0: every answer is a short request, for networks that cut or hold back long connections. ``None``: never.
    """

    POLLING_RETRY_MS: int = 500
    """When clients whose connection was closed early come again."""

    SEND_TIMEOUT_SECONDS: float = 30.0
    """A reader that takes nothing for this long is disconnected."""

    EMIT_TIMEOUT_SECONDS: float = 30.0
    """A call whose outbox stays full for this long fails."""

    ASK_SECONDS: float = 300.0
    """Deadline of an ask."""

    # Workers
    LEASE_SECONDS: float = 15.0
    """A worker that has not renewed its lease for this long counts as dead."""

    HEARTBEAT_SECONDS: float = 5.0
    """Time between two renewals."""

    LOOP_STALL_SECONDS: float = 10.0
    """A worker whose event loop has not turned for this long does not renew."""

    GRACE_SECONDS: float = 8.0
    """Calls that run when a worker is told to end have so long to finish.

    The server's own limit must be longer, such as uvicorn's ``--timeout-graceful-shutdown 10``, and so must that of
    whoever kills the server in the end; ``docker stop`` waits 10 s.
    """

    POLL_MIN_SECONDS: float = 0.2
    """Shortest time between two polls for other workers' news."""

    POLL_MAX_SECONDS: float = 1.0
    """Longest time between two polls for other workers' news."""


_FIELDS = {item.name: item for item in dataclasses.fields(Defaults)}


class Settings(Defaults):
    """The project's values over the defaults, as of the last change of Django's settings."""

    def __init__(self) -> None:
        chosen = getattr(django_settings, SETTING, {})
        super().__init__(**{name: _frozen(value) for name, value in chosen.items() if name in _FIELDS})


class _Current:
    """The settings as they are now; made again after ``override_settings``, so that reading one costs nothing."""

    def __init__(self) -> None:
        setting_changed.connect(self._forget)

    def __getattr__(self, name: str) -> Any:
        # Only reached for what is not in the instance yet.
        if name not in _FIELDS:
            raise AttributeError(unknown(name))
        self.__dict__.update(vars(Settings()))
        return self.__dict__[name]

    def _forget(self, *, setting: str, **_: Any) -> None:
        if setting == SETTING:
            self.__dict__.clear()


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def unknown(name: str) -> str:
    """Return the sentence for a name that is no setting, with the nearest one that is."""
    near = difflib.get_close_matches(name, _FIELDS, n=1)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    return f"'{name}' is not a setting of {SETTING}{hint}"


def require_known() -> None:
    """Refuse names in the project's dict that are no settings.

    Raises:
        ImproperlyConfigured: with the nearest name.
    """
    for name in getattr(django_settings, SETTING, {}):
        if name not in _FIELDS:
            raise ImproperlyConfigured(unknown(name))


def build(setting: dict[str, Any]) -> Any:
    """Return what a setting of ``BACKEND`` and ``OPTIONS`` describes."""
    return import_string(setting["BACKEND"])(**setting.get("OPTIONS", {}))


settings: Defaults = _Current()  # type: ignore[assignment]  # the same names with the same types
