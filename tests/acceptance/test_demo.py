"""The demo project as an operator and an agent see it: what one changes in the admin, the other is told."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests import services
from tests.acceptance.wire import Received, Wire
from tests.conftest import StartDemo

pytestmark = pytest.mark.acceptance

PASSWORD = "correct horse"


@pytest.fixture(params=["daphne", "uvicorn"])
def demo(request: pytest.FixtureRequest, demo_server: StartDemo) -> str:
    return demo_server(server=request.param).url


@contextlib.asynccontextmanager
async def staff(url: str) -> AsyncIterator[httpx.AsyncClient]:
    """A browser that is logged in to the admin."""
    async with httpx.AsyncClient(base_url=url, trust_env=False, follow_redirects=True) as browser:
        page = await browser.get("/admin/login/")
        form = {
            "username": "keeper",
            "password": PASSWORD,
            "csrfmiddlewaretoken": _token(page.text),
            "next": "/admin/",
        }
        page = await browser.post("/admin/login/", data=form, headers={"referer": url})
        assert "Site administration" in page.text
        yield browser


def _token(page: str) -> str:
    found = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page)
    assert found is not None
    return found[1]


def _fields(page: str) -> dict[str, str]:
    """The values of a page's inputs and selects."""
    inputs = dict(re.findall(r'<input[^>]*name="([^"]+)"[^>]*value="([^"]*)"', page))
    chosen = re.findall(r'<select[^>]*name="([^"]+)".*?<option value="([^"]*)" selected', page, re.DOTALL)
    return {**inputs, **dict(chosen)}


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Of commands on the running demo's data."""
    return {"DEMO_DATA_DIR": str(tmp_path / "demo_data"), "DJANGO_SETTINGS_MODULE": "demo_project.settings"}


def make_keeper(environment: dict[str, str]) -> None:
    services.manage(
        "createsuperuser",
        "--noinput",
        "--username=keeper",
        "--email=keeper@example.com",
        environment={**environment, "DJANGO_SUPERUSER_PASSWORD": PASSWORD},
    )


async def test_a_load_balancer_is_told_that_the_demo_lives_and_is_ready(
    demo: str, environment: dict[str, str]
) -> None:
    make_keeper(environment)
    async with httpx.AsyncClient(base_url=demo, trust_env=False) as balancer:
        for probe in ("/livez", "/readyz"):
            answer = await balancer.get(probe)
            assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
    await Wire(f"{demo}/mcp").initialize()
    async with staff(demo) as keeper:
        worker = (await keeper.get("/readyz")).json()["worker"]
        assert worker["has_lease"]
        assert not worker["is_draining"]


async def stock_of(wire: Wire, uri: str) -> int:
    received = Received()
    async with wire.stream(wire.request("resources/read", {"uri": uri})) as connection:
        await received.read(connection)
    [contents] = received.answer["result"]["contents"]
    return int(json.loads(contents["text"])["copies"])


async def change_stock(browser: httpx.AsyncClient, isbn: str, copies: int) -> None:
    found = await browser.get("/admin/bookshop/book/", params={"q": "odyssey", "edition": "Paperback"})
    [book_id] = set(re.findall(r"/admin/bookshop/book/(\d+)/change/", found.text))
    path = f"/admin/bookshop/book/{book_id}/change/"
    form = _fields((await browser.get(path)).text)
    assert form["isbn"] == isbn
    form["stock-0-copies"] = str(copies)
    saved = await browser.post(path, data=form, headers={"referer": str(browser.base_url)})
    assert "was changed successfully" in saved.text


async def test_who_subscribed_to_a_book_is_told_when_its_stock_changes_in_the_admin(
    demo: str, environment: dict[str, str]
) -> None:
    make_keeper(environment)
    wire = Wire(f"{demo}/mcp")
    await wire.initialize()
    isbn = await isbn_of(wire, "odyssey")
    uri = f"books://{isbn}"
    before = await stock_of(wire, uri)
    assert (await wire.post(wire.request("resources/subscribe", {"uri": uri}))).json()["result"] == {}

    received = Received()
    async with wire.resume(None) as listening, staff(demo) as browser, asyncio.timeout(30):
        await change_stock(browser, isbn, before + 3)
        await received.read_events(listening, 1)
        assert received.messages[0]["method"] == "notifications/resources/updated"
        assert received.messages[0]["params"] == {"uri": uri}
    assert await stock_of(wire, uri) == before + 3

    # Nobody listens now: it waits, and comes with the next connection.
    async with staff(demo) as browser:
        await change_stock(browser, isbn, before + 4)
        await change_stock(browser, isbn, before + 5)
    again = Received()
    async with wire.resume(received.last_id) as listening, asyncio.timeout(30):
        await again.read_events(listening, 1)
        assert again.messages[0]["params"] == {"uri": uri}


async def isbn_of(wire: Wire, words: str) -> str:
    books: list[dict[str, Any]] = await wire.result("search_books", query=words, limit=20)
    return next(str(book["isbn"]) for book in books if book["edition"] == "Paperback")


async def test_a_command_in_another_process_reaches_who_subscribed(demo: str, environment: dict[str, str]) -> None:
    wire = Wire(f"{demo}/mcp")
    await wire.initialize()
    uri = f"books://{await isbn_of(wire, 'odyssey')}"
    await wire.post(wire.request("resources/subscribe", {"uri": uri}))
    received = Received()
    async with wire.resume(None) as listening, asyncio.timeout(30):
        code = f"from demo_project.bookshop.mcp import server; server.notify_resource_updated({uri!r})"
        await asyncio.to_thread(services.manage, "shell", "-c", code, environment=environment)
        await received.read_events(listening, 1)
    assert received.messages[0]["params"] == {"uri": uri}


async def test_only_the_staff_sees_what_only_they_may_do(demo: str, environment: dict[str, str]) -> None:
    make_keeper(environment)
    token = services.manage("drf_create_token", "keeper", environment=environment).split()[2]
    anybody, keeper = Wire(f"{demo}/mcp"), Wire(f"{demo}/mcp", headers={"authorization": f"Token {token}"})
    names = {}
    for wire in (anybody, keeper):
        await wire.initialize()
        tools = (await wire.post(wire.request("tools/list"))).json()["result"]["tools"]
        names[wire] = {tool["name"] for tool in tools}
    assert names[keeper] - names[anybody] == {"set_price"}
    isbn = await isbn_of(keeper, "odyssey")
    assert (await keeper.result("set_price", isbn=isbn, price="12.25"))["price"] == "12.25"
    received = Received()
    async with anybody.stream(anybody.call("set_price", isbn=isbn, price="1.00")) as connection:
        await received.read(connection)
    assert received.answer["error"]["code"] == -32602
    assert "unknown tool" in received.answer["error"]["message"]
