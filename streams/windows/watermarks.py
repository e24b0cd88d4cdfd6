"""How far the sources are: a watermark for each source topic.

It is the least progress of the topic's partitions that are neither idle nor silent. When all are
idle it goes on with the clock, from the one that is furthest. A partition that has not spoken for
``timeout_ms`` (or never, for so long after the topic was first heard of) is silent: nobody waits
for it any longer, and it is counted. When all are silent, the watermark stands still; who speaks
first after that was not necessarily the first to go on, so all others are waited for as at the
start.

A source whose items are older than their messages by more than ``behind_ms`` (clients with a wrong
clock, without time, or that send what is long past) is not waited for, unless all are so: it would
hold up the windows of everybody for as long as it goes on.

How many partitions a topic has is the most that any partition says that is not silent. A partition
of a silent one's past, such as of a topic that was made anew with fewer, is then forgotten.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from schemas.records.windows import PartialsHeader

__all__ = ["Source", "Watermarks"]


class Source(NamedTuple):
    """What a source partition said last. All times in Unix milliseconds."""

    heard_ms: int
    """When that was; of one that has never spoken when it was heard of."""
    progress_ms: int = 0
    """Greatest event time; 0: nothing has come."""
    at_ms: int = 0
    """Broker's time of the newest message when progress was said; 0: none had come."""
    idle: bool = False
    partitions: int = 0
    """How many it says there are; 0: it has never spoken."""


class Watermarks:
    """Of all source topics."""

    def __init__(self, timeout_ms: int, behind_ms: int) -> None:
        self._timeout_ms = timeout_ms
        self._behind_ms = behind_ms
        self.topics: dict[str, dict[int, Source]] = {}

    def hear(self, header: PartialsHeader, heard_ms: int) -> None:
        """Take what a record says; ``heard_ms`` is the record's time at the broker."""
        sources = self.topics.setdefault(header.topic, {})
        said = Source(
            heard_ms, header.progress_ms, header.at_ms, header.idle, header.partitions
        )  # fmt: skip
        before = sources.get(header.partition)
        if before is not None:
            heard_ms = max(heard_ms, before.heard_ms)
            said = said._replace(heard_ms=heard_ms)
            if said.progress_ms < before.progress_ms:
                # It was restarted: what is known is still true.
                at_ms = max(said.at_ms, before.at_ms)
                said = said._replace(progress_ms=before.progress_ms, at_ms=at_ms)
        self._wait_anew(sources, header.partitions, heard_ms)
        sources[header.partition] = said
        for partition in range(header.partitions):
            sources.setdefault(partition, Source(heard_ms))

    def _wait_anew(self, sources: dict[int, Source], partitions: int, heard_ms: int) -> None:
        """If nobody has spoken for so long that all were silent: all may have much to say."""
        if all(heard_ms - source.heard_ms > self._timeout_ms for source in sources.values()):
            for partition, source in sources.items():
                if partition < partitions:
                    sources[partition] = source._replace(heard_ms=heard_ms, idle=False)

    def _speaking(self, topic: str, now_ms: int) -> tuple[dict[int, Source], list[Source]]:
        sources = self.topics.get(topic, {})
        heard = [s for s in sources.values() if now_ms - s.heard_ms <= self._timeout_ms]
        count = max((source.partitions for source in heard), default=0)
        if count:
            for partition in [each for each in sources if each >= count]:
                if now_ms - sources[partition].heard_ms > self._timeout_ms:
                    del sources[partition]
        return sources, heard

    def at(self, topic: str, now_ms: int) -> int | None:
        """The watermark; None: it is not known, or stands still for nobody speaks."""
        _, heard = self._speaking(topic, now_ms)
        heard = self._waited_for(heard)
        busy = [source for source in heard if not source.idle]
        if busy:
            least = min(source.progress_ms for source in busy)
            return least or None
        return max(
            (s.progress_ms + max(now_ms - s.at_ms, 0) for s in heard if s.progress_ms),
            default=None,
        )

    def _is_behind(self, source: Source) -> bool:
        return source.at_ms - source.progress_ms > self._behind_ms

    def _waited_for(self, heard: list[Source]) -> list[Source]:
        """Who is not far behind, if that is anybody who has said or may yet say something."""
        current = [source for source in heard if not self._is_behind(source)]
        return current if any(s.progress_ms or not s.idle for s in current) else heard

    def behind(self, topic: str, now_ms: int) -> int:
        """Source partitions that nobody waits for because their items are so old."""
        _, heard = self._speaking(topic, now_ms)
        return len(heard) - len(self._waited_for(heard))

    def silent(self, topic: str, now_ms: int) -> int:
        """Source partitions that nobody waits for any longer."""
        sources, heard = self._speaking(topic, now_ms)
        return len(sources) - len(heard)

    def dump(self) -> dict[str, list[Any]]:
        """Everything, in order."""
        return {
            topic: [(partition, *source) for partition, source in sorted(sources.items())]
            for topic, sources in sorted(self.topics.items())
        }

    def load(self, dumped: dict[str, list[Any]]) -> None:
        """Take over what ``dump`` gave."""
        self.topics = {
            topic: {partition: Source(*rest) for partition, *rest in sources}
            for topic, sources in dumped.items()
        }
