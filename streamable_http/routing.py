"""Routes for Channels' ``URLRouter``, in Channels' own file name.

::

    application = ProtocolTypeRouter(
        {
            "http": URLRouter([*streamable_http.routing.http_urlpatterns, re_path("", get_asgi_application())]),
            "websocket": AllowedHostsOriginValidator(
                AuthMiddlewareStack(URLRouter(streamable_http.routing.websocket_urlpatterns))
            ),
            "lifespan": streamable_http.routing.lifespan,
        }
    )
"""

from __future__ import annotations

from django.urls import path, re_path

from streamable_http.consumers import MCPConsumer, lifespan
from streamable_http.tail import SessionTail

__all__ = ["http_urlpatterns", "lifespan", "websocket_urlpatterns"]

http_urlpatterns = [path("mcp", MCPConsumer.as_asgi())]  # type: ignore[arg-type]  # Channels routes ASGI apps
"""Serves the project's only server at ``/mcp``; with several, write ``MCPConsumer.as_asgi(server="…")`` yourself."""

websocket_urlpatterns = [
    re_path(r"^ws/streamable_http/sessions/(?P<session>[1-9a-f][0-9a-f]{0,15})/$", SessionTail.as_asgi()),
]
"""The live tail of the admin's pages. Without it they ask again and again."""
