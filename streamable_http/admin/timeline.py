"""The page of a session: its timeline, as a table that needs no script."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlencode

from django import forms
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBadRequest, JsonResponse
from django.http.response import HttpResponseBase
from django.urls import URLPattern, get_script_prefix, path
from django.utils import timezone
from django.utils.translation import get_language
from django.utils.translation import gettext_lazy as _

from streamable_http import models, operations, replay, streaming
from streamable_http.admin import base, entries, markup, text
from streamable_http.operations import permissions
from streamable_http.replay import Direction
from streamable_http.tables import rows_of

MAX_TEXT_CHARACTERS: Final = 200

STYLE: Final = "streamable_http/streamable_http.css"


class FilterForm(forms.Form):
    """What to show of a timeline, as it stands in the URL."""

    direction = forms.ChoiceField(
        label=_("Direction"),
        choices=[("", _("both")), (Direction.IN, _("from the client")), (Direction.OUT, _("to the client"))],
        required=False,
    )
    method = forms.CharField(
        label=_("Method"), max_length=256, required=False, widget=forms.TextInput(attrs={"list": "timeline-methods"})
    )
    stream = forms.RegexField(
        r"\A[0-9a-f]{1,16}\Z",
        label=_("Stream"),
        required=False,
        widget=forms.TextInput(attrs={"list": "timeline-streams", "size": 18}),
        error_messages={"invalid": _("A stream's id has up to 16 digits and letters from a to f.")},
    )
    text = forms.CharField(
        label=_("Text"),
        max_length=MAX_TEXT_CHARACTERS,
        required=False,
        widget=forms.TextInput(attrs={"type": "search"}),
    )
    errors = forms.BooleanField(label=_("Only errors"), required=False)  # type: ignore[assignment]  # no attribute at run time

    def __init__(self, data: Any, *, with_payloads: bool) -> None:
        super().__init__(data, label_suffix="", auto_id="filter-%s")
        if not with_payloads:
            # There is nothing that it could be searched in.
            del self.fields["text"]

    def filters(self) -> replay.Filters:
        """Return what was chosen; what is invalid filters nothing."""
        self.is_valid()
        chosen = self.cleaned_data
        return replay.Filters(
            direction=Direction(chosen["direction"]) if chosen.get("direction") else None,
            method=chosen.get("method", ""),
            stream_id=int(chosen["stream"], 16) if chosen.get("stream") else None,
            errors=chosen.get("errors", False),
            text=chosen.get("text", ""),
        )

    def query(self) -> dict[str, str]:
        """Return what was chosen as it stands in the URL."""
        self.is_valid()
        return {name: "on" if value is True else value for name, value in self.cleaned_data.items() if value}


class SessionTimeline(base.PageAdmin):
    """Shows a session as its timeline, exports it, and tells what is new in it."""

    page_template = "admin/streamable_http/session.html"

    class Media:
        css = {"all": [STYLE]}

    def get_urls(self) -> list[URLPattern]:
        """Add what belongs to the page."""
        wrap = self.admin_site.admin_view
        return [
            path("<int:pk>/export/", wrap(self.export_view), name="streamable_http_session_export"),
            path("<int:pk>/recent/", wrap(self.recent_view), name="streamable_http_session_recent"),
            *super().get_urls(),
        ]

    def page_context(self, request: HttpRequest, row: models.Session) -> dict[str, Any]:
        """Add its facts and its timeline."""
        return {
            **super().page_context(request, row),
            "title": _("Session %s") % row,
            "session": row,
            **self._facts(row),
            **self._timeline(request, row.pk),
            "may_export": base.may(request, permissions.REPLAY),
            "live": _live(row),
        }

    def export_view(self, request: HttpRequest, pk: int) -> HttpResponseBase:
        """Send a session as JSON lines."""
        session = self.require(request, pk, permissions.REPLAY)
        lines = replay.as_json_lines(session_id=pk, with_payloads=base.may(request, permissions.VIEW_PAYLOADS))
        return streaming.download_lines(request, lines, f"session-{session}.jsonl")

    def recent_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Tell what is new, to a page that cannot have a WebSocket."""
        self.require(request, pk)
        since = replay.parse_moment(request.GET.get("since", ""))
        if since is None:
            return HttpResponseBadRequest("since is no time", content_type="text/plain")
        news = replay.recent(pk, since, with_payloads=base.may(request, permissions.VIEW_PAYLOADS))
        return JsonResponse(markup.news(news), headers={"Cache-Control": "no-store"})

    def _facts(self, session: models.Session) -> dict[str, Any]:
        return {
            "client": text.shown(str(operations.client_of(session.client_info))),
            "principal": text.shown(session.principal),
            "summary": operations.summarize([session.pk]).get(session.pk),
            "is_open": session.state == models.SessionState.OPEN,
        }

    def _timeline(self, request: HttpRequest, session_id: int) -> dict[str, Any]:
        with_payloads = base.may(request, permissions.VIEW_PAYLOADS)
        form = FilterForm(request.GET, with_payloads=with_payloads)
        filters = form.filters()
        # Asked before the page is read, so that the live tail misses nothing that came meanwhile.
        now = timezone.now()
        try:
            page = replay.session_timeline(
                session_id, request.GET.get("page", ""), filters=filters, with_payloads=with_payloads
            )
        except LookupError:
            raise Http404 from None
        except ValueError:
            raise Http404(_("There is no such page.")) from None
        query = form.query()
        shown_lanes = lanes(page)
        shown, last_marks = entries.rows(page, is_whole=not query)
        return {
            "rows": [markup.page_of_session(row) for row in shown],
            "last_marks": last_marks,
            "lanes": shown_lanes,
            "has_notes": any(lane["is_notable"] for lane in shown_lanes),
            "methods": sorted({row.method for row in shown if row.method}),
            "form": form,
            "is_filtered": bool(query),
            "with_payloads": with_payloads,
            "since": now.isoformat(),
            "first_url": _url(query) if page.earlier else "",
            "earlier_url": _url({**query, "page": page.earlier}) if page.earlier else "",
            "later_url": _url({**query, "page": page.later}) if page.later else "",
            "last_url": _url({**query, "page": "end"}) if page.later else "",
            "page": request.GET.get("page", ""),
        }


