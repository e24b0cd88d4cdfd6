"""The ``ot`` member of a span's W3C tracestate: its sub-keys ``th`` and ``rv``.

Source: W3C Trace Context Level 2, "Tracestate Header"; OpenTelemetry specification, "TraceState
Handling" and "TraceState: Probability Sampling". Whatever the bytes are, there is a rule:

- Members are separated by commas; spaces and tabs around them and empty members mean nothing.
- The first member whose key is ``ot`` counts; further ones are not allowed.
- Sub-keys are ``key:value`` separated by semicolons, keys ``[a-z][a-z0-9]*``, values
  ``[A-Za-z0-9._-]*``. What is not of that form is not there. The first ``th`` and the first
  ``rv`` count.
- ``th`` is 1 to 14, ``rv`` exactly 14 lower-case hexadecimal digits; else they are not there.
- A threshold above the randomness is inconsistent: the span would not be here. It is not there.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streams.wire.compiling import inner, kernel
from streams.wire.memory import address_of, load_u8
from streams.wire.rewrite import check
from streams.wire.scan import SpanScan

__all__ = ["TraceStates", "ot_numbers", "ot_value", "trace_state"]

LOW_56 = np.uint64((1 << 56) - 1)
COMMA, SEMICOLON, COLON, SPACE, TAB = (ord(c) for c in ",;: \t")
# The beginnings that matter, as numbers of three bytes.
OT, TH, RV = (int.from_bytes(text, "little") for text in (b"ot=", b"th:", b"rv:"))
ABSENT, MALFORMED = -1, -2
REFUSED_TH, REFUSED_RV = 1, 2


class TraceStates(NamedTuple):
    """What the tracestates of a message say about sampling; arrays with one row a span."""

    randomness: NDArray[np.uint64]
    """56 bits: ``rv``, else the trace id's last 7 bytes."""
    threshold: NDArray[np.uint64]
    """``th``, 56 bits; 0 where there is none."""
    refused: int
    """Spans with a ``th`` or ``rv`` that was not read: malformed, twice, or inconsistent."""


@inner
def member_stop(a, p, end, separator):
    """Offset of the next separator, or ``end``."""
    while p < end and load_u8(a, p) != separator:
        p += 1
    return p


@inner
def blank(byte):
    """Whether a byte is optional white space."""
    return byte == SPACE or byte == TAB


@inner
def trimmed(a, p, end):
    """A member without the white space around it: start in 32 bits, stop above them."""
    while p < end and blank(load_u8(a, p)):
        p += 1
    while p < end and blank(load_u8(a, end - 1)):
        end -= 1
    return p | (end << 32)


@inner
def begins(a, p, end, beginning):
    """Whether ``[p, end)`` begins with the three bytes of a key and what ends it."""
    return (
        end - p >= 3
        and load_u8(a, p) | load_u8(a, p + 1) << 8 | load_u8(a, p + 2) << 16 == beginning
    )


@inner
def ot_value(a, p, end):
    """The value of the first ``ot`` member: start in 32 bits, stop above them; -1: none."""
    while p < end:
        stop = member_stop(a, p, end, COMMA)
        member = trimmed(a, p, stop)
        first = member & 0xFFFFFFFF
        if begins(a, first, member >> 32, OT):
            return member + 3
        p = stop + 1
    return -1


@inner
def sub_value(a, p, end):
    """Offset of the value of the sub-key in ``[p, end)``, or -1 if it is not of that form."""
    value = np.int64(-1)
    for q in range(p, end):
        byte = load_u8(a, q)
        lower = 97 <= byte <= 122
        digit = 48 <= byte <= 57
        if value < 0:
            if byte == COLON and q > p:
                value = q + 1
            elif not (lower or (digit and q > p)):
                return np.int64(-1)
        elif not (lower or digit or 65 <= byte <= 90 or byte == 46 or byte == 95 or byte == 45):
            return np.int64(-1)
    return value


@inner
def hexadecimal(a, p, end):
    """56-bit number whose leading digits are ``[p, end)``; MALFORMED unless 1 to 14 digits."""
    if end <= p or end - p > 14:
        return np.int64(MALFORMED)
    number = np.int64(0)
    for q in range(p, end):
        byte = load_u8(a, q)
        if 48 <= byte <= 57:
            number = number << 4 | (byte - 48)
        elif 97 <= byte <= 102:
            number = number << 4 | (byte - 87)
        else:
            return np.int64(MALFORMED)
    return number << (4 * (14 - (end - p)))


@inner
def ot_numbers(a, p, end):
    """``th`` and ``rv`` of an ``ot`` value (or ABSENT, MALFORMED), and which were refused.

    That is the sum of REFUSED_TH and REFUSED_RV.
    """
    threshold = np.int64(ABSENT)
    randomness = np.int64(ABSENT)
    refused = 0
    while p < end:
        stop = member_stop(a, p, end, SEMICOLON)
        if begins(a, p, stop, TH):
            number = hexadecimal(a, p + 3, stop)
            if number < 0 or threshold >= 0:
                refused |= REFUSED_TH
            if threshold < 0:
                threshold = number
        elif begins(a, p, stop, RV):
            number = hexadecimal(a, p + 3, stop) if stop - p == 17 else np.int64(MALFORMED)
            if number < 0 or randomness >= 0:
                refused |= REFUSED_RV
            if randomness < 0:
                randomness = number
        p = stop + 1
    return threshold, randomness, refused


@kernel
def read_states(data, start, stop, low, randomness, threshold):
    """Both columns for all spans. Returns how many have a sub-key that was refused."""
    a = address_of(data)
    count = 0
    for i in range(len(low)):
        mine = low[i] & LOW_56
        limit = np.int64(0)
        if stop[i] > start[i]:
            value = ot_value(a, np.int64(start[i]), np.int64(stop[i]))
            if value >= 0:
                th, rv, refused = ot_numbers(a, value & 0xFFFFFFFF, value >> 32)
                if rv >= 0:
                    mine = np.uint64(rv)
                if th > np.int64(mine):
                    refused = REFUSED_TH
                elif th > 0:
                    limit = th
                count += refused != 0
        randomness[i] = mine
        threshold[i] = np.uint64(limit)
    return count


def trace_state(data: bytes, scan: SpanScan) -> TraceStates:
    """Randomness and incoming threshold of every span of ``data``, of which ``scan`` is the scan.

    Never raises for what ``scan`` accepted; see the module for what counts as not there.
    """
    check(data, scan)
    array = np.frombuffer(data, np.uint8)
    array.flags.writeable = False
    randomness = np.empty(scan.items, np.uint64)
    threshold = np.empty(scan.items, np.uint64)
    start, stop = scan.trace_state_start, scan.trace_state_stop
    refused = read_states(array, start, stop, scan.trace_id_low, randomness, threshold)
    return TraceStates(randomness, threshold, int(refused))
