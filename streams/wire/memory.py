"""Unaligned loads and copies inside kernels, little-endian, without bounds checks.

The caller has compared every offset with the end of the enclosing message; that is part of
parsing anyway. tests/streams/wire/test_memory_safety.py runs the kernels against guard pages.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

__all__ = ["copy_bytes", "high_bits32", "load_u8", "load_u32", "load_u64", "load_u64_be", "mix"]


def _pointer(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    data = context.make_array(array_type)(context, builder, array).data
    return builder.gep(data, [index])


def _load(context: Any, builder: Any, sig: Any, args: Any, kind: Any) -> Any:
    pointer = _pointer(context, builder, sig.args[0], args[0], args[1])
    value = builder.load(builder.bitcast(pointer, kind.as_pointer()))
    value.align = 1
    return value


@intrinsic
def load_u8(typingctx: Any, array: Any, index: Any) -> Any:
    """Byte at an offset, as int64."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        value = _load(context, builder, sig, args, ir.IntType(8))
        return builder.zext(value, ir.IntType(64))

    return types.int64(array, types.int64), codegen


@intrinsic
def load_u32(typingctx: Any, array: Any, index: Any) -> Any:
    """Four bytes, as int64."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        value = _load(context, builder, sig, args, ir.IntType(32))
        return builder.zext(value, ir.IntType(64))

    return types.int64(array, types.int64), codegen


@intrinsic
def load_u64(typingctx: Any, array: Any, index: Any) -> Any:
    """Eight bytes, as uint64."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _load(context, builder, sig, args, ir.IntType(64))

    return types.uint64(array, types.int64), codegen


@intrinsic
def load_u64_be(typingctx: Any, array: Any, index: Any) -> Any:
    """Eight bytes in network order, as uint64: identifiers compare and hash as numbers."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.bswap(_load(context, builder, sig, args, ir.IntType(64)))

    return types.uint64(array, types.int64), codegen


@intrinsic
def high_bits32(typingctx: Any, array: Any, index: Any) -> Any:
    """The high bits of 32 bytes as a mask in int64; zero means that they are all ASCII."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        vector = ir.VectorType(ir.IntType(8), 32)
        value = _load(context, builder, sig, args, vector)
        negative = builder.icmp_signed("<", value, ir.Constant(vector, [0] * 32))
        return builder.zext(builder.bitcast(negative, ir.IntType(32)), ir.IntType(64))

    return types.int64(array, types.int64), codegen


@intrinsic
def copy_bytes(typingctx: Any, target: Any, at: Any, source: Any, start: Any, size: Any) -> Any:
    """Copy ``size`` bytes between arrays that do not overlap."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        to = _pointer(context, builder, sig.args[0], args[0], args[1])
        origin = _pointer(context, builder, sig.args[2], args[2], args[3])
        cgutils.raw_memcpy(builder, to, origin, args[4], 1)
        return context.get_dummy_value()

    i64 = types.int64
    return types.void(target, i64, source, i64, i64), codegen


@intrinsic
def mix(typingctx: Any, left: Any, right: Any) -> Any:
    """Both halves of the 128-bit product of two uint64, folded by exclusive or."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        wide = ir.IntType(128)
        product = builder.mul(builder.zext(args[0], wide), builder.zext(args[1], wide))
        high = builder.trunc(builder.lshr(product, ir.Constant(wide, 64)), ir.IntType(64))
        return builder.xor(high, builder.trunc(product, ir.IntType(64)))

    return types.uint64(types.uint64, types.uint64), codegen
