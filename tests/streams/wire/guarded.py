"""Scan mutated requests that lie against unreadable pages; a read beyond them kills the process.

They are counted, too; of spans, tracestates and attributes are read and kept ones are written, of
data points everything is read, also by the scan of what the request was before.

Run by test_memory_safety.py: ``python -m tests.streams.wire.guarded SEED ROUNDS``.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import random
import sys

import numpy as np

from schemas.errors import MalformedMessage
from schemas.signals import Signal
from streams import wire
from streams.wire.counting import count_bytes
from streams.wire.scan import Scan, scan_bytes
from tests.streams.wire.test_lookup import FIELDS, fields_of
from tests.streams.wire.test_lookup import sample as attributes
from tests.streams.wire.test_malformed import sample
from tests.streams.wire.test_points import histograms
from tests.streams.wire.test_sampled import rich_in_states

PAGE = mmap.PAGESIZE
ROOM = 2 * PAGE
POINT_FIELDS = fields_of(Signal.METRICS)


class Guarded:
    """Memory of two pages with an unreadable page before and after."""

    def __init__(self) -> None:
        self.pages = mmap.mmap(-1, ROOM + 2 * PAGE)
        self.whole = np.frombuffer(self.pages, np.uint8)
        base = self.whole.ctypes.data
        libc = ctypes.CDLL(None, use_errno=True)
        for at in (base, base + PAGE + ROOM):
            if libc.mprotect(ctypes.c_void_p(at), ctypes.c_size_t(PAGE), 0):
                raise OSError(ctypes.get_errno(), "mprotect")
        self.room = self.whole[PAGE : PAGE + ROOM]

    def at_the_end(self, data: bytes) -> np.ndarray:
        place = self.room[ROOM - len(data) :]
        place[:] = np.frombuffer(data, np.uint8)
        return place

    def at_the_start(self, data: bytes) -> np.ndarray:
        place = self.room[: len(data)]
        place[:] = np.frombuffer(data, np.uint8)
        return place


def mutated(rng: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.randint(0, 3)):
        at = rng.randrange(len(changed))
        changed[at] = rng.choice([0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)])
    return bytes(changed[: rng.choice([len(changed), rng.randint(0, len(changed))])])


def use(array: np.ndarray, scan: Scan) -> None:
    """Everything that reads a message by its scan."""
    if isinstance(scan, wire.PointScan):
        said = wire.points(array, scan)  # type: ignore[arg-type]
        wire.stream_identity(array, scan, said)  # type: ignore[arg-type]
        wire.lookup(array, scan, POINT_FIELDS)  # type: ignore[arg-type]
        return
    assert isinstance(scan, wire.SpanScan)
    states = wire.trace_state(array, scan)  # type: ignore[arg-type]  # any buffer will do
    wire.lookup(array, scan, FIELDS)  # type: ignore[arg-type]
    wire.service_hash(array, scan)  # type: ignore[arg-type]
    keep = states.randomness % 3 != 0
    threshold = states.randomness // 2
    wire.sampled(array, scan, keep, threshold, ROOM)  # type: ignore[arg-type]


def use_items(rng: random.Random, guarded: Guarded, rounds: int) -> int:
    """Damage requests that are rich in what is read; how many scans were of other bytes."""
    foreign = 0
    spans = [rich_in_states(), attributes(), sample(Signal.TRACES)]
    samples = [(Signal.TRACES, each) for each in spans]
    samples += [(Signal.METRICS, sample(Signal.METRICS)), (Signal.METRICS, histograms())]
    for _ in range(rounds):
        signal, whole = rng.choice(samples)
        data = mutated(rng, whole)
        for place in (guarded.at_the_end, guarded.at_the_start):
            array = place(whole)
            array.flags.writeable = False
            scan = scan_bytes(signal, array, False)
            array = place(data)
            array.flags.writeable = False
            if len(data) == len(whole):
                use(array, scan)
                foreign += 1
            with contextlib.suppress(MalformedMessage):
                use(array, scan_bytes(signal, array, False))
    return foreign


def main() -> None:
    rng = random.Random(int(sys.argv[1]))
    guarded = Guarded()
    accepted = refused = 0
    if sys.argv[2] == "beyond":  # shows that the guard works
        from streams.wire.compiling import kernel
        from streams.wire.memory import address_of, load_u8

        @kernel
        def read(array, at):
            return load_u8(address_of(array), at)

        print(read(guarded.room, int(sys.argv[3])))
        return
    for _ in range(int(sys.argv[2])):
        for signal in Signal:
            data = mutated(rng, sample(signal))
            for place in (guarded.at_the_end, guarded.at_the_start):
                array = place(data)
                array.flags.writeable = False
                with contextlib.suppress(MalformedMessage):
                    count_bytes(signal, array)
                try:
                    scan_bytes(signal, array, False)
                    accepted += 1
                except MalformedMessage:
                    refused += 1
    print(accepted, refused, use_items(rng, guarded, int(sys.argv[2]) // 3))


if __name__ == "__main__":
    main()
