"""Committing a batch, however often it takes: the log's dealings with a store that fails."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from streamable_http import exceptions
from streamable_http.delivery import metrics
from streamable_http.stores import base

logger = logging.getLogger(__name__)

DOWN_SECONDS: Final = 5.0
"""After this long without a commit, calls that have not begun are refused."""

RETRY_SECONDS: Final = (0.05, 0.1, 0.2, 0.5, 1.0)
"""Pauses between tries while the store is unavailable; the last one repeats."""

UNAVAILABLE: Final = "the database does not answer"


@dataclass(slots=True)
class Item:
    """A write, and who is told what became of it."""

    write: base.StreamWrite
    settle: Callable[[base.StreamWrite, base.Outcome], None]
    """Called on the event loop."""

    is_told: bool = False
    """Whether the outcome has been passed on."""


class Committer:
    """Used in the log's thread alone, but for :meth:`is_down`.

    ``post`` passes outcomes on to the event loop; every item gets one, once.
    """

    def __init__(
        self,
        store: base.Store,
        *,
        post: Callable[[Sequence[Item], Sequence[base.Outcome]], None],
        has_lease: Callable[[], bool],
        take_openings: Callable[[], Sequence[Item]],
    ) -> None:
        """``take_openings`` gives the calls that have not begun and wait for the batch at hand to be committed."""
        self.dropped_records = 0
        self._store = store
        self._post = post
        self._has_lease = has_lease
        self._take_openings = take_openings
        self._down_since: float | None = None
        self._trying_since: float | None = None

    def is_down(self) -> bool:
        """Tell whether the store has not answered for :data:`DOWN_SECONDS`, by errors or by none at all."""
        since = self._down_since or self._trying_since
        return since is not None and time.monotonic() - since > DOWN_SECONDS

    @property
    def next_look_seconds(self) -> float | None:
        """When to :meth:`probe` at the latest; ``None`` while all is well."""
        return None if self._down_since is None else RETRY_SECONDS[-1]

    def probe(self) -> None:
        """Find out whether the store answers again, since refused calls bring no commit that would tell."""
        if self._down_since is None:
            return
        try:
            self._store.write([], [])
        except exceptions.StoreError as error:
            logger.debug("the database still does not answer: %s", error)
        else:
            self._note_up()

    def _tell(self, items: Sequence[Item], outcomes: Sequence[base.Outcome]) -> None:
        told = [(item, outcome) for item, outcome in zip(items, outcomes, strict=True) if not item.is_told]
        for item, _ in told:
            item.is_told = True
        self._post([item for item, _ in told], [outcome for _, outcome in told])

    def commit(self, items: Sequence[Item], records: Sequence[base.NewRecord]) -> None:
        """Commit, as long as this worker has its lease; whatever goes wrong, everybody gets an outcome."""
        try:
            self._commit(items, records)
        except Exception:
            logger.exception("a batch could not be committed")
            self._tell(items, [exceptions.StoreError("a batch could not be committed") for _ in items])

    def _commit(self, items: Sequence[Item], records: Sequence[base.NewRecord]) -> None:
        pauses = iter(RETRY_SECONDS)
        uncertain: base.CommitUncertain | None = None
        while items or records:
            try:
                outcomes = self._try(items, records, uncertain)
            except base.CommitUncertain as error:
                uncertain = error
            except exceptions.StoreUnavailable as error:
                self._note_down(error)
                if self.is_down():
                    self._refuse_openings(self._take_openings(), error)
                    if uncertain is None:
                        self.dropped_records += len(records)
                        items, records = self._refuse_openings(items, error), ()
                time.sleep(next(pauses, RETRY_SECONDS[-1]))
            except exceptions.StoreError as error:
                return self._commit_apart(items, records, error)
            else:
                if outcomes is not None:
                    return self._tell(items, outcomes)
                uncertain = None
        return None

    def _try(
        self, items: Sequence[Item], records: Sequence[base.NewRecord], uncertain: base.CommitUncertain | None
    ) -> list[base.Outcome] | None:
        """Commit, or find out whether the last try was committed after all; ``None``: it was not, so try again."""
        if uncertain is not None:
            return uncertain.outcomes if self._store.committed(uncertain.receipt) else None
        if not self._has_lease():
            self.dropped_records += len(records)
            return [exceptions.StreamLost(item.write.stream_id) for item in items]
        begun_at = self._trying_since = time.monotonic()
        writes = [item.write for item in items]
        try:
            outcomes = self._store.write(writes, records)
        finally:
            self._trying_since = None
        instruments = metrics.instruments()
        if instruments is not None:
            instruments.note_commit(writes, outcomes, time.monotonic() - begun_at)
        self._note_up()
        return outcomes

    def _commit_apart(
        self, items: Sequence[Item], records: Sequence[base.NewRecord], error: exceptions.StoreError
    ) -> None:
        """Commit stream by stream, so that data that cannot be stored harms its own stream alone."""
        if len(items) + bool(records) > 1:
            for item in items:
                self._commit([item], ())
            self._commit((), records)
            return
        logger.error("the log cannot store this data: %s", error)
        self.dropped_records += len(records)
        self._tell(items, [error for _ in items])

    def _refuse_openings(self, items: Sequence[Item], error: exceptions.StoreUnavailable) -> list[Item]:
        """Tell calls that have not begun at once; the others, which go on waiting, are returned."""
        openings = [item for item in items if item.write.opening is not None]
        if openings:
            logger.error("calls are refused, because the database does not answer: %s", error)
            self._tell(openings, [exceptions.Unavailable(UNAVAILABLE) for _ in openings])
        return [item for item in items if item.write.opening is None]

    def _note_down(self, error: exceptions.StoreUnavailable) -> None:
        if self._down_since is None:
            self._down_since = time.monotonic()
            logger.warning("the database does not answer, trying again: %s", error)

    def _note_up(self) -> None:
        self._down_since = None
