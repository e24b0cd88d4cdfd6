"""Traces that were decided and kept: exact, for late spans and for work orders."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.errors import MalformedMessage
from streams.sampling import keeping
from streams.sampling.memory import Region, plain
from streams.sampling.rows import Rows
from streams.sampling.snapshots import from_chunks, to_chunks

__all__ = ["Kept", "KeptTraces"]

_NAME, _VERSION = "kept traces", 1
_COLUMNS = {
    "trace_id_high": np.uint64,
    "trace_id_low": np.uint64,
    "threshold": np.uint64,
    "policy": np.int32,
    "first": np.int64,
    "last": np.int64,
    "added": np.int64,
    "active": np.int64,
}


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

    Takes 72 bytes a trace. Results do not depend on ``seed``.
    """

    def __init__(self, most: int, memory_ms: int, *, seed: int = 0) -> None:
        if memory_ms < 1:
            raise ValueError(f"memory_ms must be at least 1, not {memory_ms}")
        self._most, self._memory_ms, self._seed = most, memory_ms, seed
        self._start()

    def _start(self) -> None:
        self._rows = Rows(self._most, keeping.WIDTH_BYTES, self._seed)
        self._state, self.address = self._rows.state, self._rows.address
        self._state[[keeping.MOST, keeping.MEMORY]] = self._most, self._memory_ms
        self._active = Region(4 * self._rows.room)
        self._state[keeping.ACTIVE] = self._active.address

    def _reserve(self, more: int) -> None:
        self._rows.reserve(more)
        if 4 * self._rows.room > len(self._active.bytes):
            old, count = self._active, self.active
            self._active = Region(4 * self._rows.room)
            self._active.bytes[: 4 * count] = old.bytes[: 4 * count]
            self._state[keeping.ACTIVE] = self._active.address

    def add(
        self,
        trace_id_high: NDArray[np.uint64],
        trace_id_low: NDArray[np.uint64],
        threshold: NDArray[np.uint64],
        policy: NDArray[np.int32],
        *,
        now_ms: int,
        first: NDArray[np.int64] | None = None,
        last: NDArray[np.int64] | None = None,
    ) -> None:
        """Remember traces; then forget what is older than ``memory_ms``, or too much.

        ``first`` and ``last`` are source offsets as in ``Traces``. Without them (a record that
        was recalled) a trace becomes active when a replayed span of it is absorbed. A trace that
        is known stays as it was decided, and its range grows.
        """
        size = len(trace_id_high)
        columns = (trace_id_low, threshold, policy, first, last)
        if any(column is not None and len(column) != size for column in columns):
            raise ValueError(f"columns that are not of {size} traces")
        unknown = np.full(size, -1, np.int64)
        self._reserve(size)
        keeping.add(
            self.address,
            plain(trace_id_high, np.uint64),
            plain(trace_id_low, np.uint64),
            plain(threshold, np.uint64),
            plain(policy, np.int32),
            unknown if first is None else plain(first, np.int64),
            unknown if last is None else plain(last, np.int64),
            np.full(size, now_ms, np.int64),
        )
        keeping.forget(self.address, now_ms)

    def overlapping(self, start: int, stop: int) -> Kept:
        """Active traces with ``first < stop`` and ``last >= start``, by time of activation."""
        high, low, threshold = np.empty((3, self.active), np.uint64)
        policy = np.empty(self.active, np.int32)
        n = keeping.list_overlapping(self.address, start, stop, high, low, threshold, policy)
        return Kept(high[:n], low[:n], threshold[:n], policy[:n])

    def retire(self, stop: int) -> None:
        """Work orders up to ``stop`` are written: who ends before it is active no longer."""
        keeping.retire(self.address, stop)

    def expire(self, now_ms: int) -> int:
        """Forget what is older than ``memory_ms``; how many that were."""
        before = len(self)
        keeping.forget(self.address, now_ms)
        if not len(self):
            self._rows.release()
        return before - len(self)

    def find(self, trace_id_high: int, trace_id_low: int) -> tuple[int, int] | None:
        """Threshold and policy of a trace; None: not known."""
        threshold, policy = np.empty(1, np.uint64), np.empty(1, np.int32)
        found = keeping.decision(
            self.address, np.uint64(trace_id_high), np.uint64(trace_id_low), threshold, policy
        )
        return (int(threshold[0]), int(policy[0])) if found else None

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def active(self) -> int:
        """Number of active traces."""
        return int(self._state[keeping.ACTIVE_COUNT])

    @property
    def forgotten(self) -> int:
        """Traces forgotten before their time because there were more than ``most``."""
        return int(self._state[keeping.FORGOTTEN])

    @property
    def touched_bytes(self) -> int:
        """Memory that was written to since it was last given back, in bytes."""
        return self._rows.touched_bytes + 4 * self.active

    def chunks(self) -> list[bytes]:
        """The state as bytes, the same bytes for the same state."""
        columns = {name: np.empty(len(self), dtype) for name, dtype in _COLUMNS.items()}
        columns["active"] = np.empty(self.active, np.int64)
        keeping.list_all(self.address, *columns.values())
        names = {"ordered": keeping.ORDERED, "clock": keeping.CLOCK, "forgotten": keeping.FORGOTTEN}
        numbers = {name: int(self._state[slot]) for name, slot in names.items()}
        return to_chunks(_NAME, _VERSION, numbers, columns)

    def restore(self, chunks: Iterable[bytes]) -> None:
        """Take over a state that ``chunks`` gave. Raises MalformedMessage if it is none.

        ``most`` and ``memory_ms`` stay this one's; they count from the next ``add`` on.
        """
        numbers, columns = from_chunks(chunks, _NAME, _VERSION, _COLUMNS)
        high, low, threshold, policy, first, last, added, active = columns.values()
        size = len(high)
        if numbers.keys() != {"ordered", "clock", "forgotten"} or any(
            len(column) != size for column in (low, threshold, policy, first, last, added)
        ):
            raise MalformedMessage(f"snapshot of {_NAME} whose columns do not fit together")
        marked = np.zeros(size, np.bool_)
        if active.size and (active.min() < 0 or active.max() >= size):
            raise MalformedMessage(f"snapshot of {_NAME} with an active trace that is not in it")
        marked[active] = True
        if marked.sum() != len(active) or ((last >= 0) != marked).any() or (first > last).any():
            raise MalformedMessage(f"snapshot of {_NAME} whose active traces contradict themselves")
        fresh = KeptTraces(self._most, self._memory_ms, seed=self._seed)
        fresh._reserve(size)
        none = np.full(size, -1, np.int64)
        keeping.add(fresh.address, high, low, threshold, policy, none, none, added)
        if len(fresh) != size:
            raise MalformedMessage(f"snapshot of {_NAME} with a trace twice")
        keeping.activate_all(fresh.address, high, low, active, first, last)
        state = fresh._state
        state[[keeping.ORDERED, keeping.CLOCK, keeping.FORGOTTEN]] = (
            numbers["ordered"],
            numbers["clock"],
            numbers["forgotten"],
        )
        self._rows, self._active = fresh._rows, fresh._active
        self._state, self.address = fresh._state, fresh.address
