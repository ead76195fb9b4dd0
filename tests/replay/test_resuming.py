"""What a client would get that resumes, told from real databases, and beside what a real one gets."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest
from django.db import connections
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from streamable_http import models, operations
from streamable_http.delivery.engine import Engine
from streamable_http.models import StreamState
from streamable_http.protocol import cursors, http
from streamable_http.replay import resuming
from streamable_http.replay.resuming import Preview
from streamable_http.stores.db import DatabaseStore
from tests.endpoint.client import Client, events
from tests.replay import conversations, exchanges
from tests.replay.conversations import Conversation, message, progress, result
from tests.stores import writing


def preview(stream_id: int, after: int) -> Preview:
    return resuming.preview(stream_id, after, with_payloads=True)


def sequences(found: Preview) -> list[int | None]:
    return [entry.sequence for entry in found.entries]


def test_a_cut_call_goes_on_behind_its_cursor(talk: Conversation) -> None:
    stream_id = talk.call(progress(1), progress(2), result({}))
    found = preview(stream_id, 1)
    assert (found.status, found.is_recovered, sequences(found)) == (200, True, [2, 3])
    assert found.why == "The client gets 2 events at once, and then the end."


def test_whoever_has_everything_of_what_runs_waits(talk: Conversation) -> None:
    found = preview(talk.call(progress(1), end=StreamState.OPEN), 1)
    assert (found.status, found.entries) == (200, [])
    assert found.why == "The client gets 0 events at once, and then what comes."


def test_a_call_whose_events_are_gone_ends_with_an_error(talk: Conversation) -> None:
    stream_id = talk.call(progress(1), progress(2), result({}))
    models.Stream.objects.using(talk.store.alias).filter(pk=stream_id).update(earliest=3)
    assert sequences(preview(stream_id, 2)) == [3]
    found = preview(stream_id, 1)
    assert (found.status, found.is_recovered, found.entries) == (200, False, [])


def test_a_listening_stream_goes_on_with_what_is_kept(talk: Conversation) -> None:
    talk.listen(*[message(method="notifications/tools/list_changed")] * 4)
    models.Stream.objects.using(talk.store.alias).filter(pk=talk.session_id).update(earliest=3)
    found = preview(talk.session_id, 1)
    assert (found.status, found.is_recovered, sequences(found)) == (200, False, [3, 4])


def test_nobody_resumes_without_a_session(talk: Conversation, settings: Settings) -> None:
    stream_id = talk.call(result({}), alone=True)
    assert preview(stream_id, 0).status == 400
    settings.STREAMABLE_HTTP = {**settings.STREAMABLE_HTTP, "MODE": "sessionless"}
    assert preview(stream_id, 0).status == 405


def test_the_first_events_of_many_are_shown(talk: Conversation) -> None:
    found = preview(talk.call(*conversations.counted(resuming.EVENTS + 20)), 5)
    assert sequences(found) == list(range(6, resuming.EVENTS + 6))
    assert "515 events, of which the first 500 are shown" in found.why


def test_messages_are_shown_to_whoever_may_see_them_alone(talk: Conversation) -> None:
    stream_id = talk.call(result({"text": "shown"}))
    assert [entry.payload for entry in resuming.preview(stream_id, 0, with_payloads=False).entries] == [None]
    assert "shown" in (preview(stream_id, 0).entries[0].payload or "")


def test_a_stream_that_is_not_there_is_not_found(store: DatabaseStore) -> None:
    with pytest.raises(LookupError):
        preview(1, 0)


# Beside what a real GET gets


@dataclass
class Scene:
    """A session of a real client, into which cases write what they are about."""

    engine: Engine
    store: DatabaseStore
    client: Client
    session_id: int

    async def count(self, n: int) -> int:
        await self.client.call("count", n=n)
        await exchanges.settle(self.engine)
        return await exchanges.newest_stream(self.engine)

    async def write(self, *payloads: str, **changes: Any) -> int:
        return await self.engine.read(lambda: writing.stream(self.store, self.session_id, *payloads, **changes))

    async def tell(self, events: int) -> int:
        """Write to the listening stream."""
        told = [message(method="notifications/message", params={"data": n}) for n in range(events)]
        append = writing.append(self.session_id, *told, epoch=None)
        await self.engine.read(self.store.write, [append], [])
        return self.session_id

    async def prune(self) -> None:
        def prune() -> None:
            models.Stream.objects.exclude(ended_at=None).update(ended_at="2020-01-01T00:00:00Z")
            operations.prune()

        await self.engine.read(prune)

    def cap(self, settings: Settings, events: int) -> None:
        settings.STREAMABLE_HTTP = {**settings.STREAMABLE_HTTP, "MAX_STREAM_EVENTS": events}


Case = Callable[[Scene, Settings], Awaitable[tuple[int, int]]]
"""Writes something, and returns where to resume it."""


async def whole(scene: Scene, settings: Settings) -> tuple[int, int]:
    return await scene.count(3), 1


async def from_the_beginning(scene: Scene, settings: Settings) -> tuple[int, int]:
    return await scene.count(3), 0


async def running(scene: Scene, settings: Settings) -> tuple[int, int]:
    return await scene.write(message(method="a"), message(method="b"), request_id="9"), 1


async def running_and_all_read(scene: Scene, settings: Settings) -> tuple[int, int]:
    return await scene.write(message(method="a"), request_id="9"), 1


async def ended(scene: Scene, settings: Settings) -> tuple[int, int]:
    return await scene.count(3), 4


async def future(scene: Scene, settings: Settings) -> tuple[int, int]:
    return await scene.count(3), 5


async def far_future(scene: Scene, settings: Settings) -> tuple[int, int]:
    return await scene.count(3), cursors.MAX


async def lost(scene: Scene, settings: Settings) -> tuple[int, int]:
    return await scene.write(message(method="a"), message(id=9), request_id="9", end=StreamState.LOST), 1


async def trimmed_call(scene: Scene, settings: Settings) -> tuple[int, int]:
    scene.cap(settings, 3)
    return await scene.write(*[message(method="a")] * 9, request_id="9"), 2


async def just_not_trimmed_call(scene: Scene, settings: Settings) -> tuple[int, int]:
    scene.cap(settings, 3)
    return await scene.write(*[message(method="a")] * 9, request_id="9"), 6


async def redacted_call(scene: Scene, settings: Settings) -> tuple[int, int]:
    stream_id = await scene.count(3)
    await scene.prune()
    return stream_id, 1


async def redacted_call_that_was_read(scene: Scene, settings: Settings) -> tuple[int, int]:
    stream_id = await scene.count(3)
    await scene.prune()
    return stream_id, 4


async def listening(scene: Scene, settings: Settings) -> tuple[int, int]:
    return await scene.tell(5), 2


async def trimmed_listening(scene: Scene, settings: Settings) -> tuple[int, int]:
    scene.cap(settings, 3)
    return await scene.tell(9), 2


async def session_over(scene: Scene, settings: Settings) -> tuple[int, int]:
    stream_id = await scene.count(3)
    await scene.client.request("DELETE")
    return stream_id, 1


async def alone(scene: Scene, settings: Settings) -> tuple[int, int]:
    """What an exchange without a session leaves, such as a request that was sent again."""
    return await scene.engine.read(lambda: Conversation(scene.store).call(result({}), alone=True)), 0


async def sessionless(scene: Scene, settings: Settings) -> tuple[int, int]:
    settings.STREAMABLE_HTTP = {**settings.STREAMABLE_HTTP, "MODE": "sessionless"}
    return await scene.count(3), 1


CASES = {
    whole: 200,
    from_the_beginning: 200,
    running: 200,
    running_and_all_read: 200,
    ended: 204,
    future: 400,
    far_future: 400,
    lost: 200,
    trimmed_call: 200,
    just_not_trimmed_call: 200,
    redacted_call: 200,
    redacted_call_that_was_read: 204,
    listening: 200,
    trimmed_listening: 200,
    session_over: 404,
    alone: 400,
    sessionless: 405,
}


@pytest.fixture
async def scene(engine: Engine, log_alias: str) -> Scene:
    client = Client(exchanges.server)
    await client.open()
    return Scene(engine, DatabaseStore(log_alias), client, await exchanges.session_id(engine))


@pytest.mark.parametrize(("case", "status"), CASES.items(), ids=lambda case: getattr(case, "__name__", str(case)))
async def test_what_is_said_is_what_a_client_gets(scene: Scene, settings: Settings, case: Case, status: int) -> None:
    stream_id, after = await case(scene, settings)
    preview = await scene.engine.read(lambda: resuming.preview(stream_id, after, with_payloads=True))
    response = await scene.client.request("GET", last_event_id=cursors.format(stream_id, after))
    assert response.status == preview.status == status
    assert (response.headers.get(http.RECOVERED) != "false") == preview.is_recovered
    assert preview.why.endswith(".")
    said = [cursors.format(stream_id, entry.sequence or 0) for entry in preview.entries]
    if response.stream is None:
        assert said == []
        return
    is_open = await scene.engine.read(lambda: models.Stream.objects.get(pk=stream_id).state) == StreamState.OPEN
    found: list[str] = []
    payloads: list[Any] = []
    priming = cursors.format(stream_id, after)
    waits = is_open and (preview.is_recovered or case is trimmed_listening)
    if not (waits and not said):
        async for event in events(response):
            if event.data and event.id not in ("", priming):
                found.append(event.id)
                payloads.append(json.loads(event.data))
            if waits and found[-1:] == said[-1:]:
                break
    await response.stream.aclose()
    # What tells that events are gone is none of the log's, and has no id.
    assert found == said
    assert payloads == [json.loads(entry.payload or "") for entry in preview.entries]


async def test_a_session_that_was_terminated_is_over(scene: Scene) -> None:
    stream_id = await scene.count(1)
    await scene.engine.read(operations.terminate_session, scene.session_id)
    preview = await scene.engine.read(lambda: resuming.preview(stream_id, 0, with_payloads=True))
    assert preview.status == 404
    response = await scene.client.request("GET", last_event_id=cursors.format(stream_id, 0))
    assert response.status == 404


@pytest.mark.parametrize("events", [5, 400])
def test_a_preview_takes_few_queries(store: DatabaseStore, events: int) -> None:
    stream_id = exchanges.call(store, writing.session(store), 1, *[message(method="a")] * events)
    with CaptureQueriesContext(connections[store.alias]) as queries:
        resuming.preview(stream_id, 0, with_payloads=True)
    assert len(queries) <= 8
