"""Routes for Django's ``urlpatterns``, where the endpoint is to stand behind Django's middleware.

::

    urlpatterns = [path("", include("streamable_http.urls")), ...]
"""

from __future__ import annotations

from django.urls import path

from streamable_http.health import HealthView
from streamable_http.views import MCPView

app_name = "streamable_http"

urlpatterns = [
    path("mcp", MCPView.as_view(), name="mcp"),
    path("livez", HealthView.as_view(probe="live"), name="livez"),
    path("readyz", HealthView.as_view(), name="readyz"),
]
"""Serves the project's only server at ``mcp``; with several, write ``MCPView.as_view(server="…")`` yourself."""
