"""A database and memory are told the same things and must always say the same; with a cache in front, too."""

from __future__ import annotations

import hypothesis
import pytest
from hypothesis import stateful
from hypothesis import strategies as st
from pytest_django import Settings

from streamable_http import ids, models
from streamable_http.models import SessionState, StreamState
from streamable_http.stores import base, delegating
from streamable_http.stores.db import DatabaseStore
from streamable_http.stores.memory import MemoryStore
from tests.stores import writing
from tests.stores.aging import pass_seconds
from tests.stores.conftest import TABLES, SmallPages

MAX_OPEN_STREAMS = 3
MAX_STREAM_EVENTS = 4

# Time passes in steps; no limit is near a multiple of one, so that the time which a test itself takes decides nothing.
# No limit is a multiple of the step, by minutes: the time that a busy machine takes decides nothing.
STEP_SECONDS = 600.0
LEASE_SECONDS = (1_500.0, 2_700.0)
IDLE_SECONDS = 3_300.0
RESUMABLE_SECONDS = 900.0
LIMITS = {"TAKEOVER_WINDOW_SECONDS": 1_500.0, "GIVE_WAY_SECONDS": 2_100.0, "RERUN_SECONDS": 600.0}

PAYLOADS = st.lists(st.sampled_from(["a", "é", '{"x":"\\u0000"}', "\U0001f600" * 3]), max_size=3)
ENDS = st.sampled_from([StreamState.OPEN, StreamState.OPEN, StreamState.ANSWERED])
FOLLOWERS = st.integers(1, 3)
TOPICS = st.sampled_from(["topic", "other"])
UNKNOWN = 1
"""Names no session, no stream and no worker."""


