from __future__ import annotations

import pytest
from asgiref.sync import ThreadSensitiveContext, sync_to_async
from django.core.exceptions import ImproperlyConfigured
from pytest_django import Settings

from streamable_http import exceptions, shells
from streamable_http.protocol import http
from streamable_http.server import MCPServer


async def nothing():
    yield b""


# The endpoint


def test_a_server_has_one_endpoint_whether_named_or_given() -> None:
    (server,) = {shells.endpoint(name)._server for name in (None, "bookshop")}

    assert shells.endpoint(server) is shells.endpoint("bookshop") is shells.endpoint(None)


def test_servers_have_endpoints_of_their_own() -> None:
    assert shells.endpoint(MCPServer("one")) is not shells.endpoint(MCPServer("two"))


def test_what_answers_once_is_not_what_serves_sessions() -> None:
    server = MCPServer("one")

    assert shells.endpoint(server, one_shot=True) is not shells.endpoint(server)


def test_changed_settings_are_heeded(settings: Settings) -> None:
    server = MCPServer("one")
    before = shells.endpoint(server)
    settings.STREAMABLE_HTTP = {"ALLOW_ANONYMOUS": False}

    with pytest.raises(ImproperlyConfigured, match="AUTHENTICATION_CLASSES"):
        shells.endpoint(server)

    settings.STREAMABLE_HTTP = {}
    assert shells.endpoint(server) is not before


def test_an_unknown_server_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(ImproperlyConfigured, match=r"No MCP server is named 'no'\..*'bookshop'.*MCPView.as_view"):
        shells.endpoint("no")


# Requests


def scope(**others: object) -> dict[str, object]:
    return {"method": "POST", "path": "/mcp", "scheme": "http", **others}


def test_a_request_is_what_the_scope_says() -> None:
    headers = http.Headers([])
    request = shells.request(scope(query_string=b"a=1", client=("10.0.0.1", 5)), headers)

    assert request == http.Request(
        method="POST", path="/mcp", scheme="http", headers=headers, query=b"a=1", client="10.0.0.1"
    )


@pytest.mark.parametrize("client", [{}, {"client": None}])
def test_a_server_need_not_know_its_peer(client: dict[str, object]) -> None:
    assert shells.request(scope(**client), http.Headers([])).client == ""


@pytest.mark.parametrize(
    ("header", "expected"),
    [(b"https", "https"), (b"https, http", "https"), (b"http", "http"), (b"", "http"), (None, "http")],
)
def test_the_scheme_is_what_the_trusted_proxy_says(settings: Settings, header: bytes | None, expected: str) -> None:
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    headers = http.Headers([] if header is None else [(b"x-forwarded-proto", header)])

    assert shells.request(scope(), headers).scheme == expected


def test_without_a_trusted_proxy_its_header_counts_for_nothing() -> None:
    headers = http.Headers([(b"x-forwarded-proto", b"https")])

    assert shells.request(scope(), headers).scheme == "http"
    assert shells.request(scope(scheme="https"), headers).scheme == "https"


# Sizes


@pytest.fixture
def limit(settings: Settings) -> int:
    settings.STREAMABLE_HTTP = {"MAX_BODY_BYTES": 10}
    return 10


@pytest.mark.parametrize("announced", [b"11", b"9" * 5_000])
def test_row_9_an_announced_body_over_the_limit_is_refused(limit: int, announced: bytes) -> None:
    with pytest.raises(exceptions.BodyTooLarge) as caught:
        shells.require_announced_size(http.Headers([(b"content-length", announced)]))

    assert caught.value.limit_bytes == limit


@pytest.mark.parametrize("announced", [b"10", b"0", b"", b"-5", b"1e9", b"0x99", "١٢٣".encode()])
def test_row_60_what_is_announced_otherwise_is_left_to_be_counted(limit: int, announced: bytes) -> None:
    shells.require_announced_size(http.Headers([(b"content-length", announced)]))


def test_row_60_what_arrives_is_counted(limit: int) -> None:
    shells.require_size(limit)
    with pytest.raises(exceptions.BodyTooLarge):
        shells.require_size(limit + 1)


# Headers


def test_a_body_is_sent_with_its_length() -> None:
    assert shells.headers(http.Response(200, {"a": "b"}, b"xyz")) == {"a": "b", "content-length": "3"}
    assert shells.headers(http.Response(202)) == {"content-length": "0"}


def test_nothing_says_how_long_a_stream_or_no_content_is() -> None:
    assert shells.headers(http.Response(200, {"a": "b"}, stream=nothing())) == {"a": "b"}
    assert shells.headers(http.Response(204)) == {}


async def test_whoever_blocks_in_a_view_does_not_hold_the_thread_that_the_work_needs() -> None:
    async def work() -> str:
        return await sync_to_async(lambda: "done")()

    # As Django's ASGI handler runs a view: what is sync in it, and in what it starts, shares one thread.
    async with ThreadSensitiveContext():
        assert await sync_to_async(lambda: shells.run(work()))() == "done"
