"""OTLP receivers: gRPC and HTTP servers that hand requests to an acceptor.

A server reads, limits, decompresses and (JSON) transcodes a request, then awaits the acceptor;
the client is answered with what the acceptor said. Nothing here knows Kafka.

    admission = Admission(inflight_max_bytes=256 << 20, retry_after_s=1.0)
    metrics = ReceiverMetrics(registry)
    grpc = GrpcServer(config.ingest.grpc, accept, max_request_bytes=..., admission=..., metrics=...)
    http = HttpServer(config.ingest.http, accept, max_request_bytes=..., admission=..., metrics=...)
    await grpc.start(); grpc.port; await grpc.stop(grace_s=5.0)
"""

from .acceptor import Accepted, Acceptor
from .admission import Admission, Reservation
from .faults import Faults, FaultSettings
from .grpc_server import GrpcServer
from .http_server import HttpServer
from .memory import CollectingAcceptor, Received
from .metrics import ReceiverMetrics

__all__ = [
    "Accepted",
    "Acceptor",
    "Admission",
    "CollectingAcceptor",
    "FaultSettings",
    "Faults",
    "GrpcServer",
    "HttpServer",
    "Received",
    "ReceiverMetrics",
    "Reservation",
]
