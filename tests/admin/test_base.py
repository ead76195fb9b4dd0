"""What all pages have in common: who may see them, what they read, and the site that they belong to."""

from __future__ import annotations

import re

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.db import connections
from django.http import Http404, HttpRequest
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext
from django.urls import path
from django.utils.html import escape

from streamable_http import models
from streamable_http.admin import StreamAdmin, base, sessions, workers
from streamable_http.operations import permissions
from streamable_http.stores.db import DatabaseStore
from tests.admin import recorded
from tests.admin.conftest import Person
from tests.admin.recorded import Recorded
from tests.stores import writing

SECOND = admin.AdminSite(name="second")
SECOND.register(models.Session, sessions.SessionAdmin)
SECOND.register(models.Stream, StreamAdmin)
SECOND.register(models.Worker, workers.WorkerAdmin)

urlpatterns = [path("admin/", admin.site.urls), path("second/", SECOND.urls)]

EVERYTHING = (
    permissions.VIEW_SESSIONS,
    permissions.VIEW_PAYLOADS,
    permissions.REPLAY,
    permissions.RESEND,
    permissions.TERMINATE,
    permissions.PURGE,
)


@pytest.fixture
def session(store: DatabaseStore) -> Recorded:
    return recorded.session(store)


@pytest.fixture
def does_all(person: Person) -> Client:
    return person(*EVERYTHING)


def asked_by(user: User) -> HttpRequest:
    request = RequestFactory().get("/")
    request.user = user
    return request


@pytest.fixture
def pages() -> base.ReadOnlyAdmin:
    found = admin.site.get_model_admin(models.Stream)
    assert isinstance(found, base.ReadOnlyAdmin)
    return found


def test_a_row_is_given_to_whoever_has_all_permissions(session: Recorded, pages: base.ReadOnlyAdmin) -> None:
    request = asked_by(recorded.person(permissions.VIEW_SESSIONS, permissions.REPLAY))
    assert pages.require(request, session.call_id, permissions.REPLAY).pk == session.call_id
    with pytest.raises(PermissionDenied):
        pages.require(request, session.call_id, permissions.REPLAY, permissions.VIEW_PAYLOADS)
    with pytest.raises(PermissionDenied):
        pages.require(asked_by(recorded.person(permissions.REPLAY)), session.call_id, permissions.REPLAY)


@pytest.mark.parametrize("pk", [0, 1, 2**70])
def test_a_row_that_is_none_is_not_found(session: Recorded, pages: base.ReadOnlyAdmin, pk: int) -> None:
    with pytest.raises(Http404):
        pages.require(asked_by(recorded.person(permissions.VIEW_SESSIONS)), pk)


def test_whether_there_is_a_row_is_not_told_to_whoever_may_not_see_it(pages: base.ReadOnlyAdmin, db: None) -> None:
    with pytest.raises(PermissionDenied):
        pages.require(asked_by(recorded.person(permissions.REPLAY)), 1)


@pytest.mark.parametrize(("name", "most"), [("call_path", 8), ("session_path", 14)])
def test_a_page_reads_its_row_once_and_once_more_for_the_timeline(
    does_all: Client, session: Recorded, name: str, most: int
) -> None:
    with CaptureQueriesContext(connections[session.store.alias]) as captured:
        assert does_all.get(f"{getattr(session, name)}change/").status_code == 200
    assert len(captured) <= most


@pytest.mark.urls(__name__)
@pytest.mark.parametrize(
    "page",
    [
        "stream/{stream}/change/",
        "stream/{stream}/resend/",
        "stream/",
        "session/{session}/change/",
        "session/{session}/terminate/",
        "session/{session}/history/",
        "session/dashboard/",
        "session/",
    ],
)
def test_a_second_site_does_not_lead_to_the_first(does_all: Client, session: Recorded, page: str) -> None:
    path = page.format(stream=session.call_id, session=session.session_id)
    html = does_all.get(f"/second/streamable_http/{path}").content.decode()
    assert "/second/streamable_http/" in html
    assert not re.findall(r'(?:href|action)="/admin/[^"]*"', html)


@pytest.mark.urls(__name__)
def test_what_was_done_on_a_second_site_leads_back_to_it(does_all: Client, session: Recorded) -> None:
    answers = [
        does_all.post(f"/second/streamable_http/session/{session.session_id}/terminate/", {"reason": "r"}),
        does_all.get("/second/streamable_http/session/1/terminate/"),
        does_all.get("/second/streamable_http/stream/1/resend/"),
        does_all.get("/second/streamable_http/stream/1/change/"),
    ]
    assert [answer.status_code for answer in answers] == [302] * 4
    assert all(answer["Location"].startswith("/second/") for answer in answers)


# The history


@pytest.mark.parametrize(("model", "deed"), [("session", "terminate"), ("stream", "cancel")])
def test_a_page_leads_to_what_was_done_to_the_row_and_why(
    session: Recorded, does_all: Client, model: str, deed: str
) -> None:
    running = writing.stream(session.store, session.session_id, "{}", request_id="7")
    row = f"/admin/streamable_http/{model}/{session.session_id if model == 'session' else running}"
    reason = "<script>alert(1)</script> & 'more'"
    assert does_all.post(f"{row}/{deed}/", {"reason": reason}).status_code == 302
    assert f'href="{row}/history/"' in does_all.get(f"{row}/change/").content.decode()
    response = does_all.get(f"{row}/history/")
    assert response.status_code == 200
    shown = response.content.decode()
    assert escape(reason) in shown
    assert "<script>alert" not in shown
    assert f'href="{row}/change/"' in shown


@pytest.mark.parametrize("name", ["call_path", "session_path"])
def test_the_history_is_for_whoever_may_see_the_row(session: Recorded, person: Person, name: str) -> None:
    url = f"{getattr(session, name)}history/"
    assert person(permissions.VIEW_SESSIONS).get(url).status_code == 200
    assert person(permissions.TERMINATE, permissions.PURGE).get(url).status_code == 403
