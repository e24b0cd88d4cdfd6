"""Open and kept traces in plain Python: slow, obvious, and what the real ones are compared with."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from tests.streams.sampling.batches import LOW56, Span

U32 = (1 << 32) - 1


@dataclass
class PlainRow:
    """A trace that was kept."""

    threshold: int
    policy: int
    number: int
    added: int
    until: int = 1 << 62
    expired: bool = False


@dataclass
class PlainKept:
    """Exact memory of kept traces."""

    most: int
    memory_ms: int
    ordered: int = 0
    latest: int = 0
    forgotten: int = 0
    times: list[int] = field(default_factory=list)
    """Of decisions, by number."""
    remembered: int = 0
    """The first of them."""
    decided: dict[int, PlainRow] = field(default_factory=dict)
    """In the order of the queue."""
    active: dict[int, list[int]] = field(default_factory=dict)

    def counts(self, trace: int, offset: int, now: int) -> bool:
        """Whether a span of a message is a late one."""
        row = self.decided.get(trace)
        return row is not None and offset < row.until and row.added > now - self.memory_ms

    def note(self, trace: int, first: int, last: int) -> None:
        if last < self.ordered:
            return
        known = self.active.setdefault(trace, [first, last])
        known[:] = min(known[0], first), max(known[1], last)

    def add(
        self, traces: Iterable[tuple[int, int, int, int | None, int | None]], now: int, offset: int
    ) -> None:
        self.latest = max(self.latest, now)
        for trace, threshold, policy, first, last in traces:
            self.decided.pop(trace, None)
            self.decided[trace] = PlainRow(threshold, policy, len(self.times), self.latest)
            self.times.append(self.latest)
            if first is not None and last is not None:
                self.note(trace, first, last)
        excess = len(self.times) - self.remembered - self.most
        if excess > 0:
            self.remembered += excess
            self.forgotten += excess
            for row in self.decided.values():
                if row.number < self.remembered:
                    row.until = min(row.until, offset)
            self.forget()

    def expire(self, now: int) -> None:
        while self.remembered < len(self.times) and (
            self.times[self.remembered] <= now - self.memory_ms
        ):
            self.remembered += 1
        for row in self.decided.values():
            row.expired |= row.added <= now - self.memory_ms
        self.forget()

    def forget(self) -> None:
        for trace, row in list(self.decided.items()):
            if trace in self.active or not (row.expired or row.until <= self.ordered):
                break
            del self.decided[trace]

    def overlapping(self, start: int, stop: int) -> list[tuple[int, int, int]]:
        return [
            (trace, self.decided[trace].threshold, self.decided[trace].policy)
            for trace, (first, last) in self.active.items()
            if first < stop and last >= start
        ]

    def retire(self, stop: int) -> None:
        if stop <= self.ordered:
            return
        self.ordered = stop
        self.active = {t: [max(stop, f), z] for t, (f, z) in self.active.items() if z >= stop}


@dataclass
class PlainDropped:
    """Generations that are never full, of which only so many are remembered."""

    most: int
    memory_ms: int
    ordered: int = 0
    latest: int = -1
    generations: list[tuple[int, int, set[int]]] = field(default_factory=list)
    """(time of the last trace, counts before this offset, traces), the oldest first."""

    def counts(self, trace: int, offset: int, now: int) -> bool:
        """Whether a span of a message is a late one."""
        return any(
            trace in traces and offset < until and touched > now - self.memory_ms
            for touched, until, traces in self.generations
        )

    def add(self, traces: Iterable[int], now: int, offset: int) -> None:
        self.latest, added = max(self.latest, now), set(traces)
        if not added:
            return
        all_of_them, forever = self.generations, 1 << 62
        if not all_of_them or (
            all_of_them[-1][1] < forever or all_of_them[-1][0] <= self.latest - self.memory_ms
        ):
            remembered = [k for k, each in enumerate(all_of_them) if each[1] == forever]
            if len(remembered) == self.most:
                touched, _, those = all_of_them[remembered[0]]
                all_of_them[remembered[0]] = touched, offset, those
            all_of_them.append((self.latest, forever, set()))
        all_of_them[-1] = self.latest, forever, all_of_them[-1][2] | added
        self.forget(-1)

    def expire(self, now: int, ordered: int) -> None:
        self.ordered = max(self.ordered, ordered)
        self.forget(now - self.memory_ms)

    def forget(self, horizon: int) -> None:
        while self.generations and (
            self.generations[0][0] <= horizon or self.generations[0][1] <= self.ordered
        ):
            del self.generations[0]


@dataclass
class PlainOpen:
    """Summaries of open traces, found and due by looking at all of them."""

    wait_ms: int
    root_wait_ms: int
    interval_ms: int
    lags: dict[int, int] = field(default_factory=dict)
    clock: int = 0
    traces: dict[int, dict[str, Any]] = field(default_factory=dict)
    """In the order of arrival."""

    def add(self, span: Span, fields: int, offset: int, tenant: int) -> None:
        extra = [*span.extra, *[0] * fields][:fields]
        new = span.trace not in self.traces
        t = self.traces.setdefault(
            span.trace,
            {
                "randomness": span.trace & LOW56,
                "threshold": 0,
                "first": offset,
                "arrived_ms": self.clock,
                "start": 0,
                "end": 0,
                "spans": 0,
                "bytes": 0,
                "errors": 0,
                "matched": 0,
                "tenant": tenant,
                "root_operation": 0,
                "root_seen": None,
                "extra": [0] * fields,
                "deadline": -(-(self.clock + self.wait_ms) // self.interval_ms),
            },
        )
        t["waited_for"] = -(-(t["arrived_ms"] + self.wait_ms) // self.interval_ms)
        sooner = span.start and (not t["start"] or span.start < t["start"])
        if t["root_seen"] is None and (new or span.root or sooner):
            t["service"], t["operation"] = span.service, span.operation
            t["extra"] = [mine or his for mine, his in zip(extra, t["extra"], strict=True)]
            if span.root:
                t["root_seen"], t["root_operation"] = self.clock, span.operation
                if self.root_wait_ms:
                    wait = max(self.root_wait_ms, self.lags.get(span.operation, 0))
                    sooner_at = -(-(self.clock + wait) // self.interval_ms)
                    t["deadline"] = min(t["deadline"], sooner_at)
        else:
            t["extra"] = [his or mine for mine, his in zip(extra, t["extra"], strict=True)]
        if span.randomness is not None and t["randomness"] == span.trace & LOW56:
            t["randomness"] = span.randomness
        t["threshold"] = max(t["threshold"], span.threshold)
        t["last"] = offset
        if sooner:
            t["start"] = span.start
        t["end"] = max(t["end"], span.end)
        t["spans"] += 1
        t["bytes"] = min(t["bytes"] + span.size, U32)
        t["errors"] += span.error
        t["matched"] |= span.matched
        t["root_lag_ms"] = -1 if t["root_seen"] is None else self.clock - t["root_seen"]

    def due(self, now: int) -> list[dict[str, Any]]:
        deadline = max(now, self.clock) // self.interval_ms
        return self._take([i for i, t in self.traces.items() if t["deadline"] <= deadline])

    def oldest(self, count: int) -> list[dict[str, Any]]:
        return self._take(list(self.traces)[:count], early=True)

    def _take(self, ids: list[int], early: bool = False) -> list[dict[str, Any]]:
        rows = []
        for i in ids:
            row = self.traces.pop(i)
            for name in ("root_seen", "deadline", "waited_for"):
                del row[name]
            high, low = i >> 64, i & ((1 << 64) - 1)
            rows.append({"trace_id_high": high, "trace_id_low": low, "early": early, **row})
        return rows
