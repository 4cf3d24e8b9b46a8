"""What an answer costs, booked while it is made."""

from __future__ import annotations

from videox2l.answering.stopwatch import Stopwatch
from videox2l.store.low_chunks import Origin


class Costs:
    """Milliseconds by stage (``watch``), fetched bytes by level, and which caches helped."""

    def __init__(self, watch: Stopwatch | None = None) -> None:
        self.watch = watch or Stopwatch()
        self.storage = {"prompt": 0, "high": 0, "low": 0}
        self.disk = {"prompt": 0, "high": 0, "low": 0}
        self.memory_reused = self.conversation_reused = False

    def book(self, level: str, origin: Origin, size: int) -> None:
        """``size`` bytes of ``level`` came from there. What is used and never booked was in memory."""
        if origin == "storage":
            self.storage[level] += size
        elif origin == "disk":
            self.disk[level] += size

    def bytes_from(self, used: dict[str, int]) -> dict[str, dict[str, int]]:
        """By level and origin, for an answer that rests on the bytes ``used``."""
        return {
            level: {
                "memory": max(0, size - self.disk[level] - self.storage[level]),
                "disk": self.disk[level],
                "storage": self.storage[level],
            }
            for level, size in used.items()
        }

    @property
    def cache(self) -> dict[str, bool]:
        """Hits by cache."""
        resident = not (self.storage["prompt"] or self.storage["high"])
        return {"video": resident, "memory": self.memory_reused, "conversation": self.conversation_reused}
