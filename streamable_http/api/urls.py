"""The routes, for the project's ``urlpatterns``.

::

    urlpatterns = [path("api/mcp/", include("streamable_http.api.urls")), ...]
"""

from __future__ import annotations

from importlib.util import find_spec

from django.core.exceptions import ImproperlyConfigured
from django.urls import include, path, re_path
from rest_framework.routers import SimpleRouter

if find_spec("drf_spectacular") is None:
    raise ImproperlyConfigured(
        "streamable_http.api needs drf-spectacular; install it with: pip install 'django-streamable-http[api]'"
    )

from streamable_http.api import views

app_name = "streamable_http_api"

router = SimpleRouter()
router.register("sessions", views.SessionViewSet, basename="session")
router.register("streams", views.StreamViewSet, basename="stream")
router.register("workers", views.WorkerViewSet, basename="worker")
router.register("statistics", views.StatisticsViewSet, basename="statistics")
router.register("schema", views.SchemaViewSet, basename="schema")

urlpatterns = [
    path("", include(router.urls)),
    # Also what a proxy or a client has mangled is answered by JSON.
    re_path(r"^", views.UnknownViewSet.as_view(dict.fromkeys(("get", "post", "put", "patch", "delete"), "list"))),
]
