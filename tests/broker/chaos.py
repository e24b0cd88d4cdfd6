"""Everything that can happen to workers and their broker, by seed, for as long as one likes.

    python -m tests.broker.chaos [--minutes 30] [--seed N] [--kind sampling]

First copies and counts (chaos_copies.py), then sampling (chaos_sampling.py), then windows and
alerts (chaos_windows.py), a third of the time each.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import random
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from topologies.localkafka import LocalKafka

from .chaos_copies import Chaos
from .chaos_sampling import BROKER_SETTINGS, EACH, PROGRAM, SamplingChaos
from .chaos_windows import WindowsChaos

KINDS = ("copies", "sampling", "windows")
BROKEN = ("-m", "tests.broker.chaos_broken")


def run(
    kind: str, seed: int, seconds: float, broken: str = "", logs: Path | None = None
) -> Mapping[str, Any]:
    """Figures of a run with a broker of its own; what workers say stays in ``logs``."""
    with tempfile.TemporaryDirectory() as name:
        directory = logs or Path(name)
        directory.mkdir(parents=True, exist_ok=True)
        settings = {} if kind == "copies" else BROKER_SETTINGS
        with LocalKafka(Path(name) / "kafka", keep=False, settings=settings) as broker:
            if kind == "copies":
                return asyncio.run(Chaos(broker, directory, seed).run(seconds))
            if kind == "windows":
                return asyncio.run(WindowsChaos(broker, directory, seed).run(seconds))
            program = (*BROKEN, broken, "run") if broken else PROGRAM
            chaos = SamplingChaos(broker, directory, seed, program=program, first=EACH)
            return asyncio.run(chaos.run(seconds))


def main() -> None:
    """A run of any length, its figures as JSON."""
    parser = argparse.ArgumentParser(prog="make chaos")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--kind", choices=KINDS, help="only this one")
    parser.add_argument("--broken", default="", help="a defect of chaos_broken.py: must be found")
    parser.add_argument("--logs", type=Path, help="directory for what the workers say")
    arguments = parser.parse_args()
    kinds = (arguments.kind,) if arguments.kind else KINDS
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # a broker that is killed is meant
    print(f"seed {arguments.seed}")
    for kind in kinds:
        seconds = arguments.minutes * 60 / len(kinds)
        try:
            figures = run(kind, arguments.seed, seconds, arguments.broken, arguments.logs)
        except AssertionError as error:
            sys.exit(f"{kind}: {error}")
        print(json.dumps({kind: figures}, indent=2), flush=True)


if __name__ == "__main__":
    main()
