"""A long list is not counted to its end, and says so."""

from __future__ import annotations

import pytest
from django.db import connections
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from streamable_http import models
from streamable_http.admin import paging
from streamable_http.stores.db import DatabaseStore
from tests.stores import writing


def test_counting_stops_at_the_limit(store: DatabaseStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paging, "MAX_ROWS", 3)
    for _ in range(5):
        writing.session(store)
    paginator = paging.BoundedPaginator(models.Session.objects.using(store.alias), 2)
    with CaptureQueriesContext(connections[store.alias]) as queries:
        assert paginator.count == 3
    assert paginator.num_pages == 2
    [counted] = queries
    assert "LIMIT 4" in counted["sql"]


def test_a_cut_list_says_so(store: DatabaseStore, viewer: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    url = reverse("admin:streamable_http_session_changelist")
    for _ in range(2):
        writing.session(store)
    assert "Only the first" not in viewer.get(url).content.decode()
    monkeypatch.setattr(paging, "MAX_ROWS", 2)
    assert "Only the first 2 are listed" in viewer.get(url).content.decode()
