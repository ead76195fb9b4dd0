"""The mounts: ``/mcp`` and ``/conformance/mcp`` go to an MCP server each, everything else to Django.

The WebSocket is the live tail of the admin.
"""

import os

from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.core.asgi import get_asgi_application
from django.urls import path, re_path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "demo_project.settings")

# Loads the apps, which the import below needs. Static files are served here, since a demo has no web server for them.
django_application = ASGIStaticFilesHandler(get_asgi_application())

from streamable_http.consumers import MCPConsumer, lifespan  # noqa: E402
from streamable_http.routing import websocket_urlpatterns  # noqa: E402

application = ProtocolTypeRouter(
    {
        "http": URLRouter(
            [
                path("mcp", MCPConsumer.as_asgi(server="bookshop")),  # type: ignore[arg-type]  # Channels routes ASGI apps
                path("conformance/mcp", MCPConsumer.as_asgi(server="conformance")),  # type: ignore[arg-type]
                re_path("", django_application),  # type: ignore[arg-type]
            ]
        ),
        "websocket": AllowedHostsOriginValidator(AuthMiddlewareStack(URLRouter(websocket_urlpatterns))),
        "lifespan": lifespan,
    }
)
