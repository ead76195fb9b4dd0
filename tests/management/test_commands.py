"""What the commands show and do, on real databases."""

from __future__ import annotations

import io
import json
import os
import shlex
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.core.management import CommandError, call_command
from pytest_django import Settings

from streamable_http import models, shells
from streamable_http.api import serializers
from streamable_http.models import SessionState, StreamState
from streamable_http.operations import audit, resending
from streamable_http.stores.db import DatabaseStore
from tests.stores import writing

EVENTS = 1_200
"""More than two pages of a stream."""


def run(name: str, *arguments: str, **options: Any) -> str:
    output = io.StringIO()
    call_command(name, *arguments, stdout=output, stderr=io.StringIO(), **options)
    return output.getvalue()


def lines(name: str, *arguments: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run(name, *arguments, "--json").splitlines()]


@pytest.fixture
def store(log_alias: str) -> DatabaseStore:
    return DatabaseStore(log_alias)


def call(store: DatabaseStore, session_id: int, number: int, events: int = 1) -> int:
    """An answered call whose request is recorded; its stream."""
    request = {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": {"name": "tool"}}
    progress = {"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progress": 1}}
    messages = [json.dumps(progress)] * (events - 1)
    return writing.stream(
        store,
        session_id,
        *messages,
        json.dumps({"jsonrpc": "2.0", "id": number, "result": {}}),
        end=StreamState.ANSWERED,
        request_id=str(number),
        record=writing.record(method="tools/call", payload=json.dumps(request)),
    )


def test_sessions_are_filtered_and_limited(store: DatabaseStore) -> None:
    ended = writing.session_of(store, "user:1")
    store.end_session(ended, SessionState.TERMINATED)
    opened = [writing.session_of(store, "user:2", server="shop") for _ in range(3)]
    listed = {
        (): [*reversed(opened), ended],
        ("--state", "terminated"): [ended],
        ("--server", "shop"): list(reversed(opened)),
        ("--principal", "user:1"): [ended],
        ("--search", f"{ended:x}"): [ended],
        ("--limit", "1"): opened[-1:],
        ("--limit", "0"): [*reversed(opened), ended],
    }
    for arguments, expected in listed.items():
        assert [row["id"] for row in lines("mcp_sessions", *arguments)] == [f"{each:x}" for each in expected]


def test_a_long_session_is_shown_to_its_end_and_nothing_twice(store: DatabaseStore) -> None:
    session_id = writing.session(store)
    streams = [call(store, session_id, number) for number in range(1, 131)]
    session, *entries = lines("mcp_inspect", f"{session_id:x}")
    assert session["summary"]["calls"] == 130
    answers = [entry["stream"] for entry in entries if entry["kind"] == "result"]
    assert answers == [f"{stream:x}" for stream in streams]
    assert len({entry["key"] for entry in entries}) == len(entries) == 260


def test_requests_and_answers_point_at_each_other(store: DatabaseStore) -> None:
    session_id = writing.session(store)
    call(store, session_id, 1, events=2)
    shown = run("mcp_inspect", f"{session_id:x}")
    rows = [row.split() for row in shown.splitlines()[-3:]]
    assert [(row[0], row[2]) for row in rows] == [("1", "→"), ("2", "←"), ("3", "←")]
    assert rows[0][-2:] == ["↔", "3"]
    assert rows[2][-2:] == ["↔", "1"]


def test_what_was_said_is_shown_only_on_demand(store: DatabaseStore) -> None:
    session_id = writing.session(store)
    call(store, session_id, 1)
    assert '"tool"' not in run("mcp_inspect", f"{session_id:x}")
    assert '"name": "tool"' in run("mcp_inspect", f"{session_id:x}", "--payloads")
    with pytest.raises(CommandError, match="needs --payloads"):
        run("mcp_inspect", f"{session_id:x}", "--search", "tool")


def test_a_long_stream_is_replayed_to_its_end_and_from_any_event(store: DatabaseStore) -> None:
    stream = f"{call(store, writing.session(store), 1, EVENTS):x}"
    sequences = [entry["sequence"] for entry in lines("mcp_replay", stream) if entry["sequence"]]
    assert sequences == list(range(1, EVENTS + 1))
    later = [entry["sequence"] for entry in lines("mcp_replay", stream, "--from", "1100") if entry["sequence"]]
    assert later == list(range(1_100, EVENTS + 1))


