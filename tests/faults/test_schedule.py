"""What is planned: as many of each kind as was said, and the same for the same seed."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.faults import injector, schedule

ALL = list(schedule.KINDS)


def test_the_same_seed_plans_the_same_faults() -> None:
    assert schedule.plan(ALL, 330, 7) == schedule.plan(ALL, 330, 7)
    assert schedule.plan(ALL, 330, 7) != schedule.plan(ALL, 330, 8)


@pytest.mark.parametrize("faults", [300, 330, 1_000])
def test_there_are_as_many_of_each_kind(faults: int) -> None:
    planned = schedule.plan(ALL, faults, 7)
    counted = Counter(fault.kind for queue in planned.values() for fault in queue)
    assert counted.total() >= faults
    assert set(counted) == set(injector.INJECT)
    assert len(set(counted.values())) == 1


def test_a_set_up_gets_only_what_can_happen_there() -> None:
    for name, queue in schedule.plan(ALL, 330, 7).items():
        assert {fault.kind for fault in queue} == set(schedule.KINDS[name])
    assert {fault.kind for fault in schedule.plan(["a"], 30, 7)["a"]} == set(schedule.EVERYWHERE)


def test_only_where_there_are_others_a_worker_is_paused_for_longer_than_its_lease() -> None:
    planned = schedule.plan(ALL, 330, 7)
    long = {name: [fault for fault in queue if fault.seconds > 15] for name, queue in planned.items()}
    assert long["a"] == []
    for name in "bc":
        assert {fault.kind for fault in long[name]} == {"pause"}


def test_a_long_run_is_many_rounds() -> None:
    assert schedule.rounds(330) == [330]
    assert sum(schedule.rounds(10_000)) == 10_000
    assert max(schedule.rounds(10_001)) <= schedule.ROUND_FAULTS


def test_a_choice_is_one_of_those_that_there_are() -> None:
    for choice in (0.0, 0.5, 0.999999):
        assert 0 <= schedule.Fault("reset", 0, 0, choice).choose(3) < 3
