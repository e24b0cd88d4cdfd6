"""What can be wrong with a message. A kernel returns one negative number, Python raises."""

from __future__ import annotations

from schemas.errors import MalformedMessage
from streams.wire.compiling import inner

__all__ = ["GROW", "fault", "raise_fault"]

TRUNCATED = 1
VARINT = 2
TAG = 3
FIELD_ZERO = 4
WIRE_TYPE = 5
GROUP = 6
LENGTH = 7
UTF8 = 8
DEPTH = 9
TRACE_ID = 10
SPAN_ID = 11
NO_TRACE_ID = 12
NO_SPAN_ID = 13
PACKED = 14
ONEOF = 15
NO_WIRE_TYPE = 16
GROW = 63

_MESSAGES = {
    TRUNCATED: "the message ends inside a field",
    VARINT: "a varint is longer than its type allows",
    TAG: "a field tag is not in its shortest form or beyond 32 bits",
    FIELD_ZERO: "field number 0",
    WIRE_TYPE: "a known field has the wrong wire type",
    GROUP: "a group, which OTLP does not use",
    LENGTH: "a length reaches beyond the enclosing message",
    UTF8: "a string is not UTF-8",
    DEPTH: "messages are nested more than 100 deep",
    TRACE_ID: "a trace id has the wrong length",
    SPAN_ID: "a span id has the wrong length",
    NO_TRACE_ID: "a span without a valid trace id",
    NO_SPAN_ID: "a span without a valid span id",
    PACKED: "a packed field does not end with an element",
    ONEOF: "a metric has data of two kinds",
    NO_WIRE_TYPE: "an undefined wire type",
}


@inner
def fault(code: int, offset: int) -> int:
    """Code and byte offset in one negative number; results that are offsets are not negative."""
    return -((offset << 6) | code)


def raise_fault(result: int) -> None:
    """Raise MalformedMessage for what ``fault`` encoded."""
    raise MalformedMessage(_MESSAGES[-result & 63], -result >> 6)
