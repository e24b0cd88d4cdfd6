"""What the host says about itself, as two tables.

Counts are plain integers that lanes add to; they turn into Prometheus metrics only when
somebody scrapes. One :class:`RuntimeMetrics` per registry holds all hosts of the process.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from .draft import Draft

__all__ = ["CommitTimes", "HostCounts", "LaneCounts", "LaneState", "MeasuredHost", "RuntimeMetrics"]

_COUNTERS = (
    ("messages_in", "otlp_streams_messages_in", "Messages taken from Kafka."),
    ("bytes_in", "otlp_streams_bytes_in", "Bytes of values taken from Kafka, uncompressed."),
    ("messages_out", "otlp_streams_messages_out", "Messages delivered, or sent and acknowledged."),
    ("bytes_out", "otlp_streams_bytes_out", "Bytes of what messages_out counts, uncompressed."),
    ("calls", "otlp_streams_calls", "Calls of a sink or operator, repeated ones among them."),
    ("retries", "otlp_streams_retries", "Calls that failed and were made again after a pause."),
    ("empty", "otlp_streams_empty_messages", "Messages without a value, finished at once."),
    ("repeated", "otlp_streams_redelivered_messages", "Messages known already and dropped."),
    ("ticks", "otlp_streams_ticks", "Ticks given to operators at the end of a partition."),
    ("lost", "otlp_streams_lost_messages", "Offsets that retention removed before they were read."),
    ("range_messages", "otlp_streams_range_messages", "Messages read again for work orders."),
    ("range_bytes", "otlp_streams_range_bytes", "Bytes of values of those messages."),
    (
        "lost_range",
        "otlp_streams_lost_range_messages",
        "Offsets that retention removed before they were read for a work order.",
    ),
    ("processed", "otlp_streams_processed_messages", "Messages whose outcome is committed."),
    ("transactions", "otlp_streams_transactions", "Transactions committed."),
    (
        "transaction_bytes",
        "otlp_streams_transaction_bytes",
        "Bytes of values in committed transactions, progress and snapshots included.",
    ),
    ("aborts", "otlp_streams_transaction_aborts", "Transactions that failed, or may have."),
    ("replayed", "otlp_streams_replayed_messages", "Messages read again to rebuild state."),
    ("replayed_items", "otlp_streams_replayed_items", "Items in replayed messages."),
    (
        "lost_replay",
        "otlp_streams_lost_replay_messages",
        "Offsets that retention removed before they could be replayed: state lacks them.",
    ),
)
"""Attribute of :class:`LaneCounts`, metric, help. Labels: stage, topic."""

_GAUGES = (
    ("lag", "otlp_streams_lag_messages", "Messages behind the end of the partition, unfinished."),
    ("queued_bytes", "otlp_streams_lane_bytes", "Bytes queued and in flight in the lane."),
    ("inflight", "otlp_streams_lane_inflight_calls", "Calls under way in the lane."),
    ("full", "otlp_streams_lane_full", "1 while the lane is full and its partition not fetched."),
    ("snapshot_bytes", "otlp_streams_snapshot_bytes", "Size of the newest snapshots of a lane."),
    ("snapshot_age_s", "otlp_streams_snapshot_age_seconds", "Age of the oldest of them."),
)
"""Attribute of :class:`LaneState`, metric, help. Labels: stage, topic, partition."""

_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class LaneCounts:
    """Running totals of one topic in one stage, over all lanes and generations."""

    __slots__ = (*(name for name, _, _ in _COUNTERS), "dead_letters", "recoveries", "recovery_s")

    def __init__(self) -> None:
        self.messages_in = self.bytes_in = self.messages_out = self.bytes_out = 0
        self.calls = self.retries = self.empty = self.repeated = self.ticks = self.lost = 0
        self.processed = self.transactions = self.transaction_bytes = self.aborts = 0
        self.replayed = self.replayed_items = self.lost_replay = 0
        self.range_messages = self.range_bytes = self.lost_range = 0
        self.dead_letters: Counter[str] = Counter()
        """By reason."""
        self.recoveries: Counter[str] = Counter()
        """By cause."""
        self.recovery_s: defaultdict[str, float] = defaultdict(float)
        """By cause."""

    def recovered(self, cause: str, seconds: float) -> None:
        """A lane has its state."""
        self.recoveries[cause] += 1
        self.recovery_s[cause] += seconds

    def committed(self, draft: Draft, transaction_bytes: int, outputs: int) -> None:
        """A transaction is done, with so many bytes and records of operators."""
        self.transactions += 1
        self.transaction_bytes += transaction_bytes
        self.processed += draft.batches
        self.messages_out += outputs
        self.bytes_out += draft.size_bytes
        self.dead_letters.update(reason for reason, _ in draft.letters)


class LaneState(NamedTuple):
    """One lane at the moment of a scrape; lag None if the broker has not said yet."""

    topic: str
    partition: int
    lag: int | None
    queued_bytes: int
    inflight: int
    full: bool
    snapshot_bytes: int | None = None
    """Of the newest complete snapshots of its operators; None: none."""
    snapshot_age_s: float | None = None
    """Of the oldest of them."""


class CommitTimes:
    """A histogram of what commits took, in seconds."""

    def __init__(self) -> None:
        self.counts = [0] * (len(_BUCKETS_S) + 1)
        self.total_s = 0.0

    def observe(self, seconds: float) -> None:
        """Count one commit."""
        self.total_s += seconds
        for index, bound in enumerate(_BUCKETS_S):
            if seconds <= bound:
                self.counts[index] += 1
                return
        self.counts[-1] += 1

    def cumulative(self) -> list[tuple[str, float]]:
        """Prometheus buckets."""
        bounds = [*map(str, _BUCKETS_S), "+Inf"]
        return [(bound, float(sum(self.counts[: i + 1]))) for i, bound in enumerate(bounds)]


class HostCounts:
    """Running totals of one host."""

    __slots__ = ("commits", "rebalances")

    def __init__(self) -> None:
        self.rebalances = 0
        self.commits = CommitTimes()


class MeasuredHost(Protocol):
    """What a host shows to a scrape."""

    @property
    def stage_name(self) -> str:
        """Label ``stage``."""
        ...

    @property
    def ready(self) -> bool:
        """Partitions are assigned and the broker answers."""
        ...

    topic_counts: dict[str, LaneCounts]
    host_counts: HostCounts

    def lane_states(self) -> Iterable[LaneState]:
        """The lanes as they are."""
        ...


class RuntimeMetrics(Collector):
    """All hosts of a process, as Prometheus sees them."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._hosts: list[MeasuredHost] = []
        self._registry = registry
        registry.register(self)

    def add(self, host: MeasuredHost) -> None:
        """Show this host from now on."""
        self._hosts.append(host)

    def remove(self, host: MeasuredHost) -> None:
        """Show this host no more."""
        self._hosts.remove(host)

    def close(self) -> None:
        """Leave the registry."""
        self._registry.unregister(self)

    def collect(self) -> Iterator[Metric]:
        """Metrics of all hosts, family by family."""
        hosts = list(self._hosts)
        for attribute, name, text in _COUNTERS:
            counter = CounterMetricFamily(name, text, labels=("stage", "topic"))
            for host in hosts:
                for topic, counts in host.topic_counts.items():
                    counter.add_metric((host.stage_name, topic), getattr(counts, attribute))
            yield counter
        letters = CounterMetricFamily(
            "otlp_streams_dead_letters",
            "Messages that went to the dead-letter topic.",
            labels=("stage", "topic", "reason"),
        )
        for host in hosts:
            for topic, counts in host.topic_counts.items():
                for reason, count in counts.dead_letters.items():
                    letters.add_metric((host.stage_name, topic, reason), count)
        yield letters
        yield from self._recoveries(hosts)
        states = [(host.stage_name, list(host.lane_states())) for host in hosts]
        for attribute, name, text in _GAUGES:
            gauge = GaugeMetricFamily(name, text, labels=("stage", "topic", "partition"))
            for stage, lanes in states:
                for lane in lanes:
                    if (value := getattr(lane, attribute)) is not None:
                        gauge.add_metric((stage, lane.topic, str(lane.partition)), float(value))
            yield gauge
        yield from self._per_host(hosts, states)

    def _recoveries(self, hosts: list[MeasuredHost]) -> Iterator[Metric]:
        recoveries = CounterMetricFamily(
            "otlp_streams_recoveries",
            "Times that a lane got its state back, by what it had lost it to.",
            labels=("stage", "topic", "cause"),
        )
        seconds = CounterMetricFamily(
            "otlp_streams_recovery_seconds",
            "Time that recoveries took, summed over lanes.",
            labels=("stage", "topic", "cause"),
        )
        for host in hosts:
            for topic, counts in host.topic_counts.items():
                for cause, count in counts.recoveries.items():
                    recoveries.add_metric((host.stage_name, topic, cause), count)
                    seconds.add_metric((host.stage_name, topic, cause), counts.recovery_s[cause])
        yield from (recoveries, seconds)

    def _per_host(
        self, hosts: list[MeasuredHost], states: list[tuple[str, list[LaneState]]]
    ) -> Iterator[Metric]:
        assigned = GaugeMetricFamily(
            "otlp_streams_assigned_partitions", "Partitions of this process.", labels=("stage",)
        )
        for stage, lanes in states:
            assigned.add_metric((stage,), len(lanes))
        yield assigned
        ready = GaugeMetricFamily(
            "otlp_streams_ready",
            "1 if partitions are assigned and Kafka answers.",
            labels=("stage",),
        )
        rebalances = CounterMetricFamily(
            "otlp_streams_rebalances", "Assignments after the first one.", labels=("stage",)
        )
        commits = HistogramMetricFamily(
            "otlp_streams_commit_seconds", "What a commit takes.", labels=("stage",)
        )
        for host in hosts:
            ready.add_metric((host.stage_name,), float(host.ready))
            rebalances.add_metric((host.stage_name,), host.host_counts.rebalances)
            times = host.host_counts.commits
            commits.add_metric((host.stage_name,), times.cumulative(), times.total_s)
        yield from (ready, rebalances, commits)
