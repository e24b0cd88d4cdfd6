"""Set or take out the sampling threshold in a tracestate; the rules are those of ``tracestate``."""

from __future__ import annotations

import numpy as np

from streams.wire.compiling import inner
from streams.wire.memory import copy_bytes, store_u8
from streams.wire.tracestate import (
    ABSENT,
    COMMA,
    LOW_56,
    OT,
    REFUSED_TH,
    RV,
    SEMICOLON,
    TH,
    begins,
    member_stop,
    ot_numbers,
    ot_value,
    sub_value,
    trimmed,
)

__all__ = ["GROWTH", "new_state"]

MEMBERS_MAX = 32
"""Members that a tracestate may have (W3C Trace Context, "list")."""
VALUE_MAX = 256
"""Characters that the value of a member may have, so that of ``ot``, too."""
GROWTH = 24
"""Bytes by which setting ``th`` makes a tracestate longer at most: ``ot=th:``, digits, comma."""

_MAX = 1 << 56


@inner
def put_hexadecimal(target, w, number, digits):
    """Write the first ``digits`` of 14; the offset after them."""
    for k in range(digits):
        nibble = (number >> (52 - 4 * k)) & 15
        store_u8(target, w + k, nibble + (48 if nibble < 10 else 87))
    return w + digits


@inner
def put_beginning(target, w, beginning):
    """Write the three bytes of a key and what ends it; the offset after them."""
    for k in range(3):
        store_u8(target, w + k, (beginning >> (8 * k)) & 0xFF)
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
        w = put_beginning(target, w, TH)
        w = put_hexadecimal(target, w, threshold, significant(threshold))
    if randomness >= 0:
        if w > begin:
            store_u8(target, w, SEMICOLON)
            w += 1
        w = put_beginning(target, w, RV)
        w = put_hexadecimal(target, w, randomness, 14)
    while p < end:
        stop = member_stop(a, p, end, SEMICOLON)
        if not begins(a, p, stop, TH) and not begins(a, p, stop, RV) and sub_value(a, p, stop) >= 0:
            separated = np.int64(w > begin)
            if w + separated + (stop - p) - begin > VALUE_MAX:
                return w, True
            if separated:
                store_u8(target, w, SEMICOLON)
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
    first = value & 0xFFFFFFFF if value >= 0 else end
    last = value >> 32 if value >= 0 else end
    threshold, randomness, refused = ot_numbers(a, first, last)
    wanted = np.int64(given)
    if wanted < 0 or wanted >= _MAX:
        wanted = np.int64(ABSENT)
    elif threshold > wanted:
        mine = randomness if randomness >= 0 else np.int64(low & LOW_56)
        if threshold <= mine:
            wanted = threshold  # never lowered
    if threshold == wanted and not refused & REFUSED_TH and ot_value(a, last, end) < 0:
        return np.int64(-1), False
    w = put_beginning(target, begin, OT)
    w, shortened = put_ot_value(a, first, last, wanted, randomness, target, w)
    members = 1
    if w == begin + 3:
        w = begin
        members = 0
    while p < end:
        stop = member_stop(a, p, end, COMMA)
        member = trimmed(a, p, stop)
        first = member & 0xFFFFFFFF
        size = (member >> 32) - first
        if size > 0 and not begins(a, first, first + size, OT):
            if members == MEMBERS_MAX:
                return w - begin, True
            if members > 0:
                store_u8(target, w, COMMA)
                w += 1
            copy_bytes(target, w, a, first, size)
            w += size
            members += 1
        p = stop + 1
    return w - begin, shortened
