"""Which spans of a message belong to the traces that a work order lists."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streams.sampling.records import OrderedTraces
from streams.wire import SpanScan
from streams.wire.compiling import inner, kernel

__all__ = ["Found", "Listed"]

_ODD = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_THIRTY, _TWENTY_SEVEN, _THIRTY_ONE = np.uint64(30), np.uint64(27), np.uint64(31)


@inner
def mixed(high: Any, low: Any, seed: Any) -> Any:
    """A hash of a trace id (the finaliser of splitmix64, over both halves)."""
    x = (low ^ seed) + high * _ODD
    x = (x ^ (x >> _THIRTY)) * _FIRST
    x = (x ^ (x >> _TWENTY_SEVEN)) * _SECOND
    return x ^ (x >> _THIRTY_ONE)


@kernel
def index_traces(high: Any, low: Any, seed: Any, slots: Any) -> None:
    """Fill open-addressed ``slots``, a power of two of them, with row + 1; 0: empty."""
    mask = np.uint64(len(slots) - 1)
    for row in range(len(high)):
        at = mixed(high[row], low[row], seed) & mask
        while slots[at] != 0:
            at = (at + np.uint64(1)) & mask
        slots[at] = row + 1


@kernel
def find_traces(
    high: Any, low: Any, valid: Any, of_high: Any, of_low: Any, of_threshold: Any, of_policy: Any,
    seed: Any, slots: Any, keep: Any, threshold: Any, policies: Any,
) -> None:  # fmt: skip
    """Per span whether its trace is listed, and with which threshold; spans by policy."""
    mask = np.uint64(len(slots) - 1)
    last = -1
    for i in range(len(keep)):
        keep[i] = False
        threshold[i] = 0
        if not valid[i]:
            continue
        h, l = high[i], low[i]  # noqa: E741
        # Spans of a trace often lie side by side.
        if last < 0 or of_low[last] != l or of_high[last] != h:
            last = -1
            at = mixed(h, l, seed) & mask
            while slots[at] != 0:
                row = slots[at] - 1
                if of_low[row] == l and of_high[row] == h:
                    last = row
                    break
                at = (at + np.uint64(1)) & mask
            if last < 0:
                continue
        keep[i] = True
        threshold[i] = of_threshold[last]
        policies[of_policy[last]] += 1


class Found(NamedTuple):
    """One row a span."""

    keep: NDArray[np.bool_]
    threshold: NDArray[np.uint64]
    """Of its trace, where ``keep`` is True."""


class Listed:
    """The traces of a work order, found by id in constant time.

    Args:
        traces: of the order.
        policies: how many policies it names.
    """

    def __init__(self, traces: OrderedTraces, policies: int) -> None:
        # In types that are always the same: for other ones numba would compile again.
        self._high = np.array(traces.trace_id_high, np.uint64)
        self._low = np.array(traces.trace_id_low, np.uint64)
        self._threshold = np.array(traces.threshold, np.uint64)
        self._policy = np.array(traces.policy, np.int32)
        self.spans = np.zeros(max(policies, 1), np.int64)
        """Spans found so far, by policy."""
        # Who wants collisions would have to know all ids that were kept with those of their own.
        self._seed = np.bitwise_xor.reduce(self._low, initial=np.uint64(0))
        size = 1 << max(3, (2 * len(self._low)).bit_length())
        self._slots = np.zeros(size, np.int32)
        index_traces(self._high, self._low, self._seed, self._slots)

    def find(self, scan: SpanScan, among: NDArray[np.bool_] | None = None) -> Found:
        """Which spans belong to them: valid ones, or of those ``among`` these."""
        keep = np.empty(scan.items, np.bool_)
        threshold = np.empty(scan.items, np.uint64)
        looked_up = scan.valid if among is None else among
        find_traces(
            scan.trace_id_high, scan.trace_id_low, looked_up, self._high, self._low,
            self._threshold, self._policy, self._seed, self._slots, keep, threshold, self.spans,
        )  # fmt: skip
        return Found(keep, threshold)
