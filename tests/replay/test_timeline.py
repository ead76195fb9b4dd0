"""Timelines of sessions and streams, on real databases."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import connections
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from streamable_http import models, redaction
from streamable_http.models import StreamState
from streamable_http.replay import following, timeline
from streamable_http.replay.entries import Direction, Entry, Kind, Timeline
from streamable_http.replay.filtering import Filters
from streamable_http.stores.db import DatabaseStore
from tests.replay import conversations
from tests.replay.conversations import Conversation, message, progress, result


def read(talk: Conversation, cursor: str = "", **filters: object) -> Timeline:
    return timeline.session_timeline(
        talk.session_id,
        cursor,
        filters=Filters(**filters),
        with_payloads=True,  # type: ignore[arg-type]
    )


def kinds(entries: list[Entry]) -> list[Kind]:
    return [entry.kind for entry in entries]


def queries_of(alias: str, call: Callable[[], object]) -> int:
    with CaptureQueriesContext(connections[alias]) as captured:
        call()
    return len(captured)


# A session


def test_a_request_is_paired_with_its_answer(talk: Conversation) -> None:
    stream_id = talk.call(progress(1), result({"content": []}))
    page = read(talk)
    request, step, answer = page.entries
    assert kinds(page.entries) == [Kind.REQUEST, Kind.NOTIFICATION, Kind.RESULT]
    assert (request.key, answer.key) == (f"r{stream_id:x}", f"{stream_id:x}.2")
    assert (request.pair, answer.pair, step.pair) == (answer.key, request.key, "")
    assert (request.method, request.name, request.request_id) == ("tools/call", "search", "1")
    assert (answer.method, answer.name, answer.request_id) == ("tools/call", "search", "1")
    assert answer.latency_ms == 0.0
    assert step.method == "notifications/progress"
    assert [entry.direction for entry in page.entries] == [Direction.IN, Direction.OUT, Direction.OUT]
    assert request.facts["headers"]["authorization"] == redaction.MASK
    [lane] = page.lanes
    assert (lane.stream.pk, lane.entries, lane.has_more) == (stream_id, 2, False)
    assert (page.earlier, page.later) == ("", "")


def test_the_duration_that_the_worker_measured_is_the_latency(talk: Conversation) -> None:
    stream_id = talk.call(result({}))
    models.Stream.objects.using(talk.store.alias).filter(pk=stream_id).update(duration_ms=12.5)
    assert read(talk).entries[-1].latency_ms == 12.5


@pytest.mark.parametrize("answer", [result({"isError": True}), message(id=1, error={"code": -1, "message": "no"})])
def test_a_tool_error_is_an_error(talk: Conversation, answer: str) -> None:
    talk.call(answer)
    assert kinds(read(talk).entries) == [Kind.REQUEST, Kind.ERROR]


def test_an_ask_is_paired_with_its_reply_and_nobody_learns_its_wire_id(talk: Conversation) -> None:
    stream_id = talk.call(end=StreamState.OPEN)
    ask_id, wire_id = talk.ask(stream_id, message="Which one?")
    record_id = talk.reply(wire_id, {"action": "accept", "content": {"password": "hunter2"}})
    page = read(talk)
    request, ask, reply = page.entries
    assert kinds(page.entries) == [Kind.REQUEST, Kind.ASK, Kind.REPLY]
    assert (ask.pair, reply.pair) == (f"r{record_id:x}", ask.key)
    assert ask.request_id == reply.request_id == f'"{ask_id:x}"'
    assert (reply.method, reply.stream_id) == ("elicitation/create", stream_id)
    assert request.pair == ""
    assert reply.latency_ms is not None
    shown = "".join(f"{entry}" for entry in page.entries)
    assert wire_id not in shown
    assert "hunter2" not in shown
    assert f'"id":"{ask_id:x}"' in (ask.payload or "")


def test_an_ask_whose_row_is_gone_shows_no_wire_id_either(talk: Conversation) -> None:
    stream_id = talk.call(end=StreamState.OPEN)
    _, wire_id = talk.ask(stream_id, message="Which one?")
    talk.reply(wire_id, {"action": "accept"})
    models.Ask.objects.using(talk.store.alias).all().delete()
    page = read(talk)
    assert [entry.request_id for entry in page.entries[1:]] == [f'"{redaction.MASK}"'] * 2
    assert wire_id not in f"{page.entries}"


def test_the_reply_to_an_ask_of_another_session_is_not_paired(talk: Conversation) -> None:
    other = Conversation(talk.store)
    _, wire_id = other.ask(other.call(end=StreamState.OPEN))
    talk.reply(wire_id, {"action": "accept"})
    [reply] = read(talk).entries
    assert (reply.kind, reply.pair, reply.stream_id) == (Kind.REPLY, "", None)
    assert wire_id not in f"{reply}"


def test_connections_are_marked(talk: Conversation) -> None:
    stream_id = talk.call(result({}))
    foreign = Conversation(talk.store).call(result({}))
    talk.get()
    talk.get(f"{stream_id:x}.1")
    talk.get(f"{foreign:x}.1")
    talk.get("rubbish")
    talk.delete()
    page = read(talk)
    found = [(entry.kind, entry.stream_id, entry.cursor, entry.payload) for entry in page.entries[2:]]
    assert found == [
        (Kind.LISTEN, talk.session_id, "", None),
        (Kind.RESUME, stream_id, f"{stream_id:x}.1", None),
        (Kind.RESUME, None, f"{foreign:x}.1", None),
        (Kind.RESUME, None, "", None),
        (Kind.DELETE, None, "", None),
    ]
    assert [lane.stream.pk for lane in page.lanes] == [talk.session_id, stream_id]


def test_what_opened_no_stream_is_there(talk: Conversation) -> None:
    talk.say("initialize", message(id=0, method="initialize", params={}))
    talk.say("notifications/initialized", message(method="notifications/initialized"))
    talk.say("tools/list", redaction.fold_message(b"x" * 40_000, method="tools/list"))
    page = read(talk)
    assert [(entry.kind, entry.method, entry.stream_id) for entry in page.entries] == [
        (Kind.REQUEST, "initialize", None),
        (Kind.NOTIFICATION, "notifications/initialized", None),
        (Kind.REQUEST, "tools/list", None),
    ]


def test_secrets_that_the_log_must_keep_are_masked(talk: Conversation) -> None:
    talk.call(result({"structuredContent": {"token": "s3cret", "text": "shown"}}))
    payload = read(talk).entries[-1].payload or ""
    assert "s3cret" not in payload
    assert "shown" in payload


def test_who_may_not_see_messages_sees_methods_and_sizes(talk: Conversation) -> None:
    talk.call(result({"content": ["here"]}))
    page = timeline.session_timeline(talk.session_id, with_payloads=False)
    assert [(entry.payload, entry.facts) for entry in page.entries] == [(None, {})] * 2
    assert [entry.name for entry in page.entries] == ["search"] * 2
    # The client chose it.
    assert [entry.request_id for entry in page.entries] == ["", ""]
    assert page.entries[1].size_bytes == len(result({"content": ["here"]}))
    found = timeline.session_timeline(talk.session_id, filters=Filters(text="here"), with_payloads=False)
    assert found.entries == []


def test_events_stay_in_sequence_whatever_the_clocks_of_workers_say(talk: Conversation) -> None:
    stream_id = talk.call(progress(1), progress(2), result({}))
    now = timezone.now()
    for sequence, seconds in ((1, 0), (2, -3), (3, -1)):
        events = models.Event.objects.using(talk.store.alias).filter(stream_id=stream_id, sequence=sequence)
        events.update(created_at=now + timedelta(seconds=seconds))
    for page in (read(talk), read(talk, text="jsonrpc"), timeline.stream_timeline(stream_id, with_payloads=True)):
        assert [entry.sequence for entry in page.entries if entry.sequence] == [1, 2, 3]


def test_pages_go_both_ways_and_miss_nothing(talk: Conversation) -> None:
    wanted = conversations.many(talk.store, talk.session_id, 120, lambda number: [result({}, number)])
    loose = [talk.say("ping", message(id=number, method="ping")) for number in range(20)]
    expected = [*(f"r{pk:x}" for pk in wanted), *(f"r{pk:x}" for pk in loose)]

    def requests(page: Timeline) -> list[str]:
        return [entry.key for entry in page.entries if entry.kind is Kind.REQUEST]

    forward, cursor = [], ""
    while True:
        page = read(talk, cursor)
        forward += requests(page)
        if not (cursor := page.later):
            break
    assert sorted(forward) == sorted(expected)
    assert len(forward) == 140
    backward, page = requests(read(talk, "end")), read(talk, "end")
    assert page.later == ""
    while page.earlier:
        page = read(talk, page.earlier)
        backward = requests(page) + backward
    assert sorted(backward) == sorted(expected)
    assert read(talk, page.later).entries


def test_an_empty_session_has_an_empty_page(talk: Conversation) -> None:
    assert read(talk) == Timeline(entries=[], lanes=[], earlier="", later="")
    assert read(talk, "end").entries == []


def test_a_page_behind_every_id_there_can_be_leads_back(talk: Conversation) -> None:
    talk.call(result({}))
    assert len(read(talk, read(talk, f">{2**63 - 1:x}").earlier).entries) == 2


def test_a_page_behind_the_end_leads_back(talk: Conversation) -> None:
    stream_id = talk.call(result({}))
    page = read(talk, f">{stream_id:x}")
    assert (page.entries, page.later) == ([], "")
    assert len(read(talk, page.earlier).entries) == 2


@pytest.mark.parametrize("cursor", ["x", "<", ">g", ">ffffffffffffffff", "<-1", "\0", ">٣"])
def test_a_cursor_that_no_page_gave_is_refused(talk: Conversation, cursor: str) -> None:
    with pytest.raises(ValueError, match="no page gave this cursor"):
        read(talk, cursor)


def test_a_session_that_is_not_there_is_not_found(store: DatabaseStore) -> None:
    for session_id in (1, 2**70, -1):
        with pytest.raises(LookupError):
            timeline.session_timeline(session_id, with_payloads=True)
        with pytest.raises(LookupError):
            timeline.stream_timeline(session_id, with_payloads=True)


def test_a_long_stream_shows_its_first_events_and_its_last(talk: Conversation) -> None:
    stream_id = talk.call(*conversations.counted(100), result({}))
    page = read(talk)
    sequences = [entry.sequence for entry in page.entries if entry.sequence]
    assert sequences == [*range(1, 31), 101]
    assert page.entries[-1].pair == f"r{stream_id:x}"
    [lane] = page.lanes
    assert (lane.entries, lane.has_more) == (31, True)


def test_a_trimmed_stream_shows_what_is_kept(talk: Conversation) -> None:
    stream_id = talk.call(*conversations.counted(50), result({}))
    models.Event.objects.using(talk.store.alias).filter(stream_id=stream_id, sequence__lte=10).delete()
    models.Stream.objects.using(talk.store.alias).filter(pk=stream_id).update(earliest=11)
    assert [entry.sequence for entry in read(talk).entries if entry.sequence] == [*range(11, 41), 51]


def test_a_redacted_stream_is_still_there(talk: Conversation) -> None:
    stream_id = talk.call(*conversations.counted(3), redaction.fold_message(b"x" * 40_000))
    streams = models.Stream.objects.using(talk.store.alias).filter(pk=stream_id)
    streams.update(earliest=5, redacted_at=timezone.now())
    assert kinds(read(talk).entries) == [Kind.REQUEST, *[Kind.NOTIFICATION] * 3, Kind.RESULT]
    assert len(timeline.stream_timeline(stream_id, with_payloads=True).entries) == 5


def test_what_was_listened_to_meanwhile_is_on_the_page_once(talk: Conversation) -> None:
    for _ in range(3):
        conversations.many(talk.store, talk.session_id, 30, lambda number: [result({}, number)])
        talk.listen(message(method="notifications/tools/list_changed"))
    seen, cursor = [], ""
    while True:
        page = read(talk, cursor)
        seen += [entry.sequence for entry in page.entries if entry.stream_id == talk.session_id]
        if not (cursor := page.later):
            break
    assert sorted(filter(None, seen)) == [1, 2, 3]


def test_what_was_listened_to_is_bounded(talk: Conversation) -> None:
    talk.listen(*conversations.counted(250))
    page = read(talk)
    assert len(page.entries) == timeline.LISTENING_EVENTS
    [lane] = page.lanes
    assert (lane.stream.is_listening, lane.has_more) == (True, True)


def test_a_page_takes_as_many_queries_however_much_is_on_it(store: DatabaseStore) -> None:
    counts = []
    for calls, events in ((2, 2), (60, 2), (60, 40)):
        talk = Conversation(store)
        payloads = [*conversations.counted(events)]
        stream_ids = conversations.many(
            store,
            talk.session_id,
            calls,
            lambda number: [*payloads, result({}, number)],  # noqa: B023
        )
        models.Stream.objects.using(store.alias).filter(pk=stream_ids[0]).update(state=StreamState.OPEN)
        for _ in range(calls // 20 + 1):
            _, wire_id = talk.ask(stream_ids[0])
            talk.reply(wire_id, {})
            talk.get(f"{stream_ids[0]:x}.1")
        talk.listen(*payloads)
        counts.append(queries_of(store.alias, lambda: read(talk)))  # noqa: B023
        counts.append(queries_of(store.alias, lambda: read(talk, "end")))  # noqa: B023
    assert len(set(counts)) == 1
    assert counts[0] <= 10


# A stream


def test_a_stream_has_pages(talk: Conversation) -> None:
    stream_id = talk.call(*conversations.counted(9), result({}))
    first = timeline.stream_timeline(stream_id, limit=4, with_payloads=True)
    assert [entry.sequence for entry in first.entries] == [None, 1, 2, 3, 4]
    assert (first.earlier, first.later, first.lanes[0].has_more) == ("", "4", True)
    second = timeline.stream_timeline(stream_id, int(first.later), limit=4, with_payloads=True)
    assert [entry.sequence for entry in second.entries] == [5, 6, 7, 8]
    assert (second.earlier, second.later) == ("0", "8")
    last = timeline.stream_timeline(stream_id, int(second.later), limit=4, with_payloads=True)
    assert [entry.sequence for entry in last.entries] == [9, 10]
    assert (last.earlier, last.later, last.lanes[0].has_more) == ("4", "", False)


def test_a_stream_has_its_own_asks_replies_and_resumes(talk: Conversation) -> None:
    stream_id = talk.call(end=StreamState.OPEN)
    other = talk.call(end=StreamState.OPEN, request_id="2")
    for asking in (other, stream_id):
        _, wire_id = talk.ask(asking)
        talk.reply(wire_id, {})
    talk.get(f"{other:x}.1")
    talk.get(f"{stream_id:x}.1")
    talk.append(stream_id, result({}), end=StreamState.ANSWERED)
    page = timeline.stream_timeline(stream_id, with_payloads=True)
    assert kinds(page.entries) == [Kind.REQUEST, Kind.ASK, Kind.REPLY, Kind.RESUME, Kind.RESULT]
    assert {entry.stream_id for entry in page.entries} == {stream_id}


def test_pages_of_a_stream_show_each_reply_once(talk: Conversation) -> None:
    stream_id = talk.call(end=StreamState.OPEN)
    for _ in range(6):
        _, wire_id = talk.ask(stream_id)
        talk.reply(wire_id, {})
    after, replies = 0, []
    while True:
        page = timeline.stream_timeline(stream_id, after, limit=2, with_payloads=True)
        replies += [entry.key for entry in page.entries if entry.kind is Kind.REPLY]
        if not page.later:
            break
        after = int(page.later)
    assert len(replies) == len(set(replies)) == 6


def test_an_exchange_without_a_session_is_shown_as_well(talk: Conversation) -> None:
    stream_id = talk.call(progress(1), result({}), alone=True)
    page = timeline.stream_timeline(stream_id, with_payloads=True)
    assert kinds(page.entries) == [Kind.REQUEST, Kind.NOTIFICATION, Kind.RESULT]


def test_the_listening_stream_shows_who_listened(talk: Conversation) -> None:
    talk.get()
    talk.listen(message(method="notifications/tools/list_changed"))
    talk.delete()
    page = timeline.stream_timeline(talk.session_id, with_payloads=True)
    assert kinds(page.entries) == [Kind.LISTEN, Kind.NOTIFICATION]


# Hostile messages

HOSTILE = (
    "",
    "{",
    "null",
    "[]",
    '"text"',
    "1e999",
    "[" * 500 + "]" * 500,
    "[" * 100_000,
    '{"a":' * 900 + "1" + "}" * 900,
    r'{"jsonrpc":"2.0","id":"\ud800","method":"\udfff\u0000","params":{"x":"\ud800"}}',
    r'{"jsonrpc":"2.0","id":{"a":1},"method":["x"],"result":"y"}',
    r'{"jsonrpc":"2.0","id":true,"error":null}',
    '{"jsonrpc":"2.0","id":1,"result":{"content":"' + "x" * 3_000_000 + '"}}',
    "<script>alert(1)</script>",
    "\x1b[2J\u202e\u2028",
)


@pytest.mark.parametrize("payload", HOSTILE, ids=range(len(HOSTILE)))
def test_nothing_in_a_message_is_an_error(talk: Conversation, payload: str) -> None:
    talk.call(payload, progress(1), payload, end=StreamState.OPEN)
    talk.call(payload, request_id="2")
    talk.say("", payload, payload or "{")
    talk.say("tools/list", payload, payload)
    talk.get(payload[:200].replace("\0", ""))
    talk.listen(payload)
    page = read(talk)
    assert len([entry for entry in page.entries if entry.sequence]) == 5
    assert len([entry for entry in page.entries if not entry.sequence]) == 5
    for entry in page.entries:
        f"{entry}".encode()
    assert following.recent(None, timezone.now(), with_payloads=True)[0]
    read(talk, text="x", errors=True)
    timeline.stream_timeline(talk.session_id, with_payloads=True)
