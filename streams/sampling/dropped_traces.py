"""Traces that were decided and dropped: a filter of fingerprints in generations."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.errors import MalformedMessage
from streams.sampling import fingerprints
from streams.sampling.fingerprints import FULL, GENERATION_SLOTS, GENERATIONS_MAX, size_bytes
from streams.sampling.memory import plain
from streams.sampling.snapshots import from_chunks, to_chunks

__all__ = ["DroppedTraces"]

_NAME, _VERSION = "dropped traces", 2
_COLUMNS = {
    "places": np.int64,
    "taken": np.int64,
    "opened": np.int64,
    "touched": np.int64,
    "until": np.int64,
    "filters": np.uint8,
}
_ROWS = ("places", "taken", "opened", "touched", "until")
_PLACES_MIN, _PLACES_LEAST, _PLACES_MOST = 1 << 12, 1 << 6, 1 << 30
_WANTED = 4
"""Generations in ``memory_ms``: fewer forget later than needed, more err more often."""
_GROWTH = 4
_ALWAYS = 2**63 - 1


def _full_at(places: int) -> int:
    return int(places * FULL)


@dataclass(slots=True)
class _Generation:
    places: int
    bytes: NDArray[np.uint8]
    taken: int
    opened_ms: int
    touched_ms: int
    """Time of the last ``add`` to it."""
    until: int = _ALWAYS
    """It counts for messages before this offset."""


class DroppedTraces:
    """Which traces were dropped in the last ``memory_ms``, with few false positives.

    A generation is a cuckoo filter that takes 2 bytes a trace when full. A full one is followed
    by one whose size goes by the rate, so that about four are filled in ``memory_ms`` (rounded
    to a power of two: three to six), at most four times as large. It is forgotten ``memory_ms``
    after its last trace. Together they hold at most ``most`` traces, and are eight: where that
    would be exceeded, the oldest is forgotten early. As with ``KeptTraces``, for which messages
    one counts follows from the decisions alone, and it is held until orders have come so far.

    Each generation holds a trace that is not in it with a probability of 0.0114 %, so together
    0.05 to 0.08 %: so many new traces are lost without a verdict.
    """

    def __init__(self, most: int, memory_ms: int) -> None:
        if memory_ms < 1:
            raise ValueError(f"memory_ms must be at least 1, not {memory_ms}")
        if most < GENERATIONS_MAX * _PLACES_LEAST:
            least = GENERATIONS_MAX * _PLACES_LEAST
            raise ValueError(f"most must be at least {least}, not {most}")
        self._most, self._memory_ms = most, memory_ms
        self.forgotten = 0
        """Traces forgotten before their time because there were more than ``most``."""
        self.rotated_early = 0
        """Generations that they were in."""
        self._latest_ms = self._ordered = 0
        self._generations: list[_Generation] = []  # the newest first
        self._state = np.zeros(1 + GENERATION_SLOTS * GENERATIONS_MAX, np.int64)
        self.address = self._state.ctypes.data

    def add(
        self,
        trace_id_high: NDArray[np.uint64],
        trace_id_low: NDArray[np.uint64],
        now_ms: int,
        offset: int = 0,
    ) -> None:
        """Remember traces that were decided at ``now_ms``, when all before ``offset`` had come."""
        size = len(trace_id_high)
        if len(trace_id_low) != size:
            raise ValueError(f"halves of {size} and {len(trace_id_low)} ids")
        self._latest_ms = max(self._latest_ms, now_ms)
        # One that is too old for some message must not come back for it.
        if size and (
            not self._remembered
            or self._generations[0].touched_ms <= self._latest_ms - self._memory_ms
        ):
            self._open(offset)
        done = 0
        high, low = plain(trace_id_high, np.uint64), plain(trace_id_low, np.uint64)
        while done < size:
            done = fingerprints.add_to_newest(self.address, high, low, done)
            newest = self._generations[0]
            newest.taken = int(self._state[3])
            newest.touched_ms = self._latest_ms
            if done < size:
                self._open(offset)

    def _next_places(self) -> int:
        """Places of the generation after the newest, by how long that took to fill."""
        top = 1 << int(self._most / _WANTED / FULL).bit_length() - 1
        if not self._generations:
            return min(_PLACES_MIN, top)
        newest = self._generations[0]
        elapsed_ms = max(self._latest_ms - newest.opened_ms, 1)
        share = self._memory_ms / _WANTED / elapsed_ms
        wanted = newest.places * min(max(share, 1 / _GROWTH), _GROWTH)
        # Of the powers of two the nearest by ratio.
        nearest = 1 << int(wanted * 2**0.5).bit_length() - 1
        return min(max(nearest, _PLACES_MIN), top, _PLACES_MOST)

    @property
    def _remembered(self) -> list[_Generation]:
        """Those that count for messages to come."""
        return [each for each in self._generations if each.until == _ALWAYS]

    def _open(self, offset: int) -> None:
        places = self._next_places()
        remembered = self._remembered
        while remembered and (
            len(remembered) == GENERATIONS_MAX
            or sum(_full_at(g.places) for g in remembered) + _full_at(places) > self._most
        ):
            oldest = remembered.pop()
            oldest.until = offset
            self.forgotten += oldest.taken
            self.rotated_early += 1
        table = np.zeros(size_bytes(places), np.uint8)
        now_ms = self._latest_ms
        self._generations.insert(0, _Generation(places, table, 0, now_ms, now_ms))
        self._remove(None)
        self._publish()

    def _publish(self) -> None:
        """Tell kernels where the generations are."""
        size = 1 + GENERATION_SLOTS * len(self._generations)
        if size > len(self._state):
            self._state = np.zeros(2 * size, np.int64)
            self.address = self._state.ctypes.data
        self._state[0] = len(self._remembered)
        for k, each in enumerate(self._generations):
            at = 1 + k * GENERATION_SLOTS
            self._state[at : at + GENERATION_SLOTS] = (
                each.bytes.ctypes.data,
                each.places - 1,
                each.taken,
                _full_at(each.places),
            )

    def _remove(self, horizon_ms: int | None) -> int:
        """Those that count for no message behind the orders, or are from before a time."""
        gone = 0
        while self._generations:
            oldest = self._generations[-1]
            expired = horizon_ms is not None and oldest.touched_ms <= horizon_ms
            if not expired and oldest.until > self._ordered:
                break
            gone += self._generations.pop().taken
        return gone

    def at(self, offset: int, now_ms: int) -> None:
        """What ``absorb`` finds from now on is what counts for the message at this offset."""
        generations, horizon_ms = self._generations, now_ms - self._memory_ms
        counting = len(generations)
        while counting and (
            generations[counting - 1].until <= offset
            or generations[counting - 1].touched_ms <= horizon_ms
        ):
            counting -= 1
        self._state[0] = counting

    def contains(
        self, trace_id_high: NDArray[np.uint64], trace_id_low: NDArray[np.uint64]
    ) -> NDArray[np.bool_]:
        """Which of the traces were dropped; rarely True for one that was not."""
        if len(trace_id_high) != len(trace_id_low):
            raise ValueError(f"halves of {len(trace_id_high)} and {len(trace_id_low)} ids")
        found = np.empty(len(trace_id_high), np.bool_)
        high, low = plain(trace_id_high, np.uint64), plain(trace_id_low, np.uint64)
        fingerprints.contains(self.address, high, low, found)
        return found

    def expire(self, now_ms: int, ordered: int = 0) -> int:
        """Orders have come to this time and offset; how many traces are forgotten."""
        self._ordered = max(self._ordered, ordered)
        gone = self._remove(now_ms - self._memory_ms)
        self._publish()
        return gone

    def __len__(self) -> int:
        """Traces with a fingerprint of their own that count for messages to come."""
        return sum(each.taken for each in self._remembered)

    @property
    def generations(self) -> int:
        """How many filters a new trace is looked up in."""
        return len(self._remembered)

    @property
    def nbytes(self) -> int:
        """Memory of all generations."""
        return sum(each.bytes.nbytes for each in self._generations)

    def chunks(self) -> list[bytes]:
        """The state as bytes, the same bytes for the same state."""
        generations = self._generations
        tables = [each.bytes for each in generations]
        columns: dict[str, NDArray[Any]] = {
            "places": np.array([g.places for g in generations], np.int64),
            "taken": np.array([g.taken for g in generations], np.int64),
            "opened": np.array([g.opened_ms for g in generations], np.int64),
            "touched": np.array([g.touched_ms for g in generations], np.int64),
            "until": np.array([g.until for g in generations], np.int64),
            "filters": np.concatenate(tables) if tables else np.empty(0, np.uint8),
        }
        numbers = {
            "latest_ms": self._latest_ms,
            "ordered": self._ordered,
            "forgotten": self.forgotten,
            "rotated_early": self.rotated_early,
        }
        return to_chunks(_NAME, _VERSION, numbers, columns)

    def restore(self, chunks: Iterable[bytes]) -> None:
        """Take over a state that ``chunks`` gave. Raises MalformedMessage if it is none.

        ``most`` and ``memory_ms`` stay this one's; they count from the next ``add`` on.
        """
        numbers, columns = from_chunks(chunks, _NAME, _VERSION, _COLUMNS)
        places, taken, opened, touched, until = (columns[name].tolist() for name in _ROWS)
        count = len(places)
        if (
            numbers.keys() != {"latest_ms", "ordered", "forgotten", "rotated_early"}
            or any(len(column) != count for column in (taken, opened, touched, until))
            or any(p < _PLACES_LEAST or p > _PLACES_MOST or p & (p - 1) for p in places)
            or any(t < 0 or t > _full_at(p) for p, t in zip(places, taken, strict=True))
            or sum(map(size_bytes, places)) != len(columns["filters"])
        ):
            raise MalformedMessage(f"snapshot of {_NAME} whose columns do not fit together")
        ends = np.cumsum([0, *map(size_bytes, places)]).tolist()
        self._generations = [
            _Generation(places[k], columns["filters"][ends[k] : ends[k + 1]].copy(), *rest)
            for k, rest in enumerate(zip(taken, opened, touched, until, strict=True))
        ]
        self._latest_ms, self._ordered = numbers["latest_ms"], numbers["ordered"]
        self.forgotten, self.rotated_early = numbers["forgotten"], numbers["rotated_early"]
        self._publish()
