"""Hostile names and payloads, printed by every command: nothing in them is obeyed, and JSON stays JSON."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from django.core.management import call_command

from streamable_http.models import SessionState
from streamable_http.stores.db import DatabaseStore
from tests.management import hostile

COMMANDS = {
    "sessions": ["mcp_sessions"],
    "inspect": ["mcp_inspect", "{session}", "--payloads"],
    "inspect a stream": ["mcp_inspect", "{stream}", "--payloads"],
    "streams": ["mcp_streams"],
    "copy as curl": ["mcp_inspect", "{session}", "--copy", "curl"],
    "resume": ["mcp_inspect", "{stream}", "--resume-from", "0", "--payloads"],
    "tail": ["mcp_tail", "{session}", "--payloads", "--since", "1h"],
    "replay a session": ["mcp_replay", "{session}"],
    "replay a stream": ["mcp_replay", "{stream}"],
    "export": ["mcp_export", "{session}"],
    "export a stream": ["mcp_export", "--stream", "{stream}", "--sse"],
    "stats": ["mcp_stats"],
}


@pytest.fixture
def rows(log_alias: str) -> hostile.Rows:
    store = DatabaseStore(log_alias)
    rows = hostile.write(store)
    store.end_session(rows.session_id, SessionState.TERMINATED)
    return rows


def run(rows: hostile.Rows, name: str, *more: str) -> str:
    command, *arguments = COMMANDS[name]
    output, errors = io.StringIO(), io.StringIO()
    filled = [argument.format(session=rows.session, stream=rows.stream) for argument in arguments]
    call_command(command, *filled, *more, stdout=output, stderr=errors)
    assert hostile.is_harmless(errors.getvalue())
    return output.getvalue()


@pytest.mark.parametrize("name", COMMANDS)
def test_nothing_that_is_stored_is_obeyed(rows: hostile.Rows, name: str) -> None:
    printed = run(rows, name)
    assert hostile.is_harmless(printed)
    if name not in ("export a stream", "resume", "stats"):
        assert "[bold]m[/bold]" in printed


@pytest.mark.parametrize("name", ["sessions", "inspect", "tail", "replay a session", "replay a stream"])
def test_json_says_what_is_stored_and_is_as_harmless(rows: hostile.Rows, name: str) -> None:
    printed = run(rows, name, "--json")
    assert hostile.is_harmless(printed)
    found = [json.loads(line) for line in printed.splitlines()]
    assert any(map(_holds, found))


def _holds(value: object) -> bool:
    if isinstance(value, dict):
        return any(_holds(each) for pair in value.items() for each in pair)
    if isinstance(value, list):
        return any(map(_holds, value))
    return isinstance(value, str) and hostile.HOSTILE in value


def test_an_exported_file_is_as_harmless_and_loses_nothing(rows: hostile.Rows, tmp_path: Path) -> None:
    file = tmp_path / "session.jsonl"
    run(rows, "export", "-o", str(file))
    text = file.read_text()
    assert hostile.is_harmless(text)
    lines = [json.loads(line) for line in text.splitlines()]
    assert {line["type"] for line in lines} >= {"session", "stream", "record", "event"}
    assert any(map(_holds, lines))
