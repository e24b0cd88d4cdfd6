"""What was kept against what there was: read from verdicts, which tell of the dropped as well.

The truth is what came; the estimate is what somebody would say who sees only what was kept, each
trace counted with its adjusted count (OpenTelemetry, "TraceState: Probability Sampling").
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from . import consistent
from .records import VerdictRecord

__all__ = ["OTHER", "Accounts", "Line", "Quantiles"]

OTHER = "(other)"
_PER_DECADE = 200
"""Buckets of a latency, a decade; 1.2 % apart."""
_DECADES = 10


@dataclass
class Line:
    """Traces of a key, of a policy, or all."""

    traces: int = 0
    kept: int = 0
    spans: int = 0
    kept_spans: int = 0
    bytes: int = 0
    kept_bytes: int = 0
    errors: int = 0
    kept_errors: int = 0
    estimate: float = 0.0
    """Of ``traces``: the sum of adjusted counts."""
    unknown: int = 0
    """Kept ones whose adjusted count is not known; they count once in the estimate."""

    @property
    def error(self) -> float:
        """Of the estimate, relative to the truth."""
        return (self.estimate - self.traces) / self.traces if self.traces else 0.0


class Quantiles:
    """Latencies in milliseconds with their weights, in logarithmic buckets."""

    def __init__(self) -> None:
        self._weights = np.zeros(_PER_DECADE * _DECADES)

    def add(self, values_ms: NDArray[np.float32], weights: NDArray[np.float64]) -> None:
        """Add observations; 0 counts as the least there is, a microsecond."""
        logs = np.log10(np.maximum(values_ms.astype(np.float64), 1e-3)) + 3
        places = np.clip((logs * _PER_DECADE).astype(np.int64), 0, len(self._weights) - 1)
        self._weights += np.bincount(places, weights, len(self._weights))

    def at(self, q: float) -> float:
        """The value below which a share of ``q`` lies, within 1.2 %; NaN: there is none."""
        total = self._weights.sum()
        if not total:
            return float("nan")
        place = int(np.searchsorted(np.cumsum(self._weights), q * total))
        middle = min(place, len(self._weights) - 1) + 0.5
        return float(10.0 ** (middle / _PER_DECADE - 3))


@dataclass
class Accounts:
    """Grows with the verdict records of all partitions."""

    keys_max: int = 100_000
    """Sampling keys with a line of their own."""
    total: Line = field(default_factory=Line)
    policies: dict[str, Line] = field(default_factory=lambda: defaultdict(Line))
    keys: dict[int, Line] = field(default_factory=dict)
    """By hash."""
    texts: dict[int, str] = field(default_factory=dict)
    """Readable keys by hash."""
    seconds: dict[int, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    """Kept traces by the second of their decision and policy; '' counts all that were decided."""
    latency: Quantiles = field(default_factory=Quantiles)
    """Of all traces."""
    estimated_latency: Quantiles = field(default_factory=Quantiles)
    """As the kept ones tell it."""

    def take(self, record: VerdictRecord) -> None:
        """Verdicts of one record."""
        traces, groups = record.traces, record.groups
        kept = traces.kept
        thresholds = record.thresholds
        known = kept & (thresholds < consistent.MAX)
        adjusted = np.where(kept, 1.0, 0.0)
        adjusted[known] = consistent.adjusted_count(thresholds[known])
        columns = _Columns(kept, traces.spans, traces.bytes, traces.error, adjusted, kept & ~known)
        _add(self.total, columns.sums(np.zeros(len(kept), np.int32), 1)[0])
        policy = groups.policy[traces.group]
        for name, sums in zip(
            record.policies, columns.sums(policy, len(record.policies)), strict=True
        ):
            if sums[0]:
                _add(self.policies[name], sums)
        self.texts.update(record.key_texts)
        for key, sums in zip(
            groups.key.tolist(), columns.sums(traces.group, len(groups.key)), strict=True
        ):
            _add(self._key(key), sums)
        second = self.seconds[record.decided_ms // 1000]
        second[""] += len(kept)
        for name, count in zip(
            record.policies, np.bincount(policy[kept], minlength=len(record.policies)), strict=True
        ):
            if count:
                second[name] += int(count)
        self.latency.add(traces.duration_ms, np.ones(len(kept)))
        self.estimated_latency.add(traces.duration_ms[kept], adjusted[kept])

    def _key(self, key: int) -> Line:
        line = self.keys.get(key)
        if line is None:
            if len(self.keys) >= self.keys_max:
                key = 0
                self.texts[0] = OTHER
            line = self.keys.setdefault(key, Line())
        return line

    def lines(self) -> list[tuple[str, Line]]:
        """Readable keys and their lines, the most traces first."""
        named = [(self.texts.get(key, f"{key:016x}"), line) for key, line in self.keys.items()]
        return sorted(named, key=lambda each: (-each[1].traces, each[0]))

    @property
    def coverage(self) -> float:
        """Share of the keys of which something was kept."""
        covered = sum(1 for line in self.keys.values() if line.kept)
        return covered / len(self.keys) if self.keys else 0.0

    @property
    def count_error(self) -> float:
        """Mean relative error of the keys' estimated counts, weighted by their traces."""
        off = sum(abs(line.estimate - line.traces) for line in self.keys.values())
        return off / self.total.traces if self.total.traces else 0.0


@dataclass(frozen=True)
class _Columns:
    kept: NDArray[np.bool_]
    spans: NDArray[np.int64]
    bytes: NDArray[np.int64]
    error: NDArray[np.bool_]
    adjusted: NDArray[np.float64]
    unknown: NDArray[np.bool_]

    def sums(self, places: NDArray[np.int32], size: int) -> list[list[float]]:
        """Of each place, in the order of the fields of ``Line``."""
        weights: Sequence[NDArray[np.generic]] = (
            np.ones(len(places)), self.kept, self.spans, self.spans * self.kept, self.bytes,
            self.bytes * self.kept, self.error, self.error & self.kept, self.adjusted, self.unknown,
        )  # fmt: skip
        found = [np.bincount(places, each.astype(np.float64), size) for each in weights]
        return np.stack(found, axis=1).tolist()  # type: ignore[no-any-return]


def _add(line: Line, sums: Sequence[float]) -> None:
    for name, value in zip(Line.__dataclass_fields__, sums, strict=True):
        whole = name != "estimate"
        setattr(line, name, getattr(line, name) + (round(value) if whole else value))
