"""The whole road on one machine, before one's eyes: Kafka, stages, backend, real telemetry."""

from .run import Settings, run
from .traffic import FAULTS, Source

__all__ = ["FAULTS", "Settings", "Source", "run"]
