"""Sessions and streams as files, of real exchanges and of rows that no endpoint would write, on real databases."""

from __future__ import annotations

import json
import tracemalloc
from collections import Counter
from typing import Any

import pytest
from django.db import connections
from django.test.utils import CaptureQueriesContext

from streamable_http import ids, models, operations, redaction
from streamable_http.delivery.engine import Engine
from streamable_http.models import StreamState
from streamable_http.protocol import sse
from streamable_http.replay import exports
from streamable_http.stores.db import DatabaseStore
from tests.endpoint.client import Client, messages
from tests.replay import conversations, exchanges
from tests.replay.conversations import Conversation, message, progress, result
from tests.replay.exchanges import SECRET
from tests.stores import writing
from tests.stores.aging import pass_seconds

MANY = 20_000
BOUND_BYTES = 6_000_000


def lines(**of: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in exports.as_json_lines(**{"with_payloads": True, **of})]


def decoded(stream_id: int, after: int = 0) -> list[sse.Event]:
    return sse.Decoder().decode(b"".join(exports.as_sse(stream_id, after)))


# Real exchanges


async def test_a_session_is_exported_whole_and_without_secrets(engine: Engine) -> None:
    client = Client(exchanges.server)
    await client.open(elicitation={})
    await client.call("count", n=2, password=SECRET)
    _, reading, asked = await exchanges.pending(client)
    session_id, stream_id = await exchanges.session_id(engine), await exchanges.newest_stream(engine)
    await exchanges.settle(engine)
    digest = await engine.read(lambda: models.Session.objects.get().digest)
    secrets = (SECRET, digest, asked["id"], client.headers["mcp-session-id"])

    def exported() -> str:
        pieces = [
            *exports.as_json_lines(session_id=session_id, with_payloads=True),
            *exports.as_json_lines(stream_id=stream_id, with_payloads=True),
            *exports.as_json_lines(session_id=session_id, with_payloads=False),
            b"".join(exports.as_sse(stream_id)).decode(),
        ]
        return "\n".join(pieces)

    waiting = await engine.read(exported)
    await exchanges.reply(client, asked["id"], action="accept", content={"password": SECRET})
    assert len([event async for event in reading]) == 1
    await exchanges.settle(engine)
    answered = await engine.read(exported)
    for secret in secrets:
        assert secret not in waiting
        assert secret not in answered
    found = await engine.read(lambda: lines(session_id=session_id))
    assert Counter(line["type"] for line in found) == {"session": 1, "stream": 3, "record": 4, "event": 5, "ask": 1}
    [ask] = [line for line in found if line["type"] == "ask"]
    events = [line for line in found if line["type"] == "event" and line["stream"] == f"{stream_id:x}"]
    assert json.loads(events[0]["payload"])["id"] == ask["id"]
    assert {line.get("session", line.get("id")) for line in found if line["type"] == "session"} == {f"{session_id:x}"}


async def test_what_was_said_is_left_out_for_those_who_may_not_see_it(engine: Engine) -> None:
    client = Client(exchanges.server)
    await client.open()
    await messages(await client.post("tools/call", {"name": "count", "arguments": {"n": 1}}))
    session_id = await exchanges.session_id(engine)
    await exchanges.settle(engine)
    found = await engine.read(lambda: lines(session_id=session_id, with_payloads=False))
    said = {"payload", "facts", "arguments", "request_id", "reply", "client_info", "capabilities"}
    assert {line["type"] for line in found} == {"session", "stream", "record", "event"}
    assert all(not said & line.keys() for line in found)
    whole = await engine.read(lambda: lines(session_id=session_id))
    assert [{key: line[key] for key in line if key not in said} for line in whole] == found


# Which rows


@pytest.fixture
def asked(talk: Conversation) -> tuple[int, int, str]:
    """A call that asks and is answered: its stream, its ask and the wire id."""
    talk.say("initialize", message(id=0, method="initialize", params={}))
    stream_id = talk.call(progress(1), end=StreamState.OPEN)
    ask_id, wire_id = talk.ask(stream_id, message="Which?")
    talk.reply(wire_id, {"action": "accept", "content": {"password": "hunter2"}})
    talk.append(stream_id, result({"token": "s3cret", "text": "shown"}), end=StreamState.ANSWERED)
    talk.listen(message(method="notifications/tools/list_changed"))
    return stream_id, ask_id, wire_id


def test_a_session_is_exported_as_a_whole(talk: Conversation, asked: tuple[int, int, str]) -> None:
    found = lines(session_id=talk.session_id)
    types = [line["type"] for line in found]
    assert types == ["session", "stream", "stream", *["record"] * 3, *["event"] * 4, "ask"]
    assert found[0]["id"] == f"{talk.session_id:x}"
    assert {line["stream"] for line in found if line["type"] == "event"} == {f"{talk.session_id:x}", f"{asked[0]:x}"}
    assert "shown" in json.dumps(found)


def test_a_stream_is_exported_with_its_session(talk: Conversation) -> None:
    stream_id = talk.call(result({}))
    talk.call(result({}), request_id="2")
    assert [line["type"] for line in lines(stream_id=stream_id)] == ["session", "stream", "record", "event"]


def test_an_exchange_without_a_session_is_lines(talk: Conversation) -> None:
    stream_id = talk.call(result({}), alone=True)
    assert [line["type"] for line in lines(stream_id=stream_id)] == ["stream", "record", "event"]


