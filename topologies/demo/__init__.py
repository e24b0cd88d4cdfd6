"""The whole road on one machine, before one's eyes: Kafka, stages, backend, real telemetry."""

from .incident import INCIDENT
from .run import Settings, run
from .traffic import FAULTS, Source

__all__ = ["FAULTS", "INCIDENT", "Settings", "Source", "run"]
