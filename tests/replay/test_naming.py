"""Nobody who reads the log learns the wire id of an ask, wherever a message names it."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from django.db import connections
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from streamable_http import redaction
from streamable_http.models import StreamState
from streamable_http.replay import exports, following, messages, naming, timeline
from streamable_http.stores.db import DatabaseStore
from tests.replay.conversations import Conversation, facts, message, request, result

WIRE_ID = "0123456789abcdef" * 2


@pytest.fixture
def asked(store: DatabaseStore) -> tuple[int, str]:
    """An ask of another session: its id, and its wire id."""
    other = Conversation(store)
    return other.ask(other.call(end=StreamState.OPEN))


def escaped(wire_id: str) -> str:
    return "".join(f"\\u{ord(digit):04x}" for digit in wire_id)


READERS: dict[str, Callable[[Conversation, int], str]] = {
    "session": lambda talk, _: f"{timeline.session_timeline(talk.session_id, with_payloads=True)}",
    "stream": lambda _, stream_id: f"{timeline.stream_timeline(stream_id, with_payloads=True)}",
    "recent": lambda talk, _: f"{following.recent(talk.session_id, timezone.now(), with_payloads=True)}",
    "lines": lambda talk, _: "".join(exports.as_json_lines(session_id=talk.session_id, with_payloads=True)),
    "sse": lambda _, stream_id: b"".join(exports.as_sse(stream_id)).decode(),
}


@pytest.mark.parametrize("reader", READERS)
def test_a_call_may_name_the_ask_of_another_session_and_nobody_learns_it(
    talk: Conversation, asked: tuple[int, str], reader: str
) -> None:
    ask_id, wire_id = asked
    written = result({"content": [], "plain": wire_id, "escaped": "X"}).replace("X", escaped(wire_id))
    stream_id = talk.call(written, arguments={"which": f"not {wire_id}!"})
    about = facts("POST", traceparent=f"00-{wire_id}-01")
    talk.say("ping", message(id=5, method="ping", params={"x": wire_id}), about)
    shown = READERS[reader](talk, stream_id)
    assert wire_id not in shown
    assert f"{ask_id:x}" in shown


@pytest.mark.parametrize("reader", READERS)
def test_what_grows_while_it_is_redacted_names_none_either(
    talk: Conversation, asked: tuple[int, str], reader: str
) -> None:
    secrets = {f"{number}pwd": 1 for number in range(2_400)}
    payload = result({**secrets, "which": asked[1]})
    assert len(payload) < redaction.MAX_MESSAGE_BYTES < len(messages.redact(payload))
    assert asked[1] not in READERS[reader](talk, talk.call(payload))


def test_who_may_not_see_messages_sees_no_wire_id(talk: Conversation, asked: tuple[int, str]) -> None:
    talk.reply(asked[1], {})
    talk.append(talk.call(end=StreamState.OPEN), request("elicitation/create", {}, WIRE_ID))
    page = timeline.session_timeline(talk.session_id, with_payloads=False)
    assert f'"{asked[0]:x}"' in {entry.request_id for entry in page.entries}
    assert f'"{naming.HIDDEN}"' in {entry.request_id for entry in page.entries}
    assert asked[1] not in f"{page}"
    assert WIRE_ID not in f"{page}"


def test_all_that_a_page_names_is_looked_up_at_once(talk: Conversation, asked: tuple[int, str]) -> None:
    texts = [*(f"{number:032x}" for number in range(1_000)), f"[{asked[1]}]", "none"]
    with CaptureQueriesContext(connections[talk.store.alias]) as captured:
        assert naming.names_of(texts) == {asked[1]: f"{asked[0]:x}"}
        assert naming.names_of(["none"]) == {}
    assert len(captured) == 1


def test_more_than_a_database_takes_at_a_time_can_be_named(talk: Conversation, asked: tuple[int, str]) -> None:
    texts = (f"{number:032x}" for number in range(naming.LOOKED_UP * 7))
    assert naming.names_of([*texts, asked[1]]) == {asked[1]: f"{asked[0]:x}"}


def test_asks_and_replies_have_wire_ids() -> None:
    ask, reply = messages.read(request("ping", {}, WIRE_ID)), messages.read(result({}, WIRE_ID))
    assert naming.wire_id(ask, came_in=False) == naming.wire_id(reply, came_in=True) == WIRE_ID
    assert naming.wire_id(ask, came_in=True) is naming.wire_id(reply, came_in=False) is None


def test_wire_ids_are_named_wherever_they_are_and_hidden_where_they_are_not_known() -> None:
    said = json.dumps({"id": WIRE_ID, "params": [WIRE_ID, f"a{WIRE_ID}"]})
    assert json.loads(naming.named(said, {WIRE_ID: "7f"}, WIRE_ID)) == {"id": "7f", "params": ["7f", f"a{WIRE_ID}"]}
    assert json.loads(naming.named(json.dumps({"id": WIRE_ID}), {}, WIRE_ID)) == {"id": redaction.MASK}


@pytest.mark.parametrize("depth", [10, 100, 240, 250, 254, 300, 500, 900, 1_100])
@pytest.mark.parametrize("leaf", ["1", '"\\ud800"'])
def test_an_unknown_wire_id_is_hidden_at_any_depth_of_its_message(depth: int, leaf: str) -> None:
    payload = f'{{"id":"{WIRE_ID}","method":"m","params":' + "[" * depth + leaf + "]" * depth + "}"
    shown = naming.named(messages.redact(payload), {}, WIRE_ID)
    assert WIRE_ID not in shown
    assert messages.loads(shown) is not None


def test_what_is_no_message_keeps_its_id(store: DatabaseStore) -> None:
    arguments = '{"id":"7","result":{}}'
    assert naming.shown(arguments) == arguments
    assert json.loads(naming.shown(arguments, came_in=True))["id"] == naming.HIDDEN
