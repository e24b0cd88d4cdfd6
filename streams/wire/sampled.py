"""Requests of the spans that sampling keeps, with what it did written into their tracestate."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streams.wire.compiling import inner, kernel
from streams.wire.copying import fit, length_size
from streams.wire.memory import address_of, copy_bytes, load_u8, store_u8
from streams.wire.rewrite import Oversized, check, copy
from streams.wire.scan import SpanScan
from streams.wire.scratch import scratch
from streams.wire.threshold import GROWTH, new_state
from streams.wire.tree import BODY, END, FRAME, NODE
from streams.wire.walk import skip_field

__all__ = ["Sampled", "sampled"]

_SPAN = 0x12  # ScopeSpans.spans
_TRACE_STATE = 0x1A  # Span.trace_state
_HEAD = 16  # more than tag and length of a span and of its tracestate take


class Sampled(NamedTuple):
    """What ``sampled`` made of a message."""

    pieces: list[bytes]
    """Requests, each of at most the size asked for."""
    oversized: list[Oversized]
    """Kept spans that fit none."""
    shortened: int
    """Spans whose tracestate lost members or sub-keys, because the specifications allow no more
    than 32 members and 256 characters in one."""


@inner
def put_length(target, w, size):
    """Write a length in its shortest form; the offset after it."""
    while size >= 0x80:
        store_u8(target, w, (size & 0x7F) | 0x80)
        size >>= 7
        w += 1
    store_u8(target, w, size)
    return w + 1


@inner
def last_state(a, p, stop):
    """Where the last tracestate field begins, of a Span where it ends at ``stop``.

    And how many bytes all its tracestates take.
    """
    taken = np.int64(0)
    while p < stop:
        q = skip_field(a, p, stop)
        if load_u8(a, p) == _TRACE_STATE:
            taken += q - p
            if q == stop:
                return p, taken
        p = q
    return p, taken


@inner
def place_of_state(a, p, end):
    """Where a tracestate belongs in a Span that has none: after its ids, if these come first."""
    while p < end and (load_u8(a, p) == 0x0A or load_u8(a, p) == 0x12):
        p = skip_field(a, p, end)
    return p


@inner
def copy_without_states(a, p, end, target, w):
    """Copy a Span's fields in ``[p, end)``, all but tracestates; the offset after them."""
    start = p
    while p < end:
        q = skip_field(a, p, end)
        if load_u8(a, p) == _TRACE_STATE:
            copy_bytes(target, w, a, start, p - start)
            w += p - start
            start = q
        p = q
    copy_bytes(target, w, a, start, end - start)
    return w + end - start


@inner
def put_field(target, w, text, size):
    """Write a tracestate that lies at ``text`` in the same area; nothing if it is empty."""
    if size > 0:
        store_u8(target, w, _TRACE_STATE)
        w = put_length(target, w + 1, size)
        copy_bytes(target, w, target, text, size)
    return w + size


