"""What following the control topic says about itself."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge

__all__ = ["ControlMetrics"]


class ControlMetrics:
    """One set a process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self.records = Counter(
            "otlp_streams_control_records",
            "Control records read: applied, unchanged, or ignored as malformed, newer_version "
            "(schema_version), unknown (name) or invalid (value).",
            ("result",),
            registry=registry,
        )
        self.offset = Gauge(
            "otlp_streams_control_offset",
            "Offset of the newest control record that this process has read; -1: none.",
            registry=registry,
        )
        self.offset.set(-1)
        self.audits = Counter(
            "otlp_streams_audit_records",
            "Audit records of this process: written, or lost because Kafka did not take them.",
            ("result",),
            registry=registry,
        )

    def close(self) -> None:
        """Leave the registry."""
        for metric in (self.records, self.offset, self.audits):
            self._registry.unregister(metric)
