"""Requests that are sent again to real servers, and compared with what was answered before."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from streamable_http.replay import checking, sending
from streamable_http.replay.recorded import Exchange
from tests import services
from tests.acceptance.conftest import RunningSite, Site

pytestmark = pytest.mark.acceptance

ELICITATION = {"capabilities": {"elicitation": {}}}


def call(tool: str, **arguments: Any) -> dict[str, Any]:
    params = {"name": tool, "arguments": arguments, "_meta": {"progressToken": 7}}
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}


def result(text: str) -> dict[str, Any]:
    answer = {"content": [{"type": "text", "text": text}], "isError": False}
    return {"jsonrpc": "2.0", "id": 1, "result": answer}


def exchange(request: dict[str, Any], response: dict[str, Any] | None, **changes: Any) -> Exchange:
    return Exchange(stream_id=1, method="tools/call", name="", request=request, response=response, **changes)


def play(url: str, *exchanges: Exchange, opening: dict[str, Any] | None = None, **options: Any) -> list[Any]:
    with sending.Target(url) as target:
        target.open(params=opening)
        return list(checking.play(exchanges, target, **options))


def test_the_answer_of_a_call_comes_with_its_progress(site: RunningSite) -> None:
    [outcome] = play(site.mcp_url, exchange(call("count", n=3), None))
    assert [message["params"]["progress"] for message in outcome.messages[:-1]] == [1, 2, 3]
    assert outcome.messages[-1]["result"]["content"][0]["text"] == "counted to 3"
    assert not outcome.is_compared


def test_the_session_is_ended_behind_it(site: RunningSite) -> None:
    with sending.Target(site.mcp_url) as target:
        target.open()
    [(state,)] = site.rows("SELECT state FROM streamable_http_session ORDER BY id DESC LIMIT 1")
    assert state == "terminated"


def test_the_same_answer_is_no_difference(site: RunningSite) -> None:
    [outcome] = play(site.mcp_url, exchange(call("count", n=1), result("counted to 1")), compares=True)
    assert outcome.is_compared
    assert outcome.differences == ()


def test_another_answer_is_named(site: RunningSite) -> None:
    [outcome] = play(site.mcp_url, exchange(call("count", n=2), result("counted to 1")), compares=True)
    path = "$.result.content[0].text"
    assert outcome.differences == (checking.Difference(path, "counted to 1", "counted to 2"),)


def test_what_was_not_answered_is_not_sent_to_be_compared(site: RunningSite) -> None:
    [outcome] = play(site.mcp_url, exchange(call("block", seconds=60), None), compares=True)
    assert outcome.is_unanswered
    assert outcome.messages == ()


def test_an_error_to_what_was_not_compared_is_a_difference(site: RunningSite) -> None:
    refused = {"jsonrpc": "2.0", "id": 3, "method": "logging/setLevel", "params": {"level": "loud"}}
    accepted = {**refused, "params": {"level": "error"}}
    unknown = [
        Exchange(stream_id=None, method=request["method"], name="", request=request, response=None)
        for request in (refused, accepted)
    ]
    [differs, same] = play(site.mcp_url, *unknown, compares=True)
    assert [(each.path, each.old) for each in differs.differences] == [("$.error", checking.MISSING)]
    assert not differs.is_compared
    assert not differs.is_same
    assert same.is_same
    assert play(site.mcp_url, unknown[0], compares=True, ignored=["$.error"])[0].is_same
    assert play(site.mcp_url, unknown[0])[0].is_same


def test_who_logs_in_is_not_shown(unused_url: str) -> None:
    with pytest.raises(sending.TargetFailed) as failed:
        play(unused_url.replace("//", "//user:hidden@"))
    assert f"cannot connect to {unused_url}" in str(failed.value)
    assert "hidden" not in str(failed.value)


def test_what_is_ignored_is_not_named(site: RunningSite) -> None:
    recorded = exchange(call("count", n=2), result("counted to 1"))
    [outcome] = play(site.mcp_url, recorded, compares=True, ignored=["text"])
    assert outcome.is_compared
    assert outcome.is_same


def test_progress_counts_only_where_it_is_wanted(site: RunningSite) -> None:
    recorded = exchange(call("count", n=1), result("counted to 1"))
    [outcome] = play(site.mcp_url, recorded, compares=True)
    assert outcome.is_same
    [outcome] = play(site.mcp_url, recorded, compares=True, is_strict=True)
    assert [each.path for each in outcome.differences] == ["$.notifications[0]"]


def test_questions_get_the_replies_of_then(site: RunningSite) -> None:
    reply = {"result": {"action": "accept", "content": {"name": "Ada"}}}
    recorded = exchange(call("ask"), result("accept: Ada"), asks=({},), replies=(reply,))
    [outcome] = play(site.mcp_url, recorded, opening=ELICITATION, compares=True, ignored=["$.asks"])
    assert outcome.differences == ()


def test_a_question_that_is_new_gets_an_error_and_is_a_difference(site: RunningSite) -> None:
    [outcome] = play(site.mcp_url, exchange(call("ask"), result("?")), opening=ELICITATION, compares=True)
    assert "$.asks[0]" in [each.path for each in outcome.differences]


def test_a_request_that_was_redacted_is_not_sent(site: RunningSite) -> None:
    [outcome] = play(site.mcp_url, exchange(call("count", n=1, token="••••"), result("")), compares=True)
    assert "redacted" in outcome.refusal
    assert not outcome.is_same
    assert outcome.messages == ()


def test_connections_that_are_closed_early_are_taken_up_again(new_site: Site) -> None:
    server = new_site.serve(settings={"MAX_CONNECTION_SECONDS": 0, "POLLING_RETRY_MS": 50})
    recorded = exchange(call("count", n=5, delay_ms=100), result("counted to 5"))
    [outcome] = play(f"{server.url}/mcp", recorded, compares=True)
    assert outcome.differences == ()
    assert len(outcome.messages) == 6


def test_a_server_that_answers_by_json_is_compared_as_well(new_site: Site) -> None:
    for settings in ({"JSON_ONLY": True}, {"MODE": "sessionless"}):
        server = new_site.serve(settings=settings)
        [outcome] = play(f"{server.url}/mcp", exchange(call("count", n=5), result("counted to 5")), compares=True)
        assert outcome.differences == ()


def test_nobody_there_is_a_sentence(unused_url: str) -> None:
    with pytest.raises(sending.TargetFailed, match=f"cannot connect to {unused_url}"):
        play(unused_url)


@pytest.fixture
def unused_url() -> str:
    return f"http://127.0.0.1:{services.free_port()}/mcp"


def test_an_answer_that_takes_too_long_is_a_sentence(site: RunningSite) -> None:
    with sending.Target(site.mcp_url, timeout_seconds=1) as target:
        target.open()
        with pytest.raises(sending.TargetFailed, match="did not answer within 1 s"):
            target.call(call("block", seconds=3))


class Odd(http.server.BaseHTTPRequestHandler):
    """Answers everything the same way."""

    protocol_version = "HTTP/1.1"
    status, content_type, body = 200, "text/html", b"<html>"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(self.status)
        self.send_header("content-type", self.content_type)
        self.send_header("content-length", str(len(self.body)))
        self.send_header("location", "http://user:hidden@elsewhere.example/mcp")
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *arguments: Any) -> None:
        pass


ODD = {
    "a page": (200, "text/html", b"<html>", "does not speak MCP: it answers with HTTP 200 and text/html"),
    "no credentials": (401, "application/json", b"{}", "wants credentials .HTTP 401.; give --header or --token-env"),
    "forbidden": (403, "application/json", b"{}", "answers with HTTP 403"),
    "elsewhere": (308, "text/html", b"", "redirects to http://elsewhere.example/mcp"),
    "broken": (502, "text/html", b"", "answers with HTTP 502 Bad Gateway"),
    "other json": (200, "application/json", b"[1]", "no JSON-RPC message"),
    "no json": (200, "application/json", b"{", "no JSON-RPC message"),
    "refused": (
        200,
        "application/json",
        b'{"jsonrpc":"2.0","id":"open","error":{"code":-1,"message":"no"}}',
        "refuses to initialize: no",
    ),
    "other result": (
        200,
        "application/json",
        b'{"id":"open","result":{"protocolVersion":1}}',
        "refuses to initialize",
    ),
    "other id": (
        200,
        "application/json",
        b'{"id":"other","result":{"protocolVersion":"2025-11-25"}}',
        'answers initialize with the id "other", and was asked with "open"',
    ),
    "no id": (200, "application/json", b'{"error":{"code":-1,"message":"no"}}', "answers initialize with the id null"),
    "other id in a stream": (
        200,
        "text/event-stream",
        b'data: {"id":17,"result":{"protocolVersion":"2025-11-25"}}\n\n',
        'answers initialize with the id 17, and was asked with "open"',
    ),
    "refused before it was read": (
        400,
        "application/json",
        b'{"id":null,"error":{"code":-1,"message":"no"}}',
        "refuses to initialize: no",
    ),
    "no answer": (200, "text/event-stream", b": nothing\n\n", "ended the connection without an answer"),
}


@pytest.fixture
def odd_server(request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    status, content_type, body, expected = request.param
    handler = type("Handler", (Odd,), {"status": status, "content_type": content_type, "body": body})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/mcp", expected
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("odd_server", ODD.values(), ids=ODD, indirect=True)
def test_what_is_no_mcp_server_is_said_in_a_sentence(odd_server: tuple[str, str]) -> None:
    url, expected = odd_server
    with pytest.raises(sending.TargetFailed, match=expected):
        play(url)
