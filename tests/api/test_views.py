"""The resources, as operators of several rights get them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connections
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from streamable_http import ids, models, replay
from streamable_http.models import SessionState, StreamState
from streamable_http.operations import permissions, resending
from streamable_http.protocol import sse
from streamable_http.stores.db import DatabaseStore
from tests.api.conftest import ALL, SECRET, Operator, Recorded
from tests.stores import writing

ROOT = "/api/mcp/"

VIEWER = (permissions.VIEW_SESSIONS,)


def content(response: Any) -> str:
    return b"".join(response.streaming_content).decode()


def lines(response: Any) -> list[Any]:
    assert response.headers["Content-Type"] == "application/jsonl"
    return [json.loads(line) for line in content(response).splitlines()]


def session_url(recorded: Recorded, rest: str = "") -> str:
    return f"{ROOT}sessions/{recorded.session_id:x}/{rest}"


def stream_url(stream_id: int, rest: str = "") -> str:
    return f"{ROOT}streams/{stream_id:x}/{rest}"


# Who may


def test_nobody_gets_in_without_logging_in(recorded: Recorded) -> None:
    for url in ("sessions/", "streams/", "workers/", "statistics/", "schema/", "nothing/"):
        assert APIClient().get(ROOT + url).status_code in (401, 403)


def test_who_is_not_of_the_staff_is_refused_with_every_permission(operator: Operator, recorded: Recorded) -> None:
    client = operator(*ALL)
    User.objects.update(is_staff=False)
    assert client.get(f"{ROOT}sessions/").status_code == 403


NEEDED = [
    ("get", "sessions/{session:x}/", permissions.VIEW_SESSIONS),
    ("get", "sessions/{session:x}/events/", permissions.VIEW_SESSIONS),
    ("get", "sessions/{session:x}/export/", permissions.REPLAY),
    ("post", "sessions/{session:x}/terminate/", permissions.TERMINATE),
    ("delete", "sessions/{session:x}/", permissions.PURGE),
    ("get", "streams/{stream:x}/replay/", permissions.REPLAY),
    ("get", "streams/{stream:x}/export/", permissions.REPLAY),
    ("get", "streams/{stream:x}/resume/", permissions.REPLAY),
    ("get", "streams/{stream:x}/resend/", permissions.RESEND),
    ("post", "streams/{stream:x}/resend/", permissions.RESEND),
    ("post", "streams/{stream:x}/close/", permissions.TERMINATE),
    ("post", "streams/{stream:x}/cancel/", permissions.TERMINATE),
]


@pytest.mark.parametrize(("method", "url", "needed"), NEEDED, ids=lambda each: str(each))
def test_without_its_permission_an_action_is_refused_and_changes_nothing(
    operator: Operator, recorded: Recorded, method: str, url: str, needed: str
) -> None:
    client = operator(*(right for right in ALL if right != needed))
    path = ROOT + url.format(session=recorded.session_id, stream=recorded.answered)
    response = getattr(client, method)(path, {}, format="json")
    assert response.status_code == 403
    assert models.Session.objects.get().state == SessionState.OPEN
    assert models.Stream.objects.filter(state=StreamState.OPEN).count() == 2


def test_a_token_opens_it_as_well_as_a_login(recorded: Recorded) -> None:
    from rest_framework.authtoken.models import Token  # noqa: PLC0415

    user = User.objects.create_superuser("root")
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Token {Token.objects.create(user=user).key}")
    assert client.get(f"{ROOT}sessions/").status_code == 200


def test_a_login_takes_a_csrf_token_to_change_something(operator: Operator, recorded: Recorded) -> None:
    client = operator(*ALL)
    client.handler.enforce_csrf_checks = True
    response = client.post(session_url(recorded, "terminate/"), {}, format="json")
    assert response.status_code == 403
    assert "CSRF" in response.json()["detail"]


# What was said


PAYLOADS = [
    "sessions/{session:x}/",
    "sessions/{session:x}/events/",
    "sessions/{session:x}/recent/?since=2020-01-01T00:00:00Z",
    "streams/{stream:x}/",
    "streams/{stream:x}/events/",
    "streams/{stream:x}/replay/",
    "streams/{stream:x}/replay/?format=sse",
    "streams/{stream:x}/resume/",
    "streams/{stream:x}/resend/",
    "sessions/{session:x}/export/",
    "streams/{stream:x}/export/",
]


@pytest.mark.parametrize("url", PAYLOADS)
@pytest.mark.parametrize("sees_payloads", [True, False])
def test_secrets_are_masked_and_what_was_said_is_absent_without_the_right(
    operator: Operator, recorded: Recorded, url: str, sees_payloads: bool
) -> None:
    client = operator(*(right for right in ALL if sees_payloads or right != permissions.VIEW_PAYLOADS))
    for stream_id in (recorded.answered, recorded.running):
        response = client.get(ROOT + url.format(session=recorded.session_id, stream=stream_id))
        assert response.status_code == 200
        text = content(response) if response.streaming else response.content.decode()
        assert SECRET not in text
        if not sees_payloads:
            assert '"payload"' not in text
            assert '"arguments":' not in text
            assert "progressToken" not in text


def test_a_payload_is_redacted_json(operator: Operator, recorded: Recorded) -> None:
    page = operator(*VIEWER, permissions.VIEW_PAYLOADS).get(stream_url(recorded.answered, "events/")).json()
    answer = next(entry for entry in page["results"] if entry["kind"] == "result")
    assert json.loads(answer["payload"])["result"] == {"content": [], "password": "••••"}
    request = next(entry for entry in page["results"] if entry["kind"] == "request")
    assert (request["method"], request["name"], request["pair"]) == ("tools/call", "tool", answer["key"])


# Lists


def test_sessions_are_listed_with_what_they_came_to(operator: Operator, recorded: Recorded) -> None:
    page = operator(*VIEWER).get(f"{ROOT}sessions/").json()
    [session] = page["results"]
    assert page["next"] is None
    assert session["id"] == f"{recorded.session_id:x}"
    assert (session["server"], session["principal"], session["state"]) == ("bookshop", "user:alice", "open")
    assert session["client"] == {"name": "client", "version": "1"}
    assert (session["calls"], session["open_calls"], session["events"]) == (2, 1, 3)
    assert "capabilities" not in session


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("state=open", True),
        ("state=expired", False),
        ("server=bookshop", True),
        ("server=other", False),
        ("principal=user:alice", True),
        ("principal=user:bob", False),
        ("q=alice", True),
        ("q=clie", True),
        ("q=nobody", False),
    ],
)
def test_sessions_are_filtered(operator: Operator, recorded: Recorded, query: str, found: bool) -> None:
    page = operator(*VIEWER).get(f"{ROOT}sessions/?{query}").json()
    assert len(page["results"]) == found


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", ["sessionless", "running", "answered", "listening"]),
        ("session={session:x}", ["running", "answered", "listening"]),
        ("sessionless=true", ["sessionless"]),
        ("sessionless=false", ["running", "answered", "listening"]),
        ("q=tool&sessionless=false&state=answered", ["answered"]),
        ("q=nothing", []),
        ("state=answered", ["sessionless", "answered"]),
        ("method=tools/list", ["sessionless"]),
        ("name=tool", ["running", "answered"]),
        ("name=tool&state=open", ["running"]),
    ],
)
def test_streams_are_filtered(operator: Operator, recorded: Recorded, query: str, names: list[str]) -> None:
    known = {**vars(recorded), "listening": recorded.session_id}
    url = f"{ROOT}streams/?{query.format(session=recorded.session_id)}"
    found = [stream["id"] for stream in operator(*VIEWER).get(url).json()["results"]]
    assert found == [f"{known[name]:x}" for name in names]


def test_pages_follow_each_other_without_repeats_or_holes(operator: Operator, store: DatabaseStore) -> None:
    expected = [f"{writing.session(store):x}" for _ in range(7)][::-1]
    client, found, url = operator(*VIEWER), [], f"{ROOT}sessions/?limit=3"
    sizes = []
    while url:
        page = client.get(url).json()
        sizes.append(len(page["results"]))
        found += [session["id"] for session in page["results"]]
        url = page["next"]
    assert found == expected
    assert sizes == [3, 3, 1]


@pytest.mark.parametrize("resource", ["sessions/", "streams/", "streams/?state=open", "sessions/?q=client"])
def test_a_list_takes_as_many_queries_for_many_rows_as_for_one(
    operator: Operator, store: DatabaseStore, resource: str
) -> None:
    client = operator(*VIEWER)

    def queries() -> int:
        with CaptureQueriesContext(connections["default"]) as captured:
            assert client.get(ROOT + resource).json()["results"]
        assert not any("COUNT(*)" in query["sql"] and "GROUP BY" not in query["sql"] for query in captured)
        return len(captured)

    def add() -> None:
        session_id = writing.session(store)
        writing.stream(store, session_id, "1", "2", end=StreamState.ANSWERED)

    add()
    one = queries()
    for _ in range(30):
        add()
    assert queries() == one
    assert one <= 12


def test_a_timeline_takes_as_many_queries_for_many_streams_as_for_one(
    operator: Operator, store: DatabaseStore
) -> None:
    client, session_id = operator(*ALL), writing.session(store)

    def queries() -> int:
        with CaptureQueriesContext(connections["default"]) as captured:
            assert client.get(f"{ROOT}sessions/{session_id:x}/events/").json()["lanes"]
        return len(captured)

    writing.stream(store, session_id, '{"jsonrpc":"2.0","id":1,"result":{}}', end=StreamState.ANSWERED)
    one = queries()
    for number in range(20):
        writing.stream(
            store,
            session_id,
            '{"jsonrpc":"2.0","id":1,"result":{}}',
            request_id=str(number + 2),
            end=StreamState.ANSWERED,
        )
    assert queries() == one


# One of them


def test_a_stream_names_no_ask_as_its_client_knows_it(operator: Operator, store: DatabaseStore) -> None:
    session_id = writing.session(store)
    ask = writing.ask(session_id)
    said = f'{{"jsonrpc":"2.0","id":1,"result":{{"x":"{ask.wire_id}"}}}}'
    stream_id = writing.stream(
        store, session_id, said, asks=[ask], arguments=f'{{"x":"{ask.wire_id}"}}', end=StreamState.ANSWERED
    )
    client = operator(*VIEWER, permissions.VIEW_PAYLOADS, permissions.REPLAY)
    assert json.loads(client.get(stream_url(stream_id)).json()["arguments"]) == {"x": f"{ask.id:x}"}
    answer = client.get(stream_url(stream_id, "replay/"), {"speed": 0}, headers={"accept": "text/event-stream"})
    played = b"".join(answer.streaming_content)
    assert ask.wire_id.encode() not in played
    assert played == b"".join(replay.as_sse(stream_id))


def test_a_stream_says_what_it_is(operator: Operator, recorded: Recorded) -> None:
    client = operator(*VIEWER, permissions.VIEW_PAYLOADS)
    stream = client.get(stream_url(recorded.running)).json()
    assert stream["session"] == f"{recorded.session_id:x}"
    assert (stream["method"], stream["name"], stream["request_id"]) == ("tools/call", "tool", "2")
    assert (stream["state"], stream["head"], stream["is_listening"]) == ("open", 1, False)
    assert json.loads(stream["arguments"]) == {"api_key": "••••"}
    assert client.get(stream_url(recorded.sessionless)).json()["session"] is None
    assert client.get(stream_url(recorded.session_id)).json()["is_listening"] is True


def test_a_timeline_has_both_directions_and_its_lanes(operator: Operator, recorded: Recorded) -> None:
    page = operator(*VIEWER).get(session_url(recorded, "events/")).json()
    assert {entry["direction"] for entry in page["results"]} == {"in", "out"}
    assert {lane["stream"]["id"] for lane in page["lanes"]} >= {f"{recorded.answered:x}", f"{recorded.running:x}"}
    assert (page["previous"], page["next"]) == (None, None)


def test_a_timeline_is_filtered(operator: Operator, recorded: Recorded) -> None:
    client = operator(*VIEWER)
    url = session_url(recorded, f"events/?stream={recorded.running:x}&direction=out")
    assert [entry["stream"] for entry in client.get(url).json()["results"]] == [f"{recorded.running:x}"]


def test_recent_entries_say_from_when_to_ask_next(operator: Operator, recorded: Recorded) -> None:
    client = operator(*VIEWER)
    page = client.get(session_url(recorded, "recent/?since=2020-01-01T00:00:00Z")).json()
    assert len(page["results"]) == 5
    again = client.get(session_url(recorded, "recent/"), {"since": page["since"]})
    assert again.status_code == 200


def test_events_of_a_stream_are_paged_by_sequence(operator: Operator, store: DatabaseStore) -> None:
    session_id = writing.session(store)
    payloads = [f'{{"jsonrpc":"2.0","method":"notifications/message","params":{{"data":{n}}}}}' for n in range(7)]
    stream_id = writing.stream(store, session_id, *payloads)
    client, url, sequences = operator(*VIEWER), stream_url(stream_id, "events/?limit=3"), []
    while url:
        page = client.get(url).json()
        sequences += [entry["sequence"] for entry in page["results"] if entry["sequence"]]
        url = page["next"]
    assert sequences == [1, 2, 3, 4, 5, 6, 7]


# Replays and exports


def test_a_replay_by_sse_gives_the_events_with_their_ids(operator: Operator, recorded: Recorded) -> None:
    client = operator(*VIEWER, permissions.REPLAY, permissions.VIEW_PAYLOADS)
    response = client.get(stream_url(recorded.answered, "replay/"), headers={"accept": "text/event-stream"})
    assert response.headers["Content-Type"] == "text/event-stream"
    events = sse.Decoder().decode(content(response).encode())
    assert [event.id for event in events] == [f"{recorded.answered:x}.1", f"{recorded.answered:x}.2"]
    assert json.loads(events[1].data)["result"]["password"] == "••••"


def test_a_request_id_is_said_by_the_client(operator: Operator, recorded: Recorded) -> None:
    paths = [stream_url(recorded.running), f"{ROOT}streams/", stream_url(recorded.running, "events/")]
    for path in paths:
        assert '"request_id":"2"' in operator(*VIEWER, permissions.VIEW_PAYLOADS).get(path).content.decode()
        assert '"request_id":"2"' not in operator(*VIEWER).get(path).content.decode()


def test_a_replay_without_payloads_by_sse_has_empty_events(operator: Operator, recorded: Recorded) -> None:
    client = operator(*VIEWER, permissions.REPLAY)
    text = content(client.get(stream_url(recorded.answered, "replay/?format=sse&after=1")))
    assert text == f"id: {recorded.answered:x}.2\ndata: \n\n"


def test_a_replay_by_json_lines_gives_both_directions(operator: Operator, recorded: Recorded) -> None:
    entries = lines(operator(*VIEWER, permissions.REPLAY).get(stream_url(recorded.answered, "replay/?speed=1000")))
    assert [(entry["direction"], entry["kind"]) for entry in entries] == [
        ("in", "request"),
        ("out", "notification"),
        ("out", "result"),
    ]


@pytest.mark.parametrize("what", ["session", "stream"])
def test_an_export_is_a_file_of_json_lines(operator: Operator, recorded: Recorded, what: str) -> None:
    client = operator(*ALL)
    url = session_url(recorded, "export/") if what == "session" else stream_url(recorded.answered, "export/")
    response = client.get(url)
    assert response.headers["Content-Disposition"].startswith(f'attachment; filename="{what}-')
    types = [line["type"] for line in lines(response)]
    assert types[0] == "session"
    assert {"stream", "event"} <= set(types)
    assert types.count("stream") == (3 if what == "session" else 1)


def test_a_resume_is_previewed(operator: Operator, recorded: Recorded) -> None:
    preview = operator(*ALL).get(stream_url(recorded.answered, "resume/?after=1")).json()
    assert (preview["status"], preview["is_recovered"]) == (200, True)
    assert [entry["sequence"] for entry in preview["entries"]] == [2]


# What operators do


def test_a_session_is_terminated_once(operator: Operator, recorded: Recorded) -> None:
    client = operator(*ALL)
    ended = client.post(session_url(recorded, "terminate/"), {"reason": "a test"}, format="json")
    assert (ended.status_code, ended.json()["state"]) == (200, "terminated")
    assert models.Stream.objects.get(pk=recorded.running).state == StreamState.TERMINATED
    again = client.post(session_url(recorded, "terminate/"), {}, format="json")
    assert (again.status_code, list(again.json())) == (409, ["detail"])


def test_only_a_session_that_is_over_is_purged(operator: Operator, recorded: Recorded) -> None:
    client = operator(*ALL)
    assert client.delete(session_url(recorded)).status_code == 409
    client.post(session_url(recorded, "terminate/"), {}, format="json")
    assert client.delete(session_url(recorded)).status_code == 204
    assert client.get(session_url(recorded)).status_code == 404
    assert not models.Stream.objects.filter(session_id=recorded.session_id).exists()


def test_a_call_is_cancelled_once(operator: Operator, recorded: Recorded) -> None:
    client = operator(*ALL)
    assert client.post(stream_url(recorded.running, "cancel/"), {}, format="json").json()["state"] == "cancelled"
    assert client.post(stream_url(recorded.running, "cancel/"), {}, format="json").status_code == 409


def test_a_stream_that_nobody_follows_cannot_be_closed(operator: Operator, recorded: Recorded) -> None:
    assert operator(*ALL).post(stream_url(recorded.running, "close/"), {}, format="json").status_code == 409


def test_a_stream_that_somebody_follows_is_closed(operator: Operator, store: DatabaseStore) -> None:
    stream_id = writing.stream(store, writing.session(store), "{}", follower=7)
    response = operator(*ALL).post(stream_url(stream_id, "close/"), {"reason": "a test"}, format="json")
    assert response.status_code == 200


def test_a_request_that_cannot_be_sent_again_says_why(operator: Operator, recorded: Recorded) -> None:
    client = operator(*ALL)
    review = client.get(stream_url(recorded.sessionless, "resend/")).json()
    assert review["refusal"]
    refused = client.post(stream_url(recorded.sessionless, "resend/"), {"confirm": True}, format="json")
    assert (refused.status_code, refused.json()["detail"]) == (409, review["refusal"])


def recorded_call(store: DatabaseStore, tool: str, arguments: dict[str, Any]) -> int:
    """A call of a tool of the bookshop, as it was recorded."""
    params = {"name": tool, "arguments": arguments}
    payload = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})
    session_id = writing.session_of(store, "user:alice", server="bookshop")
    record = writing.record(method="tools/call", payload=payload)
    return writing.stream(store, session_id, end=StreamState.ANSWERED, name=tool, record=record)


def test_a_request_is_sent_again_as_whoever_asks(operator: Operator, store: DatabaseStore) -> None:
    stream_id = recorded_call(store, "search_books", {"query": "whale"})
    sent = operator(*ALL).post(stream_url(stream_id, "resend/"), {"reason": "a test"}, format="json")
    assert sent.status_code == 200
    assert sent.json()["stream"] != f"{stream_id:x}"
    assert json.loads(sent.json()["response"])["result"]["isError"] is False
    assert "whale" in sent.json()["request"]


def test_what_was_sent_and_answered_is_absent_without_the_right(operator: Operator, store: DatabaseStore) -> None:
    stream_id = recorded_call(store, "search_books", {"query": "whale"})
    client = operator(*VIEWER, permissions.RESEND)
    sent = client.post(stream_url(stream_id, "resend/"), {}, format="json")
    assert sent.status_code == 200
    assert {"request", "response"} & set(sent.json()) == set()


def test_warnings_are_to_be_confirmed(operator: Operator, store: DatabaseStore) -> None:
    stream_id = recorded_call(store, "refund_order", {"number": 1, "reason": "late"})
    client = operator(*ALL)
    review = client.get(stream_url(stream_id, "resend/")).json()
    assert review["warnings"]
    refused = client.post(stream_url(stream_id, "resend/"), {"confirm": False}, format="json")
    assert (refused.status_code, refused.json()["warnings"]) == (409, review["warnings"])
    assert client.post(stream_url(stream_id, "resend/"), {"confirm": True}, format="json").status_code == 200


def test_a_call_that_does_not_end_is_a_time_out(
    operator: Operator, store: DatabaseStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resending, "RESEND_SECONDS", 0.0)
    stream_id = recorded_call(store, "search_books", {"query": "whale"})
    failed = operator(*ALL).post(stream_url(stream_id, "resend/"), {"reason": "a test"}, format="json")
    assert failed.status_code == 504
    assert "was cancelled" in failed.json()["detail"]
    assert failed.json()["stream"] != f"{stream_id:x}"


# Bad questions


UNKNOWN = [
    "0",
    "00",
    "1",
    "-1",
    "x",
    "0x1",
    "FF",
    "%00",
    "%F0%9F%98%80",
    "a" * 15,
    "f" * 16,
    "1" * 500,
    "%D9%A3",
    "a%2Fb",
]


@pytest.mark.parametrize("id", UNKNOWN)
@pytest.mark.parametrize(
    ("resource", "action"),
    [
        ("sessions", ""),
        ("sessions", "events/"),
        ("sessions", "recent/?since=2020-01-01T00:00:00Z"),
        ("sessions", "export/"),
        ("streams", ""),
        ("streams", "events/"),
        ("streams", "replay/"),
        ("streams", "export/"),
        ("streams", "resume/"),
        ("streams", "resend/"),
    ],
)
def test_what_is_not_there_is_not_found(
    operator: Operator, store: DatabaseStore, resource: str, action: str, id: str
) -> None:
    response = operator(*ALL).get(f"{ROOT}{resource}/{id}/{action}")
    assert response.status_code == 404
    assert response.json() == {"detail": "Not found."}


@pytest.mark.parametrize(
    "path", ["sessions/1/terminate/", "streams/1/close/", "streams/1/cancel/", "streams/1/resend/"]
)
def test_nothing_is_done_to_what_is_not_there(operator: Operator, store: DatabaseStore, path: str) -> None:
    assert operator(*ALL).post(ROOT + path, {}, format="json").status_code == 404


BAD = [
    ("sessions/", "limit", ["0", "201", "x", "", "9" * 5_000, "1.5", "٣", "-1", "\0"]),
    ("sessions/", "cursor", ["", "0", "x", "f" * 16, "\0", "-1"]),
    ("sessions/", "state", ["nothing", "\0", "🙂"]),
    ("sessions/", "server", ["\0", "x" * 129]),
    ("sessions/", "q", ["a\0b", "x" * 256]),
    ("streams/", "session", ["x", "0", "f" * 17]),
    ("streams/", "sessionless", ["perhaps", "\0"]),
    ("streams/", "method", ["\0", "x" * 257]),
    ("streams/", "outcome", ["none"]),
    ("sessions/{session:x}/events/", "cursor", ["nothing", "\0", ">f" * 9, "<ffffffffffffffff"]),
    ("sessions/{session:x}/events/", "direction", ["up"]),
    ("sessions/{session:x}/events/", "stream", ["x"]),
    ("sessions/{session:x}/events/", "text", ["\0"]),
    ("sessions/{session:x}/recent/", "since", ["yesterday", "", "\0", "2020-13-01T00:00:00Z"]),
    ("streams/{stream:x}/events/", "after", ["-1", "9" * 19, "x", "\0"]),
    ("streams/{stream:x}/events/", "limit", ["0", "501"]),
    ("streams/{stream:x}/replay/", "speed", ["-1", "nan", "1e9", "1001"]),
    ("streams/{stream:x}/resume/", "after", ["-1", "nan"]),
    ("statistics/", "seconds", ["nan", "inf", "-inf", "59", "2678401", "1e400", "x", "\0", "1_000"]),
]


@pytest.mark.parametrize(
    ("url", "name", "value"), [(url, name, value) for url, name, values in BAD for value in values]
)
def test_a_bad_parameter_is_named(operator: Operator, recorded: Recorded, url: str, name: str, value: str) -> None:
    url = ROOT + url.format(session=recorded.session_id, stream=recorded.answered)
    response = operator(*ALL).get(url, {name: value})
    assert response.status_code == 400
    assert list(response.json()) == [name]


def test_times_outside_of_history_are_taken(operator: Operator, recorded: Recorded) -> None:
    client = operator(*ALL)
    for since in ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "1969-12-31T00:00:00+14:00"):
        assert client.get(session_url(recorded, "recent/"), {"since": since}).status_code == 200


@pytest.mark.parametrize(
    ("body", "media_type", "status"),
    [
        (b"{", "application/json", 400),
        (b"[]", "application/json", 400),
        (b"null", "application/json", 400),
        (b"1", "application/json", 400),
        (b"\xff", "application/json", 400),
        (b"[" * 50_000, "application/json", 400),
        (b'{"reason": NaN}', "application/json", 400),
        (b'{"reason": "\\u0000"}', "application/json", 400),
        (b'{"reason": "\\ud800"}', "application/json", 400),
        (b'{"reason": {}}', "application/json", 400),
        (b'{"reason": ' + b"9" * 5_000 + b"}", "application/json", 400),
        (b'{"reason": "' + b"x" * 70_000 + b'"}', "application/json", 413),
        (b"reason=1", "application/x-www-form-urlencoded", 415),
        (b"<a/>", "text/xml", 415),
    ],
)
def test_a_bad_body_is_refused(
    operator: Operator, recorded: Recorded, body: bytes, media_type: str, status: int
) -> None:
    response = operator(*ALL).generic("POST", session_url(recorded, "terminate/"), body, content_type=media_type)
    assert response.status_code == status
    assert response.headers["Content-Type"] == "application/json"
    assert models.Session.objects.get().state == SessionState.OPEN


@pytest.mark.parametrize("accept", ["image/png", "a;x*=nonsense''%41", ";;;", "text/event-stream"])
def test_what_cannot_be_accepted_is_said_by_json(operator: Operator, recorded: Recorded, accept: str) -> None:
    response = operator(*ALL).get(f"{ROOT}sessions/", headers={"accept": accept})
    assert response.status_code == 406
    assert response.headers["Content-Type"] == "application/json"


def test_a_charset_of_the_body_does_not_spoil_the_url(operator: Operator, recorded: Recorded) -> None:
    response = operator(*ALL).generic(
        "GET", f"{ROOT}sessions/?q=alice", b"", content_type="application/json; charset=utf-16"
    )
    assert len(response.json()["results"]) == 1


def test_problems_of_a_streamed_answer_are_json(operator: Operator, store: DatabaseStore) -> None:
    response = operator(*ALL).get(f"{ROOT}streams/1/replay/", headers={"accept": "text/event-stream"})
    assert (response.status_code, response.json()) == (404, {"detail": "Not found."})


def test_what_is_not_served_is_answered_by_json(operator: Operator, store: DatabaseStore) -> None:
    client = operator(*ALL)
    assert client.get(f"{ROOT}nothing/at/all").json() == {"detail": "Not found."}
    refused = client.post(f"{ROOT}sessions/", {}, format="json")
    assert (refused.status_code, refused.headers["Allow"]) == (405, "GET, HEAD, OPTIONS")


def test_the_figures_are_shown(operator: Operator, recorded: Recorded) -> None:
    figures = operator(*VIEWER).get(f"{ROOT}statistics/?seconds=600").json()
    assert (figures["open_sessions"], figures["calls"]) == (1, 3)
    assert sum(bucket["calls"] for bucket in figures["buckets"]) == 3
    assert figures["clients"] == [{"name": "client 1", "sessions": 1}]


def test_workers_are_listed(operator: Operator, store: DatabaseStore) -> None:
    worker_id = ids.new()
    store.register_worker(worker_id, "host", 7, 15.0)
    [worker] = operator(*VIEWER).get(f"{ROOT}workers/").json()["results"]
    assert (worker["id"], worker["host"], worker["pid"], worker["is_alive"]) == (f"{worker_id:x}", "host", 7, True)
