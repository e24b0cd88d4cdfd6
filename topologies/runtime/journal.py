"""What a lane writes down so that it can be taken up again: records of ``journal.STAGE``.

A journal has as many partitions as the stage's widest source and is compacted. The lane of a
source partition writes to the journal partition of the same number, under these keys:

    TOPIC/progress                            with every transaction, its last record
    TOPIC/snapshot/OPERATOR/SLOT/INDEX        a piece of a snapshot

Snapshots go to two slots in turn, and a progress record names one only after its last piece was
committed: a half-written one harms nothing, and what is named is not overwritten. Values of
progress are JSON, a snapshot's pieces are its chunks, framed, cut to :data:`PIECE_MAX_BYTES`.
Pure: bytes in, bytes out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple, Self

from schemas.errors import MalformedMessage

__all__ = [
    "FORMAT_VERSION",
    "PIECE_MAX_BYTES",
    "OperatorProgress",
    "Progress",
    "SnapshotPlace",
    "framed",
    "pieces",
    "progress_key",
    "snapshot_key",
    "unframed",
]

FORMAT_VERSION = 1
"""Of progress records; one of another version is as good as none."""

PIECE_MAX_BYTES = 512 << 10
"""Longest piece of a snapshot; well below the least ``max.message.bytes`` that makes sense."""

_LENGTH_BYTES = 4


class SnapshotPlace(NamedTuple):
    """Where a complete snapshot lies and what it holds."""

    position: int
    """Source offset: its state has everything before it."""
    replay_from: int
    """Source offset at which the replay on top of it begins."""
    log_position: int | None
    """Offset of the operator's log at which recall on top of it begins."""
    slot: int
    first: int
    """Journal offset of its first piece."""
    last: int
    """Journal offset of its last piece."""
    pieces: int
    size_bytes: int
    digest: str
    """BLAKE2b (16 bytes, hexadecimal) over the pieces in order."""
    format_version: int
    """The operator's."""
    taken_ms: int
    """Wall time, Unix milliseconds."""


class OperatorProgress(NamedTuple):
    """What a restart needs to rebuild one operator."""

    began: int
    """Source offset at which its state was empty."""
    began_log: int | None
    """End of its log at that time."""
    replay_from: int | None
    """Its latest outcome's."""
    log_position: int | None
    """Where recall begins when there is no snapshot: holds whatever was decided later than
    everything before ``replay_from``."""
    snapshot: SnapshotPlace | None
    """The newest complete one."""
    slots: tuple[int, int]
    """Pieces that have ever been written to each slot and not blanked."""


class Progress(NamedTuple):
    """How far a lane has come."""

    position: int
    """Everything before this source offset is processed; equals the group's committed offset."""
    watermark_ms: int
    """Greatest broker timestamp of what was processed, Unix milliseconds."""
    written_ms: int
    """Wall time, Unix milliseconds."""
    operators: Mapping[str, OperatorProgress]
    """By name."""

    def encode(self) -> bytes:
        """The record's value."""
        operators = {
            name: {
                **each._asdict(),
                "snapshot": None if each.snapshot is None else each.snapshot._asdict(),
            }
            for name, each in self.operators.items()
        }
        value = {"version": FORMAT_VERSION, **self._asdict(), "operators": operators}
        return json.dumps(value, separators=(",", ":")).encode()

    @classmethod
    def decode(cls, value: bytes) -> Self:
        """The inverse. Raises MalformedMessage, also for another version."""
        try:
            fields = json.loads(value)
            version = fields.pop("version")
            if version != FORMAT_VERSION:
                raise MalformedMessage(f"progress of version {version}, wanted {FORMAT_VERSION}")
            operators = {
                name: OperatorProgress(
                    **{
                        **each,
                        "slots": (each["slots"][0], each["slots"][1]),
                        "snapshot": each["snapshot"] and SnapshotPlace(**each["snapshot"]),
                    }
                )
                for name, each in fields.pop("operators").items()
            }
            return cls(**fields, operators=operators)
        except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
            raise MalformedMessage(f"no progress record: {error!r}") from None


def progress_key(topic: str) -> bytes:
    """Key of a source topic's progress records."""
    return f"{topic}/progress".encode()


def snapshot_key(topic: str, operator: str, slot: int, index: int) -> bytes:
    """Key of a snapshot's piece."""
    return f"{topic}/snapshot/{operator}/{slot}/{index}".encode()


def framed(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Chunks, each after its length (4 bytes, big endian)."""
    for chunk in chunks:
        yield len(chunk).to_bytes(_LENGTH_BYTES, "big")
        yield chunk


def pieces(chunks: Iterable[bytes], size_max_bytes: int = PIECE_MAX_BYTES) -> Iterator[bytes]:
    """Framed chunks as pieces of ``size_max_bytes``, the last of what is left; at least one."""
    held, size, any_yet = [], 0, False
    for part in framed(chunks):
        at = 0
        while size + len(part) - at >= size_max_bytes:
            taken = size_max_bytes - size
            held.append(part[at : at + taken])
            yield b"".join(held)
            held, size, any_yet, at = [], 0, True, at + taken
        if at < len(part):
            held.append(part[at:] if at else part)
            size += len(part) - at
    if held or not any_yet:
        yield b"".join(held)


def unframed(parts: Iterable[bytes]) -> Iterator[bytes]:
    """The chunks of :func:`pieces`. Raises MalformedMessage if the last one is cut off."""
    held = bytearray()
    for part in parts:
        held += part
        at = 0
        while len(held) - at >= _LENGTH_BYTES:
            begin = at + _LENGTH_BYTES
            end = begin + int.from_bytes(held[at:begin], "big")
            if end > len(held):
                break
            yield bytes(held[begin:end])
            at = end
        del held[:at]
    if held:
        raise MalformedMessage("a snapshot's last chunk is cut off")
