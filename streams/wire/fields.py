"""Every message type and field of OTLP, as the table that the walker goes by.

Source: opentelemetry-proto 1.x (``collector/*/v1`` and what they reach). A test compares this
table with the descriptors of the installed ``opentelemetry-proto``. Fields that a newer protocol
adds are unknown fields here: skipped by wire type and carried along unchanged.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["FIELDS", "MESSAGES", "NO_FIELDS", "NUMBERS", "ROW", "Field", "Kind"]


class Kind(IntEnum):
    """How the content of a field is checked."""

    UNKNOWN = 0
    VARINT = 1
    FIXED64 = 2
    FIXED32 = 3
    STRING = 4
    BYTES = 5
    MESSAGE = 6
    VARINTS = 7  # repeated scalars: packed or not, a parser must accept both
    FIXED64S = 8
    TRACE_ID = 9  # 16 bytes, or empty where the field is optional
    SPAN_ID = 10
    CHILD = 11  # an inner node or an item: the tree holds it, not the walker


class Field(NamedTuple):
    """One row of the table; ``message`` names the type of a submessage."""

    kind: Kind
    message: str = ""


V, F64, F32 = Field(Kind.VARINT), Field(Kind.FIXED64), Field(Kind.FIXED32)
S, B, VS, F64S = Field(Kind.STRING), Field(Kind.BYTES), Field(Kind.VARINTS), Field(Kind.FIXED64S)
TRACE_ID, SPAN_ID = Field(Kind.TRACE_ID), Field(Kind.SPAN_ID)


def _message(name: str) -> Field:
    return Field(Kind.MESSAGE, name)


def _child(name: str) -> Field:
    return Field(Kind.CHILD, name)


KV, ANY, EXEMPLAR = _message("KeyValue"), _message("AnyValue"), _message("Exemplar")
RESOURCE, SCOPE = _message("Resource"), _message("InstrumentationScope")

MESSAGES: dict[str, dict[int, Field]] = {
    # common
    "KeyValue": {1: S, 2: ANY, 3: V},
    "AnyValue": {
        1: S,
        2: V,
        3: V,
        4: F64,
        5: _message("ArrayValue"),
        6: _message("KeyValueList"),
        7: B,
        8: V,
    },
    "ArrayValue": {1: ANY},
    "KeyValueList": {1: KV},
    "EntityRef": {1: S, 2: S, 3: S, 4: S},
    "Resource": {1: KV, 2: V, 3: _message("EntityRef")},
    "InstrumentationScope": {1: S, 2: S, 3: KV, 4: V},
    # traces
    "ExportTraceServiceRequest": {1: _child("ResourceSpans")},
    "ResourceSpans": {1: RESOURCE, 2: _child("ScopeSpans"), 3: S},
    "ScopeSpans": {1: SCOPE, 2: _child("Span"), 3: S},
    "Span": {
        1: TRACE_ID,
        2: SPAN_ID,
        3: S,
        4: SPAN_ID,
        5: S,
        6: V,
        7: F64,
        8: F64,
        9: KV,
        10: V,
        11: _message("Event"),
        12: V,
        13: _message("Link"),
        14: V,
        15: _message("Status"),
        16: F32,
    },
    "Event": {1: F64, 2: S, 3: KV, 4: V},
    "Link": {1: TRACE_ID, 2: SPAN_ID, 3: S, 4: KV, 5: V, 6: F32},
    "Status": {2: S, 3: V},
    # logs
    "ExportLogsServiceRequest": {1: _child("ResourceLogs")},
    "ResourceLogs": {1: RESOURCE, 2: _child("ScopeLogs"), 3: S},
    "ScopeLogs": {1: SCOPE, 2: _child("LogRecord"), 3: S},
    "LogRecord": {
        1: F64,
        2: V,
        3: S,
        5: ANY,
        6: KV,
        7: V,
        8: F32,
        9: TRACE_ID,
        10: SPAN_ID,
        11: F64,
        12: S,
    },
    # metrics
    "ExportMetricsServiceRequest": {1: _child("ResourceMetrics")},
    "ResourceMetrics": {1: RESOURCE, 2: _child("ScopeMetrics"), 3: S},
    "ScopeMetrics": {1: SCOPE, 2: _child("Metric"), 3: S},
    "Metric": {
        1: S,
        2: S,
        3: S,
        5: _child("Gauge"),
        7: _child("Sum"),
        9: _child("Histogram"),
        10: _child("ExponentialHistogram"),
        11: _child("Summary"),
        12: KV,
    },
    "Gauge": {1: _child("NumberDataPoint")},
    "Sum": {1: _child("NumberDataPoint"), 2: V, 3: V},
    "Histogram": {1: _child("HistogramDataPoint"), 2: V},
    "ExponentialHistogram": {1: _child("ExponentialHistogramDataPoint"), 2: V},
    "Summary": {1: _child("SummaryDataPoint")},
    "NumberDataPoint": {2: F64, 3: F64, 4: F64, 5: EXEMPLAR, 6: F64, 7: KV, 8: V},
    "HistogramDataPoint": {
        2: F64,
        3: F64,
        4: F64,
        5: F64,
        6: F64S,
        7: F64S,
        8: EXEMPLAR,
        9: KV,
        10: V,
        11: F64,
        12: F64,
    },
    "ExponentialHistogramDataPoint": {
        1: KV,
        2: F64,
        3: F64,
        4: F64,
        5: F64,
        6: V,
        7: F64,
        8: _message("Buckets"),
        9: _message("Buckets"),
        10: V,
        11: EXEMPLAR,
        12: F64,
        13: F64,
        14: F64,
    },
    "SummaryDataPoint": {
        2: F64,
        3: F64,
        4: F64,
        5: F64,
        6: _message("ValueAtQuantile"),
        7: KV,
        8: V,
    },
    "Exemplar": {2: F64, 3: F64, 4: SPAN_ID, 5: TRACE_ID, 6: F64, 7: KV},
    "Buckets": {1: V, 2: VS},
    "ValueAtQuantile": {1: F64, 2: F64},
}

NUMBERS = {name: number for number, name in enumerate(MESSAGES)}
"""Number of each message type: its block of rows in ``FIELDS``."""

NO_FIELDS = len(MESSAGES)
"""Number of a message type without known fields: for the walker everything in it is opaque."""

ROW = 32
"""Rows per message type; higher field numbers are unknown everywhere."""

_WIRE_TYPES = {
    Kind.UNKNOWN: (0, 1, 2, 5),
    Kind.VARINT: (0,),
    Kind.FIXED64: (1,),
    Kind.FIXED32: (5,),
    Kind.VARINTS: (0, 2),
    Kind.FIXED64S: (1, 2),
}


def _table() -> NDArray[np.int32]:
    """Bits 0-7: allowed wire types; 8-15: kind; 16 and up: number of the submessage's type."""
    table = np.zeros((len(MESSAGES) + 1) * ROW, np.int32)
    for type_number, fields in enumerate((*MESSAGES.values(), {})):
        for number in range(ROW):
            field = fields.get(number, Field(Kind.UNKNOWN))
            allowed = sum(1 << wire_type for wire_type in _WIRE_TYPES.get(field.kind, (2,)))
            message = NUMBERS.get(field.message, 0)
            table[type_number * ROW + number] = allowed | field.kind << 8 | message << 16
    return table


FIELDS = _table()
