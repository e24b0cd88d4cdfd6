"""OTLP to backends, by gRPC and HTTP.

An :class:`Exporter` makes one try; :class:`Delivery` goes on until the backend has the data,
has refused it, or time is up.
"""

from .answers import Exported
from .delivery import Delivery, Exporter, create_exporter
from .metrics import BackendMetrics, ExporterMetrics

__all__ = [
    "BackendMetrics",
    "Delivery",
    "Exported",
    "Exporter",
    "ExporterMetrics",
    "create_exporter",
]
