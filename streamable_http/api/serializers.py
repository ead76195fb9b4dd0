"""What is asked for, and what the answers look like.

Fields that need ``view_payload`` are left out, not empty, for whoever does not have it.
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, Final

from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import extend_schema_field, extend_schema_serializer
from rest_framework import serializers
from rest_framework.request import Request

from streamable_http import models, operations, replay
from streamable_http.api import fields
from streamable_http.operations import audit
from streamable_http.operations.figures import SAMPLED

# Questions


class Query(serializers.Serializer[Any]):
    """The parameters of a URL."""

    @classmethod
    def read(cls, request: Request) -> dict[str, Any]:
        """Return the parameters of a request.

        Raises:
            ValidationError: one of them is wrong.
        """
        return _validated(cls(data=request.query_params.dict()))


class PageQuery(Query):
    """Which part of a list."""

    cursor = fields.IdField(required=False, default=None, help_text=_("What comes behind this id; see `next`."))
    limit = fields.NumberField(required=False, default=50, min_value=1, max_value=200)


class SessionQuery(PageQuery):
    """Which sessions."""

    state = serializers.ChoiceField(choices=models.SessionState.choices, required=False, default="")
    server = fields.TextField(max_length=128)
    principal = fields.TextField(max_length=255)
    q = fields.TextField(
        max_length=255,
        help_text=_("An id, or part of a principal's key or of the client's name."),
    )


class StreamQuery(PageQuery):
    """Which streams."""

    session = fields.IdField(required=False, default=None)
    sessionless = serializers.BooleanField(
        required=False, default=None, allow_null=True, help_text=_("Only those without a session, or only the others.")
    )
    state = serializers.ChoiceField(choices=models.StreamState.choices, required=False, default="")
    outcome = serializers.ChoiceField(choices=models.Outcome.choices, required=False, default="")
    method = fields.TextField(max_length=256)
    name = fields.TextField(max_length=128)
    q = fields.TextField(max_length=128, help_text=_("An id, or exactly the name of a tool."))


class TimelineQuery(Query):
    """Which part of a session's timeline."""

    cursor = fields.TextField(
        max_length=64,
        help_text=_("Of a page before or behind this one; `end` for the last page."),
    )
    direction = serializers.ChoiceField(choices=[each.value for each in replay.Direction], required=False, default="")
    method = fields.TextField(max_length=256)
    stream = fields.IdField(required=False, default=None)
    errors = serializers.BooleanField(required=False, default=False)  # type: ignore[assignment]
    text = fields.TextField(max_length=255)


class RecentQuery(Query):
    """From when on."""

    since = fields.MomentField(help_text=_("The `since` of the answer before."))


class EventsQuery(Query):
    """Which events of a stream."""

    after = fields.SequenceField(required=False, default=0)
    limit = fields.NumberField(required=False, default=100, min_value=1, max_value=500)


class AfterQuery(Query):
    """A place in a stream."""

    after = fields.SequenceField(required=False, default=0)


class ReplayQuery(AfterQuery):
    """From where on, and how fast."""

    speed = fields.NumberField(
        required=False,
        default=0,
        min_value=0,
        max_value=1_000,
        help_text=_("1 as it was, 10 ten times as fast, 0 at once. No pause is longer than two seconds."),
    )


class StatisticsQuery(Query):
    """Of which time."""

    seconds = fields.SecondsField(
        required=False, default=3_600.0, min_value=60, max_value=31 * 86_400, help_text=_("Up to now.")
    )


class ReasonQuery(Query):
    """Why, where there is no body."""

    reason = fields.TextField(max_length=audit.MAX_REASON_CHARACTERS)


class Reason(serializers.Serializer[Any]):
    """Why, for the audit log."""

    reason = fields.ReasonField()

    @classmethod
    def read(cls, request: Request) -> dict[str, Any]:
        """Return what the body of a request says.

        Raises:
            ValidationError: something in it is wrong.
        """
        return _validated(cls(data=request.data))


