"""One number of several detectors' p-values, and what it means in false alarms per day."""

from __future__ import annotations

import numpy as np

from streams.wire.compiling import kernel

__all__ = ["combine", "judge"]

DAY_MS = 86_400_000.0


@kernel
def combine(p_values, combined, detector):
    """Mean of -ln p over the detectors that are ready, and which one found most."""
    for row in range(p_values.shape[1]):
        total, ready, most, which = 0.0, 0, -1.0, -1
        for number in range(p_values.shape[0]):
            p = p_values[number, row]
            if not np.isnan(p):
                surprise = -np.log(p)
                total += surprise
                ready += 1
                if surprise > most:
                    most, which = surprise, number
        combined[row] = total / ready if ready else np.nan
        detector[row] = which


@kernel
def judge(interval, series, p_value, least, sensitivity, rate, least_rate, score, learning):
    """False alarms per day of a p-value, the least that can be told, and a score in [0, 1]."""
    for row in range(len(series)):
        step = abs(interval[series[row], 0])
        rate[row] = least_rate[row] = np.inf
        score[row], learning[row] = 0.0, True
        if np.isnan(p_value[row]) or step == 0.0:
            p_value[row] = 1.0
            continue
        points = DAY_MS / step
        rate[row], least_rate[row] = points * p_value[row], points * least[row]
        score[row] = 1.0 / (1.0 + rate[row])
        learning[row] = least_rate[row] > sensitivity
