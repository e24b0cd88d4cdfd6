"""Decompression of request bodies that never makes more than it was allowed to.

A body is inflated in steps of at most ``STEP_BYTES``; each step's room is reserved before it is
made, and the limit is checked after each. A zip bomb therefore costs what the limit or the
admission allows, not what it would inflate to. Large bodies are inflated on a thread: the
codecs release the GIL.

Sources: RFC 1952 (gzip; several members are one body), RFC 9110 section 8.4.1 (``deflate`` is
the zlib format; the bare deflate stream that some clients send is tolerated), RFC 8878 (zstd;
several frames are one body, windows up to 8 MiB).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import zstandard
from isal import isal_zlib

from schemas.errors import MalformedMessage, MessageTooLarge, UnsupportedEncoding

from .admission import Reservation

__all__ = ["ENCODINGS", "STEP_BYTES", "grpc_encoding", "inflate"]

ENCODINGS = ("gzip", "deflate", "zstd")
"""Content codings that are inflated; ``identity`` beside them."""

STEP_BYTES = 1 << 20
"""Most that one step makes of gzip and deflate; zstd's worst is 16 MiB, see _ZSTD_SLICE."""

_INLINE_BYTES = 128 << 10
"""Compressed bodies up to this size are begun on the event loop: a thread costs more."""

_SLICE = 256 << 10
_WINDOW_MAX_BYTES = 8 << 20
_ZSTD_SLICE = 512
"""zstd input per call where the frame does not say its size. A block of 4 bytes makes at most
128 KiB, so that no call makes more than 16 MiB."""


async def inflate(
    data: bytes,
    encoding: str,
    *,
    max_bytes: int,
    reservation: Reservation,
    limit: str = "ingest.max_request",
) -> bytes:
    """The body behind ``data``; what it takes is added to ``reservation``.

    Raises:
        MalformedMessage: ``data`` is not in that encoding, or cut short.
        MessageTooLarge: it inflates to more than ``max_bytes``, the setting called ``limit``.
        Overloaded: there is no room for it.
        UnsupportedEncoding: an encoding that is not spoken.
    """
    if encoding == "identity":
        return data
    if encoding not in ENCODINGS:
        raise UnsupportedEncoding(
            f"encoding {encoding!r} is not supported; supported: identity, {', '.join(ENCODINGS)}"
        )
    if not data:
        return b""
    if encoding == "zstd":
        size = _zstd_size(data)
        if size is not None:
            if size > max_bytes:
                raise MessageTooLarge("decompressed request", size, limit, max_bytes)
            reservation.grow(size)
            if size <= STEP_BYTES:
                whole = _zstd_whole(data, size)
            else:
                whole = await asyncio.to_thread(_zstd_whole, data, size)
            if whole is not None:
                return whole
            reservation.shrink(size)
    steps = _zstd_steps(data) if encoding == "zstd" else _zlib_steps(data, encoding)
    chunks: list[bytes] = []
    made = 0
    inline = len(data) <= _INLINE_BYTES
    while True:
        reservation.grow(STEP_BYTES)
        chunk = _next(steps) if inline else await asyncio.to_thread(_next, steps)
        if chunk is None:
            reservation.shrink(STEP_BYTES)
            break
        made += len(chunk)
        if made > max_bytes:
            raise MessageTooLarge("decompressed request", made, limit, max_bytes)
        chunks.append(chunk)
        # zstd may have made more than a step in one call.
        _settle(reservation, len(chunk))
        inline = inline and made <= STEP_BYTES
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def grpc_encoding(data: bytes) -> str:
    """How a gRPC message that was not decompressed by the transport is compressed.

    gRPC does not tell a handler the message's compressed flag. No OTLP request begins with
    gzip's magic (field 3 with a wire type that does not exist). A zlib header could in theory
        be unknown fields, so it is "deflate" only if its check bits are right, and the caller
    takes the bytes as they are if they do not inflate.
    """
    if data[:2] == b"\x1f\x8b":
        return "gzip"
    return "deflate" if _is_zlib(data) else "identity"


