"""Which streams are found, on real databases."""

from __future__ import annotations

from typing import Any

import pytest

from streamable_http import models, operations
from streamable_http.models import Outcome, StreamState
from streamable_http.stores.db import DatabaseStore
from tests.stores import writing


@pytest.fixture
def store(log_alias: str) -> DatabaseStore:
    return DatabaseStore(log_alias)


def found_streams(**conditions: Any) -> list[int]:
    return [stream.pk for stream in operations.find_streams(**conditions)]


def test_streams_are_found_newest_first_and_by_what_they_are(store: DatabaseStore) -> None:
    session_id = writing.session(store)
    call = writing.stream(store, session_id, "{}", request_id="1", name="count")
    alone = writing.stream(store, None, "{}", end=StreamState.ANSWERED, name="facade")
    models.Stream.objects.using(store.alias).filter(pk=alone).update(outcome=Outcome.RESULT)
    assert found_streams() == [alone, call, session_id]
    assert found_streams(session_id=session_id) == [call, session_id]
    assert found_streams(sessionless=True) == [alone]
    assert found_streams(sessionless=False) == [call, session_id]
    assert found_streams(state="answered") == found_streams(outcome="result") == [alone]
    assert found_streams(method="tools/call", name="count") == [call]
    assert found_streams(text=" count ") == found_streams(text=f"{call:X}") == [call]
    assert found_streams(text="coun") == found_streams(text="count\0") == found_streams(name="\ud800") == []
    assert found_streams(text=f"{call:x}"[:6]) == [alone, call, session_id]


@pytest.mark.parametrize(
    ("text", "is_id"), [("1a22a4", True), ("1A22a4398079bd00", True), ("facade", False), ("1a22a", False), ("", False)]
)
def test_what_begins_like_an_id_is_none_of_a_tool(text: str, is_id: bool) -> None:
    assert operations.is_stream_id(text) is is_id
