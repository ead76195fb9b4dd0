"""Two writers and two readers of one log, at the same time: what the promises of order and fencing come down to.

Each has a thread, so a connection, of its own. What they do in one step happens at once, in any order; afterwards
the store must hold exactly what the writers were told that it holds, and the readers must have seen a part of that
which could have been all there was.
"""

from __future__ import annotations

import enum
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import hypothesis
import pytest
from django.db import connections
from hypothesis import stateful
from hypothesis import strategies as st
from pytest_django import Settings

from streamable_http import exceptions, ids
from streamable_http.models import SessionState, StreamState
from streamable_http.stores import base, delegating
from streamable_http.stores.db import DatabaseStore
from tests.stores import writing
from tests.stores.aging import pass_seconds
from tests.stores.conftest import TABLES

MAX_STREAM_EVENTS = 5
STEP_SECONDS = 600.0
LEASE_SECONDS = 1_500.0

CLOSING = "closing"
DEEDS = ("append", "append", "append", "begin", "begin", "fence", "cancel", "end")
WRITERS = st.integers(0, 1)
ENDS = st.sampled_from([StreamState.OPEN, StreamState.OPEN, StreamState.ANSWERED])


@dataclass
class Log:
    """What a stream must hold, as far as it is known from what was answered."""

    session_id: int
    owner_id: int | None
    events: dict[int, str] = field(default_factory=dict)
    state: StreamState = StreamState.OPEN
    earliest: int = 1

    @property
    def head(self) -> int:
        return max(self.events, default=0)

    def place(self, head: int, payloads: list[str]) -> None:
        """Take what a writer was told: its events are the last ones up to ``head``."""
        for sequence, payload in enumerate(payloads, head - len(payloads) + 1):
            assert sequence not in self.events, "two writers got the same sequence"
            self.events[sequence] = payload
        self.earliest = max(self.earliest, head - MAX_STREAM_EVENTS + 1)

    def close(self, head: int) -> None:
        """Take the last event of a dead worker's stream, for which none is trimmed."""
        assert head not in self.events
        self.events[head] = CLOSING

    def end(self, state: StreamState) -> None:
        assert self.state == StreamState.OPEN, "it was ended twice"
        self.state = state


Before = dict[int, tuple[int, StreamState]]
"""Head and state of each stream before a step."""


class Rank(enum.Enum):
    """In which order results are looked at, which says nothing of the order in which they came about."""

    BEGIN = enum.auto()
    WRITE = enum.auto()
    READ = enum.auto()


class Action(NamedTuple):
    """Something that one of the four does in a step."""

    actor: int
    do: Callable[[], Any]
    rank: Rank
    learn: Callable[[Any, Before], None]
    """Takes its result into the logs."""

    check: Callable[[Any], None]
    """Looks at what it left undone, when all is known."""


