"""What operators do, as functions that block: the commands call them, and so may a project.

They need no server that runs, and do not disturb one that does.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from streamable_http.delivery import engine, retention
from streamable_http.stores.base import Pruned


def prune(
    *,
    history_days: float | None = None,
    dry_run: bool = False,
    on_batch: Callable[[Pruned], None] | None = None,
) -> Pruned:
    """Redact what can no longer be resumed and delete what is older than history, until nothing of it is left.

    Open streams and sessions are never touched, nor is what ended less than ``RESUMABLE_SECONDS`` ago. In small
    transactions with pauses between them, so that servers beside it go on. Returns how much it was.

    ``history_days`` stands for the setting ``HISTORY_DAYS``. With ``dry_run`` nothing is changed, only counted.
    ``on_batch`` is called after each batch with what was pruned so far.

    Raises:
        ValueError: ``history_days`` is negative.
        StoreUnavailable: the store did not answer; what was pruned before stays so.
    """
    if history_days is not None and not history_days >= 0:
        raise ValueError(f"history_days is {history_days}, and should not be negative")
    store = engine.store()
    kept = retention.retention(history_days)
    if dry_run:
        return store.prunable(kept)
    pruned = Pruned()
    started_at = time.monotonic()
    while True:
        begun_at = time.monotonic()
        # What becomes due meanwhile is left for the next time, or there would be no end.
        batch = retention.prune_batch(store, kept.later(begun_at - started_at))
        if batch is None:
            return pruned
        pruned += batch
        if on_batch is not None:
            on_batch(pruned)
        store.tidy()
        time.sleep(retention.pause_seconds(time.monotonic() - begun_at))
