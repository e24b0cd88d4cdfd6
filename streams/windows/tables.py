"""What has been gathered since it was last sent: tables that grow as needed, up to a limit."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from streams.windows import cells as t
from streams.windows.cells import CELL_WORDS, CONTROL_WORDS, GROUP_WORDS, POINT_WORDS, move_pairs

__all__ = ["Tables"]

_FIRST_ROWS = 256
_BUCKETS_A_ROW = 8
"""Room for buckets is so many times that for cells; the limit too."""
_SPARE = 8
"""Tables that are so many times what was in them become smaller when they are emptied."""


class Tables:
    """Groups, cells with their buckets, and cumulative points; see ``cells`` for their rows.

    Args:
        limit: cells, or points, from which on it is ``full``.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.control = np.zeros(CONTROL_WORDS, np.int64)
        """What kernels take."""
        self._rows: dict[int, NDArray[Any]] = {}
        self._pairs: dict[int, NDArray[np.uint64]] = {}
        self._reserve_rows(t.CELLS, _FIRST_ROWS, CELL_WORDS)
        self._reserve_rows(t.GROUPS, _FIRST_ROWS, GROUP_WORDS)
        self._reserve_rows(t.POINTS, _FIRST_ROWS, POINT_WORDS)
        self._reserve_rows(t.POINT_BUCKETS, _FIRST_ROWS * _BUCKETS_A_ROW, 3)
        self._reserve_rows(t.LIMITS, _FIRST_ROWS, 1)
        self._reserve_rows(t.BOUNDS, _FIRST_ROWS, 1)
        for place, most in _PAIRS.items():
            self._reserve_pairs(place, most)

    @property
    def cells(self) -> NDArray[np.int64]:
        """Rows of cells; doubles are to be viewed as such."""
        return self._rows[t.CELLS][: self.control[t.CELL_COUNT]]

    @property
    def groups(self) -> NDArray[np.int64]:
        """Rows of groups, in order of their first item."""
        return self._rows[t.GROUPS][: self.control[t.GROUP_COUNT]]

    @property
    def points(self) -> NDArray[np.int64]:
        """Rows of cumulative points."""
        return self._rows[t.POINTS][: self.control[t.POINT_COUNT]]

    @property
    def point_buckets(self) -> NDArray[np.int64]:
        """Index, sign and count of the buckets of points."""
        return self._rows[t.POINT_BUCKETS][: self.control[t.POINT_BUCKET_COUNT]]

    @property
    def bucket_pairs(self) -> NDArray[np.uint64]:
        """The table of cells' buckets: key and count; key 0 is none."""
        return self._pairs[t.BUCKET_PAIRS]

    @property
    def limits(self) -> NDArray[np.int64]:
        """Where each row of bounds stops."""
        return self._rows[t.LIMITS][: self.control[t.LIMIT_COUNT], 0]

    @property
    def bounds(self) -> NDArray[np.float64]:
        """Explicit bounds."""
        flat: NDArray[np.float64] = self._rows[t.BOUNDS][: self.control[t.BOUND_COUNT], 0].view(
            np.float64
        )
        return flat

    @property
    def empty(self) -> bool:
        """Whether nothing has been gathered."""
        return not self.control[t.GROUP_COUNT]

    @property
    def full(self) -> bool:
        """Whether it is time to send it."""
        control, limit = self.control, self._limit
        return bool(
            max(control[t.CELL_COUNT], control[t.POINT_COUNT]) >= limit
            or max(control[t.BUCKET_COUNT], control[t.POINT_BUCKET_COUNT], control[t.BOUND_COUNT])
            >= limit * _BUCKETS_A_ROW
        )

    def make_room(self, rules: int, buckets: int, bounds: int) -> None:
        """Grow so that there is room for an item of so many rules, buckets and bounds."""
        count = self.control
        self._grow_rows(t.CELLS, count[t.CELL_COUNT], rules)
        self._grow_rows(t.GROUPS, count[t.GROUP_COUNT], rules)
        self._grow_rows(t.POINTS, count[t.POINT_COUNT], rules)
        self._grow_rows(t.POINT_BUCKETS, count[t.POINT_BUCKET_COUNT], rules * buckets)
        self._grow_rows(t.LIMITS, count[t.LIMIT_COUNT], 1)
        self._grow_rows(t.BOUNDS, count[t.BOUND_COUNT], bounds)
        self._grow_pairs(t.CELL_PAIRS, count[t.CELL_COUNT] + rules)
        self._grow_pairs(t.GROUP_PAIRS, count[t.GROUP_COUNT] + rules)
        self._grow_pairs(t.BUCKET_PAIRS, count[t.BUCKET_COUNT] + rules * buckets)
        self._grow_pairs(t.LIMIT_PAIRS, count[t.LIMIT_COUNT] + 1)

    def clear(self) -> None:
        """Forget everything; what only much needed is given back."""
        used = {
            t.CELL_PAIRS: t.CELL_COUNT, t.GROUP_PAIRS: t.GROUP_COUNT,
            t.BUCKET_PAIRS: t.BUCKET_COUNT, t.LIMIT_PAIRS: t.LIMIT_COUNT,
        }  # fmt: skip
        for place, pairs in self._pairs.items():
            count = int(self.control[used[place]])
            if not count:
                continue
            if len(pairs) > _SPARE * max(_PAIRS[place], 2 * count):
                self._reserve_pairs(place, max(_PAIRS[place], count))
            else:
                pairs[:] = 0
        for place, (counter, words, least) in _ROWS.items():
            count = int(self.control[counter])
            if len(self._rows[place]) > _SPARE * max(least, count):
                self._reserve_rows(place, max(least, count), words)
            self.control[counter] = 0
        self.control[t.BUCKET_COUNT] = 0

    def _grow_rows(self, place: int, count: np.int64, more: int) -> None:
        old = self._rows[place]
        if int(count) + more > len(old):
            self._reserve_rows(place, max(2 * len(old), int(count) + more), old.shape[1])
            self._rows[place][:count] = old[:count]

    def _reserve_rows(self, place: int, rows: int, words: int) -> None:
        array = np.empty((rows, words), np.int64)
        self._rows[place] = array
        self.control[place] = array.ctypes.data
        if place in _ROOM:
            self.control[_ROOM[place]] = rows

    def _grow_pairs(self, place: int, count: np.int64) -> None:
        old = self._pairs[place]
        if 2 * int(count) >= len(old):
            self._reserve_pairs(place, 2 * int(count))
            move_pairs(old, self._pairs[place])

    def _reserve_pairs(self, place: int, most: int) -> None:
        """Room for ``most`` keys, half of the table free."""
        array = np.zeros((1 << (2 * most).bit_length(), 2), np.uint64)
        self._pairs[place] = array
        self.control[place] = array.ctypes.data
        self.control[place + 1] = len(array) - 1


