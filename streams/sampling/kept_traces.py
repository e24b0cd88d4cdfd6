"""Traces that were decided and kept: exact, for late spans and for work orders."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Kept", "KeptTraces"]


class Kept(NamedTuple):
    """Kept traces of a range of source offsets; one row a trace."""

    trace_id_high: NDArray[np.uint64]
    trace_id_low: NDArray[np.uint64]
    threshold: NDArray[np.uint64]
    policy: NDArray[np.int32]


class KeptTraces:
    """Ids of kept traces with threshold and policy, for ``memory_ms`` after their decision.

    A trace is active while it may have spans at or after the end of the last work order: only
    those are in ``overlapping``, and they are never forgotten. Of the others at most ``most``
    are remembered; what was decided first is forgotten first (``forgotten`` counts them).
    """

    forgotten: int
    """Traces forgotten before their time because there were more than ``most``."""

    def __init__(self, most: int, memory_ms: int, *, seed: int = 0) -> None:
        raise NotImplementedError

    def add(
        self,
        trace_id_high: NDArray[np.uint64],
        trace_id_low: NDArray[np.uint64],
        threshold: NDArray[np.uint64],
        policy: NDArray[np.int32],
        first: NDArray[np.int64] | None,
        last: NDArray[np.int64] | None,
        now_ms: int,
    ) -> None:
        """Remember traces; then forget what is older than ``memory_ms``, or too much.

        ``first`` and ``last`` are source offsets as in ``Traces``. Both None (a record that was
        recalled): the trace becomes active when a replayed span of it is absorbed. A trace that
        is known stays as it was decided, and its range grows.
        """
        raise NotImplementedError

    def overlapping(self, start: int, stop: int) -> Kept:
        """Active traces with ``first < stop`` and ``last >= start``, by time of activation."""
        raise NotImplementedError

    def retire(self, stop: int) -> None:
        """A work order up to ``stop`` was written: who ends before it is active no longer."""
        raise NotImplementedError

    def expire(self, now_ms: int) -> int:
        """Forget what is older than ``memory_ms``; how many that were."""
        raise NotImplementedError

    def find(self, trace_id_high: int, trace_id_low: int) -> tuple[int, int] | None:
        """Threshold and policy of a trace; None: not known."""
        raise NotImplementedError

    def __len__(self) -> int:
        raise NotImplementedError

    @property
    def active(self) -> int:
        """Number of active traces."""
        raise NotImplementedError

    @property
    def touched_bytes(self) -> int:
        """Memory that was written to since it was last given back, in bytes."""
        raise NotImplementedError

    def chunks(self) -> list[bytes]:
        """The state as bytes, the same bytes for the same state."""
        raise NotImplementedError

    def restore(self, chunks: Iterable[bytes]) -> None:
        """Take over a state that ``chunks`` gave. Raises MalformedMessage if it is none."""
        raise NotImplementedError
