"""Streams: which there were, and each as a page that replays it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from django.contrib import admin
from django.contrib.admin.views.main import SEARCH_VAR
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBadRequest
from django.http.response import HttpResponseBase
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from streamable_http import models, operations, replay, streaming
from streamable_http.admin import base, entries, markup, text, timeline
from streamable_http.operations import permissions
from streamable_http.protocol import cursors, http
from streamable_http.tables import rows_of

PAGE: Final = 200
"""Events on a page."""

MAX_PREVIEWED: Final = 500

METHODS: Final = (
    "tools/call",
    "resources/read",
    "prompts/get",
    "completion/complete",
    "tools/list",
    "resources/list",
    "resources/templates/list",
    "prompts/list",
    "initialize",
    "ping",
)
"""To filter by. What else there is, only a look at every row would tell."""

SEARCHED: Final = 100_000
"""So many of the newest streams are looked through by a filter: no index finds what is rare among millions."""

_FILTERS: Final = ("state__exact", "outcome__exact", "method", "session")

_TEXT: Final = "text/plain; charset=utf-8"

_AS_IT_IS: Final = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}


class MethodFilter(admin.SimpleListFilter):
    """By the methods that the protocol has."""

    title = _("method")
    parameter_name = "method"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Sequence[tuple[str, Any]]:
        """Return what can be chosen."""
        return [*((method, method) for method in METHODS), ("listening", _("listening stream"))]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        """Keep the streams of the chosen method."""
        if self.value() == "listening":
            return queryset.filter(method="", request_id="")
        return queryset.filter(method=self.value()) if self.value() in METHODS else queryset


class SessionFilter(admin.SimpleListFilter):
    """Those of sessions, and exchanges that had none."""

    title = _("session")
    parameter_name = "session"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Sequence[tuple[str, Any]]:
        """Return both."""
        return [("yes", _("with a session")), ("no", _("without a session"))]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        """Keep the chosen ones."""
        return queryset.filter(session__isnull=self.value() == "no") if self.value() in ("yes", "no") else queryset


class StreamAdmin(base.PageAdmin):
    """Streams of calls and of listening connections."""

    list_display = [
        "short_id",
        "shown_method",
        "shown_name",
        "state",
        "outcome",
        "duration",
        "events",
        "size",
        "created",
        "session_link",
    ]
    list_display_links = ["short_id"]
    list_filter = ["state", "outcome", SessionFilter, MethodFilter]
    # That there is a search; what it finds is in get_search_results.
    search_fields = ["name"]
    search_help_text = _("A short id, or the whole name of a tool")
    # By the primary key alone, which is the order of time: whatever is sorted otherwise reads every row.
    ordering = ["-pk"]
    sortable_by = ()
    page_template = "admin/streamable_http/stream.html"

    class Media:
        css = {"all": [timeline.STYLE]}

    # The list

    def get_queryset(self, request: HttpRequest) -> QuerySet[models.Stream]:
        """Leave out what no page shows; and what is old, where there is a filter."""
        streams: QuerySet[models.Stream] = super().get_queryset(request).defer("arguments")
        last = _not_searched(request)
        return streams if last is None else streams.filter(pk__gt=last)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Show the list, and say how far back a filter looks."""
        context = dict(extra_context or {})
        if _not_searched(request) is not None:
            context["subtitle"] = _("Of the newest %(count)s streams") % {"count": f"{SEARCHED:,}"}
        return super().changelist_view(request, context)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Search as the API does."""
        return (queryset.filter(operations.matching_stream(search_term)) if search_term.strip() else queryset), False

    @admin.display(description=_("stream"))
    def short_id(self, stream: models.Stream) -> str:
        """Show the id by which logs and cursors name it."""
        return str(stream)

    @admin.display(description=_("session"))
    def session_link(self, stream: models.Stream) -> str:
        """Link to its session, which is not read for that."""
        if stream.session_id is None:
            return str(_("none"))
        url = reverse(
            "admin:streamable_http_session_change", args=[stream.session_id], current_app=self.admin_site.name
        )
        return format_html('<a href="{}">{}</a>', url, f"{stream.session_id:x}")

    @admin.display(description=_("method"))
    def shown_method(self, stream: models.Stream) -> str:
        """Show the method; a listening stream has none."""
        return text.shown(stream.method) if stream.method else str(_("listening stream"))

    @admin.display(description=_("name"))
    def shown_name(self, stream: models.Stream) -> str:
        """Show which tool was called."""
        return text.shown(stream.name) if stream.name else ""

    @admin.display(description=_("duration"))
    def duration(self, stream: models.Stream) -> str | None:
        """Show how long the call took."""
        return None if stream.duration_ms is None else _("%s ms") % f"{stream.duration_ms:,.1f}"

    @admin.display(description=_("events"))
    def events(self, stream: models.Stream) -> int:
        """Show how many there were."""
        return stream.head

    @admin.display(description=_("size"))
    def size(self, stream: models.Stream) -> str:
        """Show how much its events are."""
        return text.size(stream.stored_bytes)

    @admin.display(description=_("created"))
    def created(self, stream: models.Stream) -> str:
        """Show when it began."""
        return text.moment(stream.created_at)

    # The page

    def get_urls(self) -> list[URLPattern]:
        """Add what belongs to the page."""
        wrap = self.admin_site.admin_view
        return [
            path("<int:pk>/export/", wrap(self.export_view), name="streamable_http_stream_export"),
            path("<int:pk>/copy/", wrap(self.copy_view), name="streamable_http_stream_copy"),
            *super().get_urls(),
        ]

    def page_context(self, request: HttpRequest, row: models.Stream) -> dict[str, Any]:
        """Add its events, and what a client would get."""
        return {
            **super().page_context(request, row),
            "title": _("Stream %s") % row,
            "stream": row,
            "of": entries.StreamSummary(stream=row),
            "resent_as": timeline.resent([row.pk]).get(row.pk, []),
            "may_replay": base.may(request, permissions.REPLAY),
            **_page(request, row),
            **_preview(request, row),
        }

    def export_view(self, request: HttpRequest, pk: int) -> HttpResponseBase:
        """Send a stream as JSON lines, or as it went over the wire."""
        form = request.GET.get("as", "jsonl")
        # There is nothing on the wire but what was said.
        needed = (permissions.REPLAY, permissions.VIEW_PAYLOADS) if form == "sse" else (permissions.REPLAY,)
        stream = self.require(request, pk, *needed)
        if form == "sse":
            return streaming.download(request, replay.as_sse(pk), http.EVENT_STREAM, f"stream-{stream}.sse")
        if form != "jsonl":
            return _refused("as is jsonl or sse")
        lines = replay.as_json_lines(stream_id=pk, with_payloads=base.may(request, permissions.VIEW_PAYLOADS))
        return streaming.download_lines(request, lines, f"stream-{stream}.jsonl")

    def copy_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Show the request that opened the stream as something to paste."""
        self.require(request, pk, permissions.VIEW_PAYLOADS)
        copy = replay.FORMS.get(request.GET.get("as", ""))
        if copy is None:
            return _refused(f"as is {' or '.join(replay.FORMS)}")
        page = replay.stream_timeline(pk, limit=1, with_payloads=True)
        asked = next((entry for entry in page.entries if entries.Row(entry=entry).is_opening), None)
        if asked is None:
            raise Http404(_("The request was not recorded."))
        try:
            copied = copy(asked, _origin(request) + replay.path_of(asked))
        except ValueError as error:
            return _refused(str(error))
        return HttpResponse(copied, content_type=_TEXT, headers=_AS_IT_IS)


