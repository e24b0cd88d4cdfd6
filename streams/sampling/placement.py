"""The partition of one trace id, inside of kernels; as ``streams.wire.partition`` has it."""

from __future__ import annotations

import numpy as np

from streams.wire.compiling import inner
from streams.wire.partition import hex_digit, murmur_end, murmur_word, sarama_end

__all__ = ["partition_of"]

_BASIS, _PRIME = np.uint32(2166136261), np.uint32(16777619)
_MURMUR_START = np.uint32(0x9747B28C ^ 32)


@inner
def _fnv(h, half):
    for step in range(16):
        nibble = np.uint32((half >> np.uint64(60 - 4 * step)) & np.uint64(15))
        h = np.uint32((h ^ hex_digit(nibble)) * _PRIME)
    return h


@inner
def _murmur(h, half):
    for step in range(4):
        two = np.uint32((half >> np.uint64(48 - 16 * step)) & np.uint64(0xFFFF))
        word = np.uint32(hex_digit(two >> np.uint32(12)))
        word |= hex_digit((two >> np.uint32(8)) & np.uint32(15)) << np.uint32(8)
        word |= hex_digit((two >> np.uint32(4)) & np.uint32(15)) << np.uint32(16)
        word |= hex_digit(two & np.uint32(15)) << np.uint32(24)
        h = murmur_word(h, np.uint32(word))
    return h


@inner
def partition_of(high, low, partitions, murmur):
    """Partition of a trace id among ``partitions``, as ``partition_by_trace`` has it."""
    if murmur != 0:
        return np.int64(murmur_end(_murmur(_murmur(_MURMUR_START, high), low), partitions))
    return np.int64(sarama_end(_fnv(_fnv(_BASIS, high), low), partitions))
