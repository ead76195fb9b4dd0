from __future__ import annotations

import pytest

from streamable_http import exceptions
from streamable_http.protocol import cors, http

ALLOWED = frozenset({"https://app.example.com"})
METHODS = ("POST", "GET", "DELETE")

PREFLIGHT = {"origin": "https://app.example.com", "access-control-request-method": "POST"}


def request(headers: dict[str, str], *, method: str = "OPTIONS") -> http.Request:
    raw = {"host": "mcp.example.com:8000", **headers}
    return http.Request(
        method=method,
        path="/mcp",
        scheme="https",
        headers=http.Headers((name.encode(), value.encode()) for name, value in raw.items()),
    )


# Preflights


@pytest.mark.parametrize("origin", ["https://app.example.com", "https://mcp.example.com:8000"], ids=["allowed", "own"])
def test_row_70_a_page_that_may_call_is_told_so(origin: str) -> None:
    response = cors.preflight(request({**PREFLIGHT, "origin": origin}), METHODS, ALLOWED)

    assert (response.status, response.body) == (204, b"")
    assert response.headers == {
        "access-control-allow-origin": origin,
        "access-control-allow-methods": "POST, GET, DELETE",
        "access-control-max-age": "7200",
        "vary": "Origin",
    }


@pytest.mark.parametrize(
    "names",
    ["content-type", "authorization,content-type,mcp-session-id", "mcp-protocol-version, last-event-id", "x_own!#$"],
)
def test_a_page_may_send_the_headers_that_it_wants_to(names: str) -> None:
    response = cors.preflight(request({**PREFLIGHT, "access-control-request-headers": names}), METHODS, ALLOWED)

    assert response.headers["access-control-allow-headers"] == names


@pytest.mark.parametrize("names", ["", ",", "a,,b", "a b", "a;b", 'a"', "a\r\nset-cookie: x", "\u00e4", "a,", "a\n"])
def test_what_is_no_list_of_names_is_not_repeated(names: str) -> None:
    response = cors.preflight(request({**PREFLIGHT, "access-control-request-headers": names}), METHODS, ALLOWED)

    assert "access-control-allow-headers" not in response.headers


@pytest.mark.parametrize(
    ("headers", "method"),
    [
        ({}, "OPTIONS"),
        ({"origin": "https://app.example.com"}, "OPTIONS"),
        ({"access-control-request-method": "POST"}, "OPTIONS"),
        ({**PREFLIGHT, "origin": "https://evil.example"}, "OPTIONS"),
        ({**PREFLIGHT, "origin": "https://app.example.com.evil.example"}, "OPTIONS"),
        ({**PREFLIGHT, "origin": "https://app.example.com, https://evil.example"}, "OPTIONS"),
        ({**PREFLIGHT, "origin": "http://app.example.com"}, "OPTIONS"),
        ({**PREFLIGHT, "origin": "null"}, "OPTIONS"),
        ({**PREFLIGHT, "origin": "*"}, "OPTIONS"),
        (PREFLIGHT, "PUT"),
        (PREFLIGHT, "TRACE"),
        (PREFLIGHT, "HEAD"),
    ],
)
def test_row_70_all_else_is_a_method_that_is_not_served(headers: dict[str, str], method: str) -> None:
    with pytest.raises(exceptions.MethodNotAllowed) as caught:
        cors.preflight(request(headers, method=method), METHODS, ALLOWED)

    assert caught.value.headers == {"allow": "POST, GET, DELETE"}


def test_a_page_is_told_only_what_is_served() -> None:
    response = cors.preflight(request(PREFLIGHT), ("POST",), ALLOWED)

    assert response.headers["access-control-allow-methods"] == "POST"


# Responses


@pytest.mark.parametrize("status", [200, 401, 404, 503])
def test_a_page_of_an_allowed_origin_may_read_answers_and_errors(status: int) -> None:
    response = http.Response(status, {"retry-after": "5"}, b"{}")

    exposed = cors.expose(request(PREFLIGHT, method="POST"), response, ALLOWED)

    assert (exposed.status, exposed.body) == (status, b"{}")
    assert exposed.headers == {
        "retry-after": "5",
        "access-control-allow-origin": "https://app.example.com",
        "access-control-expose-headers": "Mcp-Session-Id, Streamable-HTTP-Recovered, Retry-After, WWW-Authenticate",
        "vary": "Origin",
    }


@pytest.mark.parametrize("origin", [None, "https://evil.example", "null", "https://mcp.example.com:8000"])
def test_others_get_no_leave_and_caches_are_told_that_it_depends(origin: str | None) -> None:
    headers = {} if origin is None else {"origin": origin}

    exposed = cors.expose(request(headers, method="POST"), http.Response(200), ALLOWED)

    assert exposed.headers == {"vary": "Origin"}


def test_headers_that_responses_share_are_left_alone() -> None:
    shared = {"content-type": "application/json"}

    cors.expose(request(PREFLIGHT, method="POST"), http.Response(200, shared), ALLOWED)

    assert shared == {"content-type": "application/json"}


def test_where_no_other_origin_is_allowed_nothing_is_added() -> None:
    response = http.Response(200, {"content-type": "application/json"})

    assert cors.expose(request(PREFLIGHT, method="POST"), response, frozenset()) is response
    assert response.headers == {"content-type": "application/json"}
