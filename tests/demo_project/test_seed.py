"""The first rows of the shop."""

import io
from decimal import Decimal

import pytest
from django.core.management import call_command

from demo_project.bookshop.models import Author, Book, Order, OrderLine, Stock

pytestmark = pytest.mark.django_db


def seed_bookshop(**options: bool) -> str:
    output = io.StringIO()
    call_command("seed_bookshop", stdout=output, **options)
    return output.getvalue()


def rows() -> list[tuple[object, ...]]:
    lines = OrderLine.objects.order_by("order__number", "book__title", "book__edition", "copies")
    return list(
        lines.values_list(
            "order__number", "order__placed_at", "book__title", "book__edition", "book__stock__shelf", "unit_price"
        )
    )


def test_seeding_makes_a_few_thousand_rows() -> None:
    seed_bookshop()
    counts = {model: model.objects.count() for model in (Author, Book, Stock, Order, OrderLine)}
    assert counts[Author] >= 50
    assert counts[Book] == counts[Stock] >= 1_000
    assert counts[Order] == 1_200
    assert 2_000 <= counts[OrderLine] <= 4_800


def test_seeding_again_changes_nothing() -> None:
    seed_bookshop()
    book = Book.objects.earliest("pk")
    Book.objects.filter(pk=book.pk).update(price=Decimal("1.00"))
    assert "already" in seed_bookshop()
    book.refresh_from_db()
    assert book.price == Decimal("1.00")


def test_a_reset_brings_the_same_rows() -> None:
    seed_bookshop()
    before = rows()
    Book.objects.update(price=Decimal("1.00"))
    seed_bookshop(reset=True)
    assert rows() == before


def test_every_order_has_lines_and_lies_in_the_year_of_the_report() -> None:
    seed_bookshop()
    assert not Order.objects.filter(lines=None).exists()
    assert not Order.objects.exclude(placed_at__year=2025).exists()
