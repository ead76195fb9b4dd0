"""What Django serves; ``/mcp`` stands beside it, in ``asgi.py``.

One server is served in both ways, so that the conformance suite runs through both.
"""

from django.contrib import admin
from django.urls import include, path

from demo_project.bookshop import views
from streamable_http.health import HealthView
from streamable_http.views import MCPView

urlpatterns = [
    path("", views.landing, name="landing"),
    path("admin/", admin.site.urls),
    path("livez", HealthView.as_view(probe="live")),
    path("readyz", HealthView.as_view()),
    path("api/mcp/", include("streamable_http.api.urls")),
    path("view/conformance/mcp", MCPView.as_view(server="conformance")),
]
