"""Every trace by its verdict: the kept ones arrive whole and once, the dropped ones not at all.

A verdict is what stands on ``sampling.decisions``; it may be read before or after the spans
arrive. Memory is bounded as in the ledger: a settled trace (all acknowledged, decided, and
arrived if it was kept) is remembered for what must not come any more, the latest
``settled_max`` spans of them; one that is not is what must not be lost, and stays.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["REPEATED", "UNDECIDED", "SampledCounts", "SampledTraces", "Verdict"]

REPEATED = "spans of kept traces exported more than once"
UNDECIDED = "traces acknowledged and never decided"

_TRACE_ID_BYTES = 16


class Verdict(NamedTuple):
    """What was decided about a trace."""

    kept: bool
    policy: str
    adjusted_count: float | None
    """How many traces a kept one stands for; None: not known."""


@dataclass
class SampledCounts:
    """Traces and spans of one run; spans count once per sending."""

    traces: int = 0
    """Sent, at least in part."""
    undecided: int = 0
    """Traces acknowledged, at least in part, and without a verdict."""
    kept: int = 0
    dropped: int = 0
    missing: int = 0
    """Spans acknowledged, of kept traces, that have not arrived yet."""
    leaked: int = 0
    """Spans that arrived of traces that were dropped."""
    unfounded: int = 0
    """Spans that arrived of traces without a verdict."""
    repeated: int = 0
    """Spans of kept traces that arrived more often than they were sent."""
    foreign: int = 0
    """Spans that arrived and were never sent, or of a trace from beyond what is remembered."""
    decided_twice: int = 0
    """Verdicts about a trace that had one already, be it the same or another."""
    alien: int = 0
    """Verdicts about traces that were never sent, or from beyond what is remembered."""

    @property
    def off(self) -> dict[str, int]:
        """What should be zero once all is done and is not, in words for people."""
        found = {
            UNDECIDED: self.undecided,
            "spans of kept traces acknowledged and not exported": self.missing,
            "spans exported of traces that were dropped": self.leaked,
            "spans exported of traces without a verdict": self.unfounded,
            REPEATED: self.repeated,
            "spans exported and never sent": self.foreign,
            "verdicts about traces that had one": self.decided_twice,
            "verdicts about traces that were never sent": self.alien,
        }
        return {what: number for what, number in found.items() if number}


class _Span:
    __slots__ = ("acknowledged", "arrived", "sent")

    def __init__(self) -> None:
        self.sent = self.acknowledged = self.arrived = 0


class _Trace:
    """One trace; of a dropped one the spans are forgotten, their numbers are not."""

    __slots__ = ("acknowledged", "arrived", "sent", "spans", "verdict")

    def __init__(self) -> None:
        self.sent = self.acknowledged = self.arrived = 0
        self.spans: dict[bytes, _Span] = {}
        self.verdict: Verdict | None = None

    @property
    def settled(self) -> bool:
        if self.verdict is None or self.acknowledged < self.sent:
            return False
        return not self.verdict.kept or all(s.arrived >= s.sent for s in self.spans.values())

    def add_to(self, counts: SampledCounts, sign: int) -> None:
        """Put its share into the figures that go up and down, or take it out."""
        if self.verdict is None:
            counts.undecided += sign * bool(self.acknowledged)
            counts.unfounded += sign * self.arrived
        elif self.verdict.kept:
            for span in self.spans.values():
                counts.missing += sign * max(span.acknowledged - span.arrived, 0)
                counts.repeated += sign * max(span.arrived - span.sent, 0)
        else:
            counts.leaked += sign * self.arrived


class SampledTraces:
    """Account of the traces of one run."""

    def __init__(self, settled_max: int) -> None:
        self.counts = SampledCounts()
        self.policies: Counter[tuple[str, bool]] = Counter()
        """Traces decided, by policy and whether they were kept."""
        self.injected: Counter[tuple[str, bool]] = Counter()
        """Traces decided that a fault was put into, by its kind and whether they were kept."""
        self.estimate = 0.0
        """Sum of the adjusted counts of kept traces: what one would believe was decided on."""
        self.variance = 0.0
        """Of the estimate, by chance: what these traces say about it themselves."""
        self.uncountable = 0
        """Kept traces whose adjusted count is not known; they are not in the estimate."""
        self.forgotten = 0
        """Settled traces that are remembered no more."""
        self._settled_max = settled_max
        self._settled_size = 0
        self._open: dict[bytes, _Trace] = {}
        self._settled: dict[bytes, _Trace] = {}  # in order, oldest first
        self._marks: dict[bytes, set[str]] = {}

    @property
    def remembered(self) -> int:
        """Spans and traces in memory."""
        return self._settled_size + sum(_size(trace) for trace in self._open.values())

    @property
    def undecided_spans(self) -> int:
        """Acknowledged spans of traces without a verdict."""
        return sum(t.acknowledged for t in self._open.values() if t.verdict is None)

    def mark(self, kind: str, trace_ids: Iterable[bytes]) -> None:
        """Traces that are about to be sent with a fault in them."""
        for trace_id in trace_ids:
            self._marks.setdefault(trace_id, set()).add(kind)

    def sent(self, identities: Iterable[bytes]) -> None:
        """A request goes out; identities are trace id and span id, 24 bytes."""
        for trace_id, span_ids in _by_trace(identities).items():
            trace = self._take(trace_id)
            if trace is None:
                trace = _Trace()
                self.counts.traces += 1
            trace.sent += len(span_ids)
            if not _dropped(trace):
                for span_id in span_ids:
                    trace.spans.setdefault(span_id, _Span()).sent += 1
            self._put(trace_id, trace)

    def acknowledged(self, identities: Iterable[bytes]) -> None:
        """The client was told that all of a request was taken."""
        for trace_id, span_ids in _by_trace(identities).items():
            trace = self._take(trace_id)
            assert trace is not None  # noqa: S101 - open since it was sent
            trace.acknowledged += len(span_ids)
            if not _dropped(trace):
                for span_id in span_ids:
                    trace.spans[span_id].acknowledged += 1
            self._put(trace_id, trace)

    def arrived(self, identities: Iterable[bytes]) -> int:
        """The backend got them; how many of them had been sent."""
        known = 0
        for trace_id, span_ids in _by_trace(identities).items():
            trace = self._take(trace_id)
            if trace is None:
                self.counts.foreign += len(span_ids)
                continue
            for span_id in span_ids:
                if not _dropped(trace):
                    if span_id not in trace.spans:
                        self.counts.foreign += 1
                        continue
                    trace.spans[span_id].arrived += 1
                trace.arrived += 1
                known += 1
            self._put(trace_id, trace)
        return known

    def decided(self, trace_id: bytes, verdict: Verdict) -> None:
        """A verdict was read."""
        trace = self._take(trace_id)
        if trace is None:
            self.counts.alien += 1
            return
        if trace.verdict is not None:
            self.counts.decided_twice += 1
        else:
            trace.verdict = verdict
            self._count(trace_id, verdict)
            if not verdict.kept:
                trace.spans = {}
        self._put(trace_id, trace)

    def _count(self, trace_id: bytes, verdict: Verdict) -> None:
        self.policies[verdict.policy, verdict.kept] += 1
        for kind in self._marks.pop(trace_id, ()):
            self.injected[kind, verdict.kept] += 1
        if verdict.kept:
            self.counts.kept += 1
            if (count := verdict.adjusted_count) is not None:
                self.estimate += count
                self.variance += count * (count - 1)
            self.uncountable += verdict.adjusted_count is None
        else:
            self.counts.dropped += 1

    def _take(self, trace_id: bytes) -> _Trace | None:
        """The trace, out of the figures until it is put back."""
        trace = self._open.get(trace_id)
        if trace is None:
            trace = self._settled.pop(trace_id, None)
            if trace is None:
                return None
            self._settled_size -= _size(trace)
            self._open[trace_id] = trace
        trace.add_to(self.counts, -1)
        return trace

    def _put(self, trace_id: bytes, trace: _Trace) -> None:
        trace.add_to(self.counts, 1)
        if not trace.settled:
            self._open[trace_id] = trace
            return
        self._open.pop(trace_id, None)
        self._settled[trace_id] = trace
        self._settled_size += _size(trace)
        while self._settled_size > self._settled_max:
            self._settled_size -= _size(self._settled.pop(next(iter(self._settled))))
            self.forgotten += 1


def _dropped(trace: _Trace) -> bool:
    return trace.verdict is not None and not trace.verdict.kept


def _size(trace: _Trace) -> int:
    return 1 + len(trace.spans)


def _by_trace(identities: Iterable[bytes]) -> dict[bytes, list[bytes]]:
    found: dict[bytes, list[bytes]] = {}
    for identity in identities:
        found.setdefault(identity[:_TRACE_ID_BYTES], []).append(identity[_TRACE_ID_BYTES:])
    return found
