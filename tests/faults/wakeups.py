"""Wake-ups that are dropped while a file is there."""

from __future__ import annotations

from pathlib import Path

from streamable_http.delivery.wakeups import channel_layer


class DroppingWakeups(channel_layer.ChannelLayerWakeups):
    """Those of the channel layer. Options: ``switch``, the file, which gets a byte for each one that was dropped."""

    def __init__(self, switch: str, alias: str = "default") -> None:
        super().__init__(alias)
        self._switch = Path(switch)

    def wake(self, topic: str) -> None:
        try:
            # Never made here: who takes the file away ends the dropping.
            with self._switch.open("rb+") as dropped:
                dropped.seek(0, 2)
                dropped.write(b".")
        except FileNotFoundError:
            super().wake(topic)
