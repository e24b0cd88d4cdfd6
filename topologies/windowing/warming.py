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
from streams.windows.windows import Windows

__all__ = ["warm_up_windows"]

_TOPICS = {"spans": Signal.TRACES.value, "logs": Signal.LOGS.value, "metrics": Signal.METRICS.value}
_HOUR_MS = 3_600_000


def warm_up_windows(_: Config) -> None:
    """Close windows of everything, and take the state up again."""
    wire.warm_up()

    def windows() -> Windows:
        return Windows(
            SETTINGS, topics=_TOPICS, output="w", export="o", partition=0, max_bytes=1 << 20
        )

    partials = [decode(value) for value in warm_up_partials()]
    operator = windows()
    _send(operator, partials, 0)
    again = windows()
    again.restore(iter(operator.snapshot()))
    assert _send(again, partials, _HOUR_MS)  # noqa: S101 - else there is nothing in them


def _send(operator: Windows, partials: Sequence[Partial], later_ms: int) -> int:
    """How many records follow, from sources that are so much further."""
    made = 0
    for offset, partial in enumerate(partials):
        now_ms = partial.header.at_ms + later_ms
        partial.header = partial.header.model_copy(update={"progress_ms": now_ms, "at_ms": now_ms})
        batch = Batch("p", 0, offset, now_ms, None, b"", ())
        made += len(operator.process(Scanned(batch, partial)).records)
    return made
