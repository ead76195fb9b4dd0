"""The list of sessions: who is connected, since when, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import URLPattern, path
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from streamable_http import conf, models, operations
from streamable_http.admin import confirmations, dashboard, text, timeline
from streamable_http.protocol import revisions
from streamable_http.tables import rows_of

MAX_SERVERS_OF: Final = 2_000
"""Newest sessions whose servers the filter offers."""


class ServerFilter(admin.SimpleListFilter):
    """Servers that had sessions lately; no index would find all names ever."""

    title = _("server")
    parameter_name = "server"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[Any, str]]:
        """Return their names."""
        newest = rows_of(models.Session).order_by("-id")
        names = set(newest.values_list("server", flat=True)[:MAX_SERVERS_OF])
        return [(name, text.visible(name)) for name in sorted(names)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Keep the chosen server's."""
        return queryset.filter(server=self.value()) if self.value() else queryset


class RevisionFilter(admin.SimpleListFilter):
    """Revisions that have sessions."""

    title = _("revision")
    parameter_name = "revision"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[Any, str]]:
        """Return those that we serve, the newest first."""
        return [(revision, revision) for revision in reversed(revisions.HANDSHAKE)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Keep the chosen revision's."""
        return queryset.filter(revision=self.value()) if self.value() else queryset


class SessionAdmin(confirmations.SessionDeeds, timeline.SessionTimeline):
    """Sessions, without the digest of their secret."""

    list_display = [
        "short_id",
        "state",
        "who",
        "client",
        "revision",
        "started",
        "last_seen",
        "calls",
        "events",
        "stored",
        "errors",
        "worker",
    ]
    # What an index can sort. The id is the time of the beginning.
    sortable_by = ["short_id", "started"]
    list_filter = ["state", ServerFilter, RevisionFilter]
    date_hierarchy = "created_at"
    # That there is a search; what it finds is in get_search_results.
    search_fields = ["principal"]
    search_help_text = _("A short id, or part of a principal or of a client’s name")

    def get_urls(self) -> list[URLPattern]:
        """Add the dashboard."""
        view = self.admin_site.admin_view(dashboard.view(self))
        return [path("dashboard/", view, name="streamable_http_session_dashboard"), *super().get_urls()]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Leave out what no page shows."""
        return super().get_queryset(request).defer("digest")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Search as the API and the commands do."""
        term = search_term.strip()
        if not term:
            return queryset, False
        found = operations.find_sessions(text=term).using(conf.settings.DATABASE)
        return queryset.filter(pk__in=found.order_by().values("pk")), False

    def add_figures(self, sessions: Sequence[Any]) -> None:
        """Find out what the sessions of a page came to, for all of them at once."""
        summaries = operations.summarize(session.pk for session in sessions)
        for session in sessions:
            session.summary = summaries.get(session.pk, NOTHING)

    @admin.display(description=_("session"), ordering="id")
    def short_id(self, session: models.Session) -> str:
        """Show the public id."""
        return format_html('<code class="mcp-id">{}</code>', str(session))

    @admin.display(description=_("principal"), empty_value="–")
    def who(self, session: models.Session) -> str | None:
        """Show whose session it is."""
        return text.shown(session.principal) if session.principal else None

    @admin.display(description=_("client"), empty_value="–")
    def client(self, session: models.Session) -> str | None:
        """Show what the client calls itself."""
        name = str(operations.client_of(session.client_info))
        return text.shown(name, limit=60) if name else None

    @admin.display(description=_("started"), ordering="id")
    def started(self, session: models.Session) -> str:
        """Show since when."""
        return text.moment(session.created_at)

    @admin.display(description=_("last seen"))
    def last_seen(self, session: models.Session) -> str:
        """Show when its client was last heard of."""
        return text.moment(session.last_seen_at)

    @admin.display(description=_("calls"))
    def calls(self, session: Any) -> str:
        """Show how many calls, and how many of them run."""
        summary: operations.Summary = session.summary
        if not summary.open_calls:
            return text.number(summary.calls)
        return format_html(
            '{} <span class="mcp-running">({})</span>',
            text.number(summary.calls),
            _("%(count)d running") % {"count": summary.open_calls},
        )

    @admin.display(description=_("events"))
    def events(self, session: Any) -> str:
        """Show how many events."""
        return text.number(session.summary.events)

    @admin.display(description=_("size"))
    def stored(self, session: Any) -> str:
        """Show how large its events are."""
        return text.size(session.summary.stored_bytes)

    @admin.display(description=_("errors"))
    def errors(self, session: Any) -> str:
        """Show how many calls failed."""
        count = text.number(session.summary.errors)
        return format_html('<span class="mcp-failed">{}</span>', count) if session.summary.errors else count

    @admin.display(description=_("worker"), empty_value="–")
    def worker(self, session: Any) -> str | None:
        """Show who served its newest call."""
        return text.shown(session.summary.worker) if session.summary.worker else None


NOTHING: Final = operations.Summary()
"""Of a session that has gone since it was listed."""
