from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamable_http import exceptions
from streamable_http.protocol import http

BOTH, NEITHER = (True, True), (False, False)
ONLY_JSON, ONLY_STREAM = (True, False), (False, True)


def headers(*pairs: tuple[bytes, bytes]) -> http.Headers:
    return http.Headers(pairs)


def request(scheme: str, *pairs: tuple[bytes, bytes]) -> http.Request:
    return http.Request(method="POST", path="/mcp", scheme=scheme, headers=headers(*pairs))


# Headers


@pytest.mark.parametrize("name", [b"Mcp-Session-Id", b"MCP-SESSION-ID", b"mcp-session-id"])
def test_names_are_found_in_any_case(name: bytes) -> None:
    assert headers((name, b"x")).get(http.SESSION_ID) == "x"


def test_values_are_stripped_of_spaces_and_tabs_alone() -> None:
    assert headers((b"a", b" \tx y\xa0 ")).get("a") == "x y\xa0"


def test_a_header_that_is_not_there_is_none() -> None:
    assert headers().get("accept") is None


def test_repeated_lists_are_joined() -> None:
    found = headers((b"Accept", b"application/json"), (b"accept", b"text/event-stream"))

    assert found.get(http.ACCEPT) == "application/json, text/event-stream"
    assert found.repeated is None
    assert list(found.items()) == [("accept", "application/json, text/event-stream")]
    http.require_single_headers(found)


@pytest.mark.parametrize("name", sorted(http.SINGLE), ids=lambda name: f"row 24: {name}")
def test_headers_that_may_stand_once_are_refused_when_repeated(name: str) -> None:
    found = headers((name.encode(), b"x"), (b"other", b"y"), (name.upper().encode(), b"x"))

    with pytest.raises(exceptions.InvalidHeader, match=f"repeated {name} header") as caught:
        http.require_single_headers(found)

    assert (caught.value.http_status, caught.value.code) == (400, -32600)


@pytest.mark.parametrize("value", [b"a\rb", b"a\nb", b"a\r\nSet-Cookie: x=1", b"a\0b", b"\n", b"a\0", b"\xff\xff\0"])
@pytest.mark.parametrize("name", [b"Mcp-Session-Id", b"Accept", b"X-Anything"])
def test_row_29_line_breaks_and_nul_in_values_are_refused(name: bytes, value: bytes) -> None:
    found = headers((b"host", b"localhost"), (name, value), (b"accept", b"*/*"))

    with pytest.raises(exceptions.InvalidHeader) as caught:
        http.require_safe_values(found)

    assert (caught.value.http_status, caught.value.code) == (400, -32600)


def test_rows_29_and_37_a_cursor_with_nul_looks_like_any_other_bad_cursor() -> None:
    with pytest.raises(exceptions.InvalidCursor):
        http.require_safe_values(headers((b"Last-Event-ID", b"a.1\0")))


@pytest.mark.parametrize("value", [b"", b"plain", b"a\tb", b"\xa0\xad\xff", "größer".encode(), b"\x01\x7f"])
def test_other_values_are_left_to_those_who_read_them(value: bytes) -> None:
    http.require_safe_values(headers((b"x", value)))


@given(st.lists(st.tuples(st.binary(max_size=8), st.binary(max_size=8))))
def test_any_headers_can_be_read(pairs: list[tuple[bytes, bytes]]) -> None:
    found = http.Headers(pairs)

    assert (found.malformed is None) == (not any(set(value) & set(b"\r\n\0") for _, value in pairs))


