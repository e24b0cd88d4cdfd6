"""Traces that wait for their decision: a summary a trace, no span."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streams.sampling import absorbing, summaries
from streams.sampling.columns import SpanFacts, Traces
from streams.sampling.dropped_traces import DroppedTraces
from streams.sampling.kept_traces import KeptTraces
from streams.sampling.memory import plain
from streams.sampling.root_lags import RootLags
from streams.sampling.rows import Rows
from streams.wire import Partitioner, SpanScan

__all__ = ["Absorbed", "Fate", "OpenTraces"]

_IDS = ("trace_id_high", "trace_id_low", "parent_span_id")
_COLUMNS = (*_IDS, "start_time", "end_time", "name_hash", "status", "frame", "stop", "valid")


class Fate:
    """What became of a span: values of ``Absorbed.fate``."""

    OPEN = absorbing.OPEN
    """Its trace waits for a decision; the span is in the trace's summary."""
    KEPT = absorbing.KEPT
    """Late: its trace was decided and kept; the span follows with the next work order."""
    DROPPED = absorbing.DROPPED
    """Late: its trace was decided and dropped, or the filter of dropped traces errs."""
    MISPLACED = absorbing.MISPLACED
    """Its trace belongs to another partition; it was not taken."""
    INVALID = absorbing.INVALID
    """It has no trace id or no span id; it was not taken."""


class Absorbed(NamedTuple):
    """What became of a batch's spans."""

    fate: NDArray[np.uint8]
    """One of ``Fate`` a span."""
    spans: int
    """Taken into open traces."""
    traces: int
    """New open traces."""
    kept: int
    """Late spans of kept traces."""
    dropped: int
    """Late spans of dropped traces."""
    misplaced: int
    """Spans of another partition's traces."""
    invalid: int

    @property
    def misplaced_mask(self) -> NDArray[np.bool_] | None:
        """One a span, for ``wire.select``; None if no span is on a wrong partition."""
        return self.fate == Fate.MISPLACED if self.misplaced else None