class Confirmation(Reason):
    """Why, and that the warnings were read."""

    confirm = fields.FlagField(required=False, default=False)


def _validated(asked: serializers.Serializer[Any]) -> dict[str, Any]:
    asked.is_valid(raise_exception=True)
    values: dict[str, Any] = asked.validated_data
    return values


# Answers


class Answer(serializers.Serializer[Any]):
    """A part of an answer; ``context["with_payloads"]`` says whether what was said may be in it."""

    payload_fields: ClassVar[tuple[str, ...]] = ()

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        """Return the fields; without a context (in the schema) all of them."""
        shown = super().get_fields()
        if not self.context.get("with_payloads", True):
            for name in self.payload_fields:
                del shown[name]
        return shown

    @classmethod
    def show(cls, value: Any, *, with_payloads: bool, **context: Any) -> Any:
        """Return the JSON of a value, or of the values in a list."""
        many = isinstance(value, list)
        return cls(value, many=many, context={"with_payloads": with_payloads, **context}).data


class ClientAnswer(serializers.Serializer[Any]):
    """What a client says of itself."""

    name = serializers.CharField(allow_blank=True)
    version = serializers.CharField(allow_blank=True)


_NOTHING = operations.Summary()


class FigureField(serializers.IntegerField):
    """One of a session's figures: the one that has the field's name."""

    def __init__(self, **options: Any) -> None:
        super().__init__(source="*", **options)

    def to_representation(self, value: Any) -> Any:
        """Look it up."""
        return getattr(self.context["summaries"].get(value.pk, _NOTHING), self.field_name or "")


class WorkerField(serializers.CharField):
    """Where a session's newest call ran: ``host:pid``, or empty."""

    def __init__(self, **options: Any) -> None:
        super().__init__(source="*", **options)

    def to_representation(self, value: Any) -> str:
        """Look it up."""
        return str(self.context["summaries"].get(value.pk, _NOTHING).worker)


class SessionAnswer(Answer):
    """A session, and what it came to. ``context["summaries"]`` are the figures by id."""

    payload_fields = ("capabilities",)

    id = fields.IdField()
    server = serializers.CharField()
    state = serializers.ChoiceField(choices=models.SessionState.choices)
    principal = serializers.CharField(allow_blank=True)
    client = serializers.SerializerMethodField()
    capabilities = fields.RedactedField(required=False, help_text=_("JSON; with `view_payload`."))
    revision = serializers.CharField()
    log_level = serializers.CharField()
    created_at = serializers.DateTimeField()
    last_seen_at = serializers.DateTimeField()
    ended_at = serializers.DateTimeField(allow_null=True)
    calls = FigureField()
    open_calls = FigureField()
    events = FigureField()
    stored_bytes = FigureField()
    errors = FigureField(help_text=_("Calls that failed or were lost."))  # type: ignore[assignment]
    worker = WorkerField()

    @extend_schema_field(ClientAnswer)
    def get_client(self, session: models.Session) -> dict[str, str]:
        """Return name and version of the client."""
        return dataclasses.asdict(operations.client_of(session.client_info))


class StreamSummaryAnswer(Answer):
    """A stream in a list."""

    payload_fields: ClassVar[tuple[str, ...]] = ("request_id",)

    id = fields.IdField()
    session = fields.IdField(source="session_id", allow_null=True)
    is_listening = serializers.BooleanField()
    state = serializers.ChoiceField(choices=models.StreamState.choices)
    outcome = serializers.ChoiceField(choices=models.Outcome.choices, allow_blank=True)
    method = serializers.CharField(allow_blank=True)
    name = serializers.CharField(allow_blank=True)
    request_id = fields.RedactedField(
        required=False, help_text=_("JSON; empty for a listening stream. With `view_payload`.")
    )
    head = serializers.IntegerField(help_text=_("Sequence of the newest event."))
    earliest = serializers.IntegerField(help_text=_("Sequence of the oldest event that is kept."))
    stored_bytes = serializers.IntegerField()
    is_followed = serializers.SerializerMethodField(help_text=_("Whether a connection takes its events now."))
    created_at = serializers.DateTimeField()
    ended_at = serializers.DateTimeField(allow_null=True)
    duration_ms = serializers.FloatField(allow_null=True)
    resent_from = fields.IdField(allow_null=True)
    redacted_at = serializers.DateTimeField(allow_null=True)

    def get_is_followed(self, stream: models.Stream) -> bool:
        """Tell whether somebody listens."""
        return stream.follower is not None


