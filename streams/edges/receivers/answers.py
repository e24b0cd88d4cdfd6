"""Answers of both transports: the responses' bytes and what an error is called on the wire.

Source: OTLP specification, sections OTLP/gRPC Response and OTLP/HTTP Response.
"""

from __future__ import annotations

import math
from http import HTTPStatus
from typing import NamedTuple

import grpc
from google.protobuf import json_format
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from schemas.errors import (
    MalformedMessage,
    MessageTooLarge,
    OtlpStreamsError,
    Overloaded,
    PermanentError,
    RetryableError,
    TooManyItems,
    UnsupportedEncoding,
)
from schemas.signals import Signal

from .acceptor import Accepted

__all__ = ["ConnectionReset", "Refusal", "Told", "TooSlow", "failure", "refusal_of", "success"]

_RETRY_AFTER_S = 1.0
"""The retry hint where the error has none of its own."""

_REFUSAL_MAX_CHARACTERS = 300
"""Errors quote what a client sent, and a gRPC client drops trailers of more than 8 KiB: these
characters may take twelve bytes each in grpc-message and as many in grpc-status-details-bin."""
_PARTIAL_MAX_CHARACTERS = 2000

_RESPONSES: dict[Signal, type[Message]] = {
    Signal.TRACES: ExportTraceServiceResponse,
    Signal.METRICS: ExportMetricsServiceResponse,
    Signal.LOGS: ExportLogsServiceResponse,
}
_REJECTED = {
    Signal.TRACES: "rejected_spans",
    Signal.METRICS: "rejected_data_points",
    Signal.LOGS: "rejected_log_records",
}


class TooSlow(OtlpStreamsError):
    """A request did not arrive in time. ``limit`` is the setting's path."""

    def __init__(self, limit: str) -> None:
        super().__init__(f"the request did not arrive within {limit}")


class ConnectionReset(OtlpStreamsError):
    """An acceptor wants the client cut off without an answer (fault tests).

    gRPC has no way to do that to one client; there it is UNAVAILABLE, which is what a client
    makes of a reset.
    """


class Refusal(NamedTuple):
    """An error as both transports say it. ``reason`` is the counter's label."""

    http: HTTPStatus
    grpc: grpc.StatusCode
    reason: str
    message: str
    retry_after_s: float | None = None

    @property
    def retry_after_header(self) -> str:
        """Whole seconds for the Retry-After header (RFC 9110 knows no fractions)."""
        return str(max(1, math.ceil(self.retry_after_s or 0.0)))

    def status(self) -> status_pb2.Status:
        """The google.rpc.Status: with RetryInfo or BadRequest where the specification has them."""
        status = status_pb2.Status(code=self.grpc.value[0], message=self.message)
        if self.retry_after_s is not None:
            info = error_details_pb2.RetryInfo()
            info.retry_delay.FromNanoseconds(round(self.retry_after_s * 1e9))
            status.details.add().Pack(info)
        elif self.http is HTTPStatus.BAD_REQUEST:
            violation = error_details_pb2.BadRequest.FieldViolation(
                field="body", description=self.message
            )
            status.details.add().Pack(error_details_pb2.BadRequest(field_violations=[violation]))
        return status


class Told(OtlpStreamsError):
    """An acceptor wants exactly this answer given."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


def refusal_of(error: Exception) -> Refusal:
    """What an acceptor's or our own error is on the wire; a defect is INTERNAL and 500."""
    code = grpc.StatusCode
    message = _bounded(str(error), _REFUSAL_MAX_CHARACTERS)
    match error:
        case MessageTooLarge() | TooManyItems():
            http, code_ = HTTPStatus.REQUEST_ENTITY_TOO_LARGE, code.RESOURCE_EXHAUSTED
        case UnsupportedEncoding():
            http, code_ = HTTPStatus.UNSUPPORTED_MEDIA_TYPE, code.UNIMPLEMENTED
        case MalformedMessage() | PermanentError():
            http, code_ = HTTPStatus.BAD_REQUEST, code.INVALID_ARGUMENT
        case Overloaded():
            http, code_ = HTTPStatus.TOO_MANY_REQUESTS, code.RESOURCE_EXHAUSTED
        case RetryableError():
            http, code_ = HTTPStatus.SERVICE_UNAVAILABLE, code.UNAVAILABLE
        case Told():
            return error.refusal
        case ConnectionReset():
            return Refusal(HTTPStatus.BAD_GATEWAY, code.UNAVAILABLE, "reset", "connection reset")
        case TooSlow():
            return Refusal(
                HTTPStatus.REQUEST_TIMEOUT, code.DEADLINE_EXCEEDED, "request_timeout", message
            )
        case _:
            return Refusal(
                HTTPStatus.INTERNAL_SERVER_ERROR, code.INTERNAL, "internal", "internal error"
            )
    if isinstance(error, RetryableError):
        after_s = _RETRY_AFTER_S if error.retry_after_s is None else error.retry_after_s
        return Refusal(http, code_, error.reason, message, after_s)
    return Refusal(http, code_, error.reason, message)


def success(signal: Signal, accepted: Accepted, *, json: bool = False) -> bytes:
    """The Export*ServiceResponse; ``partial_success`` stays unset when there is nothing to say."""
    if not accepted.rejected and not accepted.message:
        return b"{}" if json else b""
    response = _RESPONSES[signal]()
    partial = response.partial_success  # type: ignore[attr-defined]
    partial.SetInParent()
    setattr(partial, _REJECTED[signal], accepted.rejected)
    partial.error_message = _bounded(accepted.message, _PARTIAL_MAX_CHARACTERS)
    return _encode(response, json=json)


def failure(refusal: Refusal, *, json: bool = False) -> bytes:
    """The google.rpc.Status body of an HTTP 4xx or 5xx."""
    return _encode(refusal.status(), json=json)


def _bounded(message: str, most: int) -> str:
    return message if len(message) <= most else message[: most - 3] + "..."


def _encode(message: Message, *, json: bool) -> bytes:
    if json:
        return json_format.MessageToJson(message, indent=None).encode()
    return message.SerializeToString()