@kernel
def rewrite(data, leaves, keep, threshold, low, state_start, state_stop, out, rows):
    """Write the kept spans' fields, tag and length included, one after the other to ``out``.

    ``rows`` gets their leaves, of offsets in ``out``. Returns how many were shortened. ``out``
    has room for twice the data, for _HEAD + GROWTH a kept span, and that twice at the end.
    """
    a = address_of(data)
    target = address_of(out)
    w = np.int64(0)
    count = 0
    shortened = 0
    for i in range(len(keep)):
        if not keep[i]:
            continue
        frame = np.int64(leaves[i, FRAME])
        body = np.int64(leaves[i, BODY])
        end = np.int64(leaves[i, END])
        state = np.int64(state_start[i])
        state_end = np.int64(state_stop[i])
        # The text is made where the span ends at the latest, and copied into its place.
        text = w + (end - frame) + _HEAD + GROWTH
        size, cut = new_state(a, state, state_end, low[i], threshold[i], target, text)
        rows[count, FRAME] = w
        rows[count, NODE] = leaves[i, NODE]
        if size < 0:
            rows[count, BODY] = w + (body - frame)
            copy_bytes(target, w, a, frame, end - frame)
            w += end - frame
        else:
            shortened += cut
            place = np.int64(0)
            taken = np.int64(0)
            if state_end > 0:
                place, taken = last_state(a, body, state_end)
            else:
                place = place_of_state(a, body, end)
            total = end - body - taken
            if size > 0:
                total += 1 + length_size(size) + size
            store_u8(target, w, _SPAN)
            w = put_length(target, w + 1, total)
            rows[count, BODY] = w
            if state_end > 0:
                w = copy_without_states(a, body, place, target, w)
                place = max(place, state_end)
            else:
                copy_bytes(target, w, a, body, place - body)
                w += place - body
            w = put_field(target, w, text, size)
            copy_bytes(target, w, a, place, end - place)
            w += end - place
        rows[count, END] = w
        count += 1
    return shortened


def sampled(
    data: bytes,
    scan: SpanScan,
    keep: NDArray[np.bool_],
    threshold: NDArray[np.uint64],
    max_bytes: int,
) -> Sampled:
    """Requests of the kept spans of ``data``, each with its threshold in its tracestate.

    ``keep`` and ``threshold`` have one row a span; a threshold from 2^56 on means that the
    probability is not known (``streams.sampling.consistent.UNKNOWN``). Spans keep their order and,
    but for the tracestate, every byte; so do the fields of their resources and scopes. Resources
    and scopes without a kept span do not appear. Pieces are filled greedily up to ``max_bytes``.

    The sub-key ``th`` of the tracestate's member ``ot`` becomes the threshold, or the span's own
    (a consistent one) if that is greater: never lowered. Where the probability is not known ``th``
    is taken out, with the ``ot`` member and the tracestate if nothing else is in them. ``rv``,
    other sub-keys and other members stay. If the one ``th`` says it already, the tracestate stays
    as it is. Of several tracestates in a span the last counts, and the others go with it.
    Limits: see ``Sampled.shortened``; the members that go are the last ones.

    Raises ValueError for arrays of another shape. Never raises for what ``scan`` accepted.
    """
    check(data, scan)
    if keep.shape != (scan.items,) or threshold.shape != (scan.items,):
        raise ValueError(
            f"keep and threshold have the shapes {keep.shape} and {threshold.shape}, "
            f"the scan {scan.items} items"
        )
    kept = np.flatnonzero(keep)
    if not len(kept):
        return Sampled([], [], 0)
    room = 2 * len(data) + (_HEAD + GROWTH) * (len(kept) + 2)
    out = scratch.take("spans", room, np.uint8)
    rows = np.empty((len(kept), 4), np.int32)
    array = np.frombuffer(data, np.uint8)
    array.flags.writeable = False
    shortened = rewrite(
        array,
        scan.leaves,
        np.ascontiguousarray(keep, np.bool_),
        np.ascontiguousarray(threshold, np.uint64),
        scan.trace_id_low,
        scan.trace_state_start,
        scan.trace_state_stop,
        out,
        rows,
    )
    source = out[: int(rows[-1, END])]
    source.flags.writeable = False
    part = np.zeros(len(kept), np.int32)
    parts = 1
    oversized = []
    if len(data) + (_HEAD + GROWTH) * len(kept) > max_bytes:
        alone = np.empty(len(kept), np.int64)
        parts = fit(scan.nodes, rows, scan.gaps, max_bytes, part, alone)
        oversized = [
            Oversized(int(kept[k]), int(alone[k]), scan.item_name(data, int(kept[k])))
            for k in np.flatnonzero(part < 0).tolist()
        ]
    pieces = [piece for _, piece in copy(array, scan, part, parts, source, rows)]
    return Sampled(pieces, oversized, int(shortened))
