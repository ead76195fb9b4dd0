"""Whether what was not as promised is seen, and what was is let pass."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.acceptance.conftest import Database
from tests.faults import checker, plants
from tests.faults.facts import Connection, Death, Delivery, Facts, Injected, Reader, Stream

MARK = "s0:1"
CALL, LISTENING, OTHER_LISTENING = 0xABC, 0xA00, 0xB00
LINES = 4


def message(method: str, **params: Any) -> str:
    return json.dumps({"jsonrpc": "2.0", "method": method, "params": params})


def response(text: str) -> str:
    return json.dumps({"jsonrpc": "2.0", "id": MARK, "result": {"content": [{"type": "text", "text": text}]}})


def payloads() -> list[str]:
    """What a call of four lines says."""
    said = []
    for number in range(1, LINES + 1):
        said.append(message("notifications/progress", progressToken=MARK, progress=number))
        said.append(message("notifications/message", level="info", data=f"{MARK} {number}"))
    return [*said, response(f"{MARK} {LINES}")]


def sound() -> Facts:
    """A call that was read on two connections, whose worker died at once, with its session's listening stream."""
    said = payloads()
    deliveries = [Delivery(f"{CALL:x}.{sequence}", payload, sequence) for sequence, payload in enumerate(said, 1)]
    caller = Reader("s0", MARK, stream=CALL, application=list(deliveries), ended_at=9.0)
    # The fourth was sent again, and was not handed on again.
    caller.connections = [
        Connection(f"{CALL:x}.0", deliveries=deliveries[:4]),
        Connection(f"{CALL:x}.3", deliveries=deliveries[3:]),
    ]
    heard = Delivery(f"{LISTENING:x}.1", message("notifications/message", level="info", data="s0:2 1"), 3.0)
    listener = Reader("s0", None, stream=LISTENING, application=[heard])
    listener.connections = [Connection(f"{LISTENING:x}.0", deliveries=[heard])]
    return Facts(
        "b",
        {"s0": LISTENING, "s1": OTHER_LISTENING},
        [caller, listener],
        {
            CALL: Stream(LISTENING, f'"{MARK}"', len(said), "answered", list(enumerate(said, 1))),
            LISTENING: Stream(LISTENING, "", 1, "open", [(1, heard.payload)]),
        },
        [Death(1.0, [CALL], {CALL: 9.0})],
    )


def kinds(found: Facts) -> set[str]:
    return {violation.kind for violation in checker.check(found)}


def test_what_is_as_promised_passes() -> None:
    assert checker.check(sound()) == []
    assert checker.longest_wait(sound()) == 8.0


def test_every_planted_violation_is_reported() -> None:
    found = sound()
    found.readers[0].connections = [Connection(f"{CALL:x}.0", deliveries=list(found.readers[0].application))]
    assert plants.missed(found) == []
    assert set(plants.PLANTS) == set(checker.KINDS)


def test_a_checker_that_sees_nothing_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    found = sound()
    found.readers[0].connections = [Connection(f"{CALL:x}.0", deliveries=list(found.readers[0].application))]
    monkeypatch.setattr(checker, "check", lambda found: [])
    assert plants.missed(found) == list(checker.KINDS)


def test_a_run_without_anything_to_spoil_is_refused() -> None:
    with pytest.raises(plants.PlantingFailed, match="no call"):
        plants.missed(Facts("a"))


# What clients got


def test_an_event_that_never_came_is_lost_whatever_came_behind_it() -> None:
    found = sound()
    del found.readers[0].application[4]
    assert checker.LOST in kinds(found)


def test_an_event_of_the_listening_stream_that_never_came_is_lost() -> None:
    found = sound()
    found.readers[1].application.clear()
    found.readers[1].connections[0].deliveries.clear()
    assert kinds(found) == {checker.LOST}


def test_a_call_without_its_response_is_lost_unless_it_was_cancelled() -> None:
    found = sound()
    reader, stream = found.readers[0], found.streams[CALL]
    del reader.application[-1], reader.connections[-1].deliveries[-1], stream.events[-1]
    stream.head -= 1
    stream.state = "cancelled"
    assert kinds(found) == {checker.LOST}
    reader.is_cancelled = True
    assert kinds(found) == set()


def test_lines_that_the_result_speaks_of_and_the_log_does_not_have_are_lost() -> None:
    found = sound()
    text = response(f"{MARK} {LINES + 1}")
    found.streams[CALL].events[-1] = (2 * LINES + 1, text)
    found.readers[0].application[-1].payload = text
    assert kinds(found) == {checker.LOST}


def test_a_living_session_that_is_refused_is_lost() -> None:
    found = sound()
    found.readers[1].refusals.append("404")
    assert kinds(found) == {checker.LOST}


def test_a_listening_stream_that_ended_is_a_lost_session() -> None:
    found = sound()
    found.streams[LISTENING].state = "terminated"
    assert kinds(found) == {checker.LOST}


def test_an_event_under_two_ids_is_repeated_to_the_application() -> None:
    found = sound()
    reader, stream = found.readers[0], found.streams[CALL]
    again = Delivery(f"{CALL:x}.{stream.head + 1}", stream.events[2][1], 9.5)
    stream.events.append((stream.head + 1, again.payload))
    stream.head += 1
    reader.application.append(again)
    reader.connections[-1].deliveries.append(again)
    assert checker.REPEATED in kinds(found)


def test_a_repeat_after_a_resume_is_no_violation_and_one_on_the_same_connection_is() -> None:
    found = sound()
    connection = found.readers[0].connections[0]
    connection.deliveries.append(connection.deliveries[-1])
    assert kinds(found) == {checker.OUT_OF_ORDER}


