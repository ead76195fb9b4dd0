"""Who may see what, and do what: Django permissions, the same for the admin, the REST API and whatever else asks."""

from __future__ import annotations

from typing import Final

VIEW_SESSIONS: Final = "streamable_http.view_session"
"""Sessions, streams and workers: who, when, how many, how long; and the names of methods and tools."""

VIEW_PAYLOADS: Final = "streamable_http.view_payload"
"""What was said: messages, arguments, errors, HTTP headers."""

REPLAY: Final = "streamable_http.replay_stream"
"""Replays and exports; what was said is in them only with :data:`VIEW_PAYLOADS`."""

RESEND: Final = "streamable_http.resend_request"
TERMINATE: Final = "streamable_http.terminate_session"
PURGE: Final = "streamable_http.purge_history"
