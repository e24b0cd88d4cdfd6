"""OTLP/JSON to protobuf bytes and back.

Source: OTLP specification, section JSON Protobuf Encoding: the proto3 JSON mapping, but ids are
hex strings and enums are integers only. Ids are found by their position in the message tree, so
that an attribute which happens to be called ``traceId`` is left alone.

The tree that ``json`` makes is turned into the arguments of the official message classes, along a
plan made once from their descriptors; they check ranges and UTF-8 and build everything in C.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any, NamedTuple, NoReturn

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import DecodeError, Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from schemas.errors import MalformedMessage
from schemas.signals import Signal

from .json_scalars import Convert, Wrong, converters, shown

__all__ = ["DEPTH_MAX", "REQUESTS", "decode", "encode", "working_bytes"]

REQUESTS: dict[Signal, type[Message]] = {
    Signal.TRACES: ExportTraceServiceRequest,
    Signal.METRICS: ExportMetricsServiceRequest,
    Signal.LOGS: ExportLogsServiceRequest,
}
"""The official message class of each signal's request."""

DEPTH_MAX = 100
"""Messages within messages; the protobuf libraries' own limit."""

_Tree = dict[str, Any]


def decode(signal: Signal, data: bytes) -> bytes:
    """The bytes of an Export*ServiceRequest from its OTLP/JSON.

    Unknown fields are ignored. 64-bit integers may be strings or numbers, field names
    lowerCamelCase or as in the .proto files.

    Raises:
        MalformedMessage: no UTF-8, no JSON, or no such request. The message names the field, such
            as ``resourceSpans[0].scopeSpans[0].spans[3].kind``; the offset is that of the JSON
            error, and 0 where the JSON is good and its content is not.
    """
    tree = _parse(data)
    request = REQUESTS[signal]
    try:
        arguments = _arguments(tree, _plan(request.DESCRIPTOR), 1)
        return request(**arguments).SerializeToString()
    except Wrong as wrong:
        where = "".join(reversed(wrong.path)).lstrip(".")
        raise MalformedMessage(f"not OTLP/JSON: {where or 'request'}: {wrong}") from None
    except (ValueError, TypeError, DecodeError) as error:
        raise MalformedMessage(f"not OTLP/JSON: {error}") from None


def working_bytes(data: bytes) -> int:
    """About what :func:`decode` allocates for ``data`` while it works, never much less.

    Objects cost more than their text, most of all small ones: measured 10 bytes per byte of
    usual telemetry and 50 for nothing but ``{},``. The weights are for CPython 3.11 to 3.13.
    """
    objects = data.count(b"{") + data.count(b"[")
    return 5 * len(data) + 140 * objects + 40 * data.count(b",") + 80 * data.count(b":")


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
    tree = _tree(message, _plan(message.DESCRIPTOR))
    return json.dumps(tree, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def _parse(data: bytes) -> _Tree:
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
    return tree


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


class _Field(NamedTuple):
    """How one field is read and written. ``below`` is set for messages, the others for scalars."""

    name: str
    json_name: str
    repeated: bool
    oneof: str
    below: _Plan | None
    read: Convert
    write: Convert | None


class _Plan:
    """The fields of a message: by JSON name and .proto name for reading, by number for writing."""

    __slots__ = ("by_name", "by_number", "oneofs")

    def __init__(self) -> None:
        self.by_name: dict[str, _Field] = {}
        self.by_number: dict[int, _Field] = {}
        self.oneofs = False


@cache
def _plan(descriptor: Descriptor) -> _Plan:
    return _make_plan(descriptor, {})


def _make_plan(descriptor: Descriptor, made: dict[str, _Plan]) -> _Plan:
    if descriptor.full_name in made:  # AnyValue holds AnyValues
        return made[descriptor.full_name]
    plan = made[descriptor.full_name] = _Plan()
    for field in descriptor.fields:
        oneof = field.containing_oneof
        below = None
        if field.message_type is not None:
            below = _make_plan(field.message_type, made)
        read, write = converters(field)
        entry = _Field(
            name=field.name,
            json_name=field.json_name,
            repeated=field.is_repeated,
            # A proto3 optional is a oneof of its own; it excludes nothing.
            oneof=oneof.name if oneof is not None and len(oneof.fields) > 1 else "",
            below=below,
            read=read,
            write=write,
        )
        plan.oneofs = plan.oneofs or bool(entry.oneof)
        plan.by_name[field.name] = plan.by_name[field.json_name] = entry
        plan.by_number[field.number] = entry
    return plan


def _arguments(tree: Any, plan: _Plan, depth: int) -> _Tree:
    """Constructor arguments of a message from its JSON object."""
    if type(tree) is not dict:
        raise Wrong(f"an object is wanted, not {shown(tree)}")
    if depth > DEPTH_MAX:
        raise Wrong(f"messages are nested more than {DEPTH_MAX} deep")
    arguments: _Tree = {}
    by_name = plan.by_name
    for key, value in tree.items():
        field = by_name.get(key)
        if field is None or value is None:
            continue
        if field.name in arguments:
            raise Wrong(f"{field.json_name} is given twice")
        try:
            if field.repeated:
                arguments[field.name] = _several(value, field, depth)
            elif field.below is not None:
                arguments[field.name] = _arguments(value, field.below, depth + 1)
            else:
                arguments[field.name] = field.read(value)
        except Wrong as wrong:
            wrong.path.append(f".{key}")
            raise
    if plan.oneofs and len(arguments) > 1:
        _check_oneofs(arguments, by_name)
    return arguments


def _several(values: Any, field: _Field, depth: int) -> list[Any]:
    if type(values) is not list:
        raise Wrong(f"an array is wanted, not {shown(values)}")
    read: list[Any] = []
    below = field.below
    try:
        for index, value in enumerate(values):
            read.append(field.read(value) if below is None else _arguments(value, below, depth + 1))
            values[index] = None  # what was read is let go, so that the tree is never there twice
    except Wrong as wrong:
        wrong.path.append(f"[{len(read)}]")
        raise
    return read


def _check_oneofs(arguments: _Tree, by_name: dict[str, _Field]) -> None:
    seen: dict[str, str] = {}
    for name in arguments:
        field = by_name[name]
        if field.oneof and field.oneof in seen:
            raise Wrong(f"{seen[field.oneof]} and {field.json_name} exclude each other")
        if field.oneof:
            seen[field.oneof] = field.json_name


def _tree(message: Message, plan: _Plan) -> _Tree:
    """The JSON object of a message."""
    tree: _Tree = {}
    for descriptor, value in message.ListFields():
        field = plan.by_number[descriptor.number]
        below, write = field.below, field.write
        if field.repeated:
            if below is not None:
                tree[field.json_name] = [_tree(item, below) for item in value]
            else:
                tree[field.json_name] = [write(item) for item in value] if write else list(value)
        elif below is not None:
            tree[field.json_name] = _tree(value, below)
        else:
            tree[field.json_name] = write(value) if write else value
    return tree
