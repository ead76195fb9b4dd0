"""What a GET with a cursor gets."""

from __future__ import annotations

import pytest

from streamable_http.endpoint.resuming import Resumption, decide
from streamable_http.models import StreamState
from streamable_http.stores import base

OPEN, ENDED = StreamState.OPEN, StreamState.ANSWERED


@pytest.mark.parametrize("is_listening", [True, False])
@pytest.mark.parametrize(
    ("state", "sequence", "expected"),
    [
        (OPEN, 0, Resumption.WHOLE),
        (OPEN, 5, Resumption.WHOLE),
        (OPEN, 6, Resumption.INVALID),
        (ENDED, 4, Resumption.WHOLE),
        (ENDED, 5, Resumption.ENDED),
        (StreamState.CANCELLED, 5, Resumption.ENDED),
        (ENDED, 6, Resumption.INVALID),
    ],
)
def test_a_stream_that_is_kept_goes_on_from_the_cursor(
    state: StreamState, sequence: int, expected: Resumption, is_listening: bool
) -> None:
    assert decide(base.Page([], state, 5, 1), sequence, is_listening=is_listening) is expected


@pytest.mark.parametrize(
    ("earliest", "sequence", "is_listening", "expected"),
    [
        (4, 3, False, Resumption.WHOLE),
        (4, 2, False, Resumption.TRIMMED_CALL),
        (4, 2, True, Resumption.TRIMMED_LISTENING),
        # Redacted as a whole: nothing can be resumed, and whoever has everything is told to stop.
        (6, 4, False, Resumption.TRIMMED_CALL),
        (6, 5, False, Resumption.ENDED),
    ],
)
def test_a_gap_is_never_silent(earliest: int, sequence: int, is_listening: bool, expected: Resumption) -> None:
    assert decide(base.Page([], ENDED, 5, earliest), sequence, is_listening=is_listening) is expected