def _settle(reservation: Reservation, made_bytes: int) -> None:
    surplus = STEP_BYTES - made_bytes
    if surplus > 0:
        reservation.shrink(surplus)
    elif surplus < 0:
        reservation.grow(-surplus)


def _next(steps: Iterator[bytes]) -> bytes | None:
    return next(steps, None)


def _zlib_steps(data: bytes, encoding: str) -> Iterator[bytes]:
    """Pieces of gzip members or one zlib stream, each at most STEP_BYTES."""
    window_bits = 31 if encoding == "gzip" else 15
    if encoding == "deflate" and not _is_zlib(data):
        window_bits = -15
    view = memoryview(data)
    at = 0
    while at < len(data):
        stream = isal_zlib.decompressobj(window_bits)
        rest: bytes | memoryview = b""
        while not stream.eof:
            if not rest:
                rest = view[at : at + _SLICE]
                at += len(rest)
            chunk = _guarded(stream.decompress, rest, STEP_BYTES, encoding, at)
            rest = stream.unconsumed_tail
            if chunk:
                yield chunk
            elif not rest and at >= len(data) and not stream.eof:
                raise MalformedMessage(f"{encoding} body is cut short", len(data))
        at -= len(stream.unused_data)
        if at < len(data) and encoding != "gzip":
            raise MalformedMessage("bytes follow the deflate stream", at)


def _guarded(
    decompress: Callable[[bytes | memoryview, int], bytes],
    data: bytes | memoryview,
    max_bytes: int,
    encoding: str,
    at: int,
) -> bytes:
    try:
        return decompress(data, max_bytes)
    except Exception as error:
        # isal's own error class is declared as a value, which no except clause may name.
        raise MalformedMessage(f"not {encoding}: {error}", at) from None


def _is_zlib(data: bytes) -> bool:
    """RFC 1950: method 8, a window of at most 32 KiB, and the header's own check."""
    return len(data) > 1 and data[0] & 0x8F == 8 and (data[0] << 8 | data[1]) % 31 == 0


def _zstd_size(data: bytes) -> int | None:
    """Size of the first frame's content, if it says it."""
    try:
        frame = zstandard.get_frame_parameters(data)
    except zstandard.ZstdError as error:
        raise MalformedMessage(f"not zstd: {error}") from None
    if frame.content_size != zstandard.CONTENTSIZE_UNKNOWN:
        return int(frame.content_size)
    if frame.window_size > _WINDOW_MAX_BYTES:
        raise MalformedMessage(
            f"zstd window of {frame.window_size} bytes, {_WINDOW_MAX_BYTES} allowed"
        )
    return None


def _zstd_whole(data: bytes, size: int) -> bytes | None:
    """The content of the one frame that ``data`` is; None if other frames follow it."""
    # A frame of known size is written where it will stay: no window is allocated beside it.
    decompressor = zstandard.ZstdDecompressor(max_window_size=_WINDOW_MAX_BYTES)
    try:
        return decompressor.decompress(data, max_output_size=size, allow_extra_data=False)
    except zstandard.ZstdError as error:
        if "unused data" in str(error):
            return None
        raise MalformedMessage(f"not zstd: {error}") from None


def _zstd_steps(data: bytes) -> Iterator[bytes]:
    """Pieces of zstd frames whose size is not known beforehand."""
    decompressor = zstandard.ZstdDecompressor(max_window_size=_WINDOW_MAX_BYTES)
    view = memoryview(data)
    at = 0
    while at < len(data):
        stream = decompressor.decompressobj()
        while not stream.eof:
            piece = view[at : at + _ZSTD_SLICE]
            if not piece:
                raise MalformedMessage("zstd body is cut short", len(data))
            at += len(piece)
            try:
                chunk = stream.decompress(piece)
            except zstandard.ZstdError as error:
                raise MalformedMessage(f"not zstd: {error}", at) from None
            if chunk:
                yield chunk
        at -= len(stream.unused_data)
