"""Whatever a store does, every write gets its outcome, once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from streamable_http import exceptions
from streamable_http.delivery import committer
from streamable_http.delivery.committer import Committer, Item
from streamable_http.stores import base
from streamable_http.stores.memory import MemoryStore
from tests.stores import writing

Fault = Callable[[Callable[[], list[base.Outcome]]], list[base.Outcome]]


class FaultyStore(MemoryStore):
    """Does what the next fault says, and without one what a store does."""

    def __init__(self) -> None:
        super().__init__()
        self.faults: list[Fault] = []
        self.answers: list[bool | exceptions.StoreUnavailable] = []
        """To the question whether it was committed."""

        self.tries = 0

    def write(self, writes: Sequence[base.StreamWrite], records: Sequence[base.NewRecord]) -> list[base.Outcome]:
        self.tries += 1
        for write in writes:
            if "poison" in write.payloads:
                raise exceptions.StoreError("poison")
        if any(record.payload == "poison" for record in records):
            raise exceptions.StoreError("poison")

        def commit() -> list[base.Outcome]:
            return MemoryStore.write(self, writes, records)

        return self.faults.pop(0)(commit) if self.faults else commit()

    def committed(self, receipt: object) -> bool:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def unavailable(commit: Callable[[], list[base.Outcome]]) -> list[base.Outcome]:
    raise exceptions.StoreUnavailable("down")


def breaks_before(commit: Callable[[], list[base.Outcome]]) -> list[base.Outcome]:
    raise base.CommitUncertain("receipt", [])


def breaks_after(commit: Callable[[], list[base.Outcome]]) -> list[base.Outcome]:
    raise base.CommitUncertain("receipt", commit())


class Told:
    """A committer, and what it told whom."""

    def __init__(self) -> None:
        self.store = FaultyStore()
        self.outcomes: dict[int, base.Outcome] = {}
        self.has_lease = True
        self.waiting: list[Item] = []
        self.committer = Committer(
            self.store, post=self._post, has_lease=lambda: self.has_lease, take_openings=self._take_openings
        )

    def commit(self, *writes: base.StreamWrite, records: Sequence[base.NewRecord] = ()) -> list[base.Outcome]:
        self.committer.commit([Item(write, _settle) for write in writes], records)
        return [self.outcomes.pop(write.stream_id) for write in writes]

    def _take_openings(self) -> list[Item]:
        taken, self.waiting = self.waiting, []
        return taken

    def _post(self, items: Sequence[Item], outcomes: Sequence[base.Outcome]) -> None:
        for item, outcome in zip(items, outcomes, strict=True):
            assert item.write.stream_id not in self.outcomes
            self.outcomes[item.write.stream_id] = outcome


def _settle(write: base.StreamWrite, outcome: base.Outcome) -> None:
    raise AssertionError("not in the log's thread")


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    monkeypatch.setattr(committer, "RETRY_SECONDS", (0.0,))
    return Told()


def test_outcomes_are_posted_in_order(told: Told) -> None:
    assert told.commit(writing.begin(None, "a"), writing.begin(None)) == [base.Written(1, 1), base.Written(0, 0)]


def test_without_a_lease_nothing_is_written_and_everything_is_lost(told: Told) -> None:
    told.has_lease = False
    write = writing.begin(None, "a")
    [outcome] = told.commit(write)
    assert isinstance(outcome, exceptions.StreamLost)
    assert outcome.stream_id == write.stream_id
    assert told.store.tries == 0


def test_a_lease_that_ends_between_two_tries_counts(told: Told) -> None:
    def loses_lease(commit: Callable[[], list[base.Outcome]]) -> list[base.Outcome]:
        told.has_lease = False
        raise exceptions.StoreUnavailable("down")

    told.store.faults = [loses_lease]
    [outcome] = told.commit(writing.begin(None))
    assert isinstance(outcome, exceptions.StreamLost)
    assert told.store.tries == 1


def test_a_store_that_was_away_for_a_moment_is_asked_again(told: Told) -> None:
    told.store.faults = [unavailable, unavailable]
    assert told.commit(writing.begin(None, "a")) == [base.Written(1, 1)]
    assert told.store.tries == 3
    assert told.committer.next_look_seconds is None


def test_a_commit_that_broke_off_and_happened_is_not_repeated(told: Told) -> None:
    told.store.faults, told.store.answers = [breaks_after], [True]
    write = writing.begin(None, "a")
    assert told.commit(write) == [base.Written(1, 1)]
    assert told.store.tries == 1
    assert writing.events(told.store, write.stream_id) == writing.numbered("a")


def test_a_commit_that_broke_off_and_did_not_happen_is_repeated(told: Told) -> None:
    told.store.faults, told.store.answers = [breaks_before], [False]
    write = writing.begin(None, "a")
    assert told.commit(write) == [base.Written(1, 1)]
    assert told.store.tries == 2


def test_a_commit_may_break_off_again_and_again(told: Told) -> None:
    told.store.faults = [breaks_before, breaks_before, unavailable, breaks_after]
    told.store.answers = [False, exceptions.StoreUnavailable("?"), False, exceptions.StoreUnavailable("?"), True]
    write = writing.begin(None, "a")
    assert told.commit(write) == [base.Written(1, 1)]
    assert told.store.answers == []
    assert writing.events(told.store, write.stream_id) == writing.numbered("a")


def test_while_a_commit_is_uncertain_nobody_is_refused(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(committer, "DOWN_SECONDS", -1.0)
    told.store.faults, told.store.answers = [breaks_after], [exceptions.StoreUnavailable("?"), True]
    assert told.commit(writing.begin(None, "a")) == [base.Written(1, 1)]


def test_after_a_while_calls_that_have_not_begun_are_refused_and_the_others_wait(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(committer, "DOWN_SECONDS", -1.0)
    stream_id = writing.stream(told.store, None)
    told.store.faults = [unavailable, unavailable]
    refused, written = told.commit(writing.begin(None, "a"), writing.append(stream_id, "b"))
    assert isinstance(refused, exceptions.Unavailable)
    assert written == base.Written(1, 1)
    assert not told.committer.is_down()


def test_a_store_that_is_back_is_noticed_without_a_write(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(committer, "DOWN_SECONDS", -1.0)
    told.store.faults = [unavailable, unavailable]
    told.commit(writing.begin(None))
    assert told.committer.is_down()
    assert told.committer.next_look_seconds is not None
    told.committer.probe()
    assert told.committer.is_down()
    told.committer.probe()
    assert not told.committer.is_down()


def test_data_that_cannot_be_stored_harms_its_own_stream_alone(told: Told) -> None:
    first, bad, last = told.commit(*(writing.begin(None, payload) for payload in ("a", "poison", "b")))
    assert first == last == base.Written(1, 1)
    assert isinstance(bad, exceptions.StoreError)


def test_a_record_that_cannot_be_stored_is_dropped_and_counted_and_harms_nobody(told: Told) -> None:
    assert told.commit(writing.begin(None), records=[writing.record(payload="poison")]) == [base.Written(0, 0)]
    assert told.committer.dropped_records == 1


def test_an_error_that_nobody_expected_is_an_outcome_too(told: Told) -> None:
    def bug(commit: Callable[[], list[base.Outcome]]) -> list[base.Outcome]:
        raise RuntimeError("a bug")

    told.store.faults = [bug]
    outcomes = told.commit(writing.begin(None), writing.begin(None))
    assert [type(outcome) for outcome in outcomes] == [exceptions.StoreError] * 2
    assert told.commit(writing.begin(None)) == [base.Written(0, 0)]


def test_an_unforeseen_error_in_the_middle_of_a_split_batch_tells_everybody_once(told: Told) -> None:
    def poisoned(commit: Callable[[], list[base.Outcome]]) -> list[base.Outcome]:
        raise exceptions.StoreError("poison")

    def broken(commit: Callable[[], list[base.Outcome]]) -> list[base.Outcome]:
        raise RuntimeError("a fault of ours")

    told.store.faults = [poisoned, lambda commit: commit(), broken]
    outcomes = told.commit(writing.begin(None, "a"), writing.begin(None, "b"), writing.begin(None, "c"))
    assert outcomes[0] == base.Written(1, 1)
    assert [type(outcome) for outcome in outcomes[1:]] == [exceptions.StoreError] * 2


def test_records_that_were_not_written_are_counted(told: Told) -> None:
    told.has_lease = False
    told.commit(writing.begin(None), records=[writing.record(), writing.record()])
    assert told.committer.dropped_records == 2


@pytest.mark.parametrize("first", [unavailable, breaks_before], ids=["certain", "uncertain"])
def test_calls_that_wait_behind_a_batch_are_refused_with_it_when_the_store_is_down(
    told: Told, monkeypatch: pytest.MonkeyPatch, first: Callable[..., list[base.Outcome]]
) -> None:
    monkeypatch.setattr(committer, "DOWN_SECONDS", 0.0)
    going_on, waiting = writing.append(writing.stream(told.store, None), "b"), writing.begin(None)
    told.waiting = [Item(waiting, _settle)]
    told.store.faults = [first, unavailable]
    told.store.answers = [exceptions.StoreUnavailable("?"), False]
    assert told.commit(going_on) == [base.Written(1, 1)]
    assert isinstance(told.outcomes.pop(waiting.stream_id), exceptions.Unavailable)
