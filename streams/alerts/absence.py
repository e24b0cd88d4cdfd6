"""When nothing of a series is too little: empty windows against what the series is like.

A series that was empty in a share p of its windows is empty k times in a row by chance with
probability p^k, as long as windows do not depend on each other; per day there are as many chances
as windows, so ``k`` is the least with ``p^k * windows_per_day <= sensitivity``. Work that comes in
bursts does depend: nothing is said, either, before the gap is more than twice the longest one
that there was. All of it is forgotten by half in a day. A gap that was told of is learned only up
to the moment when it was.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.config.alerts import Absence

__all__ = ["Presence"]

_DAY_MS = 86_400_000
_COLUMNS = {"age": "u4", "run": "u4", "empty": "f4", "total": "f4", "longest": "f4"}
_NO, _YES, _UNCERTAIN = 0, 1, 3
"""As in ``conditions``."""


class Presence:
    """What is known of every series' windows, for one rule.

    Args:
        absence: its condition.
        length_ms: of its windows.
    """

    def __init__(self, absence: Absence, length_ms: int) -> None:
        self._history = absence.history
        self._per_day = _DAY_MS / length_ms
        self._keep = 0.5 ** (1 / self._per_day)
        self._odds = (
            None if absence.sensitivity is None else math.log(absence.sensitivity / self._per_day)
        )
        self._rows: dict[str, NDArray[Any]] = {
            name: np.zeros(0, dtype) for name, dtype in _COLUMNS.items()
        }

    def observe(self, ids: NDArray[np.int32], seen: NDArray[np.bool_]) -> NDArray[np.int8]:
        """Take in one window of these series; what it says of each."""
        age, run = self._rows["age"], self._rows["run"]
        age[ids] += age[ids] < self._history
        waited = self._waited_for(ids)
        back = ids[seen]
        self._learn(back, np.minimum(run[back], waited[seen]))
        run[ids] = np.where(seen, 0, run[ids] + 1)
        verdict = np.where(run[ids] >= waited, _YES, _NO).astype(np.int8)
        verdict[age[ids] < self._history] = _UNCERTAIN
        verdict[seen] = _NO
        return verdict

    def _waited_for(self, ids: NDArray[np.int32]) -> NDArray[np.float64]:
        """So many empty windows in a row mean something."""
        if self._odds is None:
            return np.ones(len(ids))
        share = (self._rows["empty"][ids] + 1) / (self._rows["total"][ids] + 2)
        chance: NDArray[np.float64] = np.ceil(np.minimum(self._odds, 0.0) / np.log(share))
        gap: NDArray[np.float64] = np.floor(2 * self._rows["longest"][ids]) + 1
        return np.maximum(np.maximum(chance, 1.0), gap)

    def _learn(self, ids: NDArray[np.int32], gap: NDArray[Any]) -> None:
        keep = self._keep ** (gap + 1)
        for name, more in (("empty", gap), ("total", gap + 1)):
            self._rows[name][ids] = self._rows[name][ids] * keep + more
        longest = self._rows["longest"]
        longest[ids] = np.maximum(longest[ids] * keep, gap)

    def grow(self, size: int) -> None:
        """Room for series with numbers below ``size``."""
        for name, column in self._rows.items():
            larger = np.zeros(size, column.dtype)
            larger[: len(column)] = column
            self._rows[name] = larger

    def forget(self, ids: Iterable[int] | NDArray[np.int32]) -> None:
        """These numbers stand for nothing now, or for another series."""
        for column in self._rows.values():
            column[np.asarray(ids, np.int64)] = 0

    def columns(self) -> dict[str, NDArray[Any]]:
        """Everything, by name."""
        return dict(self._rows)

    def restore(self, columns: dict[str, NDArray[Any]]) -> None:
        """Take over what ``columns`` gave. Raises KeyError or ValueError."""
        self._rows = {name: columns[name].astype(dtype) for name, dtype in _COLUMNS.items()}
