"""The ``ot`` member of a span's W3C tracestate: its sub-keys ``th`` and ``rv``, read and set.

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
from streams.wire.memory import address_of, copy_bytes, load_u8, store_u8
from streams.wire.scan import SpanScan

__all__ = ["GROWTH", "TraceStates", "new_state", "trace_state"]

MEMBERS_MAX = 32
"""Members that a tracestate may have (W3C Trace Context, "list")."""
VALUE_MAX = 256
"""Characters that the value of a member may have, so that of ``ot``, too."""
GROWTH = 24
"""Bytes by which setting ``th`` makes a tracestate longer at most: ``ot=th:``, digits, comma."""

_LOW_56 = np.uint64((1 << 56) - 1)
_MAX = 1 << 56
_COMMA, _SEMICOLON, _EQUALS, _COLON, _SPACE, _TAB = (ord(c) for c in ",;=: \t")
_O, _T, _H, _R, _V = (ord(c) for c in "othrv")
ABSENT, MALFORMED = -1, -2


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
    return byte == _SPACE or byte == _TAB


@inner
def trimmed(a, p, end):
    """A member without the white space around it: start in 32 bits, stop above them."""
    while p < end and blank(load_u8(a, p)):
        p += 1
    while p < end and blank(load_u8(a, end - 1)):
        end -= 1
    return p | (end << 32)


@inner
def is_ot(a, p, end):
    """Whether the member in ``[p, end)`` has the key ``ot``."""
    return (
        end - p >= 3
        and load_u8(a, p) == _O
        and load_u8(a, p + 1) == _T
        and load_u8(a, p + 2) == _EQUALS
    )


@inner
def ot_value(a, p, end):
    """The value of the first ``ot`` member: start in 32 bits, stop above them; -1: none."""
    while p < end:
        stop = member_stop(a, p, end, _COMMA)
        member = trimmed(a, p, stop)
        first = member & 0xFFFFFFFF
        if is_ot(a, first, member >> 32):
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
            if byte == _COLON and q > p:
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
def is_named(a, p, end, first, second):
    """Whether the sub-key in ``[p, end)`` has these two letters, whatever its value is."""
    return (
        end - p >= 3
        and load_u8(a, p) == first
        and load_u8(a, p + 1) == second
        and load_u8(a, p + 2) == _COLON
    )


@inner
def ot_numbers(a, p, end):
    """``th`` and ``rv`` of an ``ot`` value (or ABSENT, MALFORMED), and whether one was refused."""
    threshold = np.int64(ABSENT)
    randomness = np.int64(ABSENT)
    refused = False
    while p < end:
        stop = member_stop(a, p, end, _SEMICOLON)
        if is_named(a, p, stop, _T, _H):
            number = hexadecimal(a, p + 3, stop)
            refused = refused or number < 0 or threshold >= 0
            if threshold < 0:
                threshold = number
        elif is_named(a, p, stop, _R, _V):
            number = hexadecimal(a, p + 3, stop) if stop - p == 17 else np.int64(MALFORMED)
            refused = refused or number < 0 or randomness >= 0
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
        mine = low[i] & _LOW_56
        limit = np.int64(0)
        if stop[i] > start[i]:
            value = ot_value(a, np.int64(start[i]), np.int64(stop[i]))
            if value >= 0:
                th, rv, refused = ot_numbers(a, value & 0xFFFFFFFF, value >> 32)
                if rv >= 0:
                    mine = np.uint64(rv)
                if th > np.int64(mine):
                    refused = True
                elif th > 0:
                    limit = th
                count += refused
        randomness[i] = mine
        threshold[i] = np.uint64(limit)
    return count


@inner
def put_hexadecimal(target, w, number, digits):
    """Write the first ``digits`` of 14; the offset after them."""
    for k in range(digits):
        nibble = (number >> (52 - 4 * k)) & 15
        store_u8(target, w + k, nibble + (48 if nibble < 10 else 87))
    return w + digits


@inner
def put_named(target, w, separated, first, second):
    """Write a sub-key and its colon, after a semicolon if it is not the first."""
    if separated:
        store_u8(target, w, _SEMICOLON)
        w += 1
    store_u8(target, w, first)
    store_u8(target, w + 1, second)
    store_u8(target, w + 2, _COLON)
    return w + 3


@inner
def significant(number):
    """Digits of a threshold without trailing zeros, at least one."""
    digits = 14
    while digits > 1 and number & 15 == 0:
        number >>= 4
        digits -= 1
    return digits


@inner
def put_ot_value(a, p, end, threshold, randomness, target, w):
    """Write ``th``, ``rv`` and the other sub-keys in ``[p, end)``; where it ends, and if cut.

    Sub-keys that would make it longer than VALUE_MAX are left out, the last ones first.
    """
    begin = w
    if threshold >= 0:
        w = put_named(target, w, False, _T, _H)
        w = put_hexadecimal(target, w, threshold, significant(threshold))
    if randomness >= 0:
        w = put_named(target, w, w > begin, _R, _V)
        w = put_hexadecimal(target, w, randomness, 14)
    while p < end:
        stop = member_stop(a, p, end, _SEMICOLON)
        if (
            not is_named(a, p, stop, _T, _H)
            and not is_named(a, p, stop, _R, _V)
            and sub_value(a, p, stop) >= 0
        ):
            separated = np.int64(w > begin)
            if w + separated + (stop - p) - begin > VALUE_MAX:
                return w, True
            if separated:
                store_u8(target, w, _SEMICOLON)
            copy_bytes(target, w + separated, a, p, stop - p)
            w += separated + (stop - p)
        p = stop + 1
    return w, False


@inner
def new_state(a, p, end, low, given, target, begin):
    """Write the tracestate in ``[p, end)`` with the threshold ``given`` (from 2^56 on: unknown).

    Returns its size, -1 if it stays as it is; and whether members or sub-keys were left out
    because there were too many. The ``ot`` member comes first, as one that was changed has to;
    the others follow in their order, without white space around them.
    """
    value = ot_value(a, p, end)
    threshold = np.int64(ABSENT)
    randomness = np.int64(ABSENT)
    if value >= 0:
        threshold, randomness, _ = ot_numbers(a, value & 0xFFFFFFFF, value >> 32)
    wanted = np.int64(given)
    if wanted < 0 or wanted >= _MAX:
        wanted = np.int64(ABSENT)
    elif threshold > wanted:
        mine = randomness if randomness >= 0 else np.int64(low & _LOW_56)
        if threshold <= mine:
            wanted = threshold  # never lowered
    if threshold == wanted:
        return np.int64(-1), False
    store_u8(target, begin, _O)
    store_u8(target, begin + 1, _T)
    store_u8(target, begin + 2, _EQUALS)
    w = begin + 3
    shortened = False
    first = value & 0xFFFFFFFF if value >= 0 else end
    last = value >> 32 if value >= 0 else end
    w, shortened = put_ot_value(a, first, last, wanted, randomness, target, w)
    members = 1
    if w == begin + 3:
        w = begin
        members = 0
    while p < end:
        stop = member_stop(a, p, end, _COMMA)
        member = trimmed(a, p, stop)
        first = member & 0xFFFFFFFF
        size = (member >> 32) - first
        if size > 0 and not is_ot(a, first, first + size):
            if members == MEMBERS_MAX:
                return w - begin, True
            if members > 0:
                store_u8(target, w, _COMMA)
                w += 1
            copy_bytes(target, w, a, first, size)
            w += size
            members += 1
        p = stop + 1
    return w - begin, shortened


def trace_state(data: bytes, scan: SpanScan) -> TraceStates:
    """Randomness and incoming threshold of every span of ``data``, of which ``scan`` is the scan.

    Never raises for what ``scan`` accepted; see the module for what counts as not there.
    """
    array = np.frombuffer(data, np.uint8)
    array.flags.writeable = False
    randomness = np.empty(scan.items, np.uint64)
    threshold = np.empty(scan.items, np.uint64)
    start, stop = scan.trace_state_start, scan.trace_state_stop
    refused = read_states(array, start, stop, scan.trace_id_low, randomness, threshold)
    return TraceStates(randomness, threshold, int(refused))
