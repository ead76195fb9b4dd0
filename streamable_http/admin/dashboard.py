"""The dashboard: how it goes, in tables that a script draws as charts, too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.utils import formats, timezone
from django.utils.functional import Promise
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from streamable_http import operations
from streamable_http.admin import base, text
from streamable_http.operations.figures import SAMPLED, MethodFigures, WorkerFigures

REFRESH_SECONDS: Final = 10

CHARTED_TOOLS: Final = 12
"""Bars in a chart; the table has them all."""

HOUR_SECONDS: Final = 3_600
DAY_SECONDS: Final = 24 * HOUR_SECONDS


@dataclass(frozen=True, slots=True)
class Range:
    """A time range that can be chosen, by its name in the query string."""

    name: str
    seconds: int
    label: str | Promise


RANGES: Final = (
    Range("1h", HOUR_SECONDS, gettext_lazy("1 hour")),
    Range("6h", 6 * HOUR_SECONDS, gettext_lazy("6 hours")),
    Range("24h", DAY_SECONDS, gettext_lazy("24 hours")),
    Range("7d", 7 * DAY_SECONDS, gettext_lazy("7 days")),
)


def view(model_admin: base.ReadOnlyAdmin) -> Callable[[HttpRequest], HttpResponse]:
    """Return the view of the dashboard, below the pages of a model."""

    def dashboard(request: HttpRequest) -> HttpResponse:
        if not base.may(request):
            raise PermissionDenied
        chosen = _chosen(request)
        figures = operations.statistics(chosen.seconds)
        context = {
            "title": _("Dashboard"),
            "ranges": [{"range": one, "is_chosen": one is chosen} for one in RANGES],
            "chosen": chosen,
            "refresh_seconds": REFRESH_SECONDS,
            "figures": figures,
            "since": text.moment(figures.since),
            "until": text.moment(figures.until),
            "tiles": _tiles(figures),
            "buckets": _buckets(figures),
            "sampled": text.number(SAMPLED),
            "methods": [_method(one) for one in figures.methods],
            "clients": [(text.shown(name), text.number(count)) for name, count in figures.clients],
            "workers": [_worker(one) for one in figures.workers],
            "charts": _charts(figures, chosen),
        }
        return model_admin.render(request, "admin/streamable_http/dashboard.html", context)

    return dashboard


def _chosen(request: HttpRequest) -> Range:
    wanted = request.GET.get("range")
    return next((one for one in RANGES if one.name == wanted), RANGES[0])


def _tiles(figures: operations.Statistics) -> list[dict[str, Any]]:
    return [
        {"label": _("Open sessions"), "value": text.number(figures.open_sessions)},
        {"label": _("Running calls"), "value": text.number(figures.open_streams)},
        {"label": _("Connected streams"), "value": text.number(figures.followed_streams)},
        {"label": _("Calls"), "value": text.number(figures.calls)},
        {
            "label": _("Errors"),
            "value": text.number(figures.errors),
            "note": _percent(figures.errors, figures.calls),
            "is_bad": figures.errors > 0,
        },
        {
            "label": _("Dropped records"),
            "value": text.number(figures.dropped_records),
            "is_bad": figures.dropped_records > 0,
        },
    ]


def _buckets(figures: operations.Statistics) -> list[dict[str, Any]]:
    """Return those with calls: an empty slice is not worth a row to read."""
    return [
        {
            "at": text.moment(bucket.at),
            "per_minute": formats.number_format(_per_minute(bucket.calls, figures), 2),
            "calls": text.number(bucket.calls),
            "errors": text.number(bucket.errors),
        }
        for bucket in figures.buckets
        if bucket.calls
    ]


def _method(one: MethodFigures) -> dict[str, Any]:
    return {
        "name": text.shown(one.name),
        "calls": text.number(one.calls),
        "errors": _share(one.errors, one.calls),
        "is_bad": one.errors > 0,
        "durations": [_milliseconds(value) for value in (one.p50_ms, one.p95_ms, one.p99_ms)],
    }


def _worker(one: WorkerFigures) -> dict[str, Any]:
    return {
        "id": one.id,
        "name": text.shown(f"{one.host}:{one.pid}"),
        "is_alive": one.is_alive,
        "started": text.moment(one.started_at),
        "lease": text.moment(one.lease_expires_at),
        "open_streams": text.number(one.open_streams),
        "dropped": text.number(one.dropped_records),
        "is_bad": one.dropped_records > 0,
    }


def _charts(figures: operations.Statistics, chosen: Range) -> dict[str, Any]:
    """Return what the script draws. It puts text into canvases only, never into the page."""
    timed = [one for one in figures.methods if one.p50_ms is not None][:CHARTED_TOOLS]
    busiest = figures.methods[:CHARTED_TOOLS]
    clients = figures.clients[:CHARTED_TOOLS]
    return {
        "calls": {
            "labels": [_slice(bucket.at, chosen) for bucket in figures.buckets],
            "series": [
                _series(
                    _("answered"),
                    "good",
                    [_per_minute(bucket.calls - bucket.errors, figures) for bucket in figures.buckets],
                ),
                _series(_("errors"), "bad", [_per_minute(bucket.errors, figures) for bucket in figures.buckets]),
            ],
        },
        "latency": {
            "labels": [_label(one.name) for one in timed],
            "series": [
                _series("p50", "first", [one.p50_ms for one in timed]),
                _series("p95", "second", [one.p95_ms for one in timed]),
                _series("p99", "third", [one.p99_ms for one in timed]),
            ],
        },
        "tools": {
            "labels": [_label(one.name) for one in busiest],
            "series": [
                _series(_("answered"), "good", [one.calls - one.errors for one in busiest]),
                _series(_("errors"), "bad", [one.errors for one in busiest]),
            ],
        },
        "clients": {
            "labels": [_label(name) for name, _count in clients],
            "series": [_series(_("sessions"), "good", [count for _name, count in clients])],
        },
    }


def _series(label: str, role: str, values: Sequence[float | None]) -> dict[str, Any]:
    return {"label": label, "role": role, "values": values}


def _label(name: str) -> str:
    seen = text.visible(name)
    return seen if len(seen) <= 28 else f"{seen[:27]}…"


def _slice(at: Any, chosen: Range) -> str:
    local = timezone.localtime(at)
    return f"{local:%H:%M}" if chosen.seconds <= DAY_SECONDS else f"{local:%m-%d %H:%M}"


def _per_minute(count: int, figures: operations.Statistics) -> float:
    return round(count * 60 / figures.bucket_seconds, 3)


def _share(part: int, whole: int) -> str:
    if not part:
        return text.number(part)
    return f"{text.number(part)} ({_percent(part, whole)})"


def _percent(part: int, whole: int) -> str:
    share = formats.number_format(100 * part / max(part, whole), 1) if part else "0"
    return _("%(share)s %%") % {"share": share}


def _milliseconds(value: float | None) -> str | SafeString:
    if value is None:
        return "–"
    return _("%(value)s ms") % {"value": formats.number_format(value, 1 if value < 100 else 0, force_grouping=True)}
