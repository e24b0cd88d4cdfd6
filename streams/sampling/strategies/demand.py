"""The traces of a step by groups, as strategies see them."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Demand", "Unit"]

Unit = Literal["traces", "spans", "bytes"]


class Demand(NamedTuple):
    """Traces of a step; groups have policy, key, class and incoming threshold in common."""

    now_ms: int
    elapsed_s: float
    """What a rate is multiplied with: since the last step, as far as traces came in that time."""
    group: NDArray[np.int32]
    """One row a trace: its group."""
    randomness: NDArray[np.uint64]
    """One row a trace."""
    spans: NDArray[np.int64]
    """One row a trace."""
    bytes: NDArray[np.int64]
    """One row a trace."""
    policy: NDArray[np.int32]
    """One row a group, like all that follow."""
    share: NDArray[np.uint64]
    weight: NDArray[np.float64]
    """Product of the policies with a weight that match."""
    error: NDArray[np.bool_]
    outlier: NDArray[np.bool_]
    """Longer than 99 % of its key's."""
    traces: NDArray[np.int64]

    def size(self, unit: Unit) -> NDArray[np.float64]:
        """How much each trace counts."""
        if unit == "traces":
            return np.ones(len(self.group))
        return (self.spans if unit == "spans" else self.bytes).astype(np.float64)

    def volume(self, unit: Unit) -> NDArray[np.float64]:
        """How much each group is in all."""
        if unit == "traces":
            return self.traces.astype(np.float64)
        return np.bincount(self.group, self.size(unit), len(self.policy)).astype(np.float64)

    def parted(self, group: NDArray[np.int32], origin: NDArray[np.intp]) -> Demand:
        """The same with new groups, parts of those of ``origin``, behind the others."""

        def both(column: NDArray[Any]) -> NDArray[Any]:
            return np.concatenate([column, column[origin]])

        return self._replace(
            group=group,
            policy=both(self.policy),
            share=both(self.share),
            weight=both(self.weight),
            error=both(self.error),
            outlier=both(self.outlier),
            traces=np.bincount(group, minlength=len(self.policy) + len(origin)),
        )
