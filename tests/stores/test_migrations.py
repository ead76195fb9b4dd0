"""The schema while a newer version is rolled out beside an older one, on real databases."""

from __future__ import annotations

from django.db import connections

from streamable_http import models

# What 0001 has and asks for.
OLD_STREAM = {
    "id": 1,
    "epoch": 1,
    "head": 0,
    "earliest": 1,
    "stored_bytes": 0,
    "state": "open",
    "request_id": "1",
    "method": "tools/call",
    "name": "count",
    "arguments": "",
    "takeovers": 0,
    "handed": 0,
    "created_at": "2026-01-01 00:00:00+00:00",
}
OLD_WORKER = {
    "id": 1,
    "host": "host",
    "pid": 1,
    "started_at": "2026-01-01 00:00:00+00:00",
    "lease_expires_at": "2026-01-01 00:00:00+00:00",
}


def insert(alias: str, table: str, row: dict[str, object]) -> None:
    with connections[alias].cursor() as cursor:
        marks = ", ".join(["%s"] * len(row))
        cursor.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", list(row.values()))


def test_workers_of_the_version_before_can_still_write(log_alias: str) -> None:
    insert(log_alias, "streamable_http_stream", OLD_STREAM)
    insert(log_alias, "streamable_http_worker", OLD_WORKER)
    stream = models.Stream.objects.using(log_alias).get()
    assert (stream.name, stream.outcome, stream.duration_ms, stream.resent_from) == ("count", "", None, None)
    assert models.Worker.objects.using(log_alias).get().dropped_records == 0
