"""Who may use a prefill actor's device, and when."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Turns:
    """``places`` for videos at a time, given out in the order in which they were asked for."""

    def __init__(self, places: int) -> None:
        self.places = places
        self._free = places
        self._change = threading.Condition()
        self._first = threading.Lock()

    @contextmanager
    def take(self, places: int) -> Iterator[None]:
        """Hold so many places, from when they are free on."""
        # Who waits for its places holds up whoever comes later: else one that needs many would wait for ever.
        with self._first, self._change:
            self._change.wait_for(lambda: self._free >= places)
            self._free -= places
        try:
            yield
        finally:
            with self._change:
                self._free += places
                self._change.notify()
