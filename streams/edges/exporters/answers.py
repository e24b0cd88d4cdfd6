"""What a backend's answer means. Pure: bytes, codes and header values in, a verdict out.

Source: OTLP specification, sections OTLP/gRPC Response, Failures and OTLP/HTTP Response,
Retryable Response Codes; RFC 9110 section 10.2.3 (Retry-After).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from schemas.signals import Signal

__all__ = [
    "GRPC_CODES",
    "MESSAGE_MAX_CHARS",
    "RETRYABLE_GRPC",
    "RETRYABLE_HTTP",
    "Exported",
    "Masking",
    "http_failure_message",
    "parse_json_success",
    "parse_retry_after",
    "parse_status",
    "parse_success",
    "retry_info_s",
]

MESSAGE_MAX_CHARS = 300
"""Longest text of a backend that goes into an error, a log line or a dead-letter header."""

GRPC_CODES = dict(
    enumerate(
        (
            "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND",
            "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION",
            "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS",
            "UNAUTHENTICATED",
        )
    )
)  # fmt: skip
"""Names of gRPC's status codes by number (grpc/doc/statuscodes.md)."""

RETRYABLE_GRPC = frozenset(
    ("CANCELLED", "DEADLINE_EXCEEDED", "ABORTED", "OUT_OF_RANGE", "UNAVAILABLE", "DATA_LOSS")
)
"""Retryable gRPC codes; RESOURCE_EXHAUSTED is one of them only when it carries RetryInfo."""

RETRYABLE_HTTP = frozenset((429, 502, 503, 504))
"""Retryable HTTP statuses."""

_RESPONSES: dict[Signal, tuple[type[Any], str, str]] = {
    Signal.TRACES: (ExportTraceServiceResponse, "rejected_spans", "rejectedSpans"),
    Signal.METRICS: (ExportMetricsServiceResponse, "rejected_data_points", "rejectedDataPoints"),
    Signal.LOGS: (ExportLogsServiceResponse, "rejected_log_records", "rejectedLogRecords"),
}


class Exported(NamedTuple):
    """The backend has the request, all but ``rejected`` items; never to be sent again.

    ``message`` is the server's, a warning when nothing was rejected.
    """

    rejected: int = 0
    message: str = ""


class Masking:
    """Takes our own header values out of a text that a server may have echoed, and bounds it."""

    def __init__(self, secrets: Iterable[str]) -> None:
        words = {word for secret in secrets for word in (" ".join(secret.split()), *secret.split())}
        # Longest first, so that no part of a longer secret survives. Words of less than four
        # characters ("1", "on") are no secrets, and masking them would eat the message.
        self._words = sorted((word for word in words if len(word) >= 4), key=len, reverse=True)

    def __call__(self, text: str) -> str:
        """``text`` on one line, without secrets, at most MESSAGE_MAX_CHARS long."""
        text = " ".join("".join(c if c.isprintable() else " " for c in text[:4096]).split())
        for word in self._words:
            text = text.replace(word, "***")
        if len(text) > MESSAGE_MAX_CHARS:
            return text[: MESSAGE_MAX_CHARS - 1] + "…"
        return text


def parse_success(signal: Signal, body: bytes) -> Exported:
    """Verdict of a successful answer; an empty body is full success. Raises ValueError."""
    if not body:
        return Exported()
    kind, field, _ = _RESPONSES[signal]
    try:
        partial = kind.FromString(body).partial_success
    except DecodeError:
        raise ValueError("the answer is no Export response") from None
    return Exported(max(0, getattr(partial, field)), partial.error_message)


def parse_json_success(signal: Signal, body: bytes) -> Exported:
    """The same for a server that answers in JSON, whatever it was asked in. Raises ValueError."""
    if not body.strip():
        return Exported()
    answer = json.loads(body)
    partial = answer.get("partialSuccess", {}) if isinstance(answer, dict) else None
    if not isinstance(partial, dict):
        raise ValueError("the answer is no Export response")
    try:
        rejected = int(partial.get(_RESPONSES[signal][2], 0))
    except TypeError:
        raise ValueError("the answer is no Export response") from None
    return Exported(max(0, rejected), str(partial.get("errorMessage", "")))


def parse_status(body: bytes) -> Status | None:
    """A ``google.rpc.Status``; None when the bytes are none."""
    try:
        return Status.FromString(body)
    except DecodeError:
        return None


def retry_info_s(status: Status | None) -> float | None:
    """Seconds of the RetryInfo among a Status's details; None without one. Never negative."""
    for detail in status.details if status is not None else ():
        info = RetryInfo()
        try:
            if detail.Unpack(info):
                delay = info.retry_delay
                return max(0.0, float(delay.seconds) + float(delay.nanos) / 1e9)
        except DecodeError:
            continue
    return None


def parse_retry_after(value: str | None, now: datetime) -> float | None:
    """Seconds from ``now`` (aware) that a Retry-After header asks for; None if unreadable.

    Both forms of RFC 9110 are read: seconds and HTTP-date; a date gone by is 0.
    """
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        # Absurd numbers must not become an error; a retry policy caps them anyway.
        return float(text[:12])
    try:
        at = parsedate_to_datetime(text)
        at = at if at.tzinfo else at.replace(tzinfo=UTC)
        return max(0.0, (at - now).total_seconds())
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def http_failure_message(content_type: str, body: bytes) -> str:
    """The text in an error's body: a Status in protobuf or JSON, else plain text, else ""."""
    if content_type in ("application/x-protobuf", "application/protobuf"):
        status = parse_status(body)
        return status.message if status is not None else ""
    if content_type == "application/json":
        try:
            answer = json.loads(body)
        except ValueError:
            return ""
        message = answer.get("message") if isinstance(answer, dict) else None
        return message if isinstance(message, str) else ""
    if content_type == "text/plain":
        return body.decode("utf-8", "replace")
    return ""  # a proxy's HTML page says nothing that the code does not
