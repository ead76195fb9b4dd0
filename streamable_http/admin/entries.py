"""A timeline as people see it: rows with JSON laid out, what is hostile made visible, and what happened in between.

The session page, the stream page and the live tail show the same rows, through :mod:`~streamable_http.admin.markup`.
Whatever came from the log is text here, and escaped there.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from django.utils.functional import Promise
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from streamable_http import models, redaction
from streamable_http.admin import text as admin_text
from streamable_http.models import StreamState
from streamable_http.replay import Direction, Entry, Kind, Lane, Timeline, forms_of, messages

LANES: Final = 8
"""So many lanes have a color and a place of their own; then they repeat."""

PAUSE_SECONDS: Final = 5.0
"""Longer pauses between two entries are marked."""

LONGEST_MS: Final = 60_000.0
"""A bar of this latency is full."""

LABELS: Final[Mapping[Kind, Promise]] = {
    Kind.REQUEST: gettext_lazy("request"),
    Kind.RESULT: gettext_lazy("result"),
    Kind.ERROR: gettext_lazy("error"),
    Kind.NOTIFICATION: gettext_lazy("notification"),
    Kind.ASK: gettext_lazy("ask"),
    Kind.REPLY: gettext_lazy("reply"),
    Kind.LISTEN: gettext_lazy("listen"),
    Kind.RESUME: gettext_lazy("resume"),
    Kind.DELETE: gettext_lazy("delete"),
}

_REDACTED: Final = re.compile(f"({redaction.MASK}|… \\[folded: \\d+ bytes, sha256 [0-9a-f]{{64}}\\])")


def marked(text: str) -> SafeString:
    """Return text as HTML, with what redaction masked or folded marked as such."""
    pieces = enumerate(_REDACTED.split(text))
    return format_html_join("", "{}", ((_mark(piece) if odd % 2 else piece,) for odd, piece in pieces))


def _mark(piece: str) -> SafeString:
    kind = "masked" if piece == redaction.MASK else "folded"
    return format_html('<mark class="wire-{}">{}</mark>', kind, piece)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """An entry, with what the page knows around it."""

    entry: Entry
    lane: int | None = None
    """Number of its stream's lane, from 1; ``None`` where it has none."""

    marks: tuple[str, ...] = ()
    """What happened before it, in sentences."""

    more: int | None = None
    """Id of its stream, where events behind this one are not on the page."""

    @property
    def label(self) -> Promise:
        """What it is, in a word."""
        return LABELS[self.entry.kind]

    @property
    def arrow(self) -> str:
        """Which way it went: what comes in points to the server, at the right."""
        return "→" if self.entry.direction is Direction.IN else "←"

    @property
    def is_nested(self) -> bool:
        """Whether it belongs to a call that something else began."""
        kind = self.entry.kind
        return kind in (Kind.ASK, Kind.REPLY) or (
            kind is Kind.NOTIFICATION and self.entry.direction is Direction.OUT and self.entry.stream_id is not None
        )

    @property
    def color(self) -> int | None:
        """Number of the lane's color, from 1."""
        return None if self.lane is None else (self.lane - 1) % LANES + 1

    @property
    def method(self) -> str:
        """The method, visible."""
        return admin_text.visible(self.entry.method)

    @property
    def name(self) -> str:
        """The tool, visible."""
        return admin_text.visible(self.entry.name)

    @property
    def request_id(self) -> str:
        """The JSON-RPC id, visible."""
        return admin_text.visible(self.entry.request_id)

    @property
    def stream(self) -> str:
        """The short id of its stream; empty without one."""
        return "" if self.entry.stream_id is None else f"{self.entry.stream_id:x}"

    @property
    def resumed_after(self) -> str:
        """Behind which sequence a resume went on; empty otherwise."""
        return admin_text.visible(self.entry.cursor.rpartition(".")[2])

    @property
    def before(self) -> int:
        """The sequence that a page begins behind which shows it first."""
        return max((self.entry.sequence or 0) - 1, 0)

    @property
    def fraction(self) -> str:
        """The milliseconds of its time."""
        return f".{self.entry.at.microsecond // 1_000:03d}"

    @property
    def latency(self) -> str:
        """The latency in words."""
        latency_ms = self.entry.latency_ms or 0.0
        if latency_ms >= 10_000:
            return _("%s s") % f"{latency_ms / 1_000:.1f}"
        return _("%s ms") % (f"{latency_ms:.0f}" if latency_ms >= 100 else f"{latency_ms:.1f}")

    @property
    def latency_step(self) -> int:
        """How long its bar is, from 1 to 100, by the logarithm of the latency."""
        share = math.log1p(max(self.entry.latency_ms or 0.0, 0.0)) / math.log1p(LONGEST_MS)
        return min(max(round(100 * share), 1), 100)

    @property
    def milliseconds(self) -> int:
        """When it was, for scripts, since 1970."""
        return round(self.entry.at.timestamp() * 1_000)

    @property
    def is_opening(self) -> bool:
        """Whether it is the request that opened its stream, and may be seen."""
        entry = self.entry
        return entry.kind is Kind.REQUEST and entry.payload is not None and entry.key == f"r{self.stream}"

    @property
    def forms(self) -> tuple[str, ...]:
        """In which of :data:`~streamable_http.replay.FORMS` it can be had to paste; empty if in none."""
        return forms_of(self.entry) if self.is_opening else ()

    @property
    def json(self) -> SafeString:
        """The message laid out, with masks and folds marked."""
        return marked(admin_text.visible(messages.pretty(self.entry.payload or ""), keep="\n\t"))

    @property
    def headers(self) -> list[tuple[str, SafeString]]:
        """The HTTP headers."""
        headers = self.entry.facts.get("headers")
        if not isinstance(headers, dict):
            return []
        return [
            (admin_text.visible(str(name)), marked(admin_text.visible(str(value)))) for name, value in headers.items()
        ]

    @property
    def http(self) -> list[tuple[Promise, str]]:
        """The other HTTP facts that are known."""
        labels = {"method": _METHOD, "path": _PATH, "client": _CLIENT, "principal": _PRINCIPAL}
        facts = ((label, self.entry.facts.get(name)) for name, label in labels.items())
        return [(label, admin_text.visible(str(value))) for label, value in facts if value]


