"""A bounded number of seeds in every run of the tests, and that the simulator can fail.

More: ``python -m tests.simulator --seeds 10000 --from 400``.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from .explore import report
from .mutants import MUTANTS, Mutant
from .schedule import Event, Schedule, draw, shrink
from .world import run

SEEDS, CHUNK = 400, 50
MUTANT_SEEDS = 400
"""A mutant is caught within so many, from the one where its search begins."""


@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_every_input_counts_exactly_once_whatever_happens(first: int) -> None:
    for seed in range(first, first + CHUNK):
        outcome = run(draw(seed))
        if outcome.failures:
            pytest.fail(report(outcome))


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_violation_is_noticed(mutant: Mutant) -> None:
    with mutant.patched():
        for seed in range(mutant.first, mutant.first + MUTANT_SEEDS):
            if run(draw(seed), mutant.parts).failures:
                return
    pytest.fail(f"nobody notices a lane that {mutant.name}")


def test_a_seed_is_the_same_run_in_every_process() -> None:
    code = (
        "from tests.simulator.schedule import draw; from tests.simulator.world import run;"
        "print([run(draw(seed)).trace for seed in range(10)])"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": salt},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for salt in ("1", "2")
    }
    assert len(told) == 1
    assert told == {f"{[run(draw(seed)).trace for seed in range(10)]}\n"}


def test_a_failing_schedule_is_made_small_and_readable() -> None:
    """A lane that commits the offset beside the transaction, and a crash between the two."""
    events = tuple(Event(step, "crash", step % 2, 1.0) for step in range(100, 900, 100))
    schedule = Schedule(seed=1, events=(*events, Event(950, "pause", 1, 4.0)))

    def fails(tried: Schedule) -> bool:
        return any(event.step == 300 and event.seconds > 0.2 for event in tried.events)

    smallest = shrink(schedule, fails)
    assert [event.step for event in smallest.events] == [300]
    assert smallest.events[0].seconds == 0.25
    assert (smallest.workers, smallest.partitions, smallest.messages) == (1, 1, 1)
    assert str(smallest).splitlines()[1] == "  step    300: worker 0 is killed, back after 0.25 s"
    assert str(smallest).startswith("seed 1: ")
