"""What the statements cost: their number on the write path, and the indexes that they use."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator

import pytest
from django.db import connections

from streamable_http import models
from streamable_http.stores import base
from streamable_http.stores.db import DatabaseStore
from tests.stores import writing
from tests.stores.aging import pass_seconds

on_sqlite = pytest.mark.parametrize("log_database", ["sqlite"], indirect=True, scope="module")
"""Its planner decides by the schema alone, so that the plan is the same in tests and in production."""

Statements = Callable[[Callable[[], object]], list[str]]
Plan = Callable[[Callable[[], object], str], list[str]]


@pytest.fixture
def statements(store: DatabaseStore) -> Statements:
    """A function that runs something and returns the statements that reached the database, as its driver saw them."""
    connection = connections[store.alias]
    connection.ensure_connection()

    def on_sqlite(run: Callable[[], object]) -> list[str]:
        seen: list[str] = []
        connection.connection.set_trace_callback(seen.append)
        run()
        connection.connection.set_trace_callback(None)
        return seen

    def on_postgresql(run: Callable[[], object]) -> list[str]:
        with tempfile.TemporaryFile() as trace:
            connection.connection.pgconn.trace(trace.fileno())
            run()
            connection.connection.pgconn.untrace()
            trace.seek(0)
            # One round trip each: a simple query, or an extended one, which begins by being parsed.
            return re.findall(r'\tF\t\d+\t(?:Query\t|Parse\t "")\s*"(.*)"', trace.read().decode())

    return on_sqlite if connection.vendor == "sqlite" else on_postgresql


def verbs(statements: list[str]) -> list[str]:
    return [statement.split()[0].strip(";") for statement in statements]


def fifty_streams(store: base.Store) -> list[base.StreamWrite]:
    """What one busy commit carries: many streams that go on, some that end, some that begin."""
    sessions = [writing.session(store) for _ in range(5)]
    running = [writing.stream(store, sessions[i % 5], request_id=str(i)) for i in range(40)]
    appends = [writing.append(stream_id, "a", "b", "c") for stream_id in running[:30]]
    ends = [writing.append(stream_id, "z", end=models.StreamState.ANSWERED) for stream_id in running[30:]]
    begins = [
        writing.begin(sessions[i % 5], "p", request_id=f"new {i}", record=writing.record(), asks=[asked])
        for i in range(10)
        for asked in [writing.ask(sessions[i % 5])]
    ]
    return [*appends, *ends, *begins]


def test_a_batch_of_fifty_streams_costs_as_many_statements_as_one_of_few(
    store: DatabaseStore, statements: Statements
) -> None:
    writes = fifty_streams(store)
    # Begin, sessions, streams, heads (on PostgreSQL behind a lock), events, asks, records, commit.
    locks = ["SELECT"] if connections[store.alias].vendor == "postgresql" else []
    into = "COPY" if locks else "INSERT"
    seen = verbs(statements(lambda: store.write(writes, [writing.record()])))
    assert seen == ["BEGIN", "SELECT", "INSERT", *locks, "UPDATE", into, into, into, "COMMIT"]


def test_an_append_to_one_stream_costs_four_statements(store: DatabaseStore, statements: Statements) -> None:
    stream_id = writing.stream(store, writing.session(store))
    seen = verbs(statements(lambda: store.write([writing.append(stream_id, "a", "b")], [])))
    assert seen in (["BEGIN", "UPDATE", "INSERT", "COMMIT"], ["BEGIN", "UPDATE", "COPY", "COMMIT"])


def test_rows_are_locked_in_ascending_order_before_they_change(store: DatabaseStore, statements: Statements) -> None:
    if connections[store.alias].vendor == "sqlite":
        # The one writer has the whole file.
        assert statements(lambda: store.write([], []))[0] == "BEGIN IMMEDIATE"
        return
    session_id = writing.session(store)
    running = [writing.stream(store, session_id, request_id=str(i)) for i in range(3)]
    seen = statements(lambda: store.write([writing.append(i, "a") for i in reversed(running)], []))
    assert seen[1].endswith("ORDER BY id FOR UPDATE")
    assert seen[2].startswith("UPDATE")


# Plans


@pytest.fixture
def plan(store: DatabaseStore, statements: Statements) -> Plan:
    """A function that runs something and returns the plan of its first statement that begins so."""

    def explain(run: Callable[[], object], beginning: str) -> list[str]:
        statement = next(seen for seen in statements(run) if seen.startswith(beginning))
        rows = connections[store.alias].connection.execute(f"EXPLAIN QUERY PLAN {statement}").fetchall()
        return [row[-1] for row in rows]

    return explain


@on_sqlite
def test_the_heads_of_several_streams_are_found_by_primary_key(store: DatabaseStore, plan: Plan) -> None:
    running = [writing.stream(store, None, request_id=str(i)) for i in range(3)]
    steps = plan(lambda: store.write([writing.append(i, "a") for i in running], []), "UPDATE")
    assert "SEARCH streamable_http_stream USING INTEGER PRIMARY KEY (rowid=?)" in steps
    assert not any(step.startswith("SCAN streamable") for step in steps)


@on_sqlite
def test_calls_in_flight_are_found_by_their_partial_index(store: DatabaseStore, plan: Plan) -> None:
    session_id = writing.session(store)
    steps = plan(lambda: store.write([writing.begin(session_id)], []), "SELECT")
    assert any("INDEX mcp_stream_in_flight" in step for step in steps)
    assert not any(step.startswith("SCAN") for step in steps)


@on_sqlite
def test_orphans_are_found_by_their_partial_index(store: DatabaseStore, plan: Plan) -> None:
    writing.stream(store, writing.session(store), owner_id=1)
    steps = plan(lambda: store.end_orphans(str, 10), "SELECT")
    assert any("INDEX mcp_stream_owned" in step for step in steps)


@on_sqlite
def test_a_page_of_events_is_read_in_the_order_of_its_index(store: DatabaseStore, plan: Plan) -> None:
    stream_id = writing.stream(store, writing.session(store), "a", "b")
    steps = plan(lambda: store.read(stream_id, 0, 10), 'SELECT "streamable_http_event"')
    assert "(stream_id=? AND sequence>? AND sequence<?)" in steps[0]
    assert not any("TEMP B-TREE" in step for step in steps)


@on_sqlite
def test_an_opening_costs_as_much_after_thousands_of_calls_as_after_none(store: DatabaseStore) -> None:
    dialect = store._dialect(connections[store.alias])
    session_id = writing.session(store)

    def cost() -> int:
        return _instructions(store, lambda: dialect.open_sessions([session_id]))

    before = cost()
    for start in range(0, 3_000, 10):
        ended = {"end": models.StreamState.ANSWERED}
        store.write([writing.begin(session_id, request_id=str(start + i), **ended) for i in range(10)], [])
    # A step or two of a deeper tree.
    assert cost() <= before + 10


@on_sqlite
def test_idle_sessions_are_looked_for_among_the_open_ones(store: DatabaseStore) -> None:
    def cost() -> int:
        return _instructions(store, lambda: store.expire_sessions(60, 10))

    writing.session(store)
    pass_seconds(store, 10)
    before = cost()
    for _ in range(50):
        store.end_session(writing.session(store), models.SessionState.TERMINATED)
    assert cost() == before


def _instructions(store: DatabaseStore, run: Callable[[], object]) -> int:
    """How many instructions of SQLite's virtual machine something takes."""
    raw = connections[store.alias].connection
    counted = 0

    def count() -> None:
        nonlocal counted
        counted += 1

    run()
    raw.set_progress_handler(count, 1)
    run()
    raw.set_progress_handler(None, 1)
    return counted


@pytest.fixture(autouse=True)
def _untraced(store: DatabaseStore) -> Iterator[None]:
    yield
    connections[store.alias].close()
