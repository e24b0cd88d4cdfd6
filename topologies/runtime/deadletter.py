"""What becomes of a message that can never be processed.

Its bytes (of a message that was taken in part, a request of the refused items) go to the
dead-letter topic as they are, with the headers they had and these:

    deadletter.reason           stable label, as in counters (``malformed``, ``refused``, …)
    deadletter.message          the error, for people; at most 1 KiB
    deadletter.stage            who gave up
    deadletter.topic .partition .offset
                                where the message lies
    deadletter.time_unix_nano   when it was given up
    deadletter.value_bytes      only if the value is too large for the topic and was left out:
                                its size; the message can be read again at its source
    deadletter.replayed         only if the message had been sent back before: how often

All values are text in UTF-8. The offset is finished only after Kafka has acknowledged.
"""

from __future__ import annotations

from schemas.batches import Batch, Headers, Record
from schemas.errors import PermanentError
from schemas.records.deadletter import PREFIX, REPLAYED

__all__ = ["dead_letter", "without_value"]

MESSAGE_MAX_BYTES = 1024
"""Longest ``deadletter.message``."""


def dead_letter(
    topic: str, stage: str, batch: Batch, error: PermanentError, time_unix_nano: int
) -> Record:
    """The record for ``topic``. Headers of an earlier dead letter are replaced, not doubled."""
    message = str(error).encode("utf-8", "replace")[:MESSAGE_MAX_BYTES]
    ours: Headers = (
        ("deadletter.reason", error.reason.encode()),
        ("deadletter.message", message.decode("utf-8", "ignore").encode()),
        ("deadletter.stage", stage.encode()),
        ("deadletter.topic", batch.topic.encode()),
        ("deadletter.partition", str(batch.partition).encode()),
        ("deadletter.offset", str(batch.offset).encode()),
        ("deadletter.time_unix_nano", str(time_unix_nano).encode()),
    )
    theirs = tuple(
        header
        for header in batch.headers
        if header[0] == REPLAYED or not header[0].startswith(PREFIX)
    )
    value = batch.value if error.remainder is None else error.remainder
    return Record(topic, value, None, batch.key, theirs + ours)


def without_value(record: Record) -> Record:
    """The same dead letter for a topic that does not take values of this size."""
    size = ("deadletter.value_bytes", str(len(record.value)).encode())
    return record._replace(value=b"", headers=(*record.headers, size))
