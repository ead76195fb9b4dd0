"""Pages by key: no page is counted, none is found by skipping rows."""

from __future__ import annotations

from typing import Any, Final, Generic, TypeVar

from django.db.models import Model, QuerySet
from rest_framework.request import Request
from rest_framework.utils.urls import replace_query_param

SCANNED_ROWS: Final = 50_000
"""Rows that are looked at for one page, so that a filter that finds little does not read millions."""

Row = TypeVar("Row", bound=Model)


class KeysetPage(Generic[Row]):
    """Rows with ids below a cursor, the newest first.

    ``is_scan``: the filters have no index, so that a page ends at :data:`SCANNED_ROWS`; it may hold less than fits,
    even nothing, and others behind it more.
    """

    def __init__(self, rows: QuerySet[Row], *, before: int | None, limit: int, is_scan: bool = False) -> None:
        rows = rows.order_by("-pk")
        if before is not None:
            rows = rows.filter(pk__lt=before)
        floor = self._floor(rows, before) if is_scan else None
        if floor is not None:
            rows = rows.filter(pk__gte=floor)
        self.rows: list[Row] = list(rows[: limit + 1])
        self.next: int | None = floor
        if len(self.rows) > limit:
            del self.rows[limit:]
            self.next = self.rows[-1].pk

    @staticmethod
    def _floor(rows: QuerySet[Row], before: int | None) -> int | None:
        manager = rows.model._default_manager  # noqa: SLF001  Django documents it
        everything = manager.using(rows.db).order_by("-pk").values_list("pk", flat=True)
        if before is not None:
            everything = everything.filter(pk__lt=before)
        return next(iter(everything[SCANNED_ROWS - 1 : SCANNED_ROWS]), None)


def link(request: Request, **parameters: Any) -> str | None:
    """Return the URL of this request with other parameters; ``None`` where one of them is empty."""
    url = request.build_absolute_uri()
    for name, value in parameters.items():
        if value is None or value == "":
            return None
        url = replace_query_param(url, name, value)
    return url
