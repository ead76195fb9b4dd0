"""What goes out on a listening stream, and what is remembered of it."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from pytest_django import Settings

from streamable_http import exceptions
from streamable_http.delivery.engine import Engine
from streamable_http.endpoint import streams
from streamable_http.protocol import http, sse
from streamable_http.server import MCPServer
from tests.delivery import calls
from tests.endpoint.client import Client
from tests.stores import writing

server = MCPServer("listened")

URI = "books://1"


@server.resource(URI)
def book() -> str:
    """One book."""
    return "a book"


class Listener:
    """A connection that goes only as far as a test lets it."""

    def __init__(self, response: http.Response) -> None:
        assert response.status == 200
        assert response.stream is not None
        self.headers = response.headers
        self._stream: AsyncGenerator[bytes, None] = response.stream  # type: ignore[assignment]
        self._decoder = sse.Decoder()
        self.raw = b""

    async def read(self) -> list[sse.Event]:
        """Read on to the next events with data; none where the server ends the connection."""
        async with asyncio.timeout(30):
            async for chunk in self._stream:
                self.raw += chunk
                if events := [event for event in self._decoder.decode(chunk) if event.data]:
                    return events
        return []

    async def breaks(self) -> None:
        """End where it is: nobody asks for what comes next."""
        await self._stream.aclose()


async def listen(client: Client, cursor: str | None = None) -> Listener:
    response = await client.request("GET", **({"last_event_id": cursor} if cursor is not None else {}))
    return Listener(response)


async def tell(engine: Engine) -> None:
    """Tell of an update, and wait until it has been told."""
    server.notify_resource_updated(URI)
    await asyncio.sleep(0)
    await calls.until(lambda: not engine.tasks)


@pytest.fixture
async def client() -> Client:
    """One that has subscribed."""
    client = Client(server)
    await client.open()
    assert (await client.post("resources/subscribe", {"uri": URI})).status == 200
    return client


def sequences(events: list[sse.Event]) -> list[int]:
    return [int(event.id.partition(".")[2]) for event in events]


# News is said again as soon as the client was sent what was said before


async def test_news_while_the_earlier_one_is_under_way_is_said_again(engine: Engine, client: Client) -> None:
    listener = await listen(client)
    await tell(engine)
    assert sequences(await listener.read()) == [1]
    await tell(engine)
    assert sequences(await listener.read()) == [2]
    await listener.breaks()


async def test_news_is_said_once_while_nobody_listens(engine: Engine, client: Client) -> None:
    for _ in range(3):
        await tell(engine)
    listener = await listen(client)
    assert sequences(await listener.read()) == [1]
    await tell(engine)
    assert sequences(await listener.read()) == [2]
    await listener.breaks()


@pytest.mark.parametrize("brings_cursor", [True, False])
async def test_a_connection_that_breaks_behind_an_event_mutes_nothing(
    engine: Engine, client: Client, brings_cursor: bool
) -> None:
    listener = await listen(client)
    await tell(engine)
    [event] = await listener.read()
    await listener.breaks()
    await tell(engine)
    listener = await listen(client, event.id if brings_cursor else None)
    # Without a cursor it is not known what arrived: that may repeat, and never skips.
    assert sequences(await listener.read()) == ([2] if brings_cursor else [1, 2])
    await listener.breaks()


async def test_what_could_not_be_noted_as_handed_mutes_nothing(engine: Engine, client: Client) -> None:
    def fail(*arguments: Any) -> None:
        raise exceptions.StoreUnavailable("down")

    engine.store.hand = fail  # type: ignore[method-assign]
    listener = await listen(client)
    for sequence in (1, 2, 3):
        await tell(engine)
        assert sequences(await listener.read()) == [sequence]
    await listener.breaks()


async def test_nothing_goes_out_that_could_not_be_noted_before(engine: Engine, client: Client) -> None:
    offer = engine.store.offer

    def fail(*arguments: Any) -> None:
        raise exceptions.StoreUnavailable("down")

    listener = await listen(client)
    await tell(engine)
    engine.store.offer = fail  # type: ignore[method-assign]
    assert await listener.read() == []
    assert listener.raw.endswith(b"retry: 3000\n\n")
    engine.store.offer = offer  # type: ignore[method-assign]
    listener = await listen(client)
    assert sequences(await listener.read()) == [1]
    await listener.breaks()


async def test_a_cursor_proves_what_was_read(engine: Engine, client: Client) -> None:
    listener = await listen(client)
    await tell(engine)
    [event] = await listener.read()
    await listener.breaks()
    await (await listen(client, event.id)).breaks()
    await tell(engine)
    listener = await listen(client)
    assert sequences(await listener.read()) == [2]
    await listener.breaks()


# What is no longer kept


RELIST = b'data: {"jsonrpc":"2.0","method":"notifications/resources/list_changed","params":{}}\n\n'


async def session_id_of(client: Client, engine: Engine) -> int:
    digest = hashlib.sha256(client.headers["mcp-session-id"].encode()).hexdigest()
    facts = await engine.read(engine.store.find_session, digest)
    assert facts is not None
    return facts.id


async def write_elsewhere(engine: Engine, session_id: int, *payloads: str) -> None:
    """Append as another worker does, one commit each."""
    for payload in payloads:
        await engine.read(engine.store.write, [writing.append(session_id, payload, epoch=None)], [])
    engine.wake_stream(session_id)


@pytest.fixture
def _short(settings: Settings) -> None:
    settings.STREAMABLE_HTTP = {**settings.STREAMABLE_HTTP, "MAX_STREAM_EVENTS": 2}


@pytest.mark.usefixtures("_short")
@pytest.mark.parametrize("brings_cursor", [True, False])
async def test_a_client_that_comes_back_too_late_lists_anew_and_goes_on(
    engine: Engine, client: Client, brings_cursor: bool
) -> None:
    session_id = await session_id_of(client, engine)
    await write_elsewhere(engine, session_id, "1", "2", "3", "4", "5")
    listener = await listen(client, f"{session_id:x}.1" if brings_cursor else None)
    assert listener.headers[http.RECOVERED] == "false"
    relist, *kept = await listener.read()
    # Before the prime, which moves the cursor.
    assert listener.raw.startswith(RELIST + b"id: %x.3\n" % session_id)
    assert relist.id == ""
    assert [(event.id, event.data) for event in kept] == [(f"{session_id:x}.4", "4"), (f"{session_id:x}.5", "5")]
    await listener.breaks()


@pytest.mark.usefixtures("_short")
async def test_a_connection_that_falls_behind_what_is_kept_lists_anew_and_goes_on(
    engine: Engine, client: Client
) -> None:
    session_id = await session_id_of(client, engine)
    listener = await listen(client)
    await write_elsewhere(engine, session_id, "1")
    assert sequences(await listener.read()) == [1]
    await write_elsewhere(engine, session_id, "2", "3", "4", "5")
    relist, *kept = await listener.read()
    assert RELIST + b"id: %x.3\n" % session_id in listener.raw
    # It has no id of its own: the client stays where it was.
    assert relist.id == f"{session_id:x}.1"
    assert sequences(kept) == [4, 5]
    await write_elsewhere(engine, session_id, "6")
    assert sequences(await listener.read()) == [6]
    await listener.breaks()


@pytest.mark.usefixtures("_short")
async def test_a_client_that_missed_nothing_is_not_asked_to_list_anew(engine: Engine, client: Client) -> None:
    session_id = await session_id_of(client, engine)
    await write_elsewhere(engine, session_id, "1", "2", "3", "4", "5")
    listener = await listen(client, f"{session_id:x}.3")
    assert http.RECOVERED not in listener.headers
    assert sequences(await listener.read()) == [4, 5]
    assert b"list_changed" not in listener.raw
    await listener.breaks()


async def test_only_the_lists_that_a_server_has_are_listed_anew() -> None:
    server = MCPServer("lists")
    facts = writing.facts()
    assert streams.list_changes(server, facts) == b""
    server.add_tool(book)
    server.add_prompt(book)
    assert [json.loads(line[6:])["method"] for line in streams.list_changes(server, facts).split(b"\n") if line] == [
        "notifications/tools/list_changed",
        "notifications/prompts/list_changed",
    ]
