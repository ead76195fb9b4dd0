from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streamable_http import exceptions
from streamable_http.protocol import cursors, http, jsonrpc, revisions, server

Pairs = list[tuple[bytes, bytes]]

POLICY = server.Policy(mode=revisions.Mode.SESSIONS, max_depth=64, allowed_origins=frozenset(["https://app.test"]))
SESSIONLESS = server.Policy(mode=revisions.Mode.SESSIONLESS, max_depth=64, allowed_origins=frozenset())
NOVEMBER = revisions.FACTS["2025-11-25", revisions.Mode.SESSIONS]
JUNE = revisions.FACTS["2025-06-18", revisions.Mode.SESSIONS]

USUAL = {
    "host": "localhost",
    "accept": "application/json, text/event-stream",
    "content-type": "application/json",
    "mcp-session-id": "secret",
}
PING = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'
INITIALIZE = b'{"jsonrpc":"2.0","id":0,"method":"initialize","params":{}}'

DOCUMENTED = (
    exceptions.ParseError,
    exceptions.InvalidRequest,
    exceptions.InvalidParams,
    exceptions.OriginNotAllowed,
    exceptions.UnknownSession,
    exceptions.NotAcceptable,
    exceptions.UnsupportedMediaType,
)


def request(
    method: str = "POST", body: bytes = b"", pairs: Pairs | None = None, **changes: str | None
) -> http.Request:
    """Return a request with the usual headers, changed by ``changes`` (``None`` leaves one out)."""
    named = USUAL | {name.replace("_", "-"): value for name, value in changes.items()}
    raw = [(name.encode(), value.encode("latin-1")) for name, value in named.items() if value is not None]
    return http.Request(
        method=method, path="/mcp", scheme="http", headers=http.Headers(raw + (pairs or [])), body=body
    )


# What is admitted


def test_a_posted_request_is_admitted_with_what_it_says() -> None:
    admission = server.admit(request(body=PING, mcp_protocol_version="2025-06-18"), POLICY)

    assert admission == server.Admission(
        message=jsonrpc.Request(1, "ping", {}),
        revision="2025-06-18",
        session_id="secret",
        cursor=None,
        acceptable=http.Acceptable(json=True, event_stream=True),
    )
    assert not admission.opens_session


@pytest.mark.parametrize("version", [None, *revisions.HANDSHAKE])
def test_initialize_is_admitted_without_a_session(version: str | None) -> None:
    admission = server.admit(request(body=INITIALIZE, mcp_session_id=None, mcp_protocol_version=version), POLICY)

    assert admission.opens_session
    assert admission.session_id is None
    assert admission.revision == version


def test_get_is_admitted_with_its_cursor() -> None:
    admission = server.admit(request("GET", accept="text/event-stream", last_event_id="a.7"), POLICY)

    assert admission.message is None
    assert admission.cursor == cursors.Cursor(10, 7)


def test_get_without_a_cursor_listens_from_where_it_was() -> None:
    assert server.admit(request("GET"), POLICY).cursor is None


def test_delete_is_admitted_whatever_it_accepts() -> None:
    admission = server.admit(request("DELETE", accept="text/html", content_type=None, last_event_id="x"), POLICY)

    assert (admission.message, admission.cursor, admission.session_id) == (None, None, "secret")


def test_a_post_does_not_resume() -> None:
    assert server.admit(request(body=PING, last_event_id="nonsense"), POLICY).cursor is None


@pytest.mark.parametrize("accept", ["application/json", "text/event-stream", "*/*", None])
def test_row_21_a_post_takes_whichever_of_the_two_types_the_client_takes(accept: str | None) -> None:
    assert server.admit(request(body=PING, accept=accept), POLICY).message is not None


def test_without_sessions_a_session_id_is_not_even_looked_at() -> None:
    assert server.admit(request(body=PING, mcp_session_id="any thing"), SESSIONLESS).session_id is None


def test_row_6_the_last_of_two_methods_is_the_one_that_is_dispatched() -> None:
    body = b'{"jsonrpc":"2.0","id":1,"method":"initialize","method":"ping"}'

    admission = server.admit(request(body=body), POLICY)

    assert admission.message == jsonrpc.Request(1, "ping", {})
    with pytest.raises(exceptions.MissingSession):
        server.admit(request(body=body, mcp_session_id=None), POLICY)


