"""Decompression: right, bounded, and an error for anything else."""

from __future__ import annotations

import asyncio
import gzip
import random
import zlib

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import MalformedMessage, MessageTooLarge, Overloaded, UnsupportedEncoding
from streams.edges.receivers import Admission
from streams.edges.receivers.inflate import STEP_BYTES, grpc_encoding, inflate

LIMIT = 64 << 20


def bare_deflate(data: bytes) -> bytes:
    stream = zlib.compressobj(wbits=-15)
    return stream.compress(data) + stream.flush()


def zstd_without_size(data: bytes) -> bytes:
    stream = zstandard.ZstdCompressor().compressobj()
    return stream.compress(data) + stream.flush()


CODECS = [
    ("gzip", gzip.compress),
    ("deflate", zlib.compress),
    ("deflate", bare_deflate),
    ("zstd", zstandard.compress),
    ("zstd", zstd_without_size),
]
codecs = pytest.mark.parametrize(
    ("encoding", "compress"), CODECS, ids=["gzip", "zlib", "deflate", "zstd", "zstd-no-size"]
)


def run(data: bytes, encoding: str, max_bytes: int = LIMIT, room_bytes: int = 1 << 30) -> bytes:
    """Inflate with a reservation and check that it covers exactly what was made."""
    admission = Admission(room_bytes)
    with admission.reservation() as reservation:
        inflated = asyncio.run(
            inflate(data, encoding, max_bytes=max_bytes, reservation=reservation)
        )
        if encoding != "identity":
            assert reservation.size_bytes == len(inflated)
    assert admission.inflight_bytes == 0
    return inflated


@codecs
@settings(max_examples=40, deadline=None, derandomize=True)
@given(data=st.binary(max_size=2000), repeats=st.integers(1, 2000))
def test_inflates_what_was_compressed(encoding, compress, data, repeats) -> None:  # type: ignore[no-untyped-def]
    assert run(compress(data * repeats), encoding) == data * repeats


@codecs
def test_several_steps(encoding, compress) -> None:  # type: ignore[no-untyped-def]
    """Poorly and well compressible, larger than a step and than the inline size."""
    data = random.Random(1).randbytes(3 * STEP_BYTES + 17) + bytes(5 * STEP_BYTES)
    assert run(compress(data), encoding) == data


@codecs
def test_cut_short_is_an_error(encoding, compress) -> None:  # type: ignore[no-untyped-def]
    data = compress(b"telemetry " * 100)
    for length in range(1, len(data)):
        with pytest.raises(MalformedMessage):
            run(data[:length], encoding)


@codecs
def test_too_large_is_an_error(encoding, compress) -> None:  # type: ignore[no-untyped-def]
    data = bytes(3_000_000)
    assert run(compress(data), encoding, max_bytes=3_000_000) == data
    with pytest.raises(MessageTooLarge, match=r"ingest\.max_request"):
        run(compress(data), encoding, max_bytes=2_999_999)


@codecs
def test_no_room_is_an_error(encoding, compress) -> None:  # type: ignore[no-untyped-def]
    admission = Admission(8 << 20)
    body = compress(bytes(6 << 20))

    async def try_it() -> bytes:
        with admission.reservation() as reservation:
            return await inflate(body, encoding, max_bytes=LIMIT, reservation=reservation)

    with admission.reservation() as other:
        other.grow(4 << 20)
        with pytest.raises(Overloaded):
            asyncio.run(try_it())
    assert len(asyncio.run(try_it())) == 6 << 20


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "zstd"])
@settings(max_examples=200, deadline=None, derandomize=True)
@given(data=st.binary(min_size=1, max_size=200))
def test_garbage_is_an_error_or_was_no_garbage(encoding, data) -> None:  # type: ignore[no-untyped-def]
    try:
        run(data, encoding, max_bytes=1 << 20)
    except (MalformedMessage, MessageTooLarge):
        return
    assert encoding == "deflate"  # ten random bits can be a deflate stream


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "zstd"])
def test_any_flipped_bit_is_an_error_or_harmless(encoding: str) -> None:
    """No exception but ours, whatever is broken; checksums find what matters."""
    data = b"telemetry " * 50
    compress = {"gzip": gzip.compress, "deflate": zlib.compress, "zstd": zstandard.compress}
    body = compress[encoding](data)
    for at in range(len(body) * 8):
        broken = bytearray(body)
        broken[at // 8] ^= 1 << at % 8
        try:
            inflated = run(bytes(broken), encoding, max_bytes=1 << 20)
        except (MalformedMessage, MessageTooLarge):
            continue
        assert encoding == "zstd" or inflated == data


def test_members_and_frames_are_one_body() -> None:
    assert run(gzip.compress(b"a") + gzip.compress(b"b"), "gzip") == b"ab"
    assert run(zstandard.compress(b"a") + zstd_without_size(b"b"), "zstd") == b"ab"
    assert run(zstd_without_size(b"a") + zstandard.compress(b"b"), "zstd") == b"ab"
    for encoding, compress in CODECS:
        with pytest.raises(MalformedMessage):
            run(compress(b"a") + b"trailing", encoding)


def test_zstd_window_is_bounded() -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=27, write_content_size=False)
    stream = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    body = stream.compress(b"a" * 100) + stream.flush()
    with pytest.raises(MalformedMessage, match="window"):
        run(body, "zstd")


def test_zstd_that_lies_about_its_size() -> None:
    body = bytearray(zstandard.compress(bytes(200_000)))
    at = body.index((200_000).to_bytes(4, "little"))
    body[at : at + 4] = (199_000).to_bytes(4, "little")
    with pytest.raises(MalformedMessage):
        run(bytes(body), "zstd")


def test_other_encodings_are_named() -> None:
    with pytest.raises(UnsupportedEncoding, match=r"'br'.*gzip, deflate, zstd"):
        run(b"x", "br")
    assert run(b"x", "identity") == b"x"
    for encoding in ("gzip", "deflate", "zstd"):
        assert run(b"", encoding) == b""


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.binary(max_size=300))
def test_grpc_encoding_is_recognised(data: bytes) -> None:
    assert grpc_encoding(gzip.compress(data)) == "gzip"
    for level in (-1, 0, 1, 9):
        assert grpc_encoding(zlib.compress(data, level)) == "deflate"
    assert grpc_encoding(b"\x0a" + data) == "identity"
