"""What is done to sessions and streams is confirmed with a reason, allowed, and noted."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connections
from django.test import Client
from django.urls import reverse

from streamable_http import ids, models, operations
from streamable_http.models import SessionState, StreamState
from streamable_http.operations import audit, permissions
from streamable_http.stores.db import DatabaseStore
from tests.admin.conftest import Person
from tests.stores import writing

CHANGELIST = "admin:streamable_http_session_changelist"


def url_of(deed: str, row_id: int, model: str = "session") -> str:
    return reverse(f"admin:streamable_http_{model}_{deed}", args=[row_id])


def state(store: DatabaseStore, session_id: int) -> str:
    return models.Session.objects.using(store.alias).get(pk=session_id).state


def stream_state(store: DatabaseStore, stream_id: int) -> str:
    return models.Stream.objects.using(store.alias).get(pk=stream_id).state


def notes() -> list[str]:
    return [entry.get_change_message() for entry in LogEntry.objects.all()]


def ended_session(store: DatabaseStore) -> int:
    session_id = writing.session(store)
    store.end_session(session_id, SessionState.TERMINATED)
    return session_id


@pytest.fixture
def terminator(person: Person) -> Client:
    return person(permissions.VIEW_SESSIONS, permissions.TERMINATE)


@pytest.fixture
def purger(person: Person) -> Client:
    return person(permissions.VIEW_SESSIONS, permissions.PURGE)


def test_a_session_is_terminated_once_it_is_confirmed(store: DatabaseStore, terminator: Client) -> None:
    session_id = writing.session(store)
    url = url_of("terminate", session_id)
    page = terminator.get(url).content.decode()
    assert "Terminate this session?" in page
    assert f"{session_id:x}" in page
    assert state(store, session_id) == SessionState.OPEN
    response = terminator.post(url, {"reason": "it loops"}, follow=True)
    assert state(store, session_id) == SessionState.TERMINATED
    assert response.redirect_chain[-1][0] == reverse("admin:streamable_http_session_change", args=[session_id])
    assert "1 session was terminated." in response.content.decode()
    [note] = notes()
    assert "it loops" in note


def test_without_a_reason_nothing_is_done(store: DatabaseStore, terminator: Client) -> None:
    session_id = writing.session(store)
    for reason in ["", "   ", "x" * (audit.MAX_REASON_CHARACTERS + 1)]:
        page = terminator.post(url_of("terminate", session_id), {"reason": reason})
        assert page.status_code == 200
        assert "errornote" in page.content.decode()
    assert state(store, session_id) == SessionState.OPEN
    assert notes() == []


def test_a_request_from_elsewhere_does_nothing(store: DatabaseStore, person: Person) -> None:
    client = person(permissions.VIEW_SESSIONS, permissions.TERMINATE, enforce_csrf_checks=True)
    session_id = writing.session(store)
    assert client.post(url_of("terminate", session_id), {"reason": "r"}).status_code == 403
    assert client.post(reverse("admin:streamable_http_session_terminate_rows"), {"reason": "r"}).status_code == 403
    assert state(store, session_id) == SessionState.OPEN


@pytest.mark.parametrize("method", ["put", "patch", "delete"])
def test_other_methods_are_not_allowed(store: DatabaseStore, terminator: Client, method: str) -> None:
    session_id = writing.session(store)
    assert getattr(terminator, method)(url_of("terminate", session_id)).status_code == 405


def test_selected_sessions_are_terminated_together(store: DatabaseStore, terminator: Client) -> None:
    chosen = [writing.session(store) for _ in range(3)]
    spared = writing.session(store)
    over = ended_session(store)
    page = terminator.post(reverse(CHANGELIST), {"action": "terminate", "_selected_action": [*chosen, over]})
    assert "Terminate these 4 sessions?" in page.content.decode()
    assert {state(store, session_id) for session_id in chosen} == {SessionState.OPEN}
    rows = page.context["rows"]
    response = terminator.post(page.context["action"], {"rows": rows, "reason": "maintenance"}, follow=True)
    assert {state(store, session_id) for session_id in chosen} == {SessionState.TERMINATED}
    assert state(store, spared) == SessionState.OPEN
    said = response.content.decode()
    assert "3 sessions were terminated." in said
    assert "1 session was over already." in said
    assert response.redirect_chain[-1][0] == reverse(CHANGELIST)


def test_an_ended_session_is_purged_and_an_open_one_is_not(store: DatabaseStore, purger: Client) -> None:
    over, still_open = ended_session(store), writing.session(store)
    page = purger.post(reverse(CHANGELIST), {"action": "purge", "_selected_action": [over, still_open]})
    assert models.Session.objects.using(store.alias).count() == 2
    data = {"rows": page.context["rows"], "reason": "asked to forget"}
    said = purger.post(page.context["action"], data, follow=True).content.decode()
    assert [row.pk for row in models.Session.objects.using(store.alias)] == [still_open]
    assert "1 session was purged." in said
    assert "1 session is still open and was left alone." in said
    assert any("asked to forget" in note for note in notes())


def test_one_session_is_purged_from_its_page(store: DatabaseStore, purger: Client) -> None:
    over = ended_session(store)
    response = purger.post(url_of("purge", over), {"reason": "r"}, follow=True)
    assert response.redirect_chain[-1][0] == reverse(CHANGELIST)
    assert not models.Session.objects.using(store.alias).exists()


def test_a_call_is_cancelled(store: DatabaseStore, terminator: Client) -> None:
    stream_id = writing.stream(store, writing.session(store), "1")
    url = url_of("cancel", stream_id, "stream")
    assert "Cancel this call?" in terminator.get(url).content.decode()
    assert stream_state(store, stream_id) == StreamState.OPEN
    said = terminator.post(url, {"reason": "too long"}, follow=True).content.decode()
    assert stream_state(store, stream_id) == StreamState.CANCELLED
    assert "The call was cancelled." in said
    assert any("too long" in note for note in notes())
    assert "The call had ended already." in terminator.post(url, {"reason": "r"}, follow=True).content.decode()


def test_a_connection_is_closed_and_its_call_goes_on(store: DatabaseStore, terminator: Client) -> None:
    follower = ids.new()
    stream_id = writing.stream(store, writing.session(store), "1", follower=follower)
    said = terminator.post(url_of("close", stream_id, "stream"), {"reason": "r"}, follow=True).content.decode()
    assert "The connection was closed." in said
    stream = models.Stream.objects.using(store.alias).get(pk=stream_id)
    assert stream.follower != follower
    assert stream.state == StreamState.OPEN


def test_where_nobody_follows_there_is_nothing_to_close(store: DatabaseStore, terminator: Client) -> None:
    stream_id = writing.stream(store, writing.session(store), "1")
    said = terminator.post(url_of("close", stream_id, "stream"), {"reason": "r"}, follow=True).content.decode()
    assert "Nobody follows this stream" in said


@pytest.mark.parametrize("row_id", [0, 17, 2**63 - 1, 2**63, 10**30])
def test_what_does_not_exist_is_said_to(store: DatabaseStore, terminator: Client, row_id: int) -> None:
    for url in [url_of("terminate", row_id), url_of("cancel", row_id, "stream")]:
        for response in [terminator.get(url, follow=True), terminator.post(url, {"reason": "r"}, follow=True)]:
            assert "There is no such row" in response.content.decode()


@pytest.mark.parametrize("rows", ["", ",", "1;2", "-1", "1,", "9" * 25, "<script>"])
def test_posted_nonsense_is_no_row(store: DatabaseStore, terminator: Client, rows: str) -> None:
    session_id = writing.session(store)
    url = reverse("admin:streamable_http_session_terminate_rows")
    response = terminator.post(url, {"rows": rows, "reason": "r"}, follow=True)
    assert "There is no such row" in response.content.decode()
    assert state(store, session_id) == SessionState.OPEN


ALL = (
    permissions.VIEW_SESSIONS,
    permissions.VIEW_PAYLOADS,
    permissions.REPLAY,
    permissions.RESEND,
    permissions.TERMINATE,
    permissions.PURGE,
)


@pytest.mark.parametrize(
    ("model", "deed", "needed"),
    [
        ("session", "terminate", permissions.TERMINATE),
        ("session", "purge", permissions.PURGE),
        ("stream", "close", permissions.TERMINATE),
        ("stream", "cancel", permissions.TERMINATE),
    ],
)
def test_each_deed_needs_its_own_permission(
    store: DatabaseStore, person: Person, model: str, deed: str, needed: str
) -> None:
    session_id = ended_session(store) if deed == "purge" else writing.session(store)
    row_id = session_id if model == "session" else writing.stream(store, session_id, "1", follower=5)
    every_other = person(*(permission for permission in ALL if permission != needed))
    only_that = person(needed)
    for client in [every_other, only_that]:
        for response in [
            client.get(url_of(deed, row_id, model)),
            client.post(url_of(deed, row_id, model), {"reason": "r"}),
            client.post(reverse(f"admin:streamable_http_{model}_{deed}_rows"), {"rows": str(row_id), "reason": "r"}),
        ]:
            assert response.status_code == 403
    assert notes() == []
    assert person(permissions.VIEW_SESSIONS, needed).get(url_of(deed, row_id, model)).status_code == 200


def test_a_page_has_buttons_for_what_can_be_done_and_may_be(store: DatabaseStore, person: Person) -> None:
    session_id = writing.session(store)
    stream_id = writing.stream(store, session_id, "1", follower=5)

    def buttons(client: Client, model: str, row_id: int) -> list[str]:
        page = client.get(reverse(f"admin:streamable_http_{model}_change", args=[row_id]))
        return [deed["url"] for deed in page.context["deeds"]]

    everybody, viewer = person(*ALL), person(permissions.VIEW_SESSIONS)
    assert buttons(viewer, "session", session_id) == []
    assert buttons(viewer, "stream", stream_id) == []
    assert buttons(everybody, "session", session_id) == [url_of("terminate", session_id)]
    assert buttons(everybody, "stream", stream_id) == [
        url_of("close", stream_id, "stream"),
        url_of("cancel", stream_id, "stream"),
    ]
    store.end_session(session_id, SessionState.TERMINATED)
    assert buttons(everybody, "session", session_id) == [url_of("purge", session_id)]
    assert buttons(everybody, "stream", session_id) == []


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("is_one", [True, False], ids=["one", "several"])
def test_it_is_done_in_no_transaction_of_the_whole_request(
    store: DatabaseStore, purger: Client, monkeypatch: pytest.MonkeyPatch, is_one: bool
) -> None:
    # Views know of the databases that there are when they are made: the log's own came later.
    monkeypatch.setitem(connections.settings["default"], "ATOMIC_REQUESTS", True)
    over = ended_session(store)
    seen: list[bool] = []

    def purge(*args: Any, **options: Any) -> bool:
        seen.extend(each.in_atomic_block for each in connections.all(initialized_only=True))
        return purge_session(*args, **options)

    purge_session = operations.purge_session
    monkeypatch.setattr(operations, "purge_session", purge)
    if is_one:
        purger.post(url_of("purge", over), {"reason": "r"})
    else:
        purger.post(reverse("admin:streamable_http_session_purge_rows"), {"rows": str(over), "reason": "r"})
    assert seen
    assert not any(seen)
    assert not models.Session.objects.using(store.alias).exists()
