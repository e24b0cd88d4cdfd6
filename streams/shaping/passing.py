"""The operator of the shape stage: every batch goes on as it is, in messages of a good size."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from schemas.batches import Batch, Record
from schemas.errors import MalformedMessage, MessageTooLarge
from schemas.operators import Outcome, Scanned, Snapshots
from schemas.records import Value
from streams import wire

__all__ = ["PassThrough"]


class PassThrough:
    """Copies a partition of a signal topic to the same partition of another, byte for byte.

    A batch of up to ``max_bytes`` is one record with its very bytes; a larger one is split
    between items. Small ones stay what they are: whoever sends the records may join those that
    lie side by side, for requests may be concatenated. Headers travel on; a key does not: telemetry
    has none. A batch without items, which nobody would miss, has no record.

    It has no state: what follows from a batch follows from that batch alone.

    Args:
        output: topic of the records.
        max_bytes: largest value of a record; ``kafka.producer.max_message``.
    """

    name = "shape"
    format_version = 1
    log_topic: str | None = None
    snapshots: Snapshots = "none"

    def __init__(self, output: str, max_bytes: int) -> None:
        self._output = output
        self._max_bytes = max_bytes

    def process(self, scanned: Scanned) -> Outcome:
        """Pass a batch on; its ``scan`` is one of its value.

        Raises MessageTooLarge for a batch with an item that alone is larger than a record may be:
        all of it goes to the dead-letter topic, whose messages may be larger.
        """
        batch, scan = scanned.batch, scanned.scan
        parts, oversized = wire.split_by_size(batch.value, scan, self._max_bytes)
        if oversized:
            item = oversized[0]
            what = f"{scan.signal.item} {item.name!r}"
            raise MessageTooLarge(
                what, item.size_bytes, "kafka.producer.max_message", self._max_bytes
            )
        return Outcome(
            [
                Record(self._output, part, partition=batch.partition, headers=batch.headers)
                for part in parts
            ]
        )

    def tick(self, now_ms: int) -> Outcome:
        """Nothing waits."""
        return Outcome()

    def flush(self) -> Sequence[Record]:
        """Nothing is gathered."""
        return ()

    def recall(self, record: Batch) -> None:
        """There is no log."""

    def snapshot(self) -> Sequence[bytes]:
        """There is no state."""
        return ()

    def restore(self, chunks: Iterable[bytes]) -> None:
        """There is none to take over. Raises MalformedMessage if there is one."""
        if any(True for _ in chunks):
            raise MalformedMessage("a snapshot of an operator that has no state")

    def adjust(self, name: str, value: Value) -> None:
        """There is nothing to set."""
