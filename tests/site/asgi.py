"""The test project's ASGI application. Every response says which process made it."""

import os

from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application
from django.urls import re_path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.site.settings")
django_application = get_asgi_application()

from streamable_http import routing  # noqa: E402  # after django.setup()

_router = ProtocolTypeRouter(
    {
        "http": URLRouter([*routing.http_urlpatterns, re_path("", django_application)]),
        "lifespan": routing.lifespan,
    }
)


async def application(scope, receive, send):
    async def send_with_pid(message):
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], (b"x-pid", str(os.getpid()).encode())]
        await send(message)

    await _router(scope, receive, send_with_pid)
