"""How often one caller may ask: a token bucket each, in the memory of this process."""

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(slots=True)
class _Bucket:
    tokens: float
    filled_s: float


class RateLimiter:
    """`per_minute` requests a minute and caller, in the long run; a minute's worth may come at once.

    A bucket is kept per name, so names must be few: those of API keys, never what a client says of itself.
    """

    def __init__(self, *, per_minute: float, clock: Callable[[], float] = time.monotonic) -> None:
        if per_minute < 1:
            raise ValueError(f"{per_minute:g} requests per minute: expected at least 1")
        self._capacity = float(per_minute)
        self._per_second = per_minute / 60
        self._clock = clock
        self._buckets: dict[str, _Bucket] = {}

    def take(self, caller: str) -> float:
        """Count one request: 0 if it may go on, else the seconds until the next one may. Refused ones are free."""
        now_s = self._clock()
        bucket = self._buckets.setdefault(caller, _Bucket(self._capacity, now_s))
        gained = (now_s - bucket.filled_s) * self._per_second
        bucket.tokens = min(self._capacity, bucket.tokens + gained)
        bucket.filled_s = now_s
        if bucket.tokens < 1:
            return (1 - bucket.tokens) / self._per_second
        bucket.tokens -= 1
        return 0.0