_METHOD: Final = gettext_lazy("HTTP method")
_PATH: Final = gettext_lazy("path")
_CLIENT: Final = gettext_lazy("client")
_PRINCIPAL: Final = gettext_lazy("principal")


# What happened in between


@dataclass(slots=True)
class _Notes:
    """What is still to be marked, by time."""

    waiting: list[tuple[datetime, str]] = field(default_factory=list)

    def before(self, at: datetime | None) -> Iterator[str]:
        """Take what happened before then; all of it without a time."""
        while self.waiting and (at is None or self.waiting[0][0] < at):
            yield self.waiting.pop(0)[1]


def rows(timeline: Timeline, *, is_whole: bool) -> tuple[list[Row], list[str]]:
    """Return a page's rows, and what happened after the last of them.

    Pauses are marked where the page ``is_whole``: filters make pauses of their own.
    """
    lanes = {lane.stream.id: (number, lane) for number, lane in enumerate(timeline.lanes, start=1)}
    cuts = _cuts(timeline)
    notes = _Notes(sorted(_notes(timeline.lanes)))
    made: list[Row] = []
    previous: Entry | None = None
    for entry in timeline.entries:
        number, lane = lanes.get(entry.stream_id or 0, (None, None))
        marks = [*notes.before(entry.at), *_trimmed(entry, lane)]
        if is_whole and previous is not None:
            marks += _pause((entry.at - previous.at).total_seconds())
        made.append(Row(entry=entry, lane=number, marks=tuple(marks), more=cuts.get(entry.key)))
        previous = entry
    return made, [] if timeline.later else list(notes.before(None))


def _cuts(timeline: Timeline) -> dict[str, int]:
    """Return the ids of the streams that are not there as a whole, by the key of the entry behind which that shows."""
    cut = {lane.stream.id for lane in timeline.lanes if lane.has_more}
    last: dict[int, tuple[int, str]] = {}
    found: dict[int, str] = {}
    for entry in timeline.entries:
        stream_id = entry.stream_id or 0
        if stream_id not in cut or entry.sequence is None:
            continue
        sequence, key = last.get(stream_id, (entry.sequence - 1, entry.key))
        if entry.sequence > sequence + 1:
            found.setdefault(stream_id, key)
        last[stream_id] = (entry.sequence, entry.key)
    return {found.get(stream_id, key): stream_id for stream_id, (_sequence, key) in last.items()}


def _notes(lanes: Sequence[Lane]) -> Iterator[tuple[datetime, str]]:
    for lane in lanes:
        stream = lane.stream
        if stream.takeovers and stream.taken_at is not None:
            yield stream.taken_at, _taken_over(stream)
        if stream.ended_at is not None and stream.state not in (StreamState.OPEN, StreamState.ANSWERED):
            yield (
                stream.ended_at,
                _("Stream %(id)s ended: %(state)s.") % {"id": stream, "state": stream.get_state_display()},
            )


def _taken_over(stream: models.Stream) -> str:
    sentence = ngettext(
        "Another connection took over stream %(id)s.",
        "Another connection took over stream %(id)s, the %(count)d. time.",
        stream.takeovers,
    )
    return sentence % {"id": stream, "count": stream.takeovers}


def _trimmed(entry: Entry, lane: Lane | None) -> Iterator[str]:
    if lane is None or entry.sequence is None:
        return
    # Where the reader knows it: nothing of a redacted stream counts as kept for its client.
    first = getattr(lane.stream, "first_kept", None) or lane.stream.earliest
    if 1 < first == entry.sequence:
        yield _("Events 1 to %(last)d of stream %(id)s are not kept any more.") % {
            "last": entry.sequence - 1,
            "id": lane.stream,
        }


def _pause(seconds: float) -> Iterator[str]:
    if seconds >= PAUSE_SECONDS:
        yield _("Nothing for %(seconds)s s.") % {"seconds": f"{seconds:.1f}"}


# Streams


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSummary:
    """A stream's facts for people."""

    stream: models.Stream

    @property
    def method(self) -> str:
        """The method, visible; a listening stream has none."""
        return admin_text.visible(self.stream.method)

    @property
    def name(self) -> str:
        """The tool, visible."""
        return admin_text.visible(self.stream.name)

    @property
    def request_id(self) -> str:
        """The JSON-RPC id, visible."""
        return admin_text.visible(self.stream.request_id)

    @property
    def session(self) -> str:
        """The short id of its session; empty without one."""
        return "" if self.stream.session_id is None else f"{self.stream.session_id:x}"

    @property
    def is_open(self) -> bool:
        """Whether it goes on."""
        return self.stream.state == StreamState.OPEN

    @property
    def is_bad(self) -> bool:
        """Whether it came to an error, or to nothing."""
        return self.stream.has_failed

    @property
    def resent_from(self) -> str:
        """The short id of the stream whose request was sent again; empty without one."""
        return "" if self.stream.resent_from is None else f"{self.stream.resent_from:x}"
