"""The official Python client in handshake mode, against the demo project as ``make demo`` serves it, and the site."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import mcp_types as types
import pytest
from mcp import Client, MCPError

from tests.acceptance.conftest import Database, Site
from tests.acceptance.proxy import CuttingProxy
from tests.acceptance.waiting import until
from tests.conftest import StartDemo

pytestmark = pytest.mark.acceptance

WORKER_LOST = -32000
RESOURCE_NOT_FOUND = -32002


class Person:
    """Answers the questions of a server, and sees what else comes."""

    def __init__(self, action: str = "accept", **content: Any) -> None:
        self.action = action
        self.content = content
        self.questions: list[types.ElicitRequestParams] = []
        self.progress: list[tuple[float, float | None]] = []
        self.logs: list[Any] = []
        self.wishes: list[types.CreateMessageRequestParams] = []
        self.updated: list[str] = []

    async def answer(self, context: Any, question: types.ElicitRequestParams) -> types.ElicitResult:
        self.questions.append(question)
        return types.ElicitResult(action=self.action, content=self.content or None)

    async def see_progress(self, progress: float, total: float | None, message: str | None) -> None:
        self.progress.append((progress, total))

    async def see_log(self, params: types.LoggingMessageNotificationParams) -> None:
        self.logs.append(params.data)

    async def write(self, context: Any, wish: types.CreateMessageRequestParams) -> types.CreateMessageResult:
        self.wishes.append(wish)
        text = types.TextContent(type="text", text="Read it.")
        return types.CreateMessageResult(role="assistant", content=text, model="test")

    async def see_message(self, message: Any) -> None:
        if isinstance(message, types.ResourceUpdatedNotification):
            self.updated.append(message.params.uri)

    def client(self, url: str, *, mode: str = "legacy") -> Client:
        """Return a client with this person in front of it."""
        return Client(
            f"{url}/mcp",
            mode=mode,
            elicitation_callback=self.answer,
            sampling_callback=self.write,
            logging_callback=self.see_log,
            message_handler=self.see_message,
        )

    @property
    def steps(self) -> list[float]:
        """The progress alone."""
        return [progress for progress, _ in self.progress]


# The demo project


class Bookshop(Database):
    """The demo project's server, and the database of its log."""

    def __init__(self, log_url: str, url: str) -> None:
        super().__init__(log_url)
        self.server_url = url


@pytest.fixture(params=["daphne", "uvicorn"])
def bookshop(request: pytest.FixtureRequest, demo_server: StartDemo, tmp_path: Path) -> Bookshop:
    """The demo project on two SQLite files."""
    return Bookshop(f"sqlite:///{tmp_path}/demo_data/log.sqlite3", demo_server(server=request.param).url)


async def test_the_bookshop_serves_the_official_client(bookshop: Bookshop) -> None:
    person = Person(confirm=True)
    async with person.client(bookshop.server_url) as client:
        assert client.protocol_version == "2025-11-25"
        assert client.server_info is not None
        assert client.server_info.name == "bookshop"
        tools = (await client.list_tools()).tools
        assert {tool.name for tool in tools} >= {"search_books", "sales_report", "refund_order", "take_stock"}

        report = await client.call_tool("sales_report", {"year": 2025}, progress_callback=person.see_progress)
        # All of it is here when the result is.
        assert len(person.progress) == 12
        assert person.steps == sorted(set(person.steps))
        assert {total for _, total in person.progress} == {person.steps[-1]}
        assert report.structured_content is not None
        assert sum(month["orders"] for month in report.structured_content["months"]) == person.steps[-1]

        accepted = await client.call_tool("refund_order", {"number": 1001, "reason": "damaged"})
        assert accepted.structured_content is not None
        assert accepted.structured_content["refunded"] is True
        again = await client.call_tool("refund_order", {"number": 1001, "reason": "damaged"})
        assert again.is_error
        person.action, person.content = "decline", {}
        declined = await client.call_tool("refund_order", {"number": 1002, "reason": "damaged"})
        assert declined.structured_content is not None
        assert declined.structured_content["refunded"] is False
        assert len(person.questions) == 2
        assert all("Refund $" in question.message for question in person.questions)

        rejected = await client.call_tool("refund_order", {"number": "many", "reason": ""})
        assert rejected.is_error
    # Leaving deletes the session.
    assert bookshop.rows("SELECT state FROM streamable_http_session") == [("terminated",)]


