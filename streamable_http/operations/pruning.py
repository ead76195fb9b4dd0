"""Retention by hand: what the workers do now and then, until nothing of it is left."""

from __future__ import annotations

import time
from collections.abc import Callable

from streamable_http.delivery import engine, retention
from streamable_http.stores import base
from streamable_http.stores.base import Pruned


def prune(
    *,
    history_days: float | None = None,
    dry_run: bool = False,
    batch_rows: int | None = None,
    on_batch: Callable[[Pruned], None] | None = None,
) -> Pruned:
    """Redact what can no longer be resumed and delete what is older than history, until nothing of it is left.

    Open streams and sessions are never touched, nor is what ended less than ``RESUMABLE_SECONDS`` ago. In small
    transactions with pauses between them, so that servers beside it go on. Returns how much it was.

    ``history_days`` stands for the setting ``HISTORY_DAYS``. With ``dry_run`` nothing is changed, only counted.
    ``batch_rows``: how many rows a transaction takes, by default 200. ``on_batch`` is called after each batch with
    what was pruned so far.

    Raises:
        ValueError: ``history_days`` is negative, or ``batch_rows`` is not positive.
        StoreUnavailable: the store did not answer; what was pruned before stays so.
    """
    if history_days is not None and not history_days >= 0:
        raise ValueError(f"history_days is {history_days}, and should not be negative")
    if batch_rows is not None and batch_rows < 1:
        raise ValueError(f"batch_rows is {batch_rows}, and should be positive")
    store = engine.store()
    kept = retention.retention(history_days)
    if dry_run:
        return store.prunable(kept)
    started_at = time.monotonic()

    def prune_batch() -> Pruned | None:
        # What becomes due meanwhile is left for the next time, or there would be no end.
        return retention.prune_batch(store, kept.later(time.monotonic() - started_at), batch_rows)

    return until_done(store, prune_batch, on_batch)


def until_done(
    store: base.Store, prune_batch: Callable[[], Pruned | None], on_batch: Callable[[Pruned], None] | None = None
) -> Pruned:
    """Do batches, each a transaction of the store, with pauses between them; how much it was."""
    pruned = Pruned()
    while True:
        begun_at = time.monotonic()
        batch = prune_batch()
        if batch is None:
            return pruned
        pruned += batch
        if on_batch is not None:
            on_batch(pruned)
        store.tidy()
        time.sleep(retention.pause_seconds(time.monotonic() - begun_at))
