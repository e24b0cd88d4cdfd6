"""State of series as chunks of bytes; ``streams.packing`` describes the layout."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import ClassVar, Literal

from schemas.records import MalformedRecord, VersionedRecord
from schemas.records.binary import ColumnPlace
from streams.anomaly.blocks import Blocks
from streams.packing import kind_of, pack, unpack

__all__ = ["blocks_from", "chunks_of"]

_ROWS = 128
"""Series of a chunk: about 300 KB."""


class _Chunk(VersionedRecord):
    VERSION: ClassVar[int] = 1

    schema_version: int = 1
    kind: Literal["anomaly"] = "anomaly"
    design: str
    """What the arrays depend on: a snapshot of another design cannot be read."""
    first: int
    rows: int
    series: int
    columns: tuple[ColumnPlace, ...] = ()


def chunks_of(parts: Mapping[str, Blocks], series: int, design: str) -> Iterator[bytes]:
    """The first ``series`` rows of all ``parts``."""
    for first in range(0, max(series, 1), _ROWS):
        rows = min(_ROWS, series - first)
        head = _Chunk(design=design, first=first, rows=rows, series=series)
        columns = {
            f"{part}.{name}": array[first : first + rows].reshape(-1)
            for part, blocks in parts.items()
            for name, array in blocks
        }
        yield pack(head, columns)


def blocks_from(chunks: Iterable[bytes], parts: Mapping[str, Blocks], design: str) -> int:
    """Fill ``parts``, which grow, from ``chunks_of``; the number of series.

    Raises MalformedRecord: the chunks are damaged, incomplete or of another design.
    """
    done = series = 0
    for chunk in chunks:
        kind, text = kind_of(chunk)
        if kind != "anomaly":
            raise MalformedRecord(f"no state of detectors but {kind}")
        head = _Chunk.decode(text)
        if head.design != design:
            raise MalformedRecord(f"state of other detectors: {head.design}, not {design}")
        if head.first != done or (done and head.series != series):
            raise MalformedRecord(f"chunk from series {head.first} on, where {done} was due")
        series, columns = head.series, unpack(chunk, text, head.columns)
        for part, blocks in parts.items():
            blocks.grow(series)
            for name, array in blocks:
                values = columns.get(f"{part}.{name}")
                if values is None or len(values) != head.rows * array.shape[1]:
                    raise MalformedRecord(f"chunk without {part}.{name} of {head.rows} series")
                whole = values.astype(array.dtype, copy=False)
                array[done : done + head.rows] = whole.reshape(head.rows, array.shape[1])
        done += head.rows
    if done != series:
        raise MalformedRecord(f"state of {done} series of {series}")
    return series
