"""Who serves, and who is gone."""

from __future__ import annotations

from django.db import DEFAULT_DB_ALIAS, connections
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from streamable_http import models
from streamable_http.operations import permissions
from streamable_http.stores.db import DatabaseStore
from tests.admin.conftest import Person
from tests.admin.test_sessions import column
from tests.stores import writing

URL = "admin:streamable_http_worker_changelist"


def test_workers_are_listed_with_what_they_run(store: DatabaseStore, viewer: Client) -> None:
    store.register_worker(1, "web-1", 11, 3_600)
    store.register_worker(2, "web-2", 22, 3_600)
    store.retire_worker(2)
    models.Worker.objects.using(store.alias).filter(pk=2).update(dropped_records=1234)
    session_id = writing.session(store)
    for number in range(3):
        writing.stream(store, session_id, "1", owner_id=1, request_id=str(number))
    page = viewer.get(reverse(URL)).content.decode()
    assert column(page, "name") == ["web-2:22", "web-1:11"]
    assert column(page, "heartbeat") == ["gone", "alive"]
    assert column(page, "open_streams") == ["0", "3"]
    assert column(page, "dropped") == ["1,234", "0"]


def test_the_living_are_told_from_the_dead(store: DatabaseStore, viewer: Client) -> None:
    store.register_worker(1, "web-1", 11, 3_600)
    store.register_worker(2, "web-2", 22, 3_600)
    store.retire_worker(2)
    for value, found in [("1", "web-1:11"), ("0", "web-2:22")]:
        assert column(viewer.get(reverse(URL), {"alive": value}).content.decode(), "name") == [found]


def test_many_workers_take_as_many_queries_as_few(store: DatabaseStore, viewer: Client) -> None:
    def queries() -> int:
        with (
            CaptureQueriesContext(connections[store.alias]) as of_log,
            CaptureQueriesContext(connections[DEFAULT_DB_ALIAS]) as of_users,
        ):
            viewer.get(reverse(URL))
        return len(of_log) + len(of_users)

    for number in range(1, 6):
        store.register_worker(number, "web", number, 3_600)
    few = queries()
    for number in range(6, 51):
        store.register_worker(number, "web", number, 3_600)
    assert queries() == few


def test_a_worker_has_a_page(store: DatabaseStore, viewer: Client) -> None:
    store.register_worker(1, "web\u202e", 11, 3_600)
    page = viewer.get(reverse("admin:streamable_http_worker_change", args=[1])).content.decode()
    assert "\\u202e" in page
    assert "alive" in page


def test_workers_are_for_who_may_see_sessions(store: DatabaseStore, person: Person) -> None:
    assert person("streamable_http.view_worker").get(reverse(URL)).status_code == 403
    assert person(permissions.VIEW_SESSIONS).get(reverse(URL)).status_code == 200
