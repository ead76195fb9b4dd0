"""A log of a million events, as a busy month leaves it: rows written directly, in the order in which they came."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from django.db import connections, models, transaction

from streamable_http import conf, ids
from streamable_http.models import Ask, Event, Record, Session, Stream, Worker

DAYS: Final = 30
DAY_SECONDS: Final = 86_400.0
BIG_PRINCIPAL: Final = "importer"
"""Of the session with a tenth of all events."""

TOOLS: Final = (
    "find_books", "check_stock", "order_books", "import_titles", "recommend", "count_shelf", "reserve", "cancel_order",
    "price_list", "translate_blurb", "ask_the_keeper", "new_arrivals",
)  # fmt: skip
METHODS: Final = ("tools/call", "resources/read", "prompts/get", "completion/complete")
CLIENTS: Final = (("claude-code", "2.1.4"), ("inspector", "2.12.0"), ("cursor", "1.9"), ("agent", "0.3"), ("ci", "1"))
WORKERS: Final = 8
EVENTS_OF_CALLS: Final = (1, 3, 10, 40, 200)
EVENTS_WEIGHTS: Final = (50, 27, 14, 7, 2)
HEADERS: Final = {"user-agent": "python-httpx/0.28", "accept": "application/json, text/event-stream"}


@dataclass(frozen=True, slots=True)
class Shape:
    """How much there is of what."""

    sessions: int
    calls: int
    events: int
    records: int
    asks: int
    big_calls: int
    big_events: int
    longest_events: int
    """Of one stream, in the big session."""

    @classmethod
    def of(cls, events: int) -> Shape:
        """Return the shape of a log with so many events; it scales."""
        return cls(
            sessions=events // 50,
            calls=events // 10,
            events=events,
            records=events // 5,
            asks=events // 200,
            big_calls=events // 500,
            big_events=events // 10,
            longest_events=events // 100,
        )


@dataclass(slots=True)
class Call:
    """One call, until its rows are written."""

    id: int
    at: float
    session_id: int
    events: int
    duration_seconds: float
    is_open: bool = False


class Month:
    """Makes the rows of the last :data:`DAYS` up to ``now``; the same for the same seed, but for the times."""

    def __init__(self, shape: Shape, now: float, seed: int = 1) -> None:
        self.shape = shape
        self._now = now
        self._random = random.Random(seed)
        self._numbers = itertools.count()
        self._workers = [self._id(now - DAYS * DAY_SECONDS + number) for number in range(WORKERS)]
        begun = now - DAYS * DAY_SECONDS
        step = DAYS * DAY_SECONDS / shape.sessions
        self._sessions = [self._id(begun + (number + 0.5) * step) for number in range(shape.sessions)]
        self.big_id = self._sessions[shape.sessions // 3]
        self._calls = sorted(self._make_calls(), key=lambda call: call.id)
        for call in self._calls[-20:]:
            call.is_open = True

    def _id(self, at: float) -> int:
        return int(at * 1_000) << ids.RANDOM_BITS | next(self._numbers) % (1 << ids.RANDOM_BITS)

    def _make_calls(self) -> Iterator[Call]:
        shape = self.shape
        lengths = self._random.choices(EVENTS_OF_CALLS, EVENTS_WEIGHTS, k=shape.calls - shape.big_calls)
        _make_sum(lengths, shape.events - shape.big_events)
        for length in lengths:
            session_id = self._random.choice(self._sessions)
            at = ids.made_at(session_id) + self._random.expovariate(1 / 900)
            yield self._call(at, session_id, length)
        rest = shape.big_events - shape.longest_events
        lengths = [rest // (shape.big_calls - 1)] * (shape.big_calls - 1)
        _make_sum(lengths, rest)
        begun = ids.made_at(self.big_id)
        for number, length in enumerate([shape.longest_events, *lengths]):
            yield self._call(begun + number / shape.big_calls * (self._now - begun), self.big_id, length)

    def _call(self, at: float, session_id: int, events: int) -> Call:
        at = min(at, self._now - self._random.random() * 60)
        return Call(self._id(at), at, session_id, events, min(self._random.lognormvariate(-2.5, 1.5), 300))

    # Rows

    def workers(self) -> Iterator[dict[str, Any]]:
        """Half of them alive."""
        for number, id in enumerate(self._workers):
            lease = self._now + 3_600 if number >= WORKERS // 2 else ids.made_at(id) + 3 * DAY_SECONDS
            yield {
                "id": id, "host": f"web-{number}", "pid": 100 + number, "started_at": stamp(ids.made_at(id)),
                "lease_expires_at": stamp(lease), "dropped_records": number,
            }  # fmt: skip

    def sessions(self) -> Iterator[dict[str, Any]]:
        """The last hundredth is open, and the big one."""
        for number, id in enumerate(self._sessions):
            at = ids.made_at(id)
            is_open = id == self.big_id or number >= len(self._sessions) * 0.99
            seen_at = self._now - 5 if is_open else min(at + 3_600, self._now)
            ended_at = None if is_open else stamp(seen_at)
            name, version = CLIENTS[number % len(CLIENTS)]
            yield {
                "id": id, "digest": f"{id:064x}", "server": "bookshop" if number % 10 else "conformance",
                "principal": BIG_PRINCIPAL if id == self.big_id else f"user-{number % 300}" if number % 3 else "",
                "revision": "2025-11-25" if number % 4 else "2025-06-18",
                "client_info": json.dumps({"name": name, "version": version}), "capabilities": '{"elicitation":{}}',
                "state": "open" if is_open else "expired" if number % 3 else "terminated",
                "created_at": stamp(at), "last_seen_at": stamp(seen_at), "ended_at": ended_at,
            }  # fmt: skip

    def streams(self) -> Iterator[dict[str, Any]]:
        """Those of calls, and a listening one for each session; by time."""
        listening = ((id, None) for id in self._sessions)
        calls = ((call.id, call) for call in self._calls)
        for id, call in sorted([*listening, *calls], key=lambda pair: pair[0]):
            yield self._listening(id) if call is None else self._stream(call)

    def _listening(self, id: int) -> dict[str, Any]:
        return {
            "id": id, "session_id": id, "owner_id": None, "head": 0, "stored_bytes": 0, "state": "terminated",
            "request_id": "", "method": "", "name": "", "created_at": stamp(ids.made_at(id)),
            "ended_at": stamp(ids.made_at(id) + 3_600), "outcome": "", "duration_ms": None, "redacted_at": None,
        }  # fmt: skip

    def _stream(self, call: Call) -> dict[str, Any]:
        dice = self._random.random()
        state = "open" if call.is_open else "cancelled" if dice < 0.01 else "lost" if dice < 0.015 else "answered"
        outcome = "" if state != "answered" else "error" if dice < 0.04 else "tool_error" if dice < 0.08 else "result"
        method = METHODS[0] if dice > 0.2 else self._random.choice(METHODS[1:])
        ended_at = call.at + call.duration_seconds
        is_old = not call.is_open and ended_at < self._now - 3_600
        return {
            "id": call.id, "session_id": call.session_id, "owner_id": self._random.choice(self._workers),
            "head": call.events, "stored_bytes": call.events * 160, "state": state, "request_id": str(call.id % 9_999),
            "method": method, "name": self._random.choice(TOOLS) if method == METHODS[0] else "",
            "created_at": stamp(call.at), "ended_at": None if call.is_open else stamp(ended_at), "outcome": outcome,
            "duration_ms": call.duration_seconds * 1_000 if outcome else None,
            "redacted_at": stamp(ended_at + 3_600) if is_old else None,
        }  # fmt: skip

    def events(self) -> Iterator[tuple[int, int, str, str]]:
        """``stream_id, sequence, payload, created_at``: progress, log messages, and the result in the end."""
        for call in self._calls:
            for sequence in range(1, call.events):
                at = stamp(call.at + call.duration_seconds * sequence / call.events)
                yield call.id, sequence, _said(call, sequence), at
            yield call.id, call.events, _result(call), stamp(call.at + call.duration_seconds)

    def records(self) -> Iterator[dict[str, Any]]:
        """Of each call, of each session's beginning, and what else came in."""
        rows = [*map(self._request, self._calls)]
        others = self.shape.records - len(rows)
        for number in range(others):
            session_id = self._sessions[number % len(self._sessions)]
            at = ids.made_at(session_id) + number // len(self._sessions)
            rows.append(self._other(number // len(self._sessions), session_id, at))
        rows.sort(key=lambda row: row["id"])
        yield from rows

    def _request(self, call: Call) -> dict[str, Any]:
        params = {"name": TOOLS[call.id % len(TOOLS)], "arguments": {"query": f"dune {call.id % 977}", "limit": 20}}
        payload = {"jsonrpc": "2.0", "id": call.id % 9_999, "method": "tools/call", "params": params}
        return self._record(call.id, None, "tools/call", json.dumps(payload), call.at, "POST")

    def _other(self, kind: int, session_id: int, at: float) -> dict[str, Any]:
        method = ("initialize", "notifications/initialized", "", "tools/list", "ping")[kind % 5]
        payload = json.dumps({"jsonrpc": "2.0", "id": kind, "method": method}) if method else ""
        return self._record(self._id(at), session_id, method, payload, at, "POST" if method else "GET")

    def _record(
        self, id: int, session_id: int | None, method: str, payload: str, at: float, http_method: str
    ) -> dict[str, Any]:
        facts = {"method": http_method, "headers": HEADERS, "client": "10.0.0.7", "principal": f"user-{id % 300}"}
        return {
            "id": id, "session_id": session_id, "method": method, "payload": payload, "facts": json.dumps(facts),
            "created_at": stamp(at),
        }  # fmt: skip

    def asks(self) -> Iterator[dict[str, Any]]:
        """Questions of calls here and there."""
        for call in self._calls[:: max(1, len(self._calls) // self.shape.asks)][: self.shape.asks]:
            yield {
                "id": self._id(call.at), "session_id": call.session_id, "stream_id": call.id,
                "wire_id": f"ask-{call.id:x}", "method": "elicitation/create",
                "state": "pending" if call.is_open else "answered", "reply": "", "created_at": stamp(call.at),
                "deadline_at": stamp(call.at + 300),
            }  # fmt: skip


def _make_sum(lengths: list[int], total: int) -> None:
    """Change the lengths so little that they come to a total; none below one."""
    missing = total - sum(lengths)
    step = 1 if missing > 0 else -1
    for at in itertools.cycle(range(len(lengths))):
        if not missing:
            return
        if lengths[at] + step >= 1:
            lengths[at] += step
            missing -= step


def _said(call: Call, sequence: int) -> str:
    if sequence % 5:
        return (
            f'{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{call.id % 9_999},'
            f'"progress":{sequence},"total":{call.events},"message":"row {sequence} of {call.events}"}}}}'
        )
    return (
        '{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","logger":"shop",'
        f'"data":"shelf {sequence % 40} has {call.id % 77} copies of title {sequence * 7919 % 100_003}"}}}}'
    )


def _result(call: Call) -> str:
    text = f"{call.id % 50} books found; the first is number {call.id % 100_003}. " * (1 + call.id % 6)
    return f'{{"jsonrpc":"2.0","id":{call.id % 9_999},"result":{{"content":[{{"type":"text","text":"{text}"}}]}}}}'


def stamp(at: float) -> str:
    """Return a time as both databases read it, and as Django writes it on SQLite."""
    return datetime.fromtimestamp(at, UTC).replace(tzinfo=None).isoformat(" ", "microseconds")


# Writing


def fill(month: Month) -> None:
    """Write a month into empty tables of the log's database."""
    connection = connections[conf.settings.DATABASE]
    with transaction.atomic(connection.alias):
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("SET LOCAL timezone = 'UTC'")
        for model, rows in (
            (Worker, month.workers()),
            (Session, month.sessions()),
            (Stream, month.streams()),
            (Record, month.records()),
            (Ask, month.asks()),
        ):
            _insert(connection, model, rows)
        _copy(connection, Event, ("stream_id", "sequence", "payload", "created_at"), month.events())
    if connection.vendor == "postgresql":
        # As autovacuum does in time. Nobody does it for SQLite, so its planner knows nothing of the data here either.
        with connection.cursor() as cursor:
            cursor.execute("VACUUM ANALYZE")


def _insert(connection: Any, model: type[models.Model], rows: Iterable[dict[str, Any]]) -> None:
    """Write rows; a column that is not given has its default."""
    rows = iter(rows)
    first = next(rows)
    rest = [field for field in model._meta.concrete_fields if field.attname not in first]
    names = [*first, *(field.attname for field in rest)]
    defaults = tuple(field.get_default() for field in rest)
    _copy(connection, model, names, ((*row.values(), *defaults) for row in itertools.chain([first], rows)))


def _copy(connection: Any, model: type[models.Model], names: Sequence[str], rows: Iterable[tuple[Any, ...]]) -> None:
    columns = {field.attname: field.column for field in model._meta.concrete_fields}
    quoted = ", ".join(f'"{columns[name]}"' for name in names)
    table = model._meta.db_table
    connection.ensure_connection()
    if connection.vendor == "postgresql":
        with connection.connection.cursor() as cursor, cursor.copy(f"COPY {table} ({quoted}) FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)
    else:
        marks = ", ".join("?" * len(names))
        connection.connection.executemany(f"INSERT INTO {table} ({quoted}) VALUES ({marks})", rows)
