"""What a new series is: read from one of its points, by the protobuf library; it is done once."""

from __future__ import annotations

from typing import Any

from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    ExponentialHistogramDataPoint,
    HistogramDataPoint,
    NumberDataPoint,
    SummaryDataPoint,
)

from schemas.config.windows import WindowRule
from streams import wire

from .intake import Points
from .series import Attributes, Description, Service

__all__ = ["describe"]

_POINTS: dict[int, Any] = {
    5: NumberDataPoint,
    7: NumberDataPoint,
    9: HistogramDataPoint,
    10: ExponentialHistogramDataPoint,
    11: SummaryDataPoint,
}
"""Messages by field of Metric.data."""
_TEXT_MAX = 500
"""Characters of a text that names a series."""


def describe(points: Points, point: int, rule: WindowRule, tenant: str) -> Description:
    """The series of a point. Texts are cut at 500 characters."""
    scan = points.scan
    service = _short(scan.service_name(points.data, int(scan.resource[point])))
    body = points.data[int(scan.start[point]) : int(scan.stop[point])]
    parsed = _POINTS[int(scan.data[point])].FromString(body)
    attributes: Attributes = tuple(
        sorted((_short(each.key), _value(each.value)) for each in parsed.attributes)
    )
    name = points.name(point)
    return Description(Service(_short(tenant), service), name, attributes, points.kind(point, rule))


def _value(value: AnyValue) -> str | bool | int | float:
    kind = value.WhichOneof("value")
    if kind in ("bool_value", "int_value", "double_value"):
        found: bool | int | float = getattr(value, kind)
        return found
    return _short(
        value.string_value if kind == "string_value" else "" if kind is None else str(value)
    )


def _short(text: str) -> str:
    """A text that many of fit into a record; what is cut has its hash, so that texts differ."""
    if len(text) <= _TEXT_MAX:
        return text
    return f"{text[: _TEXT_MAX - 17]}…{wire.hash64(text.encode()):016x}"