# The client warns of what the next revision does otherwise.
@pytest.mark.filterwarnings("ignore::mcp.MCPDeprecationWarning")
async def test_the_official_client_reads_and_hears_of_the_bookshops_books(bookshop: Bookshop) -> None:
    person = Person(confirm=True)
    async with person.client(bookshop.server_url) as client:
        assert [resource.uri for resource in (await client.list_resources()).resources] == [
            "shop://opening-hours",
            "shop://shelves",
        ]
        (template,) = (await client.list_resource_templates()).resource_templates
        assert template.uri_template == "books://{isbn}"

        template_reference = types.ResourceTemplateReference(uri=template.uri_template)
        isbns = (await client.complete(template_reference, {"name": "isbn", "value": "978"})).completion.values
        uri = f"books://{isbns[0]}"
        (content,) = (await client.read_resource(uri)).contents
        assert json.loads(content.text)["isbn"] == isbns[0]
        with pytest.raises(MCPError) as missing:
            await client.read_resource("books://0000000000000")
        assert missing.value.error.code == RESOURCE_NOT_FOUND

        prompt = types.PromptReference(name="recommend_book")
        authors = (await client.complete(prompt, {"name": "author", "value": ""})).completion.values
        recommended = (await client.get_prompt("recommend_book", {"author": authors[0]})).messages
        assert authors[0] in recommended[0].content.text

        blurb = await client.call_tool("write_blurb", {"isbn": isbns[0]})
        assert blurb.content[0].text == "Read it."
        assert len(person.wishes) == 1

        # A refund puts books back into stock: whoever subscribed to one of them hears of it.
        found = (await client.call_tool("search_books", {"query": "", "limit": 100})).structured_content
        assert found is not None
        for book in found["result"]:
            await client.subscribe_resource(f"books://{book['isbn']}")
        refunded = await client.call_tool("refund_order", {"number": 1001, "reason": "damaged"})
        assert refunded.structured_content is not None
        assert refunded.structured_content["refunded"] is True
        await until(lambda: person.updated)
        assert set(person.updated) <= {f"books://{book['isbn']}" for book in found["result"]}


async def test_the_official_client_finds_out_by_itself_how_to_talk(bookshop: Bookshop) -> None:
    async with Person().client(bookshop.server_url, mode="auto") as client:
        result = await client.call_tool("search_books", {"query": ""})
        assert not result.is_error


async def test_the_official_client_cancels_a_call(bookshop: Bookshop) -> None:
    person = Person()
    async with person.client(bookshop.server_url) as client:
        call = asyncio.ensure_future(
            client.call_tool("take_stock", {"duration_seconds": 20}, progress_callback=person.see_progress)
        )
        await until(lambda: len(person.progress) >= 2)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        state = "SELECT id, state FROM streamable_http_stream WHERE name = 'take_stock'"
        await until(lambda: bookshop.rows(state)[0][1] == "cancelled")
        (stream_id, _) = bookshop.rows(state)[0]
        stored = bookshop.events(stream_id)
        recorded = "SELECT payload FROM streamable_http_record WHERE method = 'notifications/cancelled'"
        assert len(await until(lambda: bookshop.rows(recorded))) == 1

        # The next call runs, and the old one says nothing more.
        logged = len(person.logs)
        done = await client.call_tool("take_stock", {"duration_seconds": 0})
        assert not done.is_error
        assert done.structured_content is not None
        assert len(person.logs) - logged == len(done.structured_content["shelves"])
        assert bookshop.events(stream_id) == stored


# The test project


async def test_a_cancelled_tool_stops(new_site: Site) -> None:
    person = Person()
    async with person.client(new_site.serve().url) as client:

        async def running() -> int:
            content = (await client.call_tool("running")).structured_content
            assert content is not None
            return content["result"]

        call = asyncio.ensure_future(
            client.call_tool("count", {"n": 100_000, "delay_ms": 5}, progress_callback=person.see_progress)
        )
        await until(lambda: len(person.progress) >= 5)
        assert await running() == 1
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        state = "SELECT state FROM streamable_http_stream WHERE name = 'count'"
        await until(lambda: new_site.rows(state) == [("cancelled",)])
        assert await running() == 0


@pytest.mark.parametrize("new_site_url", ["sqlite"], indirect=True)
async def test_the_official_client_resumes_what_a_network_cut(new_site: Site) -> None:
    server = new_site.serve(settings={"RETRY_MS": 200})
    person = Person()
    async with CuttingProxy(server.port).running() as proxy, person.client(proxy.url) as client:
        call = asyncio.ensure_future(
            client.call_tool("count", {"n": 200, "delay_ms": 10}, progress_callback=person.see_progress)
        )
        await until(lambda: len(person.progress) >= 50)
        proxy.cut()
        seen = len(person.progress)
        assert not (await call).is_error
        assert seen < 150
        assert person.steps == list(range(1, 201))

        # Its listening stream came back, too.
        await client.call_tool("announce", {"n": 5})
        await until(lambda: person.logs == [1, 2, 3, 4, 5])


@pytest.mark.parametrize("new_site_url", ["sqlite"], indirect=True)
async def test_the_official_client_survives_a_server_that_was_killed(new_site: Site) -> None:
    server = new_site.serve(settings={"LEASE_SECONDS": 3, "HEARTBEAT_SECONDS": 1})
    person = Person()
    async with person.client(server.url) as client:
        call = asyncio.ensure_future(
            client.call_tool("count", {"n": 100_000, "delay_ms": 5}, progress_callback=person.see_progress)
        )
        await until(lambda: len(person.progress) >= 20)
        server.kill()
        server.start()
        with pytest.raises(MCPError) as raised:
            await asyncio.wait_for(call, 20)
        assert raised.value.error.code == WORKER_LOST
        (stream_id,) = new_site.rows("SELECT id FROM streamable_http_stream WHERE name = 'count'")[0]
        assert person.steps == list(range(1, len(new_site.events(stream_id))))
        done = await client.call_tool("add", {"a": 1, "b": 2})
        assert done.structured_content == {"result": 3}
