"""What agents may read: the shop's hours, its shelves, and each book by its ISBN."""

from django.db.models import Count, Sum

from demo_project.bookshop.models import Book, Stock
from demo_project.bookshop.schemas import BookOut, ShelfCount
from streamable_http.server import ResourceNotFound

BOOK = "books://{isbn}"
SHELVES = "shop://shelves"
HOURS = "shop://opening-hours"

SUGGESTIONS = 20


def book_uri(isbn: str) -> str:
    """Return the URI of a book."""
    return BOOK.format(isbn=isbn)


def opening_hours() -> str:
    """When the shop is open."""
    return "Monday to Friday 9:00 to 18:00, Saturday 10:00 to 14:00, closed on Sunday."


async def shelves() -> list[ShelfCount]:
    """How many titles and copies stand on each shelf."""
    counted = Stock.objects.order_by("shelf").values("shelf").annotate(titles=Count("pk"), copies=Sum("copies"))
    return [ShelfCount(**row) async for row in counted]


async def book(isbn: str) -> BookOut:
    """One book: its edition, price, shelf and how many copies there are.

    Args:
        isbn: Thirteen digits, without separators.
    """
    found = await Book.objects.filter(isbn=isbn, stock__isnull=False).select_related("author", "stock").afirst()
    if found is None:
        raise ResourceNotFound(f"the shop has no book {isbn[:32]}")
    return describe(found)


async def isbns(value: str) -> list[str]:
    """Return the numbers that begin like this."""
    numbers = Book.objects.filter(isbn__startswith=value).order_by("isbn").values_list("isbn", flat=True)
    return [str(number) async for number in numbers[:SUGGESTIONS]]


def describe(book: Book) -> BookOut:
    """Return a book, with its author and stock loaded, as agents see it."""
    return BookOut(
        isbn=book.isbn,
        title=book.title,
        edition=book.edition,
        author=book.author.name,
        price=book.price,
        copies=book.stock.copies,
        shelf=book.stock.shelf,
    )