class StreamAnswer(StreamSummaryAnswer):
    """A stream."""

    payload_fields = ("arguments", "request_id")

    arguments = fields.MessageField(
        required=False, help_text=_("JSON, of a call that may run again; empty otherwise. With `view_payload`.")
    )
    worker = serializers.SerializerMethodField(help_text=_("`host:pid`; may be empty."))

    def get_worker(self, stream: models.Stream) -> str:
        """Return where it ran."""
        return str(stream.owner) if stream.owner is not None else ""


class EntryAnswer(Answer):
    """A message on a timeline."""

    payload_fields = ("payload", "facts")

    key = serializers.CharField(help_text=_("Names it for good."))
    at = serializers.DateTimeField()
    direction = serializers.ChoiceField(choices=[each.value for each in replay.Direction])
    kind = serializers.ChoiceField(choices=[each.value for each in replay.Kind])
    stream = fields.IdField(source="stream_id", allow_null=True)
    sequence = serializers.IntegerField(allow_null=True)
    method = serializers.CharField(allow_blank=True)
    name = serializers.CharField(allow_blank=True)
    request_id = serializers.CharField(
        allow_blank=True, help_text=_("JSON. Without `view_payload`, only the names of asks.")
    )
    size_bytes = serializers.IntegerField()
    pair = serializers.CharField(
        allow_blank=True, help_text=_("Key of the request that it answers, or of the answer to it.")
    )
    latency_ms = serializers.FloatField(allow_null=True)
    cursor = serializers.CharField(allow_blank=True, help_text=_("That a resuming connection came with."))
    payload = serializers.CharField(
        required=False, allow_null=True, help_text=_("The message as redacted JSON; with `view_payload`.")
    )
    facts = serializers.DictField(
        required=False, help_text=_("Of HTTP: method, path, headers, client, principal; with `view_payload`.")
    )


class LaneAnswer(Answer):
    """A stream that has entries on a page."""

    stream = StreamSummaryAnswer()
    entries = serializers.IntegerField()
    has_more = serializers.BooleanField()


class ResendAnswer(Answer):
    """What would be sent again, or what came of it."""

    payload_fields = ("request", "response")

    stream = fields.IdField(source="stream_id", help_text=_("The old one; the new one once it was sent."))
    server = serializers.CharField(allow_blank=True)
    method = serializers.CharField(allow_blank=True)
    name = serializers.CharField(allow_blank=True)
    warnings = serializers.ListField(child=serializers.CharField())
    refusal = serializers.CharField(allow_blank=True, help_text=_("Why it cannot be sent again."))
    request = serializers.CharField(required=False, allow_blank=True, help_text=_("With `view_payload`."))
    response = serializers.CharField(required=False, allow_blank=True, help_text=_("With `view_payload`."))


class PreviewAnswer(Answer):
    """What a client would get that resumes here."""

    status = serializers.IntegerField()
    is_recovered = serializers.BooleanField()
    why = serializers.CharField()
    entries = EntryAnswer(many=True)


class WorkerAnswer(Answer):
    """A server process."""

    id = fields.IdField()
    host = serializers.CharField(allow_blank=True)
    pid = serializers.IntegerField()
    is_alive = serializers.BooleanField()
    started_at = serializers.DateTimeField()
    lease_expires_at = serializers.DateTimeField()
    open_streams = serializers.IntegerField()
    dropped_records = serializers.IntegerField()


