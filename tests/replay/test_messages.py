"""What stored messages say of themselves, and how they may be shown."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamable_http.replay import messages
from streamable_http.replay.messages import Message

WIRE_ID = "0123456789abcdef" * 2


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ({"id": 1, "method": "tools/call"}, Message("tools/call", "1")),
        ({"id": "a", "method": "tools/call"}, Message("tools/call", '"a"')),
        ({"method": "notifications/progress"}, Message("notifications/progress")),
        ({"id": 1, "result": {}}, Message("", "1", True)),
        ({"id": 1, "result": {"isError": True}}, Message("", "1", True, True)),
        ({"id": 1, "result": {"isError": 1}}, Message("", "1", True)),
        ({"id": 1, "error": {"code": 1}}, Message("", "1", True, True)),
        ({"id": {}, "method": "x"}, Message("x")),
        ({"id": True, "method": 7}, Message()),
        ({"method": "tools/call", "folded": "9 bytes"}, Message()),
        ([], Message()),
        (None, Message()),
    ],
)
def test_a_message_tells_what_it_is(message: Any, said: Message) -> None:
    assert messages.read(json.dumps(message)) == said


@pytest.mark.parametrize(
    ("head", "said"),
    [
        (
            '{"jsonrpc":"2.0","id":"x","method":"sampling/createMessage","params":',
            Message("sampling/createMessage", '"x"'),
        ),
        ('{"jsonrpc":"2.0","method":"notifications/message","params":', Message("notifications/message")),
        ('{"jsonrpc":"2.0","id":7,"result":', Message("", "7", True)),
        ('{"jsonrpc":"2.0","id":7,"error":', Message("", "7", True, True)),
        ('{"id":7,"result":', Message()),
    ],
)
def test_a_large_message_tells_by_its_beginning(head: str, said: Message) -> None:
    assert messages.read(head + '{"a":"' + "x" * 1_000_000 + '"}}') == said


@given(
    st.text() | st.recursive(st.none() | st.text(), lambda inner: st.dictionaries(st.text(), inner)).map(json.dumps)
)
def test_whatever_is_stored_is_shown_as_json_in_utf_8(payload: str) -> None:
    messages.read(payload)
    messages.wire_ids(payload)
    shown = messages.rename(messages.redact(payload), {WIRE_ID: "1"})
    assert json.loads(shown.encode().decode()) is not Ellipsis
    assert "\0" not in shown


def test_what_may_be_a_wire_id_is_found_and_renamed() -> None:
    said = f'{{"id":"{WIRE_ID}","params":["{WIRE_ID}","a{WIRE_ID}"]}}'
    assert messages.wire_ids(said) == {WIRE_ID}
    assert messages.rename(said, {WIRE_ID: "7f"}) == f'{{"id":"7f","params":["7f","a{WIRE_ID}"]}}'


def test_a_message_is_laid_out_for_people() -> None:
    assert messages.pretty('{"a":["\u202eä"],"b":{}}') == '{\n  "a": [\n    "\u202eä"\n  ],\n  "b": {}\n}'


NESTED = "[" * 240 + ",".join("1" for _ in range(15_000)) + "]" * 240
"""30 KB, which would be 7 MB when they are indented."""


@pytest.mark.parametrize(
    "payload", ["", "no JSON \x1b", "9" * 10_000, "[" * 100_000, "[" * 5_000 + "]" * 5_000, NESTED]
)
def test_what_cannot_be_laid_out_or_would_be_too_long_stays_as_it_is(payload: str) -> None:
    assert messages.pretty(payload) == payload


def test_a_message_is_as_large_as_it_is_stored() -> None:
    assert messages.size_bytes("ä\ud800") == 5