def test_a_resume_that_begins_too_late_is_a_silent_gap_unless_it_is_said() -> None:
    found = sound()
    reader = found.readers[0]
    reader.connections[1].cursor = f"{CALL:x}.2"
    assert kinds(found) == {checker.SILENT_GAP}
    reader.connections[1].is_recovered = False
    assert kinds(found) == set()


def test_a_rival_may_miss_the_end_and_nothing_between() -> None:
    found = sound()
    got = found.readers[0].application
    rival = Reader("s0", MARK, is_rival=True, stream=CALL, application=got[3:6])
    rival.connections = [Connection(f"{CALL:x}.3", deliveries=got[3:6])]
    found.readers.append(rival)
    assert kinds(found) == set()
    rival.connections[0].deliveries = [got[3], got[5]]
    assert kinds(found) == {checker.SILENT_GAP}


def test_another_stream_on_a_connection_is_for_a_wrong_session() -> None:
    found = sound()
    found.readers[0].connections[0].deliveries[0].event_id = f"{OTHER_LISTENING:x}.1"
    assert checker.WRONG_SESSION in kinds(found)


def test_a_message_of_another_session_is_seen_even_where_the_log_has_it() -> None:
    found = sound()
    spoiled = message("notifications/message", level="info", data="s1:7 1")
    found.streams[LISTENING].events = [(1, spoiled)]
    found.readers[1].application[0].payload = spoiled
    assert kinds(found) == {checker.WRONG_SESSION}


def test_an_answer_of_somebody_else_is_for_a_wrong_session() -> None:
    found = sound()
    found.readers[0].answered = f"{MARK}, once"
    assert kinds(found) == {checker.WRONG_SESSION}


def test_what_was_sent_and_is_not_in_the_log_was_not_committed() -> None:
    found = sound()
    found.streams[CALL].events.pop()
    found.streams[CALL].head -= 1
    assert checker.UNCOMMITTED in kinds(found)
    found.streams.pop(CALL)
    found.deaths.clear()
    assert kinds(found) == {checker.UNCOMMITTED}


# What is committed


def test_a_hole_in_the_log_is_a_silent_gap_though_nobody_read_it() -> None:
    found = sound()
    del found.readers[0]
    del found.streams[CALL].events[3]
    assert kinds(found) == {checker.SILENT_GAP}
    found = sound()
    found.streams[LISTENING].head += 1
    assert kinds(found) == {checker.SILENT_GAP}


def test_whatever_is_written_behind_a_response_is_out_of_order() -> None:
    found = sound()
    del found.readers[0]
    events = found.streams[CALL].events
    events[-2:] = [(events[-2][0], events[-1][1]), (events[-1][0], events[-2][1])]
    assert kinds(found) == {checker.OUT_OF_ORDER}
    events[-2:] = [(events[-2][0], events[-2][1]), (events[-1][0], events[-2][1])]
    assert checker.REPEATED in kinds(found)


# Deaths


def test_a_call_that_never_ended_is_late() -> None:
    found = sound()
    found.deaths[0].ended.clear()
    assert kinds(found) == {checker.LATE}


def test_a_call_that_is_open_in_the_end_is_late_though_nobody_knew_of_a_death() -> None:
    found = sound()
    found.deaths.clear()
    found.streams[CALL].state = "open"
    assert kinds(found) == {checker.LATE}


def test_time_without_any_worker_does_not_count() -> None:
    found = sound()
    found.deaths[0].ended[CALL] = found.readers[0].ended_at = 24.0
    assert kinds(found) == {checker.LATE}
    found.outages = [(0.0, 2.0), (10.0, 12.5)]
    assert kinds(found) == set()
    found.outages = [(0.0, 2.0), (10.0, 11.5)]
    assert kinds(found) == {checker.LATE}


def test_a_client_that_nothing_held_up_must_know_in_time() -> None:
    found = sound()
    found.readers[0].ended_at = 30.0
    assert kinds(found) == {checker.LATE}
    found.readers[0].held_up_until = 23.0
    assert kinds(found) == set()


# Evidence


def test_the_evidence_names_the_fault_before_it() -> None:
    found = sound()
    del found.readers[0].connections[0].deliveries[2]
    (violation,) = checker.check(found)
    faults = [Injected("pause", 0.5, "process 1"), Injected("reset", 3.5, "port 2"), Injected("kill -9", 7.0, "late")]
    assert violation.evidence(faults) == (
        "silent gaps: session s0, stream abc: 4 after 2 on one connection; 0.50 s after reset (port 2)"
    )


def test_what_is_committed_is_read_past_all_of_our_code(tmp_path: Any) -> None:
    database = Database(f"sqlite:///{tmp_path / 'db.sqlite3'}")
    database.execute("CREATE TABLE streamable_http_session (id INTEGER, digest TEXT)")
    columns = "(id INTEGER, session_id INTEGER, request_id TEXT, head INTEGER, state TEXT)"
    database.execute(f"CREATE TABLE streamable_http_stream {columns}")
    database.execute("CREATE TABLE streamable_http_event (stream_id INTEGER, sequence INTEGER, payload TEXT)")
    database.execute("INSERT INTO streamable_http_session VALUES (7, 'digest')")
    database.execute("INSERT INTO streamable_http_stream VALUES (8, 7, '1', 2, 'open')")
    database.execute("INSERT INTO streamable_http_event VALUES (8, 2, 'second'), (8, 1, 'first')")
    found = Facts("a")
    checker.load(database, {"s0": "digest", "s1": "gone"}, found)
    assert found.session_ids == {"s0": 7}
    assert found.streams == {8: Stream(7, "1", 2, "open", [(1, "first"), (2, "second")])}
