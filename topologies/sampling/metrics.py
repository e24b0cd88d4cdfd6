"""What sampling counts, as Prometheus sees it: turned into metrics only when somebody scrapes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from schemas.config import Sampling
from streams.sampling.counts import LATENCY_BOUNDS_MS, EmitCounts, Histogram, SampleCounts
from streams.sampling.records import WorkOrder
from topologies.families import counters, seconds

from .targets import Targets

__all__ = ["EmitMetrics", "SampleMetrics"]

_PREFIX = "otlp_streams_sampling_"
_SAMPLE = (
    ("spans", "spans", "Spans taken, those of decided traces too."),
    ("early_traces", "early_traces", "Decided before their wait was over: too many were open."),
    ("invalid_spans", "invalid_spans", "Spans without valid ids: they go no further."),
    ("wrong_partition_spans", "wrong_partition_spans",
     "Spans that another partition is responsible for; sent there."),
    ("returned_spans", "returned_spans",
     "The same, but sent here by another partition, which counts others than we do; taken."),
    ("timeless_traces", "timeless_traces", "Traces without a start or an end; latency 0."),
    ("skewed_traces", "skewed_traces",
     "Traces that end after their decision, or more than a day before: clocks are off."),
    ("forgotten_keys", "forgotten_keys",
     "Keys of which was forgotten what had been learned: more than sampling.keys_max."),
    ("unnamed_hashes", "unnamed_hashes",
     "Parts of sampling keys shown as their hash, because too many texts are known already."),
    ("forgotten_generations", "forgotten_generations",
     "Generations of the filter of dropped traces that were forgotten early, to make room."),
    ("unread_thresholds", "unread_thresholds",
     "Spans whose th or rv in the tracestate could not be read; taken for not sampled."),
    ("set_back_s", "time_set_back_seconds",
     "By which messages' times went back, where that was more than 30 s: a broker's clock is off."),
    ("partition_changes", "partition_changes", "The spans' topic has got more partitions."),
    ("orders", "orders", "Work orders written."),
    ("order_bytes", "order_bytes", "Bytes of work orders."),
    ("order_source_bytes", "order_source_bytes", "Bytes of spans that work orders are about."),
    ("verdict_records", "verdict_records", "Records with verdicts written."),
    ("verdict_bytes", "verdict_bytes", "Bytes of records with verdicts."),
)  # fmt: skip
"""Attribute of SampleCounts, metric, help."""
_BY_POLICY = (
    ("kept_traces", "kept_traces", "Traces kept."),
    ("kept_spans", "kept_spans", "Spans of kept traces that had come when they were decided."),
    ("kept_bytes", "kept_bytes", "Bytes of these spans."),
    ("dropped_traces", "dropped_traces", "Traces dropped."),
    ("dropped_spans", "dropped_spans", "Their spans that had come when they were decided."),
)
_BY_VERDICT = (
    (("late_kept_spans", "late_dropped_spans"), "late_spans",
     "Spans that came after their trace's decision, and follow it. Of new traces 0.05 to 0.08 % "
     "are taken for dropped ones when their filter is full: theirs are among the dropped."),
    (("forgotten_kept", "forgotten_dropped"), "forgotten_traces",
     "Decided traces forgotten before sampling.decision_memory was over: too many."),
)  # fmt: skip
"""Attributes for kept and dropped, metric, help."""
_VERDICTS = ("kept", "dropped")
_DAY_MS = 86_400_000
_EMIT = (
    ("orders", "emit_orders", "Work orders done."),
    ("source_messages", "emit_source_messages", "Messages with spans read a second time."),
    ("source_spans", "emit_source_spans", "Spans in them."),
    ("source_bytes", "emit_source_bytes", "Their bytes."),
    ("records", "emit_messages", "Messages sent on."),
    ("bytes", "emit_bytes", "Bytes of messages sent on."),
    ("removed_offsets", "lost_source_offsets",
     "Offsets that retention had removed before emit could read them: their spans are lost."),
    ("unreadable_messages", "unreadable_messages",
     "Messages that are no telemetry, passed over: they are dead letters of sample."),
    ("oversized_spans", "oversized_spans", "Kept spans larger than a message may be; left out."),
    ("shortened_states", "shortened_tracestates",
     "Kept spans whose tracestate lost its last members: 32 of them, or 256 characters, are most."),
)  # fmt: skip
"""Attribute of EmitCounts, metric, help."""


class SampleMetrics(Collector):
    """Of the stage ``sample`` in this process."""

    def __init__(
        self,
        registry: CollectorRegistry,
        counts: SampleCounts | None = None,
        targets: Targets | None = None,
    ) -> None:
        self._counts = SampleCounts() if counts is None else counts
        self._targets = Targets(Sampling()) if targets is None else targets
        registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """Everything, family by family."""
        counts = self._counts
        yield from counters(_PREFIX, _SAMPLE, counts)
        for attribute, name, text in _BY_POLICY:
            family = CounterMetricFamily(_PREFIX + name, f"{text} By policy.", labels=("policy",))
            for policy, value in sorted(getattr(counts, attribute).items()):
                family.add_metric((policy,), value)
            yield family
        for attributes, name, text in _BY_VERDICT:
            family = CounterMetricFamily(_PREFIX + name, text, labels=("verdict",))
            for verdict, attribute in zip(_VERDICTS, attributes, strict=True):
                family.add_metric((verdict,), getattr(counts, attribute))
            yield family
        yield from self._keys()
        yield from self._rates()
        yield from self._partitions()
        yield seconds(
            f"{_PREFIX}end_to_decision_seconds",
            "From a trace's last end to its decision, where clocks agree.",
            counts.end_to_decision_ms,
        )

    def _keys(self) -> Iterator[Metric]:
        decided = CounterMetricFamily(
            f"{_PREFIX}key_traces",
            "Traces decided, by sampling key; (other): all beyond telemetry.sampling_keys_max.",
            labels=("key", "verdict"),
        )
        estimated = CounterMetricFamily(
            f"{_PREFIX}key_estimated_traces",
            "How many traces who sees only the kept ones would say that there were, by sampling "
            "key: the sum of their adjusted counts, 1 where that is not known.",
            labels=("key",),
        )
        for key, of_key in self._counts.keys.items():
            decided.add_metric((key, "kept"), of_key.kept)
            decided.add_metric((key, "dropped"), of_key.dropped)
            estimated.add_metric((key,), of_key.represented)
        yield from (decided, estimated)

    def _rates(self) -> Iterator[Metric]:
        labels = ("policy", "unit")
        target = GaugeMetricFamily(
            f"{_PREFIX}target_per_second",
            "What a policy may keep a second, over the whole fleet: the same in every process.",
            labels=labels,
        )
        spent = CounterMetricFamily(
            f"{_PREFIX}spent",
            "What was kept that counts against a policy's target; its rate over the fleet is "
            "what stays below it.",
            labels=labels,
        )
        for each in self._targets.now(self._counts):
            target.add_metric((each.policy, each.unit), each.per_second)
            spent.add_metric((each.policy, each.unit), each.spent)
        yield from (target, spent)

    def _partitions(self) -> Iterator[Metric]:
        open_traces = GaugeMetricFamily(
            f"{_PREFIX}open_traces", "Traces that are not decided yet.", labels=("partition",)
        )
        age = GaugeMetricFamily(
            f"{_PREFIX}undecided_age_seconds",
            "Age of the oldest message with a span that is not decided yet.",
            labels=("partition",),
        )
        remembered = GaugeMetricFamily(
            f"{_PREFIX}remembered_traces",
            "Decided traces that late spans would follow.",
            labels=("partition", "verdict"),
        )
        for number, state in sorted(self._counts.partitions.items()):
            partition = str(number)
            open_traces.add_metric((partition,), state.open_traces)
            age.add_metric((partition,), state.oldest_undecided_ms / 1000)
            remembered.add_metric((partition, "kept"), state.kept_remembered)
            remembered.add_metric((partition, "dropped"), state.dropped_remembered)
        yield from (open_traces, age, remembered)


class EmitMetrics(Collector):
    """Of the stage ``emit`` in this process."""

    def __init__(self, registry: CollectorRegistry, counts: EmitCounts | None = None) -> None:
        self._counts = EmitCounts() if counts is None else counts
        self._delay_ms = Histogram(LATENCY_BOUNDS_MS)
        self._root_ms = Histogram(LATENCY_BOUNDS_MS)
        self._skewed_roots = 0
        registry.register(self)

    def taken(self, order: WorkOrder, root_ends_ns: NDArray[np.uint64], now_ms: int) -> None:
        """An order is carried out, with root spans that ended then; by this machine's clock."""
        self._delay_ms.observe([max(now_ms - order.time_ms, 0)])
        took_ms = now_ms - root_ends_ns / 1e6
        sane_ms = np.clip(took_ms, 0, _DAY_MS)
        self._skewed_roots += int(np.count_nonzero(sane_ms != took_ms))
        self._root_ms.observe(sane_ms)

    def collect(self) -> Iterator[Metric]:
        """Everything, family by family."""
        yield from counters(_PREFIX, _EMIT, self._counts)
        spans = CounterMetricFamily(
            f"{_PREFIX}emit_spans", "Spans sent on. By policy.", labels=("policy",)
        )
        for policy, value in sorted(self._counts.spans.items()):
            spans.add_metric((policy,), value)
        yield spans
        yield seconds(
            f"{_PREFIX}arrival_to_emit_seconds",
            "From the arrival of the newest message that a work order is about to its turn; "
            "what is sent follows within runtime.commit_interval.",
            self._delay_ms,
        )
        yield seconds(
            f"{_PREFIX}root_end_to_emit_seconds",
            "From the end of a kept trace's root span to its work order's turn: 0 where that is "
            "in the future, and no more than a day.",
            self._root_ms,
        )
        yield CounterMetricFamily(
            f"{_PREFIX}skewed_roots",
            "Root spans that are sent on before their end or a day after: clocks are off.",
            value=self._skewed_roots,
        )