# Accept


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, BOTH),
        ("*/*", BOTH),
        ("application/json, text/event-stream", BOTH),
        ("application/json,text/event-stream", BOTH),
        ("text/event-stream, application/json", BOTH),
        ("APPLICATION/JSON, Text/Event-Stream", BOTH),
        ("application/json ; q=0.5 , text/event-stream;q=1.0", BOTH),
        ("application/json;charset=utf-8, text/event-stream", BOTH),
        ("text/html, */*;q=0.1", BOTH),
        ("application/*, text/*", BOTH),
        ("application/json", ONLY_JSON),
        ("application/*", ONLY_JSON),
        ("application/json, text/event-stream;q=0", ONLY_JSON),
        ("text/event-stream;q=0.0, */*", ONLY_JSON),
        ("text/*;Q=0, */*;q=0.1", ONLY_JSON),
        ("text/event-stream; Q = 0, */*", ONLY_JSON),
        ("text/event-stream", ONLY_STREAM),
        ("text/*", ONLY_STREAM),
        ("application/json;q=0, */*", ONLY_STREAM),
        ("*/*, application/json;q=0.000", ONLY_STREAM),
        ("text/event-stream, text/*;q=0", ONLY_STREAM),
        ("text/event-stream, application/json;q=nonsense", ONLY_STREAM),
        ("text/event-stream, application/json;q=nan", ONLY_STREAM),
        ("text/event-stream, application/json;q=-1", ONLY_STREAM),
        ("text/event-stream, application/json;q=", ONLY_STREAM),
        ("", NEITHER),
        ("text/html", NEITHER),
        ("*/*;q=0", NEITHER),
        ("*", NEITHER),
        ("application/jsonp, text/event-streams", NEITHER),
        ("application/problem+json", NEITHER),
        ("*/json", NEITHER),
        (",;,;q=0,", NEITHER),
    ],
    ids=lambda value: f"row 21: {value}" if not isinstance(value, tuple) else None,
)
def test_what_a_client_takes_is_read_from_accept(value: str | None, expected: tuple[bool, bool]) -> None:
    acceptable = http.accept(value)

    assert (acceptable.json, acceptable.event_stream) == expected


@given(st.text(st.sampled_from('abjqQ*/,;= \t"01.application/json'), max_size=60))
def test_any_accept_can_be_read(value: str) -> None:
    assert isinstance(http.accept(value), http.Acceptable)


# Content-Type and Content-Encoding


@pytest.mark.parametrize(
    "value", [b"application/json", b"application/json; charset=utf-8", b"Application/JSON", b"application/json ;x"]
)
def test_json_bodies_are_taken(value: bytes) -> None:
    http.require_json_body(headers((b"content-type", value)))


@pytest.mark.parametrize(
    "value",
    [
        b"text/plain",
        b"text/plain;charset=UTF-8",
        b"application/x-www-form-urlencoded",
        b"multipart/form-data; boundary=application/json",
        b"text/plain; application/json",
        b"text/plain, application/json",
        b"application/json, text/plain",
        b"application/jsonp",
        b"application/vnd.api+json",
        b"",
        b"*/*",
    ],
    ids=lambda value: f"row 20: {value.decode()}",
)
def test_bodies_of_other_types_are_refused(value: bytes) -> None:
    with pytest.raises(exceptions.UnsupportedMediaType) as caught:
        http.require_json_body(headers((b"content-type", value)))

    assert caught.value.http_status == 415


def test_row_20_a_body_without_a_type_is_refused() -> None:
    with pytest.raises(exceptions.UnsupportedMediaType, match="no Content-Type"):
        http.require_json_body(headers())


@pytest.mark.parametrize("value", [b"gzip", b"deflate", b"br", b"zstd", b"identity, gzip", b"GZIP", b"x"])
def test_row_11_compressed_bodies_are_refused(value: bytes) -> None:
    with pytest.raises(exceptions.UnsupportedMediaType, match="Content-Encoding"):
        http.require_json_body(headers((b"content-type", b"application/json"), (b"content-encoding", value)))


@pytest.mark.parametrize("value", [b"identity", b"Identity", b""])
def test_bodies_that_say_they_are_not_compressed_are_taken(value: bytes) -> None:
    http.require_json_body(headers((b"content-type", b"application/json"), (b"content-encoding", value)))


# Origin


@pytest.mark.parametrize(
    ("scheme", "host", "origin"),
    [
        ("http", b"localhost", b"http://localhost"),
        ("http", b"localhost:8000", b"http://localhost:8000"),
        ("http", b"localhost:80", b"http://localhost"),
        ("http", b"localhost", b"HTTP://LocalHost"),
        ("http", b"LOCALHOST:8000", b"http://localhost:8000"),
        ("https", b"example.com:443", b"https://example.com"),
        ("https", b"example.com:80", b"https://example.com:80"),
        ("http", b"[::1]:80", b"http://[::1]"),
        ("http", b"[::1]:8000", b"http://[::1]:8000"),
        ("http", b"[2001:DB8::1]", b"http://[2001:db8::1]"),
        ("http", b"127.0.0.1:8000", b"http://127.0.0.1:8000"),
    ],
)
def test_pages_of_the_same_origin_may_call(scheme: str, host: bytes, origin: bytes) -> None:
    http.require_origin(request(scheme, (b"host", host), (b"origin", origin)), frozenset())


