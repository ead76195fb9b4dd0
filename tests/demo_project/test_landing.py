"""The landing page."""

import pytest
from django.test import Client

from demo_project.bookshop.mcp import server

pytestmark = pytest.mark.usefixtures("shop")


def test_it_says_where_everything_is(client: Client) -> None:
    page = client.get("/", headers={"host": "localhost:8123"}).content.decode()
    assert "<code>http://localhost:8123/mcp</code>" in page
    assert 'href="/admin/"' in page
    assert "claude mcp add --transport http bookshop" in page
    assert "<b>1090</b> books on <b>24</b> shelves, and <b>1200</b> orders" in page


def test_it_lists_everything_with_what_it_does(client: Client) -> None:
    page = client.get("/").content.decode()
    names = [*server.tools, *server.resources, *server.templates, *server.prompts]
    assert len(names) == 12
    assert all(f"<code>{name}</code>" in page for name in names)
    assert "Find books by title or author." in page


def test_it_loads_nothing_from_elsewhere(client: Client) -> None:
    page = client.get("/").content.decode()
    assert "src=" not in page
    assert "url(" not in page
    assert 'rel="stylesheet"' not in page


def test_it_only_answers_safe_methods(client: Client) -> None:
    assert client.head("/").status_code == 200
    assert client.post("/").status_code == 405


def test_the_admin_shows_the_shop(admin_client: Client) -> None:
    for page in ("author", "book", "order", "refund"):
        assert admin_client.get(f"/admin/bookshop/{page}/").status_code == 200
    assert admin_client.get("/admin/bookshop/book/?q=homer").status_code == 200