class Stores(stateful.RuleBasedStateMachine):
    """Ids are drawn once, and both stores get the same."""

    sessions = stateful.Bundle("sessions")
    workers = stateful.Bundle("workers")

    def __init__(self, database: base.Store) -> None:
        super().__init__()
        kept = delegating.innermost(database)
        assert isinstance(kept, DatabaseStore)
        self.alias = kept.alias
        for model in TABLES:
            model.objects.using(self.alias).all().delete()
        self.database = database
        self.memory = MemoryStore()
        self.streams: dict[int, int] = {}
        """The session of each."""

        self.asks: list[base.NewAsk] = []

    def both(self, name: str, *arguments: object) -> object:
        """Ask both stores, and return what they agree on."""
        expected = getattr(self.memory, name)(*arguments)
        actual = getattr(self.database, name)(*arguments)
        assert actual == expected, (name, arguments)
        return expected

    def both_sorted(self, name: str, *arguments: object) -> None:
        """As :meth:`both`, where the order is free."""
        expected = getattr(self.memory, name)(*arguments)
        assert sorted(getattr(self.database, name)(*arguments)) == sorted(expected)

    # Sessions and workers

    @stateful.rule(target=sessions)
    def open_session(self) -> int:
        facts = writing.facts()
        self.both("open_session", facts, f"digest-{facts.id}", None)
        self.streams[facts.id] = facts.id
        return facts.id

    @stateful.rule(session_id=sessions, state=st.sampled_from([SessionState.TERMINATED, SessionState.EXPIRED]))
    def end_session(self, session_id: int, state: SessionState) -> None:
        self.both_sorted("end_session", session_id, state)

    @stateful.rule(session_id=sessions, level=st.sampled_from(["debug", "error"]))
    def set_log_level(self, session_id: int, level: str) -> None:
        self.both("set_log_level", session_id, level)

    @stateful.rule(session_id=sessions)
    def touch(self, session_id: int) -> None:
        self.both("touch", [session_id, UNKNOWN])

    @stateful.rule(target=workers, seconds=st.sampled_from(LEASE_SECONDS))
    def register_worker(self, seconds: float) -> int:
        worker_id = ids.new()
        self.both("register_worker", worker_id, "host", 1, seconds)
        return worker_id

    @stateful.rule(worker_id=workers, seconds=st.sampled_from(LEASE_SECONDS))
    def renew_worker(self, worker_id: int, seconds: float) -> None:
        self.both("renew_worker", worker_id, seconds)

    @stateful.rule(worker_id=workers)
    def retire_worker(self, worker_id: int) -> None:
        self.both("retire_worker", worker_id)

    # Time

    @stateful.rule(steps=st.integers(1, 6))
    def let_time_pass(self, steps: int) -> None:
        for store in (self.memory, self.database):
            pass_seconds(store, steps * STEP_SECONDS)

    @stateful.rule()
    def expire_sessions(self) -> None:
        self.both_sorted("expire_sessions", IDLE_SECONDS, 1_000)

    @stateful.rule()
    def end_orphans(self) -> None:
        self.both_sorted("end_orphans", repr, 1_000)

    @stateful.rule()
    def redact(self) -> None:
        for store in (self.memory, self.database):
            _prune(store, base.Retention(RESUMABLE_SECONDS, None))

    @stateful.rule()
    def delete_what_has_ended(self) -> None:
        for store in (self.memory, self.database):
            _prune(store, base.Retention(-1, -1))
        gone = self.streams.keys() - self.memory._streams.keys()
        self.both("poll", gone)
        self.streams = {i: session_id for i, session_id in self.streams.items() if i not in gone}

    @stateful.rule(worker_id=workers)
    def take_orphans(self, worker_id: int) -> None:
        expected, actual = (
            sorted(store.take_orphans(worker_id, ["test"], 1_000), key=lambda orphan: orphan.stream_id)
            for store in (self.memory, self.database)
        )
        assert actual == expected

    # Writing

    @stateful.rule(
        openings=st.lists(
            st.tuples(
                sessions | st.just(UNKNOWN),
                workers,
                st.sampled_from(["1", "2", '"2"', "3"]),
                st.sampled_from(["", "{}"]),
                PAYLOADS,
                ENDS,
            ),
            max_size=3,
        ),
        data=st.data(),
    )
    def write(self, openings: list[tuple[int, int, str, str, list[str], StreamState]], data: st.DataObject) -> None:
        begins = [
            writing.begin(
                session_id, *payloads, owner_id=worker_id, request_id=request_id, arguments=arguments, end=end
            )
            for session_id, worker_id, request_id, arguments, payloads, end in openings
        ]
        places = st.sampled_from([*self.streams, UNKNOWN])
        appends = [self._append(data, i) for i in data.draw(st.lists(places, unique=True, max_size=3), "appends to")]
        # Openings first: it is not said whether one sees what the same batch ends.
        outcomes = self._write([*begins, *appends])
        for write, outcome in zip(begins, outcomes, strict=False):
            if isinstance(outcome, base.Written):
                assert write.opening is not None
                self.streams[write.stream_id] = write.opening.session_id or 0
        self.asks += [ask for write in appends for ask in write.asks]

    def _append(self, data: st.DataObject, stream_id: int) -> base.StreamWrite:
        is_listening = self.streams.get(stream_id) == stream_id
        asks = [writing.ask(self.streams.get(stream_id, UNKNOWN))] if data.draw(st.booleans(), "asks") else []
        return writing.append(
            stream_id,
            *data.draw(PAYLOADS, "payloads"),
            epoch=data.draw(st.sampled_from([None] if is_listening else [1, 1, 2, None]), "epoch"),
            end=StreamState.OPEN if is_listening else data.draw(ENDS, "end"),
            asks=asks,
        )

    def _write(self, writes: list[base.StreamWrite]) -> list[base.Outcome]:
        expected = self.memory.write(writes, [])
        actual = self.database.write(writes, [])
        for ours, theirs in zip(expected, actual, strict=True):
            assert theirs == ours if isinstance(ours, base.Written) else type(theirs) is type(ours)
        return expected

    # Streams and asks

    @stateful.rule(session_id=sessions, request_id=st.sampled_from(["1", "2", '"2"', ""]))
    def cancel(self, session_id: int, request_id: str) -> None:
        if request_id:
            self.both("cancel", session_id, request_id)

    @stateful.rule(data=st.data(), follower=FOLLOWERS)
    def take(self, data: st.DataObject, follower: int) -> None:
        self.both("take", data.draw(st.sampled_from([*self.streams, UNKNOWN])), follower)

    @stateful.rule(data=st.data(), follower=FOLLOWERS)
    def release(self, data: st.DataObject, follower: int) -> None:
        self.both("release", data.draw(st.sampled_from([*self.streams, UNKNOWN])), follower)

    @stateful.rule(data=st.data(), sequence=st.integers(0, 9))
    def hand(self, data: st.DataObject, sequence: int) -> None:
        self.both("hand", data.draw(st.sampled_from([*self.streams, UNKNOWN])), sequence)

    @stateful.rule(session_id=sessions, topic=TOPICS)
    def subscribe(self, session_id: int, topic: str) -> None:
        self.both("subscribe", session_id, topic, 10)

    @stateful.rule(topic=TOPICS, is_for_all=st.booleans())
    def notify(self, topic: str, is_for_all: bool) -> None:
        told = [writing.notify(store, topic, "n", is_for_all=is_for_all) for store in (self.memory, self.database)]
        assert sorted(told[0]) == sorted(told[1])

    @stateful.rule(session_id=sessions, sequence=st.integers(0, 9))
    def offer(self, session_id: int, sequence: int) -> None:
        self.both("offer", session_id, sequence)

    @stateful.rule(session_id=sessions, data=st.data())
    def reply(self, session_id: int, data: st.DataObject) -> None:
        for ask in self._some_ask(data):
            self.both("reply", data.draw(st.sampled_from([ask.session_id, session_id])), ask.wire_id, str(ask.id))

    @stateful.rule(data=st.data())
    def withdraw(self, data: st.DataObject) -> None:
        for ask in self._some_ask(data):
            self.both("withdraw", ask.id)

    def _some_ask(self, data: st.DataObject) -> list[base.NewAsk]:
        return [data.draw(st.sampled_from(self.asks))] if self.asks else []

    @stateful.rule(data=st.data(), after=st.integers(0, 12), limit=st.integers(1, 3))
    def read_a_page(self, data: st.DataObject, after: int, limit: int) -> None:
        stream_id = data.draw(st.sampled_from([*self.streams, UNKNOWN]))
        expected, actual = (store.read(stream_id, after, limit) for store in (self.memory, self.database))
        if expected is None or actual is None:
            assert actual == expected
        elif after >= expected.earliest - 1:
            if isinstance(self.database, SmallPages):
                # Pages end at their borders.
                assert actual.events or not expected.events
                del expected.events[len(actual.events) :]
            assert actual == expected
        else:
            # Behind a cursor that was trimmed, all that counts is that the gap can be seen.
            for page in (expected, actual):
                assert (page.state, page.head, page.earliest) == (expected.state, expected.head, expected.earliest)
                assert [event.sequence for event in page.events][:1] != [after + 1]

    # Always

    @stateful.invariant()
    def all_streams_are_alike(self) -> None:
        self.both("poll", [*self.streams, UNKNOWN])
        for stream_id, session_id in self.streams.items():
            self.both("find_stream", session_id, stream_id)
            self.both("handed", stream_id)
            page = self.both("read", stream_id, self.memory._streams[stream_id].earliest - 1, 1_000)
            assert isinstance(page, base.Page)
            assert [event.sequence for event in page.events] == list(range(page.earliest, page.head + 1))
            assert self._followed(stream_id, page.earliest - 1) == page.events

    def _followed(self, stream_id: int, after: int) -> list[base.Event]:
        """Read what is behind a cursor page by page."""
        events: list[base.Event] = []
        while page := self.database.read(stream_id, after + len(events), SmallPages.page_events):
            if not page.events:
                break
            events += page.events
        return events

    @stateful.invariant()
    def all_sessions_are_alike(self) -> None:
        for session_id in (i for i, session in self.streams.items() if i == session):
            is_open = self.both("is_open", session_id)
            if is_open or not isinstance(self.database, SmallPages):
                self.both("find_session", f"digest-{session_id}")
        self.both("replies", [ask.id for ask in self.asks])

    def teardown(self) -> None:
        ended = models.Stream.objects.using(self.alias).exclude(state=StreamState.OPEN)
        assert not ended.filter(ended_at=None).exists()


def _prune(store: base.Store, kept: base.Retention) -> None:
    while store.prune(kept, str.upper, 5) is not None:
        pass


@pytest.mark.long
@pytest.mark.parametrize(
    ("log_database", "cache"),
    [("sqlite", None), ("postgres", None), ("sqlite", "locmem"), ("postgres", "redis")],
    indirect=True,
    scope="module",
)
def test_a_database_and_memory_say_the_same(
    store: base.Store, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, seconds in LIMITS.items():
        monkeypatch.setattr(base, name, seconds)
    settings.STREAMABLE_HTTP = {
        **settings.STREAMABLE_HTTP,
        "MAX_OPEN_STREAMS": MAX_OPEN_STREAMS,
        "MAX_STREAM_EVENTS": MAX_STREAM_EVENTS,
    }
    stateful.run_state_machine_as_test(
        lambda: Stores(store),
        settings=hypothesis.settings(
            max_examples=12,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(hypothesis.HealthCheck),
        ),
    )
