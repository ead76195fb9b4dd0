"""The list of sessions, over real rows."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import DEFAULT_DB_ALIAS, connections
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from streamable_http import ids, models
from streamable_http.models import Outcome, SessionState, StreamState
from streamable_http.operations import permissions
from streamable_http.stores.db import DatabaseStore
from tests.admin.conftest import Person
from tests.stores import writing


def listed(client: Client, **query: Any) -> str:
    response = client.get(reverse("admin:streamable_http_session_changelist"), query)
    assert response.status_code == 200
    return response.content.decode()


def column(page: str, name: str) -> list[str]:
    """What a column says, without markup."""
    cells = re.findall(rf'<t[dh] class="[^"]*field-{name}[^"]*">(.*?)</t[dh]>', page, re.DOTALL)
    return [re.sub(r"<[^>]+>", "", cell).replace("\xa0", " ") for cell in cells]


def call(store: DatabaseStore, session_id: int, number: int, *payloads: str, **row: Any) -> None:
    stream_id = writing.stream(store, session_id, *payloads, request_id=str(number), owner_id=7)
    models.Stream.objects.using(store.alias).filter(pk=stream_id).update(**row)


def test_a_session_is_listed_with_what_it_came_to(store: DatabaseStore, viewer: Client) -> None:
    store.register_worker(7, "web-1", 4711, 15)
    session_id = writing.session_of(store, "user:1", client_info={"name": "inspector", "version": "2.12"})
    call(store, session_id, 1, "é" * 600, "12", state=StreamState.ANSWERED, outcome=Outcome.RESULT)
    call(store, session_id, 2, "1", state=StreamState.ANSWERED, outcome=Outcome.TOOL_ERROR)
    call(store, session_id, 3)
    page = listed(viewer)
    assert column(page, "short_id") == [f"{session_id:x}"]
    assert column(page, "state") == ["open"]
    assert column(page, "who") == ["user:1"]
    assert column(page, "client") == ["inspector 2.12"]
    assert column(page, "revision") == ["2025-11-25"]
    assert column(page, "calls") == ["3 (1 running)"]
    assert column(page, "events") == ["3"]
    assert column(page, "stored") == ["1.2 KB"]
    assert column(page, "errors") == ["1"]
    assert column(page, "worker") == ["web-1:4711"]


def test_the_secret_of_a_session_is_not_in_the_page(store: DatabaseStore, viewer: Client) -> None:
    writing.session(store, "d" * 64)
    assert "d" * 64 not in listed(viewer)


def test_many_sessions_take_as_many_queries_as_few(store: DatabaseStore, viewer: Client) -> None:
    def queries() -> int:
        with (
            CaptureQueriesContext(connections[store.alias]) as of_log,
            CaptureQueriesContext(connections[DEFAULT_DB_ALIAS]) as of_users,
        ):
            listed(viewer)
        return len(of_log) + len(of_users)

    def add(count: int) -> None:
        for _ in range(count):
            call(store, writing.session(store), 1, "1")

    add(5)
    few = queries()
    add(45)
    assert queries() == few
    assert len(column(listed(viewer), "short_id")) == 50


def test_nothing_is_sorted_by_what_no_index_can_sort(store: DatabaseStore, viewer: Client) -> None:
    writing.session(store)
    with CaptureQueriesContext(connections[store.alias]) as queries:
        listed(viewer, o="3.-7")
    assert not any(re.search(r"ORDER BY[^)]*(principal|last_seen_at)", query["sql"]) for query in queries)


def test_sessions_are_found_as_everywhere_else(store: DatabaseStore, viewer: Client) -> None:
    mine = writing.session_of(store, "user:anna", client_info={"name": "inspector"})
    other = writing.session_of(store, "user:bert", client_info={"name": "claude-code"})
    for term, found in [("anna", mine), ("claude", other), (f"{mine:x}", mine)]:
        assert column(listed(viewer, q=term), "short_id") == [f"{found:x}"]
    assert column(listed(viewer, q="nobody"), "short_id") == []
    assert len(column(listed(viewer, q=" "), "short_id")) == 2


def test_sessions_are_filtered(store: DatabaseStore, viewer: Client) -> None:
    old = writing.session_of(store, "", server="shop", revision="2025-03-26")
    new = writing.session_of(store, "", server="library")
    store.end_session(old, SessionState.TERMINATED)
    for query, found in [
        ({"state__exact": "terminated"}, old),
        ({"state__exact": "open"}, new),
        ({"server": "shop"}, old),
        ({"revision": "2025-11-25"}, new),
    ]:
        assert column(listed(viewer, **query), "short_id") == [f"{found:x}"]
    assert "?server=library" in listed(viewer)


def session_at(store: DatabaseStore, moment: datetime) -> int:
    session_id = writing.session_of(store, "", id=ids.first_at(moment.timestamp()))
    models.Session.objects.using(store.alias).filter(pk=session_id).update(created_at=moment)
    return session_id


def test_sessions_are_found_by_their_day(store: DatabaseStore, viewer: Client) -> None:
    earlier = session_at(store, datetime(2026, 4, 20, 12, tzinfo=UTC))
    later = session_at(store, datetime(2026, 6, 1, 12, tzinfo=UTC))
    page = listed(viewer)
    assert column(page, "short_id") == [f"{later:x}", f"{earlier:x}"]
    links = re.findall(r'<a href="\?([^"]*created_at__[^"]*)"', page.replace("&amp;", "&"))
    assert links == [f"created_at__month={month}&created_at__year=2026" for month in (4, 5, 6)]
    page = listed(viewer, created_at__year=2026, created_at__month=4)
    assert column(page, "short_id") == [f"{earlier:x}"]
    assert f"{later:x}" not in page


def test_no_date_that_is_none_breaks_the_list(store: DatabaseStore, viewer: Client) -> None:
    writing.session(store)
    url = reverse("admin:streamable_http_session_changelist")
    for query in ["created_at__year=x", "created_at__year=2026&created_at__month=13", "created_at__day=3", "p=99999"]:
        assert viewer.get(f"{url}?{query}", follow=True).status_code == 200


def test_finding_the_dates_does_not_look_at_every_row(store: DatabaseStore, viewer: Client) -> None:
    writing.session(store)
    with CaptureQueriesContext(connections[store.alias]) as queries:
        listed(viewer)
    assert not any(re.search(r"DISTINCT|trunc|MIN\(", query["sql"], re.IGNORECASE) for query in queries)


def test_hostile_names_are_shown_and_do_nothing(store: DatabaseStore, viewer: Client) -> None:
    hostile = "<img src=x onerror=alert(1)>\u202e\x1b[31m"
    writing.session_of(store, hostile, client_info={"name": hostile, "version": "1\x00"}, server=hostile)
    page = listed(viewer)
    assert "<img src=x" not in page
    assert "\u202e" not in page
    assert "\x1b" not in page
    assert "\x00" not in page
    assert page.count('<span class="mcp-unseen">\\u202e</span>') == 2


def test_without_the_permission_there_is_no_list(store: DatabaseStore, person: Person) -> None:
    writing.session(store)
    for allowed in [
        permissions.VIEW_PAYLOADS,
        permissions.REPLAY,
        permissions.RESEND,
        permissions.TERMINATE,
        permissions.PURGE,
    ]:
        client = person(allowed)
        assert client.get(reverse("admin:streamable_http_session_changelist")).status_code == 403
        assert "Sessions" not in client.get(reverse("admin:index")).content.decode()


@pytest.mark.parametrize(
    ("allowed", "offered"),
    [((), []), ((permissions.TERMINATE,), ["terminate"]), ((permissions.PURGE,), ["purge"])],
)
def test_actions_are_offered_to_whoever_may_take_them(
    store: DatabaseStore, person: Person, allowed: tuple[str, ...], offered: list[str]
) -> None:
    writing.session(store)
    page = listed(person(permissions.VIEW_SESSIONS, *allowed))
    assert re.findall(r'<option value="(\w+)"', page) == offered
