"""The operator of partials, and what the battery tries it with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from hypothesis import strategies as st

from schemas.batches import Batch, Record
from schemas.signals import Signal
from streams import wire
from streams.windows.partials import Partials
from tests.operators.battery import PARTITION, TOPIC, Case
from tests.streams.windows.partials_oracle import Gathered, assert_same, expected, merged
from tests.streams.windows.traffic import SETTINGS, items, message

__all__ = ["PARTIALS"]

_FEW = SETTINGS.model_copy(update={"partials_max": 5, "idle_after": 2.0})


def _make(signal: Signal) -> Partials:
    return Partials(
        _FEW, signal=signal, source=TOPIC, partition=PARTITION, partitions=8, output="partials",
        output_partitions=3,
    )  # fmt: skip


def _together(records: Sequence[Record]) -> object:
    """Everything that adds up. Not how far the source is: an idle one says so in its own time."""
    found = merged(records)
    cells: dict[Any, Any] = {}
    for key, cell in found.cells.items():
        # Rounding depends on what was added up first.
        total = float(f"{sum(cell.sums):.9g}")
        rest = (min(cell.least, default=0), max(cell.most, default=0), cell.last, cell.exemplar)
        scale, buckets = cell.fitted()
        parts = (cell.count, cell.errors, cell.zero, total, *rest, scale, sorted(buckets.items()))
        cells[key] = repr(parts)
    return cells, found.points


def _adds_up(signal: Signal, batches: Sequence[Batch], visible: Sequence[Record]) -> None:
    found, wanted = merged(visible), expected(_FEW, signal, batches)
    found.progress_ms = wanted.progress_ms
    assert_same(found, wanted)
    said: dict[int | None, list[Gathered]] = {}
    for record in visible:
        said.setdefault(record.partition, []).append(merged([record]))
    assert not visible or set(said) == {0, 1, 2}, "every partition is told"


def _cases() -> Iterator[Case]:
    for signal in Signal:
        yield Case(
            f"partials of {signal}",
            partial(_make, signal),
            items(signal).map(partial(message, signal)),
            st.sampled_from([b"\n", b"\xff", b"\x08\x01"]),
            scan=lambda _topic, value, signal=signal: wire.scan(signal, value, strict_ids=False),  # type: ignore[misc]
            holds=partial(_adds_up, signal),
            together=_together,
            size=lambda operator: len(operator._tables.cells) + len(operator._tables.points),
            size_max=8,
            steps_max=12,
            examples=25,
        )


PARTIALS = list(_cases())
