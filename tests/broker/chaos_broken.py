"""Workers with a defect each, to see that chaos finds it: ``chaos --kind sampling --broken NAME``.

python -m tests.broker.chaos_broken DEFECT run STAGE --config FILE
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from schemas.operators import Outcome, Scanned
from streams.sampling.emit import Emit
from streams.sampling.sample import Sample
from topologies.cli import main as cli


def decides_in_replays() -> None:
    """What is replayed counts as live: verdicts that are lost with what a replay returns."""
    process = Sample.process

    def broken(self: Sample, scanned: Scanned) -> Outcome:
        return process(self, scanned._replace(replayed=False))

    Sample.process = broken  # type: ignore[method-assign]


def forgets_its_log() -> None:
    """Nothing is recalled."""
    Sample.recall = lambda self, record: None  # type: ignore[method-assign]
    Sample.restore = lambda self, chunks: None  # type: ignore[method-assign]


def takes_orders_again() -> None:
    """The outputs of the last order come again after a restart."""
    process, last = Emit.process, "last"

    def broken(self: Emit, scanned: Scanned) -> Outcome:
        outcome = process(self, scanned)
        again: Outcome | None = self.__dict__.get(last)
        if outcome.records:
            self.__dict__[last] = outcome
            if again is None:  # the first after a start
                return Outcome([*outcome.records, *outcome.records])
        return outcome

    Emit.process = broken  # type: ignore[method-assign]


def commits_without_outputs() -> None:
    """A start passes its first order over, as one that commits an offset too early would."""
    process, begun = Emit.process, "begun"

    def broken(self: Emit, scanned: Scanned) -> Outcome:
        outcome = process(self, scanned)
        # The stage's own, which makes its kernels ready, must not fail.
        if outcome.records and begun not in self.__dict__ and scanned.batch.offset:
            self.__dict__[begun] = True
            return Outcome()
        return outcome

    Emit.process = broken  # type: ignore[method-assign]


def is_never_fenced() -> None:
    """Every process has transactional ids of its own, so that zombies write on."""
    import os

    from topologies.runtime import kafka_transactions

    create: Callable[..., Any] = kafka_transactions.create_producer  # type: ignore[attr-defined]

    def broken(kafka: Any, *, transactional_id: str, **options: Any) -> Any:
        return create(kafka, transactional_id=f"{transactional_id}-{os.getpid()}", **options)

    kafka_transactions.create_producer = broken  # type: ignore[attr-defined]


DEFECTS: dict[str, Callable[[], None]] = {
    "replays": decides_in_replays,
    "log": forgets_its_log,
    "twice": takes_orders_again,
    "early": commits_without_outputs,
    "fencing": is_never_fenced,
}


def main() -> None:
    """The command line with a defect."""
    DEFECTS[sys.argv.pop(1)]()
    cli.main()


if __name__ == "__main__":
    main()