def lanes(page: replay.Timeline) -> list[dict[str, Any]]:
    """Return what a page says about its streams, and where a request that was sent again came from and went to."""
    again = resent([lane.stream.pk for lane in page.lanes])
    return [
        {
            "number": number,
            "color": (number - 1) % entries.LANES + 1,
            "entries": lane.entries,
            "has_more": lane.has_more,
            "of": entries.StreamSummary(stream=lane.stream),
            "resent_as": again.get(lane.stream.pk, []),
            "is_notable": bool(lane.stream.takeovers or lane.stream.resent_from or lane.stream.pk in again),
        }
        for number, lane in enumerate(page.lanes, start=1)
    ]


def resent(stream_ids: list[int]) -> dict[int, list[models.Stream]]:
    """Return the streams that repeat the requests of these."""
    repeated: dict[int, list[models.Stream]] = {}
    streams = rows_of(models.Stream).filter(resent_from__in=stream_ids).order_by("pk")
    for stream in streams.only("pk", "resent_from")[:100]:
        repeated.setdefault(stream.resent_from or 0, []).append(stream)
    return repeated


def _live(session: models.Session) -> dict[str, str]:
    """Return where the page hears what is new."""
    language = urlencode({"language": get_language() or ""})
    return {"socket": f"{get_script_prefix()}ws/streamable_http/sessions/{session}/?{language}", "poll": "../recent/"}


def _url(query: dict[str, str]) -> str:
    return f"?{urlencode(query)}" if query else "?"
