"""The Django application."""

from __future__ import annotations

from importlib import import_module

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _

from streamable_http.server.notifications import set_publisher


class StreamableHTTPConfig(AppConfig):
    """``streamable_http``: add it to ``INSTALLED_APPS``."""

    name = "streamable_http"
    label = "streamable_http"
    verbose_name = _("Streamable HTTP")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register the checks, and have news reach the sessions, whatever process of the project has some."""
        # Both need the models, which are there only now.
        import_module("streamable_http.checks")
        publishing = import_module("streamable_http.endpoint.notifications")
        set_publisher(publishing.Publisher())
