"""Requests as protobuf messages, for the few that are altered by more than ids and times."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from google.protobuf.message import DecodeError, Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from schemas.errors import MalformedMessage
from schemas.signals import Signal

from .frames import Request
from .latency import Delayed

__all__ = [
    "LogRef", "Parsed", "SpanRef", "drop", "fail", "logs_by_span", "move_log", "move_span",
    "only", "parse", "set_error", "spans", "spans_by_id",
]  # fmt: skip

_TYPES: dict[Signal, type[Message]] = {
    Signal.TRACES: ExportTraceServiceRequest,
    Signal.METRICS: ExportMetricsServiceRequest,
    Signal.LOGS: ExportLogsServiceRequest,
}
_NAMES = {  # resources, scopes, items of each request
    Signal.TRACES: ("resource_spans", "scope_spans", "spans"),
    Signal.METRICS: ("resource_metrics", "scope_metrics", "metrics"),
    Signal.LOGS: ("resource_logs", "scope_logs", "log_records"),
}


class Parsed:
    """One request as a message; ``changed`` says that it no longer is its old bytes."""

    __slots__ = ("_data", "changed", "message", "signal")

    def __init__(self, request: Request) -> None:
        self.signal = request.signal
        self._data = request.data
        self.changed = False
        try:
            self.message: Any = _TYPES[request.signal].FromString(request.data)
        except DecodeError as error:
            raise MalformedMessage(f"recorded {request.signal} request does not parse") from error

    def request(self) -> Request | None:
        """The request as it is now; None if nothing is left in it."""
        if not self.changed:
            return Request(self.signal, self._data)
        if not getattr(self.message, _NAMES[self.signal][0]):
            return None
        return Request(self.signal, self.message.SerializeToString())


class SpanRef(NamedTuple):
    """A span where it stands."""

    service: str
    span: Span
    owner: Parsed


class LogRef(NamedTuple):
    """A log record where it stands."""

    record: LogRecord
    owner: Parsed


def parse(request: Request) -> Parsed:
    """A request as a message.

    Raises:
        MalformedMessage: it is none.
    """
    return Parsed(request)


def spans(parsed: Iterable[Parsed]) -> Iterator[SpanRef]:
    """Every span with the service it belongs to."""
    for one in parsed:
        if one.signal is Signal.TRACES:
            for resource in one.message.resource_spans:
                service = _service(resource.resource)
                for scope in resource.scope_spans:
                    for span in scope.spans:
                        yield SpanRef(service, span, one)


def spans_by_id(parsed: Iterable[Parsed]) -> dict[tuple[bytes, bytes], SpanRef]:
    """Every span by (trace id, span id)."""
    return {(ref.span.trace_id, ref.span.span_id): ref for ref in spans(parsed)}


def logs_by_span(parsed: Iterable[Parsed]) -> dict[tuple[bytes, bytes], list[LogRef]]:
    """Log records by (trace id, span id) of the span that wrote them."""
    found: dict[tuple[bytes, bytes], list[LogRef]] = defaultdict(list)
    for one in parsed:
        if one.signal is Signal.LOGS:
            for resource in one.message.resource_logs:
                for scope in resource.scope_logs:
                    for record in scope.log_records:
                        found[record.trace_id, record.span_id].append(LogRef(record, one))
    return found


def set_error(ref: SpanRef) -> None:
    """Give a span the status ERROR."""
    ref.span.status.code = Status.STATUS_CODE_ERROR
    ref.owner.changed = True


def fail(ref: SpanRef) -> None:
    """Make a span one that failed: status, ``error.type``, and an ``exception`` event.

    Source: semantic conventions, "Recording errors" and "Exceptions on spans".
    """
    set_error(ref)
    ref.span.status.message = "injected fault"
    if all(attribute.key != "error.type" for attribute in ref.span.attributes):
        ref.span.attributes.add(key="error.type").value.string_value = "InjectedFault"
    event = ref.span.events.add(name="exception", time_unix_nano=ref.span.end_time_unix_nano)
    event.attributes.add(key="exception.type").value.string_value = "InjectedFault"
    event.attributes.add(key="exception.message").value.string_value = "injected fault"


def move_span(ref: SpanRef, change: Delayed) -> None:
    """Apply a delay to a span and its events."""
    span = ref.span
    for event in span.events:
        event.time_unix_nano += change.moved_ns + change.within_ns(event.time_unix_nano)
    span.start_time_unix_nano += change.moved_ns
    span.end_time_unix_nano += change.moved_ns + change.longer_ns
    ref.owner.changed = True


def move_log(ref: LogRef, change: Delayed) -> int:
    """Apply a delay to a log record of a delayed span; 1 if it changes, else 0."""
    record = ref.record
    later = change.moved_ns + change.within_ns(record.time_unix_nano)
    if not later or not record.time_unix_nano:
        return 0
    record.time_unix_nano += later
    if record.observed_time_unix_nano:
        record.observed_time_unix_nano += later
    ref.owner.changed = True
    return 1


def drop(parsed: Parsed, covers: Callable[[str, int], bool]) -> tuple[int, set[bytes]]:
    """Remove the items that ``covers(service, time_ns)``; how many, and of which traces."""
    trace_ids: set[bytes] = set()
    before = _count(parsed)
    resources, scopes, items = _NAMES[parsed.signal]
    for resource in getattr(parsed.message, resources):
        service = _service(resource.resource)

        def stays(item: Any, service: str = service) -> bool:
            begins = getattr(item, "start_time_unix_nano" if items == "spans" else "time_unix_nano")
            if not covers(service, begins):
                return True
            if items != "metrics":
                trace_ids.add(item.trace_id)
            return False

        for scope in getattr(resource, scopes):
            if items == "metrics":
                for metric in scope.metrics:
                    if (kind := metric.WhichOneof("data")) is not None:
                        _keep(getattr(metric, kind).data_points, stays)
            else:
                _keep(getattr(scope, items), stays)
    dropped = before - _count(parsed)
    if dropped:
        parsed.changed = True
        _prune(parsed)
    return dropped, trace_ids - {b""}


def only(parsed: Parsed, trace_ids: set[bytes]) -> tuple[int, bytes]:
    """Spans or log records of some traces as a request of their own, and how many."""
    if parsed.signal is Signal.METRICS:
        return 0, b""
    part = Parsed(Request(parsed.signal, parsed.message.SerializeToString()))
    resources, scopes, items = _NAMES[part.signal]
    for resource in getattr(part.message, resources):
        for scope in getattr(resource, scopes):
            _keep(getattr(scope, items), lambda item: item.trace_id in trace_ids)
    _prune(part)
    return _count(part), part.message.SerializeToString()


def _count(parsed: Parsed) -> int:
    resources, scopes, items = _NAMES[parsed.signal]
    found: Sequence[Any] = [
        item for resource in getattr(parsed.message, resources)
        for scope in getattr(resource, scopes) for item in getattr(scope, items)
    ]  # fmt: skip
    if parsed.signal is not Signal.METRICS:
        return len(found)
    kinds = [(metric, metric.WhichOneof("data")) for metric in found]
    return sum(len(getattr(metric, kind).data_points) for metric, kind in kinds if kind)


def _prune(parsed: Parsed) -> None:
    resources, scopes, items = _NAMES[parsed.signal]
    for resource in getattr(parsed.message, resources):
        for scope in getattr(resource, scopes):
            if parsed.signal is Signal.METRICS:
                _keep(scope.metrics, _has_points)
        _keep(getattr(resource, scopes), lambda scope: bool(getattr(scope, items)))
    _keep(getattr(parsed.message, resources), lambda resource: bool(getattr(resource, scopes)))


def _has_points(metric: Any) -> bool:
    kind = metric.WhichOneof("data")
    return kind is not None and bool(getattr(metric, kind).data_points)


def _keep(repeated: Any, condition: Callable[[Any], bool]) -> None:
    kept = [item for item in repeated if condition(item)]
    if len(kept) < len(repeated):
        copies = [type(item).FromString(item.SerializeToString()) for item in kept]
        del repeated[:]
        repeated.extend(copies)


def _service(resource: Resource) -> str:
    for attribute in resource.attributes:
        if attribute.key == "service.name":
            return attribute.value.string_value
    return ""