def test_a_session_is_replayed_whole(store: DatabaseStore) -> None:
    session_id = writing.session(store)
    streams = [call(store, session_id, number) for number in (1, 2)]
    assert {entry["stream"] for entry in lines("mcp_replay", f"{session_id:x}")} == {f"{each:x}" for each in streams}
    with pytest.raises(CommandError, match="--from is for a single stream"):
        run("mcp_replay", f"{session_id:x}", "--from", "1")


def test_options_of_a_target_need_one(store: DatabaseStore) -> None:
    stream = f"{call(store, writing.session(store), 1):x}"
    with pytest.raises(CommandError, match="need --target"):
        run("mcp_replay", stream, "--check")
    with pytest.raises(CommandError, match="not for --target"):
        run("mcp_replay", stream, "--target", "http://127.0.0.1/mcp", "--speed", "1")


def test_an_export_is_whole_private_and_replaces_nothing(store: DatabaseStore, tmp_path: Path) -> None:
    session_id = writing.session(store)
    call(store, session_id, 1, events=3)
    folder = tmp_path / "exported"
    folder.mkdir()
    file = folder / "session.jsonl"
    assert run("mcp_export", f"{session_id:x}", "-o", str(file)).startswith("Wrote ")
    written = file.read_text()
    assert written == run("mcp_export", f"{session_id:x}")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with pytest.raises(CommandError, match="--force replaces it"):
        run("mcp_export", f"{session_id:x}", "-o", str(file))
    run("mcp_export", f"{session_id:x}", "-o", str(file), "--force", "--no-payloads")
    assert '\\"progress\\"' not in file.read_text()
    assert file.read_text() != written
    assert os.listdir(folder) == ["session.jsonl"]
    with pytest.raises(CommandError, match="cannot be written"):
        run("mcp_export", f"{session_id:x}", "-o", str(folder / "none" / "x"))


def test_events_are_exported_as_they_go_over_the_wire(store: DatabaseStore) -> None:
    stream_id = call(store, writing.session(store), 1, events=2)
    exported = run("mcp_export", "--stream", f"{stream_id:x}", "--sse")
    assert [line for line in exported.splitlines() if line.startswith("id: ")] == [
        f"id: {stream_id:x}.1",
        f"id: {stream_id:x}.2",
    ]


def test_a_call_is_canceled_alone(store: DatabaseStore) -> None:
    session_id = writing.session(store)
    stream_id = writing.stream(store, session_id, "1")
    assert "Canceled the call" in run("mcp_terminate", "--call", f"{stream_id:x}", "--no-input")
    row = models.Stream.objects.using(store.alias).get(pk=stream_id)
    assert row.state == StreamState.CANCELLED
    with pytest.raises(CommandError, match="had ended already"):
        run("mcp_terminate", "--call", f"{stream_id:x}", "--no-input")
    with pytest.raises(CommandError, match="nobody follows"):
        run("mcp_terminate", "--connection", f"{stream_id:x}", "--no-input")


def test_statistics_count_what_happened(store: DatabaseStore) -> None:
    session_id = writing.session(store)
    for number in (1, 2):
        call(store, session_id, number)
    figures = json.loads(run("mcp_stats", "--json"))
    assert (figures["calls"], figures["open_sessions"]) == (2, 1)
    assert [method["name"] for method in figures["methods"]] == ["tool"]
    shown = run("mcp_stats", "--since", "10m").splitlines()
    assert ["calls", "2"] in [line.split() for line in shown]
    assert "p50, p95, p99: of the newest 5,000 calls, all tools together" in shown


@pytest.mark.django_db(transaction=True)
def test_only_a_user_who_may_resend_resends(settings: Settings) -> None:
    store = DatabaseStore("default")
    stream_id = call(store, writing.session(store), 1)
    user = get_user_model().objects.create_user("ada")
    for username, said in (("nobody", "there is no user"), ("ada", "needs the permission")):
        with pytest.raises(CommandError, match=said):
            run("mcp_resend", f"{stream_id:x}", "--as", username, "--no-input")
    user.user_permissions.add(Permission.objects.get(codename="resend_request"))
    with pytest.raises(CommandError, match=r"needs the permission streamable_http\.view_session"):
        run("mcp_resend", f"{stream_id:x}", "--as", "ada", "--no-input")
    ours = Permission.objects.filter(content_type__app_label="streamable_http")
    user.user_permissions.add(ours.get(codename="view_session"))
    # Its server is not of this project.
    with pytest.raises(CommandError, match="it cannot be sent again"):
        run("mcp_resend", f"{stream_id:x}", "--as", "ada", "--no-input")


@pytest.fixture
def ended_behind() -> Iterator[None]:
    yield
    shells.end_behind()


