"""From a failing seed to what a person can read."""

from __future__ import annotations

from .schedule import Schedule, shrink
from .world import Outcome, Parts, run

__all__ = ["report"]


def report(outcome: Outcome, parts: Parts | None = None, tries: int = 150) -> str:
    """The seed, what failed, and the smallest schedule found that fails too."""

    kinds = {failure.split()[0] for failure in outcome.failures}

    def fails(schedule: Schedule) -> bool:
        found = run(schedule, parts).failures
        return any(failure.split()[0] in kinds for failure in found)

    smallest = shrink(outcome.schedule, fails, tries)
    again = run(smallest, parts)
    lines = [f"seed {outcome.schedule.seed} fails:"]
    lines += [f"  {failure}" for failure in outcome.failures[:6]]
    lines += ["drawn:", str(outcome.schedule), "shrunk:", str(smallest)]
    lines += [f"  {failure}" for failure in again.failures[:6]]
    return "\n".join(lines)
