"""Every item by its identity: sent, acknowledged to the client, arrived at the backend.

Memory is bounded: items that are settled (acknowledged and arrived) are remembered for repeats,
the latest ``settled_max`` of them; those that are not are what must not be lost, and stay.
Traces that are sampled have an account of their own, :mod:`.sampled`.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from schemas.signals import Signal
from streams.recording.identity import identities

from .sampled import SampledTraces, Verdict

__all__ = ["Counts", "Ledger"]


@dataclass
class Counts:
    """Items of one signal."""

    sent: int = 0
    acknowledged: int = 0
    exported: int = 0
    """Arrived that had been sent, each counted once per sending."""
    repeated: int = 0
    """Arrived once more."""
    foreign: int = 0
    """Arrived and never sent, or a repeat from beyond what is remembered."""
    missing: int = 0
    """Acknowledged and not arrived yet."""

    @property
    def unacknowledged(self) -> int:
        """Sent, and the client was not told that it was taken."""
        return self.sent - self.acknowledged

    @property
    def agree(self) -> bool:
        """Whether sent, acknowledged and exported are the same set, and nothing is foreign."""
        return self.sent == self.acknowledged == self.exported and not (
            self.foreign or self.missing
        )


class _Open:
    """One identity that is under way; it may be sent several times."""

    __slots__ = ("acknowledged", "arrived", "sent")

    def __init__(self) -> None:
        self.sent = self.acknowledged = self.arrived = 0


class Ledger:
    """Account of one run; ``sampled``: traces are judged by their verdicts."""

    def __init__(self, settled_max: int, *, sampled: bool = False) -> None:
        self.counts = {signal: Counts() for signal in Signal}
        self.sampled = SampledTraces(settled_max) if sampled else None
        """None: every span that is sent is to arrive."""
        self.aggregated = 0
        """Points of windows that arrived: nobody sent them."""
        self._forgotten = 0
        self._settled_max = settled_max
        self._arrival = asyncio.Event()
        self._open: dict[tuple[Signal, bytes], _Open] = {}
        self._settled: dict[tuple[Signal, bytes], None] = {}  # in order, oldest first

    @property
    def missing(self) -> int:
        """Items acknowledged and not arrived yet, of all signals; not those that are dropped."""
        return sum(counts.missing for counts in self.counts.values())

    @property
    def undecided(self) -> int:
        """Traces acknowledged and not decided yet."""
        return self.sampled.counts.undecided if self.sampled else 0

    @property
    def agree(self) -> bool:
        """Whether everything agrees, as sets; of sampled traces, with their verdicts."""
        return all(counts.agree for counts in self.plain.values()) and not (
            self.sampled and (self.sampled.counts.off or self.counts[Signal.TRACES].unacknowledged)
        )

    @property
    def plain(self) -> dict[Signal, Counts]:
        """Counts of the signals that are to arrive as they were sent."""
        left_out = {Signal.TRACES} if self.sampled else set()
        return {signal: c for signal, c in self.counts.items() if signal not in left_out}

    async def nothing_missing(self) -> None:
        """Wait until everything acknowledged is decided and has arrived."""
        while self.missing or self.undecided:
            self._arrival.clear()
            await self._arrival.wait()

    @property
    def remembered(self) -> int:
        """Identities in memory."""
        traces = self.sampled.remembered if self.sampled else 0
        return len(self._open) + len(self._settled) + traces

    @property
    def forgotten(self) -> int:
        """Settled identities that are remembered no more."""
        return self._forgotten + (self.sampled.forgotten if self.sampled else 0)

    def sent(self, signal: Signal, data: bytes) -> None:
        """A request goes out."""
        counts = self.counts[signal]
        if self.sampled and signal is Signal.TRACES:
            found = identities(signal, data)
            self.sampled.sent(found)
            counts.sent += len(found)
            return
        for identity in identities(signal, data):
            key = (signal, identity)
            self._settled.pop(key, None)
            self._open.setdefault(key, _Open()).sent += 1
            counts.sent += 1

    def acknowledged(self, signal: Signal, data: bytes) -> None:
        """The client was told that all of it was taken."""
        counts = self.counts[signal]
        if self.sampled and signal is Signal.TRACES:
            found = identities(signal, data)
            self.sampled.acknowledged(found)
            counts.acknowledged += len(found)
            self._mirror(self.sampled)
            return
        for identity in identities(signal, data):
            key = (signal, identity)
            item = self._open[key]
            item.acknowledged += 1
            counts.acknowledged += 1
            if item.acknowledged > item.arrived:
                counts.missing += 1
            self._settle(key, item)

    def arrived(self, signal: Signal, data: bytes) -> None:
        """The backend got it. Raises MalformedMessage."""
        counts = self.counts[signal]
        if self.sampled and signal is Signal.TRACES:
            counts.exported += self.sampled.arrived(identities(signal, data))
            self._mirror(self.sampled)
            return
        for identity in identities(signal, data):
            key = (signal, identity)
            item = self._open.get(key)
            if item is None:
                if key in self._settled:
                    counts.repeated += 1
                else:
                    counts.foreign += 1
                continue
            if item.arrived == item.sent:
                counts.repeated += 1
                continue
            item.arrived += 1
            counts.exported += 1
            if item.arrived <= item.acknowledged:
                counts.missing -= 1
            self._settle(key, item)
        self._arrival.set()

    def decided(self, trace_id: bytes, verdict: Verdict) -> None:
        """A verdict of the stage that samples was read."""
        if self.sampled is None:
            raise RuntimeError("this run has no verdicts")
        self.sampled.decided(trace_id, verdict)
        self._mirror(self.sampled)

    def _mirror(self, sampled: SampledTraces) -> None:
        counts, spans = sampled.counts, self.counts[Signal.TRACES]
        spans.missing, spans.repeated, spans.foreign = (
            counts.missing,
            counts.repeated,
            counts.foreign,
        )
        self._arrival.set()

    def _settle(self, key: tuple[Signal, bytes], item: _Open) -> None:
        if item.sent == item.acknowledged == item.arrived:
            del self._open[key]
            self._settled[key] = None
            if len(self._settled) > self._settled_max:
                del self._settled[next(iter(self._settled))]
                self._forgotten += 1