def test_what_is_not_there_cannot_be_lines(store: DatabaseStore) -> None:
    for of in ({"session_id": 1}, {"stream_id": 1}, {}):
        with pytest.raises(LookupError):
            exports.as_json_lines(**of, with_payloads=True)
    with pytest.raises(LookupError):
        exports.as_sse(1)


def test_many_events_are_exported_in_order(talk: Conversation) -> None:
    stream_id = talk.call(*conversations.counted(exports.CHUNK * 2 + 1))
    sequences = [line["sequence"] for line in lines(stream_id=stream_id) if line["type"] == "event"]
    assert sequences == list(range(1, exports.CHUNK * 2 + 2))


def test_exports_take_constant_memory_and_few_queries(store: DatabaseStore) -> None:
    session_id = writing.session(store)
    stream_id = exchanges.call(store, session_id, 1)
    text = message(method="notifications/message", params={"data": "x" * 1_000})
    now = models.Stream.objects.using(store.alias).get(pk=stream_id).created_at
    events = [models.Event(stream_id=stream_id, sequence=n, payload=text, created_at=now) for n in range(2, MANY + 1)]
    models.Event.objects.using(store.alias).bulk_create(events, batch_size=2_000)
    del events
    for export in (
        lambda: exports.as_json_lines(session_id=session_id, with_payloads=True),
        lambda: exports.as_sse(stream_id),
    ):
        next(iter(export()))
        # Debugging keeps every query, which is not what is measured.
        with CaptureQueriesContext(connections[store.alias]) as queries:
            tracemalloc.start()
            try:
                exported = sum(1 for _ in export())
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
        assert exported >= MANY
        assert peak < BOUND_BYTES
        assert len(queries) < 12


def test_ids_are_hexadecimal_and_times_have_their_zone(store: DatabaseStore) -> None:
    session_id = writing.session(store)
    stream_id = exchanges.call(store, session_id, 1, follower=ids.new())
    stream = next(line for line in lines(stream_id=stream_id) if line["type"] == "stream")
    assert (stream["id"], stream["session"], stream["owner"]) == (f"{stream_id:x}", f"{session_id:x}", "1")
    assert stream["created_at"].endswith("+00:00")


# What is not told


def test_an_ask_whose_row_is_gone_is_exported_without_its_wire_id(
    talk: Conversation, asked: tuple[int, int, str]
) -> None:
    models.Ask.objects.using(talk.store.alias).all().delete()
    text = "".join(exports.as_json_lines(session_id=talk.session_id, with_payloads=True))
    assert asked[2] not in text
    assert redaction.MASK in text
    assert asked[2].encode() not in b"".join(exports.as_sse(asked[0]))


def test_what_is_asked_while_an_export_goes_out_keeps_its_wire_id_to_itself(talk: Conversation) -> None:
    stream_id = talk.call(end=StreamState.OPEN)
    chunks = exports.as_sse(stream_id)
    ask_id, wire_id = talk.ask(stream_id, message="Which?")
    [chunk] = chunks
    assert wire_id.encode() not in chunk
    assert f'"id":"{ask_id:x}"'.encode() in chunk


def test_redacted_streams_are_still_lines(store: DatabaseStore) -> None:
    session_id = writing.session(store)
    stream_id = exchanges.call(store, session_id, 1, message(id=1, result={"token": SECRET}))
    before = decoded(stream_id)
    pass_seconds(store, 86_400)
    assert operations.prune().redacted == 1
    assert decoded(stream_id) == before
    assert SECRET not in before[0].data
    assert Counter(line["type"] for line in lines(session_id=session_id))["event"] == 1


# Messages


def test_a_stream_is_exported_as_it_went_over_the_wire(talk: Conversation) -> None:
    stream_id = talk.call(progress(1), progress(2), result({"token": "s3cret", "line": "a\u2028\u0085b"}))
    assert [event.id for event in decoded(stream_id)] == [f"{stream_id:x}.{sequence}" for sequence in (1, 2, 3)]
    events = decoded(stream_id, after=1)
    assert [event.id for event in events] == [f"{stream_id:x}.2", f"{stream_id:x}.3"]
    assert json.loads(events[0].data)["method"] == "notifications/progress"
    assert json.loads(events[1].data)["result"] == {"token": redaction.MASK, "line": "a\u2028\u0085b"}
    # Some clients end a line there.
    assert b"\xe2\x80\xa8" not in b"".join(exports.as_sse(stream_id))


@pytest.mark.parametrize(
    "payload",
    [
        "{]",
        "",
        "[" * 5_000,
        "[" * 500 + "]" * 500,
        "x" * 1_000_000,
        "\r\n\r\ndata: x",
        '{"a":"\\ud800\\u0000"}',
        '"\\ud800"',
        "null",
    ],
)
def test_hostile_messages_are_exported_like_others(store: DatabaseStore, payload: str) -> None:
    session_id = writing.session(store)
    record = writing.record(payload=payload, facts=payload)
    stream_id = exchanges.call(store, session_id, 1, payload, record=record, request_id="\x85\u2028")
    store.write([], [writing.record(session_id=session_id, method="", payload=payload, facts=payload)])
    written = list(exports.as_json_lines(session_id=session_id, with_payloads=True))
    assert len(written) == 6
    for line in written:
        assert not {"\n", "\r", "\0"} & {*line}
        json.loads(line.encode())
    assert [event.id for event in decoded(stream_id)] == [f"{stream_id:x}.1"]
    assert len(b"".join(exports.as_sse(stream_id)).split(b"\n")) == 4
