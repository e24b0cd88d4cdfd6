"""The whole road on one machine, before one's eyes: Kafka, stages, backend, real telemetry."""

from .run import Settings, run

__all__ = ["Settings", "run"]
