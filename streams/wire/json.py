"""OTLP/JSON to protobuf bytes and back.

Source: OTLP specification, section JSON Protobuf Encoding: the proto3 JSON mapping, but ids are
hex strings and enums are integers only. Ids are found by their position in the message tree, so
that an attribute which happens to be called ``traceId`` is left alone.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple, NoReturn

from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError, Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from schemas.errors import MalformedMessage
from schemas.signals import Signal

__all__ = ["REQUESTS", "decode", "encode"]

REQUESTS: dict[Signal, type[Message]] = {
    Signal.TRACES: ExportTraceServiceRequest,
    Signal.METRICS: ExportMetricsServiceRequest,
    Signal.LOGS: ExportLogsServiceRequest,
}
"""The official message class of each signal's request."""

_ID_BYTES = {"trace_id": 16, "span_id": 8, "parent_span_id": 8}


def decode(signal: Signal, data: bytes) -> bytes:
    """The bytes of an Export*ServiceRequest from its OTLP/JSON.

    Unknown fields are ignored. 64-bit integers may be strings or numbers, field names
    lowerCamelCase or as in the .proto files.

    Raises:
        MalformedMessage: no UTF-8, no JSON, or no such request; the offset is that of the JSON
            error, and 0 where the JSON is good and its content is not.
    """
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise MalformedMessage("JSON is not UTF-8", error.start) from None
    try:
        tree = json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        offset = len(text[: error.pos].encode())
        raise MalformedMessage(f"not JSON: {error.msg}", offset) from None
    except RecursionError:
        raise MalformedMessage("JSON is nested too deeply") from None
    except ValueError as error:
        raise MalformedMessage(f"not JSON: {error}") from None
    if not isinstance(tree, dict):
        raise MalformedMessage("the JSON of a request is an object")
    message = REQUESTS[signal]()
    _walk(tree, _plan(message.DESCRIPTOR), _from_otlp)
    try:
        json_format.ParseDict(tree, message, ignore_unknown_fields=True)
        return message.SerializeToString()
    except (json_format.ParseError, DecodeError, ValueError, TypeError, RecursionError) as error:
        raise MalformedMessage(f"not OTLP/JSON: {error}") from None


def encode(signal: Signal, data: bytes) -> bytes:
    """The OTLP/JSON of an Export*ServiceRequest; protobuf fields without a name are left out.

    Raises:
        MalformedMessage: ``data`` is not such a request.
    """
    message = REQUESTS[signal]()
    try:
        message.ParseFromString(data)
    except DecodeError as error:
        raise MalformedMessage(f"not protobuf: {error}") from None
    tree = json_format.MessageToDict(message, use_integers_for_enums=True)
    _walk(tree, _plan(message.DESCRIPTOR), _to_otlp)
    return json.dumps(tree, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


class _Step(NamedTuple):
    """What to do with a field: an id, an enum, or a message that has such fields further in."""

    id_bytes: int
    below: dict[str, _Step] | None


_Change = Callable[[str, Any, int], Any]


@cache
def _plan(descriptor: Descriptor) -> dict[str, _Step]:
    """Fields of a message that OTLP/JSON treats otherwise, by JSON and by .proto name."""
    return _plan_below(descriptor, ())


def _plan_below(descriptor: Descriptor, above: tuple[Descriptor, ...]) -> dict[str, _Step]:
    plan: dict[str, _Step] = {}
    if descriptor in above:  # AnyValue; nothing in it is special
        return plan
    for field in descriptor.fields:
        step = None
        if field.name in _ID_BYTES and field.type == FieldDescriptor.TYPE_BYTES:
            step = _Step(_ID_BYTES[field.name], None)
        elif field.type == FieldDescriptor.TYPE_ENUM:
            step = _Step(0, None)
        elif field.message_type is not None:
            below = _plan_below(field.message_type, (*above, descriptor))
            if below:
                step = _Step(0, below)
        if step is not None:
            plan[field.name] = plan[field.json_name] = step
    return plan


def _walk(tree: dict[str, Any], plan: dict[str, _Step], change: _Change) -> None:
    """Apply ``change`` to every special field, in place. Wrong shapes are left to protobuf."""
    for name in tree.keys() & plan.keys():
        value = tree[name]
        step = plan[name]
        if step.below is None:
            if value is not None:
                tree[name] = change(name, value, step.id_bytes)
        elif isinstance(value, list):
            for item in value:
                if isinstance(item, dict):
                    _walk(item, step.below, change)
        elif isinstance(value, dict):
            _walk(value, step.below, change)


def _from_otlp(name: str, value: Any, id_bytes: int) -> Any:
    if not id_bytes:
        if isinstance(value, bool) or not isinstance(value, int):
            raise MalformedMessage(f"{name} is an integer in OTLP/JSON, not {_shown(value)}")
        return value
    if not isinstance(value, str):
        raise MalformedMessage(f"{name} is a hex string, not {_shown(value)}")
    if value and len(value) != 2 * id_bytes:
        raise MalformedMessage(f"{name} has {2 * id_bytes} hex digits, not {len(value)}")
    try:
        return base64.b64encode(binascii.unhexlify(value)).decode()
    except (binascii.Error, ValueError):
        raise MalformedMessage(f"{name} is no hex string: {_shown(value)}") from None


def _to_otlp(_: str, value: Any, id_bytes: int) -> Any:
    return base64.b64decode(value).hex() if id_bytes else value


def _shown(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 40 else f"{shown[:37]}..."


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")
