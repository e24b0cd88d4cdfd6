"""The configuration file as a whole. An empty file runs."""

from __future__ import annotations

from ..signals import Signal
from .alerts import Alerts
from .anomaly import Anomaly
from .base import Settings
from .export import Export
from .ingest import Ingest
from .kafka import Kafka
from .notify import Notify
from .runtime import Runtime, Telemetry
from .sampling import Sampling
from .shape import Shape
from .topics import Topics
from .windows import Windows

__all__ = ["Config"]


class Config(Settings):
    """Everything that can be set."""

    kafka: Kafka = Kafka()
    """The Kafka cluster and our clients of it."""
    topics: Topics = Topics()
    """Topic names and shapes."""
    ingest: Ingest = Ingest()
    """The ingest stage."""
    sampling: Sampling = Sampling()
    """Tail sampling: the stages sample and emit."""
    shape: Shape = Shape()
    """The shape stage."""
    windows: Windows = Windows()
    """Aggregation over time: the stage windows, and what others tell it."""
    anomaly: Anomaly = Anomaly()
    """How what is unusual is found."""
    alerts: Alerts = Alerts()
    """The detect stage: anomalies, and rules that become alerts."""
    notify: Notify = Notify()
    """The notify stage: who is told of alerts."""
    export: Export = Export()
    """The export stage."""
    runtime: Runtime = Runtime()
    """The host of every stage."""
    telemetry: Telemetry = Telemetry()
    """Logs, metrics and health of our own."""

    @property
    def shaped(self) -> tuple[Signal, ...]:
        """What shape takes: traces are left to sampling where that is enabled."""
        signals = self.shape.signals
        return tuple(s for s in signals if s != Signal.TRACES or not self.sampling.enabled)
