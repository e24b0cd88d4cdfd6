"""One number of several detectors' surprises."""

from __future__ import annotations

import numpy as np

from streams.wire.compiling import kernel

__all__ = ["combine"]


@kernel
def combine(surprises, firsts, combined, detector):
    """Mean over the detectors that are ready of the mean over their scales, and who found most.

    That is Fisher's combination (1932) with equal weights. ``surprises`` is (scales of all
    detectors, n); detector d has the scales ``firsts[d]`` to ``firsts[d + 1]``.
    """
    for row in range(surprises.shape[1]):
        total, ready, most, which = 0.0, 0, -1.0, -1
        for number in range(len(firsts) - 1):
            own, scales = 0.0, 0
            for at in range(firsts[number], firsts[number + 1]):
                if not np.isnan(surprises[at, row]):
                    own += surprises[at, row]
                    scales += 1
            if scales > 0:
                own /= scales
                total += own
                ready += 1
                if own > most:
                    most, which = own, number
        combined[row] = total / ready if ready else np.nan
        detector[row] = which
