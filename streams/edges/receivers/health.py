"""The gRPC health checking protocol, as load balancers in front of OTLP receivers ask it.

Source: grpc/proto/grpc/health/v1/health.proto. Only ``Check``; a client that asks for ``Watch``
is told UNIMPLEMENTED, which the protocol has for that. The two messages have one field each,
so that they are written here rather than generated.
"""

from __future__ import annotations

from collections.abc import Callable

import grpc

from schemas.signals import Signal

__all__ = ["CHECK", "health_answer"]

CHECK = "/grpc.health.v1.Health/Check"
"""Path of the method."""

_SERVING = b"\x08\x01"
_NOT_SERVING = b"\x08\x02"
_SERVICES = {b"", *(signal.grpc_service.encode() for signal in Signal)}


def health_answer(request: bytes, ready: Callable[[], bool]) -> bytes | grpc.StatusCode:
    """The HealthCheckResponse for a HealthCheckRequest, or the code of its refusal."""
    service = request[2:]
    if request and (len(service) > 127 or request[:2] != bytes((0x0A, len(service)))):
        return grpc.StatusCode.INVALID_ARGUMENT
    if service not in _SERVICES:
        return grpc.StatusCode.NOT_FOUND
    return _SERVING if ready() else _NOT_SERVING
