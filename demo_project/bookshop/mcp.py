"""The server that agents get: tools to search, report, refund, count, import and price; things to read."""

import asyncio
import datetime
from collections import Counter
from decimal import Decimal
from typing import Annotated

from asgiref.sync import sync_to_async
from django.db import IntegrityError, transaction
from django.db.models import Count, F, Q, Sum
from pydantic import Field, ValidationError
from rest_framework.permissions import IsAdminUser

from demo_project.bookshop import importing, prompts, resources
from demo_project.bookshop.models import Book, Order, OrderLine, Refund, Stock
from demo_project.bookshop.schemas import (
    BookOut,
    ImportReport,
    MonthOut,
    RefundConfirmation,
    RefundOut,
    RejectedRow,
    SalesReport,
    ShelfCount,
    StockReport,
)
from streamable_http.server import Context, MCPServer, ResourceNotFound, TextContent, ToolError

server = MCPServer(
    "bookshop",
    version="1.0",
    title="Bookshop",
    instructions="A bookshop of classics. Search before you answer questions about books; amounts are in US dollars.",
)


@server.tool(annotations={"readOnlyHint": True})
async def search_books(query: str, limit: Annotated[int, Field(ge=1, le=100)] = 10) -> list[BookOut]:
    """Find books by title or author.

    Args:
        query: Words that must all be in the title or the author's name.
        limit: At most this many books.
    """
    books = Book.objects.filter(stock__isnull=False).select_related("author", "stock")
    for word in query.split():
        books = books.filter(Q(title__icontains=word) | Q(author__name__icontains=word))
    return [resources.describe(book) async for book in books[:limit]]


@server.tool(annotations={"readOnlyHint": True})
async def sales_report(year: Annotated[int, Field(ge=2000, le=2100)], ctx: Context) -> SalesReport:
    """Add up a year's orders, month by month.

    Args:
        year: The calendar year. The demo's orders are of 2025.
    """
    orders = Order.objects.filter(placed_at__year=year)
    total = await orders.acount()
    done = 0
    months: list[MonthOut] = []
    sellers: Counter[str] = Counter()
    for month in range(1, 13):
        report, sold = await _month(datetime.date(year, month, 1))
        months.append(report)
        sellers.update(sold)
        done += report.orders
        await ctx.report_progress(done, total, f"{report.month:%B}: {report.orders} orders")
    revenue = sum((report.revenue for report in months), Decimal(0))
    best_sellers = [title for title, _ in sellers.most_common(10)]
    return SalesReport(year=year, revenue=revenue, months=months, best_sellers=best_sellers)


@server.tool(annotations={"destructiveHint": True, "idempotentHint": False})
async def refund_order(
    number: Annotated[int, Field(ge=1)], reason: Annotated[str, Field(min_length=1, max_length=200)], ctx: Context
) -> RefundOut:
    """Give a customer's money back and take the books back into stock. The user is asked to confirm.

    Args:
        number: The order's number, such as 1001.
        reason: Why, in a few words; it is kept with the refund.
    """
    order = await Order.objects.filter(number=number).afirst()
    if order is None:
        raise ToolError(f"there is no order {number}")
    if await Refund.objects.filter(order=order).aexists():
        raise ToolError(f"order {number} was refunded before")
    amount = sum([line.amount async for line in order.lines.all()], Decimal(0))
    # Nothing is locked while a person thinks; what may have changed meanwhile, the database refuses below.
    answer = await ctx.elicit(f"Refund ${amount} for order {number}?", RefundConfirmation)
    if answer.data is None or not answer.data.confirm:
        return RefundOut(refunded=False, amount=amount, reason="the user did not confirm")
    try:
        await sync_to_async(_write_refund)(order, amount, reason)
    except IntegrityError:
        raise ToolError(f"order {number} was refunded by somebody else meanwhile") from None
    return RefundOut(refunded=True, amount=amount, reason=reason)


@server.tool(annotations={"readOnlyHint": True})
async def take_stock(
    ctx: Context,
    duration_seconds: Annotated[float, Field(ge=0, le=600)] = 10,
) -> StockReport:
    """Count the copies on every shelf. Takes its time and tells about each shelf.

    Args:
        duration_seconds: How long the walk along the shelves takes.
    """
    shelves = [name async for name in Stock.objects.order_by("shelf").values_list("shelf", flat=True).distinct()]
    counts: list[ShelfCount] = []
    for shelf in shelves:
        await asyncio.sleep(duration_seconds / len(shelves))
        count = await _count(shelf)
        counts.append(count)
        await ctx.info(f"shelf {shelf}: {count.titles} titles, {count.copies} copies")
        await ctx.report_progress(len(counts), len(shelves), f"shelf {shelf}")
    return StockReport(
        titles=sum(count.titles for count in counts), copies=sum(count.copies for count in counts), shelves=counts
    )


