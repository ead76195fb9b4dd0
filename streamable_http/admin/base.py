"""What all of our pages in the admin have in common: they show what happened, to whom may see it."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse

from streamable_http import conf
from streamable_http.admin import paging
from streamable_http.operations import permissions


class ReadOnlyAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # not generic at run time
    """Shows rows and changes none: the log is what happened."""

    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    list_per_page = 50
    paginator = paging.BoundedPaginator

    class Media:
        css = {"all": ["streamable_http/admin.css"]}

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Return the rows of the log's database, with or without a router."""
        return super().get_queryset(request).using(conf.settings.DATABASE)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """Return the list that does not count millions."""
        return paging.BoundedChangeList

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest) -> bool:
        """Allow what the page's own filters ask: a lookup on any column would answer what is masked, by trying."""
        filters = {
            f"{chosen}__exact" if isinstance(chosen, str) else getattr(chosen, "parameter_name", None)
            for chosen in self.get_list_filter(request)
        }
        dates = {f"{self.date_hierarchy}__{unit}" for unit in ("year", "month", "day")}
        return lookup in filters | dates

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Nobody adds to the log by hand."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody changes it."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody takes anything away by hand, except with what has ended as a whole; retention does the rest."""
        return False

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Tell whether somebody may see that there were sessions; one permission for all of it."""
        return may(request)

    def require(self, request: HttpRequest, pk: int, *needed: str) -> Any:
        """Return a row to whoever may see it, and has the permissions besides.

        Raises:
            PermissionDenied: one is missing.
            Http404: there is no such row.
        """
        if not self.has_view_permission(request) or not may(request, *needed):
            raise PermissionDenied
        row = self.get_object(request, str(pk))
        if row is None:
            raise Http404
        return row

    def url(self, name: str, pk: int | None = None) -> str:
        """Return where one of the model's pages is, on the site that this belongs to."""
        full = f"admin:{self.opts.app_label}_{self.opts.model_name}_{name}"
        return reverse(full, args=[] if pk is None else [pk], current_app=self.admin_site.name)

    def render(self, request: HttpRequest, template: str, context: dict[str, Any]) -> TemplateResponse:
        """Answer a page of the site that this belongs to."""
        common = {**self.admin_site.each_context(request), "opts": self.opts, "media": self.media}
        return TemplateResponse(request, template, {**common, **context})


class PageAdmin(ReadOnlyAdmin):
    """Shows a row on a page of our own; each class that is mixed in adds to its :meth:`page_context`."""

    page_template: str

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Show the row."""
        row = self.get_object(request, object_id)
        if row is None:
            # Says so, and leads away.
            return super().change_view(request, object_id, form_url, extra_context)
        if not self.has_view_permission(request, row):
            raise PermissionDenied
        context = {**self.page_context(request, row), **(extra_context or {})}
        return self.render(request, self.page_template, context)

    def page_context(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        """Return what the template is given."""
        # For whoever sees the row, as Django has it.
        return {"history_url": self.url("history", row.pk)}


def may(request: HttpRequest, *needed: str) -> bool:
    """Tell whether whoever asks may see sessions, and has these of :mod:`~streamable_http.operations.permissions`.

    Nobody may do anything to what he cannot see.
    """
    return request.user.has_perms((permissions.VIEW_SESSIONS, *needed))
