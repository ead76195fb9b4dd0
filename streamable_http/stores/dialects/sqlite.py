"""SQLite 3.35 and newer (``RETURNING``)."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, Final

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from django.dispatch import receiver

from streamable_http import conf
from streamable_http.stores.dialects import base

_MAX_PARAMETERS: Final = 30_000
"""Below SQLITE_MAX_VARIABLE_NUMBER, 32,766 by default since 3.32."""


WAL_PAGES: Final = 20_000
"""Pages in the write-ahead log (80 MB) at which a commit checkpoints itself.

SQLite's own default of 1,000 makes every twentieth group commit wait some 15 ms for the disk; :meth:`SQLite.tidy` does
that work in another thread, and this is what happens if it does not keep up.
"""


class SQLite(base.Dialect):
    """Multi-row ``VALUES`` on the raw connection: a third of the cost of ``executemany`` for 500 rows."""

    @property
    def _raw(self) -> sqlite3.Connection:
        raw: sqlite3.Connection = self.connection.connection
        return raw

    def begin(self) -> None:
        # IMMEDIATE: take the write lock now; a read that upgrades later would fail instead of waiting.
        self._raw.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        self._raw.execute("COMMIT")

    def rollback(self) -> None:
        raw = self.connection.connection
        if raw is not None and raw.in_transaction:
            raw.execute("ROLLBACK")

    def committed(self, receipt: None, witness: base.Witness | None) -> bool:
        if witness is None:
            return False
        if witness.payload is None:
            found = self._raw.execute(f"SELECT 1 FROM {base.STREAM} WHERE id = ?", (witness.stream_id,))
        else:
            found = self._raw.execute(
                f"SELECT 1 FROM {base.EVENT} WHERE stream_id = ? AND sequence = ? AND payload = ?", witness
            )
        return found.fetchone() is not None

    def insert(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        at_once = _MAX_PARAMETERS // len(columns)
        for start in range(0, len(rows), at_once):
            some = rows[start : start + at_once]
            self._raw.execute(
                f"INSERT INTO {table} ({', '.join(columns)}) VALUES {_places(len(some), len(columns))}",
                [value for row in some for value in row],
            )

    def insert_streams(self, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> set[int]:
        cursor = self._raw.execute(
            f"INSERT INTO {base.STREAM} ({', '.join(columns)}) VALUES {_places(len(rows), len(columns))} "
            "ON CONFLICT DO NOTHING RETURNING id",
            [value for row in rows for value in row],
        )
        return {row[0] for row in cursor.fetchall()}

    def append(self, appends: Sequence[base.Append], now: Any) -> base.Rows:
        return self._raw.execute(
            f"UPDATE {base.STREAM} SET head = head + v.column3, stored_bytes = stored_bytes + v.column4, "
            "state = v.column5, ended_at = CASE WHEN v.column5 = 'open' THEN NULL ELSE ? END, "
            "outcome = v.column6, duration_ms = v.column7 "
            f"FROM (VALUES {_places(len(appends), len(base.Append._fields))}) AS v "
            "WHERE id = v.column1 AND state = 'open' AND epoch = COALESCE(v.column2, epoch) "
            "RETURNING id, head, stored_bytes",
            [now, *(value for row in appends for value in row)],
        ).fetchall()

    def open_sessions(self, session_ids: Sequence[int]) -> base.Rows:
        return self._raw.execute(
            f"SELECT s.id, s.log_level, t.request_id FROM {base.SESSION} s LEFT JOIN {base.STREAM} t "
            "ON t.session_id = s.id AND t.state = 'open' AND t.request_id > '' "
            f"WHERE s.id IN {_places(1, len(session_ids))} AND s.state = 'open'",
            list(session_ids),
        ).fetchall()

    def tidy(self) -> None:
        """Copy the write-ahead log back into the database, beside the writer and without its waiting for the disk."""
        self._raw.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def trim(self, stream_id: int, earliest: int) -> int:
        cursor = self._raw.execute(
            f"UPDATE {base.STREAM} SET earliest = ?, stored_bytes = stored_bytes - COALESCE((SELECT "
            f"SUM(LENGTH(CAST(payload AS BLOB))) FROM {base.EVENT} WHERE stream_id = ? AND sequence < ?), 0) "
            "WHERE id = ? RETURNING stored_bytes",
            (earliest, stream_id, earliest, stream_id),
        )
        (left,) = cursor.fetchone()
        self._raw.execute(f"DELETE FROM {base.EVENT} WHERE stream_id = ? AND sequence < ?", (stream_id, earliest))
        return int(left)


@receiver(connection_created)
def _set_checkpoint(*, connection: BaseDatabaseWrapper, **_: Any) -> None:
    if connection.vendor == "sqlite" and connection.alias == conf.settings.DATABASE:
        connection.connection.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES}")


def _places(rows: int, columns: int) -> str:
    row = f"({', '.join('?' * columns)})"
    return ", ".join([row] * rows)