_PAIRS = {
    t.CELL_PAIRS: _FIRST_ROWS, t.GROUP_PAIRS: _FIRST_ROWS,
    t.BUCKET_PAIRS: _FIRST_ROWS * _BUCKETS_A_ROW, t.LIMIT_PAIRS: 16,
}  # fmt: skip
"""Place of a table's address in the control (its mask is next to it), and keys at first."""
_ROWS = {
    t.CELLS: (t.CELL_COUNT, CELL_WORDS, _FIRST_ROWS),
    t.GROUPS: (t.GROUP_COUNT, GROUP_WORDS, _FIRST_ROWS),
    t.POINTS: (t.POINT_COUNT, POINT_WORDS, _FIRST_ROWS),
    t.POINT_BUCKETS: (t.POINT_BUCKET_COUNT, 3, _FIRST_ROWS * _BUCKETS_A_ROW),
    t.LIMITS: (t.LIMIT_COUNT, 1, _FIRST_ROWS),
    t.BOUNDS: (t.BOUND_COUNT, 1, _FIRST_ROWS),
}
_ROOM = {
    t.CELLS: t.CELL_ROOM, t.GROUPS: t.GROUP_ROOM, t.POINTS: t.POINT_ROOM,
    t.POINT_BUCKETS: t.POINT_BUCKET_ROOM, t.LIMITS: t.LIMIT_ROOM, t.BOUNDS: t.BOUND_ROOM,
}  # fmt: skip
