"""The list of streams, and the page of one, as somebody without JavaScript gets them."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from django.db import connections
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from streamable_http import models, replay
from streamable_http.admin import streams
from streamable_http.models import Outcome, StreamState
from streamable_http.operations import permissions
from streamable_http.stores.db import DatabaseStore
from tests.admin import recorded
from tests.admin.conftest import Person
from tests.admin.recorded import SECRET, Recorded
from tests.stores import writing

LIST = "/admin/streamable_http/stream/"


@pytest.fixture
def session(store: DatabaseStore) -> Recorded:
    return recorded.session(store)


@pytest.fixture
def sees_all(person: Person) -> Client:
    return person(permissions.VIEW_SESSIONS, permissions.VIEW_PAYLOADS, permissions.REPLAY)


def page(client: Client, stream_id: int, query: str = "") -> str:
    response = client.get(f"{LIST}{stream_id}/change/{query}")
    assert response.status_code == 200
    return response.content.decode()


def entries(html: str) -> list[str]:
    return re.findall(r'<tbody class="wire-entry[^"]*" id="e-([^"]+)"', html)


def sequences(html: str) -> list[int]:
    return [int(key.partition(".")[2]) for key in entries(html) if "." in key]


# The list


def test_the_list_shows_streams_with_and_without_a_session(sees_all: Client, session: Recorded) -> None:
    alone = writing.stream(session.store, None, "{}", end=StreamState.ANSWERED)
    html = sees_all.get(LIST).content.decode()
    for stream_id in (alone, session.call_id, session.failed_id, session.session_id):
        assert f"{stream_id:x}" in html
    assert f'<a href="/admin/streamable_http/session/{session.session_id}/change/">' in html
    assert "listening stream" in html


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("state__exact=lost", 1),
        ("outcome__exact=error", 1),
        ("method=ping", 1),
        ("method=listening", 1),
        ("session=no", 1),
        ("session=yes", 5),
        ("session=odd", 6),
        ("q=count", 1),
        ("q=+count+", 1),
        ("q=coun", 0),
        ("session=no&q=count", 0),
    ],
)
def test_the_list_is_filtered_by_state_outcome_session_method_and_tool(
    sees_all: Client, session: Recorded, query: str, shown: int
) -> None:
    writing.stream(session.store, session.session_id, "{}", request_id="7", end=StreamState.LOST)
    writing.stream(session.store, session.session_id, "{}", request_id="8", method="ping", end=StreamState.ANSWERED)
    writing.stream(session.store, None, "{}", end=StreamState.ANSWERED)
    models.Stream.objects.filter(pk=session.failed_id).update(outcome=Outcome.ERROR)
    models.Stream.objects.filter(pk=session.call_id).update(outcome=Outcome.RESULT)
    html = sees_all.get(f"{LIST}?{query}").content.decode()
    assert html.count('class="field-short_id"') == shown


def test_a_filter_looks_at_the_newest_streams_and_says_so(
    sees_all: Client, session: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "SEARCHED", 2)
    html = sees_all.get(f"{LIST}?state__exact=answered").content.decode()
    assert "Of the newest 2 streams" in html
    assert html.count('class="field-short_id"') == 2
    assert sees_all.get(LIST).content.decode().count('class="field-short_id"') == 3
    monkeypatch.setattr(streams, "SEARCHED", 3)
    assert "Of the newest" not in sees_all.get(f"{LIST}?state__exact=answered").content.decode()


def test_a_search_looks_at_the_newest_streams_but_an_id_is_found_however_old(
    sees_all: Client, session: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "SEARCHED", 1)
    for query, shown, is_bounded in (
        ("q=count", 0, True),
        (f"q={session.call_id:x}", 1, False),
        (f"q={session.call_id:X}&session=yes", 1, False),
    ):
        html = sees_all.get(f"{LIST}?{query}").content.decode()
        assert html.count('class="field-short_id"') == shown
        assert ("Of the newest 1 streams" in html) is is_bounded


def test_a_longer_list_takes_no_more_queries(sees_all: Client, session: Recorded) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connections[session.store.alias]) as captured:
            assert sees_all.get(LIST).status_code == 200
        return len(captured)

    few = queries()
    for number in range(30):
        writing.stream(session.store, session.session_id, "{}", request_id=f"n{number}", end=StreamState.ANSWERED)
    assert queries() == few


# The page


def test_the_page_shows_facts_and_both_directions(sees_all: Client, session: Recorded) -> None:
    html = page(sees_all, session.call_id)
    call = f"{session.call_id:x}"
    assert {f"r{call}", f"{call}.1", f"{call}.2", f"{call}.3"} <= set(entries(html))
    assert "wire-kind-reply" in html
    assert "resumed after 2" in html
    assert '<dd data-fact="name"><bdi>count</bdi></dd>' in html
    assert SECRET not in html
    assert "<script>alert(1)" not in html
    assert "\u202e" not in html


def test_the_page_of_a_stream_without_a_session(sees_all: Client, session: Recorded) -> None:
    alone = writing.stream(session.store, None, recorded.message(id=1, result={}), end=StreamState.ANSWERED)
    assert sequences(page(sees_all, alone)) == [1]


def test_long_streams_come_by_pages(sees_all: Client, session: Recorded) -> None:
    stream_id = recorded.long_stream(session.store, session.session_id, 450)
    first = page(sees_all, stream_id)
    assert sequences(first) == list(range(1, 201))
    assert 'rel="next" href="?after=200"' in first
    last = page(sees_all, stream_id, "?after=400")
    assert sequences(last) == list(range(401, 451))
    assert 'rel="prev" href="?after=200"' in last
    assert 'rel="next"' not in last


@pytest.mark.parametrize("is_redacted", [False, True])
def test_a_stream_says_what_of_it_is_not_kept_also_once_it_is_redacted(
    sees_all: Client, session: Recorded, is_redacted: bool
) -> None:
    stream_id = recorded.long_stream(session.store, session.session_id, 15)
    said = f"Events 1 to 10 of stream {stream_id:x} are not kept any more."
    assert said not in page(sees_all, stream_id)
    models.Event.objects.using(session.store.alias).filter(stream_id=stream_id, sequence__lte=10).delete()
    changes = {"earliest": 16, "redacted_at": timezone.now()} if is_redacted else {"earliest": 11}
    models.Stream.objects.using(session.store.alias).filter(pk=stream_id).update(**changes)
    html = page(sees_all, stream_id)
    assert sequences(html) == [11, 12, 13, 14, 15]
    assert said in html
    assert said not in page(sees_all, stream_id, "?after=12")
    assert said in sees_all.get(f"{session.session_path}change/?stream={stream_id:x}").content.decode()


def test_links_go_step_by_step(sees_all: Client, session: Recorded) -> None:
    assert 'id="step-next" href="?step=0"' in page(sees_all, session.call_id)
    html = page(sees_all, session.call_id, "?step=1")
    assert sequences(html) == [2]
    assert 'id="step-previous" href="?step=0"' in html
    assert 'id="step-next" href="?step=2"' in html
    assert 'id="step-next"' not in page(sees_all, session.call_id, "?step=2")


@pytest.mark.parametrize("after", ["", "-1", "x", "٣", "9" * 30])
def test_a_place_that_is_none_shows_a_page_nevertheless(sees_all: Client, session: Recorded, after: str) -> None:
    page(sees_all, session.call_id, f"?after={after}&resume={after}")


def test_the_page_says_what_a_client_would_get_that_resumes(sees_all: Client, session: Recorded) -> None:
    html = page(sees_all, session.call_id, "?resume=1")
    assert 'id="preview" data-status="200" data-recovered="true"' in html
    assert f'<a href="?after=1#e-{session.call_id:x}.2">' in html
    assert f'<a href="?after=0#e-{session.call_id:x}.1">' not in html


def test_without_the_permission_nothing_is_replayed(viewer: Client, session: Recorded) -> None:
    html = page(viewer, session.call_id, "?resume=1&step=1")
    assert 'id="replay"' not in html
    assert 'id="preview"' not in html
    assert len(sequences(html)) == 3
    assert "Sure?" not in html


def test_what_was_sent_again_is_linked_both_ways(sees_all: Client, session: Recorded) -> None:
    again = recorded.resent(session)
    assert f"stream/{again}/change/" in page(sees_all, session.call_id)
    assert f"stream/{session.call_id}/change/" in page(sees_all, again)


def test_the_page_has_no_inline_script_style_or_handler(sees_all: Client, session: Recorded) -> None:
    html = page(sees_all, session.call_id, "?resume=0")
    assert not re.search(r"<script(?![^>]*\bsrc=)(?![^>]*application/json)", html)
    assert not re.search(r"<[^>]+\s(style|on\w+)=", html)


def test_who_may_not_view_sessions_gets_nothing(person: Person, session: Recorded) -> None:
    client = person(permissions.VIEW_PAYLOADS, permissions.REPLAY)
    for name in ("change/", "export/", "export/?as=sse", "copy/?as=curl"):
        assert client.get(session.call_path + name).status_code == 403


# Downloads and copies


def test_downloads_need_the_permission_to_replay(viewer: Client, session: Recorded) -> None:
    assert viewer.get(f"{session.call_path}export/").status_code == 403
    assert viewer.get(f"{session.call_path}export/?as=sse").status_code == 403
    assert viewer.get(f"{session.call_path}copy/?as=curl").status_code == 403


def test_without_messages_there_is_no_sse(person: Person, session: Recorded) -> None:
    client = person(permissions.VIEW_SESSIONS, permissions.REPLAY)
    assert client.get(f"{session.call_path}export/").status_code == 200
    assert client.get(f"{session.call_path}export/?as=sse").status_code == 403


def test_a_stream_is_downloaded_as_json_lines_and_as_sse(sees_all: Client, session: Recorded) -> None:
    lines = b"".join(sees_all.get(f"{session.call_path}export/").streaming_content)  # type: ignore[attr-defined]
    assert len([line for line in lines.splitlines() if json.loads(line)["type"] == "event"]) == 3
    sse = b"".join(sees_all.get(f"{session.call_path}export/?as=sse").streaming_content)  # type: ignore[attr-defined]
    assert f"id: {session.call_id:x}.3".encode() in sse
    assert SECRET.encode() not in lines + sse
    assert sees_all.get(f"{session.call_path}export/?as=xml").status_code == 400


@pytest.mark.parametrize(("kind", "begins"), [("curl", "curl"), ("python", "import")])
def test_a_request_is_copied_as_text(sees_all: Client, session: Recorded, kind: str, begins: str) -> None:
    response = sees_all.get(f"{session.call_path}copy/?as={kind}")
    assert response["Content-Type"] == "text/plain; charset=utf-8"
    text = response.content.decode()
    assert begins in text
    assert "http://testserver/mcp" in text
    assert SECRET not in text


def test_a_copy_goes_to_the_path_that_was_recorded_on_the_admins_own_origin(
    sees_all: Client, session: Recorded
) -> None:
    facts = json.dumps({"path": "//evil.test/mcp", "headers": {"host": "evil.test", "authorization": "Token ••••"}})
    stream_id = recorded_request(session, "tools/list", {}, facts)
    for form in replay.FORMS:
        text = sees_all.get(f"{LIST}{stream_id}/copy/?as={form}").content.decode()
        assert "http://testserver//evil.test/mcp" in text
        assert "Token " in text
    assert "Token ••••" in re.sub("<[^>]+>", "", page(sees_all, stream_id))


def nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


def recorded_request(session: Recorded, method: str, params: dict[str, Any], facts: str) -> int:
    record = writing.record(method=method, payload=recorded.message(id=5, method=method, params=params), facts=facts)
    call = writing.begin(
        session.session_id, "{}", end=StreamState.ANSWERED, method=method, request_id="5", record=record
    )
    session.store.write([call], [])
    return call.stream_id


@pytest.mark.parametrize(
    ("method", "params", "facts", "forms"),
    [
        ("tools/list", {}, recorded.facts(), ["curl", "python"]),
        ("completion/complete", {"ref": {}}, recorded.facts(), ["curl"]),
        ("<b>\u202e", {}, recorded.facts(), ["curl"]),
        ("tools/call", {"name": "count", "arguments": {"deep": nested(150)}}, recorded.facts(), ["curl"]),
        ("tools/list", {}, "{}", []),
    ],
)
def test_the_page_links_to_the_forms_that_are_given_and_others_are_refused(
    sees_all: Client, session: Recorded, method: str, params: dict[str, Any], facts: str, forms: list[str]
) -> None:
    stream_id = recorded_request(session, method, params, facts)
    links = re.findall(rf'href="\.\./\.\./\.\./stream/{stream_id}/copy/\?as=(\w+)"', page(sees_all, stream_id))
    assert links == forms
    for form in replay.FORMS:
        response = sees_all.get(f"{LIST}{stream_id}/copy/?as={form}")
        assert response.status_code == (200 if form in forms else 400)
        assert response["Content-Type"] == "text/plain; charset=utf-8"
        assert response["X-Content-Type-Options"] == "nosniff"
        assert "\u202e" not in response.content.decode()


def test_what_cannot_be_copied_is_not_found_or_refused(sees_all: Client, session: Recorded) -> None:
    alone = writing.stream(session.store, None, "{}", end=StreamState.ANSWERED)
    assert sees_all.get(f"{LIST}{alone}/copy/?as=curl").status_code == 404
    assert sees_all.get(f"{LIST}1/copy/?as=curl").status_code == 404
    assert sees_all.get(f"{session.call_path}copy/?as=perl").status_code == 400