def test_initialize_is_answered_with_a_revision_that_is_served() -> None:
    info = {"name": "client", "version": "1"}
    params = {"protocolVersion": "2024-11-05", "capabilities": {}, "clientInfo": info}

    assert server.negotiate(jsonrpc.Request(0, "initialize", params)) == "2025-11-25"


# What is refused


@pytest.mark.parametrize(
    ("refused", "status", "code"),
    [
        pytest.param(request(body=b""), 400, -32700, id="row 1"),
        pytest.param(request(body=PING[:-5]), 400, -32700, id="row 2"),
        pytest.param(request(body=PING.decode().encode("utf-16")), 400, -32700, id="row 3"),
        pytest.param(request(body=b"[" * 100_000), 400, -32700, id="row 5"),
        pytest.param(request(body=b"[" * 65 + b"]" * 65), 400, -32700, id="row 5: one level too deep"),
        pytest.param(request(body=b"[" * 64 + b"]" * 64), 400, -32600, id="row 5: just not too deep, but no message"),
        pytest.param(request(body=PING.replace(b"1", b"NaN")), 400, -32700, id="row 7"),
        pytest.param(request(body=PING.replace(b"1", b"1" * 5_000)), 400, -32700, id="row 8"),
        pytest.param(request(body=PING, content_encoding="gzip"), 415, -32600, id="row 11"),
        pytest.param(request(body=b"[%b]" % b",".join([PING] * 101)), 400, -32600, id="row 13, long"),
        pytest.param(request(body=b"[%b, 1]" % PING), 400, -32600, id="row 13, no message"),
        pytest.param(request(body=b"[]"), 400, -32600, id="row 13"),
        pytest.param(request(body=PING.replace(b"2.0", b"1.0")), 400, -32600, id="row 14"),
        pytest.param(request(body=PING.replace(b"1", b"null")), 400, -32600, id="row 15"),
        pytest.param(request(body=PING.replace(b"}", b',"params":[]}')), 400, -32602, id="row 19"),
        pytest.param(request(body=PING, content_type="text/plain"), 415, -32600, id="row 20"),
        pytest.param(request(body=PING, accept="text/html"), 406, -32600, id="row 21: POST"),
        pytest.param(request("GET", accept="application/json"), 406, -32600, id="row 21: GET"),
        pytest.param(request("GET", accept="text/event-stream;q=0"), 406, -32600, id="row 21: GET, q=0"),
        pytest.param(request(body=PING, origin="https://evil.test"), 403, -32600, id="row 22"),
        pytest.param(request("GET", origin="null"), 403, -32600, id="row 22: GET"),
        pytest.param(request("DELETE", origin="null"), 403, -32600, id="row 22: DELETE"),
        pytest.param(request(body=PING, pairs=[(b"Host", b"evil.test")]), 400, -32600, id="row 23: two hosts"),
        pytest.param(request(body=PING, mcp_protocol_version=""), 400, -32600, id="row 24: empty"),
        pytest.param(request(body=PING, mcp_protocol_version="1"), 400, -32600, id="row 24: unknown"),
        pytest.param(request("DELETE", mcp_protocol_version="1"), 400, -32600, id="row 24: unknown, DELETE"),
        pytest.param(
            request(body=PING, pairs=[(b"MCP-Protocol-Version", b"2025-11-25")] * 2), 400, -32600, id="row 24: twice"
        ),
        pytest.param(request(body=PING, pairs=[(b"X-Other", b"a\r\nb")]), 400, -32600, id="row 29"),
        pytest.param(request(body=PING, mcp_session_id="a\0b"), 400, -32600, id="row 29: session id"),
        pytest.param(request(body=PING, mcp_session_id="x" * 102_400), 404, -32600, id="row 32"),
        pytest.param(request(body=PING, mcp_session_id=None), 400, -32600, id="row 33"),
        pytest.param(request("GET", mcp_session_id=None), 400, -32600, id="row 33: GET"),
        pytest.param(request("DELETE", mcp_session_id=None), 400, -32600, id="row 33: DELETE"),
        pytest.param(
            request(body=b'{"jsonrpc":"2.0","method":"initialize"}', mcp_session_id=None),
            400,
            -32600,
            id="row 33: no id",
        ),
        pytest.param(request("GET", last_event_id="a.1\0"), 400, -32600, id="row 37: NUL"),
    ],
)
def test_bad_input_gets_its_status_and_code(refused: http.Request, status: int, code: int) -> None:
    with pytest.raises(exceptions.ProtocolError) as caught:
        server.admit(refused, POLICY)

    assert isinstance(caught.value, DOCUMENTED)
    assert (caught.value.http_status, caught.value.code) == (status, code)


