"""Chance within a step, made good within it.

What a step keeps varies around what it was to keep. Once most of its traces are decided it is known
how much came out; the shares of the rest are taken from what is then left. So the total varies only
with the rest. No trace's own randomness has a part in its probability, and estimates stay
unbiased, which they would not if just as many were kept as there is room for.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streams.sampling.strategies.budget import Division
from streams.sampling.strategies.demand import Demand, Unit
from streams.sampling.strategies.filling import fill

__all__ = ["Correction", "Counted", "correct"]

_FIRST_PART = 0.75
"""Of the traces; of the noise, the root of the rest remains."""
_LEAST_PART = 0.1
"""Of what the rest was to keep it still keeps this: a probability of 0 would leave a hole."""

Floats = NDArray[np.float64]


class Counted(NamedTuple):
    """A budget in a step."""

    unit: Unit
    mine: NDArray[np.intp]
    """Its groups."""
    drawn: NDArray[np.bool_]
    """One row a group: whether it is another policy's, and counts against the budget."""
    division: Division


class Correction(NamedTuple):
    """Groups of which a part has another probability now."""

    group: NDArray[np.int32]
    """One row a trace: its group; new ones are behind the others."""
    origin: NDArray[np.intp]
    """The group that each new one was a part of."""
    keep: Floats
    """One row a group."""


def correct(
    demand: Demand,
    first: NDArray[np.int64],
    budgets: Iterable[Counted],
    keep: Floats,
    kept: NDArray[np.bool_],
) -> Correction:
    """New probabilities for the last of the traces.

    Args:
        demand: the step.
        first: first trace of each group.
        budgets: those in it.
        keep: probability of each group.
        kept: one row a trace: whether it is kept with that.
    """
    count = len(demand.policy)
    cut = int(len(demand.group) * _FIRST_PART)
    early, late = demand.group[:cut], demand.group[cut:]
    keep, regrouped = keep.copy(), np.arange(count, dtype=np.int32)
    origins: list[NDArray[np.intp]] = []
    odds: list[Floats] = []
    for budget in budgets:
        if (budget.division.probability >= 1.0).all():
            continue
        size = demand.size(budget.unit)
        volume = np.bincount(late, size[cut:], count)[budget.mine].astype(np.float64)
        some = np.flatnonzero(volume > 0)
        if not len(some):
            continue
        counted = budget.drawn.copy()
        counted[budget.mine] = True
        surplus = float((size[:cut] * (kept[:cut] - keep[early]))[counted[early]].sum())
        rows, volume, least = budget.mine[some], volume[some], budget.division.least[some]
        planned = float((volume * keep[rows]).sum())
        share = max(planned - surplus, _LEAST_PART * planned, float((volume * least).sum()))
        new = fill(volume, budget.division.need[some], least, share)
        whole = first[rows] >= cut
        keep[rows[whole]] = new[whole]
        parted = rows[~whole]
        regrouped[parted] = count + sum(map(len, origins)) + np.arange(len(parted))
        origins.append(parted)
        odds.append(new[~whole])
    group = np.concatenate([early, regrouped[late]])
    return Correction(
        group, np.concatenate([np.zeros(0, np.intp), *origins]), np.concatenate([keep, *odds])
    )
