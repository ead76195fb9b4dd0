"""For how long what has ended is kept, and in what portions the rest goes."""

from __future__ import annotations

from typing import Final

from streamable_http import conf, redaction
from streamable_http.stores import base

BATCH: Final = 200
"""Rows redacted or deleted in one transaction: some 10 ms, which is what a writer beside it may have to wait."""

PAUSE_SECONDS: Final = 0.02
"""Least time between two batches."""

DAY_SECONDS: Final = 86_400.0


def retention(history_days: float | None = None) -> base.Retention:
    """Return the settings' retention, or one with another age of history."""
    resumable_seconds = conf.settings.RESUMABLE_SECONDS
    days = conf.settings.HISTORY_DAYS if history_days is None else history_days
    # Nothing is deleted that a client may still come back for.
    history_seconds = None if days is None else max(days * DAY_SECONDS, resumable_seconds)
    return base.Retention(resumable_seconds, history_seconds)


def prune_batch(store: base.Store, kept: base.Retention, rows: int | None = None) -> base.Pruned | None:
    """Redact or delete one batch of what is due; ``None`` when nothing is left to do.

    ``rows`` stands for :data:`BATCH`.

    Raises:
        StoreUnavailable: the store did not answer.
    """
    return store.prune(kept, redaction.redact_text, BATCH if rows is None else rows)


def pause_seconds(batch_seconds: float) -> float:
    """Return how long to wait after a batch, so that others have the store for at least half of the time."""
    return max(PAUSE_SECONDS, batch_seconds)