@pytest.mark.parametrize("cursor", ["", "forged", "0.1", "a.-1", "a.9223372036854775808", "a" * 1_024])
def test_row_37_a_cursor_that_cannot_be_read_waits_for_the_session_to_be_found(cursor: str) -> None:
    """An ended session MUST be answered by 404, also to a cursor of the server that was here before."""
    assert server.admit(request("GET", last_event_id=cursor), POLICY).cursor == cursors.NOWHERE


# Errors


def test_an_error_with_an_id_is_a_json_rpc_error_in_every_revision() -> None:
    for facts in revisions.FACTS.values():
        response = server.refuse(exceptions.InvalidParams("x"), facts=facts, request_id=7)

        assert response.status == 400
        assert response.headers == {"content-type": "application/json"}
        assert json.loads(response.body) == {
            "jsonrpc": "2.0",
            "id": 7,
            "error": {"code": -32602, "message": "invalid params: x"},
        }


def test_row_15_an_error_without_an_id_has_a_body_only_where_the_revision_allows_it() -> None:
    problem = exceptions.TooManyRequests("slow down", retry_after_seconds=5)

    newer = server.refuse(problem, facts=NOVEMBER, request_id=None)
    older = server.refuse(problem, facts=JUNE, request_id=None)

    assert newer.status == older.status == 429
    assert newer.headers == {"content-type": "application/json", "retry-after": "5"}
    assert json.loads(newer.body) == {"jsonrpc": "2.0", "error": {"code": -32600, "message": "slow down"}}
    assert (older.headers, older.body) == ({"retry-after": "5"}, b"")


def test_the_headers_of_an_error_are_not_shared_with_its_response() -> None:
    problem = exceptions.MethodNotAllowed(("POST",))

    server.refuse(problem, facts=JUNE, request_id=None).headers["x"] = "y"

    assert problem.headers == {"allow": "POST"}


def test_row_4_an_error_about_a_lone_surrogate_can_be_written() -> None:
    response = server.refuse(exceptions.MethodNotFound("\ud800\0"), facts=NOVEMBER, request_id="\ud800")

    assert json.loads(response.body)["error"]["message"] == "method not found: \ud800\0"
    assert json.loads(response.body)["id"] == "\ud800"


@pytest.mark.parametrize(
    ("body", "request_id"),
    [
        (PING, 1),
        (b'{"id":"a","method":7}', "a"),
        (b'{"jsonrpc":"1.0","id":0,"method":"ping"}', 0),
        (b'{"id":1,"id":2,"method":"ping"}', 2),
        (b'{"jsonrpc":"2.0","method":"ping"}', None),
        (b'{"id":null,"method":"ping"}', None),
        (b'{"id":1.5,"method":"ping"}', None),
        (b'{"id":true,"method":"ping"}', None),
        (b'{"id":18446744073709551616,"method":"ping"}', None),
        (b'{"id":18446744073709551616,"method":"\\ud800"}', None),
        (b'{"id":{},"method":"ping"}', None),
        (b"[%b]" % PING, None),
        (b"[]", None),
        (b"1", None),
        (b"", None),
        (PING[:-1], None),
        (b"[" * 100, None),
        # The id of a response is one of ours: in an error it would name a call of the client's that goes on.
        (b'{"jsonrpc":"2.0","id":1,"result":{}}', None),
        (b'{"jsonrpc":"2.0","id":1,"error":{}}', None),
        (b'{"jsonrpc":"2.0","id":1}', None),
    ],
)
def test_row_15_an_error_echoes_the_id_of_a_call_that_can_be_read(body: bytes, request_id: Any) -> None:
    assert server.request_id_of(request(body=body), POLICY) == request_id


@pytest.mark.parametrize("method", ["GET", "DELETE", "PUT"])
def test_only_a_post_has_an_id(method: str) -> None:
    assert server.request_id_of(request(method, body=PING), POLICY) is None


# Anything

