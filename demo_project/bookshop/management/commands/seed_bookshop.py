from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from demo_project.bookshop import seed
from demo_project.bookshop.models import Book


class Command(BaseCommand):
    help = "Fill the bookshop with its first rows; the same ones everywhere."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--reset", action="store_true", help="empty the shop before")

    def handle(self, *args: Any, reset: bool, **options: Any) -> None:
        if reset:
            seed.clear()
        elif Book.objects.exists():
            self.stdout.write("The bookshop has its rows already.")
            return
        seed.seed()
        self.stdout.write(f"The bookshop has {Book.objects.count():,} books now.")
