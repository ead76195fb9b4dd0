"""What waits to be committed to one stream."""

from __future__ import annotations


class Outbox:
    """Payloads in order, with their size; no locking of its own."""

    __slots__ = ("payloads", "size_bytes")

    def __init__(self) -> None:
        self.payloads: list[str] = []
        self.size_bytes = 0
        """Of all payloads together, in UTF-8."""

    def __len__(self) -> int:
        return len(self.payloads)

    def add(self, payload: str, size_bytes: int) -> None:
        """Add at the end."""
        self.payloads.append(payload)
        self.size_bytes += size_bytes

    def replace(self, place: int, payload: str, size_bytes: int) -> int:
        """Put another payload in a place; by how many bytes that is more."""
        grown = size_bytes - len(self.payloads[place].encode())
        self.payloads[place] = payload
        self.size_bytes += grown
        return grown

    def put_back(self, payloads: list[str], size_bytes: int) -> None:
        """Put what was taken back to the front."""
        self.payloads[:0] = payloads
        self.size_bytes += size_bytes

    def fits(self, size_bytes: int) -> bool:
        """Tell whether the first payload, if there is one, is within the limit."""
        return self.size_bytes <= size_bytes or len(self.payloads[0].encode()) <= size_bytes

    def take(self, events: int, size_bytes: int) -> tuple[list[str], int]:
        """Remove payloads from the front, within both limits but at least one; them and their size."""
        if len(self.payloads) <= events and self.size_bytes <= size_bytes:
            taken, size = self.payloads, self.size_bytes
            self.payloads = []
        else:
            count, size = self._fitting(events, size_bytes)
            taken = self.payloads[:count]
            del self.payloads[:count]
        self.size_bytes -= size
        return taken, size

    def clear(self) -> None:
        """Throw everything away."""
        self.payloads = []
        self.size_bytes = 0

    def _fitting(self, events: int, size_bytes: int) -> tuple[int, int]:
        count = 0
        total = 0
        for payload in self.payloads[: max(events, 1)]:
            size = len(payload.encode())
            if count and total + size > size_bytes:
                break
            count += 1
            total += size
        return count, total
