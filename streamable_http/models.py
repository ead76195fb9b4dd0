"""The rows: sessions, their streams and events, what came in, asks, subscriptions, and workers.

Rows of the write path carry no database foreign keys: the fencing update in the transaction of each append
proves the stream, and a check per event row would cost a third of the throughput on PostgreSQL.

Most ids are made before the row (:mod:`~streamable_http.ids`). They are auto fields nevertheless, because only
those are SQLite's own row numbers; any other primary key is a second index.
"""

from __future__ import annotations

from typing import Final

from django.db import models
from django.utils.translation import gettext_lazy as _


class SessionState(models.TextChoices):
    """Where a session is in its life; everything but ``OPEN`` is final."""

    OPEN = "open", _("open")
    EXPIRED = "expired", _("expired")
    TERMINATED = "terminated", _("terminated")


class StreamState(models.TextChoices):
    """Where a stream is in its life; everything but ``OPEN`` is final."""

    OPEN = "open", _("open")
    ANSWERED = "answered", _("answered")
    CANCELLED = "cancelled", _("cancelled")
    LOST = "lost", _("lost")
    EXPIRED = "expired", _("expired")
    TERMINATED = "terminated", _("terminated")


class Outcome(models.TextChoices):
    """What a call came to, where it was answered; otherwise the stream's state tells."""

    RESULT = "result", _("result")
    TOOL_ERROR = "tool_error", _("tool error")
    ERROR = "error", _("error")


FAILED_OUTCOMES: Final = (Outcome.TOOL_ERROR, Outcome.ERROR)
"""What a call came to that was answered, and failed."""


class AskState(models.TextChoices):
    """Where an ask is in its life; everything but ``PENDING`` is final."""

    PENDING = "pending", _("pending")
    ANSWERED = "answered", _("answered")
    WITHDRAWN = "withdrawn", _("withdrawn")


class Session(models.Model):
    """What an ``Mcp-Session-Id`` names. The secret itself is not here, only its digest."""

    id = models.BigAutoField(primary_key=True)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    server = models.CharField(max_length=128)
    principal = models.CharField(max_length=255, blank=True)
    revision = models.CharField(max_length=16)
    client_info = models.TextField(default="{}")
    capabilities = models.TextField(default="{}")
    log_level = models.CharField(max_length=16, default="info")
    state = models.CharField(max_length=16, choices=SessionState, default=SessionState.OPEN)
    created_at = models.DateTimeField()
    last_seen_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name = _("session")
        verbose_name_plural = _("sessions")
        ordering = ["-id"]
        indexes = [
            # The idle ones among the open ones: what expiry looks for.
            models.Index(
                fields=["last_seen_at"], condition=models.Q(state=SessionState.OPEN), name="mcp_session_idle"
            ),
            models.Index(fields=["principal", "state"], name="mcp_session_principal"),
        ]
        permissions = [
            ("view_payload", _("Can view what was said in a session")),
            ("replay_stream", _("Can replay streams and export them")),
            ("resend_request", _("Can send a recorded request again")),
            ("terminate_session", _("Can terminate sessions, close streams and cancel calls")),
            ("purge_history", _("Can delete what has ended")),
        ]

    def __str__(self) -> str:
        return f"{self.id:x}"


class Worker(models.Model):
    """One server process and its lease."""

    id = models.BigAutoField(primary_key=True)
    host = models.CharField(max_length=255)
    pid = models.IntegerField()
    started_at = models.DateTimeField()
    lease_expires_at = models.DateTimeField(db_index=True)
    # Exchanges that were not recorded, under pressure or because they could not be.
    dropped_records = models.BigIntegerField(default=0, db_default=0)

    class Meta:
        verbose_name = _("worker")
        verbose_name_plural = _("workers")
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.host}:{self.pid}"