class OpenTraces:
    """Summaries of open traces, found by trace id and due by their deadlines.

    A trace is due ``decision_wait_ms`` after its first span arrived, or, with ``root_wait_ms``
    above 0, that long (or the lag learned for its root operation, whichever is more) after its
    root arrived, if that is sooner. A root is a span without parent; the first that arrives
    counts. Deadlines are rounded up to multiples of ``decision_interval_ms``.

    Takes 132 bytes a trace and 8 a field. Memory of traces that left is used again; all of it
    goes back to the system when none is open.

    Order and results depend on what was absorbed alone, not on ``seed`` or ``capacity``.
    """

    def __init__(
        self,
        capacity: int,
        fields: int = 0,
        *,
        partition: int = 0,
        partitions: int = 1,
        partitioner: Partitioner = "fnv1a",
        decision_wait_ms: int = 10_000,
        root_wait_ms: int = 2_000,
        decision_interval_ms: int = 500,
        seed: int = 0,
    ) -> None:
        if decision_wait_ms < 1 or decision_interval_ms < 1 or root_wait_ms < 0:
            raise ValueError("waits and intervals are positive; only root_wait_ms may be 0")
        if not 0 <= partition < partitions:
            raise ValueError(f"there is no partition {partition} of {partitions}")
        if partitioner not in ("fnv1a", "murmur2"):
            raise ValueError(f"partitioner must be fnv1a or murmur2, not {partitioner!r}")
        self._fields = fields
        self._rows = Rows(capacity, summaries.FIXED_BYTES + 8 * fields, seed)
        self._state, self._address = self._rows.state, self._rows.address
        # Between a root's arrival and the latest deadline, and both are rounded.
        size = 1 << (decision_wait_ms // decision_interval_ms + 3).bit_length()
        self._wheel = np.zeros(size + 1, np.uint32)
        settings = {
            summaries.WHEEL: self._wheel.ctypes.data,
            summaries.WHEEL_MASK: size - 1,
            summaries.WAIT: decision_wait_ms,
            summaries.ROOT_WAIT: root_wait_ms,
            summaries.INTERVAL: decision_interval_ms,
            summaries.FIELDS: fields,
            summaries.PARTITION: partition,
            summaries.PARTITIONS: partitions,
            summaries.MURMUR: partitioner == "murmur2",
        }
        for slot, value in settings.items():
            self._state[slot] = value

    def place(self, partition: int, partitions: int, *, every: bool = False) -> None:
        """From the next batch on, which traces belong here; 0 of 1: all do.

        ``every``: those that are known are judged as well, not only new ones.
        """
        if not 0 <= partition < partitions:
            raise ValueError(f"there is no partition {partition} of {partitions}")
        self._state[summaries.PARTITION] = partition
        self._state[summaries.PARTITIONS] = partitions
        self._state[summaries.EVERY] = every

    def absorb(
        self,
        scan: SpanScan,
        facts: SpanFacts,
        offset: int,
        timestamp_ms: int,
        tenant: int,
        *,
        kept: KeptTraces,
        dropped: DroppedTraces,
        lags: RootLags | None = None,
    ) -> Absorbed:
        """Take a batch's spans; batches come in offset order.

        ``timestamp_ms`` is the batch's broker time; one below an earlier one counts as that.
        ``tenant`` is the hash of its header, 0: none. More traces than ``capacity`` are held
        (nothing is lost), but not cheaply: decide ``oldest(len(self) - capacity)`` after it.
        """
        flat = (facts.service, facts.matched, facts.randomness, facts.threshold)
        if facts.extra.shape != (self._fields, scan.items):
            raise ValueError(f"{facts.extra.shape} values of {self._fields} fields")
        if any(len(column) != scan.items for column in flat):
            raise ValueError(f"facts that are not of {scan.items} spans")
        self._rows.reserve(scan.items)
        kept.at(offset, timestamp_ms)
        dropped.at(offset, timestamp_ms)
        fate = np.empty(scan.items, np.uint8)
        counts = np.zeros(6, np.int64)
        absorbing.absorb(
            self._address,
            kept.address,
            dropped.address,
            0 if lags is None else lags.address,
            offset,
            timestamp_ms,
            np.uint64(tenant),
            *(scan.column(name) for name in _COLUMNS),
            plain(facts.service, np.uint64),
            plain(facts.extra, np.uint64),
            plain(facts.matched, np.uint32),
            plain(facts.randomness, np.uint64),
            plain(facts.threshold, np.uint64),
            fate,
            counts,
        )
        spans, late_kept, late_dropped, misplaced, invalid, traces = counts.tolist()
        return Absorbed(fate, spans, traces, late_kept, late_dropped, misplaced, invalid)

    def due(self, now_ms: int, at_most: int | None = None) -> Traces:
        """Remove and return what is due at ``now_ms`` or the last batch's time, oldest first.

        At most ``at_most``, those that waited for ``decision_wait_ms`` before others; the rest
        comes with the next call. Traces that began in the same message are in a fixed order.
        """
        most = len(self) if at_most is None else min(at_most, len(self))
        rows, first = np.empty((2, most), np.int64)
        count, ordered = absorbing.take(self._address, now_ms, rows, first)
        rows = rows[:count]
        return self._hand_out(rows if ordered else rows[first[:count].argsort(kind="stable")])

    def oldest(self, count: int) -> Traces:
        """Remove and return the ``count`` traces that arrived first, marked ``early``."""
        rows = np.empty(max(0, min(count, len(self))), np.int64)
        absorbing.take_oldest(self._address, rows)
        return self._hand_out(rows, early=True)

    def _hand_out(self, rows: NDArray[np.int64], *, early: bool = False) -> Traces:
        longs = np.empty((summaries.COLUMNS + self._fields, len(rows)), np.uint64)
        matched = np.empty(len(rows), np.uint32)
        absorbing.hand_out(self._address, rows, longs, matched)
        self._rows.release()
        signed = longs.view(np.int64)
        return Traces(
            trace_id_high=longs[0],
            trace_id_low=longs[1],
            randomness=longs[2],
            threshold=longs[3],
            first=signed[4],
            last=signed[5],
            arrived_ms=signed[6],
            start=longs[7],
            end=longs[8],
            spans=signed[9],
            bytes=signed[10],
            errors=signed[11],
            matched=matched,
            tenant=longs[12],
            service=longs[13],
            operation=longs[14],
            root_operation=longs[15],
            extra=longs[summaries.COLUMNS :],
            root_lag_ms=signed[16],
            early=np.full(len(rows), early),
        )

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def first_offset(self) -> int | None:
        """Least ``first`` of open traces; None: none is open."""
        first = int(absorbing.oldest(self._address)[0])
        return first if len(self) else None

    @property
    def oldest_arrival_ms(self) -> int | None:
        """Broker's time of the oldest open trace's first span; None: none is open."""
        arrived_ms = int(absorbing.oldest(self._address)[1])
        return arrived_ms if len(self) else None

    @property
    def touched_bytes(self) -> int:
        """Memory that was written to since it was last given back, in bytes."""
        return self._rows.touched_bytes + self._wheel.nbytes
