"""What windows compile or load before their first message.

What partials make of an item of each signal goes through the operator, a restart in between.
"""

from __future__ import annotations

from collections.abc import Sequence

from schemas.batches import Batch
from schemas.config import Config
from schemas.operators import Scanned
from schemas.signals import Signal
from streams import wire
from streams.windows.partials_warming import SETTINGS, warm_up_partials
from streams.windows.records import Partial, decode
from streams.windows.statistics import warm_up_statistics
from streams.windows.windows import Windows

__all__ = ["warm_up_windows"]

_TOPICS = {"spans": Signal.TRACES.value, "logs": Signal.LOGS.value, "metrics": Signal.METRICS.value}


def warm_up_windows(_: Config) -> None:
    """Close windows of everything, and take the state up again."""
    wire.warm_up()
    warm_up_statistics()

    def windows() -> Windows:
        return Windows(
            SETTINGS, topics=_TOPICS, output="w", export="o", partition=0, max_bytes=1 << 20
        )

    partials = [decode(value) for value in warm_up_partials()]
    operator = windows()
    assert not _send(operator, partials, done=False)  # noqa: S101 - all is still open
    again = windows()
    again.restore(iter(operator.snapshot()))
    assert _send(again, partials, done=True)  # noqa: S101 - else there is nothing in them


def _send(operator: Windows, partials: Sequence[Partial], *, done: bool) -> int:
    """How many records follow, from sources that are far beyond, or not yet anywhere."""
    made = 0
    for offset, partial in enumerate(partials):
        header = partial.header
        partial.header = header.model_copy(update={"progress_ms": header.at_ms if done else 1})
        batch = Batch("p", 0, offset, header.at_ms, None, b"", ())
        made += len(operator.process(Scanned(batch, partial)).records)
    return made