# A plain function runs in the tool pool, so it uses the ORM as a view does.
@server.tool(annotations={"destructiveHint": False, "idempotentHint": True})
def import_books(csv_url: Annotated[str, Field(max_length=1_000_000)], ctx: Context) -> ImportReport:
    """Put the books of a CSV file on the shelves; a book that the shop has gets the new price and place.

    Args:
        csv_url: `sample:new_arrivals.csv`, `sample:with_mistakes.csv`, or a `data:text/csv,…` URL with the columns
            title, edition, author, price, shelf and copies. Nothing is fetched from the network.
    """
    try:
        rows = importing.read(csv_url)
    except importing.ImportFileError as error:
        raise ToolError(str(error)) from None
    report = ImportReport(added=0, updated=0, rejected=[])
    for done, row in enumerate(rows, start=1):
        _import_row(row, done + 1, report)
        ctx.report_progress(done, len(rows), str(row["title"]))
    return report


@server.tool(annotations={"readOnlyHint": True})
async def write_blurb(isbn: Annotated[str, Field(pattern=r"^[0-9]{13}$")], ctx: Context) -> str:
    """Have the client's own model write a few lines for the back of a book.

    Args:
        isbn: Thirteen digits.
    """
    try:
        book = await resources.book(isbn)
    except ResourceNotFound as error:
        raise ToolError(str(error)) from None
    answer = await ctx.sample(
        f"Write three sentences that make people want to read {book.title} by {book.author}.", max_tokens=200
    )
    return answer.content.text if isinstance(answer.content, TextContent) else "the model wrote no text"


# Only whoever has a token of the staff sees this one. All that it writes, or nothing of it.
@server.tool(annotations={"idempotentHint": True}, permission_classes=[IsAdminUser], atomic=True)
def set_price(
    isbn: Annotated[str, Field(pattern=r"^[0-9]{13}$")],
    price: Annotated[Decimal, Field(ge=0, max_digits=8, decimal_places=2)],
) -> BookOut:
    """Change the price of a book.

    Args:
        isbn: Thirteen digits.
        price: In US dollars.
    """
    book = Book.objects.select_for_update().filter(isbn=isbn).first()
    if book is None:
        raise ToolError(f"the shop has no book {isbn}")
    book.price = price
    book.save()
    return resources.describe(Book.objects.select_related("author", "stock").get(pk=book.pk))


# Resources, prompts and completions by plain calls; the decorators do the same.
server.add_resource(resources.HOURS, resources.opening_hours, mime_type="text/plain")
server.add_resource(resources.SHELVES, resources.shelves, mime_type="application/json")
server.add_resource(resources.BOOK, resources.book, name="book", title="Book by ISBN", mime_type="application/json")
server.add_completion(resources.isbns, resource=resources.BOOK, argument="isbn")
server.add_prompt(prompts.recommend_book)
server.add_prompt(prompts.answer_complaint)
server.add_completion(prompts.authors, prompt="recommend_book", argument="author")


async def _month(first: datetime.date) -> tuple[MonthOut, Counter[str]]:
    """Return a month's figures, and how many copies of each title were sold."""
    lines = OrderLine.objects.filter(order__placed_at__year=first.year, order__placed_at__month=first.month)
    orders: set[int] = set()
    sold: Counter[str] = Counter()
    revenue = Decimal(0)
    async for line in lines.select_related("book"):
        orders.add(line.order_id)
        sold[line.book.title] += line.copies
        revenue += line.amount
    return MonthOut(month=first, orders=len(orders), copies=sold.total(), revenue=revenue), sold


@transaction.atomic
def _write_refund(order: Order, amount: Decimal, reason: str) -> None:
    Refund.objects.create(order=order, amount=amount, reason=reason)
    for line in order.lines.select_related("book"):
        # An update sends no signal, so whoever subscribed is told here; on commit, like the rest.
        Stock.objects.filter(book=line.book_id).update(copies=F("copies") + line.copies)
        if line.book.isbn:
            server.notify_resource_updated(resources.book_uri(line.book.isbn))


async def _count(shelf: str) -> ShelfCount:
    count = await Stock.objects.filter(shelf=shelf).aaggregate(titles=Count("pk"), copies=Sum("copies", default=0))
    return ShelfCount(shelf=shelf, **count)


def _import_row(row: dict[str, str], line: int, report: ImportReport) -> None:
    try:
        added = importing.save(importing.Row.model_validate(row))
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        report.rejected.append(RejectedRow(line=line, problem=f"{problem['loc'][0]}: {problem['msg']}"))
    else:
        report.added += added
        report.updated += not added
