"""Memory that takes room only where it was written to, and stores into it by address.

The tables of traces reserve all of what they may ever need: a page of it becomes resident when
it is first written to. So they grow without copies, and resident memory follows use.
The stores are for kernels (streams.wire.compiling); loads are in streams.wire.memory.
"""

from __future__ import annotations

import mmap
import sys
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

__all__ = ["Region", "plain", "prefetch", "store_u32", "store_u64"]

_NORESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000 if sys.platform == "linux" else 0)
_SMALL_PAGES = 4 << 20
"""So much of a region is in pages of 4 KiB: a partition with few traces must not hold 2 MiB."""


class Region:
    """Zeroed bytes, not resident until written to.

    Raises MemoryError where the system promises no more memory than it has.
    """

    def __init__(self, size_bytes: int) -> None:
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _NORESERVE
        try:
            self._map = mmap.mmap(-1, max(size_bytes, 1), flags=flags)
        except OSError as error:
            raise MemoryError(f"no address space for {size_bytes:,} bytes: {error}") from error
        if size_bytes > 2 * _SMALL_PAGES and hasattr(mmap, "MADV_HUGEPAGE"):
            self._advise(mmap.MADV_HUGEPAGE, _SMALL_PAGES, size_bytes - _SMALL_PAGES)
        self.bytes: NDArray[np.uint8] = np.frombuffer(self._map, np.uint8)
        self.address = self.bytes.ctypes.data

    def release(self) -> None:
        """Give the memory back; what was in it is lost."""
        if hasattr(mmap, "MADV_DONTNEED"):
            self._advise(mmap.MADV_DONTNEED, 0, len(self._map))

    def _advise(self, advice: int, start: int, size: int) -> None:
        try:
            self._map.madvise(advice, start, size)
        except OSError:  # a kernel without it: slower, or more resident, and as right
            return


def plain(values: NDArray[Any], dtype: Any) -> NDArray[Any]:
    """Values as kernels are compiled for: contiguous, writable, of this type; copied if not."""
    flags = values.flags
    if values.dtype == dtype and flags.c_contiguous and flags.writeable:
        return values
    return np.array(values, dtype, order="C")


def _store(builder: Any, args: Any, value: Any) -> None:
    pointer = builder.inttoptr(builder.add(args[0], args[1]), value.type.as_pointer())
    builder.store(value, pointer).align = 1


@intrinsic
def prefetch(typingctx: Any, address: Any) -> Any:
    """Ask for the cache line of an address that is soon needed; any address will do."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer = builder.inttoptr(args[0], ir.IntType(8).as_pointer())
        number = ir.IntType(32)
        function = builder.module.declare_intrinsic(
            "llvm.prefetch",
            [pointer.type],
            ir.FunctionType(ir.VoidType(), [pointer.type, number, number, number]),
        )
        write, near, data = (ir.Constant(number, value) for value in (1, 3, 1))
        builder.call(function, [pointer, write, near, data])
        return context.get_dummy_value()

    return types.void(types.int64), codegen


@intrinsic
def store_u32(typingctx: Any, base: Any, index: Any, value: Any) -> Any:
    """Set four bytes at an offset to the low bits of an int64."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        _store(builder, args, builder.trunc(args[2], ir.IntType(32)))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), codegen


@intrinsic
def store_u64(typingctx: Any, base: Any, index: Any, value: Any) -> Any:
    """Set eight bytes at an offset to a uint64."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        _store(builder, args, args[2])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.uint64), codegen
