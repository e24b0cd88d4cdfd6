"""Verdicts about traces whose wait is over."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from schemas.config import Sampling
from schemas.records.base import Value
from streams.sampling.columns import Traces
from streams.sampling.step import Decided, Step

__all__ = ["Decider"]


class Decider:
    """Policies over one partition, and what they have learned.

    ``decide`` changes nothing; ``learn`` takes what was decided as the log has it, so that the
    same log gives the same state, live and after a restart.
    """

    policies: tuple[str, ...]
    """Names of the policies in order, and last ``default`` for what none of them took."""
    keys_forgotten: int
    """Sampling keys whose learned state made room for others."""

    def __init__(self, settings: Sampling, partitions: int) -> None:
        raise NotImplementedError

    def decide(self, traces: Traces, now_ms: int) -> Step:
        """Decide all traces that are due together."""
        raise NotImplementedError

    def learn(self, decided: Decided) -> None:
        """Take in what was decided; a step in several parts is learned part by part, in order."""
        raise NotImplementedError

    def root_lags(self) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
        """For ``RootLags.set``: root operations whose traces need more than ``root_wait``."""
        raise NotImplementedError

    def adjust(self, name: str, value: Value) -> None:
        """Set one of ``schemas.config.sampling.adjustable``; None: as configured.

        Other names mean nothing here.
        """
        raise NotImplementedError

    def snapshot(self) -> Sequence[bytes]:
        """What was learned; equal states give equal bytes."""
        raise NotImplementedError

    def restore(self, chunks: Iterable[bytes]) -> None:
        """Take over what ``snapshot`` gave, of any settings. Raises MalformedMessage."""
        raise NotImplementedError