class Stream(models.Model):
    """The ordered outbound events of one exchange, or of a session's listening connection."""

    id = models.BigAutoField(primary_key=True)
    session = models.ForeignKey(
        Session, models.CASCADE, null=True, blank=True, related_name="streams", db_constraint=False
    )
    owner = models.ForeignKey(
        Worker, models.DO_NOTHING, null=True, blank=True, related_name="streams", db_constraint=False, db_index=False
    )
    epoch = models.IntegerField(default=1)
    head = models.BigIntegerField(default=0)
    earliest = models.BigIntegerField(default=1)
    stored_bytes = models.BigIntegerField(default=0)
    state = models.CharField(max_length=16, choices=StreamState, default=StreamState.OPEN)
    request_id = models.TextField(blank=True)
    method = models.CharField(max_length=256, blank=True)
    name = models.CharField(max_length=128, blank=True)
    arguments = models.TextField(blank=True)
    follower = models.BigIntegerField(null=True, blank=True)
    takeovers = models.IntegerField(default=0)
    taken_at = models.DateTimeField(null=True, blank=True)
    handed = models.BigIntegerField(default=0)
    created_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, blank=True)
    # Database defaults, for workers of an older version that serve while a newer one is rolled out.
    outcome = models.CharField(max_length=16, choices=Outcome, blank=True, default="", db_default="")
    # How long the call took, by its worker's clock; none where no worker saw its end.
    duration_ms = models.FloatField(null=True, blank=True)
    # The stream whose request was sent again by hand.
    resent_from = models.BigIntegerField(null=True, blank=True)
    # Since then it cannot be resumed, and what was kept verbatim for that is redacted.
    redacted_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name = _("stream")
        verbose_name_plural = _("streams")
        ordering = ["-id"]
        constraints = [
            # A request id names one running call of a session; the listening stream has none.
            models.UniqueConstraint(
                fields=["session", "request_id"],
                condition=models.Q(state=StreamState.OPEN),
                name="mcp_stream_in_flight",
            ),
        ]
        indexes = [
            # What a dead worker leaves behind.
            models.Index(fields=["owner"], condition=models.Q(state=StreamState.OPEN), name="mcp_stream_owned"),
            # What has ended and is not redacted yet; without a session it was redacted before it was stored.
            models.Index(
                fields=["ended_at"],
                condition=models.Q(ended_at__isnull=False, redacted_at=None, session__isnull=False),
                name="mcp_stream_resumable",
            ),
            # What repeats a request: by hand, so there are few.
            models.Index(
                fields=["resent_from"], condition=models.Q(resent_from__isnull=False), name="mcp_stream_resent"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.id:x}"

    @property
    def is_listening(self) -> bool:
        """Whether this is its session's listening stream."""
        return self.id == self.session_id

    @property
    def has_failed(self) -> bool:
        """Whether it came to an error, or to nothing."""
        return self.state == StreamState.LOST or self.outcome in FAILED_OUTCOMES


class Event(models.Model):
    """One outbound JSON-RPC message on a stream. The payload is text: ``jsonb`` refuses ``\\u0000``."""

    id = models.BigAutoField(primary_key=True)
    stream = models.ForeignKey(Stream, models.CASCADE, related_name="events", db_constraint=False, db_index=False)
    sequence = models.BigIntegerField()
    payload = models.TextField()
    created_at = models.DateTimeField()

    class Meta:
        verbose_name = _("event")
        verbose_name_plural = _("events")
        ordering = ["stream", "sequence"]
        constraints = [models.UniqueConstraint(fields=["stream", "sequence"], name="mcp_event_sequence")]

    def __str__(self) -> str:
        return f"{self.stream_id:x}.{self.sequence}"


class Record(models.Model):
    """Something that came in, redacted, with its HTTP facts.

    A GET or DELETE has neither method nor payload; its facts say which it was.

    One that opened a stream has that stream's id and no session of its own: the stream has it already, and one more
    entry in one more index of scattered sessions costs as much as the row.
    """

    id = models.BigAutoField(primary_key=True)
    session = models.ForeignKey(
        Session, models.CASCADE, null=True, blank=True, related_name="records", db_constraint=False
    )
    method = models.CharField(max_length=256, blank=True)
    payload = models.TextField()
    facts = models.TextField(default="{}")
    created_at = models.DateTimeField()

    class Meta:
        verbose_name = _("record")
        verbose_name_plural = _("records")
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.id:x}"


class Ask(models.Model):
    """A request from the server to the client that waits for a reply."""

    id = models.BigAutoField(primary_key=True)
    session = models.ForeignKey(Session, models.CASCADE, related_name="asks", db_constraint=False)
    stream = models.ForeignKey(Stream, models.CASCADE, related_name="asks", db_constraint=False)
    wire_id = models.CharField(max_length=64, unique=True)
    method = models.CharField(max_length=256)
    state = models.CharField(max_length=16, choices=AskState, default=AskState.PENDING)
    reply = models.TextField(blank=True)
    created_at = models.DateTimeField()
    deadline_at = models.DateTimeField()

    class Meta:
        verbose_name = _("ask")
        verbose_name_plural = _("asks")
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.id:x}"


class Subscription(models.Model):
    """What a session is told about on its listening stream: a resource, or that a list has changed."""

    id = models.BigAutoField(primary_key=True)
    session = models.ForeignKey(Session, models.CASCADE, related_name="subscriptions", db_constraint=False)
    topic = models.TextField()
    # Of the topic, which may be longer than an index entry may be.
    digest = models.CharField(max_length=64, db_index=True, editable=False)
    # Sequence of the event about it that was not offered to a connection yet; 0 without one.
    announced = models.BigIntegerField(default=0)
    created_at = models.DateTimeField()

    class Meta:
        verbose_name = _("subscription")
        verbose_name_plural = _("subscriptions")
        ordering = ["-id"]
        constraints = [models.UniqueConstraint(fields=["session", "digest"], name="mcp_subscription_topic")]

    def __str__(self) -> str:
        return f"{self.session_id:x} {self.topic}"
