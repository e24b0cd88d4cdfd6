"""The three OpenTelemetry signals and where each lives in OTLP.

Source: OTLP specification 1.x, sections OTLP/gRPC and OTLP/HTTP Request.
"""

from __future__ import annotations

from enum import StrEnum

__all__ = ["Signal"]

_GRPC = {
    "traces": ("trace", "TraceService"),
    "metrics": ("metrics", "MetricsService"),
    "logs": ("logs", "LogsService"),
}


class Signal(StrEnum):
    """A kind of telemetry; its value is the plural that the OTLP/HTTP path uses."""

    TRACES = "traces"
    METRICS = "metrics"
    LOGS = "logs"

    @property
    def http_path(self) -> str:
        """Default OTLP/HTTP path, such as ``/v1/traces``."""
        return f"/v1/{self.value}"

    @property
    def grpc_service(self) -> str:
        """Full name of the collector service of this signal."""
        package, service = _GRPC[self.value]
        return f"opentelemetry.proto.collector.{package}.v1.{service}"

    @property
    def grpc_method(self) -> str:
        """Path of the ``Export`` method on the wire."""
        return f"/{self.grpc_service}/Export"

    @property
    def item(self) -> str:
        """What one item is called: span, data point or log record."""
        return {"traces": "span", "metrics": "data point", "logs": "log record"}[self.value]
