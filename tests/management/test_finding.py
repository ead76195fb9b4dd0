"""Rows by what people type."""

from __future__ import annotations

import pytest

from streamable_http import models
from streamable_http.management import base, finding
from streamable_http.stores.db import DatabaseStore
from tests.stores import writing

FIRST = 0x19A2_B3C4_D5E6_F701
SECOND = 0x19A2_B3C4_FFFF_F701


@pytest.fixture
def store(log_alias: str) -> DatabaseStore:
    """With two sessions whose ids begin alike; the second has a call."""
    store = DatabaseStore(log_alias)
    for session_id in (FIRST, SECOND):
        store.open_session(writing.facts(id=session_id), f"digest {session_id}", None)
    writing.stream(store, SECOND, "1", stream_id=SECOND + 1)
    return store


@pytest.mark.parametrize("text", ["19a2b3c4d5e6f701", "19a2b3c4d", " 19A2B3C4D5 ", "19a2b3c4d5e6f70"])
def test_the_beginning_of_an_id_is_enough(store: DatabaseStore, text: str) -> None:
    assert finding.session(text).pk == FIRST


def test_what_fits_several_is_named_with_all_of_them(store: DatabaseStore) -> None:
    with pytest.raises(base.NotFound, match="19a2b3 is ambiguous: 19a2b3c4d5e6f701, 19a2b3c4fffff701"):
        finding.session("19a2b3")


@pytest.mark.parametrize("text", ["19a2b", "19a2b4", "ffffffffffffffff", "f" * 5_000, "19a2b3c4d5e6f702"])
def test_what_is_not_there_is_not_found(store: DatabaseStore, text: str) -> None:
    with pytest.raises(base.NotFound) as refused:
        finding.session(text)
    assert refused.value.returncode == 3


@pytest.mark.parametrize("text", ["", "session", "0x19a2b3", "-19a2b3", "19a2_b3", "１９a2b3"])
def test_what_is_no_id_is_a_wrong_use(store: DatabaseStore, text: str) -> None:
    with pytest.raises(base.Usage) as refused:
        finding.session(text)
    assert refused.value.returncode == 2


def test_the_id_of_a_session_is_the_session_and_that_of_a_call_its_stream(store: DatabaseStore) -> None:
    assert isinstance(finding.session_or_stream(f"{FIRST:x}"), models.Session)
    found = finding.session_or_stream(f"{SECOND + 1:x}")
    assert isinstance(found, models.Stream)
    assert found.pk == SECOND + 1
    with pytest.raises(base.NotFound, match="ambiguous"):
        finding.session_or_stream("19a2b3c4f")


def test_a_session_without_streams_is_found(store: DatabaseStore) -> None:
    models.Stream.objects.using(store.alias).filter(pk=FIRST).delete()
    assert isinstance(finding.session_or_stream(f"{FIRST:x}"), models.Session)
