"""Which partition an item belongs to.

``fnv1a`` is what the Collector's Kafka exporter chooses with ``partition_traces_by_id``. Its key
is the trace id as 32 lower-case hex digits. Its producer (franz-go, in
``internal/kafka/franz_client.go``: ``kgo.StickyKeyPartitioner(kgo.SaramaCompatHasher(fnv32a))``)
and sarama's ``NewHashPartitioner`` before it hash the key with 32-bit FNV-1a, take the result as
a signed number modulo the number of partitions, and negate what is negative.

``murmur2`` is Apache Kafka's default for records with a key
(``Utils.toPositive(Utils.murmur2(key)) % partitions``), here with the same hex key.

Resources have no key that others agree on; ours is their hash as 8 bytes, big-endian.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from streams.wire.compiling import inner, kernel
from streams.wire.scan import LogScan, Scan, SpanScan

__all__ = [
    "Partitioner",
    "partition_by_resource",
    "partition_by_trace",
    "partition_of_trace",
]

Partitioner = Literal["fnv1a", "murmur2"]

_M = np.uint32(0x5BD1E995)
_PRIME = np.uint32(16777619)
_BASIS = np.uint32(2166136261)
_MURMUR_SEED = np.uint32(0x9747B28C)


@inner
def hex_digit(nibble):
    """Lower-case ASCII digit of a number below 16."""
    return nibble + np.uint32(48) + (np.uint32(39) if nibble > np.uint32(9) else np.uint32(0))


@inner
def murmur_word(h, word):
    """One step of murmur2 over four bytes of the key."""
    word = np.uint32(word * _M)
    word ^= word >> np.uint32(24)
    return np.uint32(np.uint32(h * _M) ^ np.uint32(word * _M))


@inner
def murmur_end(h, partitions):
    """Partition for a finished murmur2."""
    h = np.uint32((h ^ (h >> np.uint32(13))) * _M)
    h ^= h >> np.uint32(15)
    return np.int32(h & np.uint32(0x7FFFFFFF)) % np.int32(partitions)


@inner
def sarama_end(h, partitions):
    """Partition for a finished FNV-1a: the remainder as Go takes it, then its magnitude."""
    signed = np.int64(np.int32(h))
    return np.int32((-signed if signed < 0 else signed) % np.int64(partitions))


@kernel
def by_trace(high, low, valid, partitions, murmur, out):
    """Partition of each trace id; -1 where ``valid`` is False."""
    hashes = np.empty(256, np.uint32)
    for first in range(0, len(out), 256):
        size = min(256, len(out) - first)
        # Digit by digit over a block of ids: the steps of one hash depend on each other, those
        # of different ids do not, so that this is vector code.
        if murmur:
            for i in range(size):
                hashes[i] = _MURMUR_SEED ^ np.uint32(32)
            for step in range(8):
                shift = np.uint64(48 - 16 * (step & 3))
                for i in range(size):
                    half = high[first + i] if step < 4 else low[first + i]
                    two = np.uint32((half >> shift) & np.uint64(0xFFFF))
                    word = np.uint32(hex_digit(two >> np.uint32(12)))
                    word |= hex_digit((two >> np.uint32(8)) & np.uint32(15)) << np.uint32(8)
                    word |= hex_digit((two >> np.uint32(4)) & np.uint32(15)) << np.uint32(16)
                    word |= hex_digit(two & np.uint32(15)) << np.uint32(24)
                    hashes[i] = murmur_word(hashes[i], word)
        else:
            for i in range(size):
                hashes[i] = _BASIS
            for step in range(32):
                shift = np.uint64(60 - 4 * (step & 15))
                for i in range(size):
                    half = high[first + i] if step < 16 else low[first + i]
                    nibble = np.uint32((half >> shift) & np.uint64(15))
                    hashes[i] = np.uint32((hashes[i] ^ hex_digit(nibble)) * _PRIME)
        for i in range(size):
            if not valid[first + i]:
                out[first + i] = -1
            elif murmur:
                out[first + i] = murmur_end(hashes[i], partitions)
            else:
                out[first + i] = sarama_end(hashes[i], partitions)


@kernel
def by_resource(hashes, resource, valid, partitions, murmur, out):
    """Partition of each item's resource; -1 where ``valid`` is False."""
    last = -1
    partition = np.int32(0)
    for i in range(len(out)):
        if resource[i] != last:
            last = resource[i]
            key = hashes[last]
            if murmur:
                h = _MURMUR_SEED ^ np.uint32(8)
                for shift in (np.uint64(32), np.uint64(0)):
                    half = np.uint32(key >> shift)
                    word = (half >> np.uint32(24)) | ((half >> np.uint32(8)) & np.uint32(0xFF00))
                    word |= (half << np.uint32(24)) | ((half & np.uint32(0xFF00)) << np.uint32(8))
                    h = murmur_word(h, np.uint32(word))
                partition = murmur_end(h, partitions)
            else:
                f = _BASIS
                for k in range(8):
                    byte = np.uint32((key >> np.uint64(56 - 8 * k)) & np.uint64(255))
                    f = np.uint32((f ^ byte) * _PRIME)
                partition = sarama_end(f, partitions)
        out[i] = partition if valid[i] else np.int32(-1)


def _check(partitions: int, partitioner: str) -> bool:
    if partitions < 1:
        raise ValueError(f"partitions must be at least 1, not {partitions}")
    if partitioner not in ("fnv1a", "murmur2"):
        raise ValueError(f"partitioner must be fnv1a or murmur2, not {partitioner!r}")
    return partitioner == "murmur2"


def partition_by_trace(
    scan: Scan, partitions: int, partitioner: Partitioner = "fnv1a"
) -> NDArray[np.int32]:
    """Partition of each item by its trace id; -1 for an item that is not valid.

    For spans and log records. A record outside of any trace goes where its resource goes.
    """
    if not isinstance(scan, SpanScan | LogScan):
        raise TypeError("data points have no trace id; partition them by resource")
    murmur = _check(partitions, partitioner)
    out = np.empty(scan.items, np.int32)
    high, low = scan.trace_id_high, scan.trace_id_low
    by_trace(high, low, scan.valid, partitions, murmur, out)
    if isinstance(scan, LogScan):
        outside = (high | low) == 0
        if outside.any():
            resources = partition_by_resource(scan, partitions, partitioner)
            out[outside] = resources[outside]
    return out


def partition_by_resource(
    scan: Scan, partitions: int, partitioner: Partitioner = "fnv1a"
) -> NDArray[np.int32]:
    """Partition of each item by ``scan.resource_hash``; -1 for an item that is not valid."""
    murmur = _check(partitions, partitioner)
    out = np.empty(scan.items, np.int32)
    by_resource(scan.resource_hash, scan.resource, scan.valid, partitions, murmur, out)
    return out


def partition_of_trace(trace_id: bytes, partitions: int, partitioner: Partitioner = "fnv1a") -> int:
    """Partition of one trace id of 16 bytes, as :func:`partition_by_trace` has it."""
    if len(trace_id) != 16:
        raise ValueError(f"a trace id has 16 bytes, not {len(trace_id)}")
    halves = np.frombuffer(trace_id, ">u8").astype(np.uint64)
    out = np.empty(1, np.int32)
    valid = np.ones(1, np.bool_)
    by_trace(halves[:1], halves[1:], valid, partitions, _check(partitions, partitioner), out)
    return int(out[0])
