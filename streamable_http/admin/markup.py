"""One entry of a timeline as HTML, for the session page, the stream page and the live tail.

A page has hundreds of entries, and a template would take a millisecond for each, so they are written here::

    tbody.wire-entry#e-KEY   KEY is <stream>.<sequence> of an event and r<record> of a record, ids in hexadecimal
      data-key, data-at (milliseconds since 1970), data-direction (in, out), data-kind, data-method, data-stream,
      data-sequence; data-lane is the number of the lane's color and place, from 1
      tr.wire-mark           what happened before it: a pause, a takeover, trimmed events
      tr.wire-line           the entry; a.wire-permalink, a.wire-pair, a.wire-resume, .wire-resumed,
                             .wire-latency
      tr.wire-detail         details.wire-message (pre.wire-json, table.wire-headers, a.wire-copy[data-as]); missing
                             where there is nothing to show

Whatever came from the log is an argument of ``format_html``, which escapes it.
"""

from __future__ import annotations

from typing import Any, Final

from django.template.defaultfilters import filesizeformat
from django.utils import formats, timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from streamable_http.admin.entries import Row
from streamable_http.replay import Direction, Kind, News

_NOTHING: Final = SafeString("")


def page_of_session(row: Row) -> SafeString:
    """Return an entry of a session's page, which says what stream it belongs to; the live tail has the same."""
    return _entry(row, _lane(row), _pair(row))


def page_of_stream(row: Row, *, resume_at: int | None) -> SafeString:
    """Return an entry of a stream's page.

    ``resume_at``: where the page begins, for a reader who may ask what a client would get; ``None`` for others.
    """
    sequence = row.entry.sequence
    shown = "" if sequence is None else formats.localize(sequence)
    cell = format_html('<td class="wire-sequence">{}</td>', shown)
    link = _NOTHING if resume_at is None or not sequence else _resume(resume_at, sequence)
    return _entry(row, cell, _pair(row) + link)


def news(told: News) -> dict[str, Any]:
    """Return what happened as the live tail gets it."""
    entries = [_news(Row(entry=entry)) for entry in told.entries]
    return {"entries": entries, "since": told.until.isoformat(), "isCut": told.is_cut}


def _news(row: Row) -> dict[str, Any]:
    return {"key": row.entry.key, "stream": row.stream, "html": page_of_session(row)}


def _entry(row: Row, place: SafeString, pairing: SafeString) -> SafeString:
    entry = row.entry
    return format_html(
        '<tbody class="wire-entry wire-kind-{kind}{nested}" id="e-{key}" tabindex="-1" data-key="{key}" data-at="{at}"'
        ' data-direction="{direction}" data-kind="{kind}" data-method="{method}" data-stream="{stream}"'
        ' data-sequence="{sequence}"{lane}>\n{marks}<tr class="wire-line">\n{time}\n{way}\n{place}\n'
        '<td class="wire-kind"><span class="wire-badge">{label}</span></td>\n{what}\n'
        '<td class="wire-size">{size}</td>\n<td class="wire-latency">{latency}</td>\n'
        '<td class="wire-pairing">{pairing}</td>\n</tr>\n{detail}{more}</tbody>',
        kind=entry.kind.value,
        nested=" wire-nested" if row.is_nested else "",
        key=entry.key,
        at=row.milliseconds,
        direction=entry.direction.value,
        method=row.method,
        stream=row.stream,
        sequence="" if entry.sequence is None else entry.sequence,
        lane=format_html(' data-lane="{}"', row.color) if row.color else "",
        marks=format_html_join("", _MARK, ((mark,) for mark in row.marks)),
        time=_time(row),
        way=_way(row),
        place=place,
        label=row.label,
        what=_what(row),
        size=filesizeformat(entry.size_bytes) if entry.size_bytes else "",
        latency=_latency(row),
        pairing=pairing,
        detail=_detail(row),
        more=_more(row),
    )


_MARK: Final = '<tr class="wire-mark"><td colspan="8">{}</td></tr>\n'


def _time(row: Row) -> SafeString:
    local = timezone.localtime(row.entry.at)
    return format_html(
        '<td class="wire-time"><a class="wire-permalink" href="#e-{}" title="{}"><time datetime="{at}" title="{at}">{}'
        '<span class="wire-fraction">{}</span></time></a></td>',
        row.entry.key,
        _("Link to this entry"),
        f"{local:%H:%M:%S}",
        row.fraction,
        at=local.isoformat(),
    )


def _way(row: Row) -> SafeString:
    return format_html(
        '<td class="wire-direction"><span aria-hidden="true">{}</span><span class="visually-hidden">{}</span></td>',
        row.arrow,
        _("from the client") if row.entry.direction is Direction.IN else _("to the client"),
    )


