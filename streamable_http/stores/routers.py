"""The database router that puts the log where ``STREAMABLE_HTTP["DATABASE"]`` says."""

from __future__ import annotations

from typing import Any

from django.db import DEFAULT_DB_ALIAS, models

from streamable_http import conf

APP_LABEL = "streamable_http"


class LogRouter:
    """Add ``"streamable_http.stores.routers.LogRouter"`` to ``DATABASE_ROUTERS``."""

    def db_for_read(self, model: type[models.Model], **hints: Any) -> str | None:
        """Read the log's rows from its database."""
        return conf.settings.DATABASE if model._meta.app_label == APP_LABEL else None  # noqa: SLF001  # public by its documentation

    db_for_write = db_for_read

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool | None:
        """Make the log's tables in its database only, and nobody else's there unless it is the default one."""
        if app_label == APP_LABEL:
            return db == conf.settings.DATABASE
        return False if db == conf.settings.DATABASE != DEFAULT_DB_ALIAS else None