class Workers(stateful.RuleBasedStateMachine):
    """Writers are 0 and 1, readers 2 and 3. What is drawn never depends on who came first."""

    sessions = stateful.Bundle("sessions")

    def __init__(self, store: base.Store, threads: list[ThreadPoolExecutor]) -> None:
        super().__init__()
        kept = delegating.innermost(store)
        assert isinstance(kept, DatabaseStore)
        for model in TABLES:
            model.objects.using(kept.alias).all().delete()
        self.store = store
        self.threads = threads
        self.open_sessions: set[int] = set()
        self.logs: dict[int, Log] = {}
        self.calls: list[int] = []
        """Streams that somebody tried to begin; those that were refused are in no log."""

        self.leases: dict[int, float] = {}
        self.writers = [self._register(), self._register()]
        self.cursors: dict[tuple[int, int], int] = {}
        """By reader and stream."""

        self.written = 0

    def _register(self) -> int:
        worker_id = ids.new()
        self.store.register_worker(worker_id, "host", 1, LEASE_SECONDS)
        self.leases[worker_id] = LEASE_SECONDS
        return worker_id

    # One after the other

    @stateful.initialize(target=sessions)
    def begin_with_a_session(self) -> int:
        return self._open_session()

    @stateful.rule(target=sessions)
    def open_session(self) -> int:
        return self._open_session()

    def _open_session(self) -> int:
        session_id = writing.session(self.store)
        self.open_sessions.add(session_id)
        self.logs[session_id] = Log(session_id, None)
        return session_id

    @stateful.rule(writer=WRITERS)
    def restart(self, writer: int) -> None:
        """A new worker comes; the calls of the old one are still written, as if nothing had happened."""
        self.writers[writer] = self._register()

    @stateful.rule(writer=WRITERS)
    def renew(self, writer: int) -> None:
        worker_id = self.writers[writer]
        is_alive = self.leases[worker_id] > 0
        assert self.store.renew_worker(worker_id, LEASE_SECONDS) == is_alive
        if is_alive:
            self.leases[worker_id] = LEASE_SECONDS

    @stateful.rule(steps=st.integers(1, 3))
    def let_time_pass(self, steps: int) -> None:
        pass_seconds(self.store, steps * STEP_SECONDS)
        self.leases = {worker_id: left - steps * STEP_SECONDS for worker_id, left in self.leases.items()}

    # At once

    @stateful.rule(session_id=sessions, data=st.data())
    def step(self, session_id: int, data: st.DataObject) -> None:
        places = st.sampled_from([session_id, *self.calls])
        actions = [
            getattr(self, f"_{data.draw(st.sampled_from(DEEDS), 'deed')}")(writer, session_id, places, data)
            for writer in data.draw(st.sampled_from([[0], [1], [0, 1], [0, 1]]), "writers")
        ]
        actions += [
            self._read(reader, places, data)
            for reader in data.draw(st.sampled_from([[], [2], [2, 3], [2, 3]]), "readers")
        ]
        self._run(actions)

    def _run(self, actions: list[Action]) -> None:
        barrier = threading.Barrier(len(actions))

        def together(action: Action) -> Any:
            barrier.wait(60)
            return action.do()

        running = [(action, self.threads[action.actor].submit(together, action)) for action in actions]
        results = [(action, future.result(120)) for action, future in running]
        # Readers may have seen anything from before up to after the step.
        before = {stream_id: (log.head, log.state) for stream_id, log in self.logs.items()}
        for rank in Rank:
            for action, result in results:
                if action.rank is rank:
                    action.learn(result, before)
            if rank is Rank.WRITE:
                self._settle()
        for action, result in results:
            action.check(result)

    def _begin(self, writer: int, session_id: int, places: Any, data: st.DataObject) -> Action:
        payloads, end = self._draw_payloads(data), data.draw(ENDS, "end")
        owner_id = self.writers[writer]
        write = writing.begin(session_id, *payloads, owner_id=owner_id, request_id=str(len(self.calls)), end=end)
        stream_id = write.stream_id
        self.calls.append(stream_id)
        was_open = session_id in self.open_sessions

        def learn(outcomes: list[base.Outcome], before: Before) -> None:
            if isinstance(outcomes[0], base.Written):
                assert was_open
                log = self.logs[stream_id] = Log(session_id, owner_id)
                log.place(outcomes[0].head, payloads)
                if end != StreamState.OPEN:
                    log.end(end)

        def check(outcomes: list[base.Outcome]) -> None:
            # Refused only if the session is over, be it since this moment.
            assert stream_id in self.logs or isinstance(outcomes[0], exceptions.UnknownSession)
            assert stream_id in self.logs or session_id not in self.open_sessions

        return Action(writer, lambda: self.store.write([write], []), Rank.BEGIN, learn, check)

    def _append(self, writer: int, session_id: int, places: Any, data: st.DataObject) -> Action:
        known = set(self.logs)
        chosen = data.draw(st.lists(places, min_size=1, max_size=3, unique=True), "to")
        writes = []
        for stream_id in chosen:
            is_listening = stream_id == session_id
            end = StreamState.OPEN if is_listening else data.draw(ENDS, "end")
            epoch = None if is_listening else data.draw(st.sampled_from([1, 1, 1, 2]), "epoch")
            writes.append(writing.append(stream_id, *self._draw_payloads(data), epoch=epoch, end=end))

        def learn(outcomes: list[base.Outcome], before: Before) -> None:
            for write, outcome in zip(writes, outcomes, strict=True):
                if isinstance(outcome, base.Written):
                    _, state = before.get(write.stream_id, (0, StreamState.OPEN))
                    assert state == StreamState.OPEN, "something was written behind the end"
                    assert write.epoch != 2, "something of another epoch was written"
                    self.logs[write.stream_id].place(outcome.head, write.payloads)
                    if write.end != StreamState.OPEN:
                        self.logs[write.stream_id].end(write.end)

        def check(outcomes: list[base.Outcome]) -> None:
            for write, outcome in zip(writes, outcomes, strict=True):
                if not isinstance(outcome, base.Written):
                    assert isinstance(outcome, exceptions.StreamLost)
                    is_open = write.stream_id in known and self._is_open(write.stream_id)
                    assert write.epoch == 2 or not is_open

        return Action(writer, lambda: self.store.write(writes, []), Rank.WRITE, learn, check)

    def _fence(self, writer: int, session_id: int, places: Any, data: st.DataObject) -> Action:
        orphans = {
            stream_id for stream_id, log in self.logs.items() if log.state == StreamState.OPEN and self._is_dead(log)
        }

        def learn(ended: list[int], before: Before) -> None:
            for stream_id in ended:
                assert self._is_dead(self.logs[stream_id])
                self.logs[stream_id].end(StreamState.LOST)

        def check(ended: list[int]) -> None:
            assert not any(map(self._is_open, orphans))

        return Action(writer, lambda: self.store.end_orphans(_closing, 1_000), Rank.WRITE, learn, check)

    def _cancel(self, writer: int, session_id: int, places: Any, data: st.DataObject) -> Action:
        number = data.draw(st.integers(0, max(0, len(self.calls) - 1)), "call")
        stream_id = self.calls[number] if self.calls else None
        was_open = stream_id in self.logs and self.logs[stream_id].session_id == session_id

        def learn(cancelled: int | None, before: Before) -> None:
            if cancelled is not None:
                # By the id of the first call it may be one that the other writer has just begun.
                assert (cancelled, self.logs[cancelled].session_id) == (self.calls[number], session_id)
                self.logs[cancelled].end(StreamState.CANCELLED)

        def check(cancelled: int | None) -> None:
            assert not (was_open and self._is_open(stream_id))

        return Action(writer, lambda: self.store.cancel(session_id, str(number)), Rank.WRITE, learn, check)

    def _end(self, writer: int, session_id: int, places: Any, data: st.DataObject) -> Action:
        def learn(ended: list[int], before: Before) -> None:
            self.open_sessions.discard(session_id)
            for stream_id in ended:
                assert self.logs[stream_id].session_id == session_id
                self.logs[stream_id].end(StreamState.TERMINATED)

        def check(ended: list[int]) -> None:
            assert not any(log.state == StreamState.OPEN for log in self.logs.values() if log.session_id == session_id)

        end = SessionState.TERMINATED
        return Action(writer, lambda: self.store.end_session(session_id, end), Rank.WRITE, learn, check)

    def _read(self, reader: int, places: Any, data: st.DataObject) -> Action:
        stream_id, limit = data.draw(places, "stream"), data.draw(st.integers(1, 3), "limit")
        # Its connection may have broken before the last events arrived.
        again = data.draw(st.sampled_from([0, 0, 0, 3, 9]), "again")
        after = max(0, self.cursors.get((reader, stream_id), 0) - again)

        def learn(page: base.Page | None, before: Before) -> None:
            log = self.logs.get(stream_id)
            if page is None or log is None:
                assert stream_id not in before
                assert page is None or log is not None
                return
            old_head, old_state = before.get(stream_id, (0, StreamState.OPEN))
            assert old_head <= page.head <= log.head
            assert page.state in (old_state, log.state)
            # Who is told of the end is told of all that was before it.
            assert page.state == StreamState.OPEN or page.head == log.head
            if page.events and page.events[0].sequence == after + 1:
                assert page.events == [(i, log.events[i]) for i in range(after + 1, after + len(page.events) + 1)]
                assert after + len(page.events) <= page.head
                assert page.earliest <= after + 1, "something was read that is not kept"
                self.cursors[reader, stream_id] = page.events[-1].sequence
            elif page.head > after:
                # Trimmed, which can be seen: a listener goes on from what is kept.
                assert log.earliest > after + 1
                self.cursors[reader, stream_id] = log.earliest - 1

        return Action(reader, lambda: self.store.read(stream_id, after, limit), Rank.READ, learn, lambda page: None)

    def _draw_payloads(self, data: st.DataObject) -> list[str]:
        count = data.draw(st.integers(0, 3), "payloads")
        self.written += count
        return [str(number) for number in range(self.written - count, self.written)]

    def _is_dead(self, log: Log) -> bool:
        return log.owner_id is not None and self.leases[log.owner_id] <= 0

    def _is_open(self, stream_id: int) -> bool:
        return stream_id in self.logs and self.logs[stream_id].state == StreamState.OPEN

    def _settle(self) -> None:
        """Compare the store with what was answered: the same events, 1..n, and the same ends."""
        statuses = self.store.poll(self.calls + [i for i in self.logs if i not in self.calls])
        assert statuses.keys() == self.logs.keys()
        for stream_id, log in self.logs.items():
            status = statuses[stream_id]
            if log.state == StreamState.LOST and CLOSING not in log.events.values():
                log.close(status.head)
            assert sorted(log.events) == list(range(1, status.head + 1))
            assert status.state == log.state
            page = self.store.read(stream_id, log.earliest - 1, 1_000)
            assert page is not None
            assert page.events == [(i, log.events[i]) for i in range(log.earliest, log.head + 1)]
            assert (page.state, page.head, page.earliest) == (log.state, log.head, log.earliest)


