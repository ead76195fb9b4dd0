"""One violation of each kind, planted in a copy of what a run has recorded: a checker that misses it proves nothing.

Each plant takes one client's view of one call, with what is committed of it, out of the run, and spoils it.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from typing import Final

from tests.faults import checker
from tests.faults.facts import Death, Facts, Reader, Stream

EVENTS: Final = 8
"""A view must have so many to be spoiled."""


class PlantingFailed(Exception):
    """Nothing in the run could be spoiled, or what was cut out of it was not sound to begin with."""


def missed(found: Facts) -> list[str]:
    """Return the kinds of violations that were planted and not reported.

    Raises:
        PlantingFailed: there is nothing to plant in.
    """
    sound = _excerpt(found)
    if checker.check(sound):
        raise PlantingFailed(f"{found.setup}: what is to be spoiled is not sound: {checker.check(sound)[0]}")
    return [kind for kind, spoil in PLANTS.items() if not _reports(sound, spoil, kind)]


def _reports(sound: Facts, spoil: Callable[[Facts], None], kind: str) -> bool:
    spoiled = copy.deepcopy(sound)
    spoil(spoiled)
    return any(violation.kind == kind for violation in checker.check(spoiled))


def _excerpt(found: Facts) -> Facts:
    """Return a sound call that was read on one connection at its end, with its session and what is committed."""
    for reader in _candidates(found):
        assert reader.stream is not None
        stream = found.streams[reader.stream]
        excerpt = Facts(found.setup, dict(found.session_ids), [reader], {reader.stream: stream})
        if not checker.check(excerpt):
            # Death comes to all; this one was in time.
            assert reader.ended_at is not None
            at = reader.ended_at - 1
            excerpt.deaths.append(Death(at, [reader.stream], {reader.stream: at + 1}))
            return copy.deepcopy(excerpt)
    raise PlantingFailed(f"{found.setup}: no call was long enough and sound")


def _candidates(found: Facts) -> Iterator[Reader]:
    for reader in found.readers:
        is_call = reader.request_id is not None and not reader.is_rival and not reader.is_cancelled
        is_over = reader.ended_at is not None and reader.stream in found.streams
        if is_call and is_over and len(reader.connections[-1].deliveries) >= EVENTS:
            yield reader


def _only(found: Facts) -> tuple[Reader, Stream]:
    (reader,) = found.readers
    (stream,) = found.streams.values()
    return reader, stream


def _lose(found: Facts) -> None:
    """The last event never reaches the client."""
    reader, _ = _only(found)
    del reader.connections[-1].deliveries[-1], reader.application[-1]


def _repeat(found: Facts) -> None:
    """An event is handed to the application twice."""
    reader, _ = _only(found)
    reader.application.insert(-1, reader.application[-2])


def _disorder(found: Facts) -> None:
    """Two events change places on the wire, and so to the application."""
    reader, _ = _only(found)
    for received in (reader.connections[-1].deliveries, reader.application):
        received[-4], received[-3] = received[-3], received[-4]


def _misdeliver(found: Facts) -> None:
    """The call's stream is delivered in a session that it does not belong to."""
    reader, _ = _only(found)
    reader.session = next(name for name in found.session_ids if name != reader.session)


def _skip(found: Facts) -> None:
    """An event is left out, as if nothing had been there."""
    reader, _ = _only(found)
    del reader.connections[-1].deliveries[-4], reader.application[-4]


def _go_back(found: Facts) -> None:
    """The last progress is less than the one before, in the log and at the client."""
    reader, stream = _only(found)
    last = [delivery for delivery in reader.application if '"notifications/progress"' in delivery.payload][-1]
    message = json.loads(last.payload)
    message["params"]["progress"] = 0.5
    spoiled = json.dumps(message)
    sequence = int(last.event_id.partition(".")[2])
    stream.events[sequence - 1] = (sequence, spoiled)
    for received in (*(connection.deliveries for connection in reader.connections), reader.application):
        for delivery in received:
            if delivery.event_id == last.event_id:
                delivery.payload = spoiled


def _delay(found: Facts) -> None:
    """The call ends too long after its worker."""
    (death,) = found.deaths
    death.at -= checker.LATEST_SECONDS


def _forge(found: Facts) -> None:
    """The log says something else than what was sent."""
    _, stream = _only(found)
    sequence, payload = stream.events[-1]
    stream.events[-1] = (sequence, payload + " ")


PLANTS: Final = {
    checker.LOST: _lose,
    checker.REPEATED: _repeat,
    checker.OUT_OF_ORDER: _disorder,
    checker.WRONG_SESSION: _misdeliver,
    checker.SILENT_GAP: _skip,
    checker.BACKWARDS: _go_back,
    checker.LATE: _delay,
    checker.UNCOMMITTED: _forge,
}