def _lane(row: Row) -> SafeString:
    """Return the cell that links to the entry on the page of its stream."""
    entry, stream = row.entry, row.stream
    if not stream:
        return SafeString('<td class="wire-lane"></td>')
    return format_html(
        '<td class="wire-lane"><span class="wire-track" aria-hidden="true"></span>'
        '<a class="wire-stream" href="../../../stream/{}/change/{}#e-{}" title="{}">…{}{}</a></td>',
        entry.stream_id,
        f"?after={row.before}" if entry.sequence else "",
        entry.key,
        _("Stream %(stream)s") % {"stream": stream},
        stream[-6:],
        f".{entry.sequence}" if entry.sequence else "",
    )


def _what(row: Row) -> SafeString:
    name, request_id = row.name, row.request_id
    return format_html(
        '<td class="wire-what"><bdi class="wire-method">{}</bdi>{}{}{}</td>',
        row.method,
        format_html(' <bdi class="wire-name">{}</bdi>', name) if name else "",
        format_html(' <bdi class="wire-request-id" title="{}">id {}</bdi>', _("JSON-RPC id"), request_id)
        if request_id
        else "",
        _resumed(row) if row.entry.kind is Kind.RESUME else "",
    )


def _resumed(row: Row) -> SafeString:
    after = row.resumed_after
    said = _("resumed after %(sequence)s") % {"sequence": after} if after else ""
    return format_html(' <span class="wire-resumed">{}</span>', said or _("resumed with a cursor that names nothing"))


def _latency(row: Row) -> SafeString:
    if row.entry.latency_ms is None:
        return _NOTHING
    return format_html(
        '<svg class="wire-bar" viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true" focusable="false">'
        '<rect width="{}" height="6"/></svg> <span>{}</span>',
        row.latency_step,
        row.latency,
    )


def _pair(row: Row) -> SafeString:
    entry = row.entry
    if not entry.pair:
        return _NOTHING
    is_question = entry.kind in (Kind.REQUEST, Kind.ASK)
    said = _("to its answer") if is_question else _("to what it answers")
    return format_html('<a class="wire-pair" href="#e-{}">{}</a>', entry.pair, said)


def _resume(after: int, sequence: int) -> SafeString:
    return format_html(
        ' <a class="wire-resume" href="?after={}&amp;resume={}#preview" title="{}">{}</a>',
        after,
        sequence,
        _("What would a client get that resumes from here?"),
        _("resume here?"),
    )


def _detail(row: Row) -> SafeString:
    entry = row.entry
    if not entry.payload and not entry.facts:
        return _NOTHING
    return format_html(
        '<tr class="wire-detail"><td colspan="8"><details class="wire-message"><summary>{}</summary>\n{}{}{}'
        "</details></td></tr>\n",
        _("Message") if entry.payload else _("HTTP request"),
        _message(row) if entry.payload else "",
        _request(row) if entry.facts else "",
        _copies(row),
    )


def _message(row: Row) -> SafeString:
    return format_html(
        '<pre class="wire-json" tabindex="0" dir="ltr" aria-label="{}">{}</pre>\n', _("Message"), row.json
    )


def _request(row: Row) -> SafeString:
    facts, headers = row.http, row.headers
    if not facts and not headers:
        return _NOTHING
    return format_html(
        '<table class="wire-headers"><caption>{}</caption><tbody>\n{}{}</tbody></table>\n',
        _("HTTP request"),
        format_html_join("", '<tr><th scope="row">{}</th><td><bdi>{}</bdi></td></tr>\n', facts),
        format_html_join(
            "", '<tr><th scope="row"><bdi><code>{}</code></bdi></th><td><bdi>{}</bdi></td></tr>\n', headers
        ),
    )


def _copies(row: Row) -> SafeString:
    forms = row.forms
    if not forms:
        return _NOTHING
    links = ((form, row.entry.stream_id, form, _COPY[form]) for form in forms)
    pattern = '<a class="wire-copy" data-as="{}" href="../../../stream/{}/copy/?as={}">{}</a>'
    return format_html('<p class="wire-copies">{}</p>\n', format_html_join(" ", pattern, links))


_COPY: Final = {"curl": gettext_lazy("Copy as curl"), "python": gettext_lazy("Copy as Python")}
"""What it is called to have an entry in one of :data:`~streamable_http.replay.FORMS`."""


def _more(row: Row) -> SafeString:
    if not row.more:
        return _NOTHING
    return format_html(
        '<tr class="wire-mark"><td colspan="8"><a href="../../../stream/{}/change/?after={}">{}</a></td></tr>\n',
        row.more,
        row.entry.sequence,
        _("This stream has more events: see all of them"),
    )
