from importlib import import_module

from django.apps import AppConfig


class BookshopConfig(AppConfig):
    name = "demo_project.bookshop"
    verbose_name = "Bookshop"

    def ready(self) -> None:
        import_module("demo_project.bookshop.receivers")
