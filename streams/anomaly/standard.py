"""Values in units of a series' own spread, from its own centre: what scores are made of.

Both follow slowly, and no single value moves them far: a level that stays becomes the centre after
about ``memory`` points, sooner when it is far away.
"""

from __future__ import annotations

from streams.wire.compiling import inner

__all__ = ["COUNT", "STANDARD", "standardise"]

COUNT, CENTRE, SPREAD = range(3)
STANDARD = 3
"""Numbers that ``standardise`` keeps of a series: count, centre, mean distance from it."""
_SETTLED = 20
_CENTRE_STEP, _SPREAD_STEP = 5.0, 30.0
"""Spreads that a value counts as at most, of a series with more than ``_SETTLED`` points."""


@inner
def standardise(state, value, memory):
    """Learn a value; how many mean distances it is from the centre."""
    count = state[COUNT] + 1.0
    state[COUNT] = count
    if count == 1.0:
        state[CENTRE] = value
        return 0.0
    weight = 1.0 / min(count, memory)
    spread, step = state[SPREAD], value - state[CENTRE]
    if count > _SETTLED:
        step = min(max(step, -_CENTRE_STEP * spread), _CENTRE_STEP * spread)
    state[CENTRE] += weight * step
    distance = abs(value - state[CENTRE])
    # A constant so far has no spread to measure by.
    known = distance if count <= _SETTLED or spread == 0.0 else min(distance, _SPREAD_STEP * spread)
    state[SPREAD] = spread + weight * (known - spread)
    return (value - state[CENTRE]) / state[SPREAD] if state[SPREAD] > 0.0 else 0.0
