"""Water-filling: one level for all, so that together they are as much as there is."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["fill"]

Floats = NDArray[np.float64]


def fill(volume: Floats, need: Floats, least: Floats, share: float) -> Floats:
    """Probabilities clip(q / need, least, 1) whose sum weighted by ``volume`` is ``share``.

    With ``need`` equal to ``volume`` and ``least`` 0 that is the classic filling: every group is
    cut to q, or keeps all that it has below it.

    Args:
        volume: what each group is; above 0.
        need: what it is taken for when levels are compared; above 0.
        least: probability that it has in any case.
        share: what there is, at least the sum of ``volume * least``.
    """
    # Without groups there is nothing to fill, also where rounding has left less than nothing.
    if not len(volume) or volume.sum() <= share:
        return np.ones(len(volume))
    # Between need * least and need a group's part grows with q, by volume / need.
    at = np.concatenate([need * least, need])
    slope = volume / need
    order = np.argsort(at, kind="stable")
    at = at[order]
    slopes = np.cumsum(np.concatenate([slope, -slope])[order])
    filled = np.cumsum(np.concatenate([[(volume * least).sum()], slopes[:-1] * np.diff(at)]))
    # The last level at which it is still too little.
    here = max(int(np.searchsorted(filled, share, "right")) - 1, 0)
    q = at[here]
    if slopes[here] > 0:
        q += (share - filled[here]) / slopes[here]
    result: Floats = np.clip(q / need, least, 1.0)
    return result
