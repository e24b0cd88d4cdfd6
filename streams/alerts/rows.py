"""What rules are evaluated on: one window of every series of a window rule and length."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from streams.anomaly.detection import Observed

__all__ = ["Block"]


class Block(NamedTuple):
    """One window of every live series of a window rule and length, n of them."""

    window: str
    """Name of the window rule."""
    length_ms: int
    end_ms: int
    """The window's end, Unix milliseconds; blocks of a rule and length come in its order."""
    ids: NDArray[np.int32]
    """(n) numbers of the series, ascending."""
    seen: NDArray[np.bool_]
    """(n) whether the window had items of it."""
    known: bool
    """False: sources are silent, so what did not come may exist."""
    values: NDArray[np.float64]
    """(statistics.STATISTICS, n); NaN: not known."""
    observed: Mapping[str, tuple[NDArray[np.int64], Observed]]
    """By statistic: which of the n rows detection looked at, and what it says of them."""
