"""What people may ask an agent for with a few words: a recommendation, an answer to a complaint."""

from typing import Annotated

from pydantic import Field

from demo_project.bookshop.models import Author, Book, Order
from demo_project.bookshop.resources import SUGGESTIONS, book_uri, describe
from streamable_http.server import EmbeddedResource, TextResourceContents, UserMessage

SHOWN = 3


async def recommend_book(
    author: Annotated[str, Field(description="Somebody the customer likes to read")], mood: str = "any"
) -> list[UserMessage]:
    """Recommend a book to a customer who likes an author.

    Args:
        mood: What the customer feels like: something light, a long winter, a journey.
    """
    books = Book.objects.filter(author__name=author, stock__copies__gt=0).select_related("author", "stock")
    return [
        UserMessage(f"A customer likes {author}; their mood: {mood}. Recommend one book of our shop, and say why."),
        *[UserMessage(_attached(book)) async for book in books[:SHOWN]],
    ]


async def answer_complaint(order_number: Annotated[int, Field(ge=1)], tone: str = "friendly") -> str:
    """Draft an answer to a customer who complains about an order.

    Args:
        order_number: Such as 1001.
        tone: How it should sound.
    """
    order = await Order.objects.filter(number=order_number).afirst()
    if order is None:
        return (
            f"Write to a customer, in a {tone} tone, that we have no order {order_number}; ask for the right number."
        )
    lines = [f"{line.copies} × {line.book}" async for line in order.lines.select_related("book")]
    return (
        f"Write an answer, in a {tone} tone, to the customer of order {order_number} of {order.placed_at:%B %-d, %Y}: "
        f"{'; '.join(lines)}. Offer a refund, which refund_order makes once the customer agrees."
    )


async def authors(value: str) -> list[str]:
    """Return the shop's authors whose name has these letters."""
    names = Author.objects.filter(name__icontains=value).values_list("name", flat=True)
    return [name async for name in names[:SUGGESTIONS]]


def _attached(book: Book) -> EmbeddedResource:
    text = describe(book).model_dump_json()
    uri = book_uri(book.isbn or "")
    return EmbeddedResource(resource=TextResourceContents(uri=uri, mime_type="application/json", text=text))
