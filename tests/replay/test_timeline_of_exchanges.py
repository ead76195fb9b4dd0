"""Pages of the log, of real exchanges and of rows that no endpoint would write, on real databases."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connections
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings

from streamable_http import ids, models, redaction, replay
from streamable_http.delivery.engine import Engine
from streamable_http.models import StreamState
from streamable_http.replay import Direction, Entry, Filters, Kind, Timeline
from streamable_http.stores.db import DatabaseStore
from tests.endpoint.client import Client, events, messages
from tests.replay import exchanges
from tests.replay.exchanges import SECRET, message
from tests.stores import writing


async def read(engine: Engine, session_id: int, **options: Any) -> Timeline:
    await exchanges.settle(engine)
    return await engine.read(lambda: replay.session_timeline(session_id, **{"with_payloads": True, **options}))


def shown(page: Timeline) -> str:
    """Everything that a page says, as one text."""
    return repr([(entry, entry.payload, entry.facts) for entry in page.entries])


def kinds(page: Timeline) -> list[Kind]:
    return [entry.kind for entry in page.entries]


def the(page: Timeline, kind: Kind) -> Entry:
    [entry] = [entry for entry in page.entries if entry.kind is kind]
    return entry


# Real exchanges


async def test_a_call_with_its_progress_is_in_order_and_paired_with_its_latency(engine: Engine) -> None:
    client = Client(exchanges.server)
    await client.open()
    await client.call("count", n=2, password=SECRET)
    page = await read(engine, await exchanges.session_id(engine), filters=Filters(method="tools/call"))
    request, result = page.entries
    assert (request.kind, result.kind) == (Kind.REQUEST, Kind.RESULT)
    assert (request.pair, result.pair) == (result.key, request.key)
    assert request.direction is Direction.IN
    assert result.sequence == 3
    assert (request.name, result.name) == ("count", "count")
    assert request.request_id == result.request_id == "2"
    assert result.latency_ms is not None
    assert 0 < result.latency_ms < 30_000
    whole = await read(engine, await exchanges.session_id(engine))
    assert kinds(whole) == [Kind.REQUEST, Kind.REQUEST, Kind.NOTIFICATION, Kind.NOTIFICATION, Kind.RESULT]
    assert [entry.sequence for entry in whole.entries] == [None, None, 1, 2, 3]
    assert SECRET not in shown(whole)
    assert redaction.MASK in (request.payload or "")


async def test_an_ask_and_its_reply_are_paired_and_their_wire_id_is_never_shown(engine: Engine) -> None:
    client = Client(exchanges.server)
    await client.open(elicitation={})
    _, reading, asked = await exchanges.pending(client)
    session_id, stream_id = await exchanges.session_id(engine), await exchanges.newest_stream(engine)
    for with_payloads in (True, False):
        waiting = await read(engine, session_id, with_payloads=with_payloads)
        ask = the(waiting, Kind.ASK)
        assert (ask.pair, ask.method) == ("", "elicitation/create")
        assert asked["id"] not in shown(waiting)
        of_stream = await engine.read(
            lambda with_payloads=with_payloads: replay.stream_timeline(stream_id, with_payloads=with_payloads)
        )
        assert asked["id"] not in shown(of_stream)
        everything, *_ = await engine.read(
            lambda with_payloads=with_payloads: replay.recent(None, timezone.now(), with_payloads=with_payloads)
        )
        assert asked["id"] not in repr(everything)
    await exchanges.reply(client, asked["id"])
    assert [json.loads(event.data)["id"] async for event in reading if event.data] == [2]
    page = await read(engine, session_id)
    ask, reply = the(page, Kind.ASK), the(page, Kind.REPLY)
    assert (ask.pair, reply.pair) == (reply.key, ask.key)
    assert ask.request_id == reply.request_id
    assert reply.stream_id == ask.stream_id == stream_id
    assert reply.method == "elicitation/create"
    assert reply.latency_ms is not None
    assert json.loads(reply.payload or "")["id"] == json.loads(ask.request_id)
    assert asked["id"] not in shown(page)
    of_stream = await engine.read(lambda: replay.stream_timeline(stream_id, with_payloads=True))
    # The reply is recorded behind, so that it may come after the result.
    assert sorted(kinds(of_stream)) == sorted([Kind.REQUEST, Kind.ASK, Kind.REPLY, Kind.RESULT])


async def test_a_reply_to_the_ask_of_another_session_does_not_show_its_wire_id(engine: Engine) -> None:
    client, other = Client(exchanges.server), Client(exchanges.server)
    await client.open(elicitation={})
    _, _, asked = await exchanges.pending(client)
    session_id = await exchanges.session_id(engine)
    await other.open()
    await exchanges.reply(other, asked["id"])
    await exchanges.settle(engine)
    others = await engine.read(lambda: models.Session.objects.exclude(pk=session_id).get().pk)
    reply = the(await read(engine, others), Kind.REPLY)
    ask_id = await engine.read(lambda: models.Ask.objects.get().pk)
    assert json.loads(reply.payload or "")["id"] == f"{ask_id:x}"
    assert reply.pair == ""


async def test_a_wire_id_is_hidden_wherever_its_client_names_it(engine: Engine) -> None:
    client = Client(exchanges.server)
    await client.open(elicitation={})
    _, _, asked = await exchanges.pending(client)
    named = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": asked["id"]}}
    await client.send(named)
    session_id = await exchanges.session_id(engine)
    page = await read(engine, session_id)
    assert Kind.NOTIFICATION in kinds(page)
    assert asked["id"] not in shown(page)
    await exchanges.settle(engine)
    lines = await engine.read(lambda: "\n".join(replay.as_json_lines(session_id=session_id, with_payloads=True)))
    assert asked["id"] not in lines


async def test_connections_are_shown_with_their_stream_and_cursor(engine: Engine) -> None:
    client = Client(exchanges.server)
    await client.open()
    response = await client.post("tools/call", {"name": "count", "arguments": {"n": 2}})
    cursors = [event.id async for event in events(response)]
    listening = await client.request("GET")
    await messages(await client.request("GET", last_event_id=cursors[1]))
    await client.request("DELETE")
    assert listening.stream is not None
    await listening.stream.aclose()
    session_id, stream_id = await exchanges.session_id(engine), await exchanges.newest_stream(engine)
    page = await read(engine, session_id)
    assert the(page, Kind.LISTEN).stream_id == session_id
    resume = the(page, Kind.RESUME)
    assert (resume.stream_id, resume.cursor) == (stream_id, cursors[1])
    assert the(page, Kind.DELETE).facts["method"] == "DELETE"
    of_stream = await engine.read(lambda: replay.stream_timeline(stream_id, with_payloads=True))
    assert the(of_stream, Kind.RESUME).cursor == cursors[1]
    assert Kind.DELETE not in kinds(of_stream)
    listened = await engine.read(lambda: replay.stream_timeline(session_id, with_payloads=True))
    assert kinds(listened) == [Kind.LISTEN]


@pytest.mark.parametrize("tool", ["failing", "refusing"])
async def test_only_what_failed_is_left_where_errors_are_asked_for(engine: Engine, tool: str) -> None:
    client = Client(exchanges.server)
    await client.open()
    await client.call("count", n=1)
    await client.call(tool)
    page = await read(engine, await exchanges.session_id(engine), filters=Filters(errors=True))
    assert kinds(page) == [Kind.REQUEST, Kind.ERROR]
    assert {entry.name for entry in page.entries} == {tool}
    assert [lane.stream.name for lane in page.lanes] == [tool]


async def test_an_exchange_without_a_session_is_a_stream_like_any_other(engine: Engine, settings: Settings) -> None:
    settings.STREAMABLE_HTTP = {**settings.STREAMABLE_HTTP, "MODE": "sessionless"}
    client = Client(exchanges.server)
    await client.open()
    await client.call("count", n=1, password=SECRET)
    await exchanges.settle(engine)
    stream_id = await exchanges.newest_stream(engine)
    page = await engine.read(lambda: replay.stream_timeline(stream_id, with_payloads=True))
    assert kinds(page) == [Kind.REQUEST, Kind.NOTIFICATION, Kind.RESULT]
    assert page.entries[0].pair == page.entries[2].key
    assert SECRET not in shown(page)
    recent, *_ = await engine.read(lambda: replay.recent(None, timezone.now(), with_payloads=True))
    assert {entry.key for entry in page.entries} <= {entry.key for entry in recent}


async def test_who_may_not_see_what_was_said_sees_nothing_of_it(engine: Engine) -> None:
    client = Client(exchanges.server)
    await client.open()
    await client.call("count", n=1)
    session_id = await exchanges.session_id(engine)
    page = await read(engine, session_id, with_payloads=False)
    assert len(page.entries) == 4
    assert {entry.payload for entry in page.entries} == {None}
    assert [entry.facts for entry in page.entries] == [{}] * 4
    assert {"arguments"} <= page.lanes[0].stream.get_deferred_fields()
    assert (await read(engine, session_id, with_payloads=False, filters=Filters(text="done"))).entries == []
    assert (await read(engine, session_id, filters=Filters(text="DONE"))).entries != []


# Pages


def walk(session_id: int, begin: str, turn: Callable[[Timeline], str], **options: Any) -> list[Timeline]:
    pages = [replay.session_timeline(session_id, begin, with_payloads=True, **options)]
    while cursor := turn(pages[-1]):
        pages.append(replay.session_timeline(session_id, cursor, with_payloads=True, **options))
    return pages


def keys(pages: list[Timeline]) -> list[str]:
    return [entry.key for page in pages for entry in page.entries]


def test_pages_have_each_exchange_once_in_both_directions(store: DatabaseStore) -> None:
    session_id, other = writing.session(store), writing.session(store)
    expected: list[str] = []
    for number in range(200):
        if number % 4 == 3:
            expected.append(f"r{exchanges.note(store, session_id, message(method='x'), method='x'):x}")
        else:
            stream_id = exchanges.call(store, session_id, number)
            expected += [f"r{stream_id:x}", f"{stream_id:x}.1"]
        if number % 20 == 0:
            exchanges.call(store, other, number)
            store.write([writing.append(session_id, message(method="told"), epoch=None)], [])
            expected.append(f"{session_id:x}.{number // 20 + 1}")
    forward = walk(session_id, "", lambda page: page.later)
    backward = walk(session_id, "end", lambda page: page.earlier)
    assert (len(forward), len(backward)) == (4, 4)
    for pages in (forward, backward):
        assert sorted(keys(pages)) == sorted(expected)
    assert forward[0].earlier == forward[-1].later == backward[0].later == backward[-1].earlier == ""
    again = replay.session_timeline(session_id, forward[1].earlier, with_payloads=True)
    calls = {key for key in keys([forward[0]]) if key.startswith("r")}
    assert {key for key in keys([again]) if key.startswith("r")} == calls


# Filters


def test_filters_leave_what_they_name(store: DatabaseStore) -> None:
    session_id = writing.session(store)
    first = exchanges.call(store, session_id, 1, message(method="notifications/progress"), message(id=1, result={}))
    second = exchanges.call(store, session_id, 2, message(id=2, result={"says": "Straße"}))

    def found(**changes: Any) -> list[str]:
        return keys([replay.session_timeline(session_id, filters=Filters(**changes), with_payloads=True)])

    assert found(direction=Direction.IN) == [f"r{first:x}", f"r{second:x}"]
    assert found(direction=Direction.OUT) == [f"{first:x}.1", f"{first:x}.2", f"{second:x}.1"]
    assert found(method="notifications/progress") == [f"{first:x}.1"]
    assert found(stream_id=second) == [f"r{second:x}", f"{second:x}.1"]
    assert found(stream_id=second, direction=Direction.OUT) == [f"{second:x}.1"]
    assert found(stream_id=exchanges.call(store, writing.session(store), 3)) == []
    assert found(text="STRASSE") == [f"{second:x}.1"]
    assert found(text=SECRET) == []
    assert found(text='"password"') == [f"r{first:x}", f"r{second:x}"]
    assert found(errors=True) == []


def test_a_lost_call_is_an_error(store: DatabaseStore) -> None:
    session_id = writing.session(store)
    stream_id = exchanges.call(store, session_id, 1, message(method="notifications/progress"), end=StreamState.LOST)
    page = replay.session_timeline(session_id, filters=Filters(errors=True), with_payloads=True)
    assert keys([page]) == [f"r{stream_id:x}", f"{stream_id:x}.1"]


# What is no longer as it was, or never was as it should be


def test_trimmed_streams_are_still_read(store: DatabaseStore, settings: Settings) -> None:
    settings.STREAMABLE_HTTP = {**settings.STREAMABLE_HTTP, "MAX_STREAM_EVENTS": 10}
    session_id = writing.session(store)
    stream_id = exchanges.call(
        store, session_id, 1, *[message(method="notifications/progress")] * 50, end=StreamState.OPEN
    )
    store.write([writing.append(stream_id, message(id=1, result={}), end=StreamState.ANSWERED)], [])
    for page in (
        replay.session_timeline(session_id, with_payloads=True),
        replay.stream_timeline(stream_id, with_payloads=True),
    ):
        assert [entry.sequence for entry in page.entries] == [None, *range(42, 52)]
        assert page.entries[0].pair == page.entries[-1].key
        assert not page.lanes[0].has_more


HOSTILE = {
    "not JSON": "{]",
    "nothing": "",
    "null": "null",
    "an array": "[1]",
    "too deep": '{"a":' * 900 + "1" + "}" * 900,
    "much too deep": "[" * 100_000,
    "large": message(id=1, result={"text": "x" * 1_000_000}),
    "a lone surrogate": '{"jsonrpc":"2.0","id":"\\ud800","method":"\\ud800","params":{"\\ud800":"\\udfff"}}',
    "NUL": '{"jsonrpc":"2.0","id":"\\u0000","method":"a\\u0000","params":{"\\u0000":"\\u0000"}}',
    "an id that is an object": message(id={"a": 1}, method="elicitation/create"),
    "an id that is a list": message(id=[[]], result={}),
    "an id that is a number": message(id=1.5, method="sampling/createMessage"),
    "a method that is none": message(id=1, method={"a": []}),
    "a result that is none": message(id=None, result=[1], error="x"),
    "an ask that is large": message(id="a" * 32, method="elicitation/create", params={"x": "y" * 100_000}),
    "deep surrogates": '{"id":"' + "a" * 32 + '","method":"m","params":' + "[" * 400 + '"\\ud800"' + "]" * 401,
}


@pytest.mark.parametrize("payload", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_messages_are_shown_like_others(store: DatabaseStore, payload: str) -> None:
    session_id = writing.session(store)
    record = writing.record(payload=payload, facts=payload)
    stream_id = exchanges.call(store, session_id, 1, payload, payload, record=record)
    store.write([], [writing.record(session_id=session_id, method="", payload=payload, facts=payload)])
    page = replay.session_timeline(session_id, with_payloads=True)
    assert len(page.entries) == 4
    for entry in page.entries:
        shown = f"{entry.payload}{entry.method}{entry.request_id}"
        shown.encode()
        assert "\0" not in shown
        json.loads(entry.payload or "null")
        json.dumps(entry.facts)
        assert len(entry.payload or "") < 100_000
        assert "a" * 32 not in repr(entry)
    assert len(replay.stream_timeline(stream_id, with_payloads=True).entries) >= 3
    assert len(replay.recent(session_id, timezone.now(), with_payloads=True)[0]) == 4


# What is new


def test_what_is_recent_overlaps_and_is_told_of_all_sessions(store: DatabaseStore) -> None:
    one, other = writing.session(store), writing.session(store)
    begin = timezone.now()
    first = exchanges.call(store, one, 1)
    found, until, _ = replay.recent(one, begin, with_payloads=True)
    assert [entry.key for entry in found] == [f"r{first:x}", f"{first:x}.1"]
    assert begin <= until <= timezone.now()
    second, third = exchanges.call(store, other, 2), exchanges.call(store, None, 3)
    again, *_ = replay.recent(one, until, with_payloads=True)
    assert again == found
    everything, *_ = replay.recent(None, until, with_payloads=True)
    assert {f"{stream_id:x}.1" for stream_id in (first, second, third)} <= {entry.key for entry in everything}
    later, until, _ = replay.recent(one, until + timedelta(seconds=60), with_payloads=True)
    assert later == []
    assert until > timezone.now()


# Large sessions


def test_pages_of_a_large_session_are_quick(store: DatabaseStore) -> None:
    session_id = writing.session(store)
    now = datetime.now(UTC)
    text = message(method="notifications/message", params={"data": "x"})
    streams, wanted = [], []
    for number in range(1_000):
        stream_id = ids.new()
        streams.append(
            models.Stream(
                id=stream_id,
                session_id=session_id,
                head=50,
                state=StreamState.ANSWERED,
                request_id=str(number),
                method="tools/call",
                created_at=now,
                ended_at=now,
            )
        )
        wanted += [(stream_id, sequence) for sequence in range(1, 51)]
    wanted += [(session_id, sequence) for sequence in range(1, 50_001)]
    events = [models.Event(stream_id=of, sequence=n, payload=text, created_at=now) for of, n in wanted]
    models.Stream.objects.using(store.alias).bulk_create(streams, batch_size=500)
    models.Event.objects.using(store.alias).bulk_create(events, batch_size=5_000)
    models.Stream.objects.using(store.alias).filter(pk=session_id).update(head=50_000)
    middle = f">{streams[500].pk:x}"
    for cursor in ("", middle, "end"):
        with CaptureQueriesContext(connections[store.alias]) as queries:
            began = time.perf_counter()
            page = replay.session_timeline(session_id, cursor, with_payloads=True)
            seconds = time.perf_counter() - began
        assert len(page.entries) >= 300
        assert len(queries) <= 10
        # A whole second where some tens of milliseconds are usual.
        assert seconds < 1
