"""What the write path needs of a database."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from django.db.backends.base.base import BaseDatabaseWrapper

SESSION: Final = "streamable_http_session"
STREAM: Final = "streamable_http_stream"
EVENT: Final = "streamable_http_event"
RECORD: Final = "streamable_http_record"
ASK: Final = "streamable_http_ask"

Rows = list[tuple[Any, ...]]


class Append(NamedTuple):
    """A fenced update of one existing stream."""

    stream_id: int
    epoch: int | None
    events: int
    stored_bytes: int
    state: str
    outcome: str
    duration_ms: float | None


class Witness(NamedTuple):
    """A row that one transaction wrote, and no other can have written."""

    stream_id: int
    sequence: int
    payload: str | None
    """Of the event with this sequence; ``None``: the stream itself is the row."""


class Dialect(abc.ABC):
    """The statements of one transaction at a time, on the raw connection of the thread."""

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self.connection = connection

    @abc.abstractmethod
    def begin(self) -> Any:
        """Begin; return what tells this transaction's fate afterwards, or ``None``."""

    @abc.abstractmethod
    def commit(self) -> None:
        """Commit."""

    @abc.abstractmethod
    def rollback(self) -> None:
        """Roll back; harmless where nothing was begun or the connection is broken."""

    @abc.abstractmethod
    def committed(self, receipt: Any, witness: Witness | None) -> bool | None:
        """Tell whether a transaction happened, by its receipt or by a row that it wrote; ``None``: not known yet."""

    @abc.abstractmethod
    def insert(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Insert rows."""

    @abc.abstractmethod
    def insert_streams(self, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> set[int]:
        """Insert stream rows, leaving out those that break a constraint; the ids of those that went in."""

    @abc.abstractmethod
    def append(self, appends: Sequence[Append], now: Any) -> Rows:
        """Move heads where the fence holds; ``(id, head, stored_bytes)`` of each that moved.

        Locks the rows in ascending id, so that workers never deadlock.
        """

    @abc.abstractmethod
    def open_sessions(self, session_ids: Sequence[int]) -> Rows:
        """Return ``(session id, log level, request id of an open stream or NULL)``, a row an open stream."""

    @abc.abstractmethod
    def tidy(self) -> None:
        """Do what the database needs every few seconds."""

    @abc.abstractmethod
    def trim(self, stream_id: int, earliest: int) -> int:
        """Delete the events before ``earliest``; the bytes that are left."""
