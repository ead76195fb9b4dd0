"""Whole sessions and streams, page by page, on real databases."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from streamable_http.models import StreamState
from streamable_http.replay import paging
from streamable_http.replay.entries import Entry, Kind
from streamable_http.replay.filtering import Filters
from streamable_http.stores.db import DatabaseStore
from tests.replay import conversations
from tests.replay.conversations import Conversation, result


def keys(pages: Iterable[list[Entry]]) -> list[str]:
    return [entry.key for page in pages for entry in page]


def test_a_whole_session_has_each_entry_once(talk: Conversation) -> None:
    asking = talk.call(end=StreamState.OPEN, request_id='"asks"')
    _, wire_id = talk.ask(asking)
    conversations.many(talk.store, talk.session_id, 120, lambda number: [result({}, number)])
    # With its ask on the first page, and where it came in on the third.
    reply = talk.reply(wire_id, {})
    pages = list(paging.of_session(talk.session_id, with_payloads=False))
    assert [bool(page) for page in pages] == [True] * 3
    found = keys(pages)
    assert len(found) == len(set(found)) == 2 + 240 + 1
    assert f"r{reply:x}" in keys(pages[:1])


def test_a_session_is_filtered(talk: Conversation) -> None:
    conversations.many(talk.store, talk.session_id, 60, lambda number: [result({"isError": number == 59}, number)])
    pages = paging.of_session(talk.session_id, filters=Filters(errors=True), with_payloads=False)
    assert [entry.kind for page in pages for entry in page] == [Kind.REQUEST, Kind.ERROR]


def test_a_whole_stream_has_each_event_once_and_in_order(talk: Conversation) -> None:
    stream_id = talk.call(*conversations.counted(2 * paging.EVENTS), result({}))
    pages = list(paging.of_stream(stream_id, with_payloads=False))
    assert len(pages) == 3
    expected = [f"{stream_id:x}.{sequence}" for sequence in range(1, 2 * paging.EVENTS + 2)]
    assert keys(pages) == [f"r{stream_id:x}", *expected]
    assert keys(paging.of_stream(stream_id, paging.EVENTS, with_payloads=False)) == expected[paging.EVENTS :]


def test_a_trimmed_stream_ends(talk: Conversation) -> None:
    stream_id = talk.call(*conversations.counted(3))
    assert keys(paging.of_stream(stream_id, 7, with_payloads=False)) == []


def test_what_is_not_there_is_not_found(store: DatabaseStore) -> None:
    for pages in (paging.of_session(1, with_payloads=False), paging.of_stream(1, with_payloads=False)):
        with pytest.raises(LookupError):
            next(pages)
