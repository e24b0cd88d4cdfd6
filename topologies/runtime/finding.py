"""How far a lane had come: the last progress record, and the group's committed offset.

Both tell the truth only once the lane's producer has started, and only up to where nobody else's
transaction hides what lies behind it.
"""

from __future__ import annotations

import logging
from typing import NamedTuple

from schemas.errors import MalformedMessage

from .clock import Clock
from .decision import Found
from .journal import Progress, progress_key
from .ports import Log

__all__ = ["Finding", "Place"]

LOOK_BACK_FIRST = 4
LOOK_BACK_FACTOR = 8
"""The last progress record is looked for in the last 4 offsets, then 32, 256, ..."""

SETTLING_S = 0.1
"""Where others' transactions hide what lies behind them, the end is asked for again this often."""

SECOND_LOOK_S = 0.2
"""Before a person is believed to have reset a group, its offset is read once more."""

_log = logging.getLogger(__name__)


class Place(NamedTuple):
    """What a lane reads and where it writes its progress."""

    topic: str
    partition: int
    group: str
    journal: str

    def __str__(self) -> str:
        return f"{self.group} {self.topic}[{self.partition}]"


class Finding:
    """Step 1 of a recovery, for one lane."""

    def __init__(self, place: Place, log: Log, clock: Clock) -> None:
        self._place = place
        self._log = log
        self._clock = clock

    async def find(self) -> Found:
        """Progress, committed offset, and what the source has. Raises RetryableError."""
        log, (topic, partition, group, _) = self._log, self._place
        progress = await self._last_progress()
        committed = await log.committed(group, topic, partition)
        if progress is not None and committed not in (None, progress.position):
            await self._clock.sleep(SECOND_LOOK_S)
            committed = await log.committed(group, topic, partition)
        begin = await log.begin(topic, partition)
        return Found(progress, committed, begin, await log.end(topic, partition))

    async def _last_progress(self) -> Progress | None:
        log, place = self._log, self._place
        journal, partition = place.journal, place.partition
        begin, end = await log.begin(journal, partition), await self.settled(journal)
        key, back, stop = progress_key(place.topic), LOOK_BACK_FIRST, end
        while stop > begin:
            start, value = max(begin, end - back), None
            async for run in log.read(journal, partition, start, stop):
                for record in run:
                    value = record.value if record.key == key else value
            if value is not None:
                try:
                    return Progress.decode(value)
                except MalformedMessage as error:
                    _log.error("%s: journal not understood: %s", place, error)
                    return None
            stop, back = start, back * LOOK_BACK_FACTOR
        return None

    async def settled(self, topic: str) -> int:
        """Last stable offset, once it has passed everything that lies there now.

        Lanes of several sources share a partition of the journal, and of a log: a transaction
        that another one has open there, or has died with, hides our newest records until it is
        over. Our own are over since the producer has started.
        """
        log, partition = self._log, self._place.partition
        written = await log.written(topic, partition)
        told = False
        while (end := await log.end(topic, partition)) < written:
            if not told:
                told = True
                _log.info("%s: waits for an open transaction on %s", self._place, topic)
            await self._clock.sleep(SETTLING_S)
        return end