def test_who_is_no_browser_may_call() -> None:
    http.require_origin(request("http", (b"host", b"localhost")), frozenset())


@pytest.mark.parametrize("origin", ["https://app.example.com", "null"])
def test_allowed_origins_may_call(origin: str) -> None:
    pair = (b"origin", origin.encode())

    http.require_origin(request("http", (b"host", b"localhost"), pair), frozenset([origin]))


@pytest.mark.parametrize(
    ("scheme", "host", "origin"),
    [
        pytest.param("http", b"localhost", b"https://evil.com", id="row 22: evil"),
        pytest.param("http", b"localhost", b"null", id="row 22: null"),
        pytest.param("http", b"localhost", b"", id="row 22: empty"),
        pytest.param("http", b"localhost", b"http://localhost.evil.com", id="row 22: prefix trick"),
        pytest.param("http", b"localhost:80", b"http://localhost:8080", id="row 22: prefix trick in the port"),
        pytest.param("http", b"localhost", b"http://evil-localhost", id="row 22: suffix trick"),
        pytest.param("http", b"localhost", b"http://localhost@evil.com", id="row 22: userinfo"),
        pytest.param("http", b"localhost", b"http://localhost/", id="row 22: with a path"),
        pytest.param("http", b"localhost", b"localhost", id="row 22: without a scheme"),
        pytest.param("http", b"localhost", b"https://localhost", id="row 22: other scheme"),
        pytest.param("https", b"localhost", b"http://localhost", id="row 22: lesser scheme"),
        pytest.param("http", b"localhost:8000", b"http://localhost", id="row 22: other port"),
        pytest.param("http", b"localhost", b"http://localhost, http://localhost", id="row 22: two in one"),
        pytest.param("http", b"[::1]", b"http://::1", id="row 22: address without brackets"),
        pytest.param("http", b"localhost", b"http://app.example.com", id="row 22: allowed with another scheme"),
        pytest.param("http", b"localhost", b"https://app.example.com.evil.com", id="row 22: prefix of an allowed one"),
        pytest.param("http", b"", b"http://", id="row 23: empty host"),
        pytest.param("http", b"user@localhost", b"http://localhost", id="row 23: userinfo"),
        pytest.param("http", b"localhost:x", b"http://localhost:x", id="row 23: port that is no number"),
        pytest.param("http", b"localhost:99999", b"http://localhost:99999", id="row 23: port out of range"),
        pytest.param("http", b"[::1", b"http://[::1", id="row 23: broken address"),
        pytest.param("http", b"evil.com/localhost", b"http://evil.com", id="row 23: with a path"),
        pytest.param("http", b"evil.com?localhost", b"http://evil.com", id="row 23: with a query"),
        pytest.param("http", b"evil.com#localhost", b"http://evil.com", id="row 23: with a fragment"),
        pytest.param("http", b"local\thost", b"http://localhost", id="row 23: with a tab"),
    ],
)
def test_pages_of_other_origins_are_refused(scheme: str, host: bytes, origin: bytes) -> None:
    allowed = frozenset(["https://app.example.com"])

    with pytest.raises(exceptions.OriginNotAllowed) as caught:
        http.require_origin(request(scheme, (b"host", host), (b"origin", origin)), allowed)

    assert caught.value.http_status == 403


def test_row_23_without_a_host_no_origin_is_our_own() -> None:
    with pytest.raises(exceptions.OriginNotAllowed):
        http.require_origin(request("http", (b"origin", b"http://localhost")), frozenset())


@given(st.sampled_from(["http", "https"]), st.binary(max_size=20).map(lambda raw: raw.decode("latin-1")))
def test_any_host_has_an_origin_or_none(scheme: str, host: str) -> None:
    origin = http.own_origin(scheme, host)

    assert origin is None or origin.startswith(f"{scheme}://")
    assert origin != f"{scheme}://"
