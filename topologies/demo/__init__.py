"""The whole road on one machine, before one's eyes: Kafka, stages, backend, real telemetry."""

from .incident import INCIDENT
from .run import Settings, run
from .traffic import CLIENTS, FAULTS, Source, clients_for

__all__ = ["CLIENTS", "FAULTS", "INCIDENT", "Settings", "Source", "clients_for", "run"]
