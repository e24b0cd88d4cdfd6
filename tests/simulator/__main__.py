"""``python -m tests.simulator``: many seeds, or one in words."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter

__all__ = ["main"]


def main() -> int:
    """Exit 1 if a seed fails."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulator", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="how many")
    parser.add_argument("--from", type=int, default=0, dest="first", help="the first")
    parser.add_argument("--seed", type=int, help="only this one, with its schedule")
    parser.add_argument("--keep-going", action="store_true", help="count failures, shrink none")
    parser.add_argument("--tell", action="store_true", help="what happens, line by line")
    arguments = parser.parse_args()
    if os.environ.get("PYTHONHASHSEED") != "0":
        os.execve(
            sys.executable,
            [sys.executable, "-m", "tests.simulator", *sys.argv[1:]],
            {**os.environ, "PYTHONHASHSEED": "0"},
        )
    from .explore import report
    from .schedule import draw
    from .world import run

    if arguments.seed is not None:
        seeds = range(arguments.seed, arguments.seed + 1)
    else:
        seeds = range(arguments.first, arguments.first + arguments.seeds)
    began, failed, totals = time.monotonic(), [], Counter()
    for seed in seeds:
        outcome = run(draw(seed), tell=arguments.tell)
        totals.update(outcome.counts, steps=outcome.steps, virtual_s=int(outcome.seconds))
        if arguments.seed is not None:
            print(outcome.schedule)
            print(dict(totals))
        if outcome.failures:
            failed.append(seed)
            if not arguments.keep_going:
                if not arguments.tell:
                    print(report(outcome))
                return 1
            print(f"seed {seed}: {outcome.failures[0]}")
    seconds = time.monotonic() - began
    print(f"{len(seeds)} seeds in {seconds:.1f} s, {len(seeds) / seconds * 60:.0f} a minute, "
          f"{len(failed)} failed {failed[:20]}; {dict(totals)}")  # fmt: skip
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
