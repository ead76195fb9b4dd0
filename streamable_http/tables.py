"""The tables of the log, in whichever database they are."""

from __future__ import annotations

from typing import TypeVar

from django.db.models import Model, QuerySet

from streamable_http import conf

M = TypeVar("M", bound=Model)


def rows_of(model: type[M]) -> QuerySet[M]:
    """Return all rows of one of the log's tables; a project need not have its router to read them."""
    return model._default_manager.using(conf.settings.DATABASE)  # noqa: SLF001  # Django's public name for it
