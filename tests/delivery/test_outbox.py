"""An outbox gives within limits, in order, and loses nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamable_http.delivery.outbox import Outbox

PAYLOADS = st.lists(st.text(min_size=1, max_size=20))


def filled(*payloads: str) -> Outbox:
    outbox = Outbox()
    for payload in payloads:
        outbox.add(payload, len(payload.encode()))
    return outbox


@given(PAYLOADS, st.integers(1, 5), st.integers(1, 60))
def test_whatever_the_limits_everything_comes_out_once_and_in_order(
    payloads: list[str], events: int, size_bytes: int
) -> None:
    outbox = filled(*payloads)
    taken: list[str] = []
    while outbox:
        some, size = outbox.take(events, size_bytes)
        assert 1 <= len(some) <= events
        assert size == sum(len(payload.encode()) for payload in some)
        assert size <= size_bytes or len(some) == 1
        taken += some
    assert taken == payloads
    assert outbox.size_bytes == 0


def test_what_is_put_back_comes_first_again() -> None:
    outbox = filled("a", "bb", "c")
    outbox.put_back(*outbox.take(2, 100))
    assert outbox.take(10, 100) == (["a", "bb", "c"], 4)


def test_replacing_keeps_the_place_and_tells_the_growth() -> None:
    outbox = filled("a", "b")
    assert outbox.replace(1, "bbb", 3) == 2
    assert outbox.take(10, 100) == (["a", "bbb"], 4)


@pytest.mark.parametrize(("limit", "fits"), [(0, False), (1, False), (2, True), (3, True)])
def test_it_fits_when_its_first_payload_does(limit: int, fits: bool) -> None:
    assert filled("aa", "b").fits(limit) is fits
    assert Outbox().fits(0)
