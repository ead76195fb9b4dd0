"""Pages of a list that may have millions of rows: nobody counts them, and nobody leafs to the last."""

from __future__ import annotations

from typing import Any, Final, cast

from django.contrib.admin.views.main import ChangeList
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.functional import cached_property

from streamable_http.admin import dates

MAX_ROWS: Final = 10_000
"""Rows that can be leafed through; the others are found by a search, a filter or their date."""


class BoundedPaginator(Paginator):  # type: ignore[type-arg]  # not generic at run time
    """Counts to :data:`MAX_ROWS` and no further."""

    @cached_property
    def count(self) -> int:
        """How many rows can be leafed through."""
        # The order decides which index is read, so that a filtered list does not sort everything first.
        rows = cast("QuerySet[Any]", self.object_list)
        return min(rows[: MAX_ROWS + 1].count(), MAX_ROWS)


class BoundedChangeList(ChangeList):
    """Knows whether there may be more than it lists."""

    period: tuple[Any, Any] | None = None

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        """Return the rows that were chosen; of a date, by their ids."""
        rows = super().get_queryset(request, exclude_parameters)
        return dates.within(rows, *self.period) if self.period else rows

    def get_ordering_field(self, field_name: Any) -> Any:
        """Return what a column is sorted by; nothing where it is not to be, whatever the URL says."""
        sortable = self.sortable_by is None or field_name in self.sortable_by
        return super().get_ordering_field(field_name) if sortable else None

    def get_filters(self, request: HttpRequest) -> Any:
        """Note which date was chosen."""
        found: Any = super().get_filters(request)
        first, last = (found[2].get(f"{self.date_hierarchy}__{end}") for end in ("gte", "lt"))
        self.period = (first[-1], last[-1]) if isinstance(first, list) and isinstance(last, list) else None
        return found

    @property
    def dates(self) -> dict[str, Any]:
        """What ``admin/date_hierarchy.html`` shows."""
        field = str(self.date_hierarchy)
        span = dates.span(self.root_queryset, field)
        if span is None:
            return {"show": False}
        return dates.choices(span, field, self.params, lambda units: self.get_query_string(units, [f"{field}__"]))

    def get_results(self, request: HttpRequest) -> None:
        """Find the rows of the page, then whatever goes with them, for all of them at once."""
        super().get_results(request)
        self.max_rows = MAX_ROWS
        self.is_cut = self.result_count >= MAX_ROWS
        add = getattr(self.model_admin, "add_figures", None)
        if add is not None:
            rows: list[Any] = list(self.result_list)
            add(rows)
            self.result_list = rows
