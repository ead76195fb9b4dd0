"""The page of a session, as somebody without JavaScript gets it."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from streamable_http import models
from streamable_http.models import StreamState
from streamable_http.operations import permissions
from streamable_http.stores.db import DatabaseStore
from tests.admin import recorded
from tests.admin.conftest import Person
from tests.admin.recorded import HOSTILE, SECRET, Recorded
from tests.stores import writing


@pytest.fixture
def session(store: DatabaseStore) -> Recorded:
    return recorded.session(store)


@pytest.fixture
def sees_all(person: Person) -> Client:
    return person(permissions.VIEW_SESSIONS, permissions.VIEW_PAYLOADS, permissions.REPLAY)


def page(client: Client, session: Recorded, **query: str) -> str:
    response = client.get(f"{session.session_path}change/", query)
    assert response.status_code == 200
    return response.content.decode()


def entries(html: str) -> list[str]:
    """Return the keys of what is in the table, in order."""
    return re.findall(r'<tbody class="wire-entry[^"]*" id="e-([^"]+)"', html)


def entry(html: str, key: str) -> str:
    return html.partition(f'id="e-{key}"')[2].partition("</tbody>\n")[0]


def test_both_directions_are_in_the_order_of_time_with_their_pairs(sees_all: Client, session: Recorded) -> None:
    html = page(sees_all, session)
    call = f"{session.call_id:x}"
    assert {f"r{call}", f"{call}.1", f"{call}.2", f"{call}.3"} <= set(entries(html))
    asked, answered = entry(html, f"r{call}"), entry(html, f"{call}.3")
    assert 'data-direction="in"' in asked
    assert f'href="#e-{call}.3"' in asked
    assert 'data-direction="out"' in answered
    assert f'href="#e-r{call}"' in answered
    assert re.search(r'<rect width="\d+"', answered)


def test_an_ask_and_its_reply_are_with_their_call(sees_all: Client, session: Recorded) -> None:
    html = page(sees_all, session)
    (reply,) = re.findall(r'<tbody class="wire-entry wire-kind-reply wire-nested" id="e-([^"]+)"', html)
    ask = entry(html, f"{session.call_id:x}.2")
    assert f'href="#e-{reply}"' in ask
    assert f'data-stream="{session.call_id:x}"' in entry(html, reply)
    assert "a" * 32 not in html


def test_a_resume_says_from_where(sees_all: Client, session: Recorded) -> None:
    assert "resumed after 2" in page(sees_all, session)


def test_what_is_hostile_is_text_and_what_is_secret_is_masked(sees_all: Client, session: Recorded) -> None:
    html = page(sees_all, session)
    assert "<script>alert(1)" not in html
    assert "\u202e" not in html
    assert "\x07" not in html
    assert "\\u202e" in html
    assert SECRET not in html
    assert '<mark class="wire-masked">••••</mark>' in html
    assert "&lt;script&gt;alert(1)" in html


def test_whoever_may_not_see_messages_sees_who_spoke_when(viewer: Client, session: Recorded) -> None:
    html = page(viewer, session)
    assert f"r{session.call_id:x}" in entries(html)
    assert "tools/call" in html
    for said in ("alert(1)\\u", "Sure?", "no such tool", "user-agent", "192.0.2.1", SECRET):
        assert said not in html
    assert 'name="text"' not in html
    assert "wire-copy" not in html
    assert "session-export" not in html


@pytest.mark.parametrize(
    ("query", "kept"),
    [
        ({"direction": "in"}, {"in"}),
        ({"direction": "out"}, {"out"}),
    ],
)
def test_a_filter_of_direction(sees_all: Client, session: Recorded, query: dict[str, str], kept: set[str]) -> None:
    html = page(sees_all, session, **query)
    assert set(re.findall(r'<tbody class="wire-entry[^>]* data-direction="(\w+)"', html)) == kept


def test_filters_by_stream_errors_and_text_stand_in_the_url_and_the_form(sees_all: Client, session: Recorded) -> None:
    failed = f"{session.failed_id:x}"
    assert set(entries(page(sees_all, session, stream=failed))) == {f"r{failed}", f"{failed}.1"}
    assert set(entries(page(sees_all, session, errors="on"))) == {f"r{failed}", f"{failed}.1"}
    html = page(sees_all, session, text="NO SUCH TOOL")
    assert entries(html) == [f"{failed}.1"]
    assert 'value="NO SUCH TOOL"' in html
    assert 'id="timeline-filters-off"' in html


def test_an_invalid_filter_says_so_and_hides_nothing(sees_all: Client, session: Recorded) -> None:
    html = page(sees_all, session, stream="<b>", direction="sideways")
    assert "up to 16 digits" in html
    assert f"r{session.call_id:x}" in entries(html)


def test_a_masked_secret_cannot_be_searched_for(sees_all: Client, session: Recorded) -> None:
    assert entries(page(sees_all, session, text=SECRET)) == []


def test_pages_link_to_each_other_and_keep_the_filters(sees_all: Client, session: Recorded) -> None:
    for number in range(130):
        writing.stream(
            session.store,
            session.session_id,
            recorded.message(id=number, result={}),
            request_id=f"n{number}",
            end=StreamState.ANSWERED,
        )
    first = page(sees_all, session, direction="out")
    assert "timeline-earlier" not in first
    later = re.search(r'id="timeline-later" rel="next" href="([^"]+)"', first)
    assert later is not None
    assert "direction=out" in later[1]
    response = sees_all.get(f"{session.session_path}change/{later[1].replace('&amp;', '&')}")
    second = response.content.decode()
    assert not set(entries(first)) & set(entries(second))
    assert "timeline-earlier" in second
    assert "timeline-later" not in page(sees_all, session, page="end")


@pytest.mark.parametrize("cursor", ["nowhere", "<zz", ">" + "f" * 17])
def test_a_page_that_is_none_is_not_found(sees_all: Client, session: Recorded, cursor: str) -> None:
    assert sees_all.get(f"{session.session_path}change/", {"page": cursor}).status_code == 404


def test_a_long_stream_links_to_its_own_page(sees_all: Client, session: Recorded) -> None:
    stream_id = recorded.long_stream(session.store, session.session_id, 50)
    html = page(sees_all, session)
    assert f"stream/{stream_id}/change/?after=30" in html
    assert f"{stream_id:x}.50" in entries(html)


def test_takeovers_and_bad_ends_are_marked(sees_all: Client, session: Recorded) -> None:
    lost = writing.stream(session.store, session.session_id, "{}", request_id="3", end=StreamState.LOST)
    models.Stream.objects.filter(pk=session.call_id).update(takeovers=2, taken_at=timezone.now())
    html = page(sees_all, session)
    assert f"took over stream {session.call_id:x}, the 2. time" in html
    assert f"Stream {lost:x} ended: lost." in html


def test_what_was_sent_again_is_linked_both_ways(sees_all: Client, session: Recorded) -> None:
    again = recorded.resent(session)
    assert f"stream/{again}/change/" in page(sees_all, session)


def test_the_page_has_no_inline_script_style_or_handler(sees_all: Client, session: Recorded) -> None:
    html = page(sees_all, session)
    assert not re.search(r"<script(?![^>]*\bsrc=)(?![^>]*application/json)", html)
    assert not re.search(r"<[^>]+\s(style|on\w+)=", html)


def test_a_page_takes_as_many_queries_with_many_entries_as_with_few(
    sees_all: Client, session: Recorded, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for number in range(40):
        writing.stream(
            session.store,
            session.session_id,
            "{}",
            request_id=f"n{number}",
            end=StreamState.ANSWERED,
            record=writing.record(),
        )
    with django_assert_max_num_queries(25):
        page(sees_all, session)


def test_who_may_not_view_sessions_gets_nothing(person: Person, session: Recorded) -> None:
    client = person(permissions.VIEW_PAYLOADS, permissions.REPLAY)
    for page_name in ("change", "export", "recent"):
        assert client.get(f"{session.session_path}{page_name}/").status_code == 403


def test_a_session_that_is_none_is_not_there(sees_all: Client) -> None:
    assert sees_all.get("/admin/streamable_http/session/1/change/").status_code == 302
    assert sees_all.get("/admin/streamable_http/session/1/export/").status_code == 404
    assert sees_all.get("/admin/streamable_http/session/1/recent/").status_code == 404


# The fallback of the live tail


def news(client: Client, session: Recorded, since: str) -> Any:
    return client.get(f"{session.session_path}recent/", {"since": since})


def test_what_is_new_is_told_as_rows_of_the_same_table(sees_all: Client, session: Recorded) -> None:
    told = news(sees_all, session, timezone.now().isoformat()).json()
    call = f"{session.call_id:x}"
    (row,) = [item["html"] for item in told["entries"] if item["key"] == f"{call}.3"]
    assert f'id="e-{call}.3"' in row
    assert "&lt;script&gt;" in row
    assert SECRET not in json.dumps(told)
    assert HOSTILE not in row
    assert news(sees_all, session, told["since"]).status_code == 200


def test_what_is_new_is_told_without_messages_to_whom_they_are_hidden(viewer: Client, session: Recorded) -> None:
    told = news(viewer, session, timezone.now().isoformat())
    assert told.json()["entries"]
    assert "Sure?" not in told.content.decode()


@pytest.mark.parametrize("since", ["", "yesterday", "2026-01-01T00:00:00", "2026-13-01T00:00:00Z"])
def test_news_since_no_time_are_refused(sees_all: Client, session: Recorded, since: str) -> None:
    assert news(sees_all, session, since).status_code == 400


# Downloads


def test_the_download_needs_the_permission_to_replay(viewer: Client, session: Recorded) -> None:
    assert viewer.get(f"{session.session_path}export/").status_code == 403


def test_the_download_is_json_lines(sees_all: Client, session: Recorded) -> None:
    response = sees_all.get(f"{session.session_path}export/")
    assert response["Content-Disposition"] == f'attachment; filename="session-{session.session_id:x}.jsonl"'
    content = b"".join(response.streaming_content).decode()  # type: ignore[attr-defined]
    lines = [json.loads(line) for line in content.splitlines()]
    assert lines[0]["type"] == "session"
    assert {line["type"] for line in lines} == {"session", "stream", "record", "event", "ask"}
    assert SECRET not in content
