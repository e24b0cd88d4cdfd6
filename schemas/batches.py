"""What lies on a topic, as the layers above Kafka see it."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Batch", "Headers", "Record"]

Headers = tuple[tuple[str, bytes], ...]
"""Kafka record headers in order. Only messages with equal headers may be merged."""


class Batch(NamedTuple):
    """One consumed Kafka message. ``timestamp_ms`` is the broker's, Unix milliseconds."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes
    headers: Headers


class Record(NamedTuple):
    """One message to be produced; ``partition`` None lets the key decide."""

    topic: str
    value: bytes
    partition: int | None = None
    key: bytes | None = None
    headers: Headers = ()
