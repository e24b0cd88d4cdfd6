"""A decision step as records of the decisions log."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from schemas.records.sampling import EARLY, ERROR, KEPT

from .columns import Traces
from .interning import Interned
from .keys import SamplingKey
from .records import DecidedGroups, DecidedTraces, Raised, VerdictRecord
from .step import Groups, Step, durations_ms

__all__ = ["KeyTexts", "VerdictRecords"]

_ROW_BYTES = 36
"""Of a trace, about."""
_TEXT_SHARE = 8
"""One of so many bytes of a record may be readable keys."""


class KeyTexts:
    """Readable sampling keys, each made once.

    Args:
        key: what they consist of.
        texts: readable parts.
        most: keys that are held; beyond it all are made again.
    """

    def __init__(self, key: SamplingKey, texts: Interned, most: int) -> None:
        self._key = key
        self._texts = texts
        self._most = most
        self._made: dict[int, str] = {}

    def of(self, groups: Groups, traces: Traces) -> list[str]:
        """Of each group."""
        made, found = self._made, []
        for key, first in zip(groups.key.tolist(), groups.first.tolist(), strict=True):
            text = made.get(key)
            if text is None:
                if len(made) >= self._most:
                    made.clear()
                text = made[key] = self._key.text(traces, first, self._texts)
            found.append(text)
        return found


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
        self, step: Step, traces: Traces, texts: Sequence[str]
    ) -> list[tuple[VerdictRecord, slice, bytes]]:
        """Records of a step, each with the rows of the traces that it is about, and encoded.

        ``texts``: the groups' readable keys.
        """
        size = len(traces.trace_id_low)
        parts = max(1, -(-size * _ROW_BYTES // self._max_bytes))
        while True:
            bounds = [size * part // parts for part in range(parts + 1)]
            found = []
            for part in range(parts):
                rows = slice(bounds[part], bounds[part + 1])
                record = self._record(step, traces, texts, rows, (part, parts))
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
        texts: Sequence[str],
        rows: slice,
        part: tuple[int, int],
    ) -> VerdictRecord:
        verdicts = step.verdicts
        chosen, inverse = np.unique(verdicts.group[rows], return_inverse=True)
        group = inverse.astype(np.int32)
        groups, key_text = self._groups(step.groups, texts, chosen)
        kept = verdicts.kept[rows]
        flags = kept * KEPT + traces.early[rows] * EARLY + (traces.errors[rows] > 0) * ERROR
        operations = traces.root_operation[rows]
        roots, root = np.unique(operations, return_inverse=True)
        if len(roots) and roots[0] == 0:
            roots, root = roots[1:], root - 1
        raised = np.flatnonzero(kept & (verdicts.threshold[rows] != groups.threshold[group]))
        return VerdictRecord(
            topic=self._topic,
            partition=self._partition,
            decided_ms=step.now_ms,
            policies=self._policies,
            traces=DecidedTraces(
                traces.trace_id_high[rows], traces.trace_id_low[rows], group,
                flags.astype(np.uint8), durations_ms(traces)[rows], traces.spans[rows],
                traces.bytes[rows], root.astype(np.int32), traces.root_lag_ms[rows],
            ),
            groups=groups,
            roots=roots,
            raised=Raised(raised.astype(np.int32), verdicts.threshold[rows][raised]),
            memory=step.memory,
            key_text=key_text,
            key_fields=self._key_fields,
            part=part[0],
            parts=part[1],
        )  # fmt: skip

    def _groups(
        self, groups: Groups, texts: Sequence[str], chosen: NDArray[np.int32]
    ) -> tuple[DecidedGroups, bytes]:
        """Some groups; each key is spelled out once, as long as there is room."""
        room = self._max_bytes // _TEXT_SHARE
        spelled: set[int] = set()
        parts: list[bytes] = []
        stops, stop = np.empty(len(chosen), np.int32), 0
        keys = groups.key[chosen]
        for at, (index, key) in enumerate(zip(chosen.tolist(), keys.tolist(), strict=True)):
            if key not in spelled:
                data = texts[index].encode()
                if stop + len(data) <= room:
                    spelled.add(key)
                    parts.append(data)
                    stop += len(data)
            stops[at] = stop
        columns = DecidedGroups(
            groups.policy[chosen], keys, groups.share[chosen], groups.threshold[chosen],
            groups.probability[chosen], stops,
        )  # fmt: skip
        return columns, b"".join(parts)
