from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamable_http import exceptions
from streamable_http.protocol import http, revisions
from streamable_http.protocol.eras import handshake

PARAMS: dict[str, Any] = {
    "protocolVersion": "2025-06-18",
    "capabilities": {},
    "clientInfo": {"name": "client", "version": "1"},
}


def headers(name: bytes, value: bytes) -> http.Headers:
    return http.Headers([(name, value)])


# The revision in the header


@pytest.mark.parametrize("revision", revisions.HANDSHAKE)
def test_a_served_revision_is_read_from_its_header(revision: str) -> None:
    assert handshake.header_revision(headers(b"MCP-Protocol-Version", revision.encode())) == revision


def test_no_version_header_names_no_revision() -> None:
    assert handshake.header_revision(http.Headers([])) is None


def test_row_24_an_empty_version_header_is_refused() -> None:
    with pytest.raises(exceptions.InvalidHeader, match="empty MCP-Protocol-Version header") as caught:
        handshake.header_revision(headers(b"MCP-Protocol-Version", b" "))

    assert (caught.value.http_status, caught.value.code) == (400, -32600)


@pytest.mark.parametrize(
    "value",
    [b"2024-11-05", b"2025-11-26", b"2025-3-26", b"2025-11-25, 2025-11-25", b"latest", b"\xff", b"9" * 100_000],
    ids=lambda value: f"row 24: {value!r:.24}",
)
def test_an_unknown_version_header_is_refused_and_says_what_is_served(value: bytes) -> None:
    with pytest.raises(exceptions.UnsupportedRevision) as caught:
        handshake.header_revision(headers(b"MCP-Protocol-Version", value))

    assert (caught.value.http_status, caught.value.code) == (400, -32600)
    assert caught.value.data["supported"] == list(revisions.SUPPORTED)
    assert len(str(caught.value)) < 200
    assert len(caught.value.data["requested"]) <= 64


# The session id


@pytest.mark.parametrize("value", [b"a", b"!~", b"x" * 128, b"'; DROP TABLE session; --".replace(b" ", b"_")])
def test_a_session_id_of_visible_ascii_is_taken_as_it_came(value: bytes) -> None:
    assert handshake.session_id(headers(b"Mcp-Session-Id", value)) == value.decode()


def test_no_session_header_carries_no_session_id() -> None:
    assert handshake.session_id(http.Headers([])) is None


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"a b",
        b"a\tb",
        b"a\nb",
        b"a\0b",
        b"a\x7f",
        b"\xe9",
        "é".encode(),
        b"\xa0",
        b"x" * 129,
        b"x" * 102_400,
    ],
    ids=lambda value: f"row 32: {value!r:.24}",
)
def test_a_session_id_that_cannot_be_ours_is_unknown(value: bytes) -> None:
    with pytest.raises(exceptions.UnknownSession) as caught:
        handshake.session_id(headers(b"Mcp-Session-Id", value))

    assert caught.value.http_status == 404
    assert str(caught.value) == "session not found"


@given(st.binary(max_size=140))
def test_row_32_any_session_id_is_unknown_or_is_short_visible_ascii(value: bytes) -> None:
    try:
        taken = handshake.session_id(headers(b"Mcp-Session-Id", value))
    except exceptions.UnknownSession:
        return
    assert taken is not None
    assert 1 <= len(taken) <= 128
    assert all(0x21 <= ord(character) <= 0x7E for character in taken)


# Negotiation


@pytest.mark.parametrize("revision", revisions.HANDSHAKE)
def test_a_served_revision_is_answered_with_itself(revision: str) -> None:
    assert handshake.negotiate(PARAMS | {"protocolVersion": revision}) == revision


@pytest.mark.parametrize("revision", ["2024-11-05", "2026-07-28", "2099-01-01", "", "x" * 1_000, "\ud800"])
def test_any_other_revision_is_offered_the_newest(revision: str) -> None:
    assert handshake.negotiate(PARAMS | {"protocolVersion": revision}) == "2025-11-25"


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("protocolVersion", None),
        ("protocolVersion", 20250326),
        ("protocolVersion", ["2025-03-26"]),
        ("capabilities", None),
        ("capabilities", []),
        ("clientInfo", None),
        ("clientInfo", "client"),
        ("clientInfo", {}),
        ("clientInfo", {"name": "client"}),
        ("clientInfo", {"version": "1"}),
        ("clientInfo", {"name": 1, "version": "1"}),
        ("clientInfo", {"name": "client", "version": 1}),
    ],
)
def test_a_member_of_another_type_is_invalid(member: str, value: Any) -> None:
    with pytest.raises(exceptions.InvalidParams, match=member) as caught:
        handshake.negotiate(PARAMS | {member: value})

    assert (caught.value.http_status, caught.value.code) == (400, -32602)


@pytest.mark.parametrize("member", PARAMS)
def test_a_missing_member_is_invalid(member: str) -> None:
    with pytest.raises(exceptions.InvalidParams, match=member):
        handshake.negotiate({name: value for name, value in PARAMS.items() if name != member})
