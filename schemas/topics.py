"""The topics of the project as data: what is on each, and how it must be set up."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

from .config import Config
from .signals import Signal

__all__ = ["TopicSpec", "journal_spec", "topic_specs"]

JOURNAL_SEGMENT_BYTES = 16 << 20
"""A progress record a second and partition: a recovery reads little, the disk holds little."""

_REQUESTS = {
    Signal.TRACES: "ExportTraceServiceRequest",
    Signal.METRICS: "ExportMetricsServiceRequest",
    Signal.LOGS: "ExportLogsServiceRequest",
}
_HASHED = {
    Signal.TRACES: "none; the hash of the trace id chooses the partition",
    Signal.METRICS: "none; the hash of the resource chooses the partition",
    Signal.LOGS: "none; the hash of the resource chooses the partition",
}
_OF = {Signal.TRACES: "Traces", Signal.METRICS: "Metrics", Signal.LOGS: "Logs"}


@dataclass(frozen=True)
class TopicSpec:
    """One topic: its settings, and what a reader finds on it."""

    name: str
    partitions: int
    replication_factor: int
    """Replicas wanted; a cluster with fewer brokers gives fewer."""
    retention_s: float
    """Seconds that messages are kept; of no effect on a compacted topic."""
    cleanup_policy: Literal["delete", "compact", "compact,delete"]
    timestamp_type: Literal["LogAppendTime", "CreateTime"]
    """Whose clock: the broker's, or the producer's."""
    max_message_bytes: int
    key: str
    """What the message key is, in words."""
    format: str
    """What the message value is, in words."""
    description: str
    follows: tuple[str, ...] = ()
    """Topics with whose partitions it goes: it needs as many as the largest of them."""
    exactly: bool = False
    """It needs just as many as the topics that it follows, and no more."""
    counted_on: bool = False
    """Writers count on just so many partitions as the configuration says."""
    segment_bytes: int | None = None
    """Size at which a file is closed; only closed ones are compacted. None: the broker's."""

    def settings(self, replication_factor: int | None = None) -> dict[str, str]:
        """Topic configuration by Kafka's names, for the replication that is really there."""
        settings = {
            "cleanup.policy": self.cleanup_policy,
            "max.message.bytes": str(self.max_message_bytes),
            "message.timestamp.type": self.timestamp_type,
        }
        if "delete" in self.cleanup_policy:
            settings["retention.ms"] = str(round(self.retention_s * 1000))
        if self.segment_bytes is not None:
            settings["segment.bytes"] = str(self.segment_bytes)
        if (replication_factor or self.replication_factor) >= 3:
            settings["min.insync.replicas"] = "2"
        return settings


def _spec(
    config: Config,
    *,
    name: str,
    retention_s: float,
    key: str,
    format: str,
    description: str,
    **other: Any,
) -> TopicSpec:
    """A topic as most of ours are; ``other``: fields of TopicSpec in which it is not."""
    topics = config.topics
    usual = {
        "partitions": topics.partitions,
        "replication_factor": topics.replication_factor,
        "cleanup_policy": "delete",
        # Time on the bus is the broker's: it never runs backwards within a partition, and
        # a client's wrong clock cannot make retention delete what has just arrived.
        "timestamp_type": "LogAppendTime",
        "max_message_bytes": topics.max_message,
    }
    return TopicSpec(
        name=name,
        retention_s=retention_s,
        key=key,
        format=format,
        description=description,
        **{**usual, **other},
    )


def topic_specs(config: Config) -> tuple[TopicSpec, ...]:
    """Every topic that the stages of this configuration write or read, telemetry first."""
    topics = config.topics
    telemetry = tuple(
        _spec(
            config,
            name=topics.names.of(signal),
            retention_s=topics.retention,
            key=_HASHED[signal],
            format=f"{_REQUESTS[signal]}, protobuf (otlp_proto)",
            description=f"{_OF[signal]} as received.",
        )
        for signal in Signal
    )
    outs = tuple(
        replace(
            spec,
            name=topics.names.out(signal),
            key="none; the partition is the one it came on",
            description=f"{_OF[signal]} as exporters read them.",
            follows=_out_follows(config, signal, spec.name),
        )
        for signal, spec in zip(Signal, telemetry, strict=True)
    )
    deadletter = _spec(
        config,
        name=topics.names.deadletter,
        retention_s=topics.deadletter_retention,
        # Whatever fitted its own topic must fit here, with the headers that say why, and also
        # when it comes from a producer that compressed it better than we do.
        max_message_bytes=2 * topics.max_message,
        key="the source message's",
        format="the source message's bytes; headers deadletter.* say why and from where",
        description="What could not be processed, or was refused for good.",
    )
    return (
        *telemetry,
        *outs,
        *_sampling(config),
        *_shaping(config),
        *_windows(config),
        *_alerts(config),
        deadletter,
        *_records(config),
    )


