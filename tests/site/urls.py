"""The view behind Django; ``/mcp`` is mounted beside it, in ``asgi.py``."""

from django.urls import include, path

urlpatterns = [path("view/", include("streamable_http.urls"))]
