"""The operators from spans to alerts on a clock of the benchmark: hours pass in minutes.

Messages arrive second by second, each on a source partition; every operator is asked for what it
has gathered once a second, as its host would by ``runtime.commit_interval``, and what it says is
taken by the next stage a second later: commits follow each other as they do on Kafka.

What windows say can be kept in a file: rules of alerts can be tried on it in seconds.
"""

from __future__ import annotations

import json
import struct
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import zstandard

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

__all__ = ["Aggregating", "Alerting", "Kept", "Raised"]

_HEAD = struct.Struct("<IHIHI")
"""Second, partition, and lengths of headers, key and value."""


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


class Aggregating:
    """Partials and windows of one fleet.

    Args:
        config: windows and topic names of it count.
        partitions: of every topic.
        signals: which of them come.
    """

    def __init__(
        self, config: Config, *, partitions: int, signals: Sequence[Signal], seed: int
    ) -> None:
        names = self._names = config.topics.names
        self._rng = np.random.default_rng(seed)
        self._partitions = partitions
        self.partial_counts, self.window_counts = PartialCounts(), WindowCounts()
        topics = {signal: names.of(signal) for signal in signals}
        self._sources = {
            signal: [
                _Lane(
                    Partials(
                        config.windows,
                        signal=signal,
                        source=topic,
                        partition=p,
                        partitions=partitions,
                        output=names.windows_partials,
                        output_partitions=partitions,
                        counts=self.partial_counts,
                    ),
                    *(topic, p),
                )
                for p in range(partitions)
            ]
            for signal, topic in topics.items()
        }
        self._windows = [
            _Lane(
                Windows(
                    config.windows,
                    partition=p,
                    topics={"spans": names.spans, "metrics": names.metrics, "logs": names.logs},
                    output=names.windows,
                    export=None,
                    max_bytes=config.kafka.producer.max_message,
                    counts=self.window_counts,
                ),
                *(names.windows_partials, p),
            )
            for p in range(partitions)
        ]

    def second(self, second: int, sent: Iterable[Sent]) -> list[Record]:
        """One second of everything; what can be read on ``windows`` a second later."""
        now_ms = second * 1000
        closed = [r for lane in self._windows for r in lane.second(now_ms, decode)]
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
                for record in said:
                    assert record.partition is not None
                    self._windows[record.partition].waiting.append(record)
        return [record for record in closed if record.topic == self._names.windows]


class Alerting:
    """Detection and rules over all partitions of ``windows``."""

    def __init__(self, config: Config, *, partitions: int) -> None:
        names = self._names = config.topics.names
        self.counts = DetectCounts()
        self._lanes = [
            _Lane(
                Detect(
                    config.alerts,
                    config.windows,
                    config.anomaly,
                    alerts_topic=names.alerts,
                    state_topic=names.alerts_state,
                    partition=p,
                    partitions=partitions,
                    counts=self.counts,
                ),
                *(names.windows, p),
            )
            for p in range(partitions)
        ]

    def second(self, second: int, records: Iterable[Record]) -> list[Raised]:
        """Take what is on ``windows`` by now; what can be read on ``alerts`` a second later."""
        for record in records:
            assert record.partition is not None
            self._lanes[record.partition].waiting.append(record)
        return [
            Raised(second + 1.0, AlertEvent.of(record.headers, record.value))
            for lane in self._lanes
            for record in lane.second(second * 1000, lambda _value: None)
            if record.topic == self._names.alerts
        ]


class Kept:
    """What windows said second by second, in a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __bool__(self) -> bool:
        return self._path.exists()

    def write(self, seconds: Iterable[tuple[int, list[Record]]]) -> None:
        """Write all of it, or nothing."""
        part = self._path.with_suffix(".part")
        with part.open("wb") as raw, zstandard.ZstdCompressor().stream_writer(raw) as stream:
            for second, records in seconds:
                for record in records:
                    headers = {name: value.decode() for name, value in record.headers}
                    text, key = json.dumps(headers).encode(), record.key or b""
                    head = (second, record.partition, len(text), len(key), len(record.value))
                    stream.write(_HEAD.pack(*head) + text + key + record.value)
        part.rename(self._path)

    def read(self, topic: str) -> dict[int, list[Record]]:
        """All of it, by second."""
        found: dict[int, list[Record]] = defaultdict(list)
        with self._path.open("rb") as raw, zstandard.ZstdDecompressor().stream_reader(raw) as data:
            for head in iter(lambda: data.read(_HEAD.size), b""):
                second, partition, *lengths = _HEAD.unpack(head)
                text, key, value = (data.read(length) if length else b"" for length in lengths)
                headers = tuple((n, v.encode()) for n, v in json.loads(text).items())
                found[second].append(Record(topic, value, partition, key or None, headers))
        return found
