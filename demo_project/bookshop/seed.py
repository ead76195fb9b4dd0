"""The first rows of the shop: the same ones everywhere, a few thousand."""

import datetime
import random
from decimal import Decimal

from django.db import transaction

from demo_project.bookshop import isbn
from demo_project.bookshop.catalog import EDITIONS, SHELVES, WORKS
from demo_project.bookshop.models import Author, Book, Order, OrderLine, Refund, Stock

ORDERS = 1_200
FIRST_ORDER_NUMBER = 1_001
OPENING_DAY = datetime.datetime(2025, 1, 2, 9, 0, tzinfo=datetime.UTC)
MINUTES_OPEN = 360 * 24 * 60


@transaction.atomic
def seed() -> None:
    """Fill the empty tables."""
    dice = random.Random("bookshop")
    books = _make_books(dice)
    _fill_shelves(dice, books)
    _take_orders(dice, books)


@transaction.atomic
def clear() -> None:
    """Empty the shop's tables."""
    for model in (Refund, Order, Stock, Book, Author):
        model.objects.all().delete()


def _make_books(dice: random.Random) -> list[Book]:
    authors = Author.objects.bulk_create(Author(name=name) for name in WORKS)
    editions = [
        (title, edition, author, price)
        for author in authors
        for title in WORKS[author.name]
        for edition, price in EDITIONS.items()
    ]
    return Book.objects.bulk_create(
        Book(
            isbn=isbn.make_up(serial),
            title=title,
            edition=edition,
            author=author,
            price=price + Decimal(dice.randrange(20)) / 4,
        )
        for serial, (title, edition, author, price) in enumerate(editions)
    )


def _fill_shelves(dice: random.Random, books: list[Book]) -> None:
    per_shelf = len(books) // len(SHELVES) + 1
    Stock.objects.bulk_create(
        Stock(book=book, shelf=SHELVES[position // per_shelf], copies=dice.randrange(25))
        for position, book in enumerate(books)
    )


def _take_orders(dice: random.Random, books: list[Book]) -> None:
    minutes = sorted(dice.randrange(MINUTES_OPEN) for _ in range(ORDERS))
    orders = Order.objects.bulk_create(
        Order(
            number=FIRST_ORDER_NUMBER + position,
            customer_number=dice.randrange(1, 400),
            placed_at=OPENING_DAY + datetime.timedelta(minutes=minute),
        )
        for position, minute in enumerate(minutes)
    )
    OrderLine.objects.bulk_create(
        OrderLine(order=order, book=book, copies=dice.choice((1, 1, 1, 2, 3)), unit_price=book.price)
        for order in orders
        for book in dice.sample(books, dice.randrange(1, 5))
    )
