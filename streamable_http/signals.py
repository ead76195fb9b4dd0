"""What happens, for whoever wants to watch: Django signals.

They are sent beside the work that they tell of, on the event loop of the worker where it happened, and change
nothing. An async receiver runs on that loop; a plain one in a thread. What a receiver raises is logged. While the
receivers of a worker are 5 000 signals behind, new ones are dropped, which is logged, too.
``sender`` is the engine's class; everything else comes by keyword::

    @receiver(signals.call_ended)
    async def note(*, name, outcome, duration_seconds, **facts): ...

``session_id`` and ``stream_id`` are the public ids (integers; the admin shows them in hexadecimal), and ``None``
without a session. Receivers take ``**facts``, because there may be more of them one day.
"""

from __future__ import annotations

from django.dispatch import Signal

session_opened = Signal()
"""``session_id``, ``server`` (name), ``principal`` (key), ``revision``, ``client_info``."""

session_ended = Signal()
"""``session_id``, ``state``: ``terminated`` by its client, or ``expired``."""

call_started = Signal()
"""``session_id``, ``stream_id``, ``method``, ``name`` (of the tool, prompt or resource), ``principal`` (key),
``is_rerun``."""

call_ended = Signal()
"""As :data:`call_started`, and ``outcome`` (``result``, ``tool_error``, ``error``, ``cancelled``, ``lost``),
``duration_seconds``, ``error_code`` (JSON-RPC, or ``None``)."""

call_rerun = Signal()
"""``session_id``, ``stream_id``, ``method``, ``name``, ``principal``: its worker died, and it runs again here."""

stream_followed = Signal()
"""``session_id``, ``stream_id``, ``after`` (sequence): a connection came by GET, to resume or to listen."""

stream_lost = Signal()
"""``stream_id``: its worker died, and it was ended with an error."""

ask_sent = Signal()
"""``session_id``, ``method``: the client was asked something."""

ask_answered = Signal()
"""``session_id``, ``method``, ``duration_seconds``, ``is_error``."""