NAMES = st.sampled_from(sorted(http.SINGLE | {http.ACCEPT, "x-other"})).map(str.encode)
VALUES = (
    st.binary(max_size=12)
    | st.sampled_from([b"application/json", b"text/event-stream", b"*/*", b"text/*;q=0", b"gzip", b"[", b""])
    | st.sampled_from([b"2025-03-26", b"2025-11-25", b"2026-07-28", b"a.1", b"secret"])
    | st.sampled_from([b"localhost", b"[::1]:80", b"http://localhost", b"http://[::1]", b"null"])
)
MEMBERS: st.SearchStrategy[dict[str, Any]] = st.dictionaries(
    st.sampled_from(["jsonrpc", "id", "method", "params", "result", "error", "code", "message"]),
    st.sampled_from(["2.0", "ping", "initialize", "\ud800", "\0", 1, 1.5, 2**70, None, True, [], {}])
    | st.fixed_dictionaries({"code": st.integers(), "message": st.text(max_size=3)}),
)
BODIES = (
    st.binary(max_size=40)
    | MEMBERS.map(lambda value: json.dumps(value).encode())
    | MEMBERS.map(lambda value: json.dumps({"jsonrpc": "2.0", "id": 1} | value).encode())
    | st.lists(MEMBERS, max_size=3).map(lambda value: json.dumps(value).encode())
)


def check_refusal(response: http.Response, error: exceptions.ProtocolError) -> None:
    assert response.status == error.http_status
    assert not response.body or json.loads(response.body)["error"]["code"] == error.code


@given(
    st.sampled_from(["POST", "POST", "GET", "DELETE"]),
    BODIES,
    st.lists(st.tuples(NAMES, VALUES), max_size=6) | st.lists(st.tuples(st.binary(max_size=4), VALUES), max_size=4),
    st.booleans(),
    st.sampled_from([POLICY, SESSIONLESS]),
)
@example("POST", b'{"jsonrpc":"2.0","id":1180591620717411303424,"method":"\\ud800"}', [], True, POLICY)
@example("POST", b'{"jsonrpc":"2.0","id":"\\ud800","method":"\\u0000","params":[]}', [], True, POLICY)
def test_any_request_is_admitted_or_refused_by_a_documented_error_that_can_be_sent(
    method: str, body: bytes, pairs: Pairs, usual: bool, policy: server.Policy
) -> None:
    if usual:
        own = {name for name, _ in pairs}
        pairs = [(name.encode(), value.encode()) for name, value in USUAL.items() if name.encode() not in own] + pairs
    asked = http.Request(method=method, path="/mcp", scheme="http", headers=http.Headers(pairs), body=body)
    request_id = server.request_id_of(asked, policy)

    try:
        admission = server.admit(asked, policy)
    except DOCUMENTED as error:
        for facts in (NOVEMBER, JUNE):
            check_refusal(server.refuse(error, facts=facts, request_id=request_id), error)
        return

    assert (admission.message is not None) == (method == "POST")
    if isinstance(admission.message, jsonrpc.Request):
        assert request_id == admission.message.id
        jsonrpc.dumps(jsonrpc.result(admission.message.id, {}))
    else:
        assert request_id is None


@pytest.mark.parametrize("facts", revisions.FACTS.values(), ids=lambda facts: f"{facts.revision} {facts.mode}")
def test_row_12_a_batch_is_refused_where_the_revision_has_none(facts: revisions.Facts) -> None:
    admission = server.admit(request(body=b"[%b]" % PING), POLICY)
    assert isinstance(admission.message, jsonrpc.Batch)
    if facts.revision == "2025-03-26":
        server.require_batches(facts)
    else:
        with pytest.raises(exceptions.InvalidRequest, match="2025-06-18"):
            server.require_batches(facts)


@pytest.mark.parametrize("messages", [[PING, INITIALIZE], [PING, PING]], ids=["initialize", "same id"])
def test_what_no_batch_may_hold_is_refused(messages: list[bytes]) -> None:
    admission = server.admit(request(body=b"[%b]" % b",".join(messages)), POLICY)
    assert isinstance(admission.message, jsonrpc.Batch)
    with pytest.raises(exceptions.InvalidRequest):
        server.requests_of(admission.message)


def test_the_requests_of_a_batch_are_those_that_want_an_answer() -> None:
    bodies = [
        PING,
        b'{"jsonrpc":"2.0","method":"note"}',
        PING.replace(b"1", b'"1"'),
        b'{"jsonrpc":"2.0","id":7,"result":{}}',
    ]
    admission = server.admit(request(body=b"[%b]" % b",".join(bodies)), POLICY)
    assert isinstance(admission.message, jsonrpc.Batch)
    assert [each.id for each in server.requests_of(admission.message)] == [1, "1"]
