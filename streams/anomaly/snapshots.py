"""State of series as chunks of bytes; ``streams.packing`` describes the layout."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar, Literal

from numpy.typing import NDArray

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


def chunks_of(
    parts: Mapping[str, Blocks], shared: Mapping[str, Blocks], series: int, design: str
) -> Iterator[bytes]:
    """What series share, then the first ``series`` rows of all ``parts``."""
    yield pack(
        _Chunk(design=design, first=0, rows=0, series=series),
        {
            f"{part}.{name}": array.reshape(-1)
            for part, blocks in shared.items()
            for name, array in blocks
        },
    )
    for first in range(0, series, _ROWS):
        rows = min(_ROWS, series - first)
        head = _Chunk(design=design, first=first, rows=rows, series=series)
        columns = {
            f"{part}.{name}": array[first : first + rows].reshape(-1)
            for part, blocks in parts.items()
            for name, array in blocks
        }
        yield pack(head, columns)


def blocks_from(
    chunks: Iterable[bytes],
    parts: Mapping[str, Blocks],
    shared: Mapping[str, Blocks],
    design: str,
) -> int:
    """Fill ``parts``, which grow, and ``shared`` from ``chunks_of``; the number of series.

    Raises MalformedRecord: the chunks are damaged, incomplete or of another design.
    """
    done, series = 0, -1
    for chunk in chunks:
        kind, text = kind_of(chunk)
        if kind != "anomaly":
            raise MalformedRecord(f"no state of detectors but {kind}")
        head = _Chunk.decode(text)
        if head.design != design:
            raise MalformedRecord(f"state of other detectors: {head.design}, not {design}")
        columns = unpack(chunk, text, head.columns)
        if series < 0:
            series = head.series
            for name, blocks in shared.items():
                _fill(blocks, name, columns, 0, len(blocks))
            for blocks in parts.values():
                blocks.grow(series)
            continue
        if head.first != done or head.series != series or done + head.rows > series:
            raise MalformedRecord(f"chunk from series {head.first} on, where {done} was due")
        for name, blocks in parts.items():
            _fill(blocks, name, columns, done, head.rows)
        done += head.rows
    if done != series:
        raise MalformedRecord(f"state of {done} series of {max(series, 0)}")
    return series


def _fill(
    blocks: Blocks, part: str, columns: Mapping[str, NDArray[Any]], first: int, rows: int
) -> None:
    for name, array in blocks:
        values, width = columns.get(f"{part}.{name}"), array.shape[1]
        if values is None or len(values) != rows * width:
            raise MalformedRecord(f"chunk without {part}.{name} of {rows} series")
        array[first : first + rows] = values.reshape(rows, width)
