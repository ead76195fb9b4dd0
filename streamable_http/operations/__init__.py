"""What operators do, as functions that block: admin, REST API and commands call them, and so may a project.

They need no server that runs, and do not disturb one that does.
"""

from streamable_http.operations.ending import cancel_call, close_stream, purge_session, terminate_session
from streamable_http.operations.figures import (
    Statistics,
    WorkerFigures,
    alive,
    open_calls_by_worker,
    statistics,
    workers,
)
from streamable_http.operations.listing import Client, Summary, client_of, find_sessions, summarize
from streamable_http.operations.pruning import prune
from streamable_http.operations.resending import Resend, ResendTimeout, resend, review
from streamable_http.operations.streams import find_streams, is_stream_id, matching_stream

__all__ = [
    "Client",
    "Resend",
    "ResendTimeout",
    "Statistics",
    "Summary",
    "WorkerFigures",
    "alive",
    "cancel_call",
    "client_of",
    "close_stream",
    "find_sessions",
    "find_streams",
    "is_stream_id",
    "matching_stream",
    "open_calls_by_worker",
    "prune",
    "purge_session",
    "resend",
    "review",
    "statistics",
    "summarize",
    "terminate_session",
    "workers",
]
