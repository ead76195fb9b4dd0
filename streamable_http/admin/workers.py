"""The workers: whether each is alive, what it does, and what it could not record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from streamable_http import models, operations
from streamable_http.admin import base, text


class AliveFilter(admin.SimpleListFilter):
    """Those with a lease."""

    title = _("heartbeat")
    parameter_name = "alive"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[Any, str]]:
        """Return both."""
        return [("1", str(_("alive"))), ("0", str(_("gone")))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Keep the chosen ones."""
        return queryset.filter(is_alive=self.value() == "1") if self.value() in ("0", "1") else queryset


class WorkerAdmin(base.ReadOnlyAdmin):
    """Server processes and their leases."""

    list_display = ["name", "heartbeat", "started", "lease", "open_streams", "dropped"]
    list_filter = [AliveFilter]
    sortable_by = ["name"]
    fields = ("name", "heartbeat", "started", "lease", "open_streams", "dropped")
    readonly_fields = ("name", "heartbeat", "started", "lease", "open_streams", "dropped")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Tell who is alive."""
        return cast("QuerySet[Any]", super().get_queryset(request).annotate(is_alive=operations.alive()))

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        """Find a worker with its figures."""
        worker = super().get_object(request, object_id, from_field)
        if worker is not None:
            self.add_figures([worker])
        return worker

    def add_figures(self, workers: Sequence[Any]) -> None:
        """Count what the workers of a page run, for all of them at once."""
        counts = operations.open_calls_by_worker(worker.pk for worker in workers)
        for worker in workers:
            worker.open_streams = counts.get(worker.pk, 0)

    @admin.display(description=_("worker"), ordering="id")
    def name(self, worker: models.Worker) -> str:
        """Show where it is, or was."""
        return text.shown(str(worker))

    @admin.display(description=_("heartbeat"))
    def heartbeat(self, worker: Any) -> str:
        """Show whether it is alive."""
        kind, word = ("alive", _("alive")) if worker.is_alive else ("gone", _("gone"))
        return format_html('<span class="mcp-heartbeat mcp-{}">{}</span>', kind, word)

    @admin.display(description=_("started"))
    def started(self, worker: models.Worker) -> str:
        """Show since when."""
        return text.moment(worker.started_at)

    @admin.display(description=_("lease until"))
    def lease(self, worker: models.Worker) -> str:
        """Show when it counts as dead, unless it renews."""
        return text.moment(worker.lease_expires_at)

    @admin.display(description=_("open streams"))
    def open_streams(self, worker: Any) -> str:
        """Show how many calls it runs."""
        return text.number(worker.open_streams)

    @admin.display(description=_("dropped records"))
    def dropped(self, worker: models.Worker) -> str:
        """Show how much it could not record."""
        count = text.number(worker.dropped_records)
        return format_html('<span class="mcp-failed">{}</span>', count) if worker.dropped_records else count
