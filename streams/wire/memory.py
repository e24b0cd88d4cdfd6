"""Loads, stores and copies inside kernels, by address; unaligned, little-endian, unchecked.

By address and not by array: passing an array to a function makes numba count references,
atomically, at each call, which took half of the time of a scan.

The caller has compared every offset with the end of the enclosing message; that is part of
parsing anyway. tests/streams/wire/test_memory_safety.py runs the kernels against guard pages.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

__all__ = [
    "address_of",
    "copy_bytes",
    "high_bits64",
    "load_f64",
    "load_i64",
    "load_u8",
    "load_u32",
    "load_u64",
    "load_u64_be",
    "mix",
    "store_f64",
    "store_i32",
    "store_i64",
    "store_u8",
]

_I64 = types.int64


def _pointer(builder: Any, base: Any, index: Any, kind: Any) -> Any:
    return builder.inttoptr(builder.add(base, index), kind.as_pointer())


def _load(builder: Any, args: Any, kind: Any) -> Any:
    value = builder.load(_pointer(builder, args[0], args[1], kind))
    value.align = 1
    return value


@intrinsic
def address_of(typingctx: Any, array: Any) -> Any:
    """Address of an array's first element, as int64."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        data = context.make_array(sig.args[0])(context, builder, args[0]).data
        return builder.ptrtoint(data, ir.IntType(64))

    return _I64(array), codegen


@intrinsic
def load_u8(typingctx: Any, base: Any, index: Any) -> Any:
    """Byte at an offset, as int64."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.zext(_load(builder, args, ir.IntType(8)), ir.IntType(64))

    return _I64(_I64, _I64), codegen


@intrinsic
def load_u32(typingctx: Any, base: Any, index: Any) -> Any:
    """Four bytes, as int64."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.zext(_load(builder, args, ir.IntType(32)), ir.IntType(64))

    return _I64(_I64, _I64), codegen


@intrinsic
def load_u64(typingctx: Any, base: Any, index: Any) -> Any:
    """Eight bytes, as uint64."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _load(builder, args, ir.IntType(64))

    return types.uint64(_I64, _I64), codegen


@intrinsic
def load_u64_be(typingctx: Any, base: Any, index: Any) -> Any:
    """Eight bytes in network order, as uint64: identifiers compare and hash as numbers."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.bswap(_load(builder, args, ir.IntType(64)))

    return types.uint64(_I64, _I64), codegen


@intrinsic
def load_f64(typingctx: Any, base: Any, index: Any) -> Any:
    """Eight bytes, as a double."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _load(builder, args, ir.DoubleType())

    return types.float64(_I64, _I64), codegen


@intrinsic
def high_bits64(typingctx: Any, base: Any, index: Any) -> Any:
    """The high bits of 64 bytes as a mask in uint64: bit k is set if byte k is not ASCII."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        vector = ir.VectorType(ir.IntType(8), 64)
        value = _load(builder, args, vector)
        negative = builder.icmp_signed("<", value, ir.Constant(vector, [0] * 64))
        return builder.bitcast(negative, ir.IntType(64))

    return types.uint64(_I64, _I64), codegen


@intrinsic
def load_i64(typingctx: Any, base: Any, slot: Any) -> Any:
    """Element ``slot`` of an int64 array."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        offset = builder.shl(args[1], ir.Constant(ir.IntType(64), 3))
        return _load(builder, (args[0], offset), ir.IntType(64))

    return _I64(_I64, _I64), codegen


@intrinsic
def store_i64(typingctx: Any, base: Any, slot: Any, value: Any) -> Any:
    """Set element ``slot`` of an int64 array."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        offset = builder.shl(args[1], ir.Constant(ir.IntType(64), 3))
        builder.store(args[2], _pointer(builder, args[0], offset, ir.IntType(64)))
        return context.get_dummy_value()

    return types.void(_I64, _I64, _I64), codegen


@intrinsic
def store_i32(typingctx: Any, base: Any, slot: Any, value: Any) -> Any:
    """Set element ``slot`` of an int32 array."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        offset = builder.shl(args[1], ir.Constant(ir.IntType(64), 2))
        word = builder.trunc(args[2], ir.IntType(32))
        builder.store(word, _pointer(builder, args[0], offset, ir.IntType(32)))
        return context.get_dummy_value()

    return types.void(_I64, _I64, _I64), codegen


@intrinsic
def store_f64(typingctx: Any, base: Any, slot: Any, value: Any) -> Any:
    """Set element ``slot`` of a float64 array."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        offset = builder.shl(args[1], ir.Constant(ir.IntType(64), 3))
        builder.store(args[2], _pointer(builder, args[0], offset, ir.DoubleType()))
        return context.get_dummy_value()

    return types.void(_I64, _I64, types.float64), codegen


@intrinsic
def store_u8(typingctx: Any, base: Any, index: Any, value: Any) -> Any:
    """Set the byte at an offset to the low bits of ``value``."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        byte = builder.trunc(args[2], ir.IntType(8))
        builder.store(byte, _pointer(builder, args[0], args[1], ir.IntType(8)))
        return context.get_dummy_value()

    return types.void(_I64, _I64, _I64), codegen


@intrinsic
def copy_bytes(typingctx: Any, target: Any, at: Any, source: Any, start: Any, size: Any) -> Any:
    """Copy ``size`` bytes between areas that do not overlap."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        byte = ir.IntType(8)
        to = _pointer(builder, args[0], args[1], byte)
        origin = _pointer(builder, args[2], args[3], byte)
        cgutils.raw_memcpy(builder, to, origin, args[4], 1)
        return context.get_dummy_value()

    return types.void(_I64, _I64, _I64, _I64, _I64), codegen


@intrinsic
def mix(typingctx: Any, left: Any, right: Any) -> Any:
    """Both halves of the 128-bit product of two uint64, folded by exclusive or."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        wide = ir.IntType(128)
        product = builder.mul(builder.zext(args[0], wide), builder.zext(args[1], wide))
        high = builder.trunc(builder.lshr(product, ir.Constant(wide, 64)), ir.IntType(64))
        return builder.xor(high, builder.trunc(product, ir.IntType(64)))

    return types.uint64(types.uint64, types.uint64), codegen
