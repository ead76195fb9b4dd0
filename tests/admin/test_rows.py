"""Single rows: in full only for whoever may see what was said, and redacted even then."""

from __future__ import annotations

import pytest
from django.db import connections
from django.db.models import Model
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from streamable_http import models
from streamable_http.operations import permissions
from streamable_http.stores.db import DatabaseStore
from tests.admin.conftest import Person
from tests.stores import writing

SAID = '{"jsonrpc":"2.0","id":1,"result":{"word":"abracadabra","password":"hunter2"}}'
WIRE_ID = "a" * 32


@pytest.fixture
def rows(store: DatabaseStore) -> dict[str, int]:
    """One row of each kind, in which something was said."""
    session_id = writing.session(store)
    ask = writing.ask(session_id, wire_id=WIRE_ID)
    record = writing.record(payload=SAID, facts='{"headers":{"x":"abracadabra"}}', session_id=session_id)
    said = SAID.replace("abracadabra", f"abracadabra {WIRE_ID}")
    store.write([writing.begin(session_id, said, asks=[ask])], [record])
    models.Ask.objects.using(store.alias).update(reply=SAID)
    event = models.Event.objects.using(store.alias).get()
    return {"event": event.pk, "record": record.id, "ask": ask.id}


def pages(client: Client, rows: dict[str, int]) -> dict[str, str]:
    return {
        model: client.get(reverse(f"admin:streamable_http_{model}_change", args=[row_id])).content.decode()
        for model, row_id in rows.items()
    }


def lists(client: Client, rows: dict[str, int]) -> dict[str, str]:
    return {model: client.get(reverse(f"admin:streamable_http_{model}_changelist")).content.decode() for model in rows}


def test_without_the_permission_nothing_of_what_was_said_is_shown(viewer: Client, rows: dict[str, int]) -> None:
    for page in [*pages(viewer, rows).values(), *lists(viewer, rows).values()]:
        assert "mcp-" in page
        assert "abracadabra" not in page
        assert "hunter2" not in page
        assert WIRE_ID not in page


def test_with_it_secrets_are_masked(person: Person, rows: dict[str, int]) -> None:
    reader = person(permissions.VIEW_SESSIONS, permissions.VIEW_PAYLOADS)
    for page in pages(reader, rows).values():
        assert "abracadabra" in page
        assert "hunter2" not in page
        assert WIRE_ID not in page


@pytest.mark.parametrize(
    "model",
    [models.Session, models.Stream, models.Event, models.Record, models.Ask, models.Worker],
    ids=lambda m: m.__name__,
)
def test_no_list_answers_what_a_column_holds(viewer: Client, model: type[Model]) -> None:
    listed = reverse(f"admin:streamable_http_{model._meta.model_name}_changelist")
    for field in model._meta.get_fields():
        for lookup in ("contains", "regex", "startswith", "gt"):
            assert viewer.get(listed, {f"{field.name}__{lookup}": "h"}).status_code == 400


def test_a_nested_message_does_not_grow_on_its_page(person: Person, store: DatabaseStore) -> None:
    said = "[" * 240 + ",".join("1" for _ in range(15_000)) + "]" * 240
    stream_id = writing.stream(store, writing.session(store), said)
    event = models.Event.objects.using(store.alias).get(stream_id=stream_id)
    reader = person(permissions.VIEW_SESSIONS, permissions.VIEW_PAYLOADS)
    assert len(pages(reader, {"event": event.pk})["event"]) < 100_000
    assert len(reader.get(reverse("admin:streamable_http_stream_change", args=[stream_id])).content) < 150_000


def test_seeing_payloads_alone_shows_nothing(person: Person, rows: dict[str, int]) -> None:
    reader = person(permissions.VIEW_PAYLOADS, "streamable_http.view_event")
    for model, row_id in rows.items():
        assert reader.get(reverse(f"admin:streamable_http_{model}_changelist")).status_code == 403
        assert reader.get(reverse(f"admin:streamable_http_{model}_change", args=[row_id])).status_code == 403


def test_only_what_says_something_is_in_the_index(viewer: Client, store: DatabaseStore) -> None:
    page = viewer.get(reverse("admin:app_list", args=["streamable_http"])).content.decode()
    for shown in ["session/", "stream/", "worker/", "session/dashboard/"]:
        assert f'href="/admin/streamable_http/{shown}"' in page
    for hidden in ["event", "record", "ask"]:
        assert f'href="/admin/streamable_http/{hidden}/"' not in page


def test_a_url_cannot_sort_by_what_has_no_index(store: DatabaseStore, viewer: Client) -> None:
    stream_id = writing.stream(store, writing.session(store), "1", "2", "3")
    listed = reverse("admin:streamable_http_event_changelist")
    with CaptureQueriesContext(connections[store.alias]) as queries:
        page = viewer.get(listed, {"o": "3"}).content.decode()
    assert not any('ORDER BY "streamable_http_event"."sequence"' in query["sql"] for query in queries)
    assert page.index(f"{stream_id:x}.3") < page.index(f"{stream_id:x}.1")
