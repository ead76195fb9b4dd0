"""What filters leave of a session's timeline, on real databases."""

from __future__ import annotations

from streamable_http.models import StreamState
from streamable_http.replay import timeline
from streamable_http.replay.entries import Direction, Timeline
from streamable_http.replay.filtering import Filters
from tests.replay import conversations
from tests.replay.conversations import Conversation, message, progress, result


def read(talk: Conversation, cursor: str = "", **filters: object) -> Timeline:
    return timeline.session_timeline(
        talk.session_id,
        cursor,
        filters=Filters(**filters),
        with_payloads=True,  # type: ignore[arg-type]
    )


def test_filters_choose(talk: Conversation) -> None:
    fine = talk.call(progress(1), result({"content": ["fine"]}))
    failed = talk.call(result({"isError": True, "content": ["broken"]}), tool="import")
    lost = talk.call(progress(1), end=StreamState.LOST)
    talk.say("ping", message(id=5, method="ping"))

    def found(**filters: object) -> list[str]:
        return [entry.key for entry in read(talk, **filters).entries]

    assert found(direction=Direction.IN, method="tools/call") == [f"r{pk:x}" for pk in (fine, failed, lost)]
    assert found(method="notifications/progress") == [f"{fine:x}.1", f"{lost:x}.1"]
    assert found(errors=True) == [f"r{failed:x}", f"{failed:x}.1", f"r{lost:x}", f"{lost:x}.1"]
    assert found(text="BROKEN") == [f"{failed:x}.1"]
    assert found(stream_id=fine) == [f"r{fine:x}", f"{fine:x}.1", f"{fine:x}.2"]
    assert found(stream_id=fine, direction=Direction.IN) == [f"r{fine:x}"]
    assert [lane.stream.pk for lane in read(talk, text="broken").lanes] == [failed]


def test_a_stream_of_another_session_is_not_shown(talk: Conversation) -> None:
    other = Conversation(talk.store).call(result({}))
    assert read(talk, stream_id=other).entries == []


def test_a_search_finds_no_secret(talk: Conversation) -> None:
    _, wire_id = talk.ask(talk.call(end=StreamState.OPEN, arguments={"text": "x"}))
    talk.call(result({"apiKey": "s3cret"}), request_id="2")
    for text in ("s3cret", "s3", wire_id, wire_id[:6]):
        assert read(talk, text=text).entries == []


def test_a_search_looks_through_many_pages_and_says_where_to_go_on(talk: Conversation) -> None:
    marked = 230

    def payloads(number: int) -> list[str]:
        return [*conversations.counted(20), result({"content": ["needle" if number == marked else "hay"]}, number)]

    conversations.many(talk.store, talk.session_id, 250, payloads)
    page = read(talk, text="needle")
    assert page.entries == []
    assert page.later
    assert len(read(talk, page.later, text="needle").entries) == 1
    assert len(read(talk, "end", text="needle").entries) == 1