def bookshop_call(store: DatabaseStore) -> int:
    """A call of this project's server that may be made again."""
    params = {"name": "search_books", "arguments": {"query": "whale"}}
    request = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    record = writing.record(method="tools/call", payload=json.dumps(request))
    session_id = writing.session_of(store, "user:1", server="bookshop")
    return writing.stream(store, session_id, end=StreamState.ANSWERED, name="search_books", record=record)


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("ended_behind")
def test_what_is_sent_again_is_noted_with_who_sat_there(caplog: pytest.LogCaptureFixture) -> None:
    get_user_model().objects.create_superuser("ada")
    stream_id = bookshop_call(DatabaseStore("default"))
    run("mcp_resend", f"{stream_id:x}", "--as", "ada", "--reason", "late", "--no-input")
    who = audit.command_line()
    assert f"stream {stream_id:x}: Sent again as ada: late, by {who}" in caplog.messages
    assert LogEntry.objects.get().get_change_message() == f"Sent again: late (by {who})"


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("ended_behind")
def test_what_is_sent_again_and_does_not_end_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resending, "RESEND_SECONDS", 0.0)
    get_user_model().objects.create_superuser("ada")
    stream_id = bookshop_call(DatabaseStore("default"))
    with pytest.raises(CommandError, match="did not end within 0 s and was cancelled") as failed:
        run("mcp_resend", f"{stream_id:x}", "--as", "ada", "--no-input")
    assert failed.value.returncode == 1
    made = models.Stream.objects.get(resent_from=stream_id)
    assert made.state == StreamState.CANCELLED
    assert str(made) in str(failed.value)


def test_a_purge_leaves_a_trace(store: DatabaseStore, caplog: pytest.LogCaptureFixture) -> None:
    session_id = writing.session(store)
    store.end_session(session_id, SessionState.TERMINATED)
    run("mcp_purge", f"{session_id:x}", "--reason", "asked to", "--no-input")
    [record] = [each for each in caplog.records if each.name == "streamable_http.audit"]
    assert record.levelname == "WARNING"
    assert record.getMessage().startswith(f"session {session_id:x}: Deleted with its history: asked to, by ")


def test_pruning_leaves_a_trace_where_something_was_pruned(
    store: DatabaseStore, caplog: pytest.LogCaptureFixture, settings: Settings
) -> None:
    settings.STREAMABLE_HTTP = {**settings.STREAMABLE_HTTP, "RESUMABLE_SECONDS": 0}
    session_id = writing.session(store)
    store.end_session(session_id, SessionState.TERMINATED)
    run("mcp_prune", "--older-than", "0d", "--dry-run")
    assert caplog.messages == []
    run("mcp_prune", "--older-than", "0d")
    run("mcp_prune", "--older-than", "0d")
    [said] = caplog.messages
    assert said.startswith("Pruned: ")
    assert " 1 sessions" in said


@pytest.mark.parametrize("command", ["mcp_terminate", "mcp_purge", "mcp_resend"])
def test_a_reason_is_as_long_as_elsewhere(command: str) -> None:
    with pytest.raises(CommandError, match="a reason has at most 1,000 characters"):
        run(command, "abcdef", "--reason", "x" * (audit.MAX_REASON_CHARACTERS + 1))


# Streams


def test_streams_are_listed_filtered_and_paged(store: DatabaseStore) -> None:
    session_id = writing.session(store)
    alone = writing.stream(store, None, end=StreamState.ANSWERED, name="add")
    calls = [call(store, session_id, number) for number in (1, 2)]
    newest_first = [*reversed(calls), alone, session_id]
    listed = {
        (): newest_first,
        ("--session", f"{session_id:x}"): [*reversed(calls), session_id],
        ("--sessionless",): [alone],
        ("--no-sessionless", "--state", "answered"): list(reversed(calls)),
        ("--name", "add"): [alone],
        ("--state", "open"): [session_id],
        ("--limit", "2"): newest_first[:2],
        ("--limit", "2", "--before", f"{calls[0]:x}"): newest_first[2:],
        ("--limit", "0"): newest_first,
    }
    for arguments, expected in listed.items():
        found = lines("mcp_streams", *arguments)
        assert [row["id"] for row in found] == [f"{each:x}" for each in expected], arguments
    shown = [row.split() for row in run("mcp_streams").splitlines()]
    assert shown[0][:2] == ["stream", "session"]
    assert [row[0] for row in shown[1:]] == [f"{each:x}" for each in newest_first]
    assert "listening" in shown[-1]


