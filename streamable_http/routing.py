"""Routes for Channels' ``URLRouter``, in Channels' own file name.

::

    application = ProtocolTypeRouter(
        {
            "http": URLRouter([*streamable_http.routing.http_urlpatterns, re_path("", get_asgi_application())]),
            "lifespan": streamable_http.routing.lifespan,
        }
    )
"""

from __future__ import annotations

from django.urls import path

from streamable_http.consumers import MCPConsumer, lifespan

__all__ = ["http_urlpatterns", "lifespan"]

http_urlpatterns = [path("mcp", MCPConsumer.as_asgi())]  # type: ignore[arg-type]  # Channels routes ASGI apps
"""Serves the project's only server at ``/mcp``; with several, write ``MCPConsumer.as_asgi(server="…")`` yourself."""
