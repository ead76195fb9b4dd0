"""The page that sends a recorded request again: a real call, so it is shown, confirmed and noted first."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect
from django.urls import URLPattern, path
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from streamable_http import exceptions, models, operations, redaction, shells
from streamable_http.admin import base, confirmations, text
from streamable_http.operations import permissions
from streamable_http.replay.messages import pretty


class ResendForm(confirmations.ReasonForm):
    """Why it is sent again; and that the warnings were read, where there are any."""

    confirmed = forms.BooleanField(label=gettext_lazy("I have read the warnings, and want to send it again."))

    def __init__(self, *args: Any, warned: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not warned:
            del self.fields["confirmed"]


class Resending(base.PageAdmin):
    """Adds ``<id>/resend/`` to the pages of streams."""

    def get_urls(self) -> list[URLPattern]:
        """Add the page."""
        view = shells.outside_transactions(self.admin_site.admin_view(self.resend_view))
        return [path("<int:pk>/resend/", view, name="streamable_http_stream_resend"), *super().get_urls()]

    def page_context(self, request: HttpRequest, row: models.Stream) -> dict[str, Any]:
        """Add ``resend_url``; empty where whoever asks may not send it again."""
        may_resend = row.method and self.has_resend_permission(request)
        return {**super().page_context(request, row), "resend_url": self.url("resend", row.pk) if may_resend else ""}

    def has_resend_permission(self, request: HttpRequest) -> bool:
        """Tell whether somebody may send requests again."""
        return base.may(request, permissions.RESEND)

    def resend_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Show what would be sent, and send it when that is confirmed."""
        if not self.has_resend_permission(request):
            raise PermissionDenied
        if request.method not in ("GET", "HEAD", "POST"):
            return HttpResponseNotAllowed(["GET", "POST"])
        try:
            review = operations.review(min(pk, confirmations.MAX_ID))
        except LookupError:
            self.message_user(request, _("There is no such call; perhaps it was deleted."), messages.WARNING)
            return redirect(self.url("changelist"))
        if request.method != "POST" or review.refusal:
            return self._ask(request, pk, review, ResendForm(warned=bool(review.warnings)))
        form = ResendForm(request.POST, warned=bool(review.warnings))
        if not form.is_valid():
            return self._ask(request, pk, review, form)
        return self._send(request, pk, form.cleaned_data["reason"])

    def _ask(self, request: HttpRequest, pk: int, review: operations.Resend, form: ResendForm) -> HttpResponse:
        may_see = base.may(request, permissions.VIEW_PAYLOADS)
        context = {
            "title": _("Send this request again?"),
            "original": f"{pk:x}",
            "review": review,
            "server": text.shown(review.server),
            "method": text.shown(review.method),
            "name": text.shown(review.name),
            "refusal": text.shown(review.refusal, limit=None),
            "warnings": [text.shown(warning, limit=None) for warning in review.warnings],
            "request_text": text.visible(pretty(redaction.redact_text(review.request)), keep="\n")
            if may_see
            else None,
            "button": _("Send again"),
            "form": form,
            "back": self.url("change", pk),
            "media": self.media + form.media,
        }
        return self.render(request, "admin/streamable_http/resend.html", context)

    def _send(self, request: HttpRequest, pk: int, reason: str) -> HttpResponse:
        try:
            sent = operations.resend(pk, user=request.user, reason=reason)
        except (LookupError, ValueError) as error:
            self.message_user(
                request, _("It was not sent: %(why)s") % {"why": text.visible(str(error))}, messages.ERROR
            )
            return redirect(self.url("change", pk))
        except operations.ResendTimeout as error:
            self.message_user(
                request,
                _(
                    "The call did not end within %(seconds)d s and was cancelled. "
                    "What it had done by then is not undone."
                )
                % {"seconds": error.seconds},
                messages.ERROR,
            )
            return redirect(self.url("change", error.stream_id))
        except exceptions.StoreUnavailable:
            self.message_user(
                request, _("The database did not answer; it may or may not have been sent."), messages.ERROR
            )
            return redirect(self.url("change", pk))
        told = _('The request of <a href="{}">{}</a> was sent again; this is the new call.')
        self.message_user(request, format_html(told, self.url("change", pk), f"{pk:x}"), messages.SUCCESS)
        return redirect(self.url("change", sent.stream_id))
