"""Recordings on disk: framed protobuf requests, or the Collector's OTLP/JSON lines.

Two layouts, told apart by their first byte, each of them plain or zstd compressed:

- frames: a 4-byte big-endian length and one ``Export*ServiceRequest``, over and over;
- lines: one OTLP/JSON ``*Data`` object a line, as the Collector's ``file`` exporter writes it.
"""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO, NamedTuple, cast

import zstandard

from schemas.errors import MalformedMessage, MessageTooLarge
from schemas.signals import Signal

__all__ = [
    "FRAME_SIZE_MAX_BYTES",
    "Decode",
    "Request",
    "SignalUnknown",
    "guess_signal",
    "read",
    "write",
]

FRAME_SIZE_MAX_BYTES = 64 << 20
"""Largest request read from a recording; what an OTLP receiver takes at most."""

Decode = Callable[[Signal, bytes], bytes]
"""OTLP/JSON to protobuf bytes."""

_LENGTH = struct.Struct(">I")
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_JSON_KEYS = {
    "resourceSpans": Signal.TRACES,
    "resourceMetrics": Signal.METRICS,
    "resourceLogs": Signal.LOGS,
}


class SignalUnknown(MalformedMessage):
    """Frames whose signal nobody has named."""


class Request(NamedTuple):
    """One ``Export*ServiceRequest`` of a recording, as protobuf bytes."""

    signal: Signal
    data: bytes


def guess_signal(name: str) -> Signal | None:
    """The signal that a file name speaks of: ``traces.otlp.zst``, ``logs-2.jsonl``."""
    words = {
        Signal.TRACES: ("trace", "span"),
        Signal.METRICS: ("metric",),
        Signal.LOGS: ("log",),
    }
    stem = name.lower().replace("otlp", "")
    found = [signal for signal, parts in words.items() if any(part in stem for part in parts)]
    return found[0] if len(found) == 1 else None


def read(stream: BinaryIO, signal: Signal | None, decode: Decode) -> Iterator[Request]:
    """Requests of a recording, one by one; never holds more than one.

    ``signal`` is needed for frames (they do not say what they are); lines say it themselves.

    Raises:
        SignalUnknown: frames, and ``signal`` is None.
        MalformedMessage: cut short, or no recording.
        MessageTooLarge: a frame or line beyond ``FRAME_SIZE_MAX_BYTES``.
    """
    buffered = io.BufferedReader(cast(io.RawIOBase, stream), 1 << 16)
    if buffered.peek(4)[:4] == _ZSTD_MAGIC:
        inflated = zstandard.ZstdDecompressor().stream_reader(buffered, read_across_frames=True)
        buffered = io.BufferedReader(cast(io.RawIOBase, inflated), 1 << 18)
    try:
        first = buffered.peek(1)[:1]
        if not first:
            return
        if first in b"{ \t\r\n":
            yield from _lines(buffered, decode)
        elif signal is None:
            raise SignalUnknown("frames do not say which signal they carry")
        else:
            for data in _frames(buffered):
                yield Request(signal, data)
    except zstandard.ZstdError as error:
        raise MalformedMessage(f"broken zstd stream: {error}") from error


def _frames(stream: io.BufferedIOBase) -> Iterator[bytes]:
    offset = 0
    while head := stream.read(4):
        if len(head) < 4:
            raise MalformedMessage("recording ends inside a frame's length", offset)
        (size,) = _LENGTH.unpack(head)
        if size > FRAME_SIZE_MAX_BYTES:
            raise MessageTooLarge("frame", size, "FRAME_SIZE_MAX_BYTES", FRAME_SIZE_MAX_BYTES)
        data = stream.read(size)
        if len(data) < size:
            raise MalformedMessage("recording ends inside a frame", offset + 4)
        yield data
        offset += 4 + size


def _lines(stream: io.BufferedIOBase, decode: Decode) -> Iterator[Request]:
    offset = 0
    while line := stream.readline(FRAME_SIZE_MAX_BYTES + 1):
        if len(line) > FRAME_SIZE_MAX_BYTES:
            raise MessageTooLarge("line", len(line), "FRAME_SIZE_MAX_BYTES", FRAME_SIZE_MAX_BYTES)
        if line.strip():
            try:
                keys = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise MalformedMessage(f"line is no JSON: {error}", offset) from error
            signals = [_JSON_KEYS[key] for key in keys if key in _JSON_KEYS]
            if not isinstance(keys, dict) or len(signals) != 1:
                wanted = ", ".join(_JSON_KEYS)
                raise MalformedMessage(f"line has not exactly one of {wanted}", offset)
            yield Request(signals[0], decode(signals[0], line))
        offset += len(line)


def write(stream: BinaryIO, requests: Iterable[bytes], level: int = 9) -> int:
    """Write requests as zstd compressed frames and return how many there were."""
    count = 0
    compressor = zstandard.ZstdCompressor(level=level, write_checksum=True)
    with compressor.stream_writer(stream, closefd=False) as out:
        for data in requests:
            out.write(_LENGTH.pack(len(data)))
            out.write(data)
            count += 1
    return count
