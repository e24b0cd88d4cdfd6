"""Every item by its identity: sent, acknowledged to the client, arrived at the backend.

Memory is bounded: items that are settled (acknowledged and arrived) are remembered for repeats,
the latest ``settled_max`` of them; those that are not are what must not be lost, and stay.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from schemas.signals import Signal
from streams.recording.identity import identities

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
    """Account of one run."""

    def __init__(self, settled_max: int) -> None:
        self.counts = {signal: Counts() for signal in Signal}
        self.forgotten = 0
        """Settled identities that are remembered no more."""
        self._settled_max = settled_max
        self._arrival = asyncio.Event()
        self._open: dict[tuple[Signal, bytes], _Open] = {}
        self._settled: dict[tuple[Signal, bytes], None] = {}  # in order, oldest first

    @property
    def missing(self) -> int:
        """Items acknowledged and not arrived yet, of all signals."""
        return sum(counts.missing for counts in self.counts.values())

    @property
    def agree(self) -> bool:
        """Whether everything agrees, as sets."""
        return all(counts.agree for counts in self.counts.values())

    async def nothing_missing(self) -> None:
        """Wait until everything acknowledged has arrived."""
        while self.missing:
            self._arrival.clear()
            await self._arrival.wait()

    @property
    def remembered(self) -> int:
        """Identities in memory."""
        return len(self._open) + len(self._settled)

    def sent(self, signal: Signal, data: bytes) -> None:
        """A request goes out."""
        counts = self.counts[signal]
        for identity in identities(signal, data):
            key = (signal, identity)
            self._settled.pop(key, None)
            self._open.setdefault(key, _Open()).sent += 1
            counts.sent += 1

    def acknowledged(self, signal: Signal, data: bytes) -> None:
        """The client was told that all of it was taken."""
        counts = self.counts[signal]
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

    def _settle(self, key: tuple[Signal, bytes], item: _Open) -> None:
        if item.sent == item.acknowledged == item.arrived:
            del self._open[key]
            self._settled[key] = None
            if len(self._settled) > self._settled_max:
                del self._settled[next(iter(self._settled))]
                self.forgotten += 1
