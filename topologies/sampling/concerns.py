"""What somebody should look at while sampling works on: shown by ``/readyz``."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from streams.sampling.counts import EmitCounts, SampleCounts

__all__ = ["CONCERN_S", "Concerns"]

CONCERN_S = 600.0
"""For so long after a count has grown it is shown."""
_SAMPLE = {
    "wrong_partition_spans": "{count:,} spans came on a partition that is not their trace's: "
    "whoever writes to {topic} chooses another than ingest.partitioner; they are sent there",
    "set_back_s": "the broker's time ran back by {count:,} s on {topic}: sampling's goes on from "
    "where it was, and is ahead by as much; look at the brokers' clocks",
    "returned_spans": "{count:,} spans were sent here by a worker that sees another number of "
    "partitions of {topic}",
}
_EMIT = {
    "removed_offsets": "{count:,} offsets of {topic} were removed before emit could read them: "
    "their spans are lost (topics.retention)",
}


class Concerns:
    """Counts that should not grow.

    Args:
        counts: of the stage.
        topic: the spans'.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        counts: SampleCounts | EmitCounts,
        topic: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._counts = counts
        self._topic = topic
        self._clock = clock
        self._texts = _SAMPLE if isinstance(counts, SampleCounts) else _EMIT
        self._seen = dict.fromkeys(self._texts, 0)
        self._grown_s: dict[str, float] = {}

    def __call__(self) -> Mapping[str, str]:
        """By part: what has grown lately."""
        now_s, found = self._clock(), {}
        for name, text in self._texts.items():
            count = int(getattr(self._counts, name))
            if count != self._seen[name]:
                self._seen[name], self._grown_s[name] = count, now_s
            if name in self._grown_s and now_s - self._grown_s[name] <= CONCERN_S:
                found[name] = text.format(count=count, topic=self._topic)
        return found
