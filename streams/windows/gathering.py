"""The kernels that gather spans and log records into cells; see ``tables``.

Each takes the items from ``begin`` on and returns where it stopped: at the end, or at an item for
which a table may have no room.
"""

from __future__ import annotations

import numpy as np

from streams.windows import cells as t
from streams.windows.cells import (
    add_bucket,
    add_to,
    bits_of,
    cell_of,
    exemplify,
    extend,
    row_of,
    usable_time,
)
from streams.windows.exponential import bucket_index
from streams.wire.compiling import inner, kernel
from streams.wire.memory import address_of, load_f64, load_i64, mix, store_f64

__all__ = ["KINDS", "add_value", "enter", "gather_logs", "gather_spans", "room"]

KINDS = (
    "spans", "logs", "gauge", "sum", "up_down_sum", "up_down_sum_delta", "histogram",
    "exponential_histogram", "summary",
)  # fmt: skip
"""As in a descriptor; a group's kind is its place here."""
(
    SPANS, LOGS, GAUGE, SUM, UP_DOWN_SUM, UP_DOWN_SUM_DELTA, HISTOGRAM, EXPONENTIAL, SUMMARY,
) = range(9)  # fmt: skip

# Codes of fields that are no attributes.
NAME, KIND, STATUS, SEVERITY = -1, -2, -3, -4
_KINDS_OF_SPANS, _STATUSES, _SEVERITY_LAST = 6, 3, 24
_ERROR = 2
_FIELD = np.uint64(0xFF51AFD7ED558CCD)
_NONE = np.uint64(0)
_ONE = np.uint64(1)
_BYTES = 8


@inner
def known(number, count):
    """A number of an enumeration, 0 where it is none."""
    return number if 0 <= number < count else 0


@inner
def severity_range(number):
    """Place in ``SEVERITIES``: 0 unspecified, then four numbers each."""
    return (number + 3) // 4 if 0 < number <= _SEVERITY_LAST else 0


@inner
def enter(h, field):
    """Fold a field's hash into a group's."""
    return mix(h ^ field, _FIELD) ^ field


@inner
def room(c, rules, buckets):
    """Whether every table can take one more item of all rules."""
    return (
        load_i64(c, t.CELL_COUNT) + rules <= load_i64(c, t.CELL_ROOM)
        and load_i64(c, t.GROUP_COUNT) + rules <= load_i64(c, t.GROUP_ROOM)
        and 2 * (load_i64(c, t.CELL_COUNT) + rules) <= load_i64(c, t.CELL_MASK)
        and 2 * (load_i64(c, t.GROUP_COUNT) + rules) <= load_i64(c, t.GROUP_MASK)
        and 2 * (load_i64(c, t.BUCKET_COUNT) + rules * buckets) <= load_i64(c, t.BUCKET_MASK)
    )


@inner
def add_value(c, cell, value, index):
    """Take a value into a distribution; ``index``: of its absolute value's bucket."""
    add_to(cell, t.C_COUNT, 1)
    store_f64(cell, t.C_SUM, load_f64(cell, _BYTES * t.C_SUM) + value)
    extend(cell, value, value)
    if value == 0.0:
        add_to(cell, t.C_ZERO, 1)
    else:
        add_bucket(c, row_of(c, cell), np.int64(value < 0.0), 0, index, 1)


@kernel
def gather_spans(
    control, begin, starts, ends, statuses, kinds, names, high, low, ids, resource, service,
    codes, stops, seeds, fields, held,
):  # fmt: skip
    """Spans.

    ``codes``: the fields of all rules; ``stops``: where each rule's end; ``seeds``: each rule's
    hash; ``fields``: hashes of attributes, a row each; ``held``: rules per span as bits, empty
    where all rules take every span.
    """
    c = address_of(control)
    rules = len(seeds)
    everything = len(held) == 0
    pane_ms = load_i64(c, t.PANE_MS)
    for i in range(begin, len(ends)):
        if not room(c, rules, 1):
            return i
        time_ms = usable_time(c, ends[i])
        if time_ms < 0:
            continue
        pane = time_ms // pane_ms
        value = 0.0
        index = np.int64(0)
        if starts[i] == _NONE or starts[i] > ends[i]:
            add_to(c, t.NO_DURATION, 1)
        elif ends[i] > starts[i]:
            value = np.float64(ends[i] - starts[i]) / 1e9
            index = bucket_index(bits_of(c, value))
        at = 0
        for r in range(rules):
            stop = stops[r]
            if not everything and (held[i] >> np.uint64(r)) & _ONE == _NONE:
                at = stop
                continue
            h = enter(seeds[r], service[resource[i]])
            while at < stop:
                code = codes[at]
                if code >= 0:
                    h = enter(h, fields[code, i])
                elif code == NAME:
                    h = enter(h, names[i])
                elif code == KIND:
                    h = enter(h, np.uint64(known(np.int64(kinds[i]), _KINDS_OF_SPANS) + 1))
                else:
                    h = enter(h, np.uint64(known(np.int64(statuses[i]), _STATUSES) + 1))
                at += 1
            cell = cell_of(c, max(h, _ONE), r, SPANS, i, pane, -1)
            add_value(c, cell, value, index)
            if statuses[i] == _ERROR:
                add_to(cell, t.C_ERRORS, 1)
            if (high[i] | low[i]) != _NONE:
                exemplify(cell, value, ends[i], high[i], low[i], ids[i])
            add_to(c, t.RULE_ITEMS + r, 1)
    return len(ends)


@kernel
def gather_logs(
    control, begin, times, observed, severities, resource, service, codes, stops, seeds, fields,
    held,
):  # fmt: skip
    """Log records; the arguments as for spans."""
    c = address_of(control)
    rules = len(seeds)
    everything = len(held) == 0
    pane_ms = load_i64(c, t.PANE_MS)
    for i in range(begin, len(times)):
        if not room(c, rules, 0):
            return i
        time_ms = usable_time(c, times[i] if times[i] != _NONE else observed[i])
        if time_ms < 0:
            continue
        pane = time_ms // pane_ms
        at = 0
        for r in range(rules):
            stop = stops[r]
            if not everything and (held[i] >> np.uint64(r)) & _ONE == _NONE:
                at = stop
                continue
            h = enter(seeds[r], service[resource[i]])
            while at < stop:
                code = codes[at]
                if code >= 0:
                    h = enter(h, fields[code, i])
                else:
                    h = enter(h, np.uint64(severity_range(np.int64(severities[i])) + 1))
                at += 1
            add_to(cell_of(c, max(h, _ONE), r, LOGS, i, pane, -1), t.C_COUNT, 1)
            add_to(c, t.RULE_ITEMS + r, 1)
    return len(times)
