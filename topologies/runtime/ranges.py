"""Ranges of other partitions, read for batches that name them (``Stage.reads``).

A range was there when somebody wrote of it. What of it is there no more is counted as removed:

    before the begin   retention was quicker
    beyond the end     the topic was made anew, or lost what it had acknowledged. Believed only
                       when the partition has said nothing for :data:`SILENCE_S`; after the first
                       time at once
    no such partition  the same

That Kafka does not answer says nothing about the range: it is asked again, as long as it takes.
"""

from __future__ import annotations

from schemas.batches import Batch
from schemas.errors import BrokerUnavailable, MessageTooLarge
from schemas.operators import Source

from .clock import Clock
from .ports import Log, Reader
from .stage import SourceRange

__all__ = ["RangeReader"]

SILENCE_S = 15.0
"""A leader that has just been chosen may not know the end of its log for a moment."""
PAUSE_S = 0.1
"""Between two questions to a partition that says nothing."""


class RangeReader:
    """Reads ranges one after the other; consecutive ones of one partition cost least.

    Args:
        max_bytes: of values in one range.
    """

    def __init__(self, log: Log, clock: Clock, max_bytes: int) -> None:
        self._log = log
        self._clock = clock
        self._max_bytes = max_bytes
        self._where: tuple[str, int] | None = None
        self._reader: Reader | None = None
        self._patience_s = SILENCE_S

    async def read(self, wanted: SourceRange) -> Source:
        """All of a range.

        Raises:
            MessageTooLarge: it has more than ``max_bytes``.
            RetryableError: Kafka does not answer.
        """
        topic, partition, start, stop = wanted
        batches: list[Batch] = []
        gaps: list[tuple[int, int]] = []
        position, size_bytes, beyond = max(0, start), 0, 0
        silent_since_s: float | None = None
        reader = await self._of(topic, partition)
        while position < stop:
            found, following = await reader.fetch(position, stop)
            expected = position
            for batch in found:
                if batch.offset > expected:
                    gaps.append((expected, batch.offset))
                expected = batch.offset + 1
                size_bytes += len(batch.value)
            if size_bytes > self._max_bytes:
                raise MessageTooLarge(_name(wanted), size_bytes, "its stage", self._max_bytes)
            batches += found
            if following > expected:
                gaps.append((expected, following))
            if following > position:
                position, silent_since_s, self._patience_s = following, None, SILENCE_S
                continue
            now_s = self._clock.monotonic()
            silent_since_s = now_s if silent_since_s is None else silent_since_s
            if now_s - silent_since_s >= self._patience_s:
                if await self._ends(topic, partition, position):
                    self._patience_s = 0.0
                    beyond = stop - position
                    break
                if now_s - silent_since_s >= 2 * SILENCE_S:
                    raise BrokerUnavailable(f"{_name(wanted)}: nothing comes after {position}")
            await self._clock.sleep(PAUSE_S)
        return Source(beyond + await self._removed(topic, partition, gaps), batches)

    async def close(self) -> None:
        """Give the reader up; a later read makes another."""
        reader, self._reader, self._where = self._reader, None, None
        if reader is not None:
            await reader.close()

    async def _of(self, topic: str, partition: int) -> Reader:
        if self._reader is None or self._where != (topic, partition):
            await self.close()
            self._where = topic, partition
            self._reader = self._log.reader(topic, partition)
        return self._reader

    async def _ends(self, topic: str, partition: int, position: int) -> bool:
        if partition >= await self._log.partitions(topic):
            return True
        return await self._log.end(topic, partition) <= position

    async def _removed(self, topic: str, partition: int, gaps: list[tuple[int, int]]) -> int:
        """Missing offsets may be markers, or aborted; those before the begin were removed."""
        if not gaps:
            return 0
        begin = await self._log.begin(topic, partition)
        return sum(max(0, min(begin, last) - first) for first, last in gaps)


def _name(wanted: SourceRange) -> str:
    return f"range {wanted.topic}/{wanted.partition}/{wanted.start}-{wanted.stop}"
