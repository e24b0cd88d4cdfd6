"""What somebody should look at while a stage works on: shown by ``/readyz``."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["CONCERN_S", "Concerns"]

CONCERN_S = 600.0
"""For so long after a count has grown it is shown."""


class Concerns:
    """Counts that should not grow.

    Args:
        counts: of the stage.
        texts: what is to be said, by attribute of them; ``{count}`` is how many, in all.
        words: what else is filled in.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        counts: Any,
        texts: Mapping[str, str],
        words: Mapping[str, str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._counts = counts
        self._texts = texts
        self._words = words
        self._clock = clock
        self._seen = dict.fromkeys(texts, 0)
        self._grown_s: dict[str, float] = {}

    def __call__(self) -> Mapping[str, str]:
        """By part: what has grown lately."""
        now_s, found = self._clock(), {}
        for name, text in self._texts.items():
            value = getattr(self._counts, name)
            count = int(value.total() if hasattr(value, "total") else value)
            if count != self._seen[name]:
                self._seen[name], self._grown_s[name] = count, now_s
            if name in self._grown_s and now_s - self._grown_s[name] <= CONCERN_S:
                found[name] = text.format(count=count, **self._words)
        return found
