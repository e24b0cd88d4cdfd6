"""A decision step as records of the decisions log."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from schemas.records.sampling import EARLY, ERROR, KEPT

from .columns import Traces
from .grouping import distinct
from .key_counts import Texts
from .records import DecidedGroups, DecidedTraces, Raised, VerdictRecord
from .step import Groups, Step, durations_ms

__all__ = ["VerdictRecords"]

_ROW_BYTES = 36
"""Of a trace, about."""
_TEXT_SHARE = 8
"""One of so many bytes of a record may be readable keys."""
_TEXTS_MAX = 1000
"""Keys that a record spells out; ``explain`` finds others in other records, or says the hash."""


class VerdictRecords:
    """Makes the records of one partition.

    Args:
        topic: source topic.
        partition: of both topics.
        policies: names that groups refer to.
        key_fields: what the sampling key consists of.
        max_bytes: largest record, unless it is one trace.
    """

    def __init__(
        self,
        topic: str,
        partition: int,
        policies: tuple[str, ...],
        key_fields: tuple[str, ...],
        max_bytes: int,
    ) -> None:
        self._topic = topic
        self._partition = partition
        self._policies = policies
        self._key_fields = key_fields
        self._max_bytes = max_bytes

    def make(
        self, step: Step, traces: Traces, texts: Texts, next_offset: int = 0
    ) -> list[tuple[VerdictRecord, slice, bytes]]:
        """Records of a step, each with the rows of the traces that it is about, and encoded.

        ``next_offset``: after the last message that had come.
        """
        size = len(traces.trace_id_low)
        parts = max(1, -(-size * _ROW_BYTES // self._max_bytes))
        while True:
            bounds = [size * part // parts for part in range(parts + 1)]
            found = []
            for part in range(parts):
                rows = slice(bounds[part], bounds[part + 1])
                record = self._record(step, traces, texts, rows, (part, parts), next_offset)
                data = record.encode()
                found.append((record, rows, data))
                if len(data) > self._max_bytes and parts < size:
                    break
            else:
                return found
            parts = min(2 * parts, size)

    def _record(
        self,
        step: Step,
        traces: Traces,
        texts: Texts,
        rows: slice,
        part: tuple[int, int],
        next_offset: int,
    ) -> VerdictRecord:
        verdicts = step.verdicts
        group = verdicts.group[rows]
        chosen = np.flatnonzero(np.bincount(group, minlength=len(step.groups.policy)))
        place = np.empty(len(step.groups.policy), np.int32)
        place[chosen] = np.arange(len(chosen))
        group = place[group]
        groups, key_text = self._groups(step.groups, texts, chosen)
        kept = verdicts.kept[rows]
        flags = kept * KEPT + traces.early[rows] * EARLY + (traces.errors[rows] > 0) * ERROR
        roots, root = _numbered(traces.root_operation[rows])
        raised = np.flatnonzero(kept & (verdicts.threshold[rows] != groups.threshold[group]))
        return VerdictRecord(
            topic=self._topic,
            partition=self._partition,
            decided_ms=step.now_ms,
            policies=self._policies,
            traces=DecidedTraces(
                traces.trace_id_high[rows], traces.trace_id_low[rows], group,
                flags.astype(np.uint8), durations_ms(traces)[rows], traces.spans[rows],
                traces.bytes[rows], root, traces.root_lag_ms[rows],
            ),
            groups=groups,
            roots=roots,
            raised=Raised(raised.astype(np.int32), verdicts.threshold[rows][raised]),
            memory=step.memory,
            key_text=key_text,
            key_fields=self._key_fields,
            part=part[0],
            parts=part[1],
            next=next_offset,
        )  # fmt: skip

    def _groups(
        self, groups: Groups, texts: Texts, chosen: NDArray[np.intp]
    ) -> tuple[DecidedGroups, bytes]:
        """Some groups; each key is spelled out once, as long as there is room."""
        keys = groups.key[chosen]
        first = distinct(keys)[1][:_TEXTS_MAX]
        parts = [text.encode() for text in texts(chosen[first])]
        sizes = np.array([len(part) for part in parts], np.int32)
        room = self._max_bytes // _TEXT_SHARE
        fitting = int(np.searchsorted(np.cumsum(sizes), room, "right"))
        stops = np.zeros(len(chosen), np.int32)
        stops[first[:fitting]] = sizes[:fitting]
        columns = DecidedGroups(
            groups.policy[chosen], keys, groups.share[chosen], groups.threshold[chosen],
            groups.probability[chosen], np.cumsum(stops, dtype=np.int32),
        )  # fmt: skip
        return columns, b"".join(parts[:fitting])


def _numbered(operations: NDArray[np.uint64]) -> tuple[NDArray[np.uint64], NDArray[np.int32]]:
    """Hashes other than 0, ascending, and for each row which of them it has; -1: none."""
    which, first = distinct(operations)
    found = operations[first]
    order = np.argsort(found)
    place = np.empty(len(order), np.int32)
    none = int((found == 0).any())
    place[order] = np.arange(len(order)) - none
    return found[order][none:], place[which]
