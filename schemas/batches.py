"""What lies on a topic, as the layers above Kafka see it."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["ORIGIN_PREFIX", "Batch", "Headers", "Record", "without_origin"]

Headers = tuple[tuple[str, bytes], ...]
"""Kafka record headers in order. Only messages with equal ones may be merged, but for those that
say where a message comes from."""

ORIGIN_PREFIX = "sampling."
"""Of headers that say where a message comes from, not what it is: they keep nothing apart."""


def without_origin(headers: Headers) -> Headers:
    """What must be equal where messages are merged, and what travels on."""
    return tuple(header for header in headers if not header[0].startswith(ORIGIN_PREFIX))


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
