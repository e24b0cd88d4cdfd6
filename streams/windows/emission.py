"""What is said of a window that closes: records for the output and for backends."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from schemas.batches import Record
from schemas.config.windows import Windows as Settings

from .closing import window_headers
from .counts_windows import WindowCounts
from .merging import BOUNDS, LENGTH, export_rows
from .naming import STATISTICS
from .open_windows import OpenWindows
from .otlp import Encoder, closing
from .statistics import statistics
from .writing import CUMULATIVE, DELTA

__all__ = ["Emission"]

_OVERHEAD_BYTES = 200
"""What a record takes beside its value and headers, generously."""
_HEADER_BYTES = 10
_WORK = 4096


class Emission:
    """Makes the records of windows.

    Args:
        settings: rules and temporality.
        windows: that are open.
        output: topic of windows.
        export: topic for backends; None: they get nothing.
        partition: of both.
        max_bytes: largest record, headers included.
        counts: what it counts.
    """

    def __init__(
        self, settings: Settings, windows: OpenWindows, *, output: str, export: str | None,
        partition: int, max_bytes: int, counts: WindowCounts,
    ) -> None:  # fmt: skip
        self._settings, self._windows = settings, windows
        self._output, self._export, self._partition = output, export, partition
        self._max_bytes = max_bytes
        self._counts = counts
        self._encoder = Encoder()
        self._cumulative = settings.temporality == "cumulative"

    def _exports(self, rule: int, slot: int) -> bool:
        length = int(self._windows.slots[slot, LENGTH])
        return self._settings.rules[rule].export_length_ms == length

    def _rows(self, slot: int, end_ms: int) -> NDArray[np.int64]:
        """Of a window, so that tenants, services and metrics lie together."""
        windows = self._windows
        rows = windows.store.of_window(slot, end_ms - int(windows.slots[slot, LENGTH]))
        groups = windows.groups.rows[windows.store.accumulators["group"][rows]]
        return rows[np.lexsort((groups["key"], groups["order"]))]

    def export(self, rule: int, slot: int, end_ms: int) -> NDArray[np.int64] | None:
        """Add a window to what its groups have since they were first seen; the window's rows.

        None where backends do not get this length of the rule as cumulative.
        """
        if not (self._exports(rule, slot) and self._cumulative):
            return None
        windows = self._windows
        rows = self._rows(slot, end_ms)
        store, bounds = windows.store, windows.bounds
        work = (np.empty(_WORK, np.int32), np.empty(_WORK, np.uint8), np.empty(_WORK, np.uint64))
        first, begin = 0, end_ms - int(windows.slots[slot, LENGTH])
        while first < len(rows):
            first, why, left, right = export_rows(
                rows, first, begin, *work, *store.arrays, windows.groups.table,
                (bounds.stops, bounds.bound, bounds.meetings),
            )  # fmt: skip
            if why == BOUNDS:
                bounds.meet(left, right)
            elif why:
                store.grow()
        return rows

    def emit(self, rule: int, slot: int, end_ms: int, after: int, silent: int) -> list[Record]:
        """All records of a window; the closing one last.

        ``after``: offset after the last record that is in it. ``silent``: source partitions.
        """
        windows = self._windows
        name, length = self._settings.rules[rule].name, int(windows.slots[slot, LENGTH])
        exported = self.export(rule, slot, end_ms)
        rows = self._rows(slot, end_ms) if exported is None else exported
        header = window_headers(name, length, end_ms)
        records: list[Record] = []
        extra = self._statistics(rule, rows, length)
        totals = np.empty(0, np.int64)
        if len(rows):
            records += self._records(
                rule, slot, end_ms, rows, totals, extra, self._output, (header,), DELTA
            )  # fmt: skip
            if self._exports(rule, slot) and self._export is not None:
                how = DELTA
                if exported is not None:
                    of_group = windows.store.accumulators["group"][rows]
                    totals = windows.groups.table["cumulative"][of_group].astype(np.int64)
                    how = CUMULATIVE
                records += self._records(
                    rule, slot, end_ms, rows, totals, extra, self._export, (), how
                )  # fmt: skip
        value = closing(name, length, end_ms, len(rows), silent)
        closed = (header, ("window.closed", b"1"), ("window.next", b"%d" % after))
        records.append(Record(self._output, value, self._partition, None, closed))
        counts = self._counts
        counts.windows[name, length] += 1
        counts.emitted[name, length] += len(rows)
        counts.message_records += len(records)
        counts.message_bytes += sum(len(record.value) for record in records)
        return records

    def _statistics(
        self, rule: int, rows: NDArray[np.int64], length_ms: int
    ) -> NDArray[np.float64]:
        if not self._settings.rules[rule].statistics:
            return np.empty((len(STATISTICS), 0))
        windows = self._windows
        kinds = windows.groups.table["kind"][windows.store.accumulators["group"][rows]]
        return statistics(rows, kinds, length_ms, windows.store, windows.bounds)

    def _records(
        self, rule: int, slot: int, end_ms: int, rows: NDArray[np.int64],
        totals: NDArray[np.int64], extra: NDArray[np.float64], topic: str,
        headers: tuple[tuple[str, bytes], ...], temporality: int,
    ) -> list[Record]:  # fmt: skip
        windows = self._windows
        tenants = list(windows.groups.names.tenants)
        longest = max(len(tenant.encode("utf-8", "replace")) for tenant in tenants)
        spent = sum(len(key) + len(value) + _HEADER_BYTES for key, value in headers)
        room = self._max_bytes - _OVERHEAD_BYTES - spent - longest - len("tenant") - _HEADER_BYTES
        parts, oversized = self._encoder.encode(
            rows, totals, self._settings.rules[rule].name, int(windows.slots[slot, LENGTH]),
            end_ms, max(room, 1), windows.groups, windows.store, windows.bounds, extra,
            temporality,
        )  # fmt: skip
        self._counts.oversized_groups += oversized
        records = []
        for part in parts:
            tenant = tenants[part.tenant].encode("utf-8", "replace")
            own = (*headers, ("tenant", tenant)) if tenant else headers
            records.append(Record(topic, part.value, self._partition, None, own))
        return records
