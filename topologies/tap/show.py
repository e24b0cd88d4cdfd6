"""One message as table rows or as a JSON document."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

from google.protobuf.message import DecodeError
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from schemas.errors import MalformedMessage
from schemas.signals import Signal
from streams.wire import json as wire_json

from .follow import Message

__all__ = ["COLUMNS", "as_json", "as_rows", "printable"]

COLUMNS = {
    Signal.TRACES: ("start", "service", "span", "kind", "status", "took", "trace id", "span id"),
    Signal.METRICS: ("time", "service", "metric", "type", "value", "attributes"),
    Signal.LOGS: ("time", "service", "severity", "body", "trace id"),
}
_NAMES = {  # resources, scopes, items
    Signal.TRACES: ("resource_spans", "scope_spans", "spans"),
    Signal.METRICS: ("resource_metrics", "scope_metrics", "metrics"),
    Signal.LOGS: ("resource_logs", "scope_logs", "log_records"),
}
_STATUS = ("", "ok", "ERROR")
_BODY_MAX_CHARS = 160


def as_rows(signal: Signal, value: bytes) -> Iterator[tuple[str, ...]]:
    """A row of ``COLUMNS[signal]`` per item. Raises MalformedMessage."""
    try:
        message: Any = wire_json.REQUESTS[signal].FromString(value)
    except DecodeError as error:
        raise MalformedMessage(f"no {signal} request: {error}") from None
    resources, scopes, items = _NAMES[signal]
    rows = _ROWS[signal]
    for resource in getattr(message, resources):
        service = _service(resource.resource)
        for scope in getattr(resource, scopes):
            for item in getattr(scope, items):
                for row in rows(service, item):
                    yield tuple(map(printable, row))


def as_json(signal: Signal | None, message: Message) -> str:
    """The message on one line: where it lies, its headers, and its content as OTLP/JSON.

    What is no request of the signal (or has no signal) stands there in base64, with the error.
    """
    document: dict[str, Any] = {
        "topic": message.topic,
        "partition": message.partition,
        "offset": message.offset,
        "timestamp": message.timestamp_ms,
        "key": None if message.key is None else message.key.decode("utf-8", "backslashreplace"),
        "headers": {k: v.decode("utf-8", "backslashreplace") for k, v in message.headers},
    }
    try:
        if signal is None:
            raise MalformedMessage("no signal is known for this topic")  # noqa: TRY301 - one place
        document["value"] = json.loads(wire_json.encode(signal, message.value))
    except MalformedMessage as error:
        document["error"] = str(error)
        document["value_base64"] = base64.b64encode(message.value).decode()
    return json.dumps(document)


def _span(service: str, span: Span) -> Iterator[tuple[str, ...]]:
    took_ms = (span.end_time_unix_nano - span.start_time_unix_nano) / 1e6
    kind = Span.SpanKind.keys()[span.kind] if 0 < span.kind < len(Span.SpanKind.keys()) else ""
    code = span.status.code
    status = (_STATUS[code] if 0 <= code < len(_STATUS) else str(code)) + (
        f" {span.status.message}" if span.status.message else ""
    )
    yield (
        _time(span.start_time_unix_nano), service, span.name,
        kind.removeprefix("SPAN_KIND_").lower(), status, f"{took_ms:,.2f} ms",
        span.trace_id.hex(), span.span_id.hex(),
    )  # fmt: skip


def _log(service: str, log: LogRecord) -> Iterator[tuple[str, ...]]:
    at = log.time_unix_nano or log.observed_time_unix_nano
    severity = log.severity_text or str(log.severity_number or "")
    yield _time(at), service, severity, _value(log.body), log.trace_id.hex()


def _metric(service: str, metric: Any) -> Iterator[tuple[str, ...]]:
    kind = metric.WhichOneof("data")
    if kind is None:
        return
    unit = f" {metric.unit}" if metric.unit else ""
    for point in getattr(metric, kind).data_points:
        if kind in ("gauge", "sum"):
            number = point.as_double if point.HasField("as_double") else point.as_int
            value = f"{number:g}{unit}"
        else:
            value = f"n={point.count} sum={point.sum:g}{unit}"
        yield (
            _time(point.time_unix_nano), service, metric.name, kind.replace("_", " "), value,
            _attributes(point.attributes),
        )  # fmt: skip


def _time(unix_nano: int) -> str:
    if not unix_nano:
        return ""
    try:
        when = datetime.fromtimestamp(unix_nano // 1_000_000 / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return str(unix_nano)
    return when.strftime("%H:%M:%S.") + f"{when.microsecond // 1000:03}"


def _service(resource: Any) -> str:
    for attribute in resource.attributes:
        if attribute.key == "service.name":
            return _value(attribute.value)
    return ""


def _attributes(attributes: Any) -> str:
    return " ".join(f"{each.key}={_value(each.value)}" for each in attributes)


def _value(value: AnyValue) -> str:
    kind = value.WhichOneof("value")
    if kind is None:
        return ""
    inner = getattr(value, kind)
    if kind == "array_value":
        return "[" + ", ".join(_value(each) for each in inner.values) + "]"
    if kind == "kvlist_value":
        return "{" + ", ".join(_pair(each) for each in inner.values) + "}"
    return str(inner.hex() if kind == "bytes_value" else inner)


def _pair(pair: KeyValue) -> str:
    return f"{pair.key}: {_value(pair.value)}"


_ROWS: dict[Signal, Callable[[str, Any], Iterator[tuple[str, ...]]]] = {
    Signal.TRACES: _span,
    Signal.METRICS: _metric,
    Signal.LOGS: _log,
}


def printable(text: str) -> str:
    """What may be shown: no control characters, which would steer the terminal; bounded."""
    text = "".join(c if c.isprintable() else " " for c in text[: _BODY_MAX_CHARS + 1])
    return text if len(text) <= _BODY_MAX_CHARS else text[: _BODY_MAX_CHARS - 1] + "…"
