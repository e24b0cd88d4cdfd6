"""Names and shapes of our topics, as far as a user may set them."""

from __future__ import annotations

import re
from typing import Self

from pydantic import Field, model_validator

from ..signals import Signal
from .base import Settings
from .units import Duration, Size

__all__ = ["TopicNames", "Topics", "check_topic_name"]

_LEGAL = re.compile(r"[a-zA-Z0-9._-]{1,249}")


def check_topic_name(name: str) -> str:
    """``name`` if Kafka allows it (org.apache.kafka.common.internals.Topic); raises ValueError."""
    if not _LEGAL.fullmatch(name) or name in (".", ".."):
        raise ValueError(f"{name!r} is not a legal topic name")
    return name


class TopicNames(Settings):
    """What each topic is called on this cluster."""

    spans: str = "otlp_spans"
    """Traces as ExportTraceServiceRequest."""
    metrics: str = "otlp_metrics"
    """Metrics as ExportMetricsServiceRequest."""
    logs: str = "otlp_logs"
    """Logs as ExportLogsServiceRequest."""
    spans_out: str = "otlp_spans.out"
    """Traces as exporters read them."""
    metrics_out: str = "otlp_metrics.out"
    """Metrics as exporters read them."""
    logs_out: str = "otlp_logs.out"
    """Logs as exporters read them."""
    decisions: str = "sampling.decisions"
    """What sampling decided about each trace, and what of the spans is to be passed on."""
    windows_partials: str = "windows.partials"
    """What partitions of the sources add to windows that are still open."""
    windows: str = "windows"
    """Windows as ExportMetricsServiceRequest, each once."""
    alerts: str = "alerts"
    """What alerts have become: to subscribe to."""
    alerts_state: str = "alerts.state"
    """What each alert is now; compacted."""
    journal: str = "journal"
    """What stages remember of themselves lies on JOURNAL.STAGE, such as journal.shape."""
    deadletter: str = "deadletter"
    """What could not be processed or was refused for good."""
    control: str = "control"
    """What is set at run time; compacted."""
    audit: str = "audit"
    """Who changed what, and from which message on."""

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        names = list(self.model_dump().values())
        for name in names:
            if name.startswith(f"{self.journal}."):
                raise ValueError(f"{name!r} would be the journal of a stage")
            if names.count(name) > 1:
                raise ValueError(f"two topics are called {name!r}")
            check_topic_name(name)
        return self

    def of(self, signal: Signal) -> str:
        """The topic on which receivers publish a signal."""
        return {"traces": self.spans, "metrics": self.metrics, "logs": self.logs}[signal.value]

    def out(self, signal: Signal) -> str:
        """The topic from which exporters take a signal."""
        outs = {"traces": self.spans_out, "metrics": self.metrics_out, "logs": self.logs_out}
        return outs[signal.value]

    def journal_of(self, stage: str) -> str:
        """The topic on which a stage keeps what it must remember."""
        return f"{self.journal}.{stage}"


class Topics(Settings):
    """How topics are created."""

    create: bool = True
    """Create missing topics at start; without it a missing topic is an error."""
    names: TopicNames = TopicNames()
    """Topic names."""
    partitions: int = Field(default=12, ge=1, le=10_000)
    """Partitions of a telemetry topic; what stages scale by. `windows.partials` has just so many:
    whoever adds some to a cluster adds them to it and to `windows`, too."""
    replication_factor: int = Field(default=3, ge=1, le=15)
    """Replicas wanted; fewer, with a warning, where the cluster has fewer brokers."""
    retention: Duration = Field(default=86_400.0, ge=60)
    """How long telemetry stays on the bus."""
    decisions_retention: Duration = Field(default=3 * 86_400.0, ge=60)
    """How long `explain` can tell what sampling decided; at least `topics.retention`."""
    windows_retention: Duration = Field(default=7 * 86_400.0, ge=60)
    """How long windows can be read; what detection reads again after it was away."""
    alerts_retention: Duration = Field(default=90 * 86_400.0, ge=60)
    """How long alerts can be looked up."""
    deadletter_retention: Duration = Field(default=14 * 86_400.0, ge=60)
    """How long the dead-letter topic keeps what it got."""
    audit_retention: Duration = Field(default=90 * 86_400.0, ge=60)
    """How long the audit topic keeps what it got; at least `topics.deadletter_retention`."""
    max_message: Size = Field(default=1_048_588, ge=10_000, le=100_000_000)
    """max.message.bytes of our topics."""
