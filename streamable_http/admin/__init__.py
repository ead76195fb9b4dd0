"""The admin: who was connected, what was done, and what went over the wire; and what can be done about it.

It changes nothing by itself: all that is done, is done by :mod:`~streamable_http.operations`.
"""

from __future__ import annotations

from django.contrib import admin

from streamable_http import models
from streamable_http.admin import confirmations, resending, rows, sessions, streams, workers


class StreamAdmin(confirmations.StreamDeeds, resending.Resending, streams.StreamAdmin):
    """Streams, and what can be done to them."""


admin.site.register(models.Session, sessions.SessionAdmin)
admin.site.register(models.Stream, StreamAdmin)
admin.site.register(models.Worker, workers.WorkerAdmin)
admin.site.register(models.Event, rows.EventAdmin)
admin.site.register(models.Record, rows.RecordAdmin)
admin.site.register(models.Ask, rows.AskAdmin)
