"""Messages of a timeline as rows of a table, or as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from streamable_http.management import output
from streamable_http.management.output import Cell, Column, Styled
from streamable_http.replay import Direction, Entry, Kind, messages

ARROWS: Final = {Direction.IN: "→", Direction.OUT: "←"}
"""From the client to the server, and back."""

COLUMNS: Final = (
    Column("time", width=12),
    Column(" ", width=1),
    Column("stream", width=16),
    Column("event", "right", width=5),
    Column("kind", width=12),
    Column("size", "right", width=8),
    Column("took", "right", width=12),
    Column("message"),
)

NUMBERED_COLUMNS: Final = (Column("no.", "right", width=5), *COLUMNS, Column("pair"))

STYLES: Final = {Kind.ERROR: "red", Kind.ASK: "magenta", Kind.REPLY: "magenta", Kind.RESUME: "yellow"}


def row(entry: Entry) -> list[Cell]:
    """Return the cells of :data:`COLUMNS`."""
    return [
        output.clock(entry.at),
        ARROWS[entry.direction],
        "" if entry.stream_id is None else f"{entry.stream_id:x}",
        entry.sequence,
        Styled(entry.kind.value, STYLES.get(entry.kind, "")),
        output.size(entry.size_bytes),
        output.milliseconds(entry.latency_ms),
        f"{entry.method} {entry.name}".strip() + (f" after {entry.cursor}" if entry.cursor else ""),
    ]


def numbered_row(entry: Entry, numbers: Mapping[str, int]) -> list[Cell]:
    """Return the cells of :data:`NUMBERED_COLUMNS`; ``numbers`` are those of the entries on the page, by key."""
    pair = numbers.get(entry.pair)
    return [numbers[entry.key], *row(entry), "" if pair is None else f"↔ {pair}"]


def show(printer: output.Output, entry: Entry, *, has_payloads: bool) -> None:
    """Print one entry as soon as it is there."""
    if printer.is_json:
        printer.json_line(as_json(entry))
        return
    printer.table(COLUMNS, [row(entry)], has_header=False)
    if has_payloads:
        show_payload(printer, entry)
    printer.flush()


def show_payload(printer: output.Output, entry: Entry) -> None:
    """Print what was said, and the HTTP headers of what came in."""
    headers = entry.facts.get("headers")
    for name, value in headers.items() if isinstance(headers, dict) else ():
        printer.line(f"{name}: {value}", indent=8)
    if entry.payload is not None:
        for line in messages.pretty(entry.payload).split("\n"):
            printer.line(line, indent=8)


def as_json(entry: Entry) -> dict[str, Any]:
    """Return all that is known of an entry; its message as JSON, not as text."""
    return {
        "type": "entry",
        "key": entry.key,
        "at": entry.at,
        "direction": entry.direction.value,
        "kind": entry.kind.value,
        "stream": None if entry.stream_id is None else f"{entry.stream_id:x}",
        "sequence": entry.sequence,
        "method": entry.method,
        "name": entry.name,
        "request_id": parsed(entry.request_id),
        "size_bytes": entry.size_bytes,
        "pair": entry.pair,
        "latency_ms": entry.latency_ms,
        "cursor": entry.cursor,
        "payload": parsed(entry.payload),
        "facts": entry.facts,
    }


def parsed(text: str | None) -> Any:
    """Return stored JSON as what it says; text that is none as it is, and nothing for nothing."""
    if not text:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
