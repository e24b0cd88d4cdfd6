"""The operators from spans to alerts on a clock of the benchmark: hours pass in a minute.

Messages arrive second by second, each on a source partition; every operator is asked for what it
has gathered once a second, as its host would by ``runtime.commit_interval``, and what it says is
taken by the next stage a second later: commits follow each other as they do on Kafka.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from schemas.batches import Batch, Record
from schemas.config import Config
from schemas.operators import Operator, Scanned
from schemas.records.alerts import AlertEvent
from schemas.signals import Signal
from streams import wire
from streams.alerts.counts import DetectCounts
from streams.alerts.detect import Detect
from streams.windows.counts_windows import WindowCounts
from streams.windows.partial_counts import PartialCounts
from streams.windows.partials import Partials
from streams.windows.records import decode
from streams.windows.windows import Windows

from .fault_traffic import Sent

__all__ = ["Pipeline", "Raised"]


class Raised(NamedTuple):
    """A transition as it stands on ``alerts``."""

    at_s: float
    """When it could be read there."""
    event: AlertEvent


class _Lane:
    """An operator, and what waits for it."""

    def __init__(self, operator: Operator, topic: str, partition: int) -> None:
        self.operator = operator
        self.topic, self.partition = topic, partition
        self.offset = 0
        self.waiting: list[Record] = []

    def second(self, now_ms: int, scan: Any) -> list[Record]:
        """Take what waits, or a tick; what is said by the next commit."""
        said: list[Record] = []
        taken, self.waiting = self.waiting, []
        for record in taken:
            batch = Batch(
                self.topic, self.partition, self.offset, now_ms, record.key, record.value,
                record.headers,
            )  # fmt: skip
            self.offset += 1
            said += self.operator.process(Scanned(batch, scan(record.value))).records
        if not taken:
            said += self.operator.tick(now_ms).records
        return [*said, *self.operator.flush()]


class Pipeline:
    """Partials, windows and detection of one fleet.

    Args:
        config: windows, alerts, anomaly and topic names of it count.
        partitions: of every topic.
        signals: which of them come.
    """

    def __init__(
        self, config: Config, *, partitions: int, signals: Sequence[Signal], seed: int
    ) -> None:
        names = config.topics.names
        self._rng = np.random.default_rng(seed)
        self._partitions = partitions
        self.partial_counts, self.window_counts = PartialCounts(), WindowCounts()
        self.detect_counts = DetectCounts()
        self.topics = {names.of(signal): signal for signal in signals}
        limit = config.kafka.producer.max_message

        def lanes(topic: str, make: Any) -> list[_Lane]:
            return [_Lane(make(topic, p), topic, p) for p in range(partitions)]

        self._sources = {
            signal: lanes(
                topic,
                lambda topic, p: Partials(
                    config.windows,
                    signal=self.topics[topic],
                    source=topic,
                    partition=p,
                    partitions=partitions,
                    output=names.windows_partials,
                    output_partitions=partitions,
                    counts=self.partial_counts,
                ),
            )
            for topic, signal in self.topics.items()
        }
        self._windows = lanes(
            names.windows_partials,
            lambda _topic, p: Windows(
                config.windows,
                partition=p,
                topics={"spans": names.spans, "metrics": names.metrics, "logs": names.logs},
                output=names.windows,
                export=names.metrics_out,
                max_bytes=limit,
                counts=self.window_counts,
            ),
        )
        self._detect = lanes(
            names.windows,
            lambda _topic, p: Detect(
                config.alerts,
                config.windows,
                config.anomaly,
                alerts_topic=names.alerts,
                state_topic=names.alerts_state,
                partition=p,
                counts=self.detect_counts,
            ),
        )
        self._names = names

    def second(self, second: int, sent: Iterable[Sent]) -> list[Raised]:
        """One second of everything; what can be read on ``alerts`` a second later."""
        now_ms = second * 1000
        raised = []
        for lane in self._detect:
            for record in lane.second(now_ms, lambda _value: None):
                if record.topic == self._names.alerts:
                    event = AlertEvent.of(record.headers, record.value)
                    raised.append(Raised(second + 1.0, event))
        for lane in self._windows:
            self._pass_on(lane.second(now_ms, decode), self._detect, self._names.windows)
        for each in sent:
            if each.signal in self._sources:
                place = int(self._rng.integers(self._partitions))
                waiting = self._sources[each.signal][place].waiting
                waiting.append(Record(self._names.of(each.signal), each.data))
        for signal, lanes in self._sources.items():
            for lane in lanes:
                said = lane.second(
                    now_ms, lambda value, signal=signal: wire.scan(signal, value, strict_ids=False)
                )
                self._pass_on(said, self._windows, self._names.windows_partials)
        return raised

    def _pass_on(self, said: Iterable[Record], lanes: Sequence[_Lane], topic: str) -> None:
        parts: dict[int, list[Record]] = defaultdict(list)
        for record in said:
            if record.topic == topic:
                assert record.partition is not None
                parts[record.partition].append(record)
        for partition, records in parts.items():
            lanes[partition].waiting += records
