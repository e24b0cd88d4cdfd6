"""What a series needs before any detector sees a point: order in time, and its interval."""

from __future__ import annotations

import numpy as np

from streams.wire.compiling import kernel

__all__ = ["REASONS", "VALUE_MAX", "admit"]

REASONS = ("missing", "infinite", "backwards")
"""Why a point is left out: no value, one that is infinite or beyond ``VALUE_MAX``, or not later
than the one before."""
VALUE_MAX = 1e30
"""Greatest magnitude of a value: differences must fit into single precision."""
_SETTLED = 20
"""Points from which on the interval follows slowly."""


@kernel
def admit(last_ms, interval, series, time_ms, values, taken, counts):
    """The values, NaN where the point is left out; ``counts`` per reason.

    ``interval`` is milliseconds between points, below 0: given, and stays; 0: not known yet;
    then the number of differences that it was made of.
    """
    for row in range(len(series)):
        i, value, now = series[row], values[row], time_ms[row]
        taken[row] = np.nan
        if np.isnan(value):
            counts[0] += 1
            continue
        if abs(value) > VALUE_MAX:
            counts[1] += 1
            continue
        if last_ms[i, 0] != 0 and now <= last_ms[i, 0]:
            counts[2] += 1
            continue
        if last_ms[i, 0] != 0 and interval[i, 0] >= 0.0:
            step = float(now - last_ms[i, 0])
            n = interval[i, 1] + 1.0
            if n > 1.0:  # a gap must not be taken for the interval
                step = min(step, 2.0 * interval[i, 0])
            interval[i, 0] += (step - interval[i, 0]) / min(n, _SETTLED)
            interval[i, 1] = n
        last_ms[i, 0] = now
        taken[row] = value
