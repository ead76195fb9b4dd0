"""What the demo lets agents read and start with, asked as a client asks it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import async_to_sync

from demo_project.bookshop import resources
from demo_project.bookshop.mcp import server
from demo_project.bookshop.models import Book, Stock
from streamable_http import exceptions
from streamable_http.protocol import jsonrpc
from tests.demo_project.test_tools import Outlet, context

pytestmark = pytest.mark.usefixtures("shop")


def ask(method: str, outlet: Outlet | None = None, **params: Any) -> dict[str, Any]:
    """Have the server answer."""

    async def run_sync(function: Callable[[], Any]) -> Any:
        return function()

    ctx = context(outlet or Outlet())
    ctx.client_capabilities = {"sampling": {}}

    async def answer() -> dict[str, Any]:
        return await server.dispatch(jsonrpc.Request(1, method, params), ctx, run_sync)

    return async_to_sync(answer)()


def odyssey() -> Book:
    return Book.objects.get(title="The Odyssey", edition="Paperback")


def test_a_book_is_read_by_its_isbn() -> None:
    book = odyssey()
    uri = f"books://{book.isbn}"
    [contents] = ask("resources/read", uri=uri)["contents"]
    assert (contents["uri"], contents["mimeType"]) == (uri, "application/json")
    read = json.loads(contents["text"])
    assert (read["isbn"], read["title"], read["author"], read["copies"]) == (
        book.isbn,
        "The Odyssey",
        "Homer",
        book.stock.copies,
    )


@pytest.mark.parametrize("uri", ["books://9780000000000", "books://", "books://../shop", "file:///etc/passwd"])
def test_what_is_no_book_of_the_shop_is_not_found(uri: str) -> None:
    with pytest.raises(exceptions.CallFailed) as failed:
        ask("resources/read", uri=uri)
    assert (failed.value.code, failed.value.data) == (-32002, {"uri": uri})


def test_the_shelves_hold_what_is_in_stock() -> None:
    [contents] = ask("resources/read", uri=resources.SHELVES)["contents"]
    shelves = json.loads(contents["text"])
    assert sum(shelf["copies"] for shelf in shelves) == sum(Stock.objects.values_list("copies", flat=True))


def test_the_lists_show_what_there_is() -> None:
    assert [each["uri"] for each in ask("resources/list")["resources"]] == [resources.HOURS, resources.SHELVES]
    [template] = ask("resources/templates/list")["resourceTemplates"]
    assert (template["uriTemplate"], template["title"]) == ("books://{isbn}", "Book by ISBN")
    assert [each["name"] for each in ask("prompts/list")["prompts"]] == ["recommend_book", "answer_complaint"]


def test_a_recommendation_brings_books_of_the_author_along() -> None:
    result = ask("prompts/get", name="recommend_book", arguments={"author": "Homer", "mood": "a journey"})
    first, *books = result["messages"]
    assert "Homer" in first["content"]["text"]
    assert "a journey" in first["content"]["text"]
    assert len(books) == 3
    assert all(json.loads(book["content"]["resource"]["text"])["author"] == "Homer" for book in books)


def test_a_complaint_is_answered_about_its_order() -> None:
    [message] = ask("prompts/get", name="answer_complaint", arguments={"order_number": "1001"})["messages"]
    assert "order 1001 of January" in message["content"]["text"]
    [message] = ask("prompts/get", name="answer_complaint", arguments={"order_number": "7"})["messages"]
    assert "no order 7" in message["content"]["text"]


def test_authors_are_completed_from_the_shops_own() -> None:
    ref = {"type": "ref/prompt", "name": "recommend_book"}
    completion = ask("completion/complete", ref=ref, argument={"name": "author", "value": "dicke"})["completion"]
    assert completion["values"] == ["Charles Dickens"]


def test_isbns_are_completed() -> None:
    ref = {"type": "ref/resource", "uri": resources.BOOK}
    number = odyssey().isbn or ""
    completion = ask("completion/complete", ref=ref, argument={"name": "isbn", "value": number[:12]})["completion"]
    assert completion["values"] == [number]


def test_a_blurb_is_written_by_the_clients_model() -> None:
    outlet = Outlet(lambda: {"role": "assistant", "model": "m", "content": {"type": "text", "text": "Read it."}})
    isbn = odyssey().isbn
    result = ask("tools/call", outlet, name="write_blurb", arguments={"isbn": isbn})
    assert result["content"][0]["text"] == "Read it."
    assert "The Odyssey by Homer" in outlet.asked[0]["messages"][0]["content"]["text"]
    refused = ask("tools/call", outlet, name="write_blurb", arguments={"isbn": "9780000000000"})
    assert refused["isError"]
