"""Traces that were decided and kept: exact, for late spans and for work orders."""

from __future__ import annotations

from collections import deque
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

_NAME, _VERSION = "kept traces", 2
_COLUMNS = {
    "trace_id_high": np.uint64,
    "trace_id_low": np.uint64,
    "threshold": np.uint64,
    "policy": np.int32,
    "first": np.int64,
    "last": np.int64,
    "number": np.int64,
    "active": np.int64,
    "since_number": np.int64,
    "since_ms": np.int64,
    "cut_number": np.int64,
    "cut_offset": np.int64,
}
_NUMBERS = {
    "ordered": keeping.ORDERED,
    "next": keeping.NEXT,
    "remembered": keeping.REMEMBERED,
    "gone": keeping.GONE,
}


class Kept(NamedTuple):
    """Kept traces of a range of source offsets; one row a trace."""

    trace_id_high: NDArray[np.uint64]
    trace_id_low: NDArray[np.uint64]
    threshold: NDArray[np.uint64]
    policy: NDArray[np.int32]


class KeptTraces:
    """Ids of kept traces with threshold and policy, for ``memory_ms`` after their decision.

    At most ``most`` decisions are remembered, the last ones; ``forgotten`` counts the others.
    **For which messages a decision counts** follows from the decisions alone, so that a replay
    takes a message as it was taken: for those whose time is less than ``memory_ms`` after it; and,
    where others have taken its place, for those before the offset at which they did. The row is
    held until work orders have come so far: beyond ``most`` there are at most the traces that
    were kept since the messages behind the last order came.

    A trace is active while it may have spans at or after the end of the last work order: only
    those are in ``overlapping``.

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
        self._since: deque[tuple[int, int]] = deque()
        """(number, time): decisions from this number on are of this time."""
        self._cuts: deque[tuple[int, int]] = deque()
        """(number, offset): below this number none counts from this offset on."""
        self._latest_ms = 0
        self.forgotten = 0
        """Decisions forgotten before their time because there were more than ``most``."""
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
        offset: int = 0,
        first: NDArray[np.int64] | None = None,
        last: NDArray[np.int64] | None = None,
    ) -> None:
        """Remember traces that were decided at ``now_ms``, when all before ``offset`` had come.

        A time below an earlier one counts as that. ``first`` and ``last`` are source offsets as
        in ``Traces``. Without them (a record that was recalled) a trace becomes active when a
        replayed span of it is absorbed. Of a trace that is decided again, because the decision
        before does not count for its new spans, the last one counts.
        """
        size = len(trace_id_high)
        columns = (trace_id_low, threshold, policy, first, last)
        if any(column is not None and len(column) != size for column in columns):
            raise ValueError(f"columns that are not of {size} traces")
        unknown = np.full(size, -1, np.int64)
        self._reserve(size)
        start = int(self._state[keeping.NEXT])
        keeping.add(
            self.address,
            plain(trace_id_high, np.uint64),
            plain(trace_id_low, np.uint64),
            plain(threshold, np.uint64),
            plain(policy, np.int32),
            unknown if first is None else plain(first, np.int64),
            unknown if last is None else plain(last, np.int64),
        )
        state = self._state
        self._latest_ms = max(self._latest_ms, now_ms)
        if state[keeping.NEXT] > start and (
            not self._since or self._since[-1][1] < self._latest_ms
        ):
            self._since.append((start, self._latest_ms))
        excess = int(state[keeping.NEXT] - state[keeping.REMEMBERED]) - self._most
        if excess > 0:
            state[keeping.REMEMBERED] += excess
            self.forgotten += excess
            self._cuts.append((int(state[keeping.REMEMBERED]), offset))
            self._forget()

    def activate(
        self, trace_id_high: NDArray[np.uint64], trace_id_low: NDArray[np.uint64], offset: int
    ) -> None:
        """Traces have spans at or after this offset, as a recalled order says."""
        all_of_them = np.arange(len(trace_id_high))
        high, low = plain(trace_id_high, np.uint64), plain(trace_id_low, np.uint64)
        places = np.full(len(high), offset, np.int64)
        keeping.activate_all(self.address, high, low, all_of_them, places, places)

    def at(self, offset: int, now_ms: int) -> None:
        """What ``absorb`` finds from now on is what counts for the message at this offset."""
        first = max(self._first_since(now_ms), int(self._state[keeping.GONE]))
        for number, since in self._cuts:
            if since > offset:
                break
            first = max(first, number)
        self._state[keeping.COUNTING] = first

    def _first_since(self, now_ms: int) -> int:
        """Number of the first decision that is not too old at this time."""
        for number, since_ms in self._since:
            if since_ms > now_ms - self._memory_ms:
                return number
        return int(self._state[keeping.NEXT])

    def _forget(self) -> None:
        state = self._state
        while self._cuts and self._cuts[0][1] <= state[keeping.ORDERED]:
            state[keeping.GONE] = max(int(state[keeping.GONE]), self._cuts.popleft()[0])
        keeping.forget(self.address)

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
        """Orders have come to this time, and the offset of ``retire``; how many are forgotten."""
        before, state = len(self), self._state
        first = self._first_since(now_ms)
        while self._since and self._since[0][1] <= now_ms - self._memory_ms:
            self._since.popleft()
        state[keeping.REMEMBERED] = max(int(state[keeping.REMEMBERED]), first)
        state[keeping.GONE] = max(int(state[keeping.GONE]), first)
        self._forget()
        if not len(self):
            self._rows.release()
        return before - len(self)

    def find(self, trace_id_high: int, trace_id_low: int) -> tuple[int, int] | None:
        """Threshold and policy of a trace; None: not remembered."""
        threshold, policy = np.empty(1, np.uint64), np.empty(1, np.int32)
        found = keeping.decision(
            self.address, np.uint64(trace_id_high), np.uint64(trace_id_low), threshold, policy
        )
        return (int(threshold[0]), int(policy[0])) if found else None

    def __len__(self) -> int:
        """Traces that are held, those too that count for messages before some offset only."""
        return len(self._rows)

    @property
    def active(self) -> int:
        """Number of active traces."""
        return int(self._state[keeping.ACTIVE_COUNT])

    @property
    def touched_bytes(self) -> int:
        """Memory that was written to since it was last given back, in bytes."""
        return self._rows.touched_bytes + 4 * self.active

    def chunks(self) -> list[bytes]:
        """The state as bytes, the same bytes for the same state."""
        columns = {name: np.empty(len(self), dtype) for name, dtype in _COLUMNS.items()}
        columns["active"] = np.empty(self.active, np.int64)
        keeping.list_all(self.address, *[*columns.values()][:8])
        columns["since_number"], columns["since_ms"] = _columns(self._since)
        columns["cut_number"], columns["cut_offset"] = _columns(self._cuts)
        numbers = {name: int(self._state[slot]) for name, slot in _NUMBERS.items()}
        numbers |= {"latest_ms": self._latest_ms, "forgotten": self.forgotten}
        return to_chunks(_NAME, _VERSION, numbers, columns)

    def restore(self, chunks: Iterable[bytes]) -> None:
        """Take over a state that ``chunks`` gave. Raises MalformedMessage if it is none.

        ``most`` and ``memory_ms`` stay this one's; they count from the next ``add`` on.
        """
        numbers, columns = from_chunks(chunks, _NAME, _VERSION, _COLUMNS)
        high, low, threshold, policy, first, last, number, active = [*columns.values()][:8]
        size = len(high)
        if numbers.keys() != {*_NUMBERS, "latest_ms", "forgotten"} or any(
            len(column) != size for column in (low, threshold, policy, first, last, number)
        ):
            raise MalformedMessage(f"snapshot of {_NAME} whose columns do not fit together")
        marked = np.zeros(size, np.bool_)
        if active.size and (active.min() < 0 or active.max() >= size):
            raise MalformedMessage(f"snapshot of {_NAME} with an active trace that is not in it")
        marked[active] = True
        if marked.sum() != len(active) or ((last >= 0) != marked).any() or (first > last).any():
            raise MalformedMessage(f"snapshot of {_NAME} whose active traces contradict themselves")
        since = _pairs(columns["since_number"], columns["since_ms"])
        cuts = _pairs(columns["cut_number"], columns["cut_offset"])
        in_use = int(np.count_nonzero(number >= numbers["remembered"]))
        if (
            (np.diff(number) <= 0).any()
            or (size and not 0 <= number[0] <= number[-1] < numbers["next"])
            or in_use > numbers["next"] - numbers["remembered"]
        ):
            raise MalformedMessage(f"snapshot of {_NAME} whose numbers contradict themselves")
        fresh = KeptTraces(self._most, self._memory_ms, seed=self._seed)
        fresh._reserve(size)
        none = np.full(size, -1, np.int64)
        keeping.add(fresh.address, high, low, threshold, policy, none, none)
        if len(fresh) != size:
            raise MalformedMessage(f"snapshot of {_NAME} with a trace twice")
        keeping.number_all(fresh.address, number)
        keeping.activate_all(fresh.address, high, low, active, first, last)
        for name, slot in _NUMBERS.items():
            fresh._state[slot] = numbers[name]
        self._rows, self._active = fresh._rows, fresh._active
        self._state, self.address = fresh._state, fresh.address
        self._since, self._cuts = since, cuts
        self._latest_ms, self.forgotten = numbers["latest_ms"], numbers["forgotten"]


def _columns(pairs: Iterable[tuple[int, int]]) -> list[NDArray[np.int64]]:
    return [*np.array([*pairs], np.int64).reshape(-1, 2).T.copy()]


def _pairs(numbers: NDArray[np.int64], others: NDArray[np.int64]) -> deque[tuple[int, int]]:
    """Both grow. Raises MalformedMessage."""
    if len(numbers) != len(others) or (np.diff(numbers) < 0).any() or (np.diff(others) < 0).any():
        raise MalformedMessage(f"snapshot of {_NAME} whose steps contradict themselves")
    return deque(zip(numbers.tolist(), others.tolist(), strict=True))
