"""Time-ordered ids."""

from __future__ import annotations

import threading
import time

from streamable_http import ids


def test_ids_rise_and_never_repeat_within_the_process() -> None:
    made = [ids.new() for _ in range(20_000)]
    assert made == sorted(set(made))


def test_ids_of_several_threads_never_repeat() -> None:
    made: list[list[int]] = [[] for _ in range(4)]
    threads = [threading.Thread(target=lambda own=own: own.extend(ids.new() for _ in range(5_000))) for own in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({one for own in made for one in own}) == 20_000


def test_an_id_says_when_it_was_made_and_fits_a_signed_64_bit_integer() -> None:
    before = time.time_ns() // 1_000_000
    made = ids.Generator()()
    assert before <= made >> ids.RANDOM_BITS <= time.time_ns() // 1_000_000
    assert 0 < made < 2**63


def test_ids_of_before_a_time_are_smaller_than_those_of_after() -> None:
    before = ids.Generator()()
    boundary = ids.first_at(time.time() + 0.001)
    while time.time_ns() // 1_000_000 << ids.RANDOM_BITS < boundary:
        pass
    assert before < boundary <= ids.Generator()()


def test_an_id_tells_its_time_in_seconds() -> None:
    before = time.time_ns() // 1_000_000
    assert before / 1_000 <= ids.made_at(ids.new()) <= time.time()
    assert ids.made_at(ids.first_at(1_700_000_000.5)) == 1_700_000_000.5
