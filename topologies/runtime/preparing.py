"""What a batch goes through before the operators: it is scanned, and the range it names is read.

The batch stays at the head of its lane's queue until both are done, and the lane goes on
meanwhile: it commits, it may be frozen, it may fail. :meth:`Preparing.cancel` forgets what was
begun; nothing is lost by that, and the order cannot change. Ranges are held in memory, so only a
few are read at once in a process: one has its slot until its batch is processed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, NamedTuple

from schemas.batches import Batch
from schemas.errors import PermanentError, RetryableError
from schemas.operators import Source

from .calls import Backoff
from .clock import Clock
from .metrics import LaneCounts
from .ranges import RangeReader
from .stage import SourceRange

__all__ = ["Prepared", "Preparing", "Ranges"]

READS_MAX = 2
"""Ranges in memory at once in a process: one is read while another one's batch is processed."""

_log = logging.getLogger(__name__)

Scan = Callable[[str, bytes], Any]


class Ranges(NamedTuple):
    """How the lanes of a stage come to what their batches name."""

    named: Callable[[Any], SourceRange | None]
    """As ``Stage.reads``."""
    reader: RangeReader
    """This lane's."""
    slots: asyncio.Semaphore
    """All lanes'."""
    backoff: Backoff


class Prepared(NamedTuple):
    """A batch, ready for the operators; or why it never will be."""

    scan: Any = None
    source: Source | None = None
    refusal: PermanentError | None = None


class Preparing:
    """One batch of one lane at a time.

    Args:
        scan: what is found in a value once for all operators (topic, value).
        ranges: None: batches name no ranges.
        wake: called when the batch has become ready.
    """

    def __init__(
        self,
        scan: Scan | None,
        ranges: Ranges | None,
        wake: Callable[[], None],
        clock: Clock,
        counts: LaneCounts,
    ) -> None:
        self._scan = scan
        self._ranges = ranges
        self._wake = wake
        self._clock = clock
        self._counts = counts
        self._offset = -1
        """Of the batch that is prepared, or being so."""
        self._prepared = Prepared()
        self._reading: asyncio.Task[Prepared] | None = None
        self._last: asyncio.Task[Prepared] | None = None
        """The reading before, which may be on its way out."""
        self._has_slot = False

    def ready(self, batch: Batch) -> bool:
        """Whether :meth:`take` can be called; if not, it is begun, and ``wake`` comes."""
        if self._ranges is None:
            return True
        if self._offset != batch.offset:
            self.cancel()
            self._offset = batch.offset
            self._begin(batch, self._ranges)
        return self._reading is None or self._reading.done()

    def take(self, batch: Batch) -> Prepared:
        """What was found. :meth:`done` must follow once the batch is processed."""
        if self._ranges is None:
            return self._scanned(batch)
        prepared = self._prepared if self._reading is None else self._reading.result()
        if (source := prepared.source) is not None:
            self._counts.range_messages += len(source.batches)
            self._counts.range_bytes += sum(len(each.value) for each in source.batches)
            self._counts.lost_range += source.removed
        return prepared

    def done(self) -> None:
        """The batch is processed, or will not be: its range may be forgotten."""
        self._offset, self._prepared = -1, Prepared()
        self._last, self._reading = self._reading or self._last, None
        if self._has_slot and self._ranges is not None:
            self._has_slot = False
            self._ranges.slots.release()

    def cancel(self) -> None:
        """Prepare nothing any more; :meth:`ready` begins anew."""
        if self._reading is not None and not self._reading.done():
            self._reading.cancel()
        self.done()

    async def close(self) -> None:
        """After :meth:`cancel`: let go of what reading took."""
        if self._last is not None:
            await asyncio.wait([self._last])
        if self._ranges is not None:
            await self._ranges.reader.close()

    def _scanned(self, batch: Batch) -> Prepared:
        if not batch.value:
            return Prepared()
        try:
            return Prepared(None if self._scan is None else self._scan(batch.topic, batch.value))
        except PermanentError as error:
            return Prepared(refusal=error)

    def _begin(self, batch: Batch, ranges: Ranges) -> None:
        prepared = self._prepared = self._scanned(batch)
        if not batch.value or prepared.refusal is not None:
            return
        wanted = ranges.named(prepared.scan)
        if wanted is not None:
            reading = self._read(prepared, wanted, ranges, self._last)
            self._reading = asyncio.get_running_loop().create_task(reading)
            self._reading.add_done_callback(lambda _: self._wake())

    async def _read(
        self,
        prepared: Prepared,
        wanted: SourceRange,
        ranges: Ranges,
        last: asyncio.Task[Prepared] | None,
    ) -> Prepared:
        if last is not None:
            await asyncio.wait([last])
        await ranges.slots.acquire()
        self._has_slot = True
        failures = 0
        while True:
            try:
                source = await ranges.reader.read(wanted)
            except PermanentError as error:
                return prepared._replace(refusal=error)
            except RetryableError as error:
                failures += 1
                self._counts.retries += 1
                pause_s = ranges.backoff.pause_s(failures, None, self._clock.jitter())
                level = logging.WARNING if failures == 1 else logging.INFO
                _log.log(level, "%s: read again in %.1f s: %s", wanted, pause_s, error)
                await self._clock.sleep(pause_s)
            else:
                return prepared._replace(source=source)
