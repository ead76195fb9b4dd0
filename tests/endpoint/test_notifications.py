"""News from a process that serves nothing itself: a command, a task, a shell."""

from __future__ import annotations

import asyncio

import pytest
from django.db import connections
from pytest_django import Settings

from streamable_http.delivery import engine as engines
from streamable_http.server import MCPServer
from streamable_http.stores import base
from streamable_http.stores.db import DatabaseStore
from tests.stores import writing

server = MCPServer("test")


def _opened(alias: str) -> tuple[base.Store, list[int]]:
    store = DatabaseStore(alias)
    return store, [writing.session(store) for _ in range(5)]


def _told(store: base.Store, sessions: list[int]) -> list[list[tuple[int, str]]]:
    return [writing.events(store, session_id) for session_id in sessions]


CHANGED = '{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}'


@pytest.mark.parametrize("is_in_a_loop", [False, True])
def test_everybody_is_told_group_by_group(
    log_alias: str, settings: Settings, monkeypatch: pytest.MonkeyPatch, is_in_a_loop: bool
) -> None:
    monkeypatch.setattr(base, "NEWS_AT_ONCE", 2)
    settings.STREAMABLE_HTTP = {"DATABASE": log_alias}
    groups: list[int] = []
    notify = DatabaseStore.notify

    def watch(store: DatabaseStore, session_ids: list[int], *arguments: str, is_for_all: bool) -> list[int]:
        groups.append(len(session_ids))
        return notify(store, session_ids, *arguments, is_for_all=is_for_all)

    monkeypatch.setattr(DatabaseStore, "notify", watch)
    store, sessions = _opened(log_alias)
    assert engines.running() is None

    async def in_a_loop() -> None:
        server.notify_tool_list_changed()

    try:
        asyncio.run(in_a_loop()) if is_in_a_loop else server.notify_tool_list_changed()
        assert _told(store, sessions) == [[(1, CHANGED)]] * 5
    finally:
        connections[log_alias].close()
    assert groups == [2, 2, 1]
