"""The search for a period ends, whatever the history looks like, and finds one that is there."""

from __future__ import annotations

import numpy as np
import pytest

from streams.anomaly.periods import FOUND, NOTES, ROOM, best_lag, look

DAY_MS = 86_400_000


@pytest.mark.parametrize("seed", range(5))
def test_the_search_ends(seed: int) -> None:
    """Correlations that fall with every lag once made it follow its own tail for ever."""
    chance = np.random.default_rng(seed)
    for _ in range(4_000):
        wave = np.sin(np.arange(ROOM) * chance.uniform(0.05, 3.0) + chance.uniform(0, 7))
        history = chance.normal(0, chance.uniform(0, 2), ROOM) + chance.uniform(0, 4) * wave
        for made in (history, np.cumsum(history)):
            lag, strength = best_lag(made.astype(np.float32))
            assert 0.0 <= lag <= 25.0
            assert -1.0 <= strength <= 1.0 + 1e-6


def test_a_period_of_six_hours_is_found() -> None:
    coarse, notes = np.zeros(ROOM, np.float32), np.zeros(NOTES)
    for point in range(6 * 288):
        now = 1_767_571_200_000 + point * 300_000
        look(coarse, notes, np.sin(2 * np.pi * now / (DAY_MS / 4)), now, DAY_MS)
    assert notes[FOUND] == DAY_MS // 4
