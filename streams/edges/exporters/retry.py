"""When to try again. Pure: clock and randomness are arguments.

Source: OTLP specification, sections Failures and OTLP/HTTP Throttling (a server's wish is
honoured; otherwise exponential backoff with jitter).
"""

from __future__ import annotations

import random
from collections.abc import Callable

from schemas.config import Retry

__all__ = ["Backoff"]


class Backoff:
    """The pauses between the tries of one request: ``pause(wish)`` after each failure.

    A server's wish is kept as it is; without one the pause is uniform in [0, c), where c
    starts at ``initial`` and grows by ``multiplier`` with every failure ("full jitter": retries
    of many clients spread evenly). No pause exceeds ``maximum``.
    """

    def __init__(
        self,
        retry: Retry,
        rng: random.Random,
        clock: Callable[[], float],
        *,
        started_s: float | None = None,
    ) -> None:
        """``clock`` counts seconds; ``started_s`` is the first try's time on it, now if unset."""
        self._retry = retry
        self._rng = rng
        self._clock = clock
        self._ceiling_s = min(retry.initial, retry.maximum)
        self.started_s = clock() if started_s is None else started_s

    def pause(self, wish_s: float | None = None) -> float | None:
        """Seconds to wait before the next try, or None to give up.

        It gives up when the next try would begin later than ``max_elapsed`` after the first.
        """
        if wish_s is not None:
            pause_s = min(max(wish_s, 0.0), self._retry.maximum)
        else:
            pause_s = self._rng.uniform(0.0, self._ceiling_s)
        self._ceiling_s = min(self._ceiling_s * self._retry.multiplier, self._retry.maximum)
        left_s = self.left_s()
        return None if left_s is not None and pause_s > left_s else pause_s

    def left_s(self) -> float | None:
        """Seconds in which a try may still begin (negative: none); None without a limit."""
        if self._retry.max_elapsed is None:
            return None
        return self.started_s + self._retry.max_elapsed - self._clock()
