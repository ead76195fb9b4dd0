"""What happened lately, on real databases."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from streamable_http import models
from streamable_http.models import StreamState
from streamable_http.replay import following
from streamable_http.replay.entries import Kind
from tests.replay import conversations
from tests.replay.conversations import Conversation, message, progress, result


@pytest.mark.parametrize("everywhere", [True, False])
def test_what_happened_since_is_told(talk: Conversation, everywhere: bool) -> None:
    since = timezone.now()
    other = Conversation(talk.store)
    stream_id = talk.call(progress(1), end=StreamState.OPEN)
    other.call(result({}))
    session_id = None if everywhere else talk.session_id
    entries, later, _ = following.recent(session_id, since, with_payloads=True)
    assert len(entries) == (4 if everywhere else 2)
    assert later >= since
    _, wire_id = talk.ask(stream_id)
    talk.reply(wire_id, {})
    talk.append(stream_id, result({}), end=StreamState.ANSWERED)
    talk.get(f"{stream_id:x}.1")
    talk.listen(message(method="notifications/tools/list_changed"))
    seen = {entry.key for entry in entries}
    entries, *_ = following.recent(session_id, later, with_payloads=True)
    fresh = [entry for entry in entries if entry.key not in seen]
    assert [entry.kind for entry in fresh] == [Kind.ASK, Kind.REPLY, Kind.RESULT, Kind.RESUME, Kind.NOTIFICATION]
    assert fresh[1].pair == fresh[0].key
    assert fresh[3].stream_id == stream_id
    assert wire_id not in f"{entries}"


def test_what_lies_back_is_not_told_again(talk: Conversation) -> None:
    talk.call(result({}))
    later = timezone.now() + timedelta(seconds=120)
    assert following.recent(talk.session_id, later, with_payloads=True)[0] == []
    assert following.recent(None, later, with_payloads=True)[0] == []


def test_of_much_that_happened_the_newest_is_told(talk: Conversation) -> None:
    since = timezone.now()
    stream_id = talk.call(*conversations.counted(1_500), end=StreamState.OPEN)
    for session_id in (None, talk.session_id):
        entries, _, is_cut = following.recent(session_id, since, with_payloads=False)
        assert len(entries) == following.RECENT_ENTRIES
        assert is_cut
        assert entries[-1].key == f"{stream_id:x}.1500"


def test_whoever_follows_is_told_everything_once(talk: Conversation) -> None:
    recent = following.Recent(talk.session_id, timezone.now())
    stream_id = talk.call(progress(1), end=StreamState.OPEN)
    assert [entry.key for entry in recent.look(with_payloads=False).entries] == [f"r{stream_id:x}", f"{stream_id:x}.1"]
    assert recent.look(with_payloads=False).entries == []
    talk.append(stream_id, result({}), end=StreamState.ANSWERED)
    [answer] = recent.look(with_payloads=True).entries
    assert (answer.key, answer.payload) == (f"{stream_id:x}.2", result({}))
    assert recent.look(with_payloads=True).entries == []
    assert timezone.now() - recent.since < timedelta(seconds=60)


@pytest.mark.parametrize(
    ("written", "moment"),
    [
        ("2026-01-02T03:04:05Z", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02 03:04:05.5+02:00", datetime(2026, 1, 2, 1, 4, 5, 500_000, tzinfo=UTC)),
        ("0001-01-02T00:00:00+23:59", datetime(1, 1, 1, 0, 1, tzinfo=UTC)),
        ("2026-01-02T03:04:05", None),
        ("2026-01-02", None),
        ("2026-13-02T03:04:05Z", None),
        ("", None),
        ("now", None),
    ],
)
def test_a_moment_has_a_zone(written: str, moment: datetime | None) -> None:
    assert following.parse_moment(written) == moment


def test_no_moment_is_later_than_now() -> None:
    moment = following.parse_moment("9999-12-31T23:59:59-23:59")
    assert moment is not None
    assert moment <= timezone.now()


def test_what_is_older_than_an_hour_is_not_new_however_far_back_one_asks(talk: Conversation) -> None:
    old, new = talk.call(result({})), talk.call(result({}))
    long_ago = timezone.now() - timedelta(hours=2)
    models.Event.objects.using(talk.store.alias).filter(stream_id=old).update(created_at=long_ago)
    models.Record.objects.using(talk.store.alias).filter(pk=old).update(created_at=long_ago)
    for since in (datetime.min.replace(tzinfo=UTC), long_ago):
        for session_id in (None, talk.session_id):
            news = following.recent(session_id, since, with_payloads=False)
            assert [entry.key for entry in news.entries] == [f"r{new:x}", f"{new:x}.1"]
            assert news.is_cut
    assert not following.recent(None, timezone.now(), with_payloads=False).is_cut
