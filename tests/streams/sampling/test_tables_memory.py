"""What the tables take when they are full, while they grow, and after a burst."""

from __future__ import annotations

import numpy as np

from streams.sampling import absorbing, fingerprints, interning, keeping, root_lags, slots
from streams.sampling.dropped_traces import DroppedTraces
from streams.sampling.kept_traces import KeptTraces
from streams.sampling.open_traces import OpenTraces
from streams.sampling.warming import warm_up_tables
from tests.streams.sampling.batches import facts_of, scan_of

FIELDS = 2
BYTES_A_TRACE = 150
TRACES, BATCH = 1_000_000, 50_000


def absorb(opened: OpenTraces, first_id: int, count: int, offset: int) -> None:
    ids = np.arange(first_id, first_id + count, dtype=np.uint64)
    scan = scan_of({"trace_id_high": ids, "trace_id_low": ids, "stop": 500}, count)
    kept, dropped = KeptTraces(1, 1), DroppedTraces(1 << 10, 1)
    opened.absorb(scan, facts_of(scan, FIELDS), offset, offset, 0, kept=kept, dropped=dropped)


def test_a_million_open_traces() -> None:
    opened = OpenTraces(TRACES, FIELDS)
    empty = opened.touched_bytes
    assert empty < 10_000
    for number in range(TRACES // BATCH):
        absorb(opened, number * BATCH + 1, BATCH, number)
        assert opened.touched_bytes - empty <= BYTES_A_TRACE * len(opened)
    assert len(opened) == TRACES
    full = opened.touched_bytes
    # Rows of those that left are used again.
    taken = opened.oldest(TRACES // 2)
    assert taken.trace_id_low.tolist() == list(range(1, TRACES // 2 + 1))
    absorb(opened, TRACES + 1, TRACES // 2, 100)
    assert (len(opened), opened.touched_bytes) == (TRACES, full)
    assert opened.first_offset == TRACES // 2 // BATCH
    # And all is given back when none is open.
    due = opened.due(10**6)
    assert len(due.trace_id_low) == TRACES
    assert opened.touched_bytes == empty
    absorb(opened, 1, 10, 101)
    assert opened.due(10**6).trace_id_low.tolist() == list(range(1, 11))


def test_more_traces_than_there_is_address_space_for() -> None:
    opened = OpenTraces(1, FIELDS)
    absorb(opened, 1, 100_000, 0)
    absorb(opened, 50_001, 100_000, 1)
    due = opened.due(10**6)
    assert due.trace_id_low.tolist() == list(range(1, 150_001))
    assert due.spans.tolist() == [1] * 50_000 + [2] * 50_000 + [1] * 50_000


def test_kernels_are_compiled_once() -> None:
    """Another layout of an array, or a number as another type, would compile them again."""
    warm_up_tables()
    test_more_traces_than_there_is_address_space_for()
    modules = (absorbing, fingerprints, interning, keeping, root_lags, slots)
    kernels = [k for m in modules for k in vars(m).values() if hasattr(k, "nopython_signatures")]
    entries = [k for k in kernels if k.targetoptions.get("nogil")]
    assert len(entries) > 10
    assert {k.__name__: len(k.nopython_signatures) for k in entries} == {
        k.__name__: 1 for k in entries
    }