def test_a_stream_is_told_by_the_names_that_the_api_has(store: DatabaseStore) -> None:
    call(store, writing.session(store), 1)
    shown = set(lines("mcp_streams")[0]) - {"type"}
    assert shown == set(serializers.StreamSummaryAnswer().fields)


def test_a_stream_is_inspected_alone(store: DatabaseStore) -> None:
    stream_id = call(store, writing.session(store), 1, EVENTS)
    facts, *entries = lines("mcp_inspect", f"{stream_id:x}")
    assert (facts["type"], facts["id"], facts["head"]) == ("stream", f"{stream_id:x}", EVENTS)
    assert [entry["sequence"] for entry in entries if entry["sequence"]] == list(range(1, EVENTS + 1))
    assert [entry["kind"] for entry in entries].count("request") == 1
    shown = run("mcp_inspect", f"{stream_id:x}", "--method", "tools/call")
    assert f"stream       {stream_id:x}" in shown
    assert "notifications/progress" not in shown
    with pytest.raises(CommandError, match="--stream is for a session"):
        run("mcp_inspect", f"{stream_id:x}", "--stream", f"{stream_id:x}")


def test_an_exchange_without_a_session_is_inspected_as_well(store: DatabaseStore) -> None:
    stream_id = writing.stream(store, None, "{}", end=StreamState.ANSWERED, name="add")
    facts, *_ = lines("mcp_inspect", f"{stream_id:x}")
    assert (facts["session"], facts["name"]) == (None, "add")


FACTS = json.dumps({"method": "POST", "headers": {"content-type": "application/json"}})


def copyable(store: DatabaseStore, session_id: int, number: int) -> int:
    request = {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": {"name": "it's", "arguments": {}}}
    record = writing.record(method="tools/call", payload=json.dumps(request), facts=FACTS)
    return writing.stream(store, session_id, end=StreamState.ANSWERED, request_id=str(number), record=record)


def test_calls_are_printed_to_be_made_again(store: DatabaseStore) -> None:
    session_id = writing.session(store)
    first, _ = (copyable(store, session_id, number) for number in (1, 2))
    curl = run("mcp_inspect", f"{first:x}", "--copy", "curl", "--origin", "http://example.com/")
    words = shlex.split(curl)
    assert words[0] == "curl"
    assert words[-1] == "http://example.com/mcp"
    assert json.loads(words[words.index("--data-binary") + 1])["params"]["name"] == "it's"
    python = run("mcp_inspect", f"{first:x}", "--copy", "python")
    compile(python, "copy", "exec")
    assert "it's" in python
    assert run("mcp_inspect", f"{session_id:x}", "--copy", "curl").count("curl --no-buffer") == 2
    copies = lines("mcp_inspect", f"{session_id:x}", "--copy", "python")
    assert [(each["form"], each["type"]) for each in copies] == [("python", "copy")] * 2
    assert copies[0]["text"] == python


def test_what_cannot_be_copied_is_refused(store: DatabaseStore) -> None:
    session_id = writing.session(store)
    stream_id = writing.stream(store, session_id, end=StreamState.ANSWERED)
    for chosen in (session_id, stream_id):
        with pytest.raises(CommandError, match="can be had as curl") as failed:
            run("mcp_inspect", f"{chosen:x}", "--copy", "curl")
        assert failed.value.returncode == 1


def test_what_a_client_would_get_that_resumes_is_told(store: DatabaseStore) -> None:
    session_id = writing.session(store)
    stream_id = call(store, session_id, 1, 3)
    shown = run("mcp_inspect", f"{stream_id:x}", "--resume-from", "1")
    assert shown.startswith("HTTP 200. The client gets 2 events at once, and then the end.")
    assert len(shown.splitlines()) == 3
    told, *entries = lines("mcp_inspect", f"{stream_id:x}", "--resume-from", f"{stream_id:x}.2")
    assert (told["status"], told["is_recovered"], told["after"]) == (200, True, 2)
    assert [entry["sequence"] for entry in entries] == [3]
    # A session's id is that of its listening stream.
    assert lines("mcp_inspect", f"{session_id:x}", "--resume-from", "0")[0]["stream"] == f"{session_id:x}"
    assert lines("mcp_inspect", f"{stream_id:x}", "--resume-from", "17")[0]["status"] == 400
    with pytest.raises(CommandError, match="the cursor is of stream 1,"):
        run("mcp_inspect", f"{stream_id:x}", "--resume-from", "1.1")
    with pytest.raises(CommandError, match="takes no filters and no --copy"):
        run("mcp_inspect", f"{stream_id:x}", "--resume-from", "1", "--copy", "curl")
