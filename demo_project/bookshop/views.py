"""The one page of the demo: what is where, and how to connect."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from demo_project.bookshop.mcp import server
from demo_project.bookshop.models import Book, Order, Stock


@require_safe
def landing(request: HttpRequest) -> HttpResponse:
    return render(
        request,
        "landing.html",
        {
            "mcp_url": request.build_absolute_uri("/mcp"),
            "server": server,
            "tools": server.tools.values(),
            "readable": {**server.resources, **server.templates}.items(),
            "prompts": server.prompts.values(),
            "books": Book.objects.count(),
            "orders": Order.objects.count(),
            "shelves": Stock.objects.values("shelf").distinct().count(),
        },
    )
