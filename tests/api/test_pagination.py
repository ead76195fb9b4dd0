"""Pages by key, on real databases."""

from __future__ import annotations

import pytest
from django.db import connections
from django.test.utils import CaptureQueriesContext

from streamable_http import models
from streamable_http.api import pagination
from streamable_http.models import StreamState
from streamable_http.stores.db import DatabaseStore
from tests.stores import writing


@pytest.fixture
def streams(log_alias: str) -> list[int]:
    """Ids of ten streams, the newest first; every fifth is lost."""
    store = DatabaseStore(log_alias)
    states = [StreamState.ANSWERED] * 4 + [StreamState.LOST]
    return [writing.stream(store, None, end=state) for state in states * 2][::-1]


def page(alias: str, before: int | None, **options: object) -> pagination.KeysetPage[models.Stream]:
    rows = models.Stream.objects.using(alias).filter(**options)
    return pagination.KeysetPage(rows, before=before, limit=3, is_scan=bool(options))


def test_pages_are_the_newest_first_and_end(log_alias: str, streams: list[int]) -> None:
    before, found = None, []
    while True:
        some = page(log_alias, before)
        found.append([row.pk for row in some.rows])
        before = some.next
        if before is None:
            break
    assert found == [streams[0:3], streams[3:6], streams[6:9], streams[9:]]


def test_a_scan_ends_after_so_many_rows_and_goes_on_from_there(
    log_alias: str, streams: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pagination, "SCANNED_ROWS", 4)
    before, found, sizes = None, [], []
    while True:
        some = page(log_alias, before, state="lost")
        found += [row.pk for row in some.rows]
        sizes.append(len(some.rows))
        before = some.next
        if before is None:
            break
    assert found == [streams[0], streams[5]]
    assert sizes == [1, 1, 0]


def test_a_page_takes_one_query_and_a_scan_two(log_alias: str, streams: list[int]) -> None:
    with CaptureQueriesContext(connections[log_alias]) as captured:
        page(log_alias, None)
        assert len(captured) == 1
        page(log_alias, streams[0], state="lost")
        assert len(captured) == 3
