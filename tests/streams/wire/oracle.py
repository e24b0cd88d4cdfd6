"""What the official protobuf library says about a request: the truth for the wire engine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from google.protobuf.message import DecodeError, Message

from schemas.signals import Signal
from streams import wire
from tests.strategies import REQUESTS

DATA_KINDS = {5: "gauge", 7: "sum", 9: "histogram", 10: "exponential_histogram", 11: "summary"}
STRICTER = (
    "a known field has the wrong wire type",
    "a group, which OTLP does not use",
    "a field tag is not in its shortest form",
    "a metric has data of two kinds",
)
"""What the engine refuses on purpose although protobuf parses it."""


class Item(NamedTuple):
    resource: int
    scope: int
    metric: int
    message: Any
    envelopes: tuple[Message, ...]
    """Request, Resource*, Scope*, and for points Metric; in full."""


def parse(signal: Signal, data: bytes) -> Any | None:
    try:
        return REQUESTS[signal].FromString(data)
    except DecodeError:
        return None


def items(signal: Signal, request: Any) -> Iterator[Item]:
    scope_index = metric_index = -1
    groups = getattr(request, request.DESCRIPTOR.fields[0].name)
    for resource_index, group in enumerate(groups):
        for scoped in getattr(group, group.DESCRIPTOR.fields_by_number[2].name):
            scope_index += 1
            for child in getattr(scoped, scoped.DESCRIPTOR.fields_by_number[2].name):
                above = (request, group, scoped)
                if signal != Signal.METRICS:
                    yield Item(resource_index, scope_index, -1, child, above)
                    continue
                metric_index += 1
                kind = child.WhichOneof("data")
                if kind:
                    for point in getattr(child, kind).data_points:
                        yield Item(
                            resource_index, scope_index, metric_index, point, (*above, child)
                        )


def bare(message: Message) -> bytes:
    """A message without its children (items and what is above them), deterministic."""
    copy = type(message)()
    copy.CopyFrom(message)
    name = message.DESCRIPTOR.name
    if name == "Metric":
        kind = copy.WhichOneof("data")  # type: ignore[attr-defined]
        if kind:
            getattr(copy, kind).ClearField("data_points")
    else:
        number = 1 if name.startswith("Export") else 2
        copy.ClearField(copy.DESCRIPTOR.fields_by_number[number].name)
    return copy.SerializeToString(deterministic=True)


def flat(signal: Signal, request: Any) -> list[tuple[bytes, ...]]:
    """Every item with the content of all its envelopes: what a copy must not change."""
    known: dict[int, bytes] = {}

    def cached(message: Message) -> bytes:
        if id(message) not in known:
            known[id(message)] = bare(message)
        return known[id(message)]

    return [
        (item.message.SerializeToString(deterministic=True), *map(cached, item.envelopes))
        for item in list(items(signal, request))
    ]


def content(signal: Signal, data: bytes) -> list[tuple[bytes, ...]]:
    return flat(signal, REQUESTS[signal].FromString(data))


def number(raw: bytes) -> int:
    return int.from_bytes(raw, "big")


def expected_columns(signal: Signal, item: Item) -> dict[str, Any]:
    """Values of the columns that do not speak of byte offsets or hashes."""
    x = item.message
    common = {"resource": item.resource, "scope": item.scope}
    if signal == Signal.METRICS:
        kind = item.envelopes[3].WhichOneof("data")  # type: ignore[attr-defined]
        data = getattr(item.envelopes[3], kind)
        return {
            **common,
            "time": x.time_unix_nano,
            "start_time": x.start_time_unix_nano,
            "metric": item.metric,
            "data": {name: n for n, name in DATA_KINDS.items()}[kind],
            "temporality": getattr(data, "aggregation_temporality", 0),
            "monotonic": getattr(data, "is_monotonic", False),
        }
    trace_id = x.trace_id if len(x.trace_id) == 16 else b""
    ids = {
        "trace_id_high": number(trace_id[:8]),
        "trace_id_low": number(trace_id[8:]),
        "span_id": number(x.span_id) if len(x.span_id) == 8 else 0,
    }
    if signal == Signal.LOGS:
        return {
            **common,
            **ids,
            "time": x.time_unix_nano,
            "observed_time": x.observed_time_unix_nano,
            "severity": x.severity_number,
        }
    return {
        **common,
        **ids,
        "parent_span_id": number(x.parent_span_id) if len(x.parent_span_id) == 8 else 0,
        "start_time": x.start_time_unix_nano,
        "end_time": x.end_time_unix_nano,
        "kind": x.kind,
        "status": x.status.code,
    }


def assert_scan(signal: Signal, data: bytes, request: Any, scan: wire.Scan) -> None:
    """Every column, range and name of the scan is what the official library read."""
    found = list(items(signal, request))
    assert scan.items == len(found)
    expected = [expected_columns(signal, item) for item in found]
    for name in expected[0] if expected else ():
        assert scan.column(name).tolist() == [row[name] for row in expected], name
    starts, stops = scan.start.tolist(), scan.stop.tolist()
    for item, start, stop in zip(found, starts, stops, strict=True):
        body = type(item.message).FromString(data[start:stop])
        # As bytes: a NaN is not equal to itself.
        assert body.SerializeToString(deterministic=True) == item.message.SerializeToString(
            deterministic=True
        )
    if isinstance(scan, wire.SpanScan):
        for text in ("name", "trace_state"):
            first, last = scan.column(f"{text}_start"), scan.column(f"{text}_stop")
            ranges = zip(first.tolist(), last.tolist(), strict=True)
            assert [data[a:b].decode() for a, b in ranges] == [
                getattr(item.message, text) for item in found
            ]
        if found:
            assert scan.span_name(data, 0) == found[0].message.name
    elif isinstance(scan, wire.PointScan):
        names = [item.envelopes[3].name for item in found]  # type: ignore[attr-defined]
        assert [scan.item_name(data, at) for at in range(len(found))] == names
    groups = getattr(request, request.DESCRIPTOR.fields[0].name)
    assert scan.resources == len(groups)


def wrong_ids(signal: Signal, message: Any) -> bool:
    """Whether an item has an id that strict_ids refuses."""
    if signal == Signal.TRACES:
        wrong = not (
            len(message.trace_id) == 16
            and any(message.trace_id)
            and len(message.span_id) == 8
            and any(message.span_id)
            and len(message.parent_span_id) in (0, 8)
        )
        pairs = [(x.trace_id, x.span_id) for x in message.links]
    else:
        wrong = False
        pairs = (
            [(message.trace_id, message.span_id)]
            if signal == Signal.LOGS
            else [(x.trace_id, x.span_id) for x in getattr(message, "exemplars", ())]
        )
    return wrong or any(len(t) not in (0, 16) or len(s) not in (0, 8) for t, s in pairs)