class BucketAnswer(Answer):
    """One slice of the time."""

    at = serializers.DateTimeField()
    calls = serializers.IntegerField()
    errors = serializers.IntegerField()  # type: ignore[assignment]


_PERCENTILE: Final = format_lazy(
    _("In milliseconds, of the newest {count} calls of the time range, all tools together; null where none is its."),
    count=f"{SAMPLED:,}",
)


class MethodAnswer(Answer):
    """A tool, or a method that names none."""

    name = serializers.CharField(allow_blank=True)
    calls = serializers.IntegerField()
    errors = serializers.IntegerField()  # type: ignore[assignment]
    p50_ms = serializers.FloatField(allow_null=True, help_text=_PERCENTILE)
    p95_ms = serializers.FloatField(allow_null=True, help_text=_PERCENTILE)
    p99_ms = serializers.FloatField(allow_null=True, help_text=_PERCENTILE)


class ClientFiguresAnswer(serializers.Serializer[Any]):
    """How many sessions a client had."""

    name = serializers.CharField(allow_blank=True)
    sessions = serializers.IntegerField()

    def to_representation(self, instance: tuple[str, int]) -> dict[str, Any]:
        """Write a pair."""
        return dict(zip(("name", "sessions"), instance, strict=True))


@extend_schema_serializer(many=False)
class StatisticsAnswer(Answer):
    """Figures of a time range."""

    since = serializers.DateTimeField()
    until = serializers.DateTimeField()
    open_sessions = serializers.IntegerField()
    open_streams = serializers.IntegerField()
    followed_streams = serializers.IntegerField()
    calls = serializers.IntegerField()
    errors = serializers.IntegerField()  # type: ignore[assignment]
    dropped_records = serializers.IntegerField()
    bucket_seconds = serializers.IntegerField()
    buckets = BucketAnswer(many=True)
    methods = MethodAnswer(many=True)
    clients = ClientFiguresAnswer(many=True)
    workers = WorkerAnswer(many=True)


# Pages


@extend_schema_serializer(many=False)
class Page(serializers.Serializer[Any]):
    """An object with a list in it; spectacular would make a list of such objects."""


class SessionPage(Page):
    """Sessions, the newest first."""

    next = serializers.URLField(allow_null=True)
    results = SessionAnswer(many=True)


class StreamPage(Page):
    """Streams, the newest first."""

    next = serializers.URLField(allow_null=True)
    results = StreamSummaryAnswer(many=True)


class TimelinePage(Page):
    """Entries by time, the oldest first."""

    previous = serializers.URLField(allow_null=True)
    next = serializers.URLField(allow_null=True)
    lanes = LaneAnswer(many=True)
    results = EntryAnswer(many=True)


class EventPage(Page):
    """Entries by time, the oldest first."""

    next = serializers.URLField(allow_null=True)
    results = EntryAnswer(many=True)


class RecentPage(Page):
    """Entries by time, and when to ask from next."""

    since = serializers.DateTimeField()
    is_cut = serializers.BooleanField(help_text=_("Whether older ones were left out."))
    results = EntryAnswer(many=True)


class WorkerList(Page):
    """All workers that are known."""

    results = WorkerAnswer(many=True)


# Problems


class Problem(serializers.Serializer[Any]):
    """What went wrong."""

    detail = serializers.CharField()


class ConflictProblem(Problem):
    """Why it cannot be done; ``warnings`` are what is to be confirmed."""

    warnings = serializers.ListField(child=serializers.CharField(), required=False)


class TimeoutProblem(Problem):
    """What was cancelled, because it took too long."""

    stream = fields.IdField(help_text=_("Of the new exchange."))


def show_entries(entries: list[replay.Entry], *, with_payloads: bool) -> list[dict[str, Any]]:
    """Return the JSON of entries."""
    shown: list[dict[str, Any]] = EntryAnswer.show(entries, with_payloads=with_payloads)
    return shown
