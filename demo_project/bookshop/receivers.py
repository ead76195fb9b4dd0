"""Whoever subscribed to a book is told when its stock or price changes, wherever that is done."""

from typing import Any

from django.db.models.signals import post_delete, post_save
from django.dispatch import receiver

from demo_project.bookshop.mcp import server
from demo_project.bookshop.models import Book, Stock
from demo_project.bookshop.resources import SHELVES, book_uri


@receiver([post_save, post_delete], sender=Stock)
def tell_of_stock(*, instance: Stock, raw: bool = False, **_: Any) -> None:
    """Tell of a book whose stock was changed, and of the shelves."""
    if not raw:
        tell_of_book(instance.book)
        server.notify_resource_updated(SHELVES)


@receiver(post_save, sender=Book)
def tell_of_book_saved(*, instance: Book, created: bool, raw: bool = False, **_: Any) -> None:
    """Tell of a book that was changed; nobody waits for a new one."""
    if not raw and not created:
        tell_of_book(instance)


def tell_of_book(book: Book) -> None:
    """Tell whoever subscribed to a book to read it again."""
    if book.isbn:
        server.notify_resource_updated(book_uri(book.isbn))
