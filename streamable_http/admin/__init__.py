"""The admin: what is in the log, to read. Payloads that the log keeps verbatim are redacted here."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from streamable_http import models, redaction


class ReadOnlyAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # not generic at run time
    """Shows rows and changes none: the log is what happened."""

    show_full_result_count = False
    list_per_page = 50

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Nobody adds to the log by hand."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody changes it."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody takes anything away by hand; retention does."""
        return False


@admin.register(models.Session)
class SessionAdmin(ReadOnlyAdmin):
    """Sessions, without the digest of their secret."""

    list_display = ["__str__", "server", "state", "principal", "revision", "created_at", "last_seen_at"]
    list_filter = ["state", "server", "revision"]
    exclude = ["digest"]


@admin.register(models.Stream)
class StreamAdmin(ReadOnlyAdmin):
    """Streams of calls and of listening connections."""

    list_display = ["__str__", "session", "method", "name", "state", "head", "created_at", "ended_at"]
    list_filter = ["state", "method"]
    list_select_related = ["session"]
    exclude = ["arguments"]
    readonly_fields = ["redacted_arguments"]

    @admin.display(description=_("arguments"))
    def redacted_arguments(self, stream: models.Stream) -> str:
        """Show the arguments that are kept for a rerun."""
        return _redacted(stream.arguments)


@admin.register(models.Event)
class EventAdmin(ReadOnlyAdmin):
    """Outbound messages."""

    list_display = ["__str__", "redacted_payload", "created_at"]
    ordering = ["-id"]
    exclude = ["payload"]
    readonly_fields = ["redacted_payload"]

    @admin.display(description=_("payload"))
    def redacted_payload(self, event: models.Event) -> str:
        """Show the message."""
        return _redacted(event.payload)


@admin.register(models.Record)
class RecordAdmin(ReadOnlyAdmin):
    """Inbound messages; redacted before they were stored."""

    list_display = ["__str__", "session", "method", "created_at"]
    list_filter = ["method"]
    list_select_related = ["session"]


@admin.register(models.Ask)
class AskAdmin(ReadOnlyAdmin):
    """Questions to clients. A wire id could be answered by whoever knows it, so it is not shown."""

    list_display = ["__str__", "session", "stream", "method", "state", "created_at", "deadline_at"]
    list_filter = ["state", "method"]
    list_select_related = ["session", "stream"]
    exclude = ["wire_id", "reply"]
    readonly_fields = ["redacted_reply"]

    @admin.display(description=_("reply"))
    def redacted_reply(self, ask: models.Ask) -> str:
        """Show what the client replied."""
        return _redacted(ask.reply)


@admin.register(models.Worker)
class WorkerAdmin(ReadOnlyAdmin):
    """Server processes and their leases."""

    list_display = ["__str__", "started_at", "lease_expires_at"]


def _redacted(payload: str) -> str:
    if not payload:
        return ""
    return redaction.redact_text(payload)
