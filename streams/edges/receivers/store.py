"""What a receiver got, on disk.

Two layouts, which ``otlp-streams replay`` reads back:

- frames: per signal a file ``NAME.<signal>.otlp.zst``, zstd over frames of a 4-byte big-endian
  length and one Export*ServiceRequest;
- lines: one file ``NAME.jsonl`` for all signals, one OTLP/JSON request a line, as the
  Collector's file exporter writes it.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

import zstandard

from schemas.signals import Signal
from streams.wire import json as otlp_json

__all__ = ["FrameStore", "LineStore", "open_store"]

_LENGTH = struct.Struct(">I")
_LEVEL = 3


def open_store(name: Path) -> FrameStore | LineStore:
    """A store called ``name``: lines if it ends in ``.jsonl``, frames otherwise."""
    return LineStore(name) if name.suffix == ".jsonl" else FrameStore(name)


class FrameStore:
    """Frames, a file per signal; a signal that never comes makes no file."""

    def __init__(self, name: Path) -> None:
        self._name = name
        self._files: dict[Signal, tuple[BinaryIO, zstandard.ZstdCompressionWriter]] = {}

    def write(self, signal: Signal, data: bytes) -> None:
        """Append one request."""
        if signal not in self._files:
            path = self._name.with_name(f"{self._name.name}.{signal.value}.otlp.zst")
            file = path.open("wb")
            compressor = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True)
            self._files[signal] = file, compressor.stream_writer(file, closefd=False)
        _, writer = self._files[signal]
        writer.write(_LENGTH.pack(len(data)))
        writer.write(data)

    def flush(self) -> None:
        """Make what was written readable by others, even if this process is killed now."""
        for file, writer in self._files.values():
            writer.flush(zstandard.FLUSH_BLOCK)
            file.flush()

    def close(self) -> None:
        """End the files."""
        for file, writer in self._files.values():
            writer.close()  # type: ignore[no-untyped-call]
            file.close()
        self._files.clear()


class LineStore:
    """OTLP/JSON lines, one file for all signals."""

    def __init__(self, name: Path) -> None:
        self._file = name.open("wb")

    def write(self, signal: Signal, data: bytes) -> None:
        """Append one request."""
        if data:  # an empty one would not say which signal it is
            self._file.write(otlp_json.encode(signal, data) + b"\n")

    def flush(self) -> None:
        """Make what was written readable by others."""
        self._file.flush()

    def close(self) -> None:
        """End the file."""
        self._file.close()