def _closing(request_id: object) -> str:
    return CLOSING


@pytest.fixture
def threads() -> Iterator[list[ThreadPoolExecutor]]:
    """One for each writer and reader."""
    pools = [ThreadPoolExecutor(1) for _ in range(4)]
    yield pools
    for pool in pools:
        pool.submit(connections.close_all).result()
        pool.shutdown()


@pytest.mark.long
@pytest.mark.parametrize(
    ("log_database", "cache"),
    [("sqlite", None), ("postgres", None), ("sqlite", "locmem"), ("postgres", "redis")],
    indirect=True,
    scope="module",
)
def test_two_writers_and_two_readers_find_what_is_promised(
    store: base.Store, threads: list[ThreadPoolExecutor], settings: Settings
) -> None:
    settings.STREAMABLE_HTTP = {
        **settings.STREAMABLE_HTTP,
        "MAX_OPEN_STREAMS": 1_000,
        "MAX_STREAM_EVENTS": MAX_STREAM_EVENTS,
    }
    stateful.run_state_machine_as_test(
        lambda: Workers(store, threads),
        settings=hypothesis.settings(
            max_examples=30,
            stateful_step_count=40,
            deadline=None,
            # A race that was lost once need not be lost again, so nothing is made shorter by trying.
            phases=[hypothesis.Phase.generate],
            suppress_health_check=list(hypothesis.HealthCheck),
        ),
    )
