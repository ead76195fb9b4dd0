"""Single events, records and asks, as they are stored but redacted. The pages of sessions and streams link to them."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from streamable_http import models
from streamable_http.admin import base, text
from streamable_http.operations import permissions
from streamable_http.replay import messages, naming


class RowAdmin(base.ReadOnlyAdmin):
    """Rows that are shown in full only to whoever may see what was said."""

    shown_fields: tuple[str, ...] = ()
    payload_fields: tuple[str, ...] = ()

    def has_module_permission(self, request: HttpRequest) -> bool:
        """Keep them out of the index: a timeline says it better."""
        return False

    def get_fields(self, request: HttpRequest, obj: Any = None) -> list[Any]:
        """Leave out what was said where it may not be seen."""
        return [*self.shown_fields, *(self.payload_fields if base.may(request, permissions.VIEW_PAYLOADS) else ())]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        """Return all of them."""
        return self.get_fields(request, obj)

    @admin.display(description=_("id"))
    def key(self, row: Any) -> str:
        """Show the public id."""
        return format_html('<code class="mcp-id">{}</code>', str(row))

    @admin.display(description=_("session"), empty_value="–")
    def of_session(self, row: Any) -> str | None:
        """Show its session."""
        return f"{row.session_id:x}" if row.session_id else None

    @admin.display(description=_("stream"))
    def of_stream(self, row: Any) -> str:
        """Show its stream."""
        return f"{row.stream_id:x}"

    @admin.display(description=_("method"), empty_value="–")
    def shown_method(self, row: Any) -> str | None:
        """Show the method."""
        return text.shown(row.method) if row.method else None

    @admin.display(description=_("at"))
    def at(self, row: Any) -> str:
        """Show when it was."""
        return text.moment(row.created_at)

    @admin.display(description=_("payload"))
    def message(self, row: Any) -> str:
        """Show the message."""
        return _shown(row.payload, came_in=not isinstance(row, models.Event))


class EventAdmin(RowAdmin):
    """Outbound messages."""

    list_display = ["key", "of_stream", "sequence", "at"]
    sortable_by = ["key"]
    ordering = ["-id"]
    shown_fields = ("key", "of_stream", "sequence", "at")
    payload_fields = ("message",)


class RecordAdmin(RowAdmin):
    """Inbound messages; redacted before they were stored."""

    list_display = ["key", "of_session", "shown_method", "at"]
    sortable_by = ["key"]
    shown_fields = ("key", "of_session", "shown_method", "at")
    payload_fields = ("message", "http")

    @admin.display(description=_("HTTP"))
    def http(self, record: models.Record) -> str:
        """Show how it came."""
        return _shown(record.facts)


class AskAdmin(RowAdmin):
    """Questions to clients. A wire id could be answered by whoever knows it, so it is not shown."""

    list_display = ["key", "of_session", "of_stream", "shown_method", "state", "at", "deadline"]
    list_filter = ["state"]
    sortable_by = ["key"]
    shown_fields = ("key", "of_session", "of_stream", "shown_method", "state", "at", "deadline")
    payload_fields = ("answer",)

    @admin.display(description=_("deadline"))
    def deadline(self, ask: models.Ask) -> str:
        """Show until when it waits."""
        return text.moment(ask.deadline_at)

    @admin.display(description=_("reply"))
    def answer(self, ask: models.Ask) -> str:
        """Show what the client replied."""
        return _shown(ask.reply)


def _shown(message: str, *, came_in: bool | None = None) -> str:
    if not message:
        return "–"
    said = text.visible(messages.pretty(naming.shown(message, came_in=came_in)), keep="\n")
    return format_html('<pre class="mcp-payload"><bdi>{}</bdi></pre>', said)
