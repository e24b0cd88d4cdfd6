"""Whether a target answers, when it is asked again, and what has waited for too long."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable

import structlog

from schemas.config import Retry
from schemas.errors import BackendUnavailable
from streams.edges.exporters.retry import Backoff

from .metrics import TargetMetrics

__all__ = ["Availability"]

Transition = tuple[str, str]
"""Fingerprint and id."""

_log = structlog.get_logger(__name__)


class Availability:
    """Of one target; times are of the monotonic clock."""

    def __init__(self, name: str, retry: Retry, metrics: TargetMetrics, rng: random.Random) -> None:
        self._name = name
        self._limit_s = retry.max_elapsed
        # The target is never given up; single transitions may be.
        self._retry = retry.model_copy(update={"max_elapsed": None})
        self._metrics = metrics
        self._rng = rng
        self._backoff: Backoff | None = None
        self._again_s = 0.0
        self._failing_s: dict[Transition, float] = {}
        """When a transition was first tried in vain."""

    @property
    def is_up(self) -> bool:
        """Whether the target answers, as far as is known."""
        return self._backoff is None

    @property
    def pause_s(self) -> float:
        """So long no try may begin."""
        return 0.0 if self.is_up else max(0.0, self._again_s - time.monotonic())

    def answered(self) -> None:
        """It does."""
        if self._backoff is not None:
            self._backoff = None
            self._metrics.up.set(1)
            _log.info("target is back", target=self._name)

    def failed(self, error: BackendUnavailable, transitions: Iterable[Transition]) -> bool:
        """It does not; whether these are to be given up, for ``retry.max_elapsed`` will be over."""
        now_s = time.monotonic()
        if self._backoff is None:
            self._backoff = Backoff(self._retry, self._rng, time.monotonic)
            self._metrics.up.set(0)
            _log.warning("target is away", target=self._name, error=str(error))
        pause_s = self._backoff.pause(error.retry_after_s) or 0.0
        self._again_s = max(self._again_s, now_s + pause_s)
        if self._limit_s is None:
            return False
        began_s = min(self._failing_s.setdefault(each, now_s) for each in transitions)
        return self._again_s > began_s + self._limit_s

    def over(self, transition: Transition) -> None:
        """Nobody waits for this one any more."""
        self._failing_s.pop(transition, None)

    def close(self) -> None:
        """Nobody asks any more."""
        self._backoff = None
        self._failing_s.clear()