def _not_searched(request: HttpRequest) -> int | None:
    """Return the id of the newest stream that a filter does not look at; ``None`` where everything is shown."""
    searched = request.GET.get(SEARCH_VAR, "").strip()
    if operations.is_stream_id(searched) or not (searched or any(request.GET.get(name) for name in _FILTERS)):
        return None
    newest = rows_of(models.Stream).order_by("-pk").values_list("pk", flat=True)
    return next(iter(newest[SEARCHED : SEARCHED + 1]), None)


def _origin(request: HttpRequest) -> str:
    return request.build_absolute_uri("/").removesuffix("/")


def _refused(why: str) -> HttpResponse:
    return HttpResponseBadRequest(text.visible(why), content_type=_TEXT, headers=_AS_IT_IS)


def _page(request: HttpRequest, stream: models.Stream) -> dict[str, Any]:
    with_payloads = base.may(request, permissions.VIEW_PAYLOADS)
    may_replay = base.may(request, permissions.REPLAY)
    is_step = "step" in request.GET and may_replay
    after = min(_sequence(request.GET.get("step" if is_step else "after", "")) or 0, stream.head)
    limit = 1 if is_step else PAGE
    page = replay.stream_timeline(stream.pk, after, limit=limit, with_payloads=with_payloads)
    shown, last_marks = entries.rows(page, is_whole=True)
    sequences = [row.entry.sequence for row in shown if row.entry.sequence is not None]
    name = "step" if is_step else "after"
    return {
        "rows": [markup.page_of_stream(row, resume_at=after if may_replay else None) for row in shown],
        "last_marks": last_marks,
        "with_payloads": with_payloads,
        "is_step": is_step,
        "after": after,
        "last_sequence": max(sequences, default=after),
        "earlier_url": f"?{name}={page.earlier}" if page.earlier else "",
        "later_url": f"?{name}={page.later}" if page.later else "",
    }


def _preview(request: HttpRequest, stream: models.Stream) -> dict[str, Any]:
    """Answer what a client would get that resumes; who may replay may know."""
    after = _sequence(request.GET.get("resume", ""))
    if after is None or not base.may(request, permissions.REPLAY):
        return {}
    preview = replay.preview(stream.pk, after, with_payloads=base.may(request, permissions.VIEW_PAYLOADS))
    return {
        "resume_after": after,
        "preview": preview,
        "preview_rows": [entries.Row(entry=entry) for entry in preview.entries],
        "preview_is_cut": len(preview.entries) >= MAX_PREVIEWED,
    }


def _sequence(written: str) -> int | None:
    """Read a sequence; ``None`` where it is none."""
    if not (written.isascii() and written.isdecimal()) or len(written) > len(str(cursors.MAX)):
        return None
    return min(int(written), cursors.MAX)
