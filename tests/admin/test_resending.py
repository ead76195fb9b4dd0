"""A recorded request is sent again by whoever may, once they have read what that means."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connections
from django.test import Client
from django.urls import resolve, reverse
from pytest_django import Settings

from streamable_http import ids, models, redaction
from streamable_http.delivery import engine as engines
from streamable_http.delivery.engine import Engine
from streamable_http.models import StreamState
from streamable_http.operations import permissions, resending
from streamable_http.stores.db import DatabaseStore
from tests.admin.conftest import Person
from tests.delivery import calls
from tests.stores import writing

ARGUMENTS = {"order_number": "<b>no such order</b>\u202e", "amount": "-1", "reason": "abracadabra"}
"""Of a tool that is not idempotent, and that refuses them before it touches anything."""


def recorded_call(store: DatabaseStore, **arguments: Any) -> int:
    """A call of the bookshop that has ended; its id."""
    stream_id = ids.new()
    params = {"name": "refund_order", "arguments": {**ARGUMENTS, **arguments}}
    request = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})
    record = writing.record(id=stream_id, method="tools/call", payload=request)
    session_id = writing.session_of(store, "", server="bookshop")
    call = writing.begin(
        session_id, '{"jsonrpc":"2.0","id":1,"result":{}}', stream_id=stream_id, name="refund_order", record=record
    )
    call.end = StreamState.ANSWERED
    store.write([call], [])
    return stream_id


def url_of(stream_id: int) -> str:
    return reverse("admin:streamable_http_stream_resend", args=[stream_id])


def resent(store: DatabaseStore, stream_id: int) -> list[int]:
    streams = models.Stream.objects.using(store.alias).filter(resent_from=stream_id)
    return list(streams.values_list("pk", flat=True))


@pytest.fixture
def sender(person: Person) -> Client:
    return person(permissions.VIEW_SESSIONS, permissions.VIEW_PAYLOADS, permissions.RESEND)


def test_what_would_be_sent_is_shown_with_its_warnings(store: DatabaseStore, sender: Client) -> None:
    stream_id = recorded_call(store)
    page = sender.get(url_of(stream_id)).content.decode()
    assert "refund_order" in page
    assert "abracadabra" in page
    assert "mcp-warnings" in page
    assert 'name="confirmed"' in page
    assert "<b>no such order" not in page
    assert "\u202e" not in page
    assert resent(store, stream_id) == []


@pytest.fixture
async def engine(settings: Settings) -> AsyncIterator[Engine]:
    """What runs the call."""
    running = engines.current()
    yield running
    await running.stop()
    engines._engine = None


@pytest.mark.django_db(transaction=True)
async def test_it_is_sent_once_it_is_confirmed(store: DatabaseStore, person: Person, engine: Engine) -> None:
    def send() -> tuple[int, str, str]:
        sender = person(permissions.VIEW_SESSIONS, permissions.VIEW_PAYLOADS, permissions.RESEND)
        stream_id = recorded_call(store)
        response = sender.post(url_of(stream_id), {"reason": "to see it fail", "confirmed": "on"})
        return stream_id, response["Location"], sender.get(response["Location"]).content.decode()

    def noted() -> list[str]:
        return [entry.get_change_message() for entry in LogEntry.objects.all()]

    stream_id, location, said = await calls.in_thread(send)
    await engine.log.record_now()
    [sent] = await calls.in_thread(resent, store, stream_id)
    assert location == reverse("admin:streamable_http_stream_change", args=[sent])
    assert "was sent again" in said
    assert f"{stream_id:x}" in said
    assert any("to see it fail" in note for note in await calls.in_thread(noted))


@pytest.mark.django_db(transaction=True)
async def test_what_does_not_end_in_time_is_cancelled_and_said_so(
    store: DatabaseStore, person: Person, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resending, "RESEND_SECONDS", 0.0)
    for name in ("order_number", "amount"):
        monkeypatch.delitem(ARGUMENTS, name)

    def send() -> tuple[int, str, str]:
        sender = person(permissions.VIEW_SESSIONS, permissions.RESEND)
        # It asks the database, which takes longer than no time.
        stream_id = recorded_call(store, number=1)
        response = sender.post(url_of(stream_id), {"reason": "r", "confirmed": "on"})
        return stream_id, response["Location"], sender.get(response["Location"]).content.decode()

    stream_id, location, said = await calls.in_thread(send)
    [sent] = await calls.in_thread(resent, store, stream_id)
    assert location == reverse("admin:streamable_http_stream_change", args=[sent])
    assert "did not end within 0 s and was cancelled" in said
    made = await calls.in_thread(lambda: models.Stream.objects.using(store.alias).get(pk=sent))
    assert made.state == StreamState.CANCELLED


@pytest.mark.parametrize("data", [{}, {"reason": "r"}, {"confirmed": "on"}, {"reason": " ", "confirmed": "on"}])
def test_without_reason_or_confirmation_nothing_is_sent(
    store: DatabaseStore, sender: Client, data: dict[str, str]
) -> None:
    stream_id = recorded_call(store)
    response = sender.post(url_of(stream_id), data)
    assert response.status_code == 200
    assert "errornote" in response.content.decode()
    assert resent(store, stream_id) == []


def test_what_was_redacted_is_refused_with_the_reason(store: DatabaseStore, sender: Client) -> None:
    stream_id = recorded_call(store, api_key=redaction.MASK)
    page = sender.get(url_of(stream_id)).content.decode()
    assert "It cannot be sent again" in page
    assert 'name="reason"' not in page
    posted = sender.post(url_of(stream_id), {"reason": "r", "confirmed": "on"}).content.decode()
    assert "It cannot be sent again" in posted
    assert resent(store, stream_id) == []


def test_a_secret_that_is_kept_for_resuming_is_not_shown(store: DatabaseStore, sender: Client) -> None:
    stream_id = recorded_call(store, api_key="hunter2")
    page = sender.get(url_of(stream_id)).content.decode()
    assert "hunter2" not in page
    assert redaction.MASK in page


def test_whoever_may_not_see_payloads_does_not_see_the_request(store: DatabaseStore, person: Person) -> None:
    stream_id = recorded_call(store)
    page = person(permissions.VIEW_SESSIONS, permissions.RESEND).get(url_of(stream_id)).content.decode()
    assert "refund_order" in page
    assert "abracadabra" not in page
    assert "permission to view payloads" in page


def test_it_needs_its_own_permission(store: DatabaseStore, person: Person) -> None:
    stream_id = recorded_call(store)
    others = (
        permissions.VIEW_SESSIONS,
        permissions.VIEW_PAYLOADS,
        permissions.REPLAY,
        permissions.TERMINATE,
        permissions.PURGE,
    )
    for client in [person(*others), person(permissions.RESEND)]:
        assert client.get(url_of(stream_id)).status_code == 403
        assert client.post(url_of(stream_id), {"reason": "r", "confirmed": "on"}).status_code == 403
    assert resent(store, stream_id) == []


def test_a_request_from_elsewhere_sends_nothing(store: DatabaseStore, person: Person) -> None:
    client = person(permissions.VIEW_SESSIONS, permissions.RESEND, enforce_csrf_checks=True)
    stream_id = recorded_call(store)
    assert client.post(url_of(stream_id), {"reason": "r", "confirmed": "on"}).status_code == 403
    assert resent(store, stream_id) == []


def test_a_listening_stream_cannot_be_sent_again(store: DatabaseStore, sender: Client) -> None:
    session_id = writing.session(store)
    for row_id in [session_id, 17, 2**63]:
        said = sender.get(url_of(row_id), follow=True).content.decode()
        assert "There is no such call" in said
    page = sender.get(reverse("admin:streamable_http_stream_change", args=[session_id]))
    assert page.context["resend_url"] == ""


def test_the_page_of_a_call_links_to_it_for_whoever_may(store: DatabaseStore, sender: Client, viewer: Client) -> None:
    stream_id = recorded_call(store)
    url = reverse("admin:streamable_http_stream_change", args=[stream_id])
    assert sender.get(url).context["resend_url"] == url_of(stream_id)
    assert viewer.get(url).context["resend_url"] == ""


def test_it_is_sent_outside_of_a_transaction_that_others_would_wait_for(sender: Client) -> None:
    from_url = resolve(url_of(17)).func
    assert set(connections) <= from_url._non_atomic_requests
