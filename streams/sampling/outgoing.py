"""What sampling puts on records beside their values: headers, and who makes dead letters."""

from __future__ import annotations

from collections.abc import Callable

from schemas.batches import Batch, Record
from schemas.errors import PermanentError

__all__ = ["REKEYED", "SOURCE", "DeadLetter", "source_text"]

SOURCE = "sampling.source"
"""The range that spans were taken from: TOPIC/PARTITION/START-STOP."""
REKEYED = "sampling.rekeyed"
"""Spans that had come on a wrong partition: which one, TOPIC/PARTITION/OFFSET."""

DeadLetter = Callable[[Batch, PermanentError], Record]
"""Makes the record that says why a message, or a part of it, was given up; one that Kafka takes,
without its value if that is too large."""


def source_text(topic: str, partition: int, start: int, stop: int) -> str:
    """Value of ``SOURCE``."""
    return f"{topic}/{partition}/{start}-{stop}"