def _sampling(config: Config) -> Iterator[TopicSpec]:
    """The log of decisions and the journals of the two stages that write and read it."""
    if not config.sampling.enabled:
        return
    topics = config.topics
    spans, decisions = topics.names.spans, topics.names.decisions
    yield _spec(
        config,
        name=decisions,
        retention_s=topics.decisions_retention,
        key="none; the partition is that of the spans",
        format="verdicts or a work order, binary columns (docs/records.md)",
        description="What sampling decided, and which spans are to be passed on.",
        # Partition n holds what was decided about partition n, and its copies go to n.
        follows=(spans,),
        exactly=True,
    )
    yield journal_spec(config, "sample", (spans,))
    yield journal_spec(config, "emit", (spans, decisions))


def _shaping(config: Config) -> Iterator[TopicSpec]:
    shaped = [config.topics.names.of(signal) for signal in config.shaped]
    if shaped:
        yield journal_spec(config, "shape", shaped)


def _out_follows(config: Config, signal: Signal, source: str) -> tuple[str, ...]:
    """Windows are exported with the metrics, by the partition of their groups."""
    if signal == Signal.METRICS and config.windows.enabled:
        return source, config.topics.names.windows_partials
    return (source,)


def _windows(config: Config) -> Iterator[TopicSpec]:
    if not config.windows.enabled:
        return
    topics = config.topics
    partials = _spec(
        config,
        name=topics.names.windows_partials,
        retention_s=topics.retention,
        key="none; the hash of tenant and service chooses the partition",
        format="partials, binary columns (docs/records.md)",
        description="What was measured, and how far each partition of the sources is.",
        counted_on=True,
    )
    yield partials
    yield replace(
        partials,
        name=topics.names.windows,
        retention_s=topics.windows_retention,
        key="none; the partition is that of its partials",
        format=f"{_REQUESTS[Signal.METRICS]}, protobuf (otlp_proto); header window",
        description="Windows, each once.",
        counted_on=False,
        # A partition without any would look as if windows were stalled there.
        follows=(partials.name,),
        exactly=True,
    )
    yield journal_spec(config, "windows", (partials.name,))


def _alerts(config: Config) -> Iterator[TopicSpec]:
    if not (config.alerts.enabled or config.notify.targets):
        return
    topics = config.topics
    alerts = _spec(
        config,
        name=topics.names.alerts,
        # So that there is one order of them; there are few.
        partitions=1,
        retention_s=topics.alerts_retention,
        key="the alert's fingerprint",
        format="CloudEvents 1.0, binary mode, JSON (docs/records.md)",
        description="What alerts have become.",
    )
    yield alerts
    yield replace(
        alerts,
        name=topics.names.alerts_state,
        partitions=topics.partitions,
        # The newest of each, and nothing of what has long been over.
        cleanup_policy="compact,delete",
        description="What each alert is now, and from where on which rules hold.",
        follows=(topics.names.windows,) if config.alerts.enabled else (),
    )
    if config.alerts.enabled:
        yield journal_spec(config, "detect", (topics.names.windows,))


def journal_spec(config: Config, stage: str, sources: Iterable[str]) -> TopicSpec:
    """The journal of a stage that reads ``sources``: a partition of it for each of theirs."""
    topics = config.topics
    return _spec(
        config,
        name=topics.names.journal_of(stage),
        retention_s=topics.retention,
        # Retention by age would eat what a stage that was away for long still needs.
        cleanup_policy="compact",
        key="source topic, and which piece of its state",
        format="progress or a piece of a snapshot (docs/runtime.md)",
        description=f"How far {stage} is, and what it remembers.",
        follows=tuple(sources),
        segment_bytes=JOURNAL_SEGMENT_BYTES,
    )


def _records(config: Config) -> tuple[TopicSpec, TopicSpec]:
    """Control and audit: one partition each, so that there is one order of changes."""
    topics = config.topics
    control = _spec(
        config,
        name=topics.names.control,
        partitions=1,
        retention_s=topics.audit_retention,
        cleanup_policy="compact",
        key="name of the setting",
        format="Control record, JSON (docs/records.md)",
        description="What is set at run time.",
    )
    audit = replace(
        control,
        name=topics.names.audit,
        cleanup_policy="delete",
        key="name of the setting, or deadletter",
        format="Audit record, JSON (docs/records.md)",
        description="Who changed what, and from which message on.",
    )
    return control, audit
