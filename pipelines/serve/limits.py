"""How often a key may ask: a bucket of requests and one of tokens, which fill up steadily."""

from __future__ import annotations

import time
from collections.abc import Callable

from pipelines.serve.errors import RateLimitedError
from pipelines.serve.keys import ApiKey

_MINUTE_S = 60.0


class Bucket:
    """Holds what may be taken in a minute, and gains as much in each."""

    def __init__(self, per_minute: int, clock: Callable[[], float]) -> None:
        self.per_minute = per_minute
        self._clock = clock
        self._level = float(per_minute)
        self._at = clock()

    def wait_s(self, amount: float) -> float:
        """Seconds until ``amount`` is in it; 0 if it is."""
        now = self._clock()
        self._level = min(self.per_minute, self._level + (now - self._at) * self.per_minute / _MINUTE_S)
        self._at = now
        return max(0.0, (amount - self._level) * _MINUTE_S / self.per_minute)

    def take(self, amount: float) -> None:
        """Take ``amount``, which may leave a debt."""
        self._level -= amount


class Limits:
    """The buckets of all keys. In one process: there is one ingress."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: dict[tuple[str, str], Bucket] = {}

    def admit(self, key: ApiKey) -> None:
        """Count a request.

        :raises RateLimitedError: there were too many, or their answers were too long; a refused request is not counted.
        """
        # Of tokens one is asked for: how many an answer takes is only known behind it, so the last one may overdraw.
        due = [("requests", key.requests_per_minute, 1), ("tokens", key.tokens_per_minute, 1)]
        for kind, limit, amount in due:
            if limit is not None and (wait_s := self._bucket(key, kind, limit).wait_s(amount)) > 0:
                raise RateLimitedError(f"the key {key.name!r} may use {limit} {kind} a minute", wait_s)
        if key.requests_per_minute is not None:
            self._bucket(key, "requests", key.requests_per_minute).take(1)

    def charge(self, key: ApiKey, tokens: int) -> None:
        """Count the tokens of an answer."""
        if key.tokens_per_minute is not None:
            bucket = self._bucket(key, "tokens", key.tokens_per_minute)
            bucket.wait_s(0)  # fills it first
            bucket.take(tokens)

    def _bucket(self, key: ApiKey, kind: str, limit: int) -> Bucket:
        bucket = self._buckets.get((key.name, kind))
        if bucket is None or bucket.per_minute != limit:
            bucket = self._buckets[key.name, kind] = Bucket(limit, self._clock)
        return bucket
