"""Cumulative streams: what was last said of each, and points that wait for their turn.

Points come in any order, and what a stream increased by follows from their order in time. So they
wait until their rule's next window is closed: all earlier ones have come then, or are late. A late
point is left out, and nothing is lost by that: what it stands for is in the next of its stream.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .accumulators import CELL
from .bounds import BoundSets
from .groups import Groups
from .increases import COUNTERS, STREAM_ROW, increases
from .index import HashIndex, grown
from .naming import KINDS
from .store import Store

__all__ = ["Points", "Streams"]

_MS = 1_000_000
_SUM = KINDS.index("sum")
_ROWS_MIN = 64
_WORK = 4096

Help = Callable[[int, int, int], None]
"""What to do when a kernel stops: why, and the bounds that have to meet."""


class Points:
    """Points in columns."""

    def __init__(
        self, cells: NDArray[Any], streams: NDArray[np.uint64], index: NDArray[np.int32],
        negative: NDArray[np.uint8], count: NDArray[np.uint64],
    ) -> None:  # fmt: skip
        self.cells, self.streams = cells, streams
        self.index, self.negative, self.count = index, negative, count

    @classmethod
    def none(cls) -> Points:
        """No points."""
        bits = np.empty(0, np.uint64)
        return cls(np.empty(0, CELL), bits, np.empty(0, np.int32), np.empty(0, np.uint8), bits)

    def __len__(self) -> int:
        return len(self.cells)

    @property
    def starts(self) -> NDArray[np.int64]:
        """Where the buckets of each begin, and after those of the last."""
        return np.concatenate(([0], self.cells["buckets_stop"])).astype(np.int64)

    def take(self, chosen: NDArray[np.bool_]) -> Points:
        """Some of them."""
        sizes = np.diff(self.starts)
        buckets = np.repeat(chosen, sizes)
        cells = self.cells[chosen]
        cells["buckets_stop"] = np.cumsum(sizes[chosen])
        return Points(
            cells, self.streams[chosen], self.index[buckets], self.negative[buckets],
            self.count[buckets],
        )  # fmt: skip

    @classmethod
    def joined(cls, parts: list[Points]) -> Points:
        """One after the other."""
        if len(parts) == 1:
            return parts[0]
        cells = np.concatenate([part.cells for part in parts])
        sizes = np.concatenate([np.diff(part.starts) for part in parts])
        cells["buckets_stop"] = np.cumsum(sizes)
        columns = ("streams", "index", "negative", "count")
        return cls(cells, *(np.concatenate([getattr(p, c) for p in parts]) for c in columns))


class Streams:
    """The streams of a partition.

    Args:
        rules: how many there are.
        most: streams at most; those whose last point is oldest are forgotten for others.
        stale_ms: a stream without a point for so long is forgotten.
    """

    def __init__(self, rules: int, most: int, stale_ms: int) -> None:
        self._rules, self._most, self._stale_ms = rules, most, stale_ms
        self.reset()

    def reset(self) -> None:
        """As new."""
        self.index = HashIndex()
        self.table = np.zeros(_ROWS_MIN, STREAM_ROW)
        self.base = np.full(self._rules, -1, np.int64)
        """Of each rule: streams that are not known and began before that began before us. Unix
        nanoseconds; -1: nothing has been closed yet."""
        self.waiting: list[Points] = []
        self.forgotten = 0
        """For others; never for being stale."""
        self.counters = np.zeros(COUNTERS, np.int64)

    def __len__(self) -> int:
        return self.index.count

    @property
    def rows(self) -> NDArray[Any]:
        """The rows in use."""
        return self.table[: self.index.count]

    def wait(self, points: Points, groups: Groups) -> None:
        """Take points that are not late."""
        if len(points):
            self.waiting.append(points)
            np.add.at(groups.table["points"], points.cells["group"], 1)
            np.maximum.at(groups.table["last_ms"], points.cells["group"], points.cells["time"])

    def times(self, rule: int, groups: Groups) -> NDArray[np.int64]:
        """Of the points of a rule that wait, Unix milliseconds."""
        of_rule = [
            points.cells["time"][groups.table["rule"][points.cells["group"]] == rule]
            for points in self.waiting
        ]
        return np.concatenate([np.empty(0, np.int64), *of_rule])

    def count_waiting(self) -> int:
        """Points that wait."""
        return sum(map(len, self.waiting))

    def apply(
        self, rule: int, until_ms: int, begin_ms: int, groups: Groups, store: Store,
        bounds: BoundSets, slots: tuple[Any, ...], late: NDArray[np.uint64], help_out: Help,
    ) -> None:  # fmt: skip
        """Take the points of a rule before ``until_ms``.

        There a window ends that is to be closed; ``begin_ms`` is where it begins.
        """
        if self.base[rule] < 0:
            self.base[rule] = begin_ms * _MS
        if self.waiting:
            everything = Points.joined(self.waiting)
            chosen = groups.table["rule"][everything.cells["group"]] == rule
            chosen &= everything.cells["time"] < until_ms
            if chosen.any():
                rest = everything.take(~chosen)
                self.waiting = [rest] if len(rest) else []
                self._take(
                    everything.take(chosen), rule, groups, store, bounds, slots, late, help_out
                )  # fmt: skip
            else:
                self.waiting = [everything]
        self._forget_stale(rule, until_ms, groups, store)

    def _take(
        self, points: Points, rule: int, groups: Groups, store: Store, bounds: BoundSets,
        slots: tuple[Any, ...], late: NDArray[np.uint64], help_out: Help,
    ) -> None:  # fmt: skip
        cells = points.cells
        # Of points of one time the same is made in any order.
        order = np.lexsort(
            (cells["count"], cells["sum"], cells["exemplar_time"], cells["last_time"],
             points.streams)
        )  # fmt: skip
        self.index.reserve(len(self) + len(points))
        if len(self.table) < len(self.index.keys):
            self.table = grown(self.table, len(self.index.keys))
        first, work = 0, np.zeros(1, CELL)
        work["exemplar_value"] = work["last"] = np.nan
        buckets = (
            np.empty(_WORK, np.int32), np.empty(_WORK, np.uint8), np.empty(_WORK, np.uint64),
        )  # fmt: skip
        while first < len(order):
            first, why, left, right, count = increases(
                order, first, cells, points.streams, points.index, points.negative, points.count,
                points.starts, self.table, self.index.keys, self.index.places, self.index.count,
                max(int(self.base[rule]), 0), self._stale_ms * _MS, _SUM, work, buckets,
                self.counters, *store.arrays, groups.heads, groups.table, *slots, late,
                (bounds.stops, bounds.bound, bounds.meetings),
            )  # fmt: skip
            self.index.count = count
            if why:
                help_out(why, left, right)

    def _forget_stale(self, rule: int, until_ms: int, groups: Groups, store: Store) -> None:
        rows = self.rows
        if not len(rows):
            return
        of_rule = groups.table["rule"][rows["group"]] == rule
        gone = of_rule & (rows["time"] < max(until_ms - self._stale_ms, 0) * _MS)
        over = len(rows) - int(gone.sum()) - self._most
        if over > 0:
            left = np.flatnonzero(~gone)
            gone[left[np.lexsort((self.index.keys[left], rows["time"][left]))[:over]]] = True
            self.forgotten += over
        # Rarely, but for the limit's sake: a stream that is stale counts as forgotten anyway.
        if over > 0 or int(gone.sum()) * 8 >= len(rows):
            self.forget(gone, groups, store)

    def forget(self, gone: NDArray[np.bool_], groups: Groups, store: Store) -> None:
        """Forget streams; who comes back and says that it began before is known by that."""
        rows, keys = self.rows, self.index.keys[: len(self)]
        rules = groups.table["rule"][rows["group"][gone]]
        np.maximum.at(self.base, rules, rows["time"][gone].astype(np.int64))
        store.free(rows["row"][gone].astype(np.int64))
        self.load(keys[~gone].copy(), rows[~gone].copy())

    def load(self, keys: NDArray[np.uint64], rows: NDArray[Any]) -> None:
        """These streams and no others."""
        self.index = HashIndex(keys)
        self.table = grown(rows, max(len(self.index.keys), _ROWS_MIN))
