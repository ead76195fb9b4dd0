"""The ASGI application: the endpoint beside Django, or behind it where ``BENCH_SHELL`` is ``view``."""

import os

from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application
from django.urls import re_path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "benchmarks.servers.ours.settings")
django_application = get_asgi_application()

from streamable_http import routing  # noqa: E402  # needs the applications that the line before loads

mounted = routing.http_urlpatterns if os.environ.get("BENCH_SHELL") != "view" else []
application = ProtocolTypeRouter({"http": URLRouter([*mounted, re_path("", django_application)])})
