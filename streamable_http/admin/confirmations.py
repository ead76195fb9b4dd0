"""What is done to rows after somebody has confirmed it and said why: one page for all such deeds.

The deeds themselves, and their notes in the audit log, are :mod:`~streamable_http.operations`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from django import forms
from django.contrib import admin, messages
from django.contrib.admin import widgets
from django.core.exceptions import PermissionDenied
from django.db.models import BigIntegerField, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect
from django.urls import URLPattern, path
from django.utils.functional import Promise
from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext_lazy

from streamable_http import exceptions, models, operations, shells
from streamable_http.admin import base, text
from streamable_http.operations import audit, permissions

MAX_ROWS: Final = 1_000
"""Most rows that are dealt with in one request."""

MAX_LISTED: Final = 20

MAX_ID: Final = BigIntegerField.MAX_BIGINT
"""Larger numbers name no row, and SQLite fails over them."""


class Do(Protocol):
    """One of the :mod:`~streamable_http.operations` on one row; false where there was nothing to do."""

    def __call__(self, row_id: int, /, *, user: Any, reason: str) -> bool: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Deed:
    """Something that is done to rows, and how it is put."""

    name: str
    """In URLs."""

    permission: str
    do: Do

    button: str | Promise
    question: str | Promise
    """With ``count``."""

    consequence: str | Promise
    done: str | Promise
    """With ``count``."""

    idle: str | Promise
    """Where there was nothing to do; with ``count``."""

    suits: Callable[[Any], bool]
    """Whether there is anything to do, as far as the row tells."""

    deletes: bool = False


# Functions, for the operations may be replaced after this module was loaded.

TERMINATE: Final = Deed(
    name="terminate",
    permission=permissions.TERMINATE,
    do=lambda row_id, **how: operations.terminate_session(row_id, **how),
    button=_("Terminate"),
    question=ngettext_lazy("Terminate this session?", "Terminate these %(count)d sessions?", "count"),
    consequence=_(
        "Calls are ended and streams are closed within a second. Whatever a client sends in the session afterwards is "
        "answered with 404, and it has to begin a new one."
    ),
    done=ngettext_lazy("%(count)d session was terminated.", "%(count)d sessions were terminated.", "count"),
    idle=ngettext_lazy("%(count)d session was over already.", "%(count)d sessions were over already.", "count"),
    suits=lambda session: session.state == models.SessionState.OPEN,
)

PURGE: Final = Deed(
    name="purge",
    permission=permissions.PURGE,
    do=lambda row_id, **how: operations.purge_session(row_id, **how),
    button=_("Purge"),
    question=ngettext_lazy("Purge this session?", "Purge these %(count)d sessions?", "count"),
    consequence=_(
        "All that was recorded is deleted: streams, events, messages and asks. This cannot be undone. "
        "What is still open is left alone; terminate it first."
    ),
    done=ngettext_lazy("%(count)d session was purged.", "%(count)d sessions were purged.", "count"),
    idle=ngettext_lazy(
        "%(count)d session is still open and was left alone.",
        "%(count)d sessions are still open and were left alone.",
        "count",
    ),
    suits=lambda session: session.state != models.SessionState.OPEN,
    deletes=True,
)

CLOSE: Final = Deed(
    name="close",
    permission=permissions.TERMINATE,
    do=lambda row_id, **how: operations.close_stream(row_id, **how),
    button=_("Close connection"),
    question=_("Close the connection of this stream?"),
    consequence=_("The call itself goes on. The client may come again with its cursor and misses nothing."),
    done=_("The connection was closed."),
    idle=_("Nobody follows this stream, so that there was no connection to close."),
    suits=lambda stream: stream.state == models.StreamState.OPEN and stream.follower is not None,
)

CANCEL: Final = Deed(
    name="cancel",
    permission=permissions.TERMINATE,
    do=lambda row_id, **how: operations.cancel_call(row_id, **how),
    button=_("Cancel call"),
    question=_("Cancel this call?"),
    consequence=_(
        "The tool is told to stop, as if the client had cancelled the call. What it has done so far is not undone."
    ),
    done=_("The call was cancelled."),
    idle=_("The call had ended already."),
    suits=lambda stream: (
        stream.state == models.StreamState.OPEN and stream.session_id is not None and not stream.is_listening
    ),
)

ROWS: Final = re.compile(r"[0-9]{1,19}(,[0-9]{1,19})*")
"""Ids that are posted."""


class ReasonForm(forms.Form):
    """Why it is done."""

    reason = forms.CharField(
        label=_("Reason"),
        max_length=audit.MAX_REASON_CHARACTERS,
        widget=widgets.AdminTextInputWidget(),
        help_text=_("Kept in the history, with your name."),
    )


class Deeds(base.PageAdmin):
    """Adds the pages that confirm :attr:`deeds` to those of a model, and their buttons to the context of its rows."""

    deeds: Sequence[Deed] = ()

    def get_urls(self) -> list[URLPattern]:
        """Add ``<id>/<deed>/`` for one row, and ``<deed>/`` for several that are posted."""
        return [*(url for deed in self.deeds for url in self._urls(deed)), *super().get_urls()]

    def page_context(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        """Add ``deeds``: see :meth:`buttons`."""
        return {**super().page_context(request, row), "deeds": self.buttons(request, row)}

    def buttons(self, request: HttpRequest, row: Any) -> list[dict[str, Any]]:
        """Return what can be done to a row now and whoever asks may do: ``url``, ``label`` and ``deletes``."""
        return [
            {"url": self.url(deed.name, row.pk), "label": deed.button, "deletes": deed.deletes}
            for deed in self.deeds
            if base.may(request, deed.permission) and deed.suits(row)
        ]

    def label(self, row: Any) -> str:
        """Say in a few words which row it is; as HTML."""
        return text.shown(str(row))

    def confirm(
        self, request: HttpRequest, deed: Deed, rows: Sequence[Any], form: forms.Form | None = None
    ) -> HttpResponse:
        """Ask whether it is meant, and why."""
        form = form or ReasonForm()
        context = {
            "title": _counted(deed.question, len(rows)),
            "consequence": deed.consequence,
            "button": deed.button,
            "deletes": deed.deletes,
            "listed": [{"label": self.label(row), "url": self.url("change", row.pk)} for row in rows[:MAX_LISTED]],
            "more": max(0, len(rows) - MAX_LISTED),
            "rows": ",".join(str(row.pk) for row in rows),
            "form": form,
            "action": self.url(deed.name, rows[0].pk) if len(rows) == 1 else self.url(f"{deed.name}_rows"),
            "back": self.url("change", rows[0].pk) if len(rows) == 1 else self.url("changelist"),
            "media": self.media + form.media,
        }
        return self.render(request, "admin/streamable_http/confirm.html", context)

    def _urls(self, deed: Deed) -> list[URLPattern]:
        def one(request: HttpRequest, pk: int) -> HttpResponse:
            return self._answer(request, deed, [pk])

        def several(request: HttpRequest) -> HttpResponse:
            return self._answer(request, deed, _posted_rows(request))

        name = f"{self.opts.app_label}_{self.opts.model_name}_{deed.name}"
        return [
            path(f"<int:pk>/{deed.name}/", shells.outside_transactions(self.admin_site.admin_view(one)), name=name),
            path(
                f"{deed.name}/",
                shells.outside_transactions(self.admin_site.admin_view(several)),
                name=f"{name}_rows",
            ),
        ]

    def _answer(self, request: HttpRequest, deed: Deed, pks: Sequence[int]) -> HttpResponse:
        if not base.may(request, deed.permission):
            raise PermissionDenied
        if request.method not in ("GET", "HEAD", "POST"):
            return HttpResponseNotAllowed(["GET", "POST"])
        rows = list(self.get_queryset(request).filter(pk__in=[pk for pk in pks if pk <= MAX_ID]))
        if not rows:
            return self._none_found(request)
        form = ReasonForm(request.POST) if request.method == "POST" else None
        if form is None or not form.is_valid():
            return self.confirm(request, deed, rows, form)
        self._do(request, deed, rows, form.cleaned_data["reason"])
        return redirect(
            self.url("change", rows[0].pk) if len(rows) == 1 and not deed.deletes else self.url("changelist")
        )

    def _do(self, request: HttpRequest, deed: Deed, rows: Sequence[Any], reason: str) -> None:
        done = idle = 0
        try:
            for row in rows:
                try:
                    is_done = deed.do(row.pk, user=request.user, reason=reason)
                except LookupError as error:
                    self.message_user(request, text.visible(str(error)), messages.WARNING)
                    continue
                done += is_done
                idle += not is_done
        except exceptions.StoreUnavailable:
            self.message_user(request, _("The database did not answer; not everything was done."), messages.ERROR)
        if done:
            self.message_user(request, _counted(deed.done, done), messages.SUCCESS)
        if idle:
            self.message_user(request, _counted(deed.idle, idle), messages.WARNING)

    def _none_found(self, request: HttpRequest) -> HttpResponse:
        self.message_user(request, _("There is no such row; perhaps it was deleted."), messages.WARNING)
        return redirect(self.url("changelist"))


class SessionDeeds(Deeds):
    """Terminate and purge, for a session or several."""

    deeds = (TERMINATE, PURGE)
    actions = ["terminate", "purge"]

    @admin.action(description=_("Terminate selected sessions"), permissions=["terminate"])
    def terminate(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse:
        """Ask about the selected ones."""
        return self.confirm(request, TERMINATE, list(queryset[:MAX_ROWS]))

    @admin.action(description=_("Purge selected sessions that have ended"), permissions=["purge"])
    def purge(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse:
        """Ask about the selected ones."""
        return self.confirm(request, PURGE, list(queryset[:MAX_ROWS]))

    def has_terminate_permission(self, request: HttpRequest) -> bool:
        """Tell whether the action is offered."""
        return base.may(request, permissions.TERMINATE)

    def has_purge_permission(self, request: HttpRequest) -> bool:
        """Tell whether the action is offered."""
        return base.may(request, permissions.PURGE)

    def label(self, row: Any) -> str:
        """Say whose session it is."""
        who = [part for part in (str(operations.client_of(row.client_info)), row.principal) if part]
        return format_html(
            "<code>{}</code> {}", str(row), format_html_join(", ", "{}", ((text.shown(part),) for part in who))
        )


class StreamDeeds(Deeds):
    """Close the connection, and cancel the call."""

    deeds = (CLOSE, CANCEL)

    def label(self, row: Any) -> str:
        """Say whose call it is."""
        return format_html("<code>{}</code> {} {}", str(row), text.shown(row.method), text.shown(row.name))


def _posted_rows(request: HttpRequest) -> list[int]:
    if not ROWS.fullmatch(request.POST.get("rows", "")):
        return []
    return [int(row) for row in request.POST["rows"].split(",")][:MAX_ROWS]


def _counted(sentence: str | Promise, count: int) -> str:
    return str(sentence % {"count": count})
