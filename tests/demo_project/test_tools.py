"""The demo's tools, called as the functions that they are."""

from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

import pytest
from asgiref.sync import async_to_sync

from demo_project.bookshop import mcp
from demo_project.bookshop.models import Book, Order, Refund, Stock
from streamable_http.protocol import revisions
from streamable_http.server import Context, ToolError

pytestmark = pytest.mark.usefixtures("shop")


class Done:
    def __await__(self) -> Any:
        return iter(())


class Outlet:
    """Keeps what the tool emits, and answers forms as told."""

    log_level = "info"

    def __init__(self, on_ask: Callable[[], dict[str, Any]] = lambda: {"action": "cancel"}) -> None:
        self.messages: list[dict[str, Any]] = []
        self.asked: list[dict[str, Any]] = []
        self._on_ask = on_ask

    def emit(self, message: dict[str, Any], *, newest_wins: bool = False) -> Awaitable[None]:
        self.messages.append(message)
        return Done()

    async def ask(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(params)
        return self._on_ask()

    def params(self, method: str) -> list[dict[str, Any]]:
        return [message["params"] for message in self.messages if message["method"] == method]


def context(outlet: Outlet) -> Context:
    return Context(
        server=mcp.server,
        revision=revisions.R2025_11_25,
        outlet=outlet,
        progress_token="token",
        client_capabilities={"elicitation": {}},
    )


def test_search_finds_books_whose_title_or_author_has_all_the_words() -> None:
    books = async_to_sync(mcp.search_books)("homer ODYSSEY")
    assert {(book.author, book.title) for book in books} == {("Homer", "The Odyssey")}
    assert len(books) == 5


def test_search_gives_no_more_than_the_limit() -> None:
    assert len(async_to_sync(mcp.search_books)("the", limit=3)) == 3


def test_sales_report_adds_up_every_order_and_reports_progress_up_to_their_number() -> None:
    outlet = Outlet()
    report = async_to_sync(mcp.sales_report)(2025, ctx=context(outlet))
    assert sum(month.orders for month in report.months) == Order.objects.count()
    expected = sum(line.amount for order in Order.objects.prefetch_related("lines") for line in order.lines.all())
    assert report.revenue == expected
    progress = outlet.params("notifications/progress")
    assert [params["progress"] for params in progress] == sorted({params["progress"] for params in progress})
    assert progress[-1]["progress"] == progress[-1]["total"] == Order.objects.count()


def test_sales_report_of_a_year_without_orders_is_zero() -> None:
    report = async_to_sync(mcp.sales_report)(2001, ctx=context(Outlet()))
    assert (report.revenue, report.best_sellers) == (0, [])


def refund(outlet: Outlet, number: int = 1001) -> Any:
    return async_to_sync(mcp.refund_order)(number, "damaged", ctx=context(outlet))


def accept() -> dict[str, Any]:
    return {"action": "accept", "content": {"confirm": True}}


def copies_in_stock() -> int:
    return sum(Stock.objects.values_list("copies", flat=True))


def test_refund_asks_for_the_amount_and_writes_after_a_yes() -> None:
    order = Order.objects.get(number=1001)
    before = copies_in_stock()
    outlet = Outlet(accept)
    result = refund(outlet)
    amount = sum(line.amount for line in order.lines.all())
    assert outlet.asked[0]["message"] == f"Refund ${amount} for order 1001?"
    assert (result.refunded, result.amount) == (True, amount)
    assert order.refund.amount == amount
    assert copies_in_stock() == before + sum(line.copies for line in order.lines.all())


@pytest.mark.parametrize(
    "answer",
    [{"action": "decline"}, {"action": "cancel"}, {"action": "accept", "content": {"confirm": False}}],
    ids=["decline", "cancel", "unchecked"],
)
def test_refund_writes_nothing_without_a_yes(answer: dict[str, Any]) -> None:
    assert refund(Outlet(lambda: answer)).refunded is False
    assert not Refund.objects.exists()


def test_refund_refuses_unknown_and_refunded_orders_without_asking() -> None:
    refund(Outlet(accept))
    outlet = Outlet(accept)
    with pytest.raises(ToolError, match="refunded before"):
        refund(outlet)
    with pytest.raises(ToolError, match="no order 99"):
        refund(outlet, 99)
    assert outlet.asked == []


class SlowUser(Outlet):
    """Says yes when somebody else has refunded the order meanwhile."""

    async def ask(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        order = await Order.objects.aget(number=1001)
        await Refund.objects.acreate(order=order, amount=Decimal("1.00"), reason="first")
        return accept()


def test_refund_writes_nothing_when_another_one_came_first_while_the_user_thought() -> None:
    before = copies_in_stock()
    with pytest.raises(ToolError, match="somebody else meanwhile"):
        refund(SlowUser())
    assert Refund.objects.get().reason == "first"
    assert copies_in_stock() == before


def test_stock_taking_tells_about_every_shelf() -> None:
    outlet = Outlet()
    report = async_to_sync(mcp.take_stock)(context(outlet), duration_seconds=0)
    assert (report.titles, report.copies) == (Book.objects.count(), copies_in_stock())
    assert [params["data"].split(":")[0] for params in outlet.params("notifications/message")] == [
        f"shelf {count.shelf}" for count in report.shelves
    ]
    assert len(outlet.params("notifications/progress")) == len(report.shelves) == 24


def test_stock_taking_of_an_empty_shop_ends() -> None:
    Stock.objects.all().delete()
    assert async_to_sync(mcp.take_stock)(context(Outlet()), duration_seconds=0).shelves == []


def test_import_adds_then_updates_and_reports_each_row() -> None:
    outlet = Outlet()
    first = mcp.import_books("sample:new_arrivals.csv", context(outlet))
    assert (first.added, first.updated, first.rejected) == (100, 0, [])
    assert [params["progress"] for params in outlet.params("notifications/progress")] == list(range(1, 101))
    second = mcp.import_books("sample:new_arrivals.csv", context(Outlet()))
    assert (second.added, second.updated) == (0, 100)


def test_import_names_the_rows_that_it_rejects() -> None:
    report = mcp.import_books("sample:with_mistakes.csv", context(Outlet()))
    assert (report.added, report.updated) == (1, 1)
    assert [(row.line, row.problem.split(":")[0]) for row in report.rejected] == [
        (3, "title"),
        (4, "price"),
        (5, "copies"),
        (7, "author"),
    ]


def test_import_refuses_other_urls_in_band() -> None:
    with pytest.raises(ToolError, match="nothing is fetched"):
        mcp.import_books("http://169.254.169.254/", context(Outlet()))
