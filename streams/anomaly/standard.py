"""Values in units of a series' own magnitude, compressed: what most scores are made of.

The unit is the mean of absolute values, not a spread around a centre: a spread changes a lot while
it is learnt, and with it the meaning of all that was kept in it. On labelled series that costs
eight points of a hundred. asinh is linear up to about the unit and logarithmic beyond, so that
single extremes do not hide everything else.
"""

from __future__ import annotations

import numpy as np

from streams.wire.compiling import inner

__all__ = ["COUNT", "FIRST", "ORIGIN", "STANDARD", "UNIT", "standardise", "value_of"]

COUNT, UNIT, FIRST, ORIGIN = range(4)
STANDARD = 4
"""Numbers that ``standardise`` keeps of a series: count, mean magnitude, its first value in units
of it, and as it was. What is kept of later values is the difference from these, in which single
precision is enough."""


@inner
def standardise(state, value, memory):
    """Learn a value; asinh of it in units, less that of the first one."""
    count = state[COUNT] + 1.0
    state[COUNT] = count
    state[UNIT] += (abs(value) - state[UNIT]) / min(count, memory)
    found = np.arcsinh(value / state[UNIT]) if state[UNIT] > 0.0 else 0.0
    if count == 1.0:
        state[FIRST], state[ORIGIN] = found, value
    return found - state[FIRST]


@inner
def value_of(state, standardised):
    """The value that ``standardise`` would have made this of."""
    return state[UNIT] * np.sinh(standardised + state[FIRST])
