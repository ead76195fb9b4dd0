"""Pages of a timeline with what filters let through."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from streamable_http.replay import building
from streamable_http.replay.entries import Direction, Entry, Kind, Lane, Timeline

SCANNED_ENTRIES: Final = 1_000
"""Entries that are looked at for one page where a filter hides most of them."""

SCANNED_PAGES: Final = 20

FOUND_ENTRIES: Final = 100
"""So many are enough for a page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """What to show; everything unless it says otherwise."""

    direction: Direction | None = None
    method: str = ""
    """Exactly this one."""

    stream_id: int | None = None
    errors: bool = False
    """Only exchanges that ended in an error, or were lost."""

    text: str = ""
    """Somewhere in the redacted message, in any case. Without the right to see messages it finds nothing."""


EVERYTHING: Final = Filters()


def scan(first: Timeline, turn: Callable[[Timeline], Timeline], filters: Filters, is_forward: bool) -> Timeline:
    """Return a page of what the filters let through: of one page, or of several where they hide most."""
    pages = [first]
    entries = list(_filtered(first, filters))
    looked_at = len(first.entries)
    while (
        len(entries) < FOUND_ENTRIES
        and _hides(filters)
        and looked_at < SCANNED_ENTRIES
        and len(pages) < SCANNED_PAGES
        and (pages[-1].later if is_forward else pages[-1].earlier)
    ):
        pages.append(turn(pages[-1]))
        entries += _filtered(pages[-1], filters)
        looked_at += len(pages[-1].entries)
    if not is_forward:
        pages.reverse()
    return Timeline(
        entries=building.in_order(entries),
        lanes=_lanes(pages, entries, filters),
        earlier=pages[0].earlier,
        later=pages[-1].later,
    )


def _hides(filters: Filters) -> bool:
    return bool(filters.direction or filters.method or filters.text or filters.errors)


def _filtered(page: Timeline, filters: Filters) -> Iterable[Entry]:
    failed = _failed(page) if filters.errors else set()
    text = filters.text.casefold()
    for entry in page.entries:
        if filters.direction is not None and entry.direction is not filters.direction:
            continue
        if filters.method and entry.method != filters.method:
            continue
        if filters.errors and entry.stream_id not in failed:
            continue
        # What is shown and nothing else: who may look for a secret would find it letter by letter.
        if text and text not in (entry.payload or "").casefold():
            continue
        yield entry


def _failed(page: Timeline) -> set[int | None]:
    """Return the streams on a page that failed."""
    failed: set[int | None] = {entry.stream_id for entry in page.entries if entry.kind is Kind.ERROR}
    return failed.union(lane.stream.pk for lane in page.lanes if lane.stream.has_failed)


def _lanes(pages: Sequence[Timeline], entries: Sequence[Entry], filters: Filters) -> list[Lane]:
    if len(pages) == 1 and not _hides(filters):
        return pages[0].lanes
    shown = {entry.stream_id for entry in entries}
    counts: dict[int | None, int] = {}
    for entry in entries:
        if entry.sequence is not None:
            counts[entry.stream_id] = counts.get(entry.stream_id, 0) + 1
    lanes: dict[int, Lane] = {}
    for lane in (lane for page in pages for lane in page.lanes if lane.stream.pk in shown):
        before = lanes.get(lane.stream.pk, lane)
        has_more = lane.has_more or before.has_more
        lanes[lane.stream.pk] = Lane(stream=lane.stream, entries=counts.get(lane.stream.pk, 0), has_more=has_more)
    return sorted(lanes.values(), key=lane_order)


def lane_order(lane: Lane) -> tuple[bool, int]:
    return not lane.stream.is_listening, lane.stream.pk
